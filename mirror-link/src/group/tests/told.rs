//! What the two tell of each other: how far the owner is ahead, its mode, and how the peer's copy stands.

use std::time::Duration;

use super::node::{Node, config, eventually};
use super::pair::Pair;
use crate::config::{Mode, OnLinkLoss};
use crate::replica::io::Command;
use crate::wire::message::{DiskState, Role};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_lacked_nothing_is_shown_as_up_to_date() {
    let pair = Pair::start(Mode::Sync).await;
    let line = pair.connected().await;
    pair.a.write(0, 10, 1).await.unwrap();
    pair.alike().await;
    line.cut().await;
    assert_eq!(pair.b.status().disk, DiskState::Consistent);
    let _line = pair.connect();
    pair.alike().await;
    eventually("the owner says so too", || pair.a.status().peer_disk == Some(DiskState::UpToDate)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_dirty_map_knows_of_has_its_age_too() {
    const AWHILE: Duration = Duration::from_millis(300);
    let pair = Pair::start_with(Mode::Async, |config| {
        config.queue.memory = 64 << 10;
        config.queue.spill = 0;
    })
    .await;
    let line = pair.connected().await;
    // The owner tells where it is twice a second.
    tokio::time::sleep(2 * AWHILE).await;
    line.cut().await;
    pair.a.write(0, 512, 2).await.unwrap();
    tokio::time::sleep(AWHILE).await;
    let [owner, replica] = [&pair.a, &pair.b].map(|node| node.status());
    assert!(owner.queue.dirty_bytes > 0, "the queue is full: {:?}", owner.queue);
    for status in [&owner, &replica] {
        assert!(status.rpo.unwrap().seconds >= AWHILE.as_secs_f64(), "{:?}", status.rpo);
    }
    let volumes = owner.volume_rpo.as_deref();
    let Some([of_volume]) = volumes else { panic!("one volume: {volumes:?}") };
    assert_eq!((&*of_volume.volume, of_volume.bytes), ("db", pair.a.rpo().bytes));
    assert!(of_volume.seconds >= AWHILE.as_secs_f64());
    let _line = pair.connect();
    pair.alike().await;
    for node in [&pair.a, &pair.b] {
        let nothing = || node.rpo().bytes == 0 && node.rpo().seconds < AWHILE.as_secs_f64() / 2.0;
        eventually("nothing is at stake", nothing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_slow_for_as_long_as_its_session_lasts() {
    let pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    assert!(!pair.a.status().peer_slow);
    pair.a.group.peer_is_slow(true);
    assert!(pair.a.status().peer_slow);
    line.cut().await;
    assert!(!pair.a.status().peer_slow, "gone");
    let _line = pair.connected().await;
    assert!(!pair.a.status().peer_slow, "another session");
}

/// Not 0: it does not know what its owner acknowledges without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_owner_has_told_is_unknown() {
    let pair = Pair::start(Mode::Async).await;
    assert_eq!((pair.b.status().rpo, pair.b.status().volume_rpo), (None, None));
    let line = pair.connected().await;
    eventually("it is told", || pair.b.status().rpo.is_some()).await;
    assert_eq!(pair.b.rpo().bytes, 0);
    line.cut().await;
    pair.b.command(Command::Promote { force: true }).await.unwrap();
    assert_eq!(pair.b.rpo().bytes, 0, "its own");
    pair.b.command(Command::Demote { force: true }).await.unwrap();
    assert_eq!(pair.b.status().rpo, None, "nobody's");
}

/// Each node's configuration says another mode.
async fn of_two_minds() -> Pair {
    Pair {
        a: Node::start("alpha", config("beta", Role::Primary, Mode::Sync)).await,
        b: Node::start("beta", config("alpha", Role::Secondary, Mode::Async)).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_shows_its_owner_s_mode_and_keeps_its_own() {
    let pair = of_two_minds().await;
    let line = pair.connected().await;
    eventually("the owner's mode is shown", || pair.b.status().mode == Mode::Sync).await;
    line.cut().await;
    pair.b.command(Command::Promote { force: true }).await.unwrap();
    assert_eq!(pair.b.status().mode, Mode::Async, "its configuration's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_keeps_to_what_its_owner_was_commanded() {
    let pair = of_two_minds().await;
    let line = pair.connected().await;
    pair.a.command(Command::Mode(Mode::Memsync)).await.unwrap();
    pair.a.command(Command::OnLinkLoss(OnLinkLoss::Hold)).await.unwrap();
    pair.a.command(Command::MaxStall(Duration::from_millis(2500))).await.unwrap();
    let policy = || {
        let status = pair.b.status();
        (status.mode, status.on_link_loss, status.max_stall_ms)
    };
    eventually("the owner's policy is shown", || policy() == (Mode::Memsync, OnLinkLoss::Hold, 2500)).await;
    line.cut().await;
    pair.b.command(Command::Promote { force: true }).await.unwrap();
    assert_eq!(policy(), (Mode::Memsync, OnLinkLoss::Hold, 2500));
}
