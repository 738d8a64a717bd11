//! SANITIZE (SBC-4 §4.11) and FORMAT UNIT (§4.33): operations that have the whole medium to themselves. Pure.
//!
//! ```text
//!             SANITIZE, FORMAT UNIT                 finished
//!   Idle ──────────────────────────────► Running ────────────► Idle
//!    ▲                                      │ failed
//!    └────── EXIT FAILURE MODE, SANITIZE ── Failed
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde::{Deserialize, Serialize};

use crate::block::BlockLength;
use crate::scsi::request::SanitizeAction;
use crate::scsi::sense::Sense;

/// What is done to every block. As stored too: a stop of the program does not end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    pub kind: Kind,
    /// AUSE: after a failure EXIT FAILURE MODE is accepted.
    pub unrestricted_exit: bool,
    /// It ended without having done what it should.
    pub failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Kind {
    /// Each pass writes the pattern; with `invert` every other one its complement.
    Overwrite {
        pattern: Vec<u8>,
        passes: u8,
        invert: bool,
    },
    /// Blocks are unmapped, or zeroed where the store cannot unmap.
    BlockErase,
    /// There is no key whose loss would do: erased like the other.
    CryptographicErase,
    Format,
}

#[derive(Debug, Default)]
pub(super) enum Condition {
    #[default]
    Idle,
    Running {
        plan: Plan,
        /// In 65536ths.
        progress: Arc<AtomicU16>,
    },
    Failed {
        unrestricted_exit: bool,
    },
}

impl Condition {
    pub fn readiness(&self) -> Result<(), Sense> {
        match self {
            Condition::Idle => Ok(()),
            Condition::Failed { .. } => Err(Sense::sanitize_failed()),
            Condition::Running { plan, progress } => {
                let progress = progress.load(Ordering::Relaxed);
                Err(match plan.kind {
                    Kind::Format => Sense::format_in_progress(progress),
                    Kind::Overwrite { .. } | Kind::BlockErase | Kind::CryptographicErase => {
                        Sense::sanitize_in_progress(progress)
                    }
                })
            }
        }
    }

    /// May that SANITIZE begin now? "If the most recent sanitize failed with AUSE zero", only a restricted one may.
    pub fn accepts(&self, action: SanitizeAction, unrestricted_exit: bool) -> Result<(), Sense> {
        match self {
            Condition::Running { .. } => self.readiness(),
            Condition::Failed { unrestricted_exit: false }
                if unrestricted_exit || action == SanitizeAction::ExitFailureMode =>
            {
                Err(Sense::invalid_field_in_cdb(1, 5))
            }
            Condition::Failed { .. } | Condition::Idle => Ok(()),
        }
    }
}

impl Plan {
    /// OVERWRITE's parameter list (SBC-4 §5.23.2): INVERT and OVERWRITE COUNT, INITIALIZATION PATTERN LENGTH, the pattern.
    pub fn overwrite(list: &[u8], block_length: BlockLength, unrestricted_exit: bool) -> Result<Plan, Sense> {
        let (header, pattern) = list.split_first_chunk::<4>().ok_or(Sense::parameter_list_length_error())?;
        let [flags, _, high, low] = *header;
        let (invert, passes) = (flags & 0x80 != 0, flags & 0x1F);
        if passes == 0 {
            return Err(Sense::invalid_field_in_parameter_list(0, 4));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > block_length.bytes() as usize {
            return Err(Sense::invalid_field_in_parameter_list(2, None));
        }
        if pattern.len() != length {
            return Err(Sense::invalid_field_in_parameter_list(2, None));
        }
        Ok(Plan { kind: Kind::Overwrite { pattern: pattern.into(), passes, invert }, unrestricted_exit, failed: false })
    }

    pub fn sanitize(kind: Kind, unrestricted_exit: bool) -> Plan {
        Plan { kind, unrestricted_exit, failed: false }
    }

    /// FORMAT UNIT's parameter list header (SBC-4 §5.5.2): no defects, no protection, at most a default pattern.
    /// Answers IMMED.
    pub fn format(list: &[u8], long_list: bool) -> Result<(Plan, bool), Sense> {
        let plan = Plan { kind: Kind::Format, unrestricted_exit: false, failed: false };
        if list.is_empty() {
            return Ok((plan, false));
        }
        let (header_length, length_at) = if long_list { (8, 4) } else { (4, 2) };
        let header = list.get(..header_length).ok_or(Sense::parameter_list_length_error())?;
        if header[0] & 0x07 != 0 {
            return Err(Sense::invalid_field_in_parameter_list(0, 2));
        }
        let (options_valid, initialization_pattern, immediate) =
            (header[1] & 0x80 != 0, header[1] & 0x08 != 0, header[1] & 0x02 != 0);
        if initialization_pattern {
            return Err(Sense::invalid_field_in_parameter_list(1, 3));
        }
        // "If FOV is set to zero and any other format option bits are not … INVALID FIELD IN PARAMETER LIST."
        if !options_valid && header[1] & 0x78 != 0 {
            return Err(Sense::invalid_field_in_parameter_list(1, 7));
        }
        if header[length_at..].iter().any(|byte| *byte != 0) {
            return Err(Sense::invalid_field_in_parameter_list(length_at as u16, None));
        }
        Ok((plan, immediate))
    }

    /// How the bytes of each pass begin, for passes that write a pattern.
    pub fn patterns(&self, block_length: BlockLength) -> Vec<Vec<u8>> {
        let Kind::Overwrite { pattern, passes, invert } = &self.kind else { return Vec::new() };
        let block: Vec<u8> = pattern.iter().copied().cycle().take(block_length.bytes() as usize).collect();
        (0..*passes)
            .map(|pass| match *invert && pass % 2 == 1 {
                true => block.iter().map(|byte| !byte).collect(),
                false => block.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::sense::Asc;

    fn overwrite(list: &[u8]) -> Result<Plan, Asc> {
        Plan::overwrite(list, BlockLength::B512, false).map_err(|sense| sense.asc)
    }

    #[test]
    fn overwrite_lists() {
        let plan = overwrite(&[0x83, 0, 0, 2, 0xAA, 0x0F]).expect("fine");
        let passes = plan.patterns(BlockLength::B512);
        assert_eq!(passes.len(), 3);
        assert_eq!((passes[0].len(), &passes[0][510..]), (512, &[0xAA, 0x0F][..]));
        assert_eq!((&passes[1][..2], &passes[2][..2]), (&[0x55, 0xF0][..], &[0xAA, 0x0F][..]));

        let refused = Err(Asc::INVALID_FIELD_IN_PARAMETER_LIST);
        assert_eq!(overwrite(&[0, 0, 0, 1, 0]), refused, "OVERWRITE COUNT 0");
        assert_eq!(overwrite(&[1, 0, 0, 0, 0]), refused, "no pattern");
        assert_eq!(overwrite(&[1, 0, 0, 2, 0]), refused, "pattern longer than the list");
        assert_eq!(overwrite(&[&[1, 0, 2, 1][..], &[0; 513]].concat()), refused, "pattern longer than a block");
        assert_eq!(overwrite(&[1, 0, 0]), Err(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }

    #[test]
    fn format_lists() {
        let format = |list: &[u8], long| Plan::format(list, long).map(|(_, immediate)| immediate).map_err(|s| s.asc);
        assert_eq!(format(&[], false), Ok(false));
        assert_eq!(format(&[0, 0x02, 0, 0], false), Ok(true));
        assert_eq!(format(&[0, 0x80, 0, 0, 0, 0, 0, 0], true), Ok(false));
        assert_eq!(format(&[0, 0, 0, 8], false), Err(Asc::INVALID_FIELD_IN_PARAMETER_LIST), "a defect list");
        assert_eq!(format(&[0, 0x88, 0, 0], false), Err(Asc::INVALID_FIELD_IN_PARAMETER_LIST), "IP");
        assert_eq!(format(&[0, 0], false), Err(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }

    #[test]
    fn a_restricted_failure_takes_a_restricted_sanitize_only() {
        let failed = Condition::Failed { unrestricted_exit: false };
        assert!(failed.accepts(SanitizeAction::ExitFailureMode, false).is_err());
        assert!(failed.accepts(SanitizeAction::BlockErase, true).is_err());
        assert!(failed.accepts(SanitizeAction::BlockErase, false).is_ok());
        let failed = Condition::Failed { unrestricted_exit: true };
        assert!(failed.accepts(SanitizeAction::ExitFailureMode, false).is_ok());
    }
}
