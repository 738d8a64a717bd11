//! EXTENDED COPY and RECEIVE COPY RESULTS between logical units of a nexus.

use super::*;
use crate::block::BlockError;
use crate::block::faulty::{Fault, FaultyDevice, Operation};

/// The unit asked (LUN 0) and another (LUN 1).
fn two() -> (Fixture, Arc<LogicalUnit>) {
    let mut fixture = Fixture::new();
    let identity = Identity { uuid: uuid::Uuid::from_u128(2) };
    let options = LuOptions { removable: true, ..LuOptions::new("other", identity) };
    let other = LogicalUnit::new(options, memory(), StateStore::memory()).expect("nothing stored is wrong");
    fixture.inventory = Arc::new(LunInventory::new(vec![(0, fixture.unit.clone()), (1 << 48, other.clone())]));
    (fixture, other)
}

/// A session to the other unit.
fn session_to(other: &Arc<LogicalUnit>, initiator: &str) -> Session {
    let inventory = Arc::new(LunInventory::new(vec![(0, other.clone())]));
    Fixture { unit: other.clone(), inventory }.session(initiator)
}

/// 8 blocks from LBA 0 of `from` to LBA `to_lba` of `to`.
fn descriptors(from: &LogicalUnit, to: &LogicalUnit, to_lba: u8) -> Vec<u8> {
    let mut list = Vec::new();
    for unit in [from, to] {
        let mut cscd = [0; 32];
        cscd[0] = 0xE4;
        cscd[4..8].copy_from_slice(&[1, 3, 0, 8]);
        cscd[8..16].copy_from_slice(&unit.options().naa());
        cscd[30] = 2;
        list.extend_from_slice(&cscd);
    }
    list.extend_from_slice(&[2, 0, 0, 0x18, 0, 0, 0, 1, 0, 0, 0, 8]);
    list.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, to_lba]);
    list
}

fn lid1(list_id: u8, descriptors: &[u8]) -> Vec<u8> {
    [&[list_id, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0], descriptors].concat()
}

async fn copy(session: &Session, service_action: u8, list: &[u8]) -> Answer {
    let cdb = [0x83, service_action, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0, 0];
    session.send(&cdb, list).await
}

async fn results(session: &Session, service_action: u8, list_id: [u8; 4]) -> Answer {
    let [a, b, c, d] = list_id;
    session.run(&[0x84, service_action, a, b, c, d, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).await
}

async fn write(session: &Session, lba: u8, byte: u8) {
    let cdb = [0x2A, 0, 0, 0, 0, lba, 0, 0, 8, 0];
    assert_eq!(session.send(&cdb, &[byte; 8 * BLOCK]).await, GOOD);
}

async fn read(session: &Session, lba: u8) -> Answer {
    session.run(&[0x28, 0, 0, 0, 0, lba, 0, 0, 8, 0]).await
}

#[tokio::test]
async fn within_a_unit_and_to_another() {
    let (fixture, other) = two();
    let (here, there) = (fixture.session("a"), session_to(&other, "a"));
    write(&here, 0, 0xAB).await;
    assert_eq!(copy(&here, 0, &lid1(1, &descriptors(&fixture.unit, &fixture.unit, 100))).await, GOOD);
    assert_eq!(read(&here, 100).await, Answer::Good(vec![0xAB; 8 * BLOCK]));
    assert_eq!(copy(&here, 0, &lid1(2, &descriptors(&fixture.unit, &other, 50))).await, GOOD);
    assert_eq!(read(&there, 50).await, Answer::Good(vec![0xAB; 8 * BLOCK]));
    assert_eq!(copy(&here, 0, &[]).await, GOOD, "an empty list copies nothing");
    let status = vec![0, 0, 0, 8, 1, 0, 1, 0, 0, 0, 0x10, 0];
    assert_eq!(results(&here, 0, [2, 0, 0, 0]).await, Answer::Good(status));
    assert_eq!(results(&here, 0, [3, 0, 0, 0]).await, Answer::Check(5, 0x24, 0));
    let _ = here.itl.reset(Reset::LogicalUnit).await;
    assert_eq!(results(&session_to(&fixture.unit, "b"), 0, [2, 0, 0, 0]).await, Answer::Check(5, 0x24, 0));
}

#[tokio::test]
async fn reservations_of_the_other_unit_are_honoured() {
    let (fixture, other) = two();
    let (here, stranger) = (fixture.session("a"), session_to(&other, "b"));
    assert_eq!(stranger.run(&[0x16, 0, 0, 0, 0, 0]).await, GOOD);
    let list = lid1(1, &descriptors(&fixture.unit, &other, 0));
    assert_eq!(copy(&here, 0, &list).await, Answer::Check(0xA, 0x0D, 0x01));
    assert_eq!(stranger.run(&[0x17, 0, 0, 0, 0, 0]).await, GOOD);
    assert_eq!(copy(&here, 0, &list).await, GOOD);
}

#[tokio::test]
async fn an_ejected_unit_and_a_stranger_are_out_of_reach() {
    let (fixture, other) = two();
    let (here, there) = (fixture.session("a"), session_to(&other, "a"));
    assert_eq!(there.run(&[0x1B, 0, 0, 0, 2, 0]).await, GOOD);
    let list = lid1(1, &descriptors(&fixture.unit, &other, 0));
    assert_eq!(copy(&here, 0, &list).await, Answer::Check(0xA, 0x0D, 0x02));
    let mut alone = fixture.session("a");
    alone.inventory = Arc::new(LunInventory::new(vec![(0, fixture.unit.clone())]));
    assert_eq!(there.run(&[0x1B, 0, 0, 0, 3, 0]).await, GOOD);
    assert_eq!(copy(&alone, 0, &list).await, Answer::Check(0xA, 0x0D, 0x02), "not in this nexus's LUN map");
    assert_eq!(copy(&here, 0, &list).await, GOOD);
}

#[tokio::test]
async fn the_version_decides_what_lu_id_type_and_nul_mean() {
    for (scsi_version, lu_id_type, nul) in
        [(5, Answer::Check(5, 0x26, 0), Answer::Check(0xA, 0x08, 0x04)), (6, GOOD, GOOD)]
    {
        let fixture = Fixture::with(LuOptions { scsi_version, ..options() }, memory(), StateStore::memory());
        let session = fixture.session("a");
        let mut list = lid1(1, &descriptors(&fixture.unit, &fixture.unit, 64));
        list[17] = 0x80;
        assert_eq!(copy(&session, 0, &list).await, lu_id_type);
        list[17] = 0x20;
        assert_eq!(copy(&session, 0, &list).await, nul);
    }
}

#[tokio::test]
async fn an_immediate_copy_is_good_at_once_and_its_status_follows() {
    let (fixture, other) = two();
    let (here, there) = (fixture.session("a"), session_to(&other, "a"));
    write(&here, 0, 0xCD).await;
    let mut list = vec![0; 48];
    (list[0], list[3], list[15], list[16]) = (1, 0x20, 1, 0xFF);
    list[20..24].copy_from_slice(&[9, 8, 7, 6]);
    (list[43], list[45]) = (64, 28);
    list.extend(descriptors(&fixture.unit, &other, 7));
    assert_eq!(copy(&here, 1, &list).await, GOOD);
    let completed = loop {
        match results(&here, 5, [9, 8, 7, 6]).await {
            Answer::Good(status) if status[5] == 0x12 => tokio::task::yield_now().await,
            Answer::Good(status) => break status,
            other => panic!("a status was expected, not {other:?}"),
        }
    };
    assert_eq!((completed[5], completed[25]), (1, 1), "completed, one segment");
    assert_eq!(read(&there, 7).await, Answer::Good(vec![0xCD; 8 * BLOCK]));
}

#[tokio::test(start_paused = true)]
async fn a_copy_outlasts_a_peer_that_does_not_answer() {
    let device = Arc::new(FaultyDevice::new(memory()));
    let fixture = Fixture::with(options(), device.clone(), StateStore::memory());
    let session = fixture.session("a");
    write(&session, 0, 0xAB).await;
    device.inject(Fault { times: 3, ..Fault::always(&[Operation::Read, Operation::Write], BlockError::Stalled) });
    assert_eq!(copy(&session, 0, &lid1(1, &descriptors(&fixture.unit, &fixture.unit, 100))).await, GOOD);
    assert_eq!(read(&session, 100).await, Answer::Good(vec![0xAB; 8 * BLOCK]));
}
