//! Two groups at work over a line that is in trouble: in the end their copies are alike.

use std::time::Duration;

use super::fake::until;
use super::node::{HEARTBEAT, Pair};
use crate::config::{Compression, Encryption, Mode};
use crate::group::tests::node::{BLOCKS, eventually};
use crate::group::tests::pair::Pair as Groups;
use crate::link::Links;
use crate::link::status::{Phase, Verdict};
use crate::replica::io::{Command, Standing};
use crate::replica::status::{HeldBack, LinkState};
use crate::wire::message::Role;

struct Both {
    groups: Groups,
    pair: Pair,
    links: [Links; 2],
}

impl Both {
    async fn start(mode: Mode, change: impl Fn(Pair) -> Pair) -> Both {
        let (groups, pair) = (Groups::start(mode).await, change(Pair::new().await));
        let links = [
            pair.alpha.start_with(groups.a.instance, groups.a.group.clone()).await,
            pair.beta.start_with(groups.b.instance, groups.b.group.clone()).await,
        ];
        groups.alike().await;
        groups.active(&groups.a).await;
        Both { groups, pair, links }
    }

    /// Writes of a pattern that tells each from the others.
    async fn write(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let blocks = 1 + number % 16;
            let lba = number * 37 % (BLOCKS - blocks);
            self.groups.a.write(lba, blocks, number as u8).await.expect("a write is never lost to the link");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_alike_whatever_the_mode_and_the_wire() {
    for (mode, encryption, compression) in [
        (Mode::Async, Encryption::None, Compression::None),
        (Mode::Memsync, Encryption::Noise, Compression::Lz4),
        (Mode::Sync, Encryption::None, Compression::Zstd),
    ] {
        let both = Both::start(mode, |pair| {
            pair.both(|config| (config.encryption, config.compression) = (encryption, compression))
        })
        .await;
        both.write(0..500).await;
        both.groups.alike().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_lost_under_load_lose_nothing() {
    for mode in [Mode::Async, Mode::Sync] {
        let both = Both::start(mode, |pair| pair).await;
        let mut killed = 0;
        for round in 0..20 {
            both.write(round * 50..round * 50 + 25).await;
            killed += u32::from(both.pair.to_beta.kill_one());
            both.write(round * 50 + 25..round * 50 + 50).await;
        }
        both.groups.alike().await;
        assert!(killed >= 3, "{killed}");
        assert_eq!(both.links[0].status()[0].flaps, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_line_delays_and_loses_nothing() {
    for mode in [Mode::Async, Mode::Memsync, Mode::Sync] {
        let both = Both::start(mode, |pair| pair).await;
        for round in 0..3 {
            both.write(round * 300..round * 300 + 100).await;
            both.pair.pass(false);
            both.write(round * 300 + 100..round * 300 + 200).await;
            until("the link is dead", || both.links[0].status()[0].phase == Phase::Down).await;
            both.pair.pass(true);
            both.write(round * 300 + 200..round * 300 + 300).await;
            both.groups.alike().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_disk_hangs_is_slow_and_not_gone() {
    let both = Both::start(Mode::Async, |pair| pair).await;
    both.groups.b.device.hang(true);
    both.write(0..10).await;
    until("the peer is slow", || both.links[0].status()[0].verdict == Verdict::PeerSlow).await;
    assert_eq!(both.links[0].status()[0].phase, Phase::Up);
    until("its group says so", || both.groups.a.status().peer_slow).await;
    both.groups.b.device.hang(false);
    both.groups.alike().await;
    until("the peer is fine", || both.links[0].status()[0].verdict == Verdict::Healthy).await;
    until("its group says so", || !both.groups.a.status().peer_slow).await;
    tokio::time::sleep(HEARTBEAT.timeout * 2).await;
    assert_eq!(both.links[0].status()[0].verdict, Verdict::Healthy, "an idle stream is no slow one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_farewell_and_a_return() {
    let mut both = Both::start(Mode::Sync, |pair| pair).await;
    both.write(0..50).await;
    both.links[1].shutdown().await;
    tokio::time::timeout(Duration::from_secs(5), both.write(50..100)).await.expect("it degrades");
    both.links[1] = both.pair.beta.start_with(both.groups.b.instance, both.groups.b.group.clone()).await;
    both.write(100..150).await;
    both.groups.alike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_heartbeats_pass_a_primary_that_was_replaced_does_not_serve() {
    let Both { mut groups, pair, links: [of_a, _of_b] } = Both::start(Mode::Sync, |pair| pair).await;
    drop(of_a);
    until("the session is over", || groups.b.status().link == LinkState::Down).await;
    groups.b.command(Command::Promote { force: true }).await.unwrap();
    pair.to_alpha.pass_tcp(false);
    pair.to_beta.pass_tcp(false);
    groups.a = groups.a.restart().await;
    let _of_a = pair.alpha.start_with(groups.a.instance, groups.a.group.clone()).await;
    until("it is held back", || groups.a.status().held_back == Some(HeldBack::PeerIsPrimary)).await;
    tokio::time::sleep(groups.a.group.config().policy.wait_for_peer * 3).await;
    assert_eq!(groups.a.observer.standing_now(), Some(Standing::Waiting));
    assert_eq!(groups.a.status().peer_role, Some(Role::Primary));
    pair.to_alpha.pass_tcp(true);
    pair.to_beta.pass_tcp(true);
    eventually("they meet", || groups.a.status().role == Role::Secondary).await;
    groups.alike().await;
}
