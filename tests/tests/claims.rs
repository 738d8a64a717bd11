//! The claims of US 7,386,610, each against two real daemons: on the wire, in the connection arrays, in the images.
//! In brackets what the claim asks for.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use iscsi_proto::initiator::Outcome;
use iscsi_proto::pdu::ScsiStatus;
use mirror_link::config::Compression;
use mirror_link::wire::FrameDecoder;
use mirror_link::wire::message::{Ack, Frame, Message, Op};
use scenarios::bystander::{read10, write10};
use scenarios::daemon::wait_until;
use scenarios::initiator::Session;
use scenarios::line::proxied::Direction;
use scenarios::pair::{PATIENCE, Pair, Setup, Volume};

const BLOCK: usize = 512;

fn write(session: &mut Session, lun: u16, lba: u32, fill: u8, blocks: u16) -> Outcome {
    let data = vec![fill; BLOCK * usize::from(blocks)];
    session.command(lun, &write10(lba, blocks), data, 0).expect("the session lives")
}

fn write_well(session: &mut Session, lba: u32, fill: u8, blocks: u16) {
    let outcome = write(session, 0, lba, fill, blocks);
    assert_eq!(outcome.status, ScsiStatus::GOOD, "{outcome:?}");
}

fn filled(image: &[u8], lba: u32, fill: u8, blocks: usize) -> bool {
    image[lba as usize * BLOCK..][..blocks * BLOCK].iter().all(|byte| *byte == fill)
}

fn decoder() -> FrameDecoder {
    FrameDecoder::new(Compression::None)
}

/// More than a handshake takes.
const HANDSHAKE_BYTES_MAX: usize = 2048;

/// Everything that went over the line's connections in that direction, since it is recorded, as frames.
fn frames(pair: &Pair, direction: Direction) -> Vec<Frame> {
    let mut frames = Vec::new();
    for connection in pair.line.proxied().connections() {
        let recorded = connection.recorded(direction);
        // The handshake comes first. Frames begin where a header's checksum holds.
        let begins = |at: &usize| matches!(decoder().next(&mut BytesMut::from(&recorded[*at..])), Ok(Some(_)));
        let Some(at) = (0..recorded.len().min(HANDSHAKE_BYTES_MAX)).find(begins) else { continue };
        let (mut decoder, mut bytes) = (decoder(), BytesMut::from(&recorded[at..]));
        while let Ok(Some(frame)) = decoder.next(&mut bytes) {
            frames.push(frame);
        }
    }
    frames
}

fn messages(pair: &Pair, direction: Direction) -> Vec<Message> {
    frames(pair, direction)
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::Group(frame) => Some(frame.message),
            _ => None,
        })
        .collect()
}

/// Numbers of the writes of these bytes that went over the line.
fn sent(pair: &Pair, fill: u8) -> Vec<u64> {
    messages(pair, Direction::There)
        .into_iter()
        .filter_map(|message| match message {
            Message::Op(frame) => match &frame.op {
                Op::Write { data, .. } if data.contiguous().first() == Some(&fill) => Some(frame.seq.0),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

fn acks(pair: &Pair) -> Vec<Ack> {
    messages(pair, Direction::Back)
        .into_iter()
        .filter_map(|message| match message {
            Message::Ack(ack) => Some(*ack),
            _ => None,
        })
        .collect()
}

fn recorded(setup: &Setup) -> Pair {
    let mut pair = Pair::prepare(setup);
    pair.line.proxied().record();
    pair.beta.start();
    pair.alpha.start();
    pair.wait_established(setup.volumes[0].name);
    pair
}

fn wait_cut(pair: &Pair) {
    wait_until("both nodes have closed their slots", PATIENCE, || {
        pair.alpha.open_slots() == 0 && pair.beta.open_slots() == 0
    });
}

/// [connection; mirror request for each primary request; processed at the mirror; heartbeats both ways, watched; an
/// interruption closes the connections]
#[test]
fn claim_01_requests_are_mirrored_and_a_silent_line_is_closed() {
    let pair = recorded(&Setup::default());
    write_well(&mut pair.alpha.log_in().expect("logged in"), 100, 0x11, 8);
    assert!(filled(&pair.beta.image("db"), 100, 0x11, 8), "processed at the mirror");
    assert_eq!(sent(&pair, 0x11).len(), 1, "one mirror request for the primary request");
    assert!(pair.line.proxied().datagrams(Direction::There) > 0 && pair.line.proxied().datagrams(Direction::Back) > 0);
    pair.line.cut();
    wait_cut(&pair);
}

/// [the interruption counts when it is longer than a first time]
#[test]
fn claim_02_a_pause_shorter_than_t1_closes_nothing() {
    let pair = Pair::established(&Setup { timeout: "1500ms", ..Setup::default() });
    pair.line.cut();
    std::thread::sleep(Duration::from_millis(500));
    pair.line.heal();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        (pair.alpha.open_slots(), pair.line.proxied().connections().len()),
        (4, 4),
        "the same connections as before"
    );
    pair.line.cut();
    wait_cut(&pair);
}

/// [after the heartbeat has come back for a probationary interval, connections are made again]
#[test]
fn claim_03_connections_come_back_after_probation() {
    let pair = Pair::established(&Setup { probation: "1s", ..Setup::default() });
    pair.line.cut();
    wait_cut(&pair);
    pair.line.heal();
    let healed = Instant::now();
    pair.wait_established("db");
    assert!(healed.elapsed() >= Duration::from_secs(1), "not before the probation is over: {:?}", healed.elapsed());
    assert_eq!(pair.alpha.open_slots(), 4);
}

/// [what was queued is sent after that]
#[test]
fn claim_04_queued_requests_are_sent_when_the_line_is_back() {
    let pair = Pair::established(&Setup::mode("mode: async"));
    let mut session = pair.alpha.log_in().expect("logged in");
    pair.line.cut();
    wait_cut(&pair);
    (0..20).for_each(|n| write_well(&mut session, n * 8, 0x40 + n as u8, 8));
    assert!(filled(&pair.beta.image("db"), 0, 0, 160), "nothing has come");
    assert_eq!(pair.alpha.group("db")["queue"]["writes"], 20, "{}", pair.alpha.group("db"));
    pair.line.heal();
    pair.assert_alike("db");
    assert!(filled(&pair.beta.image("db"), 19 * 8, 0x53, 8));
}

/// [when the heartbeat fails for longer than the first time: entries marked closed, connections closed, requests queued]
#[test]
fn claim_05_a_dead_line_marks_the_array_closed_and_requests_wait() {
    let pair = Pair::established(&Setup::mode("mode: async"));
    pair.line.cut();
    wait_cut(&pair);
    let peer = pair.alpha.peer();
    assert!(peer["slots"].as_array().expect("an array").iter().all(|slot| slot["state"] == "closed"), "{peer}");
    assert_eq!(peer["verdict"], "link-dead");
    write_well(&mut pair.alpha.log_in().expect("logged in"), 0, 1, 1);
    assert_eq!(pair.alpha.group("db")["queue"]["writes"], 1);
}

/// [monitoring for a probationary interval of unbroken heartbeat]
#[test]
fn claim_06_an_unbroken_heartbeat_is_asked_for_and_the_interval_doubles() {
    let pair = Pair::established(&Setup { probation: "400ms", ..Setup::default() });
    let probation = || pair.alpha.peer()["probation_s"].as_f64().expect("seconds");
    pair.line.cut();
    wait_cut(&pair);
    let first = probation();
    pair.line.heal();
    pair.wait_established("db");
    pair.line.cut();
    wait_cut(&pair);
    assert!(probation() > first, "a line that flaps is watched longer: {first} s, then {} s", probation());
}

/// [the mirror request stores at the mirror what the primary request stores]
#[test]
fn claim_07_the_mirror_holds_what_the_primary_holds() {
    let pair = Pair::established(&Setup::default());
    let mut session = pair.alpha.log_in().expect("logged in");
    (0..64).for_each(|n| write_well(&mut session, n * 37 % 512, n as u8, 24));
    pair.assert_alike("db");
    assert!(pair.beta.image("db").iter().any(|byte| *byte != 0));
}

/// [a response says whether the mirror request was carried out]
#[test]
fn claim_08_the_mirror_answers_each_request() {
    let pair = recorded(&Setup::default());
    write_well(&mut pair.alpha.log_in().expect("logged in"), 0, 0x77, 1);
    let seq = sent(&pair, 0x77)[0];
    assert!(acks(&pair).iter().any(|ack| ack.applied_upto.0 >= seq), "the answer says that it is applied");
}

/// [n connections, n ≥ 1, each with a worker]
#[test]
fn claim_09_n_connections_are_made_for_any_n() {
    for connections in [1, 3, 16] {
        let pair = Pair::established(&Setup { connections, ..Setup::default() });
        let n = usize::from(connections);
        wait_until("all connections", PATIENCE, || pair.alpha.open_slots() == n && pair.beta.open_slots() == n);
        assert_eq!(pair.line.proxied().open_connections().len(), n);
    }
}

/// [an array with an entry for each connection, at the primary]
#[test]
fn claim_10_the_local_array_knows_each_socket_and_when_it_was_heard() {
    let pair = Pair::established(&Setup::default());
    let peer = pair.alpha.peer();
    for slot in peer["slots"].as_array().expect("an array") {
        assert!(slot["local"].is_string() && slot["remote"].is_string() && slot["state"] == "open", "{slot}");
        assert!(slot["heartbeat_ms_ago"].as_u64().is_some_and(|age| age < 1000), "{slot}");
    }
}

/// [and one at the mirror]
#[test]
fn claim_11_the_mirror_has_its_own_array_and_any_slot_carries_any_request() {
    let pair = recorded(&Setup { connections: 3, ..Setup::default() });
    let mut session = pair.alpha.log_in().expect("logged in");
    assert_eq!(pair.beta.peer()["slots"].as_array().map(Vec::len), Some(3));
    // Losing all but one of them loses nothing.
    for connection in pair.line.proxied().open_connections().iter().take(2) {
        connection.kill();
        write_well(&mut session, 8 * connection.number as u32, 0x21, 8);
    }
    pair.assert_alike("db");
    assert_eq!(pair.alpha.peer()["flaps"], 0, "no link died");
}

/// [a first heartbeat at regular intervals from the primary]
#[test]
fn claim_12_the_primary_beats_regularly() {
    beats(Direction::There);
}

/// [a second one from the mirror]
#[test]
fn claim_13_the_mirror_beats_regularly() {
    beats(Direction::Back);
}

fn beats(direction: Direction) {
    let pair = Pair::established(&Setup::default());
    let before = pair.line.proxied().datagrams(direction);
    std::thread::sleep(Duration::from_secs(2));
    let beats = pair.line.proxied().datagrams(direction) - before;
    assert!((25..=60).contains(&beats), "40 heartbeats of 50 ms in 2 s: {beats}");
}

/// [each receipt stamps every entry]
#[test]
fn claim_14_each_heartbeat_stamps_every_slot() {
    let pair = Pair::established(&Setup { timeout: "5s", ..Setup::default() });
    let ages = |node: &scenarios::pair::Node| -> Vec<u64> {
        let slots = node.peer()["slots"].clone();
        slots
            .as_array()
            .expect("an array")
            .iter()
            .map(|slot| slot["heartbeat_ms_ago"].as_u64().expect("heard"))
            .collect()
    };
    for node in pair.nodes() {
        assert!(ages(node).iter().all(|age| *age < 500), "{:?}", ages(node));
    }
    pair.line.block_udp(true);
    std::thread::sleep(Duration::from_secs(1));
    for node in pair.nodes() {
        assert!(ages(node).iter().all(|age| *age >= 900), "no heartbeat, no stamp: {:?}", ages(node));
    }
}

/// [the mirror, too, watches and closes]
#[test]
fn claim_15_the_mirror_closes_its_slots_when_the_primary_is_silent() {
    let pair = Pair::established(&Setup::default());
    pair.alpha.daemon().signal("STOP");
    wait_until("the mirror has closed its slots", PATIENCE, || pair.beta.open_slots() == 0);
    pair.alpha.daemon().signal("CONT");
    pair.assert_alike("db");
}

/// [a mirror's connection thread that gets no request for a third time ends]
#[test]
fn claim_16_a_connection_without_a_frame_for_t3_is_given_up() {
    // Heartbeats go on; one connection is held up on its way, so that not even a ping comes.
    let pair = Pair::established(&Setup { idle_timeout: "1s", timeout: "20s", ..Setup::default() });
    let before = pair.line.proxied().connections().len();
    pair.line.cut();
    wait_until("the mirror gives its idle connections up", PATIENCE, || pair.beta.open_slots() == 0);
    pair.line.heal();
    wait_until("they are made again", PATIENCE, || pair.alpha.open_slots() == 4 && pair.beta.open_slots() == 4);
    assert!(pair.line.proxied().connections().len() > before);
}

/// [all n are made again]
#[test]
fn claim_17_all_n_connections_are_made_again() {
    let pair = Pair::established(&Setup { connections: 7, ..Setup::default() });
    for _ in 0..2 {
        pair.line.cut();
        wait_cut(&pair);
        pair.line.heal();
        wait_until("all seven", PATIENCE, || pair.alpha.open_slots() == 7 && pair.beta.open_slots() == 7);
    }
}

/// [a heartbeat that breaks off again during probation starts it over]
#[test]
fn claim_18_an_interrupted_probation_starts_over() {
    let pair = Pair::established(&Setup { probation: "2s", ..Setup::default() });
    pair.line.cut();
    wait_cut(&pair);
    let connections = pair.line.proxied().connections().len();
    for _ in 0..2 {
        pair.line.heal();
        std::thread::sleep(Duration::from_millis(900));
        pair.line.cut();
        std::thread::sleep(Duration::from_millis(900));
    }
    assert_eq!(pair.line.proxied().connections().len(), connections, "never unbroken for two seconds");
    pair.line.heal();
    pair.wait_established("db");
}

/// [asynchronous: the host has its answer at once]
#[test]
fn claim_19_async_answers_before_the_mirror() {
    let pair = Pair::established(&Setup::mode("mode: async"));
    let mut session = pair.alpha.log_in().expect("logged in");
    pair.line.delay(Duration::from_millis(150));
    let begun = Instant::now();
    write_well(&mut session, 0, 0x66, 8);
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
    assert!(!filled(&pair.beta.image("db"), 0, 0x66, 8), "the mirror has it later");
    pair.assert_alike("db");
}

/// [synchronous: after the mirror's response]
#[test]
fn claim_20_sync_answers_after_the_mirror() {
    let pair = Pair::established(&Setup::mode("mode: sync"));
    let mut session = pair.alpha.log_in().expect("logged in");
    pair.line.delay(Duration::from_millis(150));
    let begun = Instant::now();
    write_well(&mut session, 0, 0x66, 8);
    assert!(begun.elapsed() >= Duration::from_millis(300), "a round trip: {:?}", begun.elapsed());
    assert!(filled(&pair.beta.image("db"), 0, 0x66, 8));
}

/// [only what is designated to be mirrored is]
#[test]
fn claim_21_a_volume_that_is_not_designated_never_touches_the_link() {
    let volumes = vec![Volume::new("db", "alpha", "mode: sync"), Volume::new("own", "alpha", "")];
    let pair = recorded(&Setup { volumes, ..Setup::default() });
    let mut session = pair.alpha.log_in().expect("logged in");
    assert_eq!(write(&mut session, 1, 0, 0xEE, 8).status, ScsiStatus::GOOD);
    write_well(&mut session, 0, 0xDD, 8);
    assert_eq!((sent(&pair, 0xEE).len(), sent(&pair, 0xDD).len()), (0, 1));
    assert!(filled(&pair.alpha.image("own"), 0, 0xEE, 8) && filled(&pair.beta.image("own"), 0, 0, 8));
}

/// [the system of claim 1: a host's data is read back from either]
#[test]
fn claim_22_what_was_written_is_read_from_the_mirror_when_it_takes_over() {
    let mut pair = Pair::established(&Setup::default());
    write_well(&mut pair.alpha.log_in().expect("logged in"), 2048, 0x3C, 16);
    pair.alpha.kill();
    pair.beta.wait_for("db", "the peer is gone", |group| group["link"] == "down");
    pair.beta.ask(&["promote", "db"]);
    let mut session = pair.beta.log_in().expect("logged in");
    // A unit attention may come first: the state of the path has changed.
    let read = (0..3)
        .map(|_| session.command(0, &read10(2048, 16), bytes::Bytes::new(), 16 * BLOCK as u32).expect("it answers"))
        .find(|outcome| outcome.status == ScsiStatus::GOOD);
    assert!(filled(&read.expect("GOOD in the end").data, 0, 0x3C, 16));
}

/// [heartbeats are datagrams beside the connections: who filters them is told, and nothing stops]
#[test]
fn claim_23_without_heartbeats_but_with_progress_the_link_stays() {
    let pair = Pair::established(&Setup::default());
    pair.line.block_udp(true);
    wait_until("the verdict", PATIENCE, || pair.alpha.peer()["verdict"] == "udp-filtered");
    write_well(&mut pair.alpha.log_in().expect("logged in"), 0, 0x99, 8);
    pair.assert_alike("db");
    assert_eq!(pair.alpha.open_slots(), 4);
    pair.line.block_udp(false);
    wait_until("all is well again", PATIENCE, || pair.alpha.peer()["verdict"] == "healthy");
}

/// [bi-directional: each is the other's mirror, over the same connections]
#[test]
fn claim_24_both_nodes_serve_and_mirror_at_once() {
    let volumes = vec![Volume::new("here", "alpha", "mode: sync"), Volume::new("there", "beta", "mode: sync")];
    let pair = Pair::established(&Setup { volumes, ..Setup::default() });
    std::thread::scope(|scope| {
        for (node, lun) in [(&pair.alpha, 0), (&pair.beta, 1)] {
            scope.spawn(move || {
                let mut session = node.log_in().expect("logged in");
                for n in 0..200_u32 {
                    assert_eq!(write(&mut session, lun, n * 16, n as u8, 16).status, ScsiStatus::GOOD);
                }
            });
        }
    });
    pair.assert_alike("here");
    pair.assert_alike("there");
    assert_eq!(pair.line.proxied().open_connections().len(), 4, "both directions share them");
}
