//! A link in good health.

use std::time::Duration;

use super::fake::{Told, until, write};
use super::node::{Node, Pair};
use crate::config::{Compression, Encryption};
use crate::ids::Slot;
use crate::link::status::{SlotState, Verdict};
use crate::wire::datagram::BEATS_MAX;

async fn up(pair: &Pair, slots: usize) -> (Node, Node) {
    let (alpha, beta) = (pair.alpha.start(), pair.beta.start());
    alpha.is_up(slots).await;
    beta.is_up(slots).await;
    (alpha, beta)
}

/// Every slot carries every write, both ways.
async fn talk(alpha: &Node, beta: &Node, slots: u8) {
    for (from, to) in [(alpha, beta), (beta, alpha)] {
        let before = to.group().count(|told| matches!(told, Told::Write(_)));
        (0..100).for_each(|number| from.group().send(number as u8 % slots, write(number)));
        until("all writes arrive", || to.group().count(|told| matches!(told, Told::Write(_))) == before + 100).await;
    }
}

#[tokio::test]
async fn all_slots_come_up_and_carry_frames_both_ways() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair, 3).await;
    talk(&alpha, &beta, 3).await;
    for (node, dials) in [(&alpha, true), (&beta, false)] {
        let status = node.status();
        assert_eq!((status.dialer, status.verdict, status.flaps), (dials, Verdict::Healthy, 0));
        assert!(status.slots.iter().all(|slot| slot.state == SlotState::Open && slot.frames_received > 0));
        assert_eq!((status.groups_missing_here, status.groups_missing_there), (vec![], vec![]));
        assert_eq!(node.sessions(), 1);
    }
    assert_eq!(alpha.status().session, beta.status().session);
    until("heartbeats measure the round trip", || alpha.status().addresses[0].rtt_ms.is_some()).await;
    until("heartbeats stamp every slot", || beta.status().slots.iter().all(|s| s.heartbeat_ms_ago.is_some())).await;
}

#[tokio::test]
async fn the_smaller_n_holds() {
    let mut pair = Pair::new().await;
    pair.beta.config.connections = 2;
    let (alpha, beta) = up(&pair, 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((alpha.group().open_slots(), beta.group().open_slots()), (2, 2));
    assert_eq!(alpha.status().slots[2].state, SlotState::Closed);
}

#[tokio::test]
async fn encrypted_and_compressed() {
    for (encryption, compression) in [
        (Encryption::Noise, Compression::None),
        (Encryption::None, Compression::Lz4),
        (Encryption::Noise, Compression::Zstd),
    ] {
        let pair = Pair::new().await.both(|config| {
            config.encryption = encryption;
            config.compression = compression;
        });
        let (alpha, beta) = up(&pair, 3).await;
        talk(&alpha, &beta, 3).await;
    }
}

#[tokio::test]
async fn a_group_that_the_peer_lacks_is_named_on_both_sides() {
    let mut pair = Pair::new().await;
    pair.alpha.groups = vec!["db", "only-on-alpha"];
    pair.beta.groups = vec!["db", "only-on-beta"];
    let (alpha, beta) = up(&pair, 3).await;
    until("each knows what the other wants", || {
        let (a, b) = (alpha.status(), beta.status());
        a.groups_missing_there == ["only-on-alpha"]
            && a.groups_missing_here == ["only-on-beta"]
            && b.groups_missing_there == ["only-on-beta"]
            && b.groups_missing_here == ["only-on-alpha"]
    })
    .await;
    talk(&alpha, &beta, 3).await;
    alpha.groups[1].send(0, write(1007));
    alpha.group().send(0, write(1008));
    until("what follows arrives", || beta.group().told().contains(&Told::Write(1008))).await;
    assert!(!beta.groups.iter().any(|group| group.told().contains(&Told::Write(1007))), "nobody's frame is obeyed");
}

#[tokio::test]
async fn groups_have_the_numbers_that_their_own_node_gives_them() {
    let mut pair = Pair::new().await;
    pair.alpha.groups = vec!["db", "mail"];
    pair.beta.groups = vec!["mail", "db"];
    let (alpha, beta) = up(&pair, 3).await;
    alpha.groups[1].send(2, write(5));
    until("mail gets mail's", || beta.groups[0].told().contains(&Told::Write(5))).await;
    assert!(!beta.groups[1].told().contains(&Told::Write(5)));
}

#[tokio::test]
async fn a_groups_first_frame_on_a_slot_is_its_hello() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair, 3).await;
    alpha.group().send(2, write(1));
    until("it arrives", || beta.group().told().contains(&Told::Write(1))).await;
    let hellos = beta.group().count(|told| matches!(told, Told::Hello(_)));
    assert!(hellos >= 2, "one for the first slot, one before the write: {hellos}");
}

#[tokio::test]
async fn a_shutdown_is_a_farewell() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair, 3).await;
    let session = beta.group().session().map(|session| session.id()).expect("it is up");
    alpha.links.shutdown().await;
    for node in [&alpha, &beta] {
        until("the session is down", || node.group().told().last() == Some(&Told::SessionDown(session))).await;
        assert_eq!(node.group().open_slots(), 0);
    }
    drop(alpha);
    let alpha = pair.alpha.start();
    alpha.is_up(3).await;
    until("both know the new session", || beta.sessions() == 2 && beta.group().open_slots() == 3).await;
    assert_eq!(beta.status().flaps, 0, "a farewell is no death of the link");
}

#[tokio::test]
async fn a_process_that_was_killed_is_another_when_it_returns() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair, 3).await;
    drop(beta);
    until("alpha lost all slots", || alpha.group().open_slots() == 0).await;
    let beta = pair.beta.start();
    beta.is_up(3).await;
    until("alpha has a second session", || alpha.sessions() == 2 && alpha.group().open_slots() == 3).await;
    let told = alpha.group().told();
    let instances: Vec<_> =
        told.iter().filter_map(|t| if let Told::SessionUp(_, i) = t { Some(*i) } else { None }).collect();
    assert_ne!(instances[0], instances[1]);
    talk(&alpha, &beta, 3).await;
    assert!(told.contains(&Told::SlotDown(Slot(0))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_tell_of_each_group_in_its_turn() {
    let mut pair = Pair::new().await;
    let names: Vec<&'static str> = (0..2 * BEATS_MAX + 3).map(|n| &*format!("group-{n}").leak()).collect();
    pair.alpha.groups = names.clone();
    pair.beta.groups = names;
    // Sessions have no part in it.
    pair.to_alpha.pass_tcp(false);
    pair.to_beta.pass_tcp(false);
    let (alpha, beta) = (pair.alpha.start(), pair.beta.start());
    for node in [&alpha, &beta] {
        until("every group was told of", || node.groups.iter().all(|group| group.beats() >= 2)).await;
        assert_eq!(node.sessions(), 0);
    }
}
