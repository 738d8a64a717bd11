//! The other end of the same codec: an initiator for tests, probes and benchmarks. Small, and strict with the target.
//!
//! Pure like the rest: bytes go in by [`Initiator::receive`], come out of [`Initiator::poll_transmit`], and what happened out
//! of [`Initiator::poll_event`]. One connection, ErrorRecoveryLevel 0.

mod chap;
mod event;
mod login;
mod options;
mod sequence;
mod task;
mod text;

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};

pub use chap::{BinaryEncoding, Chap, ChapAlgorithm, TargetChap, decode_binary};
pub use event::{Event, Violation};
pub use login::{LOGIN_REQUESTS_MAX, LoginFailure};
pub use options::{Options, Parameters};
pub use task::{Command, Outcome};
pub use text::{decode_pairs, encode_pairs};

use crate::digest::Digests;
use crate::framer::{FrameError, Framer};
use crate::pdu::{
    DataIn, LoginResponse, LogoutReason, LogoutRequest, NopIn, NopOut, Pdu, R2t, RawPdu, Request, Response,
    ScsiResponse, ScsiStatus, ServiceResponse, TaskManagementFunction, TaskManagementRequest, TextRequest,
    TextResponse,
};
use crate::types::{CmdSn, DataSn, ExpStatSn, InitiatorTaskTag, Lun, TargetTransferTag};
use login::{Login, Progress};
use sequence::Numbers;
use task::Task;

/// Commands sent or waiting for the window: more than any target opens.
pub const TASKS_MAX: usize = 4096;

/// Text collected for one request, over however many responses: a few thousand targets' names and addresses.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{TASKS_MAX} commands are outstanding")]
pub struct TooManyTasks;

#[derive(Debug)]
enum Phase {
    Login(Box<Login>),
    FullFeature,
    Over,
}

#[derive(Debug)]
pub struct Initiator {
    phase: Phase,
    options: Options,
    parameters: Option<Parameters>,
    framer: Framer,
    digests: Digests,
    numbers: Numbers,
    next_tag: u32,
    tasks: HashMap<InitiatorTaskTag, Task>,
    /// Numbered requests the command window has no room for.
    waiting: VecDeque<Waiting>,
    texts: HashMap<InitiatorTaskTag, BytesMut>,
    events: VecDeque<Event>,
    transmit: BytesMut,
}

#[derive(Debug)]
enum Waiting {
    /// Queued before the login's end, it may be an immediate one.
    Command(InitiatorTaskTag, Command),
    Text(TextRequest),
}

impl Initiator {
    /// Begins to log in.
    pub fn new(options: Options) -> Initiator {
        let (login, request) = Login::new(options.clone());
        let mut framer = Framer::new();
        // Login Responses obey the default until ours is declared, and ours is never less than that here.
        framer.set_max_recv_data_segment_length(8192);
        let mut initiator = Initiator {
            numbers: Numbers::new(login.cmd_sn()),
            phase: Phase::Login(Box::new(login)),
            options,
            parameters: None,
            framer,
            digests: Digests::NONE,
            next_tag: 1,
            tasks: HashMap::new(),
            waiting: VecDeque::new(),
            texts: HashMap::new(),
            events: VecDeque::new(),
            transmit: BytesMut::new(),
        };
        initiator.send(request);
        initiator
    }

    /// What was agreed, once logged in.
    pub fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }

    pub fn cmd_sn(&self) -> CmdSn {
        self.numbers.cmd_sn
    }

    /// To misbehave with.
    pub fn set_cmd_sn(&mut self, cmd_sn: CmdSn) {
        self.numbers.cmd_sn = cmd_sn;
    }

    pub fn max_cmd_sn(&self) -> CmdSn {
        self.numbers.max_cmd_sn
    }

    pub fn exp_stat_sn(&self) -> ExpStatSn {
        self.numbers.exp_stat_sn
    }

    /// Commands sent and not completed, or waiting to be sent.
    pub fn outstanding(&self) -> usize {
        self.tasks.len() + self.waiting.len()
    }

    /// Bytes still needed for the next PDU.
    pub fn wanted(&self) -> usize {
        self.framer.wanted()
    }

    /// Handles every whole PDU in `buffer`.
    pub fn receive(&mut self, buffer: &mut BytesMut) -> Result<(), FrameError> {
        while let Some(pdu) = self.next_pdu(buffer)? {
            self.handle(pdu);
        }
        Ok(())
    }

    /// One PDU, not handled: for those who want to see it, or to handle it themselves.
    pub fn next_pdu(&mut self, buffer: &mut BytesMut) -> Result<Option<RawPdu>, FrameError> {
        self.framer.next(buffer)
    }

    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.transmit.is_empty()).then(|| self.transmit.split().freeze())
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends this, right or wrong, with the digests agreed.
    pub fn send(&mut self, request: impl Into<Request>) {
        self.digests.put(&request.into().to_raw(), &mut self.transmit);
    }

    /// Sends these segments, right or wrong, with the digests agreed.
    pub fn send_raw(&mut self, pdu: &RawPdu) {
        self.digests.put(pdu, &mut self.transmit);
    }

    /// A tag nobody has.
    pub fn new_tag(&mut self) -> InitiatorTaskTag {
        let tag = self.next_tag;
        self.next_tag = if tag == u32::MAX - 1 { 1 } else { tag + 1 };
        InitiatorTaskTag(tag)
    }

    /// Sends a command as soon as the window has room for it.
    pub fn command(&mut self, command: Command) -> Result<InitiatorTaskTag, TooManyTasks> {
        if self.outstanding() >= TASKS_MAX {
            return Err(TooManyTasks);
        }
        let tag = self.new_tag();
        if command.immediate && self.parameters.is_some() {
            self.start(tag, command);
        } else {
            self.waiting.push_back(Waiting::Command(tag, command));
            self.send_waiting();
        }
        Ok(tag)
    }

    /// Sends a task management function, immediate. For ABORT TASK, QUERY TASK and TASK REASSIGN name the task.
    pub fn task_management(
        &mut self,
        function: TaskManagementFunction,
        lun: Lun,
        referenced: Option<InitiatorTaskTag>,
    ) -> InitiatorTaskTag {
        let initiator_task_tag = self.new_tag();
        let task = referenced.and_then(|tag| self.tasks.get(&tag));
        let numbered = task.filter(|task| !task.command.immediate);
        self.send(TaskManagementRequest {
            immediate: true,
            function,
            lun,
            initiator_task_tag,
            referenced_task_tag: referenced.unwrap_or(InitiatorTaskTag::RESERVED),
            cmd_sn: self.numbers.cmd_sn,
            exp_stat_sn: self.numbers.exp_stat_sn,
            ref_cmd_sn: numbered.map_or(self.numbers.cmd_sn, |task| task.cmd_sn),
            exp_data_sn: DataSn(0),
        });
        initiator_task_tag
    }

    /// Asks for an echo, immediate.
    pub fn nop(&mut self, data: Bytes) -> InitiatorTaskTag {
        let initiator_task_tag = self.new_tag();
        self.send(NopOut {
            immediate: true,
            lun: Lun::ZERO,
            initiator_task_tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: self.numbers.cmd_sn,
            exp_stat_sn: self.numbers.exp_stat_sn,
            data,
        });
        initiator_task_tag
    }

    /// Sends a Text Request, numbered.
    pub fn text<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> InitiatorTaskTag {
        let tag = self.new_tag();
        self.texts.insert(tag, BytesMut::new());
        let request = self.text_request(tag, Lun::ZERO, TargetTransferTag::RESERVED, encode_pairs(pairs));
        self.waiting.push_back(Waiting::Text(request));
        self.send_waiting();
        tag
    }

    fn text_request(
        &self,
        initiator_task_tag: InitiatorTaskTag,
        lun: Lun,
        target_transfer_tag: TargetTransferTag,
        data: Bytes,
    ) -> TextRequest {
        TextRequest {
            immediate: false,
            final_: true,
            continue_: false,
            lun,
            initiator_task_tag,
            target_transfer_tag,
            cmd_sn: self.numbers.cmd_sn,
            exp_stat_sn: self.numbers.exp_stat_sn,
            data,
        }
    }

    /// Logs out, immediate.
    pub fn logout(&mut self, reason: LogoutReason) -> InitiatorTaskTag {
        let initiator_task_tag = self.new_tag();
        self.send(LogoutRequest {
            immediate: true,
            reason,
            initiator_task_tag,
            cid: self.options.cid,
            cmd_sn: self.numbers.cmd_sn,
            exp_stat_sn: self.numbers.exp_stat_sn,
        });
        initiator_task_tag
    }

    /// Forgets a task that will not complete: it was aborted.
    pub fn forget(&mut self, tag: InitiatorTaskTag) {
        self.tasks.remove(&tag);
    }

    /// Handles one PDU.
    pub fn handle(&mut self, pdu: RawPdu) {
        let result = Response::decode(pdu).map_err(Violation::Pdu).and_then(|response| self.handle_response(response));
        if let Err(violation) = result {
            self.events.push_back(Event::Violation(violation));
        }
        self.send_waiting();
    }

    fn handle_response(&mut self, response: Response) -> Result<(), Violation> {
        match (&self.phase, response) {
            (Phase::Login(_), Response::LoginResponse(pdu)) => {
                self.recv_login_response(pdu);
                Ok(())
            }
            (Phase::Login(_), _) | (_, Response::LoginResponse(_)) => Err(Violation::Phase),
            (_, Response::NopIn(pdu)) => self.recv_nop_in(pdu),
            (_, Response::ScsiResponse(pdu)) => self.recv_scsi_response(pdu),
            (_, Response::DataIn(pdu)) => self.recv_data_in(pdu),
            (_, Response::R2t(pdu)) => self.recv_r2t(pdu),
            (_, Response::TextResponse(pdu)) => self.recv_text_response(pdu),
            (_, Response::TaskManagementResponse(pdu)) => {
                let counted = self.numbers.counted(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
                self.events.push_back(Event::TaskManagement(pdu));
                counted
            }
            (_, Response::LogoutResponse(pdu)) => {
                let counted = self.numbers.counted(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
                self.phase = Phase::Over;
                self.events.push_back(Event::LoggedOut(pdu));
                counted
            }
            (_, Response::AsyncMessage(pdu)) => {
                let counted = self.numbers.counted(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
                self.events.push_back(Event::Async(pdu));
                counted
            }
            (_, Response::Reject(pdu)) => {
                let counted = self.numbers.counted(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
                self.events.push_back(Event::Reject(pdu));
                counted
            }
        }
    }

    fn recv_login_response(&mut self, pdu: LoginResponse) {
        let Phase::Login(login) = std::mem::replace(&mut self.phase, Phase::Over) else { return };
        let (exp_cmd_sn, max_cmd_sn) = (pdu.exp_cmd_sn, pdu.max_cmd_sn);
        match login.handle(pdu) {
            Err(failure) => self.events.push_back(Event::LoginFailed(failure)),
            Ok((login, Progress::Send(request))) => {
                self.numbers.exp_stat_sn = login.exp_stat_sn();
                self.phase = Phase::Login(Box::new(login));
                self.send(request);
            }
            Ok((login, Progress::Complete(parameters))) => {
                self.numbers.exp_stat_sn = login.exp_stat_sn();
                self.options = login.into_options();
                self.numbers.max_cmd_sn = exp_cmd_sn.previous();
                self.numbers.window_moved(exp_cmd_sn, max_cmd_sn);
                self.digests = parameters.digests;
                self.framer.negotiated(parameters.digests, parameters.max_recv_data_segment_length);
                self.parameters = Some(parameters.clone());
                self.phase = Phase::FullFeature;
                self.events.push_back(Event::LoggedIn(parameters));
            }
        }
    }

    fn recv_nop_in(&mut self, pdu: NopIn) -> Result<(), Violation> {
        let counted = if pdu.initiator_task_tag.is_reserved() {
            self.numbers.announced(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)
        } else {
            self.numbers.counted(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)
        };
        // "The initiator MUST respond with a NOP-Out." (RFC 7143 §11.18)
        if !pdu.target_transfer_tag.is_reserved() && self.options.answer_nop {
            self.send(NopOut {
                immediate: true,
                lun: pdu.lun,
                initiator_task_tag: InitiatorTaskTag::RESERVED,
                target_transfer_tag: pdu.target_transfer_tag,
                cmd_sn: self.numbers.cmd_sn,
                exp_stat_sn: self.numbers.exp_stat_sn,
                data: Bytes::new(),
            });
        }
        self.events.push_back(Event::Nop(pdu));
        counted
    }

    fn recv_data_in(&mut self, pdu: DataIn) -> Result<(), Violation> {
        let counted = match &pdu.status {
            Some(status) => self.numbers.counted(status.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn),
            None => {
                self.numbers.window_moved(pdu.exp_cmd_sn, pdu.max_cmd_sn);
                Ok(())
            }
        };
        let tag = pdu.initiator_task_tag;
        let task = self.tasks.get_mut(&tag).ok_or(Violation::UnknownTask(tag))?;
        let received = task.receive(&pdu);
        if let Some(status) = pdu.status {
            let data = self.tasks.remove(&tag).map(Task::into_data).unwrap_or_default();
            let response = ServiceResponse::COMMAND_COMPLETED_AT_TARGET;
            let outcome =
                Outcome { response, status: status.status, sense: Bytes::new(), data, residual: status.residual };
            self.events.push_back(Event::Complete { tag, outcome });
        }
        counted.and(received)
    }

    fn recv_scsi_response(&mut self, pdu: ScsiResponse) -> Result<(), Violation> {
        let counted = self.numbers.counted(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        let tag = pdu.initiator_task_tag;
        let task = self.tasks.remove(&tag).ok_or(Violation::UnknownTask(tag))?;
        let checked = check_response(&pdu, &task);
        let outcome = Outcome {
            response: pdu.response,
            status: pdu.status,
            sense: pdu.sense().unwrap_or_default(),
            data: task.into_data(),
            residual: pdu.residual,
        };
        self.events.push_back(Event::Complete { tag, outcome });
        counted.and(checked)
    }

    fn recv_r2t(&mut self, pdu: R2t) -> Result<(), Violation> {
        let counted = self.numbers.announced(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        if !self.options.answer_r2t {
            self.events.push_back(Event::R2t(pdu));
            return counted;
        }
        let tag = pdu.initiator_task_tag;
        let task = self.tasks.get_mut(&tag).ok_or(Violation::UnknownTask(tag))?;
        let parameters = self.parameters.as_ref().ok_or(Violation::Phase)?;
        for data_out in task.answer(&pdu, parameters, self.numbers.exp_stat_sn)? {
            self.send(data_out);
        }
        counted
    }

    fn recv_text_response(&mut self, pdu: TextResponse) -> Result<(), Violation> {
        let counted = self.numbers.counted(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn);
        let tag = pdu.initiator_task_tag;
        let text = self.texts.get_mut(&tag).ok_or(Violation::UnknownTask(tag))?;
        if text.len() + pdu.data.len() > TEXT_BYTES_MAX {
            return Err(Violation::TextTooLong);
        }
        text.extend_from_slice(&pdu.data);
        if pdu.final_ {
            let text = self.texts.remove(&tag).unwrap_or_default().freeze();
            self.events.push_back(Event::Text { tag, text });
        } else {
            let request = self.text_request(tag, pdu.lun, pdu.target_transfer_tag, Bytes::new());
            self.waiting.push_back(Waiting::Text(request));
        }
        counted
    }

    fn send_waiting(&mut self) {
        while matches!(self.phase, Phase::FullFeature) && self.numbers.window_is_open() {
            match self.waiting.pop_front() {
                None => return,
                Some(Waiting::Command(tag, command)) => self.start(tag, command),
                Some(Waiting::Text(mut request)) => {
                    (request.cmd_sn, request.exp_stat_sn) = (self.numbers.cmd_sn, self.numbers.exp_stat_sn);
                    self.numbers.cmd_sn = self.numbers.cmd_sn.next();
                    self.send(request);
                }
            }
        }
    }

    fn start(&mut self, tag: InitiatorTaskTag, command: Command) {
        let Some(parameters) = &self.parameters else { return };
        let task = Task::new(command, tag, self.numbers.cmd_sn);
        let (command, burst) = task.start(parameters, self.numbers.exp_stat_sn);
        if !command.immediate {
            self.numbers.cmd_sn = self.numbers.cmd_sn.next();
        }
        self.tasks.insert(tag, task);
        self.send(command);
        for data_out in burst {
            self.send(data_out);
        }
    }
}

fn check_response(pdu: &ScsiResponse, task: &Task) -> Result<(), Violation> {
    if pdu.response != ServiceResponse::COMMAND_COMPLETED_AT_TARGET {
        return Ok(());
    }
    // "The number of Data-In (read) PDUs the target has sent for the command" (RFC 7143 §11.4.8). Of a write nothing is asked:
    // targets count its R2Ts, or do not.
    let (expected, got) = (task.data_sn(), pdu.exp_data_sn);
    if got != expected && task.command.data_out.is_none() {
        return Err(Violation::ExpDataSn { expected, got });
    }
    let fault = |fault| Violation::Pdu(pdu.to_raw().rejected(fault));
    let sense = pdu.sense().map_err(fault)?;
    if pdu.status == ScsiStatus::CHECK_CONDITION && sense.is_empty() {
        return Err(Violation::NoSense);
    }
    Ok(())
}
