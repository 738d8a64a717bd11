use std::time::Duration;

use super::*;
use crate::block::BlockError;
use crate::block::faulty::{Fault, FaultyDevice, Operation};

const IN_PROGRESS: Answer = Answer::Check(2, 0x04, 0x1B);

fn overwrite(byte: u8, immediate: bool) -> ([u8; 10], Vec<u8>) {
    let list = [&[1, 0, 2, 0][..], &[byte; BLOCK]].concat();
    let [high, low] = (list.len() as u16).to_be_bytes();
    ([0x48, u8::from(immediate) << 7 | 0x01, 0, 0, 0, 0, 0, high, low, 0], list)
}

#[tokio::test(start_paused = true)]
async fn overwrite_goes_on_through_resets_and_logins() {
    let fixture = Fixture::new();
    let session = fixture.session("a");
    let (cdb, list) = overwrite(0xAA, true);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, IN_PROGRESS);
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, IN_PROGRESS);
    assert_eq!(session.run(&LOAD).await, IN_PROGRESS);
    assert!(matches!(session.run(&[0x12, 0, 0, 0, 96, 0]).await, Answer::Good(_)));
    let Answer::Good(sense) = session.run(&[0x03, 0, 0, 0, 252, 0]).await else { panic!("GOOD") };
    assert_eq!((sense[2], sense[12], sense[13], sense[15]), (2, 0x04, 0x1B, 0x80));
    assert!(u16::from_be_bytes([sense[16], sense[17]]) > 0x4000, "progress");
    session.itl.reset(Reset::LogicalUnit).await;
    session.itl.reset(Reset::Target).await;
    drop(session);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let session = fixture.session("a");
    assert_eq!(session.run(&TEST_UNIT_READY).await, IN_PROGRESS);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 8191, 1)).await, Answer::Good(vec![0xAA; BLOCK]));
}

#[tokio::test(start_paused = true)]
async fn an_aborted_command_leaves_the_operation_running() {
    let fixture = Fixture::new();
    let session = fixture.session("a");
    let (cdb, list) = overwrite(1, false);
    let aborted = tokio::time::timeout(Duration::from_secs(1), session.send(&cdb, &list)).await;
    assert!(aborted.is_err(), "without IMMED it takes as long as the operation");
    assert_eq!(session.run(&TEST_UNIT_READY).await, IN_PROGRESS);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
}

#[tokio::test(start_paused = true)]
async fn it_survives_a_restart() {
    let (store, device) = (StateStore::memory(), memory());
    let fixture = Fixture::with(options(), device.clone(), store.clone());
    let session = fixture.session("a");
    let (cdb, list) = overwrite(0x55, true);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    drop((session, fixture));
    let fixture = Fixture::with(options(), device.clone(), store.clone());
    let session = fixture.session("a");
    assert_eq!(session.run(&TEST_UNIT_READY).await, IN_PROGRESS);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(vec![0x55; BLOCK]));
    drop((session, fixture));
    let fixture = Fixture::with(options(), device, store);
    assert_eq!(fixture.session("a").run(&TEST_UNIT_READY).await, GOOD, "and is not repeated");
}

#[tokio::test]
async fn erasures_leave_zeroes() {
    for action in [0x02, 0x03] {
        let session = Fixture::new().session("a");
        session.send(&cdb10(0x2A, 0, 0, 8), &[1; 8 * BLOCK]).await;
        assert_eq!(session.run(&[0x48, action, 0, 0, 0, 0, 0, 0, 0, 0]).await, GOOD);
        assert_eq!(session.run(&cdb10(0x28, 0, 0, 8)).await, Answer::Good(vec![0; 8 * BLOCK]));
        let Answer::Good(status) = session.run(&cdb16(0x9E, 0x12, 0, 256)).await else { panic!("GOOD") };
        assert_eq!((status.len(), &status[16..21]), (24, &[0, 0, 0x20, 0, 1][..]), "one deallocated run");
    }
}

#[tokio::test]
async fn a_failure_is_left_by_exit_failure_mode() {
    let device = Arc::new(FaultyDevice::new(memory()));
    let fixture = Fixture::with(options(), device.clone(), StateStore::memory());
    let session = fixture.session("a");
    device.inject(Fault::always(&[Operation::Unmap], BlockError::Io(5)));
    const AUSE: u8 = 0x20;
    assert_eq!(session.run(&[0x48, AUSE | 0x02, 0, 0, 0, 0, 0, 0, 0, 0]).await, Answer::Check(3, 0x31, 3));
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Check(3, 0x31, 3));
    assert_eq!(session.run(&[0x48, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0]).await, GOOD);
    assert!(matches!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(_)));
}

#[tokio::test]
async fn lists_are_checked() {
    let session = Fixture::new().session("a");
    for (length, code) in [(0, 0x24), (4, 0x24), (BLOCK + 5, 0x24)] {
        let [high, low] = (length as u16).to_be_bytes();
        let answer = session.send(&[0x48, 0x01, 0, 0, 0, 0, 0, high, low, 0], &vec![0; length]).await;
        assert_eq!(answer, Answer::Check(5, code, 0), "{length}");
    }
    let (cdb, mut list) = overwrite(0, false);
    list[0] = 0;
    assert_eq!(session.send(&cdb, &list).await, Answer::Check(5, 0x26, 0), "OVERWRITE COUNT 0");
}

#[tokio::test]
async fn format_unit_empties() {
    let session = Fixture::new().session("a");
    session.send(&cdb10(0x2A, 0, 0, 8), &[1; 8 * BLOCK]).await;
    assert_eq!(session.send(&[0x04, 0x10, 0, 0, 0, 0], &[0, 0, 0, 0]).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 8)).await, Answer::Good(vec![0; 8 * BLOCK]));
    assert_eq!(session.run(&[0x04, 0x10, 0, 0, 0, 0]).await, Answer::Check(5, 0x1A, 0));
    assert_eq!(session.run(&[0x04, 0, 0, 0, 0, 0]).await, GOOD);
}

#[tokio::test]
async fn a_sanitize_that_cannot_be_recorded_leaves_a_failed_one_failed() {
    let device = Arc::new(FaultyDevice::new(memory()));
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = Fixture::with(options(), device.clone(), StateStore::directory(directory.path()));
    let session = fixture.session("a");
    device.inject(Fault::always(Operation::ALL, BlockError::Medium));
    session.run(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    let failed = session.run(&TEST_UNIT_READY).await;
    assert_ne!(failed, GOOD);
    let path = directory.path().to_owned();
    directory.close().expect("the state store is gone");
    std::fs::write(&path, b"").expect("a file where the directory was");
    session.run(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, failed, "nothing was sanitized");
    std::fs::remove_file(path).expect("our own");
}
