//! What the keepers of files do, without a group.

use bytes::Bytes;

use crate::block::Payload;
use crate::extent::{BlockCount, Lba};
use crate::group::keepers::{JournalKeeper, JournalOrder, RecordsDue};
use crate::ids::{Generation, OwnerEpoch, VolumeIndex, WriteSeq};
use crate::replica::io::{Input, Record, StoreFailed, StoreWrite};
use crate::store::{Journal, Place};
use crate::wire::message::{DiskState, Op, OpFrame, Range, Role};

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
        overwritten: None,
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
    let mut keeper = JournalKeeper::new("db".into(), Journal::new(&place, 1 << 20).unwrap());
    let data = |byte| Payload::from(Bytes::from(vec![byte; 1 << 19]));
    let put = |seq: u64| {
        let range = Range { lba: Lba(0), blocks: BlockCount(1 << 10) };
        let op = Op::Write { volume: VolumeIndex(0), range, data: data(seq as u8), durable: false };
        let (after, odep) = (WriteSeq(0), Default::default());
        JournalOrder::Put(1, Box::new(OpFrame { epoch: OwnerEpoch(2), seq: WriteSeq(seq), after, odep, op }))
    };
    let result = |input| match input {
        Some(Input::Spilled { result, .. }) => result,
        other => panic!("{other:?}"),
    };
    for seq in 1..=3 {
        assert_eq!(result(keeper.obey(put(seq))), Ok(()), "{seq}");
        assert!(!keeper.failing);
    }
    for seq in 4..=5 {
        assert_eq!(result(keeper.obey(put(seq))), Err(StoreFailed));
        assert!(keeper.failing, "and what fails next is not in the log");
    }
    let Some(Input::Unspilled { run: 1, seq: WriteSeq(3), result: Ok(found) }) =
        keeper.obey(JournalOrder::Get(1, WriteSeq(3)))
    else {
        panic!("what was spilled is there")
    };
    assert!(found == data(3));
    assert!(keeper.obey(JournalOrder::Trim(WriteSeq(2))).is_none());
    assert_eq!(result(keeper.obey(put(5))), Ok(()));
    assert!(!keeper.failing);
    let gone = keeper.obey(JournalOrder::Get(1, WriteSeq(2)));
    assert!(matches!(gone, Some(Input::Unspilled { run: 1, seq: WriteSeq(2), result: Err(StoreFailed) })));
}
