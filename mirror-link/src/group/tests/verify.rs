//! Two groups whose copies are compared.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::device::BLOCK;
use super::node::{Node, eventually, eventually_or};
use super::pair::Pair;
use crate::config::{GroupConfig, InitialSync, Mode, Scrub};
use crate::replica::io::{Command, Refusal};
use crate::replica::status::{LinkState, VerifyState, VerifyStatus};
use crate::wire::message::DiskState;

const VERIFY: Command = Command::Verify { repair: false, rate: None };
const REPAIR: Command = Command::Verify { repair: true, rate: None };

/// A block of the replica becomes another, and nobody wrote it.
fn corrupt(node: &Node, lba: usize) {
    let mut content = node.device.content();
    content[lba * BLOCK] ^= 0x55;
    node.device.fill(&content);
}

async fn ended(node: &Node) -> VerifyStatus {
    let told = || node.status().verify.filter(|verify| verify.state != VerifyState::Running);
    eventually_or(|| format!("{:#?}", node.status()), || told().is_some()).await;
    told().unwrap()
}

fn ranges(told: &VerifyStatus) -> Vec<(u64, u64)> {
    told.ranges.iter().map(|range| (range.lba, range.blocks)).collect()
}

async fn filled() -> (Pair, super::line::Line) {
    let pair = Pair::start(Mode::Sync).await;
    let line = pair.connected().await;
    for byte in 1..=16 {
        pair.a.write(u64::from(byte) * 200, 150, byte).await.unwrap();
    }
    (pair, line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_alike_are_found_alike_while_hosts_write() {
    let (pair, line) = filled().await;
    for late in [false, true] {
        pair.a.device.late.store(late, Ordering::Relaxed);
        pair.b.device.late.store(late, Ordering::Relaxed);
        pair.a.command(VERIFY).await.unwrap();
        let mut byte = 0_u8;
        while pair.a.status().verify.unwrap().state == VerifyState::Running {
            byte = byte.wrapping_add(1);
            pair.a.write(u64::from(byte) * 15, 40, byte).await.unwrap();
        }
        let told = ended(&pair.a).await;
        assert_eq!((told.state, told.differing_bytes), (VerifyState::Finished, 0));
        assert_eq!((told.done_bytes, told.total_bytes), (4096 * BLOCK as u64, 4096 * BLOCK as u64));
    }
    assert_eq!(line.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_told_to_4_kib_left_alone_and_mended_on_request() {
    let (pair, line) = filled().await;
    for lba in [0, 9, 1003, 4095] {
        corrupt(&pair.b, lba);
    }
    pair.a.command(VERIFY).await.unwrap();
    let told = ended(&pair.a).await;
    assert_eq!(ranges(&told), [(0, 16), (1000, 8), (4088, 8)]);
    assert_eq!((told.differing_bytes, told.unlisted_bytes), (32 * BLOCK as u64, 0));
    assert!(told.last_finished_s.is_some() && told.number == 1);
    assert_ne!(pair.a.device.content(), pair.b.device.content(), "nothing is changed");
    pair.a.command(REPAIR).await.unwrap();
    let told = ended(&pair.a).await;
    assert_eq!(ranges(&told), [(0, 16), (1000, 8), (4088, 8)]);
    pair.alike().await;
    pair.a.command(VERIFY).await.unwrap();
    assert_eq!(ended(&pair.a).await.differing_bytes, 0);
    assert_eq!(line.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verify_goes_at_its_rate_can_be_stopped_and_ends_with_the_session() {
    let (pair, line) = filled().await;
    let slow = Command::Verify { repair: false, rate: Some(1 << 20) };
    pair.a.command(slow).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = pair.a.status().verify.unwrap();
    assert_eq!(told.state, VerifyState::Running);
    assert!(told.done_bytes <= 1 << 20 && told.seconds_left.is_some(), "{told:?}");
    assert!(matches!(pair.a.command(VERIFY).await, Err(Refusal::Other(_))), "one at a time");
    pair.a.command(Command::StopVerify).await.unwrap();
    assert_eq!(ended(&pair.a).await.state, VerifyState::Stopped);
    assert!(matches!(pair.a.command(Command::StopVerify).await, Err(Refusal::Other(_))));
    pair.a.command(slow).await.unwrap();
    line.cut().await;
    let told = ended(&pair.a).await;
    assert_eq!((told.state, told.number), (VerifyState::Interrupted, 2));
    assert!(matches!(pair.a.command(VERIFY).await, Err(Refusal::Other(_))), "nobody to compare with");
    assert!(matches!(pair.b.command(VERIFY).await, Err(Refusal::Other(_))), "a replica does not begin one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_compares_by_itself_when_it_is_time() {
    let every = Duration::from_millis(700);
    let pair = Pair::start_with(Mode::Sync, |config| config.scrub = Some(Scrub { every, rate: None })).await;
    let _line = pair.connected().await;
    pair.a.write(0, 8, 1).await.unwrap();
    corrupt(&pair.b, 2000);
    let told = || pair.a.status().verify.filter(|verify| verify.state == VerifyState::Finished);
    eventually("the first", || told().is_some_and(|told| told.scrub && ranges(&told) == [(2000, 8)])).await;
    eventually("and again", || told().is_some_and(|told| told.number >= 2)).await;
    assert_ne!(pair.a.device.content(), pair.b.device.content(), "it mends nothing");
    assert_eq!(pair.b.status().verify, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_copy_that_is_compared_first_gets_what_differs() {
    let pair = Pair::start(Mode::Async).await;
    pair.a.command(Command::Promote { force: false }).await.unwrap();
    for byte in 1..=200 {
        pair.a.write(u64::from(byte) * 20, 20, byte).await.unwrap();
    }
    // As if it had come by post.
    pair.b.device.fill(&pair.a.device.content());
    corrupt(&pair.b, 1999);
    let writes = pair.b.device.writes.load(Ordering::Relaxed);
    assert!(pair.b.command(Command::Resync { compare: true }).await.is_err(), "a replica has nothing to send");
    pair.a.command(Command::Resync { compare: true }).await.unwrap();
    let _line = pair.connect();
    pair.alike().await;
    eventually("established", || pair.a.status().link == LinkState::Established).await;
    let written = pair.b.device.writes.load(Ordering::Relaxed) - writes;
    assert_eq!(written, 1, "one read's worth of blocks");
}

fn compares_at_first(config: &mut GroupConfig) {
    config.initial_sync = InitialSync::Compare;
    // What lies in a journal is sent in order, alike or not.
    config.queue.spill = 0;
}

/// The Primary has data all over; the other holds the same, but for a block, and its record does not know of it.
async fn brought_by_post() -> Pair {
    let pair = Pair::start_with(Mode::Async, compares_at_first).await;
    pair.a.command(Command::Promote { force: false }).await.unwrap();
    for byte in 1..=203 {
        pair.a.write(u64::from(byte) * 20, 20, byte).await.unwrap();
    }
    pair.b.device.fill(&pair.a.device.content());
    corrupt(&pair.b, 1999);
    pair
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_sync_is_configured_to_compare_also_where_it_is_interrupted_and_the_owner_restarts() {
    for restarts in [false, true] {
        let mut pair = brought_by_post().await;
        let writes = pair.b.device.writes.load(Ordering::Relaxed);
        if restarts {
            pair.b.device.hang(true);
            let line = pair.connect();
            let in_its_midst = || pair.a.status().resync.is_some_and(|resync| resync.compares);
            eventually("it compares", || in_its_midst() && pair.b.status().disk == DiskState::Inconsistent).await;
            line.cut().await;
            pair.b.device.hang(false);
            pair = Pair { a: pair.a.restart().await, b: pair.b };
        }
        let line = pair.connect();
        pair.alike().await;
        let written = pair.b.device.writes.load(Ordering::Relaxed) - writes;
        assert_eq!(written, 1, "one read's worth of blocks; restarts: {restarts}");
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_write_while_a_first_sync_compares() {
    let pair = brought_by_post().await;
    pair.a.device.late.store(true, Ordering::Relaxed);
    pair.b.device.late.store(true, Ordering::Relaxed);
    let line = pair.connect();
    let mut byte = 0_u8;
    while pair.a.status().link != LinkState::Established {
        byte = byte.wrapping_add(1);
        pair.a.write(u64::from(byte) * 15, 40, byte).await.unwrap();
    }
    pair.alike().await;
    assert_eq!(line.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_takes_the_place_of_a_former_one_gets_every_block_all_the_same() {
    let pair = brought_by_post().await;
    let line = pair.connected().await;
    line.cut().await;
    let content = pair.b.device.content();
    let Pair { a, b } = pair;
    let device = super::device::TestDevice::new(4096, true);
    device.fill(&content);
    let pair = Pair { a, b: b.restart_on(device).await };
    let _line = pair.connected().await;
    let written = pair.b.device.writes.load(Ordering::Relaxed);
    assert!(written >= 8, "{written} writes of at most 256 KiB are not all of 2 MiB");
}

/// What a device reads back after it lost writes may be in its cache alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_device_lost_writes_is_not_believed_to_be_alike() {
    let pair = brought_by_post().await;
    let line = pair.connected().await;
    pair.b.fails(true);
    pair.a.write(0, 1, 7).await.unwrap();
    eventually("it is told", || pair.a.status().peer_disk == Some(DiskState::Failed)).await;
    pair.b.fails(false);
    pair.b.device.fill(&pair.a.device.content());
    let writes = pair.b.device.writes.load(Ordering::Relaxed);
    pair.a.command(Command::Resync { compare: true }).await.unwrap();
    pair.b.command(Command::Reattach).await.unwrap();
    pair.alike().await;
    let written = pair.b.device.writes.load(Ordering::Relaxed) - writes;
    assert!(written >= 8, "{written} writes of at most 256 KiB are not all of 2 MiB");
    assert_eq!(line.complaints(), Vec::<String>::new());
}
