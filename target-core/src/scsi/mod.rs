//! SCSI as the standards write it (SAM-5, SPC-5, SBC-4): pure data and pure functions. No device, no nexus, no lock.

pub mod access;
pub mod alua;
mod asc;
pub mod buffer;
pub mod capacity;
pub mod cdb;
pub mod copy;
pub mod defect;
pub mod designator;
pub mod diagnostic;
pub mod format_unit;
pub mod identifying;
pub mod inquiry;
pub mod lba_status;
pub mod log;
pub mod mode;
pub mod opcodes;
pub mod report_luns;
pub mod request;
pub mod sanitize;
pub mod sense;
pub mod status;
pub mod timestamp;
pub mod transport_id;
pub mod unmap;
pub mod vpd;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::vpd::BlockLimits;

    proptest! {
        /// Every decoder of parameter lists takes any bytes, and what it accepts lies within its bounds.
        #[test]
        fn any_parameter_list_is_taken_without_panic(list in proptest::collection::vec(any::<u8>(), 0..600), long: bool) {
            let limits = BlockLimits::new(512, 3, 8, true);
            if let Ok(ranges) = super::unmap::parse(&list, &limits) {
                prop_assert!(ranges.iter().map(|range| range.blocks).sum::<u64>() <= u64::from(limits.unmap_max));
            }
            if let Ok(overwrite) = super::sanitize::Overwrite::parse(&list, 512) {
                prop_assert!((1..=31).contains(&overwrite.passes()));
                prop_assert_eq!(overwrite.block(0, 512).len(), 512);
            }
            if let Ok(format) = super::format_unit::parse(&list, long, 512) {
                prop_assert!(format.pattern.is_none_or(|pattern| (1..=512).contains(&pattern.len())));
            }
            let _ = super::alua::parse_set_target_port_groups(&list, &[1, 2]);
            let _ = super::timestamp::parse(&list);
            let _ = super::identifying::parse(super::identifying::InformationType::Text, &list);
        }
    }
}
