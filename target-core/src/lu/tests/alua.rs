use super::*;

fn set_groups(entries: &[(u16, u8)]) -> ([u8; 12], Vec<u8>) {
    let mut list = vec![0; 4];
    for (group, state) in entries {
        let [high, low] = group.to_be_bytes();
        list.extend([*state, 0, high, low]);
    }
    let mut cdb = [0; 12];
    (cdb[0], cdb[1], cdb[9]) = (0xA4, 0x0A, list.len() as u8);
    (cdb, list)
}

const STANDBY: u8 = 2;
const REPORT: [u8; 12] = [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0];

#[tokio::test]
async fn a_port_in_standby_runs_little_and_the_other_everything() {
    let fixture = Fixture::new();
    let session = fixture.session("a");
    let other = fixture.fresh("a", 2);
    other.run(&TEST_UNIT_READY).await;
    let (cdb, list) = set_groups(&[(1, STANDBY)]);
    assert_eq!(other.send(&cdb, &list).await, GOOD);
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 6));
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Check(2, 0x04, 0x0B));
    assert!(matches!(session.run(&[0x12, 0, 0, 0, 96, 0]).await, Answer::Good(_)));
    assert!(matches!(other.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(_)));
    let Answer::Good(report) = session.run(&REPORT).await else { panic!("runs in standby") };
    assert_eq!((report[4] & 0x0F, report[9], report[16] & 0x0F), (STANDBY, 1, 0));
    let (cdb, list) = set_groups(&[(1, 0)]);
    assert_eq!(session.send(&cdb, &list).await, GOOD, "set through the port itself");
    assert!(matches!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(_)));
    let (cdb, list) = set_groups(&[(9, 0)]);
    assert_eq!(session.send(&cdb, &list).await, Answer::Check(5, 0x26, 0));
}
