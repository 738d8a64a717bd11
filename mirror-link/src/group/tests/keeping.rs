//! What the keepers of files do, without a group.

use bytes::Bytes;

use crate::block::Payload;
use crate::group::keepers::{RecordsDue, SpillKeeper, SpillOrder};
use crate::ids::{Generation, OwnerEpoch, WriteSeq};
use crate::replica::io::{Input, Record, StoreFailed, StoreWrite};
use crate::store::{Place, SpillFile};
use crate::wire::message::{DiskState, Role};

fn record(epoch: u64) -> Box<Record> {
    Box::new(Record {
        role: Role::Primary,
        disk: DiskState::UpToDate,
        epoch: OwnerEpoch(epoch),
        generation: Generation::NONE,
        history: Vec::new(),
        peer_outdated: false,
        clean: false,
        dirty_since: None,
        mode: crate::config::Mode::Sync,
        lost_cache: false,
        counting: None,
    })
}

#[test]
fn the_newest_record_is_written_for_all_that_wait() {
    let mut due = RecordsDue::default();
    (1..=3).for_each(|n| due.push(StoreWrite(n), record(n)));
    assert_eq!(due.newest, Some(record(3)));
    assert_eq!(due.writes[..], [StoreWrite(1), StoreWrite(2), StoreWrite(3)]);
}

#[test]
fn spills_are_obeyed_in_order_and_a_failure_is_told_once() {
    let state_dir = tempfile::tempdir().unwrap();
    let place = Place::claim(state_dir.path(), "db").unwrap();
    let mut keeper = SpillKeeper::new("db".into(), SpillFile::new(&place, 1 << 20).unwrap());
    let data = |byte| Payload::from(Bytes::from(vec![byte; 1 << 19]));
    let result = |input| match input {
        Some(Input::Spilled { result, .. }) => result,
        other => panic!("{other:?}"),
    };
    for seq in 1..=4 {
        assert_eq!(result(keeper.obey(SpillOrder::Put(1, WriteSeq(seq), data(seq as u8)))), Ok(()), "{seq}");
        assert!(!keeper.failing);
    }
    for seq in 5..=6 {
        assert_eq!(result(keeper.obey(SpillOrder::Put(1, WriteSeq(seq), data(seq as u8)))), Err(StoreFailed));
        assert!(keeper.failing, "and what fails next is not in the log");
    }
    let Some(Input::Unspilled { run: 1, seq: WriteSeq(3), result: Ok(found) }) =
        keeper.obey(SpillOrder::Get(1, WriteSeq(3)))
    else {
        panic!("what was spilled is there")
    };
    assert!(found == data(3));
    assert!(keeper.obey(SpillOrder::Trim(WriteSeq(2))).is_none());
    assert_eq!(result(keeper.obey(SpillOrder::Put(1, WriteSeq(5), data(5)))), Ok(()));
    assert!(!keeper.failing);
    let gone = keeper.obey(SpillOrder::Get(1, WriteSeq(2)));
    assert!(matches!(gone, Some(Input::Unspilled { run: 1, seq: WriteSeq(2), result: Err(StoreFailed) })));
}
