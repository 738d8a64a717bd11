//! Unit attention conditions (SAM-5 §5.14): one bounded queue for each I_T nexus of a logical unit.

use smallvec::SmallVec;

use crate::scsi::sense::{Asc, Sense, SenseKey};

/// What an initiator is told once, instead of the answer to its next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attention {
    /// 29h/00h, the first time this nexus is seen since the target started.
    PowerOn,
    /// 29h/02h, a target reset (TARGET WARM RESET, TARGET COLD RESET).
    TargetReset,
    /// 29h/03h, LOGICAL UNIT RESET.
    LogicalUnitReset,
    /// 29h/07h, a nexus of the same name was lost before.
    NexusLoss,
    /// 28h/00h
    MediumMayHaveChanged,
    /// 2Ah/01h
    ModeParametersChanged,
    /// 2Ah/03h
    ReservationsPreempted,
    /// 2Ah/04h
    ReservationsReleased,
    /// 2Ah/05h
    RegistrationsPreempted,
    /// 2Ah/06h
    AsymmetricAccessChanged,
    /// 2Ah/09h
    CapacityChanged,
    /// 2Ah/10h
    TimestampChanged,
    /// 3Fh/03h
    InquiryDataChanged,
    /// 3Fh/05h
    IdentifyingInformationChanged,
    /// 3Fh/0Eh
    ReportedLunsChanged,
}

impl Attention {
    pub fn asc(self) -> Asc {
        let (code, qualifier) = match self {
            // Not 01h: libiscsi's iscsi-ls goes on after the general code only.
            Attention::PowerOn => (0x29, 0x00),
            Attention::TargetReset => (0x29, 0x02),
            Attention::LogicalUnitReset => (0x29, 0x03),
            Attention::NexusLoss => (0x29, 0x07),
            Attention::MediumMayHaveChanged => (0x28, 0x00),
            Attention::ModeParametersChanged => (0x2A, 0x01),
            Attention::ReservationsPreempted => (0x2A, 0x03),
            Attention::ReservationsReleased => (0x2A, 0x04),
            Attention::RegistrationsPreempted => (0x2A, 0x05),
            Attention::AsymmetricAccessChanged => (0x2A, 0x06),
            Attention::CapacityChanged => (0x2A, 0x09),
            Attention::TimestampChanged => (0x2A, 0x10),
            Attention::InquiryDataChanged => (0x3F, 0x03),
            Attention::IdentifyingInformationChanged => (0x3F, 0x05),
            Attention::ReportedLunsChanged => (0x3F, 0x0E),
        };
        Asc { code, qualifier }
    }

    pub fn sense(self) -> Sense {
        Sense { key: SenseKey::UnitAttention, asc: self.asc(), information: None, specific: None }
    }

    /// SAM-5 §5.14.2: the 29h codes, highest first; the rest have none over one another.
    fn reset_precedence(self) -> Option<u8> {
        match self {
            Attention::PowerOn => Some(4),
            Attention::TargetReset => Some(3),
            Attention::LogicalUnitReset => Some(2),
            Attention::NexusLoss => Some(1),
            _ => None,
        }
    }
}

/// Pending unit attentions of one nexus, the next to be told first.
#[derive(Debug, Default)]
pub struct Attentions {
    pending: SmallVec<[Attention; PENDING_MAX]>,
}

/// One of each kind fits but for the resets, of which there is one at most; initiators give up after ten in a row.
const PENDING_MAX: usize = 8;

impl Attentions {
    /// Queue it. Twice the same is once; a reset tells of everything that a lesser reset would.
    pub fn raise(&mut self, attention: Attention) {
        if self.pending.contains(&attention) {
            return;
        }
        let Some(precedence) = attention.reset_precedence() else {
            if self.pending.len() == PENDING_MAX {
                // Something was lost sight of: a reset makes the initiator look at everything again.
                self.pending.clear();
                self.pending.push(Attention::LogicalUnitReset);
                return;
            }
            self.pending.push(attention);
            return;
        };
        match self.pending.first().and_then(|first| first.reset_precedence()) {
            Some(present) if present > precedence => {}
            Some(_) => self.pending[0] = attention,
            None => {
                self.pending.truncate(PENDING_MAX - 1);
                self.pending.insert(0, attention);
            }
        }
    }

    /// Tell the next one; it is then no longer pending.
    pub fn take(&mut self) -> Option<Attention> {
        (!self.pending.is_empty()).then(|| self.pending.remove(0))
    }

    pub fn clear(&mut self, attention: Attention) {
        self.pending.retain(|pending| *pending != attention);
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// SAM-5 §7.9 QUERY ASYNCHRONOUS EVENT: UADE DEPTH and SENSE KEY, ADDITIONAL SENSE CODE, its qualifier.
    pub fn query_async_event(&self) -> Option<[u8; 3]> {
        let next = self.pending.first()?;
        let depth = if self.pending.len() > 1 { UADE_SEVERAL } else { UADE_ONE };
        let asc = next.asc();
        Some([depth << 4 | SenseKey::UnitAttention as u8, asc.code, asc.qualifier])
    }
}

const UADE_ONE: u8 = 0b01;
const UADE_SEVERAL: u8 = 0b10;

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut attentions: Attentions) -> Vec<Attention> {
        std::iter::from_fn(|| attentions.take()).collect()
    }

    #[test]
    fn a_reset_comes_first_and_once() {
        let mut attentions = Attentions::default();
        attentions.raise(Attention::CapacityChanged);
        attentions.raise(Attention::LogicalUnitReset);
        attentions.raise(Attention::NexusLoss);
        attentions.raise(Attention::CapacityChanged);
        attentions.raise(Attention::PowerOn);
        assert_eq!(drain(attentions), [Attention::PowerOn, Attention::CapacityChanged]);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut attentions = Attentions::default();
        for attention in [
            Attention::MediumMayHaveChanged,
            Attention::ModeParametersChanged,
            Attention::ReservationsPreempted,
            Attention::ReservationsReleased,
            Attention::RegistrationsPreempted,
            Attention::AsymmetricAccessChanged,
            Attention::CapacityChanged,
            Attention::ReportedLunsChanged,
        ] {
            attentions.raise(attention);
        }
        assert_eq!(attentions.pending.len(), PENDING_MAX);
        attentions.raise(Attention::TimestampChanged);
        assert_eq!(drain(attentions), [Attention::LogicalUnitReset]);
    }

    #[test]
    fn query_async_event_tells_depth_key_and_code() {
        let mut attentions = Attentions::default();
        assert_eq!(attentions.query_async_event(), None);
        attentions.raise(Attention::CapacityChanged);
        assert_eq!(attentions.query_async_event(), Some([0x16, 0x2A, 0x09]));
        attentions.raise(Attention::PowerOn);
        assert_eq!(attentions.query_async_event(), Some([0x26, 0x29, 0x00]));
    }
}
