//! One connection in full feature phase: PDUs and `now` in, events and PDUs out.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::time::Instant;

use bytes::Bytes;

use super::budget::Budget;
use super::command_window::{Arrival, CommandWindow};
use super::keepalive::{Keepalive, KeepaliveTimes, Verdict};
use super::outbox::Outbox;
use super::task::{Answer, CommandArrived, Event, Phase, Task, TaskTable};
use super::transfer::{Inbound, Pieces};
use crate::pdu::{self, Pdu, PduError, PduFault, RawPdu, RejectReason, Request};
use crate::types::{CmdSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

/// What login negotiated, and the bounds the target sets itself.
#[derive(Clone, Debug)]
pub struct Settings {
    pub initial_r2t: bool,
    pub immediate_data: bool,
    pub first_burst_length: u32,
    pub max_burst_length: u32,
    pub max_outstanding_r2t: u16,
    /// The initiator's MaxRecvDataSegmentLength: what one Data-In may carry.
    pub data_in_segment_max: u32,
    /// Commands outstanding at once; the CmdSN window.
    pub queue_depth: u32,
    /// Bytes of Data-Out that all commands together may have solicited and not yet finished with. One command alone may
    /// exceed it, so that there is always progress.
    pub solicited_bytes_max: u64,
    pub keepalive: Option<KeepaliveTimes>,
}

/// Immediate commands and task management requests outstanding at once. They bypass the CmdSN window, so they have a
/// bound of their own; initiators keep one or two. Beyond it: Reject "too many immediate commands".
const IMMEDIATE_MAX: usize = 32;

/// The connection can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    #[error("protocol error: expected {expected}, got {got}")]
    Protocol { expected: &'static str, got: &'static str },
    #[error("no answer to a NOP-In within the keepalive timeout")]
    Silent,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    pub(super) settings: Settings,
    pub(super) window: CommandWindow<Ordered>,
    pub(super) outbox: Outbox,
    pub(super) tasks: TaskTable,
    pub(super) immediate_outstanding: usize,
    /// Task management requests that came in order and are not answered; each has its place in the CmdSN window.
    management_outstanding: usize,
    /// Bounded by the CmdSN window and `IMMEDIATE_MAX`.
    pub(super) events: VecDeque<Event>,
    pub(super) next_tag: u32,
    keepalive: Option<Keepalive>,
    pub(super) budget: Budget,
}

/// What waits in the CmdSN window for its turn.
#[derive(Debug)]
pub(super) enum Ordered {
    Command(pdu::ScsiCommand),
    TaskManagement(pdu::TaskManagementRequest),
    Text(pdu::TextRequest),
    Logout(pdu::LogoutRequest),
    Ping(pdu::NopOut),
    /// Aborted before it came.
    Void,
}

impl Connection {
    /// Right after the last Login Response; the next command carries `exp_cmd_sn`, the next status `stat_sn`.
    pub fn new(settings: Settings, exp_cmd_sn: CmdSn, stat_sn: StatSn, now: Instant) -> Connection {
        Connection {
            window: CommandWindow::new(exp_cmd_sn, settings.queue_depth),
            outbox: Outbox::new(stat_sn),
            tasks: TaskTable::default(),
            immediate_outstanding: 0,
            management_outstanding: 0,
            events: VecDeque::new(),
            next_tag: 0,
            keepalive: settings.keepalive.map(|times| Keepalive::new(times, now)),
            budget: Budget::new(settings.solicited_bytes_max),
            settings,
        }
    }

    // ── in ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// One whole PDU off the socket.
    pub fn receive(&mut self, raw: RawPdu, now: Instant) -> Result<(), ConnectionError> {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard(now);
        }
        let bhs = raw.bhs;
        match Request::decode(raw) {
            Ok(Request::ScsiCommand(command)) => self.receive_command(command, &bhs),
            Ok(Request::DataOut(data)) => self.receive_data_out(data, &bhs),
            Ok(Request::TaskManagementRequest(request)) => {
                self.receive_ordered(request.immediate, request.cmd_sn, Ordered::TaskManagement(request), &bhs);
            }
            // An answer to our NOP-In: having heard it is all.
            Ok(Request::NopOut(nop)) if nop.initiator_task_tag.is_reserved() => {}
            Ok(Request::NopOut(nop)) => self.receive_ordered(nop.immediate, nop.cmd_sn, Ordered::Ping(nop), &bhs),
            Ok(Request::TextRequest(text)) => {
                self.receive_ordered(text.immediate, text.cmd_sn, Ordered::Text(text), &bhs);
            }
            Ok(Request::LogoutRequest(logout)) => {
                self.receive_ordered(logout.immediate, logout.cmd_sn, Ordered::Logout(logout), &bhs);
            }
            // ErrorRecoveryLevel=0: there is nothing to ask for again.
            Ok(Request::Snack(_)) => self.reject(&bhs, RejectReason::COMMAND_NOT_SUPPORTED),
            Ok(Request::LoginRequest(_)) => {
                return Err(ConnectionError::Protocol { expected: "a full feature phase PDU", got: "Login Request" });
            }
            Err(error) => self.reject_pdu(&error),
        }
        Ok(())
    }

    /// A PDU whose header is whole and whose payload failed its digest.
    pub fn receive_damaged(&mut self, error: PduError, now: Instant) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard(now);
        }
        self.reject_pdu(&error);
        if error.fault == PduFault::DataDigest {
            self.recover_from_lost_payload(RawPdu { bhs: error.bhs, ahs: error.ahs, data: Bytes::new() });
        }
    }

    /// The initiator takes what is sent to it, and so lives, though it may be too busy with it to say anything.
    pub fn taken(&mut self, now: Instant) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard(now);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        match self.keepalive.as_mut().map_or(Verdict::Alive, |keepalive| keepalive.verdict(now)) {
            Verdict::Alive => {}
            Verdict::Dead => return Err(ConnectionError::Silent),
            Verdict::Ask => {
                let target_transfer_tag = self.new_tag();
                self.send(pdu::NopIn {
                    lun: Lun::ZERO,
                    initiator_task_tag: InitiatorTaskTag::RESERVED,
                    target_transfer_tag,
                    // "the StatSN field will contain … the next StatSN. However, StatSN … is not advanced" (RFC 7143 §11.19.3)
                    stat_sn: self.outbox.next_stat_sn(),
                    exp_cmd_sn: self.window.expected(),
                    max_cmd_sn: self.window.maximum(),
                    data: Bytes::new(),
                });
            }
        }
        Ok(())
    }

    // ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_transmit(&mut self) -> Option<RawPdu> {
        self.outbox.take()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.keepalive.as_ref().map(Keepalive::next_timeout)
    }

    /// Bytes queued and not yet polled.
    pub fn backlog_bytes(&self) -> usize {
        self.outbox.backlog_bytes()
    }

    pub fn has_task(&self, task: InitiatorTaskTag) -> bool {
        self.tasks.contains_key(&task)
    }

    pub fn task_lun(&self, task: InitiatorTaskTag) -> Option<Lun> {
        self.tasks.get(&task).map(|task| task.lun)
    }

    pub fn task_tags(&self) -> Vec<InitiatorTaskTag> {
        self.tasks.keys().copied().collect()
    }

    pub fn outstanding(&self) -> usize {
        self.tasks.len()
    }

    pub fn expected_cmd_sn(&self) -> CmdSn {
        self.window.expected()
    }

    // ── the shell's answers ───────────────────────────────────────────────────────────────────────────────────────

    /// The device wants the first `wanted` bytes of the command's data. All of it, where it came with the command; else
    /// [`Event::Data`] follows.
    #[must_use]
    pub fn solicit(&mut self, task: InitiatorTaskTag, wanted: u64) -> Option<Pieces> {
        let entry = self.tasks.get_mut(&task)?;
        let Phase::Arrived(inbound) = &mut entry.phase else { return None };
        let offered = if entry.write { entry.expected_data_transfer_length } else { 0 };
        inbound.want(wanted.min(u64::from(offered)) as u32);
        if inbound.is_complete() {
            let data = inbound.take();
            entry.phase = Phase::Executing;
            return Some(data);
        }
        let inbound = std::mem::replace(inbound, Inbound::new(Bytes::new(), None));
        let missing = u64::from(inbound.missing());
        entry.phase = Phase::Collecting(inbound);
        match self.reserve(task, missing) {
            true => self.collect(task),
            false => self.budget.wait(task),
        }
        None
    }

    /// The command has ended. Data-In, status and residual go out, or wait for the initiator's F bits.
    pub fn respond(&mut self, task: InitiatorTaskTag, answer: Answer) {
        let Some(entry) = self.tasks.get_mut(&task) else { return };
        match std::mem::replace(&mut entry.phase, Phase::Executing) {
            Phase::Arrived(mut inbound) | Phase::Collecting(mut inbound) if !inbound.is_quiet() => {
                inbound.discard();
                entry.phase = Phase::Ending(inbound, answer);
            }
            _ => self.finish(task, answer),
        }
    }

    /// Forget the task without a response, and the events of it that nobody has taken up: its tag may soon be another's.
    /// False: there is none.
    pub fn abort(&mut self, task: InitiatorTaskTag) -> bool {
        self.events.retain(|event| event.task() != Some(task));
        self.remove(task).is_some()
    }

    /// Forget the commands that came before their turn, where `covers` says so; their numbers stay received. False: none.
    pub fn abort_early(&mut self, covers: impl Fn(InitiatorTaskTag, Lun) -> bool) -> bool {
        let mut any = false;
        for early in self.window.early_mut() {
            if matches!(early, Ordered::Command(command) if covers(command.initiator_task_tag, command.lun)) {
                *early = Ordered::Void;
                any = true;
            }
        }
        any
    }

    /// ABORT TASK for a command that never came: where RefCmdSN is "within the valid CmdSN window and less than the CmdSN of
    /// the Task Management Function Request itself, then targets must consider the CmdSN as received" (RFC 7143 §11.6.1).
    pub fn abort_unseen(&mut self, request: &pdu::TaskManagementRequest) -> bool {
        let unseen =
            request.ref_cmd_sn.precedes(request.cmd_sn) && self.window.forget(request.ref_cmd_sn, Ordered::Void);
        self.take_ordered();
        unseen
    }

    pub fn respond_task_management(
        &mut self,
        request: &pdu::TaskManagementRequest,
        response: pdu::TaskManagementResponseCode,
        additional_information: [u8; 3],
    ) {
        match request.immediate {
            true => self.immediate_outstanding -= 1,
            false => self.management_outstanding -= 1,
        }
        self.open_window();
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        self.send(pdu::TaskManagementResponse {
            response,
            additional_response_information: additional_information,
            initiator_task_tag: request.initiator_task_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
        });
    }

    /// `target_transfer_tag`: reserved with the last part of an answer.
    pub fn respond_text(
        &mut self,
        request: &pdu::TextRequest,
        target_transfer_tag: TargetTransferTag,
        final_: bool,
        continue_: bool,
        data: Bytes,
    ) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        self.send(pdu::TextResponse {
            final_,
            continue_,
            lun: request.lun,
            initiator_task_tag: request.initiator_task_tag,
            target_transfer_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data,
        });
    }

    pub fn reject_text(&mut self, request: &pdu::TextRequest, reason: RejectReason) {
        self.reject(&request.encode_header(request.data.len() as u32), reason);
    }

    /// A Target Transfer Tag that nothing else on this connection has.
    pub fn fresh_transfer_tag(&mut self) -> TargetTransferTag {
        self.new_tag()
    }

    pub fn data_in_segment_max(&self) -> u32 {
        self.settings.data_in_segment_max
    }

    /// The initiator declared another MaxRecvDataSegmentLength.
    pub fn set_data_in_segment_max(&mut self, bytes: u32) {
        self.settings.data_in_segment_max = bytes;
    }

    pub fn respond_logout(&mut self, request: &pdu::LogoutRequest, response: pdu::LogoutResponseCode) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        self.send(pdu::LogoutResponse {
            response,
            initiator_task_tag: request.initiator_task_tag,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            time_2_wait: 0,
            time_2_retain: 0,
        });
    }

    pub fn send_async_message(&mut self, event: pdu::AsyncEvent, parameters: [u16; 3]) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        self.send(pdu::AsyncMessage {
            lun: Lun::ZERO,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            event,
            vendor_code: 0,
            parameter_1: parameters[0],
            parameter_2: parameters[1],
            parameter_3: parameters[2],
            data: Bytes::new(),
        });
    }

    // ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn receive_command(&mut self, command: pdu::ScsiCommand, bhs: &pdu::Bhs) {
        if let Err(reason) = self.check_command(&command) {
            return self.reject(bhs, reason);
        }
        if command.immediate {
            return match self.immediate_outstanding < IMMEDIATE_MAX {
                true => self.start_command(command),
                false => self.reject(bhs, RejectReason::IMMEDIATE_COMMAND_REJECT),
            };
        }
        match self.window.arrive(command.cmd_sn) {
            Arrival::InOrder => {
                self.start_command(command);
                self.take_ordered();
            }
            Arrival::Early => self.window.hold(command.cmd_sn, Ordered::Command(command)),
            Arrival::Ignore => {}
        }
    }

    fn check_command(&self, command: &pdu::ScsiCommand) -> Result<(), RejectReason> {
        let immediate_data = command.data.len() as u64;
        let unsolicited_max = u64::from(self.settings.first_burst_length.min(command.expected_data_transfer_length));
        // "Sending … immediate data when ImmediateData=No is a protocol error", as is data beyond FirstBurstLength
        // (RFC 7143 §13.11, §13.14), or without the W bit.
        let data_is_allowed = command.write && self.settings.immediate_data && immediate_data <= unsolicited_max;
        if immediate_data > 0 && !data_is_allowed {
            return Err(RejectReason::PROTOCOL_ERROR);
        }
        // F=0 announces unsolicited Data-Out PDUs, which InitialR2T=Yes forbids.
        if !command.final_ && (self.settings.initial_r2t || !command.write) {
            return Err(RejectReason::INVALID_PDU_FIELD);
        }
        if command.initiator_task_tag.is_reserved() {
            return Err(RejectReason::INVALID_PDU_FIELD);
        }
        match self.tasks.contains_key(&command.initiator_task_tag) {
            true => Err(RejectReason::TASK_IN_PROGRESS),
            false => Ok(()),
        }
    }

    fn start_command(&mut self, mut request: pdu::ScsiCommand) {
        let task = request.initiator_task_tag;
        let unsolicited_end =
            (!request.final_).then(|| self.settings.first_burst_length.min(request.expected_data_transfer_length));
        let inbound = Inbound::new(std::mem::take(&mut request.data), unsolicited_end);
        let entry = Task {
            lun: request.lun,
            read: request.read,
            write: request.write,
            expected_data_transfer_length: request.expected_data_transfer_length,
            immediate: request.immediate,
            solicited_bytes: 0,
            phase: Phase::Arrived(inbound),
        };
        match self.tasks.entry(task) {
            // Two early commands with one tag: the first keeps it.
            Entry::Occupied(_) => return,
            Entry::Vacant(vacant) => vacant.insert(entry),
        };
        self.immediate_outstanding += usize::from(request.immediate);
        self.events.push_back(Event::Command(CommandArrived { task, request }));
        self.open_window();
    }

    fn receive_ordered(&mut self, immediate: bool, cmd_sn: CmdSn, request: Ordered, bhs: &pdu::Bhs) {
        if immediate {
            if matches!(request, Ordered::TaskManagement(_)) {
                if self.immediate_outstanding >= IMMEDIATE_MAX {
                    return self.reject(bhs, RejectReason::IMMEDIATE_COMMAND_REJECT);
                }
                self.immediate_outstanding += 1;
            }
            return self.dispatch(request);
        }
        match self.window.arrive(cmd_sn) {
            Arrival::InOrder => {
                self.dispatch(request);
                self.take_ordered();
            }
            Arrival::Early => self.window.hold(cmd_sn, request),
            Arrival::Ignore => {}
        }
    }

    fn take_ordered(&mut self) {
        while let Some(request) = self.window.take_next() {
            self.dispatch(request);
        }
        self.open_window();
    }

    pub(super) fn open_window(&mut self) {
        self.window.open((self.tasks.len() + self.management_outstanding) as u32);
    }

    fn dispatch(&mut self, request: Ordered) {
        match request {
            Ordered::Command(command) => self.start_command(command),
            Ordered::TaskManagement(request) => {
                self.management_outstanding += usize::from(!request.immediate);
                self.events.push_back(Event::TaskManagement(request));
            }
            Ordered::Text(text) => self.events.push_back(Event::Text(text)),
            Ordered::Logout(logout) => self.events.push_back(Event::Logout(logout)),
            Ordered::Ping(nop) => self.answer_ping(nop),
            Ordered::Void => {}
        }
    }

    /// "the target … MUST … send a NOP-In with … the ping data" (RFC 7143 §11.18), as much of it as fits one PDU.
    fn answer_ping(&mut self, nop: pdu::NopOut) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        let mut data = nop.data;
        data.truncate(self.settings.data_in_segment_max as usize);
        self.send(pdu::NopIn {
            lun: nop.lun,
            initiator_task_tag: nop.initiator_task_tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data,
        });
    }

    // ── small parts ───────────────────────────────────────────────────────────────────────────────────────────────

    /// A StatSN of its own, and the window as it is now.
    pub(super) fn next_status(&mut self) -> (StatSn, CmdSn, CmdSn) {
        (self.outbox.use_stat_sn(), self.window.expected(), self.window.maximum())
    }

    pub(super) fn new_tag(&mut self) -> TargetTransferTag {
        self.next_tag = match self.next_tag.wrapping_add(1) {
            u32::MAX => 0,
            tag => tag,
        };
        TargetTransferTag(self.next_tag)
    }

    pub(super) fn send(&mut self, pdu: impl Pdu) {
        self.outbox.send(&pdu);
    }
}
