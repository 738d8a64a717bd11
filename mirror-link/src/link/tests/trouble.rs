//! A link in trouble.

use std::time::{Duration, Instant};

use super::fake::{Told, until, write};
use super::line::Front;
use super::node::{HEARTBEAT, Node, Pair, addresses};
use crate::config::PairSecret;
use crate::link::status::{Phase, SlotState, Verdict};

async fn up(pair: &Pair) -> (Node, Node) {
    let (alpha, beta) = (pair.alpha.start(), pair.beta.start());
    alpha.is_up(3).await;
    beta.is_up(3).await;
    (alpha, beta)
}

#[tokio::test]
async fn a_lost_slot_is_told_and_made_again() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair).await;
    assert!(pair.to_beta.kill_one());
    for node in [&alpha, &beta] {
        until("the slot goes", || node.group().count(|told| matches!(told, Told::SlotDown(_))) == 1).await;
        until("the slot comes back", || node.group().open_slots() == 3).await;
        assert_eq!(node.sessions(), 1, "the session lives as long as one slot does");
        assert!(node.status().last_error.is_some());
    }
}

#[tokio::test]
async fn udp_alone_is_filtered() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair).await;
    pair.pass_udp(false);
    for node in [&alpha, &beta] {
        until("the verdict", || node.status().verdict == Verdict::UdpFiltered).await;
    }
    tokio::time::sleep(HEARTBEAT.timeout * 3).await;
    for node in [&alpha, &beta] {
        assert_eq!((node.status().verdict, node.group().open_slots()), (Verdict::UdpFiltered, 3));
        assert_eq!(node.sessions(), 1);
    }
    pair.pass_udp(true);
    until("all is well", || alpha.status().verdict == Verdict::Healthy).await;
}

#[tokio::test]
async fn connections_are_made_though_udp_never_came_through() {
    let pair = Pair::new().await;
    pair.pass_udp(false);
    let start = Instant::now();
    let (alpha, beta) = up(&pair).await;
    assert!(start.elapsed() >= HEARTBEAT.timeout, "heartbeats had their chance");
    until("the verdict", || alpha.status().verdict == Verdict::UdpFiltered).await;
    until("the verdict", || beta.status().verdict == Verdict::UdpFiltered).await;
}

#[tokio::test]
async fn a_dead_link_is_given_up_and_must_earn_its_return() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair).await;
    pair.pass(false);
    let cut = Instant::now();
    for node in [&alpha, &beta] {
        until("the session goes", || matches!(node.group().told().last(), Some(Told::SessionDown(_)))).await;
        until("the verdict", || node.status().verdict == Verdict::LinkDead).await;
        assert_eq!(node.group().open_slots(), 0);
    }
    let took = cut.elapsed();
    assert!(took >= HEARTBEAT.timeout - HEARTBEAT.interval * 2 && took < HEARTBEAT.timeout * 4, "{took:?}");
    assert_eq!(alpha.status().flaps, 1);
    tokio::time::sleep(HEARTBEAT.timeout).await;
    pair.pass(true);
    let healed = Instant::now();
    until("probation", || alpha.status().phase == Phase::Probation).await;
    alpha.is_up(3).await;
    assert!(healed.elapsed() >= HEARTBEAT.probation, "{:?}", healed.elapsed());
    until("both have a new session", || beta.sessions() == 2 && beta.group().open_slots() == 3).await;
    assert_eq!(alpha.status().probation_s, 0.6, "the next probation is longer");
}

#[tokio::test]
async fn a_wrong_secret_is_said_and_tried_ever_less_often() {
    let mut pair = Pair::new().await;
    let right = pair.beta.config.secret.clone();
    pair.beta.config.secret = PairSecret([8; 32].into());
    let (alpha, beta) = (pair.alpha.start(), pair.beta.start());
    until("alpha backs off", || alpha.status().phase == Phase::BackingOff).await;
    until("it says why", || alpha.status().last_error.is_some_and(|error| error.contains("secret"))).await;
    assert_eq!(beta.status().last_error, None, "whoever does not know the secret is not the peer");
    assert!(alpha.status().heartbeats_refused > 0);
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let attempts = pair.to_beta.accepted();
    assert!((1..=2).contains(&attempts), "one at once, one after a second: {attempts}");
    assert_eq!((alpha.sessions(), beta.sessions()), (0, 0));
    beta.links.shutdown().await;
    drop(beta);
    pair.beta.config.secret = right;
    let beta = pair.beta.start();
    alpha.is_up(3).await;
    beta.is_up(3).await;
    assert_eq!(alpha.status().last_error, None);
}

#[tokio::test]
async fn a_node_that_is_no_peer_is_refused() {
    let mut pair = Pair::new().await;
    pair.alpha.name = "aleph";
    let (aleph, beta) = (pair.alpha.start(), pair.beta.start());
    until("it is told so", || {
        aleph.status().last_error.is_some_and(|error| error.contains("not among this node's peers"))
    })
    .await;
    assert_eq!(aleph.status().phase, Phase::BackingOff);
    assert_eq!((beta.sessions(), beta.status().heartbeats_received), (0, 0));
}

#[tokio::test]
async fn a_connection_without_a_frame_for_t3_is_given_up() {
    let pair = Pair::new().await.both(|config| config.idle_timeout = Duration::from_millis(600));
    let (alpha, beta) = up(&pair).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(beta.group().open_slots(), 3, "pings keep idle slots");
    pair.to_beta.pass_tcp(false);
    until("the slots are given up", || beta.group().open_slots() == 0).await;
    let why = beta.status().last_error.expect("it has a cause");
    assert!(why.contains("no frame for 600ms") || why.contains("closed by the peer"), "{why}");
    pair.to_beta.pass_tcp(true);
    until("they return", || alpha.group().open_slots() == 3 && beta.group().open_slots() == 3).await;
    assert_eq!(alpha.status().flaps, 0, "heartbeats never ceased");
}

#[tokio::test]
async fn who_breaks_the_protocol_is_left_alone_for_a_while() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair).await;
    let session = beta.group().session().expect("it is up");
    session.misbehaved("it wrote beyond the end");
    for node in [&alpha, &beta] {
        until("the session goes", || node.group().told().contains(&Told::SessionDown(session.id()))).await;
    }
    until("alpha backs off", || alpha.status().phase == Phase::BackingOff).await;
    assert!(alpha.status().last_error.is_some_and(|error| error.contains("broke the protocol")));
    session.send(crate::ids::Slot(0), write(1));
    until("there is another session", || alpha.sessions() == 2 && beta.sessions() == 2).await;
    alpha.group().send(0, write(2));
    until("it works", || beta.group().told().contains(&Told::Write(2))).await;
    assert!(!alpha.group().told().contains(&Told::Write(1)), "a former session swallows what it is given");
}

#[tokio::test]
async fn a_peer_that_acknowledges_nothing_is_slow_and_not_gone() {
    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair).await;
    alpha.group().send(0, write(1));
    tokio::time::sleep(HEARTBEAT.timeout * 2).await;
    assert_eq!(alpha.status().verdict, Verdict::Healthy, "without a stream nothing is due");
    alpha.groups[0].begin();
    alpha.group().send(0, write(1));
    until("alpha is told", || alpha.group().told().contains(&Told::Slow(true))).await;
    assert_eq!(alpha.status().verdict, Verdict::PeerSlow);
    beta.groups[0].acknowledge(1);
    until("alpha is told", || alpha.group().told().last() == Some(&Told::Slow(false))).await;
    assert_eq!((alpha.sessions(), alpha.group().open_slots()), (1, 3));
}

#[tokio::test]
async fn connections_move_to_the_address_that_answers() {
    let mut pair = Pair::new().await;
    let [second] = addresses();
    let detour = Front::new(second, pair.beta.listen[0]).await;
    pair.alpha.config.addresses.push(second);
    let (alpha, beta) = up(&pair).await;
    let used = |node: &Node| node.status().addresses.iter().position(|address| address.in_use);
    let first = used(&alpha).expect("one is in use");
    let (cut, other) = if first == 0 { (&pair.to_beta, &detour) } else { (&detour, &pair.to_beta) };
    cut.pass(false);
    until("all slots are there", || {
        let remote = |slot: &crate::link::status::SlotStatus| slot.remote == Some(other.address);
        let status = alpha.status();
        status.slots.iter().all(|slot| slot.state == SlotState::Open && remote(slot))
    })
    .await;
    until("all slots are there", || beta.group().open_slots() == 3).await;
    assert_eq!((alpha.sessions(), beta.sessions(), alpha.status().flaps), (1, 1, 0));
    alpha.group().send(1, write(9));
    until("they carry writes", || beta.group().told().contains(&Told::Write(9))).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let pair = Pair::new().await;
    let _alpha = pair.alpha.start();
    let error = crate::link::Links::begin("alpha".into(), crate::ids::Instance(0), &pair.alpha.listen, vec![])
        .expect_err("it is taken");
    assert!(error.to_string().contains(&pair.alpha.listen[0].to_string()), "{error}");
}

/// Whoever holds connections open, from anywhere, and says nothing.
#[tokio::test]
async fn strangers_who_say_nothing_do_not_keep_the_pair_apart() {
    let pair = Pair::new().await;
    let beta = pair.beta.start();
    let mut silent = Vec::new();
    let [elsewhere] = addresses();
    // The front in between is what calls at beta: its address is the peer's.
    let peers = pair.beta.config.addresses[0];
    for (from, count) in [(elsewhere, 100), (peers, 200)] {
        for _ in 0..count {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind(std::net::SocketAddr::new(from.ip(), 0)).expect("of loopback");
            silent.push(socket.connect(pair.beta.listen[0]).await.expect("it listens"));
        }
    }
    let alpha = pair.alpha.start();
    alpha.is_up(3).await;
    beta.is_up(3).await;
    assert_eq!((beta.status().last_error, silent.len()), (None, 300));
}

/// With the peer's name, and nothing to prove it.
#[tokio::test]
async fn what_a_stranger_says_in_the_peers_name_is_not_the_peers_word() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::config::{Compression, Encryption};
    use crate::ids::{Instance, SessionId, Slot};
    use crate::wire::handshake::{CELL_LENGTH, Dialing, Nonce, Ours, Refusal, RefusalCode, SlotHello};
    use crate::wire::keys::PairKeys;
    use crate::wire::secure::Ephemeral;

    let pair = Pair::new().await;
    let (alpha, beta) = up(&pair).await;
    let mut stream = tokio::net::TcpStream::connect(pair.beta.listen[0]).await.expect("it listens");
    let hello = SlotHello {
        node: "alpha".into(),
        instance: Instance(1),
        session: SessionId(1),
        slot: Slot(0),
        connections: 3,
        encryption: Encryption::None,
        compression: Compression::None,
        nonce: Nonce([1; 32]),
    };
    let keys = PairKeys::derive(&PairSecret([9; 32].into()), "alpha", "beta");
    let ours = Ours { hello, ephemeral: Ephemeral([1; 32]) };
    let (_, hello) = Dialing::start(ours, "beta".into(), keys);
    stream.write_all(&hello).await.expect("sent");
    stream.read_exact(&mut [0; CELL_LENGTH]).await.expect("answered");
    let refusal = Refusal::new(RefusalCode::WRONG_SECRET, "ring the number of a stranger");
    stream.write_all(&refusal.encode()).await.expect("sent");
    stream.read_to_end(&mut Vec::new()).await.expect("closed");
    assert_eq!(beta.status().last_error, None);
    assert_eq!((alpha.sessions(), beta.sessions()), (1, 1));
}
