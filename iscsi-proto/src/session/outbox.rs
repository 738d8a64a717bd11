//! PDUs on their way out, and the StatSN that those with a status carry.

use std::collections::VecDeque;

use crate::pdu::{BHS_LENGTH, Pdu, RawPdu};
use crate::types::StatSn;

/// Bounded by its owner's shell, which takes up no more events while `backlog_bytes` is high.
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<RawPdu>,
    backlog_bytes: usize,
    stat_sn: StatSn,
}

impl Outbox {
    pub fn new(stat_sn: StatSn) -> Outbox {
        Outbox { queue: VecDeque::new(), backlog_bytes: 0, stat_sn }
    }

    pub fn send(&mut self, pdu: &impl Pdu) {
        let pdu = pdu.to_raw();
        self.backlog_bytes += wire_length(&pdu);
        self.queue.push_back(pdu);
    }

    pub fn take(&mut self) -> Option<RawPdu> {
        let pdu = self.queue.pop_front()?;
        self.backlog_bytes -= wire_length(&pdu);
        Some(pdu)
    }

    pub fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    /// For a PDU that carries a status: "incremented by one for every response/status sent" (RFC 7143 §4.2.2.2).
    pub fn use_stat_sn(&mut self) -> StatSn {
        let stat_sn = self.stat_sn;
        self.stat_sn = stat_sn.next();
        stat_sn
    }

    /// For a PDU that tells the number and does not use it up: R2T, and NOP-In that asks.
    pub fn next_stat_sn(&self) -> StatSn {
        self.stat_sn
    }
}

/// Header and data; digests and padding are noise.
fn wire_length(pdu: &RawPdu) -> usize {
    BHS_LENGTH + pdu.data.len()
}
