//! Logical unit numbers (SAM-5 §4.7).

use std::fmt;

/// Eight bytes as they travel in a BHS: "LUN[0] from [SAM2] is BHS byte 8 and so on" (RFC 7143 §11.2.1.7).
///
/// ```text
///  byte 0   bits 7-6 ADDRESS METHOD: 00b peripheral, 01b flat space, 11b extended
///           bits 5-0 bus identifier (peripheral) or the high bits of the number (flat space)
///  byte 1   the number, or its low bits
///  byte 2-7 further levels, zero for a single-level LUN
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// LUN 0.
    pub const ZERO: Lun = Lun([0; 8]);

    /// The REPORT LUNS well known logical unit (SPC-5 §9.2).
    pub const REPORT_LUNS_WELL_KNOWN: Lun = Lun([0xc1, 0x01, 0, 0, 0, 0, 0, 0]);

    /// What one level of flat space addressing can hold.
    pub const SINGLE_LEVEL_MAX: u16 = 0x3fff;

    /// The form initiators expect in REPORT LUNS: peripheral addressing up to 255, flat space above. `None` above
    /// [`Lun::SINGLE_LEVEL_MAX`].
    pub const fn from_u16(number: u16) -> Option<Lun> {
        match number {
            0..=0xff => Some(Lun::peripheral(number as u8)),
            _ => Lun::flat(number),
        }
    }

    /// Peripheral device addressing on bus 0.
    pub const fn peripheral(number: u8) -> Lun {
        Lun([0, number, 0, 0, 0, 0, 0, 0])
    }

    /// Flat space addressing, for 14 bits.
    pub const fn flat(number: u16) -> Option<Lun> {
        if number > Lun::SINGLE_LEVEL_MAX {
            return None;
        }
        let [high, low] = number.to_be_bytes();
        Some(Lun([FLAT_SPACE | high, low, 0, 0, 0, 0, 0, 0]))
    }

    /// The number of a single-level LUN in either form; `None` for everything else, which names no unit of ours.
    pub const fn to_u16(self) -> Option<u16> {
        match self.0 {
            [0, number, 0, 0, 0, 0, 0, 0] => Some(number as u16),
            [high, low, 0, 0, 0, 0, 0, 0] if high & ADDRESS_METHOD == FLAT_SPACE => {
                Some(u16::from_be_bytes([high & !ADDRESS_METHOD, low]))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_u16() {
            Some(number) => number.fmt(f),
            None => write!(f, "{:#018x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl fmt::Debug for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", u64::from_be_bytes(self.0))
    }
}

const ADDRESS_METHOD: u8 = 0xc0;
const FLAT_SPACE: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_single_level() {
        assert_eq!(Lun::from_u16(5), Some(Lun([0, 5, 0, 0, 0, 0, 0, 0])));
        assert_eq!(Lun::from_u16(256), Some(Lun([0x41, 0, 0, 0, 0, 0, 0, 0])));
        assert_eq!(Lun::flat(5).and_then(Lun::to_u16), Some(5));
        assert_eq!(Lun::from_u16(0x4000), None);
        for number in 0..=Lun::SINGLE_LEVEL_MAX {
            assert_eq!(Lun::from_u16(number).and_then(Lun::to_u16), Some(number));
        }
    }

    #[test]
    fn other_forms_are_no_number() {
        assert_eq!(Lun::REPORT_LUNS_WELL_KNOWN.to_u16(), None);
        assert_eq!(Lun([0, 1, 0, 1, 0, 0, 0, 0]).to_u16(), None, "second level");
        assert_eq!(Lun([1, 1, 0, 0, 0, 0, 0, 0]).to_u16(), None, "bus 1");
        assert_eq!(Lun::REPORT_LUNS_WELL_KNOWN.to_string(), "0xc101000000000000");
        assert_eq!(Lun::peripheral(7).to_string(), "7");
    }
}
