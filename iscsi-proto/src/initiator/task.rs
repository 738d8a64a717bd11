//! A command the initiator has sent: its data both ways, and what the target may do with it.

use bytes::{Bytes, BytesMut};

use super::Violation;
use super::options::Parameters;
use crate::pdu::{Cdb, DataIn, DataOut, R2t, Residual, ScsiCommand, ScsiStatus, ServiceResponse, TaskAttribute};
use crate::types::{CmdSn, DataSn, ExpStatSn, InitiatorTaskTag, Lun, R2tSn, TargetTransferTag};

/// A command to send.
#[derive(Clone, Debug)]
pub struct Command {
    pub lun: Lun,
    pub cdb: Cdb,
    pub attribute: TaskAttribute,
    pub immediate: bool,
    /// W, and this data; shorter than what the target may ask for, it is filled up with zeroes.
    pub data_out: Option<Bytes>,
    /// R, and so many bytes at most.
    pub data_in_length: Option<u32>,
    /// Instead of the length of the data: to make residuals on purpose.
    pub expected_data_transfer_length: Option<u32>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub response: ServiceResponse,
    pub status: ScsiStatus,
    pub sense: Bytes,
    pub data: Bytes,
    pub residual: Residual,
}

#[derive(Debug)]
pub(super) struct Task {
    pub command: Command,
    pub tag: InitiatorTaskTag,
    pub cmd_sn: CmdSn,
    received: Vec<Bytes>,
    received_length: u32,
    data_sn: DataSn,
    r2t_sn: R2tSn,
}

impl Command {
    /// Neither data out nor in, SIMPLE.
    pub fn new(lun: Lun, cdb: Cdb) -> Command {
        Command {
            lun,
            cdb,
            attribute: TaskAttribute::SIMPLE,
            immediate: false,
            data_out: None,
            data_in_length: None,
            expected_data_transfer_length: None,
        }
    }

    /// With W and R as the data says: none of a kind, no flag.
    pub fn with_data(lun: Lun, cdb: Cdb, data_out: Bytes, data_in_length: u32) -> Command {
        Command {
            data_out: (!data_out.is_empty()).then_some(data_out),
            data_in_length: (data_in_length > 0).then_some(data_in_length),
            ..Command::new(lun, cdb)
        }
    }

    fn expected_data_transfer_length(&self) -> u32 {
        let data_out = self.data_out.as_ref().map(|data| u32::try_from(data.len()).unwrap_or(u32::MAX));
        self.expected_data_transfer_length.or(data_out).or(self.data_in_length).unwrap_or(0)
    }

    fn read_capacity(&self) -> u32 {
        match (&self.data_out, self.data_in_length) {
            (_, None) => 0,
            (Some(_), Some(length)) => length,
            (None, Some(length)) => self.expected_data_transfer_length.unwrap_or(length),
        }
    }

    fn bytes_out(&self, offset: u32, length: u32) -> Bytes {
        let data = self.data_out.clone().unwrap_or_default();
        let (start, length) = ((offset as usize).min(data.len()), length as usize);
        let part = data.slice(start..data.len().min(start + length));
        if part.len() == length {
            return part;
        }
        let mut filled = BytesMut::from(&part[..]);
        filled.resize(length, 0);
        filled.freeze()
    }
}

impl Task {
    pub fn new(command: Command, tag: InitiatorTaskTag, cmd_sn: CmdSn) -> Task {
        let (data_sn, r2t_sn) = (DataSn(0), R2tSn(0));
        Task { command, tag, cmd_sn, received: Vec::new(), received_length: 0, data_sn, r2t_sn }
    }

    /// The command with its immediate data, and the unsolicited Data-Out that follows it.
    ///
    /// "If the Expected Data Transfer Length is higher than the FirstBurstLength … the initiator MUST send the maximum
    /// amount of unsolicited data OR ONLY the immediate data, if any." (RFC 7143 §11.3.4)
    pub fn start(&self, parameters: &Parameters, exp_stat_sn: ExpStatSn) -> (ScsiCommand, Vec<DataOut>) {
        let command = &self.command;
        let expected = command.expected_data_transfer_length();
        let write = command.data_out.is_some();
        let first_burst = if write { expected.min(parameters.first_burst_length) } else { 0 };
        let segment = parameters.target_max_recv_data_segment_length;
        let immediate = if parameters.immediate_data { first_burst.min(segment) } else { 0 };
        let unsolicited = if parameters.initial_r2t { 0 } else { first_burst - immediate };
        let scsi_command = ScsiCommand {
            immediate: command.immediate,
            final_: unsolicited == 0,
            read: command.data_in_length.is_some(),
            write,
            attribute: command.attribute,
            priority: 0,
            lun: command.lun,
            initiator_task_tag: self.tag,
            expected_data_transfer_length: expected,
            cmd_sn: self.cmd_sn,
            exp_stat_sn,
            cdb: command.cdb.clone(),
            bidirectional_read_expected_data_transfer_length: command.data_in_length.filter(|_| write),
            data: command.bytes_out(0, immediate),
        };
        let burst = self.burst(TargetTransferTag::RESERVED, Lun::ZERO, immediate, unsolicited, segment, exp_stat_sn);
        (scsi_command, burst)
    }

    /// The Data-Out PDUs an R2T asks for.
    pub fn answer(
        &mut self,
        r2t: &R2t,
        parameters: &Parameters,
        exp_stat_sn: ExpStatSn,
    ) -> Result<Vec<DataOut>, Violation> {
        if r2t.r2t_sn != self.r2t_sn {
            return Err(Violation::R2tSn { expected: self.r2t_sn, got: r2t.r2t_sn });
        }
        self.r2t_sn = self.r2t_sn.next();
        let (offset, length) = (r2t.buffer_offset, r2t.desired_data_transfer_length);
        let end = offset.checked_add(length);
        let fits = end.is_some_and(|end| end <= self.command.expected_data_transfer_length());
        // "The Desired Data Transfer Length MUST NOT be 0 and MUST NOT exceed MaxBurstLength." (§11.8.4)
        if !fits || length == 0 || length > parameters.max_burst_length || self.command.data_out.is_none() {
            return Err(Violation::R2tRange { offset, length });
        }
        let segment = parameters.target_max_recv_data_segment_length;
        Ok(self.burst(r2t.target_transfer_tag, r2t.lun, offset, length, segment, exp_stat_sn))
    }

    fn burst(
        &self,
        target_transfer_tag: TargetTransferTag,
        lun: Lun,
        offset: u32,
        length: u32,
        segment: u32,
        exp_stat_sn: ExpStatSn,
    ) -> Vec<DataOut> {
        let starts = (0..length).step_by(segment.max(1) as usize);
        starts
            .zip(0..)
            .map(|(start, number)| {
                let part = segment.min(length - start);
                DataOut {
                    final_: start + part == length,
                    lun,
                    initiator_task_tag: self.tag,
                    target_transfer_tag,
                    exp_stat_sn,
                    data_sn: DataSn(number),
                    buffer_offset: offset + start,
                    data: self.command.bytes_out(offset + start, part),
                }
            })
            .collect()
    }

    /// Takes data in order: DataPDUInOrder and DataSequenceInOrder are both offered as Yes.
    pub fn receive(&mut self, pdu: &DataIn) -> Result<(), Violation> {
        if pdu.data_sn != self.data_sn {
            return Err(Violation::DataSn { expected: self.data_sn, got: pdu.data_sn });
        }
        self.data_sn = self.data_sn.next();
        let length = u32::try_from(pdu.data.len()).unwrap_or(u32::MAX);
        let end = self.received_length.checked_add(length);
        let fits = end.is_some_and(|end| end <= self.command.read_capacity());
        if pdu.buffer_offset != self.received_length || !fits {
            return Err(Violation::DataInRange { offset: pdu.buffer_offset, length });
        }
        self.received_length += length;
        self.received.push(pdu.data.clone());
        Ok(())
    }

    /// How many Data-In PDUs came: what ExpDataSN must say of a read.
    pub fn data_sn(&self) -> DataSn {
        self.data_sn
    }

    pub fn into_data(mut self) -> Bytes {
        if self.received.len() == 1 {
            return self.received.remove(0);
        }
        self.received.concat().into()
    }
}
