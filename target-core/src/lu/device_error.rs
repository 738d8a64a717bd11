//! What the device below could not do, as sense data. The one place, and exhaustive.

use crate::block::{BlockError, Extent};
use crate::scsi::sense::{Asc, Sense};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

pub(super) fn sense(error: BlockError, direction: Direction, extent: Extent) -> Sense {
    let lba = extent.lba().0;
    match (error, direction) {
        (BlockError::OutOfRange, _) => Sense::lba_out_of_range(lba),
        (BlockError::Medium, Direction::Read) => Sense::unrecovered_read_error(lba),
        (BlockError::Medium, Direction::Write) => Sense::write_error(lba),
        (BlockError::NoSpace, _) => Sense::space_allocation_failed(),
        (BlockError::ReadOnly, _) => Sense::write_protected(),
        // This node may not serve the blocks now: to multipathing it is a path in standby.
        (BlockError::Stalled, _) => Sense::not_ready(Asc::LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY),
        (BlockError::Fenced, _) => Sense::not_ready(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE),
        (BlockError::Io(_), _) => Sense::hardware_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockCount, Lba};

    #[test]
    fn each_error_has_its_sense() {
        let extent = Extent::new(Lba(7), BlockCount(1), BlockCount(8)).expect("fits");
        let code = |error, direction| {
            let sense = sense(error, direction, extent);
            (sense.key as u8, sense.asc.code, sense.asc.qualifier)
        };
        use Direction::*;
        assert_eq!(code(BlockError::OutOfRange, Read), (5, 0x21, 0));
        assert_eq!(code(BlockError::Medium, Read), (3, 0x11, 0));
        assert_eq!(code(BlockError::Medium, Write), (3, 0x0C, 0));
        assert_eq!(code(BlockError::NoSpace, Write), (7, 0x27, 7));
        assert_eq!(code(BlockError::ReadOnly, Write), (7, 0x27, 0));
        assert_eq!(code(BlockError::Fenced, Write), (2, 0x04, 0x0B));
        assert_eq!(code(BlockError::Io(5), Read), (4, 0x44, 0));
    }
}
