//! Collecting one command's Data-Out: immediate data, the unsolicited burst, and the bursts that R2Ts asked for
//! (RFC 7143 §4.2.5.2, §11.7, §11.8).
//!
//! ```text
//!  0 ─ immediate ─ unsolicited ─┬─ R2T 0 ─┬─ R2T 1 ─┬─ … ─ wanted ─ ExpectedDataTransferLength
//!                               └ each at most MaxBurstLength; MaxOutstandingR2T of them open at once
//! ```
//! DataPDUInOrder and DataSequenceInOrder are always negotiated to Yes here, so data comes strictly from front to back.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::types::{DataSn, R2tSn, TargetTransferTag};

/// Data of one command, in order, as it came off the socket.
pub type Pieces = SmallVec<[Bytes; 2]>;

/// Why a command's data cannot be had. RFC 7143 §11.4.7.2 names the sense each becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferFault {
    /// Data-Out that nobody asked for and InitialR2T or F=1 forbade.
    UnexpectedUnsolicited,
    /// More or fewer bytes than the sequence was to bring, or at another offset.
    IncorrectAmount,
    /// A digest error, or a DataSN gap, which implies one (RFC 7143 §7.9).
    Lost,
}

/// What a Data-Out PDU did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Continue,
    /// A sequence ended: more R2Ts may go out, or all is here.
    SequenceEnded,
}

/// An R2T to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct R2tPlan {
    pub r2t_sn: R2tSn,
    pub buffer_offset: u32,
    pub desired_data_transfer_length: u32,
}

/// A Data-Out PDU's fields that matter here.
#[derive(Clone, Copy, Debug)]
pub struct DataOutFields {
    pub target_transfer_tag: TargetTransferTag,
    pub data_sn: DataSn,
    pub buffer_offset: u32,
    pub final_: bool,
}

/// A sequence of Data-Out PDUs that is still to come to its F bit.
#[derive(Debug)]
struct Sequence {
    /// Reserved for the unsolicited one.
    tag: TargetTransferTag,
    next_data_sn: DataSn,
    next_offset: u32,
    end: u32,
}

/// Data-Out of fewer bytes is copied rather than kept in the buffer it came in. No initiator cuts data so small but at the
/// end of a burst, or to make the target hold a header's worth of memory for every byte.
const SMALL_BYTES: usize = 1024;

/// The state of one command's Data-Out.
#[derive(Debug)]
pub struct Inbound {
    pieces: Pieces,
    /// The last of the data, where it came in small pieces.
    gathered: BytesMut,
    received: u32,
    /// Open sequences in the order they were opened. Bounded by MaxOutstandingR2T, or one unsolicited.
    open: SmallVec<[Sequence; 1]>,
    /// Bytes the device wants, once it has said so.
    wanted: Option<u32>,
    next_r2t_sn: R2tSn,
    next_offset: u32,
    /// Nobody wants the data any more; only F bits are awaited.
    discarding: bool,
}

impl Inbound {
    /// `immediate` came with the command. `unsolicited_end`: where the unsolicited burst may reach at most, if the command
    /// said (F=0) that one follows.
    pub fn new(immediate: Bytes, unsolicited_end: Option<u32>) -> Inbound {
        let received = immediate.len() as u32;
        let mut inbound = Inbound {
            pieces: Pieces::new(),
            gathered: BytesMut::new(),
            received,
            open: SmallVec::new(),
            wanted: None,
            next_r2t_sn: R2tSn(0),
            next_offset: received,
            discarding: false,
        };
        if !immediate.is_empty() {
            inbound.pieces.push(immediate);
        }
        if let Some(end) = unsolicited_end {
            let tag = TargetTransferTag::RESERVED;
            inbound.open.push(Sequence { tag, next_data_sn: DataSn(0), next_offset: received, end });
        }
        inbound
    }

    /// The device wants the first `bytes`.
    pub fn want(&mut self, bytes: u32) {
        self.wanted = Some(bytes);
    }

    /// The data is not wanted after all. What is held is let go.
    pub fn discard(&mut self) {
        self.discarding = true;
        self.pieces.clear();
        self.gathered = BytesMut::new();
    }

    /// "the target MUST wait until it receives the last expected Data-Out PDUs with the F bit set to 1 before sending the
    /// Response PDU" (RFC 7143 §11.17.1): no sequence is open.
    pub fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }

    /// All that the device wanted is here.
    pub fn is_complete(&self) -> bool {
        !self.discarding && self.is_quiet() && self.wanted.is_some_and(|wanted| self.received >= wanted)
    }

    /// Bytes still to be asked for.
    pub fn missing(&self) -> u32 {
        self.wanted.map_or(0, |wanted| wanted.saturating_sub(self.next_offset))
    }

    /// The data, cut to what the device wanted.
    pub fn take(&mut self) -> Pieces {
        self.settle_gathered();
        let mut left = self.wanted.unwrap_or(0) as usize;
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.retain_mut(|piece| {
            piece.truncate(left);
            left -= piece.len();
            !piece.is_empty()
        });
        pieces
    }

    /// The next R2T, while one may go out. It stays open until its F bit.
    pub fn next_r2t(&mut self, tag: TargetTransferTag, max_burst: u32, max_outstanding: usize) -> Option<R2tPlan> {
        let unsolicited_is_open = self.open.first().is_some_and(|sequence| sequence.tag.is_reserved());
        if self.discarding || unsolicited_is_open || self.open.len() >= max_outstanding || self.missing() == 0 {
            return None;
        }
        let length = self.missing().min(max_burst);
        let plan =
            R2tPlan { r2t_sn: self.next_r2t_sn, buffer_offset: self.next_offset, desired_data_transfer_length: length };
        self.open.push(Sequence {
            tag,
            next_data_sn: DataSn(0),
            next_offset: self.next_offset,
            end: self.next_offset + length,
        });
        self.next_offset += length;
        self.next_r2t_sn = self.next_r2t_sn.next();
        Some(plan)
    }

    /// Whether `tag` names an open sequence; a Data-Out PDU with another is answered with a Reject.
    pub fn knows(&self, tag: TargetTransferTag) -> bool {
        self.open.iter().any(|sequence| sequence.tag == tag)
    }

    /// One Data-Out PDU. After a fault the rest is discarded up to the F bits.
    pub fn receive(&mut self, fields: DataOutFields, data: Bytes) -> Result<Step, TransferFault> {
        let Some(at) = self.open.iter().position(|sequence| sequence.tag == fields.target_transfer_tag) else {
            self.discard();
            return Err(TransferFault::UnexpectedUnsolicited);
        };
        let taken = match self.discarding {
            true => Ok(()),
            false => self.open[at].accept(fields, data.len() as u32, at == 0),
        };
        let step = match fields.final_ {
            true => {
                let ended = self.open.remove(at);
                if ended.tag.is_reserved() {
                    self.next_offset = ended.next_offset;
                }
                Step::SequenceEnded
            }
            false => Step::Continue,
        };
        if let Err(fault) = taken {
            self.discard();
            return Err(fault);
        }
        if !self.discarding && !data.is_empty() {
            self.received += data.len() as u32;
            self.keep(data);
        }
        Ok(step)
    }

    /// A piece holds on to the whole buffer it was received in; so small ones are copied together.
    fn keep(&mut self, data: Bytes) {
        if data.len() < SMALL_BYTES {
            self.gathered.extend_from_slice(&data);
            return;
        }
        self.settle_gathered();
        self.pieces.push(data);
    }

    fn settle_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push(std::mem::take(&mut self.gathered).freeze());
        }
    }

    /// A Data-Out PDU whose payload failed its digest: its data is lost, its F bit counts.
    pub fn lose(&mut self, tag: TargetTransferTag, final_: bool) {
        self.discard();
        if final_ {
            self.open.retain(|sequence| sequence.tag != tag);
        }
    }
}

impl Sequence {
    fn accept(&mut self, fields: DataOutFields, length: u32, is_oldest: bool) -> Result<(), TransferFault> {
        if fields.data_sn != self.next_data_sn {
            return Err(TransferFault::Lost);
        }
        let end = fields.buffer_offset.checked_add(length);
        // DataSequenceInOrder=Yes: "the sequences MUST be transferred … using continuously non-decreasing offsets".
        if !is_oldest || fields.buffer_offset != self.next_offset || end.is_none_or(|end| end > self.end) {
            return Err(TransferFault::IncorrectAmount);
        }
        self.next_data_sn = self.next_data_sn.next();
        self.next_offset += length;
        // The F bit of a solicited sequence ends it at exactly what the R2T desired (RFC 7143 §11.8.4).
        match fields.final_ && !self.tag.is_reserved() && self.next_offset != self.end {
            true => Err(TransferFault::IncorrectAmount),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: TargetTransferTag = TargetTransferTag(7);

    fn data_out(tag: TargetTransferTag, data_sn: u32, offset: u32, final_: bool) -> DataOutFields {
        DataOutFields { target_transfer_tag: tag, data_sn: DataSn(data_sn), buffer_offset: offset, final_ }
    }

    fn bytes(n: usize) -> Bytes {
        vec![1; n].into()
    }

    #[test]
    fn immediate_unsolicited_and_two_r2ts_make_one_write() {
        let mut inbound = Inbound::new(bytes(100), Some(300));
        inbound.want(1000);
        assert_eq!(inbound.next_r2t(TAG, 400, 2), None, "not before the unsolicited burst has ended");
        assert_eq!(
            inbound.receive(data_out(TargetTransferTag::RESERVED, 0, 100, false), bytes(100)),
            Ok(Step::Continue)
        );
        assert_eq!(
            inbound.receive(data_out(TargetTransferTag::RESERVED, 1, 200, true), bytes(50)),
            Ok(Step::SequenceEnded)
        );
        let first = inbound.next_r2t(TAG, 400, 2).expect("750 bytes are missing");
        assert_eq!((first.buffer_offset, first.desired_data_transfer_length, first.r2t_sn), (250, 400, R2tSn(0)));
        let second = inbound.next_r2t(TargetTransferTag(8), 400, 2).expect("350 bytes are missing");
        assert_eq!((second.buffer_offset, second.desired_data_transfer_length), (650, 350));
        assert_eq!(inbound.next_r2t(TargetTransferTag(9), 400, 2), None);
        assert_eq!(inbound.receive(data_out(TAG, 0, 250, true), bytes(400)), Ok(Step::SequenceEnded));
        assert!(!inbound.is_complete());
        assert_eq!(inbound.receive(data_out(TargetTransferTag(8), 0, 650, true), bytes(350)), Ok(Step::SequenceEnded));
        assert!(inbound.is_complete());
        assert_eq!(inbound.take().iter().map(Bytes::len).sum::<usize>(), 1000);
    }

    #[test]
    fn each_fault_is_told_apart() {
        let faults = |fields: DataOutFields, length| {
            let mut inbound = Inbound::new(Bytes::new(), None);
            inbound.want(1000);
            inbound.next_r2t(TAG, 500, 1).expect("one R2T");
            inbound.receive(fields, bytes(length))
        };
        assert_eq!(faults(data_out(TAG, 0, 0, true), 500), Ok(Step::SequenceEnded));
        assert_eq!(faults(data_out(TAG, 1, 0, true), 500), Err(TransferFault::Lost), "DataSN gap");
        assert_eq!(faults(data_out(TAG, 0, 4, false), 10), Err(TransferFault::IncorrectAmount), "offset");
        assert_eq!(faults(data_out(TAG, 0, 0, false), 501), Err(TransferFault::IncorrectAmount), "beyond the burst");
        assert_eq!(faults(data_out(TAG, 0, 0, true), 499), Err(TransferFault::IncorrectAmount), "short of the burst");
        assert_eq!(
            faults(data_out(TargetTransferTag::RESERVED, 0, 0, true), 10),
            Err(TransferFault::UnexpectedUnsolicited)
        );
    }

    #[test]
    fn a_discarded_transfer_waits_for_its_f_bits() {
        let mut inbound = Inbound::new(bytes(10), Some(100));
        inbound.discard();
        assert!(!inbound.is_quiet());
        assert_eq!(inbound.receive(data_out(TargetTransferTag::RESERVED, 9, 77, false), bytes(9)), Ok(Step::Continue));
        assert_eq!(
            inbound.receive(data_out(TargetTransferTag::RESERVED, 0, 0, true), bytes(9)),
            Ok(Step::SequenceEnded)
        );
        assert!(inbound.is_quiet() && !inbound.is_complete());
        assert_eq!(inbound.take().len(), 0);
    }

    #[test]
    fn small_pieces_are_put_together_in_their_order() {
        let mut inbound = Inbound::new(Bytes::from_static(b"a"), None);
        inbound.want(3005);
        inbound.next_r2t(TAG, 4096, 1).expect("one R2T");
        let pieces = [vec![1; 1], vec![2; 1], vec![3; 3000], vec![4; 1], vec![5; 1]];
        let mut offset = 1;
        for (at, piece) in pieces.iter().enumerate() {
            let fields = data_out(TAG, at as u32, offset, at == 4);
            inbound.receive(fields, piece.clone().into()).expect("in order");
            offset += piece.len() as u32;
        }
        let taken = inbound.take();
        assert_eq!(taken.iter().map(Bytes::len).collect::<Vec<_>>(), [1, 2, 3000, 2]);
        assert_eq!(taken.concat(), [&b"a"[..], &pieces.concat()].concat());
    }

    #[test]
    fn data_beyond_what_the_device_wants_is_cut() {
        let mut inbound = Inbound::new(bytes(1024), None);
        inbound.want(512);
        assert!(inbound.is_complete());
        assert_eq!(inbound.take().concat().len(), 512);
    }
}
