//! Devices and files that fail: the owner's, the replica's, the record's, the spill file's.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::device::BLOCK;
use super::node::{Node, VOLUME, eventually, soon};
use super::pair::Pair;
use crate::block::{BlockError, Durability};
use crate::config::{Mode, OnLinkLoss};
use crate::replica::io::{Command, Standing};
use crate::replica::status::LinkState;
use crate::wire::message::{DiskState, Role};

impl Node {
    pub(super) fn fails(&self, fails: bool) {
        self.device.fails.store(fails, Ordering::Relaxed);
    }

    async fn fetch(&self, lba: u64, blocks: u64) -> Result<BytesMut, BlockError> {
        let extent = self.device.extent(lba, blocks);
        soon(self.group.clone().fetch(VOLUME, extent, BlockError::Medium, BytesMut::new())).await
    }

    async fn reads(&self, lba: u64, byte: u8) {
        let data = self.fetch(lba, 1).await.unwrap();
        assert!(data.len() == BLOCK && data.iter().all(|&found| found == byte), "{byte}");
    }

    fn place(&self) -> std::path::PathBuf {
        self.state_dir.path().join("mirror/db")
    }
}

impl Pair {
    /// The owner's device failed with a write.
    async fn through(mode: Mode) -> (Pair, super::line::Line) {
        let pair = Pair::start(mode).await;
        let line = pair.connected().await;
        pair.a.write(0, 4, 1).await.unwrap();
        pair.a.fails(true);
        assert_eq!(pair.a.write(1, 1, 2).await, Ok(()), "{mode:?}");
        (pair, line)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_do_not_notice_that_the_owner_s_device_fails() {
    for mode in [Mode::Async, Mode::Memsync, Mode::Sync] {
        let (pair, line) = Pair::through(mode).await;
        let status = pair.a.status();
        assert_eq!((status.role, status.disk, status.standing), (Role::Primary, DiskState::Failed, Standing::Active));
        assert!(pair.a.group.reads_at_peer());
        let record = fs::read_to_string(pair.a.place().join("record.json")).unwrap();
        assert!(record.to_lowercase().contains("failed"), "{record}");
        pair.a.reads(0, 1).await;
        pair.a.reads(1, 2).await;
        assert_eq!(
            &pair.b.device.content()[BLOCK..BLOCK + 2],
            [2, 2],
            "acknowledged is applied there, whatever the mode"
        );
        let flushes = pair.b.device.flushes.load(Ordering::Relaxed);
        soon(pair.a.group.flush(VOLUME)).await.unwrap();
        assert!(pair.b.device.flushes.load(Ordering::Relaxed) > flushes, "what is flushed is flushed there");
        let (reads, writes) = (&pair.a.device.reads, &pair.a.device.writes);
        let before = (reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed));
        let data = bytes::Bytes::from(vec![3; 2 * BLOCK]).into();
        let durable = pair.a.group.write(VOLUME, pair.a.device.extent(2, 2), data, Durability::Durable);
        assert_eq!(soon(durable).await, Ok(()));
        let extent = pair.a.device.extent(3, 1);
        soon(pair.a.group.write_zeroes(VOLUME, extent, crate::block::Allocation::Keep, Durability::Cached))
            .await
            .unwrap();
        pair.a.reads(2, 3).await;
        pair.a.reads(3, 0).await;
        let long = pair.a.fetch(0, 4096).await.unwrap();
        assert_eq!(long[..], pair.b.device.content()[..], "more than one read");
        assert_eq!((reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed)), before, "the device is left alone");
        assert_eq!(line.complaints(), Vec::<String>::new());
        pair.changes_places().await;
    }
}

impl Pair {
    /// The peer is promoted without force, and the device that failed is repaired and copied anew.
    async fn changes_places(self) {
        self.a.command(Command::Demote { force: false }).await.unwrap();
        self.b.command(Command::Promote { force: false }).await.unwrap();
        self.active(&self.b).await;
        self.b.write(9, 1, 9).await.unwrap();
        assert_eq!(self.a.status().disk, DiskState::Failed);
        self.a.fails(false);
        self.a.command(Command::Reattach).await.unwrap();
        self.alike().await;
        assert_eq!(self.a.device.content()[9 * BLOCK], 9);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_is_the_peer_s_to_answer() {
    let pair = Pair::start(Mode::Sync).await;
    let _line = pair.connected().await;
    pair.a.write(5, 1, 5).await.unwrap();
    pair.a.reads(5, 5).await;
    let status = pair.a.status();
    assert_eq!((status.disk, status.standing), (DiskState::Failed, Standing::Active));
    pair.changes_places().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_is_made_good_by_the_peer_s() {
    for mode in [Mode::Async, Mode::Memsync, Mode::Sync] {
        let pair = Pair::start(mode).await;
        let _line = pair.connected().await;
        pair.a.write(5, 1, 5).await.unwrap();
        pair.a.fails(true);
        let flushes = pair.b.device.flushes.load(Ordering::Relaxed);
        assert_eq!(soon(pair.a.group.flush(VOLUME)).await, Ok(()), "{mode:?}");
        assert!(pair.b.device.flushes.load(Ordering::Relaxed) > flushes, "{mode:?}");
        pair.a.reads(5, 5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_peer_the_host_is_told_and_nothing_else_changes() {
    let pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    line.cut().await;
    pair.a.fails(true);
    assert_eq!(pair.a.write(0, 1, 1).await, Err(BlockError::Medium));
    assert_eq!(pair.a.fetch(0, 1).await, Err(BlockError::Medium));
    assert_eq!(soon(pair.a.group.flush(VOLUME)).await, Err(BlockError::Medium));
    assert_eq!(pair.a.status().disk, DiskState::UpToDate);
    pair.a.fails(false);
    pair.a.write(0, 1, 1).await.unwrap();
    let _line = pair.connect();
    pair.alike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_peer_is_away_hosts_are_told_busy_and_go_on_when_it_is_back() {
    let (pair, line) = Pair::through(Mode::Sync).await;
    line.cut().await;
    let began = Instant::now();
    let (write, read) = tokio::join!(pair.a.write(0, 1, 7), pair.a.fetch(0, 1));
    assert_eq!((write, read), (Err(BlockError::Stalled), Err(BlockError::Stalled)));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(950) && took < Duration::from_secs(4), "max_stall is 1 s: {took:?}");
    let _line = pair.connect();
    eventually("the stream goes on", || pair.a.status().link == LinkState::Established).await;
    pair.a.write(0, 1, 8).await.unwrap();
    pair.a.reads(0, 8).await;
    pair.changes_places().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_slot_is_asked_on_another() {
    let (pair, line) = Pair::through(Mode::Sync).await;
    line.stall(true);
    let sent = || line.ends[0].sent.load(Ordering::Relaxed);
    let before = sent();
    let read = tokio::spawn({
        let (group, extent) = (pair.a.group.clone(), pair.a.device.extent(1, 1));
        async move { group.fetch(VOLUME, extent, BlockError::Medium, BytesMut::new()).await }
    });
    eventually("it is asked for", || sent() > before).await;
    line.cut_slot(crate::ids::Slot(0));
    line.stall(false);
    assert_eq!(soon(read).await.unwrap().unwrap()[..2], [2, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_with_a_device_that_had_failed_does_not_serve_it() {
    let (pair, line) = Pair::through(Mode::Sync).await;
    line.cut().await;
    let Pair { a, b } = pair;
    a.fails(false);
    let pair = Pair { a: a.restart().await, b };
    tokio::time::sleep(Duration::from_millis(600)).await;
    let status = pair.a.status();
    assert_eq!(
        (status.role, status.disk, status.standing),
        (Role::Secondary, DiskState::Inconsistent, Standing::Standby)
    );
    assert!(pair.a.command(Command::Promote { force: false }).await.is_err());
    pair.b.command(Command::Promote { force: false }).await.unwrap();
    pair.active(&pair.b).await;
    let _line = pair.connect();
    pair.alike().await;
    assert_eq!(&pair.a.device.content()[BLOCK..BLOCK + 2], [2, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_is_not_followed_and_may_be_promoted() {
    let (pair, line) = Pair::through(Mode::Sync).await;
    line.cut().await;
    let Pair { a, b } = pair;
    let pair = Pair { a, b: b.restart().await };
    let _line = pair.connect();
    eventually("it gives way", || pair.a.status().role == Role::Secondary).await;
    assert_eq!(pair.a.write(0, 1, 7).await, Err(BlockError::Fenced));
    pair.b.command(Command::Promote { force: false }).await.unwrap();
    pair.active(&pair.b).await;
    assert_eq!(&pair.b.device.content()[BLOCK..BLOCK + 2], [2, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_device_fails_gets_nothing_until_it_is_reattached() {
    for mode in [Mode::Async, Mode::Memsync, Mode::Sync] {
        let pair = Pair::start_with(mode, |config| config.policy.on_link_loss = OnLinkLoss::Degrade).await;
        let line = pair.connected().await;
        pair.b.fails(true);
        assert_eq!(pair.a.write(0, 1, 7).await, Ok(()), "{mode:?}: hosts go on");
        eventually("it is told", || pair.a.status().peer_disk == Some(DiskState::Failed)).await;
        pair.a.write(1, 1, 8).await.unwrap();
        assert_eq!(pair.b.status().disk, DiskState::Failed);
        assert!(pair.b.command(Command::Promote { force: false }).await.is_err());
        line.cut().await;
        let writes = pair.b.device.writes.load(Ordering::Relaxed);
        let line = pair.connect();
        pair.a.write(2, 1, 9).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(pair.b.device.writes.load(Ordering::Relaxed), writes, "nothing is sent to a device that failed");
        assert_ne!(pair.a.status().link, LinkState::Established);
        pair.b.fails(false);
        pair.b.command(Command::Reattach).await.unwrap();
        pair.alike().await;
        assert_eq!(pair.b.device.content()[..2], [7, 7]);
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

/// The owner has begun to send in this session, and counted: neither is of the device that took the place of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_reattached_in_the_session_gets_every_block() {
    let pair = Pair::start_with(Mode::Async, |config| config.policy.on_link_loss = OnLinkLoss::Degrade).await;
    let line = pair.connected().await;
    pair.a.write(0, 4, 7).await.unwrap();
    pair.alike().await;
    pair.b.fails(true);
    pair.a.write(9, 1, 8).await.unwrap();
    eventually("it is told", || pair.a.status().peer_disk == Some(DiskState::Failed)).await;
    pair.b.fails(false);
    pair.b.device.fill(&vec![0; pair.b.device.content().len()]);
    pair.b.command(Command::Reattach).await.unwrap();
    pair.alike().await;
    assert_eq!(pair.b.device.content()[..2], [7, 7]);
    assert_eq!(line.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_record_nothing_is_acknowledged_that_the_peer_lacks() {
    let pair = Pair::start(Mode::Sync).await;
    let line = pair.connected().await;
    let (place, aside) = (pair.a.place(), pair.a.state_dir.path().join("aside"));
    pair.a.write(0, 1, 1).await.unwrap();
    fs::rename(&place, &aside).unwrap();
    line.cut().await;
    let began = Instant::now();
    assert_eq!(pair.a.write(0, 1, 7).await, Err(BlockError::Stalled));
    assert!(began.elapsed() < Duration::from_secs(5), "twice max_stall: {:?}", began.elapsed());
    fs::rename(&aside, &place).unwrap();
    eventually("it is tried again", || pair.a.status().queue.writes == 0 || pair.a.rpo().bytes > 0).await;
    pair.a.write(0, 1, 8).await.unwrap();
    let _line = pair.connect();
    pair.alike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_journal_fails_the_rest_is_resynchronized() {
    let pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    line.cut().await;
    fs::write(pair.a.place().join("journal"), "in the way").unwrap();
    // More than memory holds.
    for lba in (0..4096).step_by(16) {
        pair.a.write(lba, 16, 7).await.unwrap();
    }
    eventually("only where is kept", || pair.a.status().queue.dirty_bytes > 0).await;
    let _line = pair.connect();
    pair.alike().await;
}
