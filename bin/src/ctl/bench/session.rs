//! One session's data phase: commands out of a template, answers by their header's fixed places (RFC 7143 §11).

use std::net::TcpStream;

use bytes::Bytes;
use iscsi_proto::digest::{Digests, header_digest};
use iscsi_proto::initiator::Parameters;
use iscsi_proto::pdu::{
    AsyncEvent, Bhs, Cdb, DataOut, LogoutReason, LogoutRequest, NopOut, Opcode, Pdu, RejectReason, ScsiCommand,
    ScsiStatus, TaskAttribute,
};
use iscsi_proto::types::{Cid, CmdSn, DataSn, ExpStatSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};
use rustix::net::RecvFlags;

use super::inbox::{Came, Inbox};
use super::load::{Io, Load};
use super::opening::Opened;
use super::outbox::Outbox;
use super::payload::Payload;
use super::sense::in_words;
use super::trouble::{STALL, Trouble};

#[derive(Debug)]
pub struct Session {
    pub stream: TcpStream,
    inbox: Inbox,
    outbox: Outbox,
    payload: Payload,
    digests: Digests,
    tasks: Vec<Task>,
    /// Tasks that may begin.
    free: Vec<u32>,
    cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    exp_stat_sn: ExpStatSn,
    templates: Templates,
    burst: Burst,
    /// The next block of a sequence.
    cursor: u64,
    /// When the target was last heard.
    heard: u64,
    /// The window had no room for a command that was to begin.
    pub was_full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    io: Io,
    since: u64,
    received: u32,
    /// Payloads that wait for the socket.
    unsent: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Running,
    /// A part of what was read is not what was written.
    Differing,
    /// Answered before all of its payload had left, which is still read.
    Leaving,
}

/// What is the same in all of them.
#[derive(Debug)]
struct Templates {
    read: Bhs,
    write: Bhs,
    data_out: Bhs,
    /// Logical blocks of a command.
    logical_blocks: u64,
}

/// How a write's data goes.
#[derive(Clone, Copy, Debug)]
struct Burst {
    immediate: u32,
    /// After the immediate data, without being asked.
    unsolicited: u32,
    /// Of one Data-Out.
    segment: u32,
    max: u32,
}

impl Session {
    pub fn new(opened: Opened, lun: Lun, depth: u32, load: &Load, payload: Payload, cursor: u64) -> Session {
        let Opened { stream, parameters, cmd_sn, max_cmd_sn, exp_stat_sn, capacity, rest } = opened;
        let burst = Burst::new(&parameters, load.block_bytes);
        let idle = Io { block: 0, write: false, generation: 0 };
        let task = Task { io: idle, since: 0, received: 0, unsent: 0, state: State::Free };
        Session {
            inbox: Inbox::new(parameters.digests, parameters.max_recv_data_segment_length, &rest),
            outbox: Outbox::default(),
            payload,
            digests: parameters.digests,
            tasks: vec![task; depth as usize],
            free: (0..depth).rev().collect(),
            cmd_sn,
            max_cmd_sn,
            exp_stat_sn,
            templates: Templates::new(lun, load.block_bytes, capacity.block_bytes, burst.unsolicited == 0),
            burst,
            cursor,
            heard: 0,
            was_full: false,
            stream,
        }
    }

    pub fn outstanding(&self) -> usize {
        self.tasks.len() - self.free.len()
    }

    /// The socket did not take all.
    pub fn is_blocked(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Begins what may begin, and sends it.
    pub fn begin(&mut self, load: &mut Load, now: u64) -> Result<(), Trouble> {
        while let Some(&tag) = self.free.last() {
            if self.max_cmd_sn.precedes(self.cmd_sn) {
                self.was_full = true;
                break;
            }
            let Some(io) = load.next(&mut self.cursor) else { break };
            // The stall is one of this session's own: it owed nothing before.
            if self.outstanding() == 0 {
                self.heard = now;
            }
            self.free.pop();
            self.tasks[tag as usize] = Task { io, since: now, received: 0, unsent: 0, state: State::Running };
            self.send_command(tag, load);
        }
        self.flush()
    }

    /// Takes what is there and handles it; what follows from it is sent by [`Session::begin`].
    pub fn receive(&mut self, load: &mut Load, flags: RecvFlags, now: impl FnOnce() -> u64) -> Result<Came, Trouble> {
        let came = self.inbox.receive(&self.stream, flags)?;
        if came == Came::Nothing {
            return Ok(came);
        }
        let now = now();
        self.heard = now;
        self.handle(load, now)?;
        Ok(came)
    }

    /// A target that owes answers has said something lately.
    pub fn check_stall(&self, now: u64) -> Result<(), Trouble> {
        let outstanding = self.outstanding();
        let silent = now.saturating_sub(self.heard);
        if outstanding > 0 && u128::from(silent) > STALL.as_nanos() {
            Err(Trouble::Stalled { outstanding })
        } else {
            Ok(())
        }
    }

    pub fn flush(&mut self) -> Result<(), Trouble> {
        let (tasks, free) = (&mut self.tasks, &mut self.free);
        self.outbox.flush(&self.stream, &self.payload, |tag| {
            let task = &mut tasks[tag as usize];
            task.unsent -= 1;
            if task.unsent == 0 && task.state == State::Leaving {
                task.state = State::Free;
                free.push(tag);
            }
        })
    }

    /// Whoever measured is done: the target hears of it, and nobody waits for its answer.
    pub fn log_out(mut self) {
        let request = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_THE_SESSION,
            initiator_task_tag: InitiatorTaskTag(self.tasks.len() as u32),
            cid: Cid(0),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.send_header(request.encode_header(0));
        // The connection closes either way.
        let _ = self.flush();
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        while matches!(self.inbox.receive(&self.stream, RecvFlags::empty()), Ok(Came::Bytes)) {
            while let Ok(Some(_)) = self.inbox.next() {}
        }
    }

    fn send_command(&mut self, tag: u32, load: &Load) {
        let io = self.tasks[tag as usize].io;
        let mut bhs = if io.write { self.templates.write } else { self.templates.read };
        put(&mut bhs, TASK_TAG, tag);
        put(&mut bhs, CMD_SN, self.cmd_sn.0);
        put(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        bhs[CDB_LBA..CDB_LBA + 8].copy_from_slice(&(io.block * self.templates.logical_blocks).to_be_bytes());
        self.cmd_sn = self.cmd_sn.next();
        if !io.write {
            return self.send_header(bhs);
        }
        if load.verifies() {
            self.payload.fill(tag, load.content(&io));
        }
        let Burst { immediate, unsolicited, .. } = self.burst;
        self.send_with_data(bhs, tag, 0, immediate);
        self.send_burst(tag, TargetTransferTag::RESERVED.0, immediate, unsolicited);
    }

    /// Data-Out PDUs of one sequence.
    fn send_burst(&mut self, tag: u32, transfer_tag: u32, offset: u32, length: u32) {
        let mut bhs = self.templates.data_out;
        put(&mut bhs, TASK_TAG, tag);
        put(&mut bhs, TRANSFER_TAG, transfer_tag);
        put(&mut bhs, EXP_STAT_SN, self.exp_stat_sn.0);
        let (mut sent, mut number) = (0, DataSn(0));
        while sent < length {
            let part = self.burst.segment.min(length - sent);
            bhs[1] = if sent + part == length { FINAL } else { 0 };
            put(&mut bhs, DATA_SN, number.0);
            put(&mut bhs, BUFFER_OFFSET, offset + sent);
            self.send_with_data(bhs, tag, offset + sent, part);
            (sent, number) = (sent + part, number.next());
        }
    }

    fn send_header(&mut self, bhs: Bhs) {
        self.outbox.push(&bhs);
        if self.digests.header {
            self.outbox.push(&header_digest(&bhs, &[]));
        }
    }

    fn send_with_data(&mut self, mut bhs: Bhs, tag: u32, offset: u32, length: u32) {
        bhs[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        self.send_header(bhs);
        if length == 0 {
            return;
        }
        self.tasks[tag as usize].unsent += 1;
        self.outbox.push_payload(tag, offset as usize, length as usize);
        let trailer = self.digests.after_data([self.payload.part(tag, offset as usize, length as usize)]);
        if !trailer.is_empty() {
            self.outbox.push(&trailer);
        }
    }

    fn handle(&mut self, load: &mut Load, now: u64) -> Result<(), Trouble> {
        while let Some((bhs, data)) = self.inbox.next()? {
            // "If the PDU MaxCmdSN is greater than the local MaxCmdSN …, it updates the local MaxCmdSN" (§4.2.2.1)
            let max_cmd_sn = CmdSn(word(&bhs, MAX_CMD_SN));
            if self.max_cmd_sn.precedes(max_cmd_sn) {
                self.max_cmd_sn = max_cmd_sn;
            }
            match Opcode(bhs[0] & OPCODE) {
                Opcode::DATA_IN => {
                    let tag = self.running(&bhs, false)?;
                    let task = &mut self.tasks[tag as usize];
                    let data = self.inbox.bytes(data);
                    if word(&bhs, BUFFER_OFFSET) != task.received {
                        return Err(Trouble::Broken("Data-In out of order"));
                    }
                    if data.len() > (load.block_bytes - task.received) as usize {
                        return Err(Trouble::Broken("more Data-In than was asked for"));
                    }
                    if !load.check(&task.io, task.received, data) {
                        task.state = State::Differing;
                    }
                    task.received += data.len() as u32;
                    if bhs[1] & DATA_IN_STATUS != 0 {
                        self.count(&bhs)?;
                        let answer = Answer { status: ScsiStatus(bhs[3]), flags: bhs[1], response: 0, sense: &[] };
                        complete(&mut self.tasks[tag as usize], load, now, answer);
                        self.release(tag);
                    }
                }
                Opcode::SCSI_RESPONSE => {
                    self.count(&bhs)?;
                    let tag = word(&bhs, TASK_TAG);
                    let is_write = self.tasks.get(tag as usize).is_some_and(|task| task.io.write);
                    let tag = self.running(&bhs, is_write)?;
                    // Its length comes first (§11.4.7.2).
                    let sense = self.inbox.bytes(data).get(2..).unwrap_or_default();
                    let answer = Answer { status: ScsiStatus(bhs[3]), flags: bhs[1], response: bhs[2], sense };
                    complete(&mut self.tasks[tag as usize], load, now, answer);
                    self.release(tag);
                }
                Opcode::R2T => {
                    let tag = self.running(&bhs, true)?;
                    let (offset, length) = (word(&bhs, BUFFER_OFFSET), word(&bhs, DESIRED_LENGTH));
                    let fits = offset.checked_add(length).is_some_and(|end| end <= load.block_bytes);
                    if !fits || length == 0 || length > self.burst.max {
                        return Err(Trouble::Broken("an R2T for what is not there"));
                    }
                    self.send_burst(tag, word(&bhs, TRANSFER_TAG), offset, length);
                }
                Opcode::NOP_IN => self.answer_nop(&bhs)?,
                Opcode::ASYNC_MESSAGE => {
                    self.count(&bhs)?;
                    let event = AsyncEvent(bhs[36]);
                    if event != AsyncEvent::SCSI_ASYNC_EVENT {
                        return Err(Trouble::Async(event));
                    }
                }
                Opcode::REJECT => return Err(Trouble::Rejected(RejectReason(bhs[2]))),
                other => return Err(Trouble::Unexpected(other)),
            }
        }
        Ok(())
    }

    /// The task that an answer is for.
    fn running(&self, bhs: &Bhs, write: bool) -> Result<u32, Trouble> {
        let tag = word(bhs, TASK_TAG);
        let task = self.tasks.get(tag as usize).filter(|task| task.io.write == write);
        match task.map(|task| task.state) {
            Some(State::Running | State::Differing) => Ok(tag),
            _ => Err(Trouble::Broken("an answer to what was not asked")),
        }
    }

    /// An answer that used up a StatSN: in order, on one connection.
    fn count(&mut self, bhs: &Bhs) -> Result<(), Trouble> {
        let stat_sn = StatSn(word(bhs, STAT_SN));
        if stat_sn != self.exp_stat_sn {
            return Err(Trouble::Broken("a StatSN out of order"));
        }
        self.exp_stat_sn = stat_sn.next();
        Ok(())
    }

    /// It has its answer; its payload may not have left yet.
    fn release(&mut self, tag: u32) {
        let task = &mut self.tasks[tag as usize];
        if task.unsent > 0 {
            task.state = State::Leaving;
            return;
        }
        task.state = State::Free;
        self.free.push(tag);
    }

    /// "The initiator MUST respond with a NOP-Out" (§11.18), if it asks for one. None answers one of ours: none is sent.
    fn answer_nop(&mut self, bhs: &Bhs) -> Result<(), Trouble> {
        let target_transfer_tag = TargetTransferTag(word(bhs, TRANSFER_TAG));
        if target_transfer_tag.is_reserved() {
            return Ok(());
        }
        let mut lun = Lun::ZERO;
        lun.0.copy_from_slice(&bhs[8..16]);
        let answer = NopOut {
            immediate: true,
            lun,
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            data: Bytes::new(),
        };
        self.send_header(answer.encode_header(0));
        Ok(())
    }
}

/// How a command ended, as a Data-In with status or a SCSI Response says it.
struct Answer<'a> {
    status: ScsiStatus,
    /// Byte 1 of either.
    flags: u8,
    response: u8,
    sense: &'a [u8],
}

fn complete(task: &mut Task, load: &mut Load, now: u64, answer: Answer) {
    let io = task.io;
    let is_short = answer.flags & (OVERFLOW | UNDERFLOW) != 0 || (!io.write && task.received < load.block_bytes);
    if answer.response != 0 {
        load.failed(&io, || format!("the target failed, response {:02X}h", answer.response));
    } else if answer.status != ScsiStatus::GOOD {
        load.failed(&io, || in_words(answer.status, answer.sense));
    } else if is_short {
        load.failed(&io, || "it is told to be done, but not all of it".to_owned());
    } else if task.state == State::Differing {
        load.mismatched(&io);
    } else {
        load.done(&io, now.saturating_sub(task.since));
    }
}

impl Templates {
    fn new(lun: Lun, block_bytes: u32, logical_block_bytes: u32, write_is_final: bool) -> Templates {
        let blocks = block_bytes / logical_block_bytes;
        let command = |write: bool| {
            // READ (16) and WRITE (16): the LBA at 2, TRANSFER LENGTH at 10 (SBC-4 §5.15, §5.43).
            let mut cdb = [0; 16];
            cdb[0] = if write { 0x8a } else { 0x88 };
            cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
            let command = ScsiCommand {
                immediate: false,
                final_: !write || write_is_final,
                read: !write,
                write,
                attribute: TaskAttribute::SIMPLE,
                priority: 0,
                lun,
                initiator_task_tag: InitiatorTaskTag(0),
                expected_data_transfer_length: block_bytes,
                cmd_sn: CmdSn(0),
                exp_stat_sn: StatSn(0),
                cdb: Cdb::new(&cdb).expect("16 bytes are no more than 260"),
                bidirectional_read_expected_data_transfer_length: None,
                data: Bytes::new(),
            };
            command.encode_header(0)
        };
        let data_out = DataOut {
            final_: true,
            lun,
            initiator_task_tag: InitiatorTaskTag(0),
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_stat_sn: StatSn(0),
            data_sn: DataSn(0),
            buffer_offset: 0,
            data: Bytes::new(),
        };
        let logical_blocks = u64::from(blocks);
        Templates { read: command(false), write: command(true), data_out: data_out.encode_header(0), logical_blocks }
    }
}

impl Burst {
    /// "the initiator MUST send the maximum amount of unsolicited data OR ONLY the immediate data, if any" (§11.3.4)
    fn new(parameters: &Parameters, block_bytes: u32) -> Burst {
        let segment = parameters.target_max_recv_data_segment_length;
        let first = block_bytes.min(parameters.first_burst_length);
        let immediate = if parameters.immediate_data { first.min(segment) } else { 0 };
        let unsolicited = if parameters.initial_r2t { 0 } else { first - immediate };
        Burst { immediate, unsolicited, segment, max: parameters.max_burst_length }
    }
}

fn word(bhs: &Bhs, offset: usize) -> u32 {
    u32::from_be_bytes([bhs[offset], bhs[offset + 1], bhs[offset + 2], bhs[offset + 3]])
}

fn put(bhs: &mut Bhs, offset: usize, value: u32) {
    bhs[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
}

// Places of fields, the same in all PDUs that have them (§11.3 to §11.8).
const TASK_TAG: usize = 16;
const TRANSFER_TAG: usize = 20;
const CMD_SN: usize = 24;
const STAT_SN: usize = 24;
const EXP_STAT_SN: usize = 28;
const MAX_CMD_SN: usize = 32;
const CDB_LBA: usize = 34;
const DATA_SN: usize = 36;
const BUFFER_OFFSET: usize = 40;
const DESIRED_LENGTH: usize = 44;

const OPCODE: u8 = 0x3f;
const FINAL: u8 = 0x80;
const OVERFLOW: u8 = 0x04;
const UNDERFLOW: u8 = 0x02;
const DATA_IN_STATUS: u8 = 0x01;
