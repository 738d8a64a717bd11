//! How a command or a PDU ends: Data-In, status, residual, Reject.

use bytes::Bytes;

use super::connection::Connection;
use super::data_in::Segments;
use super::task::{Answer, Task};
use crate::pdu::{self, DataInStatus, PduError, RejectReason, Residual, ScsiStatus, ServiceResponse};
use crate::types::{DataSn, InitiatorTaskTag, Lun, TargetTransferTag};

impl Connection {
    pub(super) fn remove(&mut self, task: InitiatorTaskTag) -> Option<Task> {
        let entry = self.tasks.remove(&task)?;
        self.immediate_outstanding -= usize::from(entry.immediate);
        self.open_window();
        self.budget.leave(task, entry.solicited_bytes);
        self.feed_the_starved();
        Some(entry)
    }

    pub(super) fn finish(&mut self, task: InitiatorTaskTag, answer: Answer) {
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

    pub(super) fn reject(&mut self, bhs: &pdu::Bhs, reason: RejectReason) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        let data = Bytes::copy_from_slice(bhs);
        self.send(pdu::Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn: DataSn(0), data });
    }

    pub(super) fn reject_pdu(&mut self, error: &PduError) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.next_status();
        self.send(error.reject(stat_sn, exp_cmd_sn, max_cmd_sn));
    }
}
