//! Ten million mutated PDUs against live sessions: framer, session, task router and logical units in one process.
//!
//! No panic, no PDU that takes longer than its time, memory within its bound, and a judge over everything the target says.
//! `LUNMIRROR_PDUS` is another number of them, `LUNMIRROR_SEED` another beginning; each epoch has its own seed, which a
//! failure names, and begins with it as with any other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use iscsi_proto::digest::Digests;
use scenarios::live::{Answers, Live, units};
use scenarios::note;
use scenarios::pdus::{mutated, valid};
use scenarios::random::Random;

/// Mutated PDUs that reach a session.
const PDUS: u64 = 10_000_000;
/// Of one epoch: as long as one set of logical units lives.
const EPOCH: u64 = 20_000;
/// What one PDU and all that follows of it may take, on a machine that does much else.
const PDU_TIME_MAX: Duration = Duration::from_secs(2);
/// For all of them, optimized. It takes a minute or two.
const TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// What passes with every PDU, in the time that the sessions know: a sanitize operation of 8 s is over after 160.
const TICK: Duration = Duration::from_millis(50);
/// Beyond what the process had at the start of an epoch: three units of 1 to 8 MiB with copies of what is on its way,
/// two sessions with a window of 32 commands of 16 KiB and 128 KiB solicited each.
const MEMORY_MAX: usize = 48 << 20;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if live > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        taken(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an epoch came to.
#[derive(Debug, Default)]
struct Tally {
    mutated: u64,
    taken: u64,
    answers: Answers,
    sessions: u64,
    memory_max: usize,
    slowest: Duration,
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect("a whole number"))
}

#[test]
fn ten_million_mutated_pdus_do_no_harm() {
    let wanted = setting("LUNMIRROR_PDUS", PDUS);
    let first = setting("LUNMIRROR_SEED", 1);
    let begun = Instant::now();
    let mut all = Tally::default();
    let mut seed = first;
    let before = LIVE.load(Ordering::Relaxed);
    let planted = vec![1_u8; MEMORY_MAX];
    assert!(LIVE.load(Ordering::Relaxed) >= before + planted.len(), "memory is counted");
    drop(planted);
    while all.mutated < wanted {
        let tally = watched(seed, || epoch(seed, EPOCH.min(wanted - all.mutated)));
        all.mutated += tally.mutated;
        all.taken += tally.taken;
        all.answers.add(&tally.answers);
        all.sessions += tally.sessions;
        all.memory_max = all.memory_max.max(tally.memory_max);
        all.slowest = all.slowest.max(tally.slowest);
        seed += 1;
        assert!(begun.elapsed() < TIME_MAX, "{} PDUs in {TIME_MAX:?}", all.mutated);
    }
    let rate = all.taken as f64 / begun.elapsed().as_secs_f64();
    note!(
        "seeds {first} to {}: {all:?} in {:?}: {rate:.0} PDUs/s; memory at most {:.1} MiB of {}",
        seed - 1,
        begun.elapsed(),
        all.memory_max as f64 / f64::from(1 << 20),
        MEMORY_MAX >> 20
    );
    let Answers { good, not_good, r2ts, rejects, .. } = all.answers;
    let least = all.mutated / 100;
    assert!([good, not_good, r2ts, rejects].iter().all(|count| *count > least), "some paths were hardly gone: {all:?}");
}

/// A loop without end says nothing; this says which seed it is in, and ends the process.
fn watched(seed: u64, work: impl FnOnce() -> Tally) -> Tally {
    static DONE: AtomicBool = AtomicBool::new(false);
    DONE.store(false, Ordering::Release);
    let watch = thread::spawn(move || {
        let begun = Instant::now();
        while !DONE.load(Ordering::Acquire) {
            thread::park_timeout(Duration::from_millis(500));
            if begun.elapsed() > EPOCH_TIME_MAX {
                note!("LUNMIRROR_SEED={seed}: no end after {EPOCH_TIME_MAX:?}");
                std::process::exit(101);
            }
        }
    });
    // A panic in here is the test's own; what it was doing is known by its seed.
    let told = Told { seed };
    let tally = work();
    std::mem::forget(told);
    DONE.store(true, Ordering::Release);
    watch.thread().unpark();
    watch.join().expect("it only waits");
    tally
}

const EPOCH_TIME_MAX: Duration = Duration::from_secs(120);

/// Names the seed when something panics.
struct Told {
    seed: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        note!("LUNMIRROR_SEED={} LUNMIRROR_PDUS={EPOCH} is where it happened", self.seed);
    }
}

fn epoch(seed: u64, wanted: u64) -> Tally {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let base = LIVE.load(Ordering::Relaxed);
    PEAK.store(base, Ordering::Relaxed);
    let mut tally = runtime.block_on(run(seed, wanted));
    runtime.shutdown_timeout(Duration::from_secs(10));
    tally.memory_max = PEAK.load(Ordering::Relaxed).saturating_sub(base);
    assert!(tally.memory_max <= MEMORY_MAX, "seed {seed}: {} bytes of memory, of {MEMORY_MAX}", tally.memory_max);
    let left = LIVE.load(Ordering::Relaxed).saturating_sub(base);
    assert!(left < 1 << 20, "seed {seed}: {left} bytes are left behind");
    tally
}

async fn run(seed: u64, wanted: u64) -> Tally {
    let mut random = Random(seed);
    let units = units();
    let mut tally = Tally::default();
    let mut number = 0;
    let mut begin = |random: &mut Random, tally: &mut Tally| {
        number += 1;
        tally.sessions += 1;
        let digests = Digests { header: random.once_in(4), data: random.once_in(4) };
        Live::new(&units, number, digests, random.once_in(2))
    };
    let mut sessions = [begin(&mut random, &mut tally), begin(&mut random, &mut tally)];
    let mut wire = BytesMut::new();
    let mut held_over = BytesMut::new();
    while tally.mutated < wanted {
        let at = random.below(2);
        let live = &mut sessions[at];
        let pdu = valid(&mut random, live);
        wire.clear();
        let is_mutated = !random.once_in(4);
        match is_mutated {
            true => mutated(&mut random, pdu, live.digests, &mut wire),
            false => live.digests.put(&pdu, &mut wire),
        }
        // Order: one PDU now and then comes late, comes twice, or never.
        match random.below(60) {
            0 => std::mem::swap(&mut wire, &mut held_over),
            1 => wire.extend_from_slice(&wire.clone()),
            2 => wire.clear(),
            _ => {}
        }
        let (begun, taken_before) = (Instant::now(), live.taken);
        if let Err(what) = live.feed(&wire) {
            panic!("seed {seed}, PDU {}: {what}", tally.mutated);
        }
        tally.mutated += u64::from(is_mutated && live.taken > taken_before);
        let (other, mine) = (1 - at, live.is_over);
        // What one did to the other (a reset, a preemption) is for the other to do.
        if let Err(what) = sessions[other].settle() {
            panic!("seed {seed}, PDU {}: the other session: {what}", tally.mutated);
        }
        // What goes on in the background goes on.
        tokio::time::advance(TICK).await;
        let took = begun.elapsed();
        tally.slowest = tally.slowest.max(took);
        assert!(took <= PDU_TIME_MAX, "seed {seed}, PDU {}: it took {took:?}", tally.mutated);
        if mine || sessions[other].is_over {
            for at in 0..2 {
                if sessions[at].is_over {
                    let next = begin(&mut random, &mut tally);
                    let over = std::mem::replace(&mut sessions[at], next);
                    end(over, &mut sessions[1 - at], &mut tally, seed).await;
                }
            }
        }
    }
    let [first, mut second] = sessions;
    end(first, &mut second, &mut tally, seed).await;
    let mut nobody = begin(&mut random, &mut tally);
    end(second, &mut nobody, &mut tally, seed).await;
    tally
}

/// `other` lives on meanwhile: what `live` ordered of it, it does.
async fn end(live: Live, other: &mut Live, tally: &mut Tally, seed: u64) {
    tally.taken += live.taken;
    tally.answers.add(&live.answers);
    let begun = Instant::now();
    let mut ending = std::pin::pin!(live.end());
    loop {
        tokio::select! {
            biased;
            () = &mut ending => return,
            () = tokio::time::advance(TICK) => {}
        }
        if let Err(what) = other.settle() {
            panic!("seed {seed}: the other session: {what}");
        }
        assert!(begun.elapsed() < END_TIME_MAX, "seed {seed}: commands run on after their session ended");
    }
}

/// The last commands of a session take as long as a PDU may, or a little more.
const END_TIME_MAX: Duration = Duration::from_secs(10);
