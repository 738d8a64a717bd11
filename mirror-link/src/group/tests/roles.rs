//! Two groups that change places.

use std::time::Duration;

use super::apart::GOOD_FOR;
use super::joined::MODES;
use super::node::eventually;
use super::pair::Pair;
use crate::block::BlockError;
use crate::config::{Mode, OnLinkLoss, OnSplitBrain};
use crate::replica::io::{Command, Refusal, Standing};
use crate::replica::status::HeldBack;
use crate::replica::what_if::WhatIf;
use crate::wire::message::Role;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_change_of_owners_loses_nothing() {
    for mode in MODES {
        let pair = Pair::start(mode).await;
        let line = pair.connected().await;
        pair.a.write(0, 100, 1).await.unwrap();
        pair.a.command(Command::Demote { force: false }).await.unwrap();
        assert_eq!(pair.a.observer.standing_now(), Some(Standing::Standby));
        assert!(pair.a.write(0, 1, 2).await.is_err(), "a Secondary takes no host's writes");
        pair.b.command(Command::Promote { force: false }).await.unwrap();
        assert_eq!(pair.b.observer.standing_now(), Some(Standing::Active));
        pair.b.write(50, 100, 3).await.unwrap();
        pair.alike().await;
        assert_eq!((pair.a.status().role, pair.b.status().role), (Role::Secondary, Role::Primary));
        assert_eq!(pair.a.device.content()[..50 * 512], [1; 50 * 512]);
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_takes_over_and_the_former_owner_follows() {
    for mode in MODES {
        let mut pair = Pair::start(mode).await;
        let line = pair.connected().await;
        pair.a.write(0, 100, 1).await.unwrap();
        pair.alike().await;
        line.cut().await;
        pair.b.command(Command::Promote { force: true }).await.unwrap();
        pair.b.write(50, 100, 2).await.unwrap();
        pair.a = pair.a.restart().await;
        let line = pair.connect();
        pair.alike().await;
        assert_eq!((pair.a.status().role, pair.b.status().role), (Role::Secondary, Role::Primary));
        assert_eq!(pair.a.device.content()[60 * 512], 2);
        eventually("it stands by", || pair.a.observer.standing_now() == Some(Standing::Standby)).await;
        assert_eq!(pair.a.write(0, 1, 2).await, Err(BlockError::Fenced));
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_second_owner_beside_one_that_is_there() {
    let pair = Pair::start(Mode::Sync).await;
    let _line = pair.connected().await;
    let refused = pair.b.command(Command::Promote { force: false }).await;
    assert_eq!(refused, Err(Refusal::PeerIsPrimary("alpha".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_end_in_good_order_nothing_is_sent_again() {
    let mut pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    pair.a.write(0, 200, 1).await.unwrap();
    pair.a.command(Command::Shutdown).await.unwrap();
    line.cut().await;
    pair.a = pair.a.restart().await;
    let line = pair.connected().await;
    let frames = line.ends[0].sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(frames < 20, "{frames} frames to begin again");
    pair.a.write(0, 200, 2).await.unwrap();
    pair.alike().await;
}

/// What a host wrote after the last record would be missing from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_to_end_never_serves_again() {
    let pair = Pair::start(Mode::Sync).await;
    let line = pair.connected().await;
    pair.a.command(Command::Shutdown).await.unwrap();
    assert_eq!(pair.a.write(0, 1, 9).await, Err(BlockError::Fenced));
    assert_eq!(pair.a.observer.standing_now(), Some(Standing::Waiting));
    let refused = Err(Refusal::Other("the process ends".into()));
    for force in [false, true] {
        assert_eq!(pair.a.command(Command::Promote { force }).await, refused);
        assert_eq!(pair.a.command(Command::Demote { force }).await, refused);
    }
    pair.a.command(Command::OnLinkLoss(OnLinkLoss::Hold)).await.unwrap();
    line.cut().await;
    let _line = pair.connect();
    tokio::time::sleep(2 * pair.a.group.config().policy.wait_for_peer).await;
    assert_eq!(pair.a.write(0, 1, 9).await, Err(BlockError::Fenced));
    assert_eq!(pair.a.device.content()[0], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_to_end_before_it_served_never_serves() {
    const WAIT: Duration = Duration::from_millis(200);
    for meets in [false, true] {
        let pair = Pair::start_with(Mode::Sync, |config| config.policy.wait_for_peer = WAIT).await;
        pair.a.command(Command::Shutdown).await.unwrap();
        let _line = meets.then(|| pair.connect());
        tokio::time::sleep(2 * WAIT).await;
        assert_eq!(pair.a.write(0, 1, 9).await, Err(BlockError::Fenced));
        assert_eq!(pair.a.observer.standing_now(), Some(Standing::Waiting));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_gives_way_in_a_split_brain_only() {
    let pair = Pair::start(Mode::Sync).await;
    let line = pair.connected().await;
    for node in [&pair.a, &pair.b] {
        assert!(
            matches!(node.command(Command::GiveWay).await, Err(Refusal::Other(why)) if why.contains("no split brain"))
        );
    }
    line.cut().await;
    pair.b.command(Command::Promote { force: false }).await.unwrap();
    pair.a.write(0, 1, 1).await.unwrap();
    pair.b.write(0, 2, 2).await.unwrap();
    assert!(matches!(pair.b.command(Command::GiveWay).await, Err(Refusal::Other(_))), "apart nobody knows");
    let apart = pair.b.group.what_if(WhatIf::Rejoin).join(" ");
    assert!(apart.starts_with("alpha was last met as Primary") && apart.contains("split brain"), "{apart}");
    let _line = pair.connect();
    eventually("they are split", || pair.a.status().split_brain && pair.b.status().split_brain).await;
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.observer.standing_now(), Some(Standing::Waiting), "neither serves any more");
        assert_eq!(node.status().held_back, Some(HeldBack::SplitBrain));
        assert_eq!(node.write(0, 3, 3).await, Err(BlockError::Fenced));
    }
    pair.b.command(Command::Promote { force: true }).await.unwrap();
    pair.b.write(0, 3, 4).await.unwrap();
    pair.a.command(Command::GiveWay).await.unwrap();
    pair.alike().await;
    assert_eq!((pair.b.observer.standing_now(), pair.b.status().held_back), (Some(Standing::Active), None));
    assert_eq!(
        (pair.a.status().role, pair.a.device.content()[0], pair.a.status().split_brain),
        (Role::Secondary, 4, false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_split_brain_both_serve_on_only_if_told_so() {
    for (on_split_brain, standing) in [(OnSplitBrain::Hold, Standing::Waiting), (OnSplitBrain::Serve, Standing::Active)]
    {
        let pair = Pair::start_with(Mode::Sync, |config| config.policy.on_split_brain = on_split_brain).await;
        let line = pair.connected().await;
        line.cut().await;
        pair.b.command(Command::Promote { force: false }).await.unwrap();
        pair.a.write(0, 1, 1).await.unwrap();
        pair.b.write(0, 2, 2).await.unwrap();
        let line = pair.connect();
        eventually("they are split", || pair.a.status().split_brain && pair.b.status().split_brain).await;
        line.cut().await;
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.observer.standing_now(), Some(standing), "also when they have parted again");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_upon_the_owners_death_waits_until_that_is_known() {
    let pair = Pair::start(Mode::Sync).await;
    let line = pair.connected().await;
    pair.b.hears_of(pair.a.instance, Role::Primary, 1);
    let death = async {
        tokio::time::sleep(GOOD_FOR / 4).await;
        line.cut().await;
    };
    let (promoted, ()) = tokio::join!(pair.b.command(Command::Promote { force: false }), death);
    assert_eq!(promoted.map(|_| pair.b.status().role), Ok(Role::Primary));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_refused_once_the_owner_is_heard_again() {
    let pair = Pair::start(Mode::Sync).await;
    let _line = pair.connected().await;
    pair.b.hears_of(pair.a.instance, Role::Primary, 1);
    let life = async {
        tokio::time::sleep(GOOD_FOR / 4).await;
        pair.b.hears_of(pair.a.instance, Role::Primary, 1);
    };
    let asked = std::time::Instant::now();
    let (refused, ()) = tokio::join!(pair.b.command(Command::Promote { force: false }), life);
    assert_eq!(refused, Err(Refusal::PeerIsPrimary("alpha".into())));
    assert!(asked.elapsed() < GOOD_FOR, "{:?}", asked.elapsed());
}
