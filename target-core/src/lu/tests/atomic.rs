use super::*;
use crate::block::faulty::Operation;
use crate::block::slow::SlowDevice;

fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = cdb16(0x89, 0, lba, 0);
    cdb[13] = blocks;
    cdb
}

fn write_atomic(lba: u64, blocks: u16) -> [u8; 16] {
    let mut cdb = cdb16(0x9C, 0, lba, 0);
    cdb[12..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[tokio::test]
async fn compare_and_write_writes_where_equal() {
    let session = Fixture::new().session("a");
    let mut data = [[0; BLOCK], [1; BLOCK]].concat();
    assert_eq!(session.send(&compare_and_write(3, 1), &data).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 3, 1)).await, Answer::Good(vec![1; BLOCK]));
    data[..BLOCK].fill(1);
    data[17] = 2;
    let sense = session.complete(&compare_and_write(3, 1), &data).await.sense.expect("a miscompare");
    assert_eq!((sense.key as u8, sense.information), (0xE, Some(17)));
    assert_eq!(session.run(&compare_and_write(3, 0)).await, GOOD);
}

#[tokio::test]
async fn compare_and_write_wants_its_length_exactly() {
    let session = Fixture::new().session("a");
    for blocks in [1, 3] {
        assert_eq!(session.send(&compare_and_write(0, blocks), &[0; 4 * BLOCK]).await, Answer::Check(5, 0x0E, 3));
    }
    assert_eq!(session.send(&compare_and_write(0, 0), &[0; 2 * BLOCK]).await, Answer::Check(5, 0x24, 0), "256 as 0");
}

#[tokio::test]
async fn or_write_sets_bits() {
    let session = Fixture::new().session("a");
    session.send(&cdb10(0x2A, 0, 0, 1), &[0x0F; BLOCK]).await;
    assert_eq!(session.send(&cdb16(0x8B, 0, 0, 1), &[0x30; BLOCK]).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(vec![0x3F; BLOCK]));
}

#[tokio::test]
async fn write_atomic_checks_range_then_shape() {
    let session = Fixture::new().session("a");
    assert_eq!(session.send(&write_atomic(8, 8), &[5; 8 * BLOCK]).await, GOOD);
    assert_eq!(session.send(&write_atomic(1, 8), &[5; 8 * BLOCK]).await, Answer::Check(5, 0x24, 0));
    assert_eq!(session.send(&write_atomic(8, 1), &[5; BLOCK]).await, Answer::Check(5, 0x24, 0));
    assert_eq!(session.send(&write_atomic(8191, 4096), &[]).await, Answer::Check(5, 0x21, 0));
    assert_eq!(session.run(&write_atomic(0, 0)).await, GOOD);
    assert_eq!(session.send(&write_atomic(8, 8), &[6; BLOCK]).await, Answer::Check(5, 0x0E, 3));
    assert_eq!(session.run(&cdb10(0x28, 0, 8, 1)).await, Answer::Good(vec![5; BLOCK]), "all or nothing");
}

/// Two nexuses count up by COMPARE AND WRITE against plain writes elsewhere: no increment is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn compare_and_write_is_atomic_between_nexuses() {
    let device = Arc::new(SlowDevice::new(memory()));
    device.delay(&[Operation::Read, Operation::Write], std::time::Duration::from_micros(50));
    let fixture = Fixture::with(options(), device, StateStore::memory());
    let counters: Vec<_> = ["a", "b", "c"].map(|name| fixture.session(name)).into_iter().collect();
    let tasks: Vec<_> = counters.into_iter().map(|session| tokio::spawn(count_up(session, 40))).collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let Answer::Good(block) = fixture.session("d").run(&cdb10(0x28, 0, 0, 1)).await else { panic!("readable") };
    assert_eq!(u64::from_be_bytes(*block.first_chunk().expect("a block")), 120);
}

async fn count_up(session: Session, times: usize) {
    let mut done = 0;
    while done < times {
        let Answer::Good(old) = session.run(&cdb10(0x28, 0, 0, 1)).await else { panic!("readable") };
        let mut new = old.clone();
        let next = u64::from_be_bytes(*old.first_chunk().expect("a block")) + 1;
        new[..8].copy_from_slice(&next.to_be_bytes());
        match session.send(&compare_and_write(0, 1), &[old, new].concat()).await {
            Answer::Check(0xE, ..) => {}
            answer => {
                assert_eq!(answer, GOOD);
                done += 1;
            }
        }
    }
}

/// A WRITE ATOMIC that the device holds keeps reads waiting; plain reads beside plain writes do not wait.
#[tokio::test]
async fn a_read_does_not_run_beside_an_atomic_write() {
    let device = Arc::new(SlowDevice::new(memory()));
    let fixture = Fixture::with(options(), device.clone(), StateStore::memory());
    let (writer, reader) = (fixture.session("a"), fixture.session("b"));
    device.hold(&[Operation::Write]);
    let write = tokio::spawn(async move { writer.send(&write_atomic(0, 8), &[9; 8 * BLOCK]).await });
    device.until_waiting(1).await;
    let read = tokio::spawn(async move { reader.run(&cdb10(0x28, 0, 0, 8)).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(!read.is_finished(), "the atomic write is still going on");
    device.release();
    assert_eq!(write.await.expect("no panic"), GOOD);
    assert_eq!(read.await.expect("no panic"), Answer::Good(vec![9; 8 * BLOCK]));
}
