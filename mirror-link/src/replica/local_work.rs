//! Local work under way, told apart by its number alone.

use super::io::{LocalAction, LocalIo};
use crate::ids::WriteSeq;

/// Whose local work it is; with a number and the reign it makes a [`LocalIo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalWork {
    /// By the write's number.
    Host,
    /// A flush that is in no stream.
    Plain,
    /// By the number of the copy's write, or of what is compared.
    ResyncRead,
    /// A received write, by its number.
    Apply,
    /// The receiver's own flush.
    Flush,
    /// The flush before regions cool.
    Sweep,
    /// The flush before a replica reigns.
    Promotion,
    /// A read for an owner whose device failed.
    Lend,
}

impl LocalWork {
    pub fn for_owner(action: &LocalAction) -> LocalWork {
        if matches!(action, LocalAction::Read { .. } | LocalAction::Digest { .. }) {
            LocalWork::ResyncRead
        } else {
            LocalWork::Host
        }
    }

    pub fn io(self, run: u16, number: u64) -> LocalIo {
        LocalIo(u64::from(run) << 48 | (number & WriteSeq::MAX.0) << 3 | self as u64)
    }

    pub fn of(io: LocalIo) -> (LocalWork, u16, u64) {
        let kind = match io.0 & 7 {
            0 => LocalWork::Host,
            1 => LocalWork::Plain,
            2 => LocalWork::ResyncRead,
            3 => LocalWork::Apply,
            4 => LocalWork::Flush,
            5 => LocalWork::Sweep,
            6 => LocalWork::Promotion,
            _ => LocalWork::Lend,
        };
        (kind, (io.0 >> 48) as u16, io.0 >> 3 & WriteSeq::MAX.0)
    }
}
