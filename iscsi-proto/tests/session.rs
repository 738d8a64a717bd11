//! The full feature phase from outside: requests in, responses and events out. One behaviour a test.

use std::time::{Duration, Instant};

use bytes::Bytes;
use iscsi_proto::pdu::{
    Cdb, DataOut, NopIn, NopOut, Pdu, PduFault, R2t, RawPdu, Reject, RejectReason, Residual, Response, ScsiCommand,
    ScsiResponse, ScsiStatus, TaskAttribute, TaskManagementFunction, TaskManagementRequest, TaskManagementResponseCode,
};
use iscsi_proto::session::keepalive::KeepaliveTimes;
use iscsi_proto::session::transfer::TransferFault;
use iscsi_proto::session::{Answer, Connection, ConnectionError, Event, Settings};
use iscsi_proto::types::{CmdSn, DataSn, ExpStatSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

const CHECK_CONDITION: u8 = 0x02;

fn settings() -> Settings {
    Settings {
        initial_r2t: false,
        immediate_data: true,
        first_burst_length: 1024,
        max_burst_length: 2048,
        max_outstanding_r2t: 1,
        data_in_segment_max: 512,
        queue_depth: 4,
        solicited_bytes_max: 4096,
        keepalive: None,
    }
}

struct Peer {
    target: Connection,
    now: Instant,
}

impl Peer {
    fn new(settings: Settings) -> Peer {
        let now = Instant::now();
        Peer { target: Connection::new(settings, CmdSn(10), StatSn(100), now), now }
    }

    /// Not all of it is here.
    fn solicit(&mut self, task: InitiatorTaskTag, wanted: u64) {
        assert_eq!(self.target.solicit(task, wanted), None);
    }

    fn send(&mut self, pdu: impl Pdu) {
        self.target.receive(pdu.to_raw(), self.now).expect("the connection goes on");
    }

    fn command(&mut self, itt: u32, cmd_sn: u32, edit: impl FnOnce(&mut ScsiCommand)) {
        let mut command = ScsiCommand {
            immediate: false,
            final_: true,
            read: false,
            write: false,
            attribute: TaskAttribute::SIMPLE,
            priority: 0,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(itt),
            expected_data_transfer_length: 0,
            cmd_sn: CmdSn(cmd_sn),
            exp_stat_sn: ExpStatSn(100),
            cdb: Cdb::new(&[0; 16]).expect("16 bytes"),
            bidirectional_read_expected_data_transfer_length: None,
            data: Bytes::new(),
        };
        edit(&mut command);
        self.send(command);
    }

    fn write(&mut self, itt: u32, cmd_sn: u32, expected: u32, immediate: usize, final_: bool) {
        self.command(itt, cmd_sn, |command| {
            command.write = true;
            command.final_ = final_;
            command.expected_data_transfer_length = expected;
            command.data = vec![7; immediate].into();
        });
    }

    fn data_out(&mut self, itt: u32, tag: TargetTransferTag, data_sn: u32, offset: u32, length: usize, final_: bool) {
        self.send(data_out(itt, tag, data_sn, offset, length, final_));
    }

    fn responses(&mut self) -> Vec<Response> {
        let raw = std::iter::from_fn(|| self.target.poll_transmit());
        raw.map(|pdu| Response::decode(pdu).expect("what a target sends decodes")).collect()
    }

    fn commands(&mut self) -> Vec<u32> {
        let events = std::iter::from_fn(|| self.target.poll_event());
        events
            .filter_map(|event| match event {
                Event::Command(arrived) => Some(arrived.task.0),
                _ => None,
            })
            .collect()
    }

    fn r2t(&mut self) -> R2t {
        match &self.responses()[..] {
            [Response::R2t(r2t)] => r2t.clone(),
            other => panic!("expected one R2T, got {other:?}"),
        }
    }

    fn response(&mut self) -> ScsiResponse {
        match &self.responses()[..] {
            [Response::ScsiResponse(response)] => response.clone(),
            other => panic!("expected one SCSI Response, got {other:?}"),
        }
    }

    fn reject(&mut self) -> Reject {
        match &self.responses()[..] {
            [Response::Reject(reject)] => reject.clone(),
            other => panic!("expected one Reject, got {other:?}"),
        }
    }
}

fn data_out(itt: u32, tag: TargetTransferTag, data_sn: u32, offset: u32, length: usize, final_: bool) -> DataOut {
    DataOut {
        final_,
        lun: Lun::ZERO,
        initiator_task_tag: InitiatorTaskTag(itt),
        target_transfer_tag: tag,
        exp_stat_sn: ExpStatSn(100),
        data_sn: DataSn(data_sn),
        buffer_offset: offset,
        data: vec![8; length].into(),
    }
}

fn good(transfer_length: u64) -> Answer {
    Answer { transfer_length, ..Answer::default() }
}

fn refused() -> Answer {
    Answer { status: CHECK_CONDITION, ..Answer::default() }
}

fn itt(tag: u32) -> InitiatorTaskTag {
    InitiatorTaskTag(tag)
}

#[test]
fn a_read_ends_in_data_in_with_status() {
    let mut peer = Peer::new(settings());
    peer.command(1, 10, |command| {
        command.read = true;
        command.expected_data_transfer_length = 1000;
    });
    assert_eq!(peer.commands(), [1]);
    peer.target.respond(itt(1), Answer { data_in: vec![3; 900].into(), ..good(900) });
    let [Response::DataIn(first), Response::DataIn(last)] = &peer.responses()[..] else { panic!("two Data-In") };
    assert_eq!((first.data.len(), first.final_, first.status), (512, false, None));
    let status = last.status.expect("collapsed");
    let told = (status.status, status.residual, status.stat_sn);
    assert_eq!(told, (ScsiStatus::GOOD, Residual::Underflow(100), StatSn(100)));
    assert_eq!((last.exp_cmd_sn, last.max_cmd_sn, last.data_sn), (CmdSn(11), CmdSn(14), DataSn(1)));
}

#[test]
fn a_read_longer_than_expected_is_cut_and_overflows() {
    let mut peer = Peer::new(settings());
    peer.command(1, 10, |command| {
        command.read = true;
        command.expected_data_transfer_length = 300;
    });
    peer.target.respond(itt(1), Answer { data_in: vec![3; 512].into(), ..good(512) });
    let [Response::DataIn(data)] = &peer.responses()[..] else { panic!("one Data-In") };
    assert_eq!((data.data.len(), data.status.expect("collapsed").residual), (300, Residual::Overflow(212)));
}

#[test]
fn sense_goes_out_in_a_scsi_response() {
    let mut peer = Peer::new(settings());
    peer.command(1, 10, |command| {
        command.read = true;
        command.expected_data_transfer_length = 512;
    });
    peer.target.respond(itt(1), Answer { sense: vec![0x70; 18].into(), ..refused() });
    let response = peer.response();
    assert_eq!((response.status, response.residual), (ScsiStatus::CHECK_CONDITION, Residual::Underflow(512)));
    assert_eq!(response.data[..2], [0, 18], "SenseLength (RFC 7143 §11.4.7)");
    assert_eq!(response.data[2..], [0x70; 18]);
}

#[test]
fn a_write_is_solicited_burst_by_burst() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 4096, 512, true);
    assert_eq!(peer.commands(), [1]);
    peer.solicit(itt(1), 4096);
    let first = peer.r2t();
    assert_eq!((first.buffer_offset, first.desired_data_transfer_length, first.stat_sn), (512, 2048, StatSn(100)));
    peer.data_out(1, first.target_transfer_tag, 0, 512, 1024, false);
    peer.data_out(1, first.target_transfer_tag, 1, 1536, 1024, true);
    let second = peer.r2t();
    assert_eq!((second.buffer_offset, second.desired_data_transfer_length), (2560, 1536));
    peer.data_out(1, second.target_transfer_tag, 0, 2560, 1536, true);
    let Some(Event::Data { data, .. }) = peer.target.poll_event() else { panic!("all the data") };
    assert_eq!(data.iter().map(Bytes::len).sum::<usize>(), 4096);
    peer.target.respond(itt(1), good(4096));
    let response = peer.response();
    assert_eq!((response.exp_data_sn, response.residual, response.stat_sn), (DataSn(0), Residual::None, StatSn(100)));
}

#[test]
fn data_that_came_with_the_command_is_had_at_once() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 512, 512, true);
    assert_eq!(peer.commands(), [1]);
    let data = peer.target.solicit(itt(1), 512).expect("it is here");
    assert_eq!(data.iter().map(Bytes::len).sum::<usize>(), 512);
    peer.target.respond(itt(1), good(512));
    assert_eq!((peer.response().residual, peer.target.poll_event().is_none()), (Residual::None, true));
    peer.write(2, 11, 1024, 512, false);
    assert_eq!(peer.commands(), [2]);
    peer.solicit(itt(2), 1024);
}

#[test]
fn data_that_nobody_asked_for_fails_a_command_that_has_all_of_its_own() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 512, 512, true);
    peer.data_out(1, TargetTransferTag::RESERVED, 0, 512, 512, true);
    assert!(matches!(peer.target.poll_event(), Some(Event::Command(_))));
    peer.solicit(itt(1), 512);
    let fault = TransferFault::UnexpectedUnsolicited;
    assert!(matches!(peer.target.poll_event(), Some(Event::DataFault { fault: told, .. }) if told == fault));
    peer.target.respond(itt(1), refused());
    assert_eq!(peer.response().status, ScsiStatus::CHECK_CONDITION);
}

#[test]
fn an_early_refusal_waits_for_the_last_f_bit() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 1024, 512, false);
    peer.target.respond(itt(1), refused());
    assert_eq!(peer.responses(), []);
    peer.data_out(1, TargetTransferTag::RESERVED, 0, 512, 256, false);
    assert_eq!(peer.responses(), []);
    peer.data_out(1, TargetTransferTag::RESERVED, 1, 768, 256, true);
    assert_eq!(peer.response().status, ScsiStatus::CHECK_CONDITION);
}

#[test]
fn a_data_sn_gap_fails_the_command_not_the_connection() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 1024, 0, true);
    assert_eq!(peer.commands(), [1]);
    peer.solicit(itt(1), 1024);
    let tag = peer.r2t().target_transfer_tag;
    peer.data_out(1, tag, 1, 0, 512, false);
    assert!(matches!(peer.target.poll_event(), Some(Event::DataFault { fault: TransferFault::Lost, .. })));
    peer.target.respond(itt(1), refused());
    assert_eq!(peer.responses(), [], "the sequence is still open");
    peer.data_out(1, tag, 2, 512, 512, true);
    assert_eq!(peer.response().status, ScsiStatus::CHECK_CONDITION);
}

#[test]
fn a_damaged_data_out_is_rejected_and_fails_the_command() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 512, 0, true);
    assert_eq!(peer.commands(), [1]);
    peer.solicit(itt(1), 512);
    let tag = peer.r2t().target_transfer_tag;
    let raw = data_out(1, tag, 0, 0, 0, true).to_raw();
    peer.target.receive_damaged(raw.rejected(PduFault::DataDigest), peer.now);
    assert_eq!(peer.reject().reason, RejectReason::DATA_DIGEST_ERROR);
    assert!(matches!(peer.target.poll_event(), Some(Event::DataFault { fault: TransferFault::Lost, .. })));
    peer.target.respond(itt(1), refused());
    assert_eq!(peer.response().status, ScsiStatus::CHECK_CONDITION);
}

#[test]
fn commands_outside_the_window_are_ignored_and_early_ones_wait() {
    let mut peer = Peer::new(settings());
    for (tag, cmd_sn) in [(1, 9), (2, 14), (3, 12), (4, 11)] {
        peer.command(tag, cmd_sn, |_| {});
    }
    assert_eq!(peer.commands(), [] as [u32; 0]);
    peer.command(5, 10, |_| {});
    assert_eq!(peer.commands(), [5, 4, 3]);
    assert_eq!(peer.responses(), []);
}

#[test]
fn the_window_closes_while_commands_are_outstanding() {
    let mut peer = Peer::new(settings());
    for n in 0..4 {
        peer.command(n, 10 + n, |_| {});
    }
    peer.command(9, 14, |_| {});
    assert_eq!(peer.commands(), [0, 1, 2, 3], "the fifth is beyond MaxCmdSN");
    peer.target.respond(itt(0), good(0));
    assert_eq!(peer.response().max_cmd_sn, CmdSn(14));
    peer.command(9, 14, |_| {});
    assert_eq!(peer.commands(), [9]);
}

#[test]
fn protocol_abuse_is_rejected_with_its_reason() {
    type Abuse = fn(&mut ScsiCommand);
    let cases: [(&str, Abuse, RejectReason); 4] = [
        (
            "immediate data beyond FirstBurstLength",
            |c| {
                c.write = true;
                c.expected_data_transfer_length = 4096;
                c.data = vec![0; 1025].into();
            },
            RejectReason::PROTOCOL_ERROR,
        ),
        ("immediate data without W", |c| c.data = vec![0; 4].into(), RejectReason::PROTOCOL_ERROR),
        (
            "more immediate data than expected",
            |c| {
                c.write = true;
                c.expected_data_transfer_length = 4;
                c.data = vec![0; 8].into();
            },
            RejectReason::PROTOCOL_ERROR,
        ),
        ("a tag that is in use", |c| c.initiator_task_tag = InitiatorTaskTag(1), RejectReason::TASK_IN_PROGRESS),
    ];
    for (what, abuse, reason) in cases {
        let mut peer = Peer::new(settings());
        peer.command(1, 10, |_| {});
        peer.command(2, 11, abuse);
        assert_eq!(peer.reject().reason, reason, "{what}");
        assert_eq!(peer.commands(), [1], "{what}");
    }
}

#[test]
fn data_for_a_tag_that_no_r2t_gave_is_rejected() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 1024, 0, true);
    peer.solicit(itt(1), 1024);
    let tag = peer.r2t().target_transfer_tag;
    peer.data_out(1, TargetTransferTag(tag.0 + 7), 0, 0, 512, false);
    assert_eq!(peer.reject().reason, RejectReason::INVALID_PDU_FIELD);
    peer.data_out(1, tag, 0, 0, 1024, true);
    assert!(peer.responses().is_empty(), "the real one goes on");
}

#[test]
fn solicited_bytes_are_bounded_and_the_starved_are_fed() {
    let mut peer = Peer::new(settings());
    for n in 0..3 {
        peer.write(n, 10 + n, 2048, 0, true);
        peer.solicit(itt(n), 2048);
    }
    let first: Vec<Response> = peer.responses();
    assert_eq!(first.len(), 2, "4096 bytes at once: the third waits");
    peer.target.respond(itt(0), refused());
    let Response::R2t(r2t) = &first[0] else { panic!("an R2T") };
    peer.data_out(0, r2t.target_transfer_tag, 0, 0, 2048, true);
    let after = peer.responses();
    let fed = after.iter().any(|response| matches!(response, Response::R2t(r2t) if r2t.initiator_task_tag == itt(2)));
    assert!(fed, "{after:?}");
}

#[test]
fn a_ping_comes_back_with_its_data() {
    let mut peer = Peer::new(settings());
    peer.send(NopOut {
        immediate: true,
        lun: Lun::ZERO,
        initiator_task_tag: itt(5),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn: CmdSn(10),
        exp_stat_sn: ExpStatSn(100),
        data: vec![1; 600].into(),
    });
    let [Response::NopIn(NopIn { initiator_task_tag, data, stat_sn, .. })] = &peer.responses()[..] else {
        panic!("a NOP-In")
    };
    assert_eq!((*initiator_task_tag, data.len(), *stat_sn), (itt(5), 512, StatSn(100)));
}

#[test]
fn silence_is_asked_about_and_then_ends_the_connection() {
    let keepalive = KeepaliveTimes { interval: Duration::from_secs(5), timeout: Duration::from_secs(5) };
    let mut peer = Peer::new(Settings { keepalive: Some(keepalive), ..settings() });
    let later = |seconds| peer.now + Duration::from_secs(seconds);
    let (first, second) = (later(5), later(10));
    assert_eq!(peer.target.poll_timeout(), Some(first));
    assert_eq!(peer.target.handle_timeout(first), Ok(()));
    let [Response::NopIn(nop)] = &peer.responses()[..] else { panic!("a NOP-In") };
    assert!(nop.initiator_task_tag.is_reserved() && !nop.target_transfer_tag.is_reserved());
    assert_eq!(peer.target.handle_timeout(second), Err(ConnectionError::Silent));
}

#[test]
fn an_aborted_command_says_nothing_more() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 1024, 0, true);
    peer.solicit(itt(1), 1024);
    let tag = peer.r2t().target_transfer_tag;
    assert!(peer.target.abort(itt(1)));
    peer.target.respond(itt(1), good(1024));
    assert!(peer.responses().is_empty());
    peer.data_out(1, tag, 0, 0, 1024, true);
    assert_eq!(peer.responses(), [], "what was on its way is no one's");
    assert!(!peer.target.abort_unseen(&abort_task(11, 11)), "not before the request itself");
    assert!(peer.target.abort_unseen(&abort_task(11, 12)), "a command that never came");
    peer.command(2, 12, |_| {});
    assert_eq!(peer.commands(), [2], "11 counts as received, and nothing is told of 1");
}

fn abort_task(ref_cmd_sn: u32, cmd_sn: u32) -> TaskManagementRequest {
    TaskManagementRequest {
        immediate: true,
        function: TaskManagementFunction::ABORT_TASK,
        lun: Lun::ZERO,
        initiator_task_tag: itt(99),
        referenced_task_tag: itt(1),
        cmd_sn: CmdSn(cmd_sn),
        exp_stat_sn: ExpStatSn(100),
        ref_cmd_sn: CmdSn(ref_cmd_sn),
        exp_data_sn: DataSn(0),
    }
}

#[test]
fn a_command_aborted_before_its_turn_never_comes() {
    let mut peer = Peer::new(settings());
    for (tag, cmd_sn) in [(1, 11), (2, 12)] {
        peer.command(tag, cmd_sn, |_| {});
    }
    assert!(peer.target.abort_early(|task, _| task == itt(1)));
    assert!(!peer.target.abort_early(|task, _| task == itt(1)), "once");
    peer.command(3, 10, |_| {});
    assert_eq!(peer.commands(), [3, 2]);
}

#[test]
fn a_command_aborted_before_it_was_taken_up_is_not() {
    let mut peer = Peer::new(settings());
    peer.write(1, 10, 512, 512, true);
    assert!(peer.target.abort(itt(1)));
    peer.write(1, 11, 1024, 1024, true);
    let Some(Event::Command(arrived)) = peer.target.poll_event() else { panic!("a command") };
    assert_eq!(arrived.request.expected_data_transfer_length, 1024, "the second of that tag");
    assert!(peer.target.poll_event().is_none());
}

#[test]
fn a_starved_tag_that_another_command_has_takes_no_second_share() {
    let mut peer = Peer::new(settings());
    let solicit = |peer: &mut Peer, tag, cmd_sn, bytes| {
        peer.write(tag, cmd_sn, bytes, 0, true);
        peer.solicit(itt(tag), bytes.into());
    };
    for (tag, bytes) in [(1, 4096), (2, 4096), (3, 2048)] {
        solicit(&mut peer, tag, 9 + tag, bytes);
    }
    peer.target.abort(itt(3));
    solicit(&mut peer, 3, 13, 2048);
    for tag in [1, 2] {
        peer.target.abort(itt(tag));
    }
    let asked: Vec<_> = peer.responses();
    assert_eq!(asked.len(), 3, "each in its turn: {asked:?}");
    peer.target.abort(itt(3));
    solicit(&mut peer, 4, 14, 4000);
    solicit(&mut peer, 5, 15, 96);
    assert_eq!(peer.responses().len(), 2, "both at once, as nothing of the budget was lost");
}

#[test]
fn task_management_takes_its_place_in_the_window() {
    let mut peer = Peer::new(settings());
    for cmd_sn in 10..20 {
        peer.send(TaskManagementRequest { immediate: false, ..abort_task(9, cmd_sn) });
    }
    let events: Vec<_> = std::iter::from_fn(|| peer.target.poll_event()).collect();
    assert_eq!(events.len(), 4, "as many as the window holds");
    let Event::TaskManagement(request) = &events[0] else { panic!("task management") };
    peer.target.respond_task_management(request, TaskManagementResponseCode::FUNCTION_COMPLETE, [0; 3]);
    let [Response::TaskManagementResponse(response)] = &peer.responses()[..] else { panic!("its response") };
    assert_eq!(response.max_cmd_sn, CmdSn(14));
}

#[test]
fn what_a_target_must_not_receive() {
    let mut peer = Peer::new(settings());
    let raw = RawPdu { bhs: [0x1f; 48], ahs: Bytes::new(), data: Bytes::new() };
    peer.target.receive(raw, peer.now).expect("rejected, not fatal");
    assert_eq!(peer.reject().reason, RejectReason::COMMAND_NOT_SUPPORTED);
}
