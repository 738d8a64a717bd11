//! What the device below could not do, as the answer to a command. The one place, and exhaustive.

use crate::block::{BlockError, Extent};
use crate::scsi::sense::{Asc, Sense};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// Why a command did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Sense(Sense),
    /// BUSY status: nothing is wrong with the command nor the medium, and the initiator is to try again.
    Busy,
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Failure {
        Failure::Sense(sense)
    }
}

pub(super) fn failure(error: BlockError, direction: Direction, extent: Extent) -> Failure {
    let lba = extent.lba().0;
    Failure::Sense(match (error, direction) {
        (BlockError::OutOfRange, _) => Sense::lba_out_of_range(lba),
        (BlockError::Medium, Direction::Read) => Sense::unrecovered_read_error(lba),
        (BlockError::Medium, Direction::Write) => Sense::write_error(lba),
        (BlockError::NoSpace, _) => Sense::space_allocation_failed(),
        (BlockError::ReadOnly, _) => Sense::write_protected(),
        // This node may not serve the blocks now: to multipathing it is a path in standby.
        (BlockError::Fenced, _) => Sense::not_ready(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE),
        // A CHECK CONDITION is passed on to whoever wrote, where BUSY is tried again.
        (BlockError::Stalled, _) => return Failure::Busy,
        (BlockError::Io(_), _) => Sense::hardware_error(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockCount, Lba};

    #[test]
    fn each_error_has_its_answer() {
        let extent = Extent::new(Lba(7), BlockCount(1), BlockCount(8)).expect("fits");
        let code = |error, direction| match failure(error, direction, extent) {
            Failure::Sense(sense) => Some((sense.key as u8, sense.asc.code, sense.asc.qualifier)),
            Failure::Busy => None,
        };
        use Direction::*;
        assert_eq!(code(BlockError::OutOfRange, Read), Some((5, 0x21, 0)));
        assert_eq!(code(BlockError::Medium, Read), Some((3, 0x11, 0)));
        assert_eq!(code(BlockError::Medium, Write), Some((3, 0x0C, 0)));
        assert_eq!(code(BlockError::NoSpace, Write), Some((7, 0x27, 7)));
        assert_eq!(code(BlockError::ReadOnly, Write), Some((7, 0x27, 0)));
        assert_eq!(code(BlockError::Fenced, Write), Some((2, 0x04, 0x0B)));
        assert_eq!(code(BlockError::Io(5), Read), Some((4, 0x44, 0)));
        assert_eq!(code(BlockError::Stalled, Write), None);
    }
}
