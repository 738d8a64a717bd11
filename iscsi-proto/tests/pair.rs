//! Two ends, one thread: the initiator of this crate against its login and session, byte for byte over a wire of `BytesMut`.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::{FrameError, Framer};
use iscsi_proto::initiator::{
    BinaryEncoding, Chap, ChapAlgorithm, Command, Event, Initiator, LoginFailure, Options, Outcome, TargetChap,
};
use iscsi_proto::login::chap::{Algorithm, Challenge, ChapRequirement, Credential, Secret};
use iscsi_proto::login::{Allow, AuthRequirement, LoggedIn, Login, Step, Verdict};
use iscsi_proto::pdu::{
    Cdb, LoginRequest, LoginStatus, LogoutReason, LogoutResponseCode, Pdu, RejectReason, Request, Residual, ScsiStatus,
    TaskManagementFunction, TaskManagementResponseCode,
};
use iscsi_proto::session::{Answer, Connection, Event as TargetEvent, Settings};
use iscsi_proto::text::parameters::Digest;
use iscsi_proto::text::{Offers, OperationalParameters};
use iscsi_proto::types::{InitiatorTaskTag, Lun, StatSn, TargetTransferTag, Tpgt, Tsih};

const HOST: &str = "iqn.2026-11.net.example:host";
const DISK: &str = "iqn.2026-11.net.example:disk";
const READ: u8 = 0x28;
const WRITE: u8 = 0x2a;
const DISK_BYTES: usize = 1 << 20;

/// The target: login, then a session in front of a disk of bytes. The CDB is opcode, offset, length, in four bytes each.
struct Target {
    login: Option<Login>,
    auth: AuthRequirement,
    offers: Offers,
    connection: Option<Connection>,
    logged_in: Option<LoggedIn>,
    framer: Framer,
    digests: Digests,
    disk: Vec<u8>,
    writes: Vec<(InitiatorTaskTag, usize)>,
    text_parts: Vec<&'static str>,
    sent: BytesMut,
    now: Instant,
}

struct Pair {
    initiator: Initiator,
    target: Target,
    /// Flips this bit of the next bytes that go to the target.
    damage: Option<usize>,
    to_target: BytesMut,
    to_initiator: BytesMut,
    events: Vec<Event>,
}

impl Target {
    fn new(auth: AuthRequirement, offers: Offers) -> Target {
        Target {
            login: Some(Login::new(StatSn(u32::MAX - 1))),
            auth,
            offers,
            connection: None,
            logged_in: None,
            framer: Framer::new(),
            digests: Digests::NONE,
            disk: (0..DISK_BYTES).map(|offset| (offset / 512) as u8).collect(),
            writes: Vec::new(),
            text_parts: Vec::new(),
            sent: BytesMut::new(),
            now: Instant::now(),
        }
    }

    fn receive(&mut self, buffer: &mut BytesMut) {
        loop {
            match self.framer.next(buffer) {
                Ok(None) => break,
                Ok(Some(pdu)) => match &mut self.connection {
                    Some(connection) => connection.receive(pdu, self.now).expect("the connection goes on"),
                    None => self.log_in(LoginRequest::decode(pdu).expect("a Login Request")),
                },
                Err(FrameError::DataDigest(error)) => {
                    let connection = self.connection.as_mut().expect("no digests during login");
                    connection.receive_damaged(error, self.now);
                }
                Err(error) => panic!("{error}"),
            }
        }
        self.serve();
    }

    fn log_in(&mut self, request: LoginRequest) {
        let login = self.login.take().expect("one request at a time");
        let mut step = login.handle(request);
        loop {
            step = match step {
                Ok(Step::Send(response, login)) => {
                    self.login = Some(login);
                    return self.digests.put(&response.to_raw(), &mut self.sent);
                }
                Ok(Step::Authorize(ask)) => ask.answer(Verdict::Allow(Allow {
                    auth: self.auth.clone(),
                    tpgt: Tpgt(1),
                    target_alias: Some("a disk of bytes".into()),
                    offers: self.offers.clone(),
                    command_window: 4,
                })),
                Ok(Step::Challenge(ask)) => Ok(ask.answer(Challenge { identifier: 77, octets: [0x5c; 32] })),
                Ok(Step::Admit(ask)) => {
                    let (response, logged_in) = ask.admit(Tsih(9));
                    self.digests.put(&response.to_raw(), &mut self.sent);
                    return self.begin(logged_in);
                }
                Err(rejected) => return self.digests.put(&rejected.response.to_raw(), &mut self.sent),
            }
        }
    }

    fn begin(&mut self, logged_in: LoggedIn) {
        let OperationalParameters { header_digest, data_digest, .. } = logged_in.parameters;
        self.digests = Digests { header: header_digest == Digest::Crc32c, data: data_digest == Digest::Crc32c };
        self.framer.negotiated(self.digests, logged_in.parameters.max_recv_data_segment_length);
        let settings = Settings {
            initial_r2t: logged_in.parameters.initial_r2t,
            immediate_data: logged_in.parameters.immediate_data,
            first_burst_length: logged_in.parameters.first_burst_length,
            max_burst_length: logged_in.parameters.max_burst_length,
            max_outstanding_r2t: logged_in.parameters.max_outstanding_r2t,
            data_in_segment_max: logged_in.parameters.initiator_max_recv_data_segment_length,
            queue_depth: 4,
            solicited_bytes_max: 1 << 20,
            keepalive: None,
        };
        self.connection = Some(Connection::new(settings, logged_in.exp_cmd_sn, logged_in.next_stat_sn, self.now));
        self.logged_in = Some(logged_in);
    }

    fn serve(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        while let Some(event) = connection.poll_event() {
            match event {
                TargetEvent::Command(arrived) => {
                    let cdb = &arrived.request.cdb;
                    let number = |at: usize| u32::from_be_bytes(cdb[at..at + 4].try_into().expect("four")) as usize;
                    let (offset, length) = (number(4), number(8));
                    match cdb[0] {
                        WRITE => {
                            self.writes.push((arrived.task, offset));
                            if let Some(data) = connection.solicit(arrived.task, length as u64) {
                                answer_write(connection, &mut self.disk[offset..], arrived.task, &data);
                            }
                        }
                        READ => {
                            let data_in = Bytes::copy_from_slice(&self.disk[offset..offset + length]);
                            let transfer_length = length as u64;
                            let answer = Answer { data_in, transfer_length, ..Answer::default() };
                            connection.respond(arrived.task, answer);
                        }
                        _ => {
                            let sense = Bytes::from_static(b"no such opcode");
                            connection.respond(arrived.task, Answer { status: 2, sense, ..Answer::default() });
                        }
                    }
                }
                TargetEvent::Data { task, data } => {
                    let at = self.writes.iter().find(|(tag, _)| *tag == task).expect("a write").1;
                    answer_write(connection, &mut self.disk[at..], task, &data);
                }
                TargetEvent::DataFault { task, .. } => {
                    let sense = Bytes::from_static(b"data fault");
                    connection.respond(task, Answer { status: 2, sense, ..Answer::default() });
                }
                TargetEvent::TaskManagement(request) => {
                    connection.respond_task_management(&request, TaskManagementResponseCode::FUNCTION_COMPLETE, [0; 3])
                }
                TargetEvent::Text(request) => {
                    let part = self.text_parts.pop().unwrap_or_default();
                    let last = self.text_parts.is_empty();
                    let tag = if last { TargetTransferTag::RESERVED } else { connection.fresh_transfer_tag() };
                    connection.respond_text(&request, tag, last, !last, Bytes::from_static(part.as_bytes()));
                }
                TargetEvent::Logout(request) => {
                    connection.respond_logout(&request, LogoutResponseCode::CLOSED_SUCCESSFULLY);
                }
            }
        }
        while let Some(pdu) = connection.poll_transmit() {
            self.digests.put(&pdu, &mut self.sent);
        }
    }
}

fn answer_write(connection: &mut Connection, disk: &mut [u8], task: InitiatorTaskTag, data: &[Bytes]) {
    let data = data.concat();
    disk[..data.len()].copy_from_slice(&data);
    connection.respond(task, Answer { transfer_length: data.len() as u64, ..Answer::default() });
}

impl Pair {
    fn new(options: Options, auth: AuthRequirement, offers: Offers) -> Pair {
        let (to_target, to_initiator) = (BytesMut::new(), BytesMut::new());
        let (initiator, target) = (Initiator::new(options), Target::new(auth, offers));
        let mut pair = Pair { initiator, target, damage: None, to_target, to_initiator, events: Vec::new() };
        pair.drive();
        pair
    }

    fn logged_in(options: Options, offers: Offers) -> Pair {
        let mut pair = Pair::new(options, AuthRequirement::None, offers);
        let events = pair.take();
        assert!(matches!(&events[..], [Event::LoggedIn(_)]), "{events:?}");
        pair
    }

    /// Until neither has anything to say. Bytes travel in odd pieces.
    fn drive(&mut self) {
        loop {
            while let Some(bytes) = self.initiator.poll_transmit() {
                self.to_target.extend_from_slice(&bytes);
            }
            if let Some(bit) = self.damage.take() {
                self.to_target[bit / 8] ^= 1 << (bit % 8);
            }
            let mut quiet = self.to_target.is_empty();
            let mut buffer = BytesMut::new();
            while !self.to_target.is_empty() {
                let length = self.to_target.len().min(1009);
                buffer.extend_from_slice(&self.to_target.split_to(length));
                self.target.receive(&mut buffer);
            }
            self.to_initiator.unsplit(self.target.sent.split());
            quiet &= self.to_initiator.is_empty();
            self.initiator.receive(&mut self.to_initiator).expect("the target's PDUs are good");
            self.events.extend(std::iter::from_fn(|| self.initiator.poll_event()));
            if quiet {
                return;
            }
        }
    }

    fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn execute(&mut self, command: Command) -> Outcome {
        let wanted = self.initiator.command(command).expect("few commands");
        self.drive();
        match &self.take()[..] {
            [Event::Complete { tag, outcome }] if *tag == wanted => outcome.clone(),
            other => panic!("expected one completion, got {other:?}"),
        }
    }

    fn one(&mut self) -> Event {
        self.drive();
        let mut events = self.take();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

fn cdb(opcode: u8, offset: usize, length: usize) -> Cdb {
    let words = [u32::from(opcode) << 24, offset as u32, length as u32, 0];
    Cdb::new(&words.map(u32::to_be_bytes).concat()).expect("16 bytes")
}

fn read(offset: usize, length: usize) -> Command {
    Command::with_data(Lun::ZERO, cdb(READ, offset, length), Bytes::new(), length as u32)
}

fn write(offset: usize, data: Bytes) -> Command {
    Command::with_data(Lun::ZERO, cdb(WRITE, offset, data.len()), data, 0)
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| (index * 7 + index / 256) as u8).collect()
}

fn good(outcome: &Outcome) -> bool {
    outcome.status == ScsiStatus::GOOD && outcome.residual == Residual::None
}

#[test]
fn data_arrives_whole_whatever_was_negotiated() {
    for (initial_r2t, immediate_data) in [("Yes", "Yes"), ("Yes", "No"), ("No", "Yes"), ("No", "No")] {
        for outstanding in ["1", "4"] {
            let options = Options::normal(HOST, DISK)
                .with("InitialR2T", initial_r2t)
                .with("ImmediateData", immediate_data)
                .with("MaxOutstandingR2T", outstanding)
                .with("FirstBurstLength", "4096")
                .with("MaxBurstLength", "8192")
                .with("MaxRecvDataSegmentLength", "3000")
                .with_digests();
            let offers = Offers { initial_r2t: false, max_recv_data_segment_length: 2048, ..Offers::default() };
            let mut pair = Pair::logged_in(options, offers);
            let parameters = pair.initiator.parameters().expect("logged in").clone();
            assert!(parameters.digests.header && parameters.digests.data);
            assert_eq!((parameters.tsih, parameters.target_portal_group_tag), (Tsih(9), Some(1)));
            for length in [1, 2047, 4096, 4097, 50_001] {
                let data = pattern(length);
                assert!(good(&pair.execute(write(512, data.clone()))), "{length} {parameters:?}");
                let outcome = pair.execute(read(512, length));
                assert!(good(&outcome) && outcome.data == data, "{length} {parameters:?}");
            }
        }
    }
}

#[test]
fn command_window_holds_the_rest_back() {
    let mut pair = Pair::logged_in(Options::normal(HOST, DISK), Offers::default());
    let tags: Vec<_> =
        (0..50).map(|number| pair.initiator.command(read(number * 512, 512)).expect("few commands")).collect();
    assert!(pair.initiator.max_cmd_sn().precedes(pair.initiator.cmd_sn()), "only a window's worth was sent");
    pair.drive();
    let completed: Vec<_> = pair
        .take()
        .into_iter()
        .map(|event| match event {
            Event::Complete { tag, outcome } if good(&outcome) => (tag, outcome.data[0]),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(completed, tags.into_iter().zip(0..).collect::<Vec<_>>());
    assert_eq!(pair.initiator.outstanding(), 0);
}

#[test]
fn residuals_come_back() {
    let mut pair = Pair::logged_in(Options::normal(HOST, DISK), Offers::default());
    let short = Command { expected_data_transfer_length: Some(100), ..read(0, 512) };
    let outcome = pair.execute(short);
    assert_eq!((outcome.data.len(), outcome.residual), (100, Residual::Overflow(412)));
    let long = Command { expected_data_transfer_length: Some(1000), ..read(0, 512) };
    let outcome = pair.execute(long);
    assert_eq!((outcome.data.len(), outcome.residual), (512, Residual::Underflow(488)));
}

#[test]
fn check_condition_comes_with_sense_data_behind_its_length() {
    let mut pair = Pair::logged_in(Options::normal(HOST, DISK), Offers::default());
    let outcome = pair.execute(Command::new(Lun::ZERO, cdb(0xff, 0, 0)));
    assert_eq!((outcome.status, &outcome.sense[..]), (ScsiStatus::CHECK_CONDITION, &b"no such opcode"[..]));
}

#[test]
fn nop_text_task_management_and_logout() {
    let mut pair = Pair::logged_in(Options::normal(HOST, DISK), Offers::default());
    let tag = pair.initiator.nop(Bytes::from_static(b"are you there?"));
    let Event::Nop(nop) = pair.one() else { panic!("no echo") };
    assert_eq!((nop.initiator_task_tag, &nop.data[..]), (tag, &b"are you there?"[..]));

    pair.target.text_parts = vec!["alf=three\0", "two\0h", "one="];
    let wanted = pair.initiator.text([("SendTargets", "All")]);
    let Event::Text { tag, text } = pair.one() else { panic!("no text") };
    assert_eq!((tag, &text[..]), (wanted, &b"one=two\0half=three\0"[..]));

    let tag = pair.initiator.task_management(TaskManagementFunction::LOGICAL_UNIT_RESET, Lun::ZERO, None);
    let Event::TaskManagement(response) = pair.one() else { panic!("no response") };
    let code = TaskManagementResponseCode::FUNCTION_COMPLETE;
    assert_eq!((response.initiator_task_tag, response.response), (tag, code));

    assert!(good(&pair.execute(Command { immediate: true, ..read(0, 512) })), "an immediate command");
    assert!(good(&pair.execute(read(0, 512))), "the numbers still agree");

    pair.initiator.logout(LogoutReason::CLOSE_THE_SESSION);
    assert!(matches!(pair.one(), Event::LoggedOut(_)));
}

#[test]
fn chap_both_ways_in_every_algorithm_and_encoding() {
    for algorithm in [ChapAlgorithm::Md5, ChapAlgorithm::Sha1, ChapAlgorithm::Sha256, ChapAlgorithm::Sha3_256] {
        for encoding in [BinaryEncoding::Hexadecimal, BinaryEncoding::Base64] {
            for (secret, target_secret, allowed) in [
                ("to come in", "is right", true),
                ("to come in", "is wrong", false),
                ("to stay out", "is right", false),
            ] {
                let target = TargetChap {
                    name: Some("disk".into()),
                    secret: target_secret.into(),
                    identifier: 3,
                    challenge: vec![9; 16],
                };
                let algorithms = vec![algorithm];
                let chap = Chap { algorithms, encoding, target: Some(target), ..Chap::new("host", secret) };
                let requirement = ChapRequirement {
                    users: vec![Credential { user: "host".into(), secret: Secret::new("to come in") }],
                    mutual: Some(Credential { user: "disk".into(), secret: Secret::new("is right") }),
                    algorithms: Algorithm::ALL.to_vec(),
                };
                let options = Options { login_text_bytes_max: 40, ..Options::normal(HOST, DISK).with_chap(chap) };
                let mut pair = Pair::new(options, AuthRequirement::Chap(requirement), Offers::default());
                match &pair.take()[..] {
                    [Event::LoggedIn(_)] => assert!(allowed),
                    [Event::LoginFailed(LoginFailure::Refused { status, .. })] => {
                        assert_eq!((*status, secret), (LoginStatus::AUTHENTICATION_FAILURE, "to stay out"));
                    }
                    [Event::LoginFailed(LoginFailure::TargetUnproven)] => assert_eq!(target_secret, "is wrong"),
                    other => panic!("{algorithm:?} {encoding:?}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn login_text_cut_into_small_pieces_is_the_same_login() {
    for bytes in [1000, 64, 33] {
        let options = Options { login_text_bytes_max: bytes, ..Options::normal(HOST, DISK) };
        let mut pair = Pair::logged_in(options, Offers::default());
        let names = pair.target.logged_in.as_ref().map(|login| login.initiator_name.to_string());
        assert_eq!(names.as_deref(), Some(HOST));
        assert!(good(&pair.execute(read(0, 512))));
    }
}

#[test]
fn damaged_data_is_rejected_and_nothing_else() {
    let mut pair = Pair::logged_in(Options::normal(HOST, DISK).with_digests(), Offers::default());
    pair.initiator.nop(Bytes::from_static(b"this breaks"));
    pair.damage = Some(8 * (48 + 4) + 5);
    let Event::Reject(reject) = pair.one() else { panic!("no Reject") };
    assert_eq!((reject.reason, reject.data[0]), (RejectReason::DATA_DIGEST_ERROR, 0x40));
    assert!(good(&pair.execute(read(0, 512))));
}

#[test]
fn unanswered_r2t_is_an_event() {
    let options = Options { answer_r2t: false, ..Options::normal(HOST, DISK).with("ImmediateData", "No") };
    let mut pair = Pair::logged_in(options, Offers::default());
    let tag = pair.initiator.command(write(0, pattern(4096))).expect("few commands");
    let Event::R2t(r2t) = pair.one() else { panic!("no R2T") };
    assert_eq!((r2t.initiator_task_tag, r2t.desired_data_transfer_length), (tag, 4096));
    let data_out = iscsi_proto::pdu::DataOut {
        final_: true,
        lun: r2t.lun,
        initiator_task_tag: tag,
        target_transfer_tag: r2t.target_transfer_tag,
        exp_stat_sn: pair.initiator.exp_stat_sn(),
        data_sn: iscsi_proto::types::DataSn(0),
        buffer_offset: 0,
        data: pattern(4096),
    };
    pair.initiator.send(Request::from(data_out));
    let Event::Complete { outcome, .. } = pair.one() else { panic!("no completion") };
    assert!(good(&outcome) && pair.target.disk[..4096] == pattern(4096));
}
