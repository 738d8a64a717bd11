//! What a group adds to a 4 KiB write: two groups in this process, devices that keep nothing, a line that is a channel.
//!
//! `cargo run --release -p mirror-link --example group_cost [WRITES [MODE DEPTH]]`, where MODE is Async, Memsync or Sync

#![allow(clippy::print_stdout, reason = "what it measured is for a terminal")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use mirror_link::block::{BlockError, Durability, Eventually, Io, Payload};
use mirror_link::config::{Mode, QueueBounds};
use mirror_link::extent::{BlockCount, Extent, Lba};
use mirror_link::group::{Group, PeerSession};
use mirror_link::ids::{SessionId, Slot, VolumeIndex};
use mirror_link::replica::io::Standing;
use mirror_link::replica::status::LinkState;
use mirror_link::wire::message::{Message, Role};
use null::BLOCKS;
use tokio::sync::mpsc;

#[path = "../tests/null/mod.rs"]
mod null;

const VOLUME: VolumeIndex = VolumeIndex(0);
const QUEUE: QueueBounds = QueueBounds { memory: 64 << 20, spill: 0, window_bytes: 64 << 20, window_writes: 16384 };

#[derive(Debug)]
struct Channel {
    slots: Vec<mpsc::UnboundedSender<Message>>,
    sent: AtomicU64,
}

impl PeerSession for Channel {
    fn id(&self) -> SessionId {
        SessionId(1)
    }

    fn send(&self, slot: Slot, message: Message) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.slots[usize::from(slot.0)].send(message).ok();
    }

    fn misbehaved(&self, cause: &str) {
        panic!("a group broke the protocol: {cause}");
    }
}

struct Pair {
    primary: Arc<Group>,
    sessions: [Arc<Channel>; 2],
}

impl Pair {
    async fn start(mode: Mode, state_dirs: [&std::path::Path; 2]) -> Pair {
        let a = null::start(Role::Primary, mode, QUEUE, state_dirs[0]).await;
        let b = null::start(Role::Secondary, mode, QUEUE, state_dirs[1]).await;
        let sessions = [line(&b), line(&a)];
        a.session_up(sessions[0].clone(), null::instance(Role::Secondary));
        b.session_up(sessions[1].clone(), null::instance(Role::Primary));
        for slot in (0..SLOTS).map(Slot) {
            a.slot_up(SessionId(1), slot);
            b.slot_up(SessionId(1), slot);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while a.status().link != LinkState::Established {
            assert!(Instant::now() < deadline, "the pair is not established: {:?}", a.status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Pair { primary: a, sessions }
    }

    fn frames(&self) -> [u64; 2] {
        [0, 1].map(|side| self.sessions[side].sent.load(Ordering::Relaxed))
    }
}

/// Whoever sends into it sends to that group.
fn line(to: &Arc<Group>) -> Arc<Channel> {
    let mut slots = Vec::new();
    for _ in 0..SLOTS {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let group = to.clone();
        tokio::spawn(async move {
            let mut messages = Vec::new();
            while receiver.recv_many(&mut messages, 64).await > 0 {
                group.received(SessionId(1), &mut messages);
            }
        });
        slots.push(sender);
    }
    Arc::new(Channel { slots, sent: AtomicU64::new(0) })
}

fn write(group: &Arc<Group>, n: u64, data: &Payload) -> Io<()> {
    let lba = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    let extent = Extent::new(Lba(lba), BlockCount(1), BlockCount(BLOCKS)).expect("it lies on the device");
    group.write(VOLUME, extent, data.clone(), Durability::Cached)
}

/// `depth` writes under way at any time, from one task.
async fn run(group: &Arc<Group>, writes: u64, depth: u64) -> Result<(), BlockError> {
    let data = Payload::from(Bytes::from(vec![0xa5; 4096]));
    let mut open = FuturesUnordered::new();
    for n in 0..writes {
        if let Eventually::Later(later) = write(group, n, &data) {
            open.push(later);
        }
        if open.len() as u64 >= depth
            && let Some(result) = open.next().await
        {
            result?;
        }
        if n % 64 == 63 {
            tokio::task::yield_now().await;
        }
    }
    while let Some(result) = open.next().await {
        result?;
    }
    Ok(())
}

fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

async fn measure(what: &str, group: &Arc<Group>, writes: u64, depth: u64, frames: impl Fn() -> [u64; 2]) {
    run(group, writes / 10, depth).await.expect("writes succeed");
    let (start, processor, [to_b, to_a]) = (Instant::now(), processor_time(), frames());
    run(group, writes, depth).await.expect("writes succeed");
    let (took, used) = (start.elapsed(), processor_time() - processor);
    let [now_b, now_a] = frames();
    let each = |time: Duration| time.as_nanos() as f64 / writes as f64;
    println!(
        "{what:9} depth {depth:4}: {:6.0} ns/write by the clock, {:6.0} ns of processor; frames a write: {:.2} out, {:.2} back",
        each(took),
        each(used),
        (now_b - to_b) as f64 / writes as f64,
        (now_a - to_a) as f64 / writes as f64,
    );
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let writes = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    if let [_, mode, depth] = &arguments[..] {
        let mode = [Mode::Async, Mode::Memsync, Mode::Sync].into_iter().find(|known| format!("{known:?}") == *mode);
        let (mode, depth) = (mode.expect("a mode"), depth.parse().expect("a number"));
        return joined(mode, writes, &[depth]).await;
    }
    alone(writes).await;
    for mode in [Mode::Async, Mode::Memsync, Mode::Sync] {
        joined(mode, writes / 4, &[1, 32, 256]).await;
    }
}

/// Without a peer: what the group itself costs.
async fn alone(writes: u64) {
    let state_dir = tempfile::tempdir().expect("a temporary directory");
    let group = null::start(Role::Primary, Mode::Async, QUEUE, state_dir.path()).await;
    while group.status().standing != Standing::Active {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    measure("alone", &group, writes, 1, || [0, 0]).await;
}

async fn joined(mode: Mode, writes: u64, depths: &[u64]) {
    let state = || tempfile::tempdir().expect("a temporary directory");
    let (a, b) = (state(), state());
    let pair = Pair::start(mode, [a.path(), b.path()]).await;
    for &depth in depths {
        measure(&format!("{mode:?}"), &pair.primary, writes, depth, || pair.frames()).await;
    }
}

const SLOTS: u8 = 4;
