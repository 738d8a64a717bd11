//! A mirrored logical unit on two nodes: what the one that serves does, the other knows when it takes over.

use std::sync::{OnceLock, Weak};
use std::time::Duration;

use mirror_link::replica::io::Standing;
use mirror_link::wire::message::MarkKind;
use parking_lot::Mutex;

use super::*;
use crate::block::faulty::{Fault, FaultyDevice, Operation};
use crate::block::{BlockError, Eventually, Io};
use crate::volume::Counterpart;

/// Alpha serves, beta stands by, and hears at once what alpha tells. Their devices are apart.
pub(super) struct Twins {
    pub alpha: Fixture,
    pub beta: Fixture,
    line: Arc<Line>,
    stores: [StateStore; 2],
    devices: [Arc<FaultyDevice>; 2],
}

/// From alpha to beta, or back once beta serves.
#[derive(Debug, Default)]
struct Line {
    units: OnceLock<[Weak<LogicalUnit>; 2]>,
    state: Mutex<LineState>,
}

#[derive(Debug, Default)]
struct LineState {
    /// What telling ends with.
    error: Option<BlockError>,
    apart: bool,
}

#[derive(Debug)]
struct End {
    line: Arc<Line>,
    other: usize,
}

impl Counterpart for End {
    fn tell(&self, kind: MarkKind, data: Bytes) -> Io<()> {
        let (error, units) = (self.line.state.lock().error, self.line.units.get().expect("both are there"));
        match (error, units[self.other].upgrade()) {
            (Some(error), _) => Eventually::Now(Err(error)),
            (None, None) => Eventually::Now(Ok(())),
            (None, Some(other)) => {
                other.be_told(kind, data);
                Eventually::Now(Ok(()))
            }
        }
    }

    fn is_alike(&self) -> bool {
        !self.line.state.lock().apart
    }
}

impl Twins {
    pub fn new() -> Twins {
        Twins::with_options(options())
    }

    pub fn with_options(options: LuOptions) -> Twins {
        Twins::with(options.clone(), options)
    }

    fn with(alpha: LuOptions, beta: LuOptions) -> Twins {
        let line = Arc::new(Line::default());
        let stores = [StateStore::memory(), StateStore::memory()];
        let devices = [(); 2].map(|()| Arc::new(FaultyDevice::new(memory())));
        let unit = |options: LuOptions, at: usize| {
            let end = Arc::new(End { line: line.clone(), other: 1 - at });
            LogicalUnit::mirrored(options, devices[at].clone(), end, stores[at].clone())
                .expect("nothing stored is wrong")
        };
        let units = [unit(alpha, 0), unit(beta, 1)];
        line.units.set([Arc::downgrade(&units[0]), Arc::downgrade(&units[1])]).expect("set once");
        let [alpha, beta] = units.map(Fixture::of);
        beta.unit.set_standing(Standing::Standby);
        alpha.unit.set_standing(Standing::Active);
        Twins { alpha, beta, line, stores, devices }
    }

    /// What is spawned is done.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Alpha is no more; beta serves.
    async fn fail_over(&self) {
        self.settled().await;
        self.alpha.unit.set_standing(Standing::Standby);
        self.devices[0].inject(Fault::always(&[Operation::Write], BlockError::Fenced));
        self.beta.unit.set_standing(Standing::Active);
    }
}

fn pr_out(action: u8, kind: u8, key: u64, action_key: u64, aptpl: bool) -> (Vec<u8>, Vec<u8>) {
    let mut list = [key.to_be_bytes(), action_key.to_be_bytes(), [0; 8]].concat();
    list[20] = u8::from(aptpl);
    (vec![0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0], list)
}

const READ_KEYS: [u8; 10] = [0x5E, 0, 0, 0, 0, 0, 0, 0, 255, 0];
const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];

const MODE_SENSE: [u8; 6] = [0x1A, 8, 0x0A, 0, 255, 0];

/// SWP, not saved.
async fn protect(session: &Session) {
    let Answer::Good(mut list) = session.run(&MODE_SENSE).await else { panic!("GOOD") };
    (list[0], list[2], list[4], list[8]) = (0, 0, list[4] & 0x3F, list[8] | 0x08);
    assert_eq!(session.send(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &list).await, GOOD);
}

/// PERSISTENT RESERVE IN, READ KEYS.
async fn read_keys(session: &Session) -> Vec<u8> {
    match session.run(&READ_KEYS).await {
        Answer::Good(data) => data,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reservation_survives_promotion_whatever_aptpl() {
    for aptpl in [false, true] {
        let twins = Twins::new();
        let holder = twins.alpha.session("holder");
        for (cdb, list) in [pr_out(0x00, 0, 0, 7, aptpl), pr_out(0x01, 3, 7, 0, false)] {
            assert_eq!(holder.send(&cdb, &list).await, GOOD);
        }
        let keys = read_keys(&holder).await;
        twins.fail_over().await;
        let (holder, other) = (twins.beta.session("holder"), twins.beta.session("other"));
        assert_eq!(read_keys(&other).await, keys, "keys, and the generation that counts their changes");
        assert_eq!(other.send(&WRITE, &[1; BLOCK]).await, CONFLICT);
        assert_eq!(other.run(&cdb10(0x28, 0, 0, 1)).await, CONFLICT);
        assert_eq!(holder.send(&WRITE, &[1; BLOCK]).await, GOOD);
        let (cdb, list) = pr_out(0x02, 3, 7, 0, false);
        assert_eq!(holder.send(&cdb, &list).await, GOOD);
        assert_eq!(other.send(&WRITE, &[1; BLOCK]).await, GOOD);
    }
}

#[tokio::test]
async fn a_promoted_node_tells_back_what_it_has() {
    let twins = Twins::new();
    let holder = twins.alpha.session("holder");
    let (cdb, list) = pr_out(0x00, 0, 0, 7, true);
    assert_eq!(holder.send(&cdb, &list).await, GOOD);
    twins.fail_over().await;
    let (cdb, list) = pr_out(0x00, 0, 7, 9, true);
    assert_eq!(twins.beta.session("holder").send(&cdb, &list).await, GOOD);
    twins.settled().await;
    let keys = read_keys(&twins.alpha.session("anybody")).await;
    assert_eq!(keys[8..], 9u64.to_be_bytes(), "PERSISTENT RESERVE IN runs in standby");
    // And durably: alpha comes back by itself.
    let restarted = Fixture::with(options(), memory(), twins.stores[0].clone());
    assert_eq!(read_keys(&restarted.session("anybody")).await[8..], 9u64.to_be_bytes());
}

#[tokio::test]
async fn a_registration_that_the_peer_did_not_get_is_none() {
    for (error, answer) in [
        (BlockError::Stalled, Answer::Other(Status::Busy)),
        (BlockError::Fenced, Answer::Check(2, 0x04, 0x0B)),
        (BlockError::NoSpace, Answer::Check(5, 0x55, 0x04)),
    ] {
        let twins = Twins::new();
        let session = twins.alpha.session("a");
        let before = read_keys(&session).await;
        twins.line.state.lock().error = Some(error);
        let (cdb, list) = pr_out(0x00, 0, 0, 7, true);
        assert_eq!(session.send(&cdb, &list).await, answer, "{error:?}");
        assert_eq!(read_keys(&session).await, before);
        let restarted = Fixture::with(options(), memory(), twins.stores[0].clone());
        assert_eq!(read_keys(&restarted.session("a")).await, before, "nor is it on record");
        twins.line.state.lock().error = None;
        assert_eq!(session.send(&cdb, &list).await, GOOD, "tried again");
    }
}

#[tokio::test]
async fn mode_pages_information_and_the_medium_survive_promotion() {
    const REPORT_INFORMATION: [u8; 12] = [0xA3, 0x05, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0];
    let twins = Twins::new();
    let session = twins.alpha.session("a");
    protect(&session).await;
    assert_eq!(session.send(&WRITE, &[1; BLOCK]).await, Answer::Check(7, 0x27, 2));
    assert_eq!(session.send(&[0xA4, 0x06, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0], b"rack").await, GOOD);
    assert_eq!(session.run(&EJECT).await, GOOD);
    let before = session.run(&MODE_SENSE).await;
    twins.fail_over().await;
    let session = twins.beta.session("a");
    assert_eq!(session.run(&MODE_SENSE).await, before);
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(2, 0x3A, 0));
    assert_eq!(session.run(&LOAD).await, GOOD);
    assert_eq!(session.send(&WRITE, &[1; BLOCK]).await, Answer::Check(7, 0x27, 2));
    assert_eq!(session.run(&REPORT_INFORMATION).await, Answer::Good(b"\0\0\0\x04rack".to_vec()));
    twins.settled().await;
    let restarted = Fixture::with(options(), memory(), twins.stores[1].clone()).session("a");
    assert_eq!(restarted.run(&REPORT_INFORMATION).await, Answer::Good(b"\0\0\0\x04rack".to_vec()));
    assert_eq!(restarted.send(&WRITE, &[1; BLOCK]).await, GOOD, "what was not saved ends with the program");
}

#[tokio::test]
async fn a_reset_of_mode_pages_is_told() {
    let twins = Twins::new();
    // What a node tells when it begins to serve is behind it.
    twins.settled().await;
    let session = twins.alpha.session("a");
    protect(&session).await;
    assert_eq!(session.send(&WRITE, &[1; BLOCK]).await, Answer::Check(7, 0x27, 2));
    session.itl.reset(Reset::LogicalUnit).await;
    twins.fail_over().await;
    assert_eq!(twins.beta.session("a").send(&WRITE, &[1; BLOCK]).await, GOOD);
}

#[tokio::test]
async fn both_are_known_by_what_the_owner_is_known_by() {
    const SERIAL: [u8; 6] = [0x12, 1, 0x80, 0, 255, 0];
    const DESIGNATORS: [u8; 6] = [0x12, 1, 0x83, 0, 255, 0];
    let other = Identity { uuid: uuid::Uuid::from_u128(0x22) };
    let twins = Twins::with(options(), LuOptions { identity: other, ..options() });
    twins.settled().await;
    let (alpha, beta) = (twins.alpha.session("a"), twins.beta.session("a"));
    assert_eq!(beta.run(&SERIAL).await, alpha.run(&SERIAL).await);
    assert_eq!(beta.run(&DESIGNATORS).await, alpha.run(&DESIGNATORS).await);
    // Without a peer too: hosts know the disk by it.
    let restarted = LuOptions { identity: other, ..options() };
    let restarted = Fixture::with(restarted, memory(), twins.stores[1].clone()).session("a");
    assert_eq!(restarted.run(&SERIAL).await, alpha.run(&SERIAL).await);
}

#[tokio::test]
async fn a_changed_designation_is_told_unless_configured() {
    let identity = Identity { uuid: uuid::Uuid::from_u128(0x22) };
    let twins = Twins::with(options(), LuOptions { identity, ..options() });
    let early = twins.beta.session("a");
    twins.settled().await;
    assert_eq!(early.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x3F, 3));
    let given = LuOptions { serial: Some("OURS".into()), naa: Some(vec![0x30; 8]), ..options() };
    let twins = Twins::with(options(), given);
    let early = twins.beta.session("a");
    twins.settled().await;
    assert_eq!(early.run(&TEST_UNIT_READY).await, Answer::Check(2, 0x04, 0x0B));
    let Answer::Good(serial) = early.run(&[0x12, 1, 0x80, 0, 255, 0]).await else { panic!("GOOD") };
    assert_eq!(&serial[4..], b"OURS");
}

#[tokio::test(start_paused = true)]
async fn a_sanitize_goes_on_at_the_peer() {
    let twins = Twins::new();
    let session = twins.alpha.session("a");
    let list = [&[1, 0, 2, 0][..], &[0xAA; BLOCK]].concat();
    assert_eq!(session.send(&[0x48, 0x81, 0, 0, 0, 0, 0, 2, 4, 0], &list).await, GOOD);
    tokio::time::sleep(Duration::from_secs(3)).await;
    twins.fail_over().await;
    let session = twins.beta.session("a");
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(2, 0x04, 0x1B));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 8191, 1)).await, Answer::Good(vec![0xAA; BLOCK]));
    twins.settled().await;
    // Alpha heard that it is over.
    twins.devices[0].clear();
    twins.beta.unit.set_standing(Standing::Standby);
    twins.alpha.unit.set_standing(Standing::Active);
    assert_eq!(twins.alpha.session("a").run(&TEST_UNIT_READY).await, GOOD);
}

#[tokio::test(start_paused = true)]
async fn a_sanitize_ends_when_the_peer_has_followed() {
    let twins = Twins::new();
    twins.line.state.lock().apart = true;
    let session = twins.alpha.session("a");
    assert_eq!(session.run(&[0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]).await, GOOD);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(2, 0x04, 0x1B));
    twins.line.state.lock().apart = false;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
}

#[tokio::test(start_paused = true)]
async fn a_sanitize_outlasts_a_peer_that_does_not_answer() {
    let twins = Twins::new();
    let session = twins.alpha.session("a");
    twins.devices[0].inject(Fault { times: 3, ..Fault::always(&[Operation::Unmap], BlockError::Stalled) });
    assert_eq!(session.run(&[0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]).await, GOOD);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
}

#[tokio::test]
async fn nonsense_and_what_is_ours_to_say_are_not_taken() {
    let twins = Twins::new();
    let session = twins.alpha.session("a");
    let (cdb, list) = pr_out(0x00, 0, 0, 7, false);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    let keys = read_keys(&session).await;
    let nobody = br#"{"generation":0,"aptpl":false,"ports":[],"record":{"registrations":[],"reservation":null}}"#;
    twins.alpha.unit.be_told(MarkKind(1), Bytes::from_static(nobody));
    assert_eq!(read_keys(&session).await, keys, "alpha serves");
    let beta = &twins.beta;
    for data in [&b"{"[..], br#"{"generation":0}"#, br#"{"generation":0,"aptpl":false,"ports":[],"record":{"registrations":[],"reservation":{"type":1,"holder":null}}}"#] {
        beta.unit.be_told(MarkKind(1), Bytes::from_static(data));
    }
    beta.unit.be_told(MarkKind(0), Bytes::from_static(br#"{"serial":"a b\n","naa":[1,2,3]}"#));
    beta.unit.be_told(MarkKind(99), Bytes::new());
    assert_eq!(read_keys(&beta.session("a")).await, keys);
    beta.unit.be_told(MarkKind(1), Bytes::from_static(nobody));
    assert_eq!(read_keys(&beta.session("b")).await[4..], [0; 4], "beta stands by");
}

#[tokio::test]
async fn what_was_let_in_before_a_demotion_changes_nothing_after_it() {
    let twins = Twins::new();
    twins.settled().await;
    let session = twins.alpha.session("a");
    let Answer::Good(mut list) = session.run(&MODE_SENSE).await else { panic!("GOOD") };
    (list[0], list[2], list[4], list[8]) = (0, 0, list[4] & 0x3F, list[8] | 0x08);
    let (register, key) = pr_out(0x00, 0, 0, 7, true);
    let commands: [(&[u8], &[u8]); 4] = [
        (&[0x15, 0x10, 0, 0, 16, 0], &list),
        (&[0xA4, 0x06, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0], b"rack"),
        (&EJECT, &[]),
        (&register, &key),
    ];
    let prepared = commands.map(|(cdb, data)| match session.prepared(cdb, data.len() as u64) {
        Admission::Ready(prepared) => (prepared, Payload::from(Bytes::copy_from_slice(data))),
        Admission::Complete(complete) => panic!("{complete:?}"),
    });
    let (modes, keys) = (session.run(&MODE_SENSE).await, read_keys(&session).await);
    twins.alpha.unit.set_standing(Standing::Standby);
    for (prepared, data) in prepared {
        let answer: Answer = prepared.execute(data, BytesMut::new()).await.into();
        assert_eq!(answer, Answer::Check(2, 0x04, 0x0B));
    }
    session.itl.reset(Reset::LogicalUnit).await;
    for _ in 0..2 {
        session.run(&TEST_UNIT_READY).await;
    }
    assert_eq!((session.run(&MODE_SENSE).await, read_keys(&session).await), (modes, keys));
    twins.alpha.unit.set_standing(Standing::Active);
    let session = twins.alpha.session("b");
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD, "not ejected");
    let information = session.run(&[0xA3, 0x05, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0]).await;
    assert_eq!(information, Answer::Good(vec![0; 4]));
}

#[tokio::test]
async fn a_reset_at_a_replica_leaves_what_its_owner_has_set() {
    let twins = Twins::new();
    twins.settled().await;
    protect(&twins.alpha.session("a")).await;
    let session = twins.beta.session("a");
    session.itl.reset(Reset::LogicalUnit).await;
    twins.fail_over().await;
    assert_eq!(twins.beta.session("b").send(&WRITE, &[1; BLOCK]).await, Answer::Check(7, 0x27, 2));
}
