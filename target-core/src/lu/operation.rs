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
use crate::scsi::format_unit::{self, FormatUnit};
use crate::scsi::request::SanitizeAction;
use crate::scsi::sanitize::Overwrite;
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
    /// OVERWRITE's parameter list, which was checked.
    Overwrite { list: Vec<u8> },
    /// Blocks are unmapped, or zeroed where the store cannot unmap.
    BlockErase,
    /// There is no key whose loss would do: erased like the other.
    CryptographicErase,
    /// FORMAT UNIT's initialization pattern; without one, as a block erase.
    Format { pattern: Option<Vec<u8>> },
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
    /// As the program, or the peer, left it.
    pub fn restored(plan: Option<Plan>, block_length: BlockLength) -> Condition {
        match plan {
            None => Condition::Idle,
            Some(Plan { failed: true, unrestricted_exit, .. }) => Condition::Failed { unrestricted_exit },
            // A record that says what cannot be done: no medium must pass for sanitized because of it.
            Some(plan) if plan.patterns(block_length).is_err() => {
                Condition::Failed { unrestricted_exit: plan.unrestricted_exit }
            }
            Some(plan) => Condition::Running { plan, progress: Arc::default() },
        }
    }

    /// What `restored` makes this of. Of what failed the kind does not matter any more.
    pub fn plan(&self) -> Option<Plan> {
        match self {
            Condition::Idle => None,
            Condition::Running { plan, .. } => Some(plan.clone()),
            Condition::Failed { unrestricted_exit } => {
                Some(Plan { failed: true, ..Plan::sanitize(Kind::BlockErase, *unrestricted_exit) })
            }
        }
    }

    pub fn readiness(&self) -> Result<(), Sense> {
        match self {
            Condition::Idle => Ok(()),
            Condition::Failed { .. } => Err(Sense::sanitize_failed()),
            Condition::Running { plan, progress } => {
                let progress = progress.load(Ordering::Relaxed);
                Err(match plan.kind {
                    Kind::Format { .. } => Sense::format_in_progress(progress),
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
    pub fn overwrite(list: &[u8], block_length: BlockLength, unrestricted_exit: bool) -> Result<Plan, Sense> {
        Overwrite::parse(list, block_length.bytes())?;
        Ok(Plan::sanitize(Kind::Overwrite { list: list.into() }, unrestricted_exit))
    }

    pub fn sanitize(kind: Kind, unrestricted_exit: bool) -> Plan {
        Plan { kind, unrestricted_exit, failed: false }
    }

    /// `list`: what came with FMTDATA. Answers IMMED too.
    pub fn format(list: Option<&[u8]>, long_list: bool, block_length: BlockLength) -> Result<(Plan, bool), Sense> {
        let FormatUnit { immediate, pattern } = match list {
            Some(list) => format_unit::parse(list, long_list, block_length.bytes())?,
            None => FormatUnit::default(),
        };
        Ok((Plan::sanitize(Kind::Format { pattern }, false), immediate))
    }

    pub fn is_sanitize(&self) -> bool {
        !matches!(self.kind, Kind::Format { .. })
    }

    /// One block of each pass, for passes that write data. An error is a record that nobody wrote as it is.
    pub fn patterns(&self, block_length: BlockLength) -> Result<Vec<Vec<u8>>, Sense> {
        let length = block_length.bytes();
        Ok(match &self.kind {
            Kind::Overwrite { list } => {
                let overwrite = Overwrite::parse(list, length)?;
                (0..overwrite.passes()).map(|pass| overwrite.block(pass, length)).collect()
            }
            Kind::Format { pattern: Some(pattern) } => {
                vec![pattern.iter().copied().cycle().take(length as usize).collect()]
            }
            Kind::Format { pattern: None } | Kind::BlockErase | Kind::CryptographicErase => Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn patterns_fill_a_block_and_invert() {
        let plan = Plan::overwrite(&[0x83, 0, 0, 2, 0xAA, 0x0F], BlockLength::B512, false).expect("sound");
        let passes = plan.patterns(BlockLength::B512).expect("it was checked");
        assert_eq!((passes.len(), passes[0].len(), &passes[0][510..]), (3, 512, &[0xAA, 0x0F][..]));
        assert_eq!((&passes[1][..2], &passes[2][..2]), (&[0x55, 0xF0][..], &[0xAA, 0x0F][..]));
        let (plan, immediate) =
            Plan::format(Some(&[0, 0x8A, 0, 0, 0, 1, 0, 1, 7]), false, BlockLength::B512).expect("sound");
        assert!(immediate && !plan.is_sanitize());
        assert_eq!(plan.patterns(BlockLength::B512), Ok(vec![vec![7; 512]]));
        let (plan, immediate) = Plan::format(None, false, BlockLength::B512).expect("sound");
        assert!(!immediate);
        assert_eq!(plan.patterns(BlockLength::B512), Ok(vec![]));
    }

    #[test]
    fn a_plan_outlives_the_program() {
        let plan = Plan::overwrite(&[1, 0, 0, 1, 9], BlockLength::B512, true).expect("sound");
        let kept = serde_json::to_string(&plan).expect("serialised");
        assert_eq!(serde_json::from_str::<Plan>(&kept).expect("deserialised"), plan);
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
