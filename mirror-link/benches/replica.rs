//! A host's write through both replicas, in memory: numbered and sent by the owner, applied by the replica, acknowledged, and
//! answered. Neither wire nor device: both answer at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mirror_link::block::{Durability, Payload};
use mirror_link::config::{AsideBounds, GroupConfig, MapBounds, Mode, OnLinkLoss, Policy, QueueBounds, VolumeSpec};
use mirror_link::extent::{BlockCount, BlockLength, Extent, Lba};
use mirror_link::ids::{Instance, SessionId, Slot, VolumeIndex};
use mirror_link::replica::Replica;
use mirror_link::replica::io::{Found, HostChange, HostOp, Input, LocalAction, Output};
use mirror_link::replica::status::LinkState;
use mirror_link::wire::message::Role;

const BLOCKS: BlockCount = BlockCount(1 << 12);
const SESSION: SessionId = SessionId(1);

/// Two replicas that are established, and time that passes as it does.
struct Pair {
    owner: Replica,
    replica: Replica,
    now: Instant,
    data: Payload,
    next: u64,
    answered: u64,
}

fn replica(role: Role, mode: Mode, now: Instant) -> Replica {
    let (node, peer, number) = if role == Role::Primary { ("alpha", "beta", 1) } else { ("beta", "alpha", 2) };
    let config = GroupConfig {
        name: "db".into(),
        peer: peer.into(),
        volumes: vec![VolumeSpec { name: "db".into(), block_length: BlockLength::B4096, capacity: BLOCKS }],
        first_role: role,
        policy: Policy {
            mode,
            on_link_loss: OnLinkLoss::Degrade,
            max_stall: Duration::from_secs(5),
            wait_for_peer: Duration::from_secs(5),
            host_latency: None,
            on_journal_full: Default::default(),
            on_split_brain: Default::default(),
        },
        initial_sync: Default::default(),
        map: MapBounds { piece_bytes: 64 << 10, hot_max: 1024 },
        scrub: None,
        aside: AsideBounds { undo_max: 0, undo_keep: Duration::ZERO, snapshot: false },
        lease: Duration::from_secs(2),
        queue: QueueBounds { memory: 16 << 20, spill: 0, window_bytes: 16 << 20, window_writes: 4096 },
    };
    Replica::new(config, node.into(), Instance(number), number, None, now)
}

impl Pair {
    fn established(mode: Mode) -> Pair {
        let now = Instant::now();
        let (owner, replica) = (replica(Role::Primary, mode, now), replica(Role::Secondary, mode, now));
        let data = Payload::from(Bytes::from(vec![1; 4096]));
        let mut pair = Pair { owner, replica, now, data, next: 0, answered: 0 };
        pair.exchange();
        for (side, peer) in [(&mut pair.owner, 2), (&mut pair.replica, 1)] {
            side.handle(now, Input::SessionUp { session: SESSION, peer: Instance(peer) });
            side.handle(now, Input::SlotUp(Slot(0)));
        }
        pair.exchange();
        // The resync of a new pair, and whatever is due meanwhile.
        for _ in 0..100_000 {
            if pair.owner.status(pair.now).link == LinkState::Established {
                break;
            }
            pair.now += Duration::from_millis(1);
            pair.owner.handle_timeout(pair.now);
            pair.replica.handle_timeout(pair.now);
            pair.exchange();
        }
        assert_eq!(pair.owner.status(pair.now).link, LinkState::Established);
        // The first in a region waits for the map.
        pair.writes(2 * BLOCKS.0);
        pair
    }

    /// Until neither has more to say.
    fn exchange(&mut self) {
        loop {
            self.owner.end_turn(self.now);
            self.replica.end_turn(self.now);
            let answered = &mut self.answered;
            let some = drain(&mut self.owner, &mut self.replica, self.now, answered);
            if !(drain(&mut self.replica, &mut self.owner, self.now, answered) | some) {
                return;
            }
        }
    }

    /// So many at once, and all of what follows.
    fn writes(&mut self, count: u64) {
        let end = self.answered + count;
        for _ in 0..count {
            let lba = Lba(self.next.wrapping_mul(7919) % BLOCKS.0);
            let extent = Extent::new(lba, BlockCount(1), BLOCKS).expect("within");
            let (data, durability) = (self.data.clone(), Durability::Cached);
            let change = HostChange::Write { volume: VolumeIndex(0), extent, data, durability };
            self.owner.handle(self.now, Input::Submit { op: HostOp(self.next), change });
            self.next += 1;
        }
        self.exchange();
        assert_eq!(self.answered, end, "every write is answered");
    }
}

/// Carries out what one side wants: devices, records and maps answer at once, messages are there at once.
fn drain(side: &mut Replica, other: &mut Replica, now: Instant, answered: &mut u64) -> bool {
    let mut some = false;
    while let Some(output) = side.poll_output() {
        some = true;
        match output {
            Output::Send { message, .. } => other.handle(now, Input::Received { session: SESSION, message }),
            Output::Local { io, action: LocalAction::Read { .. } } => {
                side.handle(now, Input::LocalRead { io, result: Ok(Found::Zeroes) });
            }
            Output::Local { io, .. } => side.handle(now, Input::LocalDone { io, result: Ok(()) }),
            Output::Store { write, .. } => side.handle(now, Input::Stored { write, result: Ok(()) }),
            Output::Map { write, .. } => side.handle(now, Input::Mapped { write, result: Ok(()) }),
            Output::KeepAside(kept) => side.handle(now, Input::Kept { resync: kept.copy.resync }),
            Output::Complete { result, .. } => {
                result.expect("a write goes well");
                *answered += 1;
            }
            Output::Misbehaved(cause) => panic!("a replica broke the protocol: {cause:?}"),
            _ => (),
        }
    }
    some
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("write through both replicas");
    for mode in [Mode::Sync, Mode::Memsync, Mode::Async] {
        for depth in [1, 32] {
            let mut pair = Pair::established(mode);
            group.throughput(Throughput::Elements(depth));
            group.bench_with_input(BenchmarkId::new(format!("{mode:?}"), depth), &depth, |b, depth| {
                b.iter(|| pair.writes(*depth));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, writes);
criterion_main!(benches);
