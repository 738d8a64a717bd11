use super::*;
use crate::scsi::sense::SenseKey;

const POWER_ON: Answer = Answer::Check(6, 0x29, 0);

#[tokio::test]
async fn power_on_then_nexus_loss() {
    let fixture = Fixture::new();
    let first = fixture.fresh("a", 1);
    assert_eq!(first.run(&TEST_UNIT_READY).await, POWER_ON);
    assert_eq!(first.run(&TEST_UNIT_READY).await, GOOD);
    drop(first);
    assert_eq!(fixture.fresh("a", 1).run(&TEST_UNIT_READY).await, Answer::Check(6, 0x29, 7));
    assert_eq!(fixture.fresh("b", 1).run(&TEST_UNIT_READY).await, POWER_ON);
}

#[tokio::test]
async fn inquiry_and_report_luns_leave_them_pending() {
    let session = Fixture::new().fresh("a", 1);
    assert!(matches!(session.run(&[0x12, 0, 0, 0, 96, 0]).await, Answer::Good(_)));
    let luns = session.run(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]).await;
    assert_eq!(luns, Answer::Good(vec![0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(session.run(&[0xC1; 6]).await, POWER_ON, "before the CDB is looked at");
}

#[tokio::test]
async fn request_sense_tells_and_clears() {
    let session = Fixture::new().fresh("a", 1);
    let Answer::Good(data) = session.run(&[0x03, 0, 0, 0, 252, 0]).await else { panic!("GOOD") };
    assert_eq!((data[2], data[12], data[13]), (SenseKey::UnitAttention as u8, 0x29, 0));
    let Answer::Good(data) = session.run(&[0x03, 1, 0, 0, 252, 0]).await else { panic!("GOOD") };
    assert_eq!(data, [0x72, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
}

#[tokio::test]
async fn changes_are_told_to_those_they_concern() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    fixture.unit.capacity_changed();
    assert_eq!(session.itl.query_async_event(), Some([0x16, 0x2A, 9]));
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 9));
    assert_eq!(session.itl.query_async_event(), None);
    other.itl.luns_changed();
    assert_eq!(other.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 9));
    other.run(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]).await;
    assert_eq!(other.run(&TEST_UNIT_READY).await, GOOD, "REPORT LUNS told the change");
}

#[tokio::test]
async fn a_mode_change_is_told_to_the_others_and_takes_effect() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    let Answer::Good(mut list) = session.run(&[0x1A, 0x08, 0x0A, 0, 252, 0]).await else { panic!("GOOD") };
    list[0] = 0;
    list[2] = 0;
    list[4] &= 0x7F;
    list[6] |= 0x04;
    list[8] |= 0x08;
    let select = [0x15, 0x10, 0, 0, list.len() as u8, 0];
    assert_eq!(session.send(&select, &list).await, GOOD);
    assert_eq!(other.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 1));
    let refused = other.complete(&cdb10(0x2A, 0, 0, 1), &[0; BLOCK]).await;
    assert!(refused.descriptor_sense);
    assert_eq!(Answer::from(refused), Answer::Check(7, 0x27, 2), "SWP");
    drop(other);
    session.itl.reset(Reset::LogicalUnit).await;
    session.run(&TEST_UNIT_READY).await;
    assert_eq!(session.send(&cdb10(0x2A, 0, 0, 1), &[0; BLOCK]).await, GOOD, "not saved");
}
