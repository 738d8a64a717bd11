//! An asynchronously mirrored write costs its host no allocation: it is answered within its own turn, and what is kept of it
//! until the peer has it lies in places that are used again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mirror_link::block::{Durability, Eventually, Payload};
use mirror_link::config::{Mode, QueueBounds};
use mirror_link::extent::{BlockCount, Extent, Lba};
use mirror_link::group::{Group, PeerSession};
use mirror_link::ids::{SessionId, Slot, VolumeIndex};
use mirror_link::replica::status::LinkState;
use mirror_link::wire::message::{Message, Role};
use null::BLOCKS;
use parking_lot::Mutex;

mod null;

struct Counting;

thread_local! {
    /// Of this thread: the peer lives in the same process, on others.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Room for all that waits is there beforehand, as in a link's.
#[derive(Debug)]
struct Mailbox(Mutex<Vec<Message>>);

impl PeerSession for Mailbox {
    fn id(&self) -> SessionId {
        SessionId(1)
    }

    fn send(&self, _: Slot, message: Message) {
        self.0.lock().push(message);
    }

    fn misbehaved(&self, cause: &str) {
        panic!("a group broke the protocol: {cause}");
    }
}

struct Node {
    group: Arc<Group>,
    /// What it has sent.
    sent: Arc<Mailbox>,
}

impl Node {
    async fn start(role: Role, state_dir: &Path) -> Node {
        let queue = QueueBounds { memory: 16 << 20, spill: 0, window_bytes: 16 << 20, window_writes: 4096 };
        let sent = Arc::new(Mailbox(Mutex::new(Vec::with_capacity(10_000))));
        Node { group: null::start(role, Mode::Async, queue, state_dir).await, sent }
    }

    fn deliver_to(&self, other: &Node) -> bool {
        let mut messages: Vec<Message> = self.sent.0.lock().drain(..).collect();
        let some = !messages.is_empty();
        other.group.received(SessionId(1), &mut messages);
        some
    }
}

fn exchange(a: &Node, b: &Node) {
    while a.deliver_to(b) | b.deliver_to(a) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_asynchronous_write_allocates_nothing() {
    let (a_dir, b_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = Node::start(Role::Primary, a_dir.path()).await;
    let b = Node::start(Role::Secondary, b_dir.path()).await;
    a.group.session_up(a.sent.clone(), null::instance(Role::Secondary));
    b.group.session_up(b.sent.clone(), null::instance(Role::Primary));
    for node in [&a, &b] {
        node.group.slot_up(SessionId(1), Slot(0));
    }
    let start = Instant::now();
    while a.group.status().link != LinkState::Established {
        exchange(&a, &b);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(start.elapsed() < Duration::from_secs(10), "not established: {:?}", a.group.status());
    }
    let data = Payload::from(Bytes::from(vec![1; 4096]));
    // What a payload of one owner becomes when it is cloned first.
    let _shared = data.clone();
    let begin = |n: u64| {
        let extent = Extent::new(Lba(n * 7919 % BLOCKS), BlockCount(1), BlockCount(BLOCKS)).unwrap();
        (extent, a.group.write(VolumeIndex(0), extent, data.clone(), Durability::Cached))
    };
    // The first in a region waits until it is on record that the copies may differ there.
    for n in 0..1000 {
        begin(n).1.await.unwrap();
        exchange(&a, &b);
    }
    let mut write = |n: u64| {
        let (extent, answer) = begin(n);
        assert!(matches!(answer, Eventually::Now(Ok(()))), "write {n} waits");
        assert!(matches!(a.group.may_read(VolumeIndex(0), extent), Eventually::Now(Ok(()))), "read {n} waits");
    };
    // Places are made by the first writes, and used by the next.
    let mut least = usize::MAX;
    for _ in 0..5 {
        let before = ALLOCATIONS.get();
        (0..1000).for_each(&mut write);
        least = least.min(ALLOCATIONS.get() - before);
        exchange(&a, &b);
    }
    assert_eq!(least, 0, "allocations in 1000 writes");
}
