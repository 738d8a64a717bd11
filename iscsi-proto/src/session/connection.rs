//! One connection in full feature phase: PDUs and `now` in, events and PDUs out.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Instant;

use bytes::Bytes;

use super::budget::Budget;
use super::command_window::{Arrival, CommandWindow};
use super::data_in::Segments;
use super::keepalive::{Keepalive, KeepaliveTimes, Verdict};
use super::outbox::Outbox;
use super::task::{Answer, CommandArrived, Event, Phase, Task};
use super::transfer::{DataOutFields, Inbound, Step, TransferFault};
use crate::pdu::{
    self, DataInStatus, Pdu, PduError, PduFault, RawPdu, RejectReason, Request, Residual, ScsiStatus, ServiceResponse,
};
use crate::types::{CmdSn, DataSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

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

/// ITTs are the initiator's to choose; they only slow down its own session, so a cheap hash does.
#[derive(Default)]
struct TagHasher(u64);

impl std::hash::Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

type TaskTable = HashMap<InitiatorTaskTag, Task, BuildHasherDefault<TagHasher>>;

/// See the module.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    window: CommandWindow<Ordered>,
    outbox: Outbox,
    tasks: TaskTable,
    immediate_outstanding: usize,
    /// Task management requests that came in order and are not answered; each has its place in the CmdSN window.
    management_outstanding: usize,
    /// Bounded by the CmdSN window and `IMMEDIATE_MAX`.
    events: VecDeque<Event>,
    next_tag: u32,
    keepalive: Option<Keepalive>,
    budget: Budget,
}

/// What waits in the CmdSN window for its turn.
#[derive(Debug)]
enum Ordered {
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

    /// The device wants the first `wanted` bytes of the command's data; [`Event::Data`] follows.
    pub fn solicit(&mut self, task: InitiatorTaskTag, wanted: u64) {
        let Some(entry) = self.tasks.get_mut(&task) else { return };
        let Phase::Arrived(inbound) = &mut entry.phase else { return };
        let offered = if entry.write { entry.expected_data_transfer_length } else { 0 };
        inbound.want(wanted.min(u64::from(offered)) as u32);
        let inbound = std::mem::replace(inbound, Inbound::new(Bytes::new(), None));
        let missing = u64::from(inbound.missing());
        entry.phase = Phase::Collecting(inbound);
        match self.reserve(task, missing) {
            true => self.collect(task),
            false => self.budget.wait(task),
        }
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

    fn receive_command(&mut self, command: pdu::ScsiCommand, bhs: &pdu::Bhs) {
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

    fn open_window(&mut self) {
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

    // ── data out ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn receive_data_out(&mut self, data_out: pdu::DataOut, bhs: &pdu::Bhs) {
        let task = data_out.initiator_task_tag;
        let fields = DataOutFields {
            target_transfer_tag: data_out.target_transfer_tag,
            data_sn: data_out.data_sn,
            buffer_offset: data_out.buffer_offset,
            final_: data_out.final_,
        };
        let Some(inbound) = self.tasks.get_mut(&task).and_then(|entry| entry.phase.inbound()) else {
            return self.refuse_data_out(data_out.target_transfer_tag, bhs);
        };
        if !data_out.target_transfer_tag.is_reserved() && !inbound.knows(data_out.target_transfer_tag) {
            return self.refuse_data_out(data_out.target_transfer_tag, bhs);
        }
        match inbound.receive(fields, data_out.data) {
            Ok(Step::Continue) => {}
            Ok(Step::SequenceEnded) => self.collect(task),
            Err(fault) => self.fail_transfer(task, fault),
        }
    }

    /// Data may trail a command that was aborted or that the window ignored; it is no one's. Only a tag that no R2T ever
    /// gave is wrong.
    fn refuse_data_out(&mut self, tag: TargetTransferTag, bhs: &pdu::Bhs) {
        if !tag.is_reserved() && !(1..=self.next_tag).contains(&tag.0) {
            self.reject(bhs, RejectReason::INVALID_PDU_FIELD);
        }
    }

    /// "If the discarded PDU is a solicited or unsolicited iSCSI data PDU … the target MUST … terminate the task"
    /// (RFC 7143 §7.8; ErrorRecoveryLevel 0 has no recovery R2T).
    fn recover_from_lost_payload(&mut self, raw: RawPdu) {
        let bhs = raw.bhs;
        match Request::decode(raw) {
            Ok(Request::DataOut(data_out)) => {
                let task = data_out.initiator_task_tag;
                if let Some(inbound) = self.tasks.get_mut(&task).and_then(|entry| entry.phase.inbound()) {
                    inbound.lose(data_out.target_transfer_tag, data_out.final_);
                    self.fail_transfer(task, TransferFault::Lost);
                }
            }
            // The command itself is whole: it keeps its place in the order and ends for want of its immediate data.
            Ok(Request::ScsiCommand(command)) => {
                let task = command.initiator_task_tag;
                let is_new = !self.tasks.contains_key(&task);
                self.receive_command(command, &bhs);
                if let (true, Some(entry)) = (is_new, self.tasks.get_mut(&task))
                    && let Some(inbound) = entry.phase.inbound()
                {
                    inbound.discard();
                    self.fail_transfer(task, TransferFault::Lost);
                }
            }
            // Dropping any other leaves a gap in CmdSN that the initiator fills by sending it again.
            _ => {}
        }
    }

    fn fail_transfer(&mut self, task: InitiatorTaskTag, fault: TransferFault) {
        match self.tasks.get(&task).map(|entry| &entry.phase) {
            // Already answered: its response waited for this F bit, perhaps.
            Some(Phase::Ending(..)) => self.collect(task),
            Some(_) => self.events.push_back(Event::DataFault { task, fault }),
            None => {}
        }
    }

    /// Send what R2Ts may go out, or pass the data on, or send the answer that waited.
    fn collect(&mut self, task: InitiatorTaskTag) {
        let Some(entry) = self.tasks.get_mut(&task) else { return };
        match &mut entry.phase {
            Phase::Collecting(inbound) if inbound.is_complete() => {
                let data = inbound.take();
                entry.phase = Phase::Executing;
                self.events.push_back(Event::Data { task, data });
            }
            Phase::Collecting(_) if entry.solicited_bytes > 0 => self.send_r2ts(task),
            Phase::Ending(inbound, answer) if inbound.is_quiet() => {
                let answer = std::mem::take(answer);
                self.finish(task, answer);
            }
            _ => {}
        }
    }

    fn send_r2ts(&mut self, task: InitiatorTaskTag) {
        let outstanding_max = usize::from(self.settings.max_outstanding_r2t.max(1));
        loop {
            let target_transfer_tag = self.new_tag();
            let Some(entry) = self.tasks.get_mut(&task) else { return };
            let Phase::Collecting(inbound) = &mut entry.phase else { return };
            let Some(plan) = inbound.next_r2t(target_transfer_tag, self.settings.max_burst_length, outstanding_max)
            else {
                return;
            };
            let lun = entry.lun;
            self.send(pdu::R2t {
                lun,
                initiator_task_tag: task,
                target_transfer_tag,
                // The next StatSN, which an R2T does not use up (RFC 7143 §11.8.3).
                stat_sn: self.outbox.next_stat_sn(),
                exp_cmd_sn: self.window.expected(),
                max_cmd_sn: self.window.maximum(),
                r2t_sn: plan.r2t_sn,
                buffer_offset: plan.buffer_offset,
                desired_data_transfer_length: plan.desired_data_transfer_length,
            });
        }
    }

    /// Whether the command may solicit now; if not, it waits for others to finish.
    fn reserve(&mut self, task: InitiatorTaskTag, bytes: u64) -> bool {
        let fits = self.budget.take(bytes);
        if let (true, Some(entry)) = (fits, self.tasks.get_mut(&task)) {
            entry.solicited_bytes = bytes;
        }
        fits
    }

    fn feed_the_starved(&mut self) {
        while let Some(task) = self.budget.next_starved() {
            let missing = match self.tasks.get(&task).map(|entry| &entry.phase) {
                Some(Phase::Collecting(inbound)) => u64::from(inbound.missing()),
                _ => continue,
            };
            if !self.reserve(task, missing) {
                return self.budget.wait_again(task);
            }
            self.collect(task);
        }
    }

    // ── endings ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn remove(&mut self, task: InitiatorTaskTag) -> Option<Task> {
        let entry = self.tasks.remove(&task)?;
        self.immediate_outstanding -= usize::from(entry.immediate);
        self.open_window();
        self.budget.leave(task, entry.solicited_bytes);
        self.feed_the_starved();
        Some(entry)
    }

    fn finish(&mut self, task: InitiatorTaskTag, answer: Answer) {
        let Some(entry) = self.remove(task) else { return };
        let expected = entry.expected_data_transfer_length;
        let residual = Residual::of(answer.transfer_length, expected);
        let mut data = match entry.read {
            true => answer.data_in,
            false => Bytes::new(),
        };
        data.truncate(expected as usize);

        let status = ScsiStatus(answer.status);
        let collapse = status == ScsiStatus::GOOD && !data.is_empty();
        let data_pdus = self.send_data_in(task, data, collapse.then_some((status, residual)));
        if collapse {
            return;
        }
        let sense = match answer.sense.is_empty() {
            true => Bytes::new(),
            false => pdu::ScsiResponse::sense_segment(&answer.sense),
        };
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        self.send(pdu::ScsiResponse {
            response: ServiceResponse::COMMAND_COMPLETED_AT_TARGET,
            status,
            residual,
            bidirectional_read_residual: Residual::None,
            status_qualifier: 0,
            initiator_task_tag: task,
            snack_tag: 0,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            // "the number of Data-In (read) PDUs the target has sent for the command" (RFC 7143 §11.4.8).
            exp_data_sn: DataSn(data_pdus),
            data: sense,
        });
    }

    /// Returns the number of PDUs. With `status` the last one carries it.
    fn send_data_in(&mut self, task: InitiatorTaskTag, data: Bytes, status: Option<(ScsiStatus, Residual)>) -> u32 {
        let mut pdus = 0;
        for segment in Segments::new(data, self.settings.data_in_segment_max, self.settings.max_burst_length) {
            let status = status.filter(|_| segment.is_last).map(|(status, residual)| DataInStatus {
                status,
                residual,
                stat_sn: self.outbox.use_stat_sn(),
            });
            self.send(pdu::DataIn {
                final_: segment.final_,
                acknowledge: false,
                status,
                lun: Lun::ZERO,
                initiator_task_tag: task,
                target_transfer_tag: TargetTransferTag::RESERVED,
                exp_cmd_sn: self.window.expected(),
                max_cmd_sn: self.window.maximum(),
                data_sn: segment.data_sn,
                buffer_offset: segment.buffer_offset,
                data: segment.data,
            });
            pdus += 1;
        }
        pdus
    }

    fn reject(&mut self, bhs: &pdu::Bhs, reason: RejectReason) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        let data = Bytes::copy_from_slice(bhs);
        self.send(pdu::Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn: DataSn(0), data });
    }

    fn reject_pdu(&mut self, error: &PduError) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        self.send(error.reject(stat_sn, exp_cmd_sn, max_cmd_sn));
    }

    // ── small parts ───────────────────────────────────────────────────────────────────────────────────────────────

    /// A StatSN of its own, and the window as it is now.
    fn next_status(&mut self) -> (StatSn, CmdSn, CmdSn) {
        (self.outbox.use_stat_sn(), self.window.expected(), self.window.maximum())
    }

    fn new_tag(&mut self) -> TargetTransferTag {
        self.next_tag = match self.next_tag.wrapping_add(1) {
            u32::MAX => 0,
            tag => tag,
        };
        TargetTransferTag(self.next_tag)
    }

    fn send(&mut self, pdu: impl Pdu) {
        self.outbox.send(&pdu);
    }
}
