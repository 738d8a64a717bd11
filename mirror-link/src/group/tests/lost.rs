//! Two groups whose line is cut, and made again.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::joined::MODES;
use super::node::{BLOCKS, Node, VOLUME, eventually};
use super::pair::Pair;
use crate::block::{BlockError, Eventually};
use crate::config::{Mode, OnLinkLoss};
use crate::ids::WriteSeq;
use crate::replica::io::Command;
use crate::wire::message::DiskState;

fn record(node: &Node) -> String {
    fs::read_to_string(node.state_dir.path().join("mirror/db/record.json")).unwrap()
}

fn journal_files(node: &Node) -> usize {
    fs::read_dir(node.state_dir.path().join("mirror/db/journal")).map_or(0, |files| files.count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_the_peer_is_answered_after_the_record_says_so() {
    for mode in [Mode::Memsync, Mode::Sync] {
        let pair = Pair::start(mode).await;
        let line = pair.connected().await;
        pair.a.write(0, 1, 1).await.unwrap();
        assert!(record(&pair.a).contains("\"peer_outdated\":false"), "{}", record(&pair.a));
        line.cut().await;
        pair.a.write(0, 1, 2).await.unwrap();
        assert!(record(&pair.a).contains("\"peer_outdated\":true"), "{}", record(&pair.a));
    }
}

/// Till its first resync is done the peer could not be promoted: hosts are promised nothing that counts on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pair_is_as_one_whose_peer_is_outdated() {
    for mode in [Mode::Memsync, Mode::Sync] {
        let pair = Pair::start(mode).await;
        pair.b.device.hang(true);
        let line = pair.connect();
        pair.active(&pair.a).await;
        let generation = pair.a.status().generation;
        pair.a.write(0, 1, 1).await.unwrap();
        assert!(record(&pair.a).contains("\"peer_outdated\":true"), "{}", record(&pair.a));
        assert_eq!(pair.a.status().generation, generation, "it is so from the beginning");
        pair.b.device.hang(false);
        pair.alike().await;
        assert!(record(&pair.a).contains("\"peer_outdated\":false"), "{}", record(&pair.a));
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_meanwhile_is_sent_when_the_line_is_back() {
    for mode in MODES {
        let pair = Pair::start(mode).await;
        for round in 1..=3 {
            let line = pair.connected().await;
            pair.a.write(0, 64, round).await.unwrap();
            line.cut().await;
            for lba in 0..100 {
                pair.a.write(lba * 16, 8, round + 100).await.unwrap();
            }
        }
        pair.connected().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_does_not_hold_is_spilled_and_sent_later() {
    let pair = Pair::start(Mode::Async).await;
    pair.connected().await.cut().await;
    for n in 0..192 {
        pair.a.write(n * 20, 32, n as u8 + 1).await.unwrap();
    }
    let queue = pair.a.status().queue;
    assert!(queue.spilled_bytes >= 1 << 20 && queue.dirty_bytes == 0, "{queue:?}");
    assert!(queue.memory_bytes <= queue.memory_bytes_max, "{queue:?}");
    assert!(journal_files(&pair.a) > 0);
    let line = pair.connected().await;
    pair.a.write(0, 1, 1).await.unwrap();
    pair.alike().await;
    eventually("the spill is given back", || journal_files(&pair.a) == 0).await;
    drop(line);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_queue_holds_is_resynchronized() {
    let pair = Pair::start(Mode::Async).await;
    pair.connected().await.cut().await;
    for n in 0..600_u64 {
        pair.a.write(n * 37 % (BLOCKS - 32), 32, n as u8).await.unwrap();
    }
    let queue = pair.a.status().queue;
    assert!(queue.dirty_bytes > 0, "{queue:?}");
    pair.connected().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_the_copies_are_made_alike() {
    for mode in MODES {
        let pair = Pair::start_with(mode, |config| config.queue.spill = 0).await;
        pair.connected().await.cut().await;
        for n in 0..120 {
            pair.a.write(n * 32, 32, 7).await.unwrap();
        }
        let line = pair.connect();
        for n in 0..400_u64 {
            pair.a.write(n * 53 % (BLOCKS - 8), 8, n as u8).await.unwrap();
        }
        pair.alike().await;
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_never_answers_what_the_peer_lacks() {
    let pair = Pair::start_with(Mode::Sync, |config| {
        config.policy.on_link_loss = OnLinkLoss::Hold;
        config.policy.max_stall = Duration::from_millis(300);
    })
    .await;
    let line = pair.connected().await;
    pair.a.write(0, 1, 1).await.unwrap();
    line.cut().await;
    let start = Instant::now();
    assert_eq!(pair.a.write(0, 1, 2).await, Err(BlockError::Stalled));
    assert!((Duration::from_millis(250)..Duration::from_secs(3)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(record(&pair.a).contains("\"peer_outdated\":false"), "{}", record(&pair.a));
    let may_read = |lba| pair.a.group.may_read(VOLUME, pair.a.device.extent(lba, 1));
    assert!(matches!(may_read(0), Eventually::Later(_)), "nor shows it, though no host waits for it any more");
    pair.a.device.fails.store(true, Ordering::Relaxed);
    assert_eq!(pair.a.write(7, 1, 2).await, Err(BlockError::Medium));
    pair.a.device.fails.store(false, Ordering::Relaxed);
    assert!(matches!(may_read(7), Eventually::Later(_)), "nor what a write that failed may have left");
    assert!(matches!(may_read(9), Eventually::Now(Ok(()))), "it shows what both have");
    pair.connected().await;
    assert!(matches!((may_read(0), may_read(7)), (Eventually::Now(Ok(())), Eventually::Now(Ok(())))));
    pair.a.write(0, 1, 3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_silent_is_waited_for_as_long_as_max_stall_says() {
    for mode in [Mode::Memsync, Mode::Sync] {
        let pair = Pair::start_with(mode, |config| config.policy.max_stall = Duration::from_millis(300)).await;
        let line = pair.connected().await;
        // The first of these is long past when the second begins to wait.
        for wait in [Duration::ZERO, Duration::from_millis(400)] {
            pair.a.write(0, 1, 1).await.unwrap();
            tokio::time::sleep(wait).await;
        }
        line.stall(true);
        let start = Instant::now();
        pair.a.write(0, 1, 2).await.unwrap();
        assert!(
            (Duration::from_millis(290)..Duration::from_secs(2)).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
        assert!(record(&pair.a).contains("\"peer_outdated\":true"), "{}", record(&pair.a));
        line.stall(false);
        pair.alike().await;
        eventually("the record says so", || record(&pair.a).contains("\"peer_outdated\":false")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_of_a_session_that_was_replaced_changes_nothing() {
    let pair = Pair::start(Mode::Sync).await;
    let former = pair.connected().await;
    former.stall(true);
    // On its way in the former session, and sent again in the next.
    let (write, line) = tokio::join!(pair.a.write(2, 1, 2), async { pair.connect() });
    write.unwrap();
    pair.alike().await;
    let generation = pair.a.status().generation;
    former.stall(false);
    former.cut().await;
    pair.a.write(3, 1, 3).await.unwrap();
    pair.alike().await;
    assert_eq!(pair.a.status().generation, generation, "the peer was not missed");
    assert_eq!(line.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_is_as_good_as_cut() {
    let pair = Pair::start(Mode::Async).await;
    let _line = pair.connected().await;
    pair.a.command(Command::Pause).await.unwrap();
    pair.a.write(5, 1, 5).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(pair.b.device.content()[5 * 512], 0);
    assert!(pair.a.status().paused);
    pair.a.command(Command::Resume).await.unwrap();
    pair.alike().await;
    assert_eq!(pair.b.device.content()[5 * 512], 5);
}

/// The numbers of writes begin anew with the next reign, and the space is there again.
#[tokio::test]
async fn what_a_former_reign_spilled_is_gone_with_it() {
    let pair = Pair::start(Mode::Async).await;
    pair.connected().await.cut().await;
    let spill = pair.a.state_dir.path().join("mirror/db/journal");
    let spilled = || {
        let files = fs::read_dir(&spill).into_iter().flatten();
        files.map(|file| file.unwrap().metadata().map_or(0, |file| file.len())).sum::<u64>()
    };
    for reign in 1..=3u8 {
        for n in 0..192 {
            pair.a.write(n * 20, 32, reign).await.unwrap();
        }
        eventually("some of it is spilled", || spilled() > 1 << 20).await;
        pair.a.command(Command::Demote { force: true }).await.unwrap();
        eventually("the space is given back", || spilled() == 0).await;
        pair.a.command(Command::Promote { force: true }).await.unwrap();
    }
}

/// What a killed owner had journalled is sent in order to the peer that stayed up: while it comes that copy is of some moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_journalled_is_sent_in_order_after_a_restart() {
    let mut pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    pair.a.write(0, 10, 1).await.unwrap();
    pair.alike().await;
    line.cut().await;
    for block in 0..40 {
        pair.a.write(block, 1, 2).await.unwrap();
    }
    eventually("all of it is in the journal", || {
        let queue = pair.a.status().queue;
        queue.spilled_bytes > 0 && queue.memory_bytes == 0
    })
    .await;
    pair.a = pair.a.restart().await;
    pair.b.device.hang(true);
    let line = pair.connect();
    eventually("the peer has received them", || pair.a.status().received_upto >= WriteSeq(40)).await;
    line.cut().await;
    pair.b.device.hang(false);
    eventually("they are on its copy", || pair.b.device.content()[..40 * 512] == [2; 40 * 512]).await;
    assert_ne!(pair.b.status().disk, DiskState::Inconsistent, "nothing came but what was journalled, in order");
    let line = pair.connect();
    pair.alike().await;
    assert_eq!(line.complaints(), Vec::<String>::new());
    eventually("the journal is given back", || journal_files(&pair.a) == 0).await;
}
