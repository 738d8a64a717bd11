//! Data-Out as the connection sees it: which command it belongs to, what R2Ts go out, and what becomes of lost payload.

use super::connection::Connection;
use super::task::{Event, Phase};
use super::transfer::{DataOutFields, Step, TransferFault};
use crate::pdu::{self, RawPdu, RejectReason, Request};
use crate::types::{InitiatorTaskTag, TargetTransferTag};

impl Connection {
    pub(super) fn receive_data_out(&mut self, data_out: pdu::DataOut, bhs: &pdu::Bhs) {
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
    pub(super) fn recover_from_lost_payload(&mut self, raw: RawPdu) {
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

    pub(super) fn fail_transfer(&mut self, task: InitiatorTaskTag, fault: TransferFault) {
        match self.tasks.get(&task).map(|entry| &entry.phase) {
            // Already answered: its response waited for this F bit, perhaps.
            Some(Phase::Ending(..)) => self.collect(task),
            Some(_) => self.events.push_back(Event::DataFault { task, fault }),
            None => {}
        }
    }

    /// Send what R2Ts may go out, or pass the data on, or send the answer that waited.
    pub(super) fn collect(&mut self, task: InitiatorTaskTag) {
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
    pub(super) fn reserve(&mut self, task: InitiatorTaskTag, bytes: u64) -> bool {
        let fits = self.budget.take(bytes);
        if let (true, Some(entry)) = (fits, self.tasks.get_mut(&task)) {
            entry.solicited_bytes = bytes;
        }
        fits
    }

    pub(super) fn feed_the_starved(&mut self) {
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
}
