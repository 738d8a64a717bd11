//! A replica alone, whose files answer as the test says.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Replica;
use super::io::{Command, CommandId, HostChange, HostOp, Input, LocalAction, LocalIo, MapWrite, Output, StoreFailed};
use super::local_work::LocalWork;
use crate::block::{BlockError, Durability};
use crate::config::{
    AsideBounds, GroupConfig, MapBounds, Mode, OnJournalFull, OnLinkLoss, Policy, QueueBounds, VolumeSpec,
};
use crate::extent::{BlockCount, BlockLength, Extent, Lba};
use crate::ids::{Generation, Instance, OwnerEpoch, SessionId, Slot, VolumeIndex, WriteSeq};
use crate::wire::message::{Begin, DiskState, Hello, Marks, Message, Op, OpFrame, Role, VolumeShape};

const STALL: Duration = Duration::from_secs(1);

struct Alone {
    replica: Replica,
    now: Instant,
    maps: Vec<MapWrite>,
    /// That a stream asks for.
    flushes: Vec<LocalIo>,
    answers: Vec<(HostOp, Result<(), BlockError>)>,
}

impl Alone {
    /// A Primary that has just been created.
    fn new() -> Alone {
        Alone::as_first(Role::Primary)
    }

    fn as_first(first_role: Role) -> Alone {
        let config = GroupConfig {
            name: "db".into(),
            peer: "beta".into(),
            volumes: vec![VolumeSpec {
                name: "db".into(),
                block_length: BlockLength::B512,
                capacity: BlockCount(1 << 20),
            }],
            first_role,
            policy: Policy {
                mode: Mode::Async,
                on_link_loss: OnLinkLoss::Degrade,
                max_stall: STALL,
                wait_for_peer: Duration::from_secs(60),
                host_latency: None,
                on_journal_full: OnJournalFull::Detach,
                on_split_brain: Default::default(),
            },
            map: MapBounds { piece_bytes: 64 << 10, hot_max: 64 },
            scrub: None,
            initial_sync: Default::default(),
            aside: AsideBounds { undo_max: 0, undo_keep: Duration::ZERO, snapshot: false },
            lease: Duration::from_secs(2),
            queue: QueueBounds { memory: 1 << 20, spill: 0, window_bytes: 1 << 20, window_writes: 256 },
        };
        let now = Instant::now();
        let replica = Replica::new(config, "alpha".into(), Instance(1), 7, None, now);
        Alone { replica, now, maps: Vec::new(), flushes: Vec::new(), answers: Vec::new() }
    }

    /// It serves without its peer.
    fn serving() -> Alone {
        let mut alone = Alone::new();
        alone.handle(Input::Command { id: CommandId(1), command: Command::Promote { force: true } });
        alone
    }

    /// Records are written and devices answer at once; the map waits for the test, and so does a stream's flush.
    fn handle(&mut self, input: Input) {
        self.replica.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.poll_output() {
            match output {
                Output::Store { write, .. } => self.replica.handle(self.now, Input::Stored { write, result: Ok(()) }),
                Output::Local { io, action: LocalAction::Flush { .. } } if LocalWork::of(io).0 == LocalWork::Apply => {
                    self.flushes.push(io);
                }
                Output::Local { io, .. } => self.replica.handle(self.now, Input::LocalDone { io, result: Ok(()) }),
                Output::Map { write, .. } => self.maps.push(write),
                Output::Complete { op, result } => self.answers.push((op, result)),
                _ => (),
            }
        }
    }

    fn write(&mut self, op: u64, lba: u64) {
        let extent = Extent::new(Lba(lba), BlockCount(1), BlockCount(1 << 20)).unwrap();
        let data = Bytes::from(vec![7; 512]).into();
        let change = HostChange::Write { volume: VolumeIndex(0), extent, data, durability: Durability::Cached };
        self.handle(Input::Submit { op: HostOp(op), change });
    }

    /// Whatever is due within that time happens when it is.
    fn passes(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.replica.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.replica.handle_timeout(self.now);
            self.drain();
            assert!(self.replica.poll_timeout().is_none_or(|due| due > self.now), "what was due is done");
        }
        self.now = end;
    }

    fn mapped(&mut self, result: Result<(), StoreFailed>) {
        let write = self.maps.remove(0);
        self.handle(Input::Mapped { write, result });
    }

    fn flushed(&mut self) {
        let io = self.flushes.remove(0);
        self.handle(Input::LocalDone { io, result: Ok(()) });
    }

    /// The peer is Primary, and says so in a session of that number.
    fn meets(&mut self, session: u64) {
        self.handle(Input::SessionUp { session: SessionId(session), peer: Instance(2) });
        self.handle(Input::SlotUp(Slot(0)));
        self.receives(session, hello(Role::Primary, 1));
    }

    fn receives(&mut self, session: u64, message: Message) {
        self.handle(Input::Received { session: SessionId(session), message });
    }

    fn disk(&self) -> DiskState {
        self.replica.status(self.now).disk
    }

    /// A replica to which all has come in session 1, but for the flush at the end of it.
    fn almost_whole() -> Alone {
        let mut alone = Alone::as_first(Role::Secondary);
        alone.meets(1);
        alone.receives(1, begin(1, true));
        alone.receives(1, resync_done(1));
        assert_eq!((alone.disk(), alone.flushes.len()), (DiskState::Inconsistent, 1));
        alone
    }
}

fn hello(role: Role, number: u64) -> Message {
    let capacity = BlockCount(1 << 20);
    Message::Hello(Box::new(Hello {
        group: "db".into(),
        node: "beta".into(),
        instance: Instance(2),
        volumes: vec![VolumeShape { name: "db".into(), block_length: BlockLength::B512, capacity }],
        role,
        disk: DiskState::UpToDate,
        epoch: OwnerEpoch(2),
        generation: Generation(7),
        history: Vec::new(),
        dirty_since: None,
        crashed_owner: false,
        lost_cache: false,
        resumes: false,
        holds: false,
        peer_outdated: true,
        received: Marks::default(),
        counting: Some(Generation(9)),
        suspects: Vec::new(),
        number,
    }))
}

fn begin(first: u64, resync: bool) -> Message {
    let (epoch, first) = (OwnerEpoch(2), WriteSeq(first));
    Message::Begin(Begin { epoch, first, resync, generation: Generation(7), counting: Generation(9) })
}

fn resync_done(seq: u64) -> Message {
    let (seq, after) = (WriteSeq(seq), WriteSeq(seq - 1));
    let op = Op::ResyncDone { generation: Generation(7) };
    Message::Op(OpFrame { epoch: OwnerEpoch(2), seq, after, odep: Default::default(), op })
}

#[test]
fn a_map_that_hangs_is_waited_for_no_longer_than_max_stall() {
    let mut alone = Alone::serving();
    alone.write(1, 0);
    alone.passes(STALL / 2);
    alone.write(2, 1);
    assert_eq!((alone.maps.len(), alone.answers.len()), (1, 0));
    alone.passes(STALL / 2);
    assert_eq!(alone.answers, [(HostOp(1), Err(BlockError::Stalled))]);
    alone.mapped(Ok(()));
    assert_eq!(alone.answers[1..], [(HostOp(2), Ok(()))], "it has waited half as long");
    alone.write(3, 2);
    assert_eq!(alone.answers[2..], [(HostOp(3), Ok(()))], "its region is hot");
    alone.passes(10 * STALL);
}

#[test]
fn a_map_that_cannot_be_written_is_told_at_once_and_tried_again() {
    let mut alone = Alone::serving();
    alone.write(1, 0);
    alone.mapped(Err(StoreFailed));
    assert_eq!(alone.answers, [(HostOp(1), Err(BlockError::Stalled))]);
    alone.write(2, 0);
    alone.mapped(Ok(()));
    assert_eq!(alone.answers[1..], [(HostOp(2), Ok(()))]);
}

#[test]
fn who_gave_way_is_not_shown_as_up_to_date_before_the_peer_has_said_what_it_is() {
    for demoted_first in [false, true] {
        let mut alone = Alone::new();
        let mut inputs = [
            Input::SessionUp { session: SessionId(1), peer: Instance(2) },
            Input::SlotUp(Slot(0)),
            Input::Command { id: CommandId(1), command: Command::Demote { force: false } },
        ];
        if demoted_first {
            inputs.rotate_right(1);
        }
        inputs.into_iter().for_each(|input| alone.handle(input));
        let status = alone.replica.status(alone.now);
        assert_eq!((status.role, status.disk), (Role::Secondary, DiskState::Consistent));
    }
}

#[test]
fn the_end_of_its_stream_makes_a_copy_whole_also_when_the_owner_is_gone_meanwhile() {
    for is_gone in [false, true] {
        let mut alone = Alone::almost_whole();
        if is_gone {
            alone.handle(Input::SessionDown);
        }
        alone.flushed();
        assert_eq!(alone.disk(), DiskState::UpToDate, "the owner is gone: {is_gone}");
    }
}

#[test]
fn the_end_of_a_former_sessions_stream_makes_no_copy_whole_but_that_of_this_one_does() {
    let mut alone = Alone::almost_whole();
    alone.handle(Input::SessionDown);
    alone.meets(2);
    alone.flushed();
    assert_eq!(alone.disk(), DiskState::Inconsistent, "our Hello said so, and the peer goes by that");
    alone.receives(2, begin(2, false));
    alone.receives(2, resync_done(2));
    alone.flushed();
    assert_eq!(alone.disk(), DiskState::UpToDate);
}

#[test]
fn a_reign_that_the_peer_says_is_over_makes_no_copy_whole() {
    let mut alone = Alone::almost_whole();
    alone.receives(1, hello(Role::Secondary, 2));
    alone.flushed();
    assert_eq!(alone.disk(), DiskState::Inconsistent);
}

#[test]
fn a_generation_that_the_owner_has_left_makes_no_copy_whole() {
    let mut alone = Alone::almost_whole();
    let Message::Hello(mut goes_alone) = hello(Role::Primary, 2) else { panic!("a Hello") };
    (goes_alone.generation, goes_alone.history) = (Generation(8), vec![Generation(7)]);
    alone.receives(1, Message::Hello(goes_alone));
    alone.flushed();
    assert_eq!(alone.disk(), DiskState::Inconsistent);
}

#[test]
fn a_promotion_whose_record_fails_leaves_nothing_paused() {
    let mut alone = Alone::as_first(Role::Secondary);
    alone.drain();
    alone.replica.handle(alone.now, Input::Command { id: CommandId(1), command: Command::Promote { force: true } });
    let mut record = None;
    while let Some(output) = alone.replica.poll_output() {
        match output {
            Output::Store { write, .. } => record = Some(write),
            Output::Local { io, .. } => alone.replica.handle(alone.now, Input::LocalDone { io, result: Ok(()) }),
            _ => (),
        }
    }
    alone.handle(Input::Command { id: CommandId(2), command: Command::Pause });
    assert!(alone.replica.status(alone.now).paused);
    alone.handle(Input::Stored { write: record.expect("a promotion is recorded"), result: Err(StoreFailed) });
    let status = alone.replica.status(alone.now);
    assert_eq!((status.role, status.paused), (Role::Secondary, false));
}
