use std::time::{Duration, Instant};

use super::world::{ALPHA, BETA, HEARTBEAT, World};
use crate::ids::{Instance, SessionId, Slot};
use crate::peer::Peer;
use crate::peer::array::{ConnectionId, SlotState};
use crate::peer::detector::Verdict;
use crate::peer::event::{Ended, Event};
use crate::peer::io::{Failure, Input, Introduced, Output, Phase, Rules};
use crate::peer::paths::PathIndex;
use crate::wire::message::ByeReason;

const MINUTE: Duration = Duration::from_secs(60);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn up(paths: usize) -> World {
    let mut world = World::new(paths);
    world.until_up(4, seconds(5));
    world
}

#[test]
fn it_comes_up_within_an_interval_and_stays_up_for_an_hour() {
    let mut world = World::new(1);
    let took = world.until_up(4, seconds(5));
    assert!(took <= HEARTBEAT.interval, "{took:?}");
    world.run(MINUTE * 60);
    assert!(world.are_up(4));
    for node in &world.nodes {
        let snapshot = node.peer.snapshot(world.now);
        assert_eq!((snapshot.phase, snapshot.verdict, snapshot.flaps), (Phase::Up, Verdict::Healthy, 0));
        assert_eq!(snapshot.paths, [Some(Duration::from_micros(600))]);
        assert_eq!(node.told(|event| !matches!(event, Event::SessionUp { .. } | Event::SlotUp { .. })), 0);
    }
}

#[test]
fn a_cut_is_noticed_within_t1_and_one_interval() {
    let mut world = up(1);
    world.run(MINUTE);
    world.cut(true);
    world.run(HEARTBEAT.timeout - HEARTBEAT.interval);
    assert!(world.are_up(4), "not before T1");
    world.run(HEARTBEAT.interval * 2);
    for node in &world.nodes {
        assert_eq!(node.checker.session(), None);
        assert_eq!(node.told(|event| matches!(event, Event::LinkDead { .. })), 1);
        assert_eq!(node.told(|event| matches!(event, Event::UdpFiltered { .. })), 0);
        let slots = node.peer.snapshot(world.now).slots;
        assert!(slots.iter().all(|slot| slot.state != SlotState::Open), "{slots:?}");
    }
}

#[test]
fn what_flaps_waits_longer_each_time_and_is_forgiven_after_long_health() {
    let mut world = up(1);
    for expected in [3, 6, 12, 24, 48, 60, 60] {
        world.cut(true);
        world.run(seconds(10));
        world.cut(false);
        let took = world.until_up(4, MINUTE * 2);
        let least = seconds(expected);
        assert!(took >= least && took <= least + HEARTBEAT.interval * 3, "{took:?} where {least:?} were owed");
    }
    assert_eq!(world.nodes[ALPHA].told(|event| matches!(event, Event::ProbationStarted { .. })), 7);
    world.run(MINUTE * 3);
    world.cut(true);
    world.run(seconds(10));
    world.cut(false);
    let took = world.until_up(4, MINUTE * 2);
    assert!(took < seconds(5), "{took:?}");
}

#[test]
fn probation_begins_again_with_each_gap() {
    let mut world = up(1);
    world.cut(true);
    world.run(seconds(10));
    for _ in 0..10 {
        world.cut(false);
        world.run(seconds(2));
        assert_eq!(world.phase(ALPHA), Phase::Probation);
        world.cut(true);
        world.run(seconds(2));
    }
    assert_eq!(world.nodes[ALPHA].checker.session(), None);
    world.cut(false);
    world.until_up(4, seconds(5));
}

#[test]
fn without_udp_connections_are_made_after_t1_and_live_on_pings() {
    let mut world = World::new(1);
    world.cut_udp(true);
    let took = world.until_up(4, MINUTE);
    assert!(took >= HEARTBEAT.timeout && took <= HEARTBEAT.timeout * 2, "{took:?}");
    world.run(MINUTE * 10);
    assert!(world.are_up(4));
    for node in &world.nodes {
        assert_eq!(node.peer.snapshot(world.now).verdict, Verdict::UdpFiltered);
        assert_eq!(node.told(|event| matches!(event, Event::UdpFiltered { one_way: false })), 1, "it is said once");
    }
    world.cut_udp(false);
    world.run(seconds(2));
    for node in &world.nodes {
        assert_eq!(node.peer.snapshot(world.now).verdict, Verdict::Healthy);
        assert_eq!(node.told(|event| matches!(event, Event::UdpHeard)), 1);
    }
}

#[test]
fn udp_that_is_filtered_one_way_is_told_apart() {
    let mut world = up(1);
    world.paths[0].udp[ALPHA] = false;
    world.run(MINUTE);
    assert!(world.are_up(4));
    let one_way = |side: usize, expected: bool| {
        world.nodes[side].told(|event| matches!(event, Event::UdpFiltered { one_way } if *one_way == expected))
    };
    assert_eq!((one_way(ALPHA, true), one_way(BETA, false)), (1, 1));
}

#[test]
fn without_udp_a_cut_is_noticed_too() {
    let mut world = World::new(1);
    world.cut_udp(true);
    world.until_up(4, MINUTE);
    world.run(MINUTE);
    world.cut(true);
    world.run(HEARTBEAT.timeout * 2);
    assert!(world.nodes.iter().all(|node| node.checker.session().is_none()));
    world.paths[0].tcp = true;
    let took = world.until_up(4, MINUTE);
    assert!(took < seconds(15), "heartbeats were never to be waited for: {took:?}");
}

#[test]
fn a_firewall_that_closes_while_the_link_is_down_is_got_through_in_the_end() {
    let mut world = up(1);
    world.cut(true);
    world.run(seconds(10));
    world.paths[0].tcp = true;
    let took = world.until_up(4, MINUTE * 3);
    assert!(took > seconds(30), "heartbeats are believed first: {took:?}");
}

#[test]
fn a_lost_slot_returns_at_once_and_the_others_do_not_notice() {
    let mut world = up(1);
    let session = world.nodes[ALPHA].checker.session();
    assert!(world.reset(2));
    world.run(Duration::from_millis(50));
    assert_eq!((world.nodes[ALPHA].checker.open(), world.nodes[BETA].checker.open()), (3, 3));
    assert!(world.until_up(4, seconds(5)) < seconds(1));
    assert_eq!(world.nodes[ALPHA].checker.session(), session);
}

#[test]
fn all_slots_lost_is_another_session_without_probation() {
    let mut world = up(1);
    let session = world.nodes[ALPHA].checker.session();
    (0..4).for_each(|place| assert!(world.reset(place)));
    world.run(Duration::from_millis(10));
    let took = world.until_up(4, seconds(5));
    assert!(took < seconds(1) && world.nodes[ALPHA].checker.session() != session, "{took:?}");
    assert_eq!(world.nodes[ALPHA].peer.snapshot(world.now).flaps, 0);
}

#[test]
fn slots_that_die_in_a_cut_before_the_verdict_are_a_flap_all_the_same() {
    let mut world = up(1);
    world.cut(true);
    (0..4).for_each(|place| assert!(world.reset(place)));
    world.run(seconds(10));
    world.cut(false);
    let took = world.until_up(4, MINUTE);
    assert!(took >= HEARTBEAT.probation, "{took:?}");
    assert_eq!(world.nodes[ALPHA].peer.snapshot(world.now).flaps, 1);
}

#[test]
fn either_side_restarts() {
    for side in [ALPHA, BETA] {
        for away in [Duration::from_millis(1), seconds(1), seconds(20)] {
            let mut world = up(1);
            let session = world.nodes[1 - side].checker.session();
            world.restart(side, away);
            world.until_up(4, seconds(20));
            assert_ne!(world.nodes[1 - side].checker.session(), session, "{side} was away for {away:?}");
        }
    }
}

#[test]
fn a_farewell_is_no_flap() {
    let mut world = up(1);
    world.give(BETA, Input::Shutdown);
    let connection = world.nodes[ALPHA].peer.snapshot(world.now).slots[0].connection.expect("it is open");
    world.give(ALPHA, Input::Bye { connection, reason: ByeReason::Shutdown });
    world.restart(BETA, MINUTE);
    let took = world.until_up(4, seconds(5));
    assert!(took <= HEARTBEAT.interval, "no probation is owed: {took:?}");
    assert_eq!(world.nodes[ALPHA].peer.snapshot(world.now).flaps, 0);
}

#[test]
fn slowness_is_told_once_and_ends() {
    let mut world = up(1);
    world.run(seconds(5));
    world.nodes[ALPHA].waiting = Some(world.now);
    world.run(MINUTE);
    assert!(world.are_up(4), "slow is not gone");
    assert_eq!(world.nodes[ALPHA].peer.snapshot(world.now).verdict, Verdict::PeerSlow);
    world.nodes[ALPHA].waiting = None;
    world.run(seconds(1));
    let told = |of: fn(&Event) -> bool| world.nodes[ALPHA].told(of);
    let counts = (told(|e| matches!(e, Event::PeerSlow { .. })), told(|e| matches!(e, Event::PeerFine)));
    assert_eq!(counts, (1, 1));
}

#[test]
fn misbehaviour_ends_the_session_and_pauses_longer_each_time() {
    let mut world = up(1);
    for pause in [1, 2, 4] {
        let session = world.nodes[ALPHA].checker.session().expect("it is up");
        world.give(ALPHA, Input::Misbehaved { session, cause: "it lied".into() });
        assert_eq!(world.phase(ALPHA), Phase::BackingOff);
        let took = world.until_up(4, MINUTE);
        assert!(took >= seconds(pause) && took <= seconds(pause + 1), "{took:?}");
    }
    let session = world.nodes[ALPHA].checker.session().expect("it is up");
    world.give(ALPHA, Input::Misbehaved { session: crate::ids::SessionId(1), cause: "of a former session".into() });
    assert_eq!(world.nodes[ALPHA].checker.session(), Some(session));
}

#[test]
fn slots_move_one_at_a_time_when_another_address_is_clearly_faster() {
    let mut world = World::new(2);
    world.paths[1].delay = Duration::from_millis(5);
    world.until_up(4, seconds(5));
    world.run(MINUTE);
    let paths = |world: &World| world.nodes[ALPHA].peer.snapshot(world.now).best;
    assert_eq!(paths(&world), PathIndex(0));
    let session = world.nodes[ALPHA].checker.session();
    world.paths[0].delay = Duration::from_millis(20);
    let mut least = 4;
    for _ in 0..6000 {
        world.run(Duration::from_millis(10));
        least = least.min(world.nodes[ALPHA].checker.open());
    }
    assert_eq!((paths(&world), least), (PathIndex(1), 4), "a slot's successor is there before it goes");
    assert!(world.are_up(4) && world.nodes[ALPHA].checker.session() == session);
    let moved = world.nodes[ALPHA].told(|event| matches!(event, Event::Moved { .. }));
    assert!((1..=2).contains(&moved), "{moved}");
}

#[test]
fn slots_move_when_their_address_dies_and_the_session_lives() {
    let mut world = up(2);
    world.run(MINUTE);
    let session = world.nodes[ALPHA].checker.session();
    let best = usize::from(world.nodes[ALPHA].peer.snapshot(world.now).best.0);
    (world.paths[best].udp, world.paths[best].tcp) = ([false; 2], false);
    world.run(HEARTBEAT.timeout * 2);
    assert!(world.are_up(4));
    assert_eq!(world.nodes[ALPHA].checker.session(), session);
    assert_eq!(usize::from(world.nodes[ALPHA].peer.snapshot(world.now).best.0), 1 - best);
}

#[test]
fn both_addresses_are_measured_however_different_they_are() {
    let mut world = World::new(2);
    world.paths[1].delay = Duration::from_millis(40);
    world.until_up(4, seconds(5));
    world.run(MINUTE);
    for node in &world.nodes {
        let trips = node.peer.snapshot(world.now).paths;
        assert_eq!(trips[0], Some(Duration::from_micros(600)));
        assert!(trips[1].is_some_and(|trip| trip.as_millis() == 80), "{trips:?}");
        assert_eq!(node.peer.snapshot(world.now).heartbeats_refused, 0, "late is not replayed");
    }
}

#[test]
fn being_alone_is_told_once() {
    let mut world = World::new(1);
    world.cut(true);
    world.run(MINUTE * 10);
    assert!(world.nodes.iter().all(|node| node.told(|event| *event == Event::NobodyHeard) == 1));
    assert_eq!(world.nodes[ALPHA].told(|_| true), 1, "and that is all: {:?}", world.nodes[ALPHA].events);
    world.cut_udp(false);
    world.run(MINUTE * 10);
    let told = |side: usize, of: fn(&Event) -> bool| world.nodes[side].told(of);
    assert_eq!(told(ALPHA, |event| matches!(event, Event::Unreachable { .. })), 1);
    assert_eq!(told(ALPHA, |event| *event == Event::NotDialed), 0);
    world.cut(false);
    world.until_up(4, MINUTE);
    let mut world = World::new(1);
    world.paths[0].tcp = false;
    world.run(MINUTE);
    assert_eq!(world.nodes[BETA].told(|event| *event == Event::NotDialed), 1);
}

#[test]
fn the_end_is_quiet() {
    let mut world = up(1);
    world.give(ALPHA, Input::Shutdown);
    assert_eq!(world.nodes[ALPHA].peer.poll_timeout(world.now), None);
    assert_eq!(world.nodes[ALPHA].told(|event| *event == Event::SessionDown { why: Ended::Shutdown }), 1);
    let sent = world.nodes[ALPHA].peer.snapshot(world.now).heartbeats_sent;
    world.run(MINUTE);
    assert_eq!(world.nodes[ALPHA].peer.snapshot(world.now).heartbeats_sent, sent);
    assert_eq!(world.nodes[ALPHA].peer.snapshot(world.now).slots.len(), usize::from(Slot(4).0));
}

/// It knows the secret, and does not keep to what it said first.
#[test]
fn a_slot_beyond_those_of_the_session_is_turned_away() {
    let now = Instant::now();
    let rules = Rules {
        node: "beta".into(),
        instance: Instance(1),
        dialer: false,
        addresses: 1,
        connections: 4,
        heartbeat: HEARTBEAT,
        seed: 1,
    };
    let mut peer = Peer::new(rules, now);
    for (slot, connections) in [(0, 1), (3, 4)] {
        let peer_says = Introduced { instance: Instance(2), session: SessionId(7), connections };
        let connection = ConnectionId(u64::from(slot) + 1);
        peer.handle(now, Input::Arrived { slot: Slot(slot), connection, peer: peer_says });
    }
    let outputs: Vec<Output> = std::iter::from_fn(|| peer.poll_output()).collect();
    let turned = outputs.iter().find_map(|output| match output {
        Output::Turn { connection: ConnectionId(4), why: Failure::Refused(cause) } => Some(cause.as_str()),
        _ => None,
    });
    assert_eq!(turned, Some("slot 3 is beyond the 1 connections agreed for the session"), "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::SlotUp { slot: Slot(3), .. })), "{outputs:?}");
}
