//! What a target may never do in a session, whatever it was sent: judged from its own PDUs alone.

use iscsi_proto::pdu::{RawPdu, Response};
use iscsi_proto::types::{CmdSn, InitiatorTaskTag, StatSn};

/// Watches the PDUs of one connection in full feature phase.
#[derive(Debug)]
pub struct Judge {
    stat_sn: StatSn,
    exp_cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    queue_depth: u32,
    data_segment_max: u32,
    burst_max: u32,
    /// The command whose Data-In is under way: the next DataSN and offset.
    data_in: Option<(InitiatorTaskTag, u32, u32)>,
}

impl Judge {
    pub fn new(stat_sn: StatSn, exp_cmd_sn: CmdSn, queue_depth: u32, data_segment_max: u32, burst_max: u32) -> Judge {
        let max_cmd_sn = exp_cmd_sn.previous();
        Judge { stat_sn, exp_cmd_sn, max_cmd_sn, queue_depth, data_segment_max, burst_max, data_in: None }
    }

    /// The response, or what is wrong with it.
    pub fn observe(&mut self, pdu: RawPdu) -> Result<Response, String> {
        if pdu.data.len() > self.data_segment_max as usize {
            return Err(format!("{} bytes of data, of {}", pdu.data.len(), self.data_segment_max));
        }
        let response = Response::decode(pdu).map_err(|error| format!("it cannot be read: {error}"))?;
        let verdict = self.judge(&response);
        verdict.map_err(|what| format!("{what}: {response:?}")).map(|()| response)
    }

    fn judge(&mut self, response: &Response) -> Result<(), String> {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = match response {
            Response::NopIn(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::ScsiResponse(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::TaskManagementResponse(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::TextResponse(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::LogoutResponse(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::Reject(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::AsyncMessage(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::R2t(pdu) => (Some(pdu.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::DataIn(pdu) => (pdu.status.as_ref().map(|status| status.stat_sn), pdu.exp_cmd_sn, pdu.max_cmd_sn),
            Response::LoginResponse(_) => return Err("a login is over".into()),
        };
        // "StatSN … is not advanced" by an R2T (RFC 7143 §11.8.3) and a NOP-In that asks (§11.19.3).
        let uses_stat_sn = match response {
            Response::R2t(_) => false,
            Response::NopIn(nop) => !nop.initiator_task_tag.is_reserved(),
            _ => true,
        };
        if let Some(stat_sn) = stat_sn {
            if stat_sn != self.stat_sn {
                return Err(format!("StatSN {stat_sn} where {} is next", self.stat_sn));
            }
            self.stat_sn = if uses_stat_sn { stat_sn.next() } else { stat_sn };
        }
        self.judge_window(exp_cmd_sn, max_cmd_sn)?;
        match response {
            Response::DataIn(data_in) => {
                let (tag, length) = (data_in.initiator_task_tag, data_in.data.len() as u32);
                let (data_sn, offset) = match self.data_in {
                    Some((current, data_sn, offset)) if current == tag => (data_sn, offset),
                    Some((current, ..)) => return Err(format!("Data-In amid that of {current}")),
                    None => (0, 0),
                };
                if (data_in.data_sn.0, data_in.buffer_offset) != (data_sn, offset) {
                    return Err(format!("DataSN {data_sn} at {offset} is next"));
                }
                self.data_in = data_in.status.is_none().then_some((tag, data_sn + 1, offset + length));
            }
            Response::ScsiResponse(end) => match self.data_in.take() {
                Some((current, ..)) if current != end.initiator_task_tag => {
                    return Err(format!("a response amid the Data-In of {current}"));
                }
                _ => {}
            },
            _ => {}
        }
        match response {
            Response::R2t(r2t) if !(1..=self.burst_max).contains(&r2t.desired_data_transfer_length) => {
                Err(format!("an R2T of other than 1 to {} bytes", self.burst_max))
            }
            _ => Ok(()),
        }
    }

    fn judge_window(&mut self, exp_cmd_sn: CmdSn, max_cmd_sn: CmdSn) -> Result<(), String> {
        if exp_cmd_sn.precedes(self.exp_cmd_sn) {
            return Err(format!("ExpCmdSN goes back from {}", self.exp_cmd_sn));
        }
        if max_cmd_sn.precedes(self.max_cmd_sn) {
            return Err(format!("MaxCmdSN goes back from {}", self.max_cmd_sn));
        }
        // "MaxCmdSN … less than ExpCmdSN-1 … MUST both be ignored" (RFC 7143 §4.2.2.1).
        if max_cmd_sn.next().distance_from(exp_cmd_sn) > self.queue_depth {
            return Err(format!("a window that is not 0 to {} wide", self.queue_depth));
        }
        (self.exp_cmd_sn, self.max_cmd_sn) = (exp_cmd_sn, max_cmd_sn);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use iscsi_proto::pdu::{DataIn, DataInStatus, NopIn, Pdu, R2t, Residual, ScsiStatus};
    use iscsi_proto::types::{DataSn, Lun, R2tSn, TargetTransferTag};

    use super::*;

    fn judge() -> Judge {
        Judge::new(StatSn(5), CmdSn(10), 4, 512, 1024)
    }

    fn nop(stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32) -> RawPdu {
        NopIn {
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(1),
            target_transfer_tag: TargetTransferTag::RESERVED,
            stat_sn: StatSn(stat_sn),
            exp_cmd_sn: CmdSn(exp_cmd_sn),
            max_cmd_sn: CmdSn(max_cmd_sn),
            data: Bytes::new(),
        }
        .to_raw()
    }

    fn data_in(tag: u32, data_sn: u32, offset: u32, stat_sn: Option<u32>) -> RawPdu {
        DataIn {
            final_: stat_sn.is_some(),
            acknowledge: false,
            status: stat_sn.map(|stat_sn| DataInStatus {
                status: ScsiStatus::GOOD,
                residual: Residual::None,
                stat_sn: StatSn(stat_sn),
            }),
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(tag),
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_cmd_sn: CmdSn(10),
            max_cmd_sn: CmdSn(13),
            data_sn: DataSn(data_sn),
            buffer_offset: offset,
            data: Bytes::from_static(&[0; 100]),
        }
        .to_raw()
    }

    fn r2t(stat_sn: u32, length: u32) -> RawPdu {
        R2t {
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(1),
            target_transfer_tag: TargetTransferTag(1),
            stat_sn: StatSn(stat_sn),
            exp_cmd_sn: CmdSn(10),
            max_cmd_sn: CmdSn(13),
            r2t_sn: R2tSn(0),
            buffer_offset: 0,
            desired_data_transfer_length: length,
        }
        .to_raw()
    }

    #[test]
    fn what_is_right_is_let_pass() {
        let mut judge = judge();
        for pdu in [
            nop(5, 10, 13),
            r2t(6, 1024),
            data_in(1, 0, 0, None),
            data_in(1, 1, 100, Some(6)),
            nop(7, 12, 14),
            nop(8, 15, 14),
        ] {
            judge.observe(pdu).expect("right");
        }
    }

    #[test]
    fn each_wrong_is_found() {
        let wrongs: [(&[RawPdu], &str); 9] = [
            (&[nop(6, 10, 13)], "StatSN"),
            (&[nop(5, 10, 13), nop(5, 10, 13)], "StatSN"),
            (&[r2t(5, 1), nop(6, 10, 13)], "StatSN"),
            (&[nop(5, 10, 13), nop(6, 9, 13)], "ExpCmdSN goes back"),
            (&[nop(5, 10, 13), nop(6, 10, 12)], "MaxCmdSN goes back"),
            (&[nop(5, 10, 14)], "window"),
            (&[r2t(5, 1025)], "R2T"),
            (&[data_in(1, 0, 0, None), data_in(1, 1, 99, None)], "DataSN"),
            (&[data_in(1, 0, 0, None), data_in(2, 0, 0, None)], "amid"),
        ];
        for (pdus, what) in wrongs {
            let mut judge = judge();
            let (last, before) = pdus.split_last().expect("some");
            before.iter().for_each(|pdu| drop(judge.observe(pdu.clone()).expect("right so far")));
            let found = judge.observe(last.clone()).expect_err(what);
            assert!(found.contains(what), "{found}");
        }
        let long = RawPdu { data: vec![0; 513].into(), ..nop(5, 10, 13) };
        assert!(judge().observe(long).is_err());
        assert!(judge().observe(RawPdu { bhs: [0x3E; 48], ..nop(5, 10, 13) }).is_err());
    }
}
