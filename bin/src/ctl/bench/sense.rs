//! What a command that failed says, in words.

use std::fmt;

use iscsi_proto::pdu::ScsiStatus;
use target_core::scsi::sense::Asc;

/// Key, code and place of sense data (SPC-5 §4.4), as far as they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub key: u8,
    pub asc: Asc,
    pub information: Option<u64>,
}

impl Told {
    /// `None` where it is no sense data.
    pub fn read(sense: &[u8]) -> Option<Told> {
        match sense.first()? & 0x7f {
            // Fixed format: VALID, key, INFORMATION, code and qualifier at 0, 2, 3, 12 and 13.
            0x70 | 0x71 => {
                let word = sense.get(3..7)?.try_into().map(u32::from_be_bytes).ok()?;
                let information = (sense[0] & 0x80 != 0).then_some(u64::from(word));
                let asc = Asc { code: *sense.get(12)?, qualifier: *sense.get(13)? };
                Some(Told { key: sense[2] & 0x0f, asc, information })
            }
            // Descriptor format: key, code and qualifier at 1 to 3, descriptors from 8.
            0x72 | 0x73 => {
                let asc = Asc { code: *sense.get(2)?, qualifier: *sense.get(3)? };
                Some(Told { key: sense[1] & 0x0f, asc, information: information_descriptor(sense.get(8..)?) })
            }
            _ => None,
        }
    }

    pub fn is_unit_attention(&self) -> bool {
        self.key == UNIT_ATTENTION
    }
}

/// The first descriptor of type 00h with VALID (SPC-5 §4.4.2.2).
fn information_descriptor(mut descriptors: &[u8]) -> Option<u64> {
    while let [kind, length, rest @ ..] = descriptors {
        let body = rest.get(..usize::from(*length))?;
        if *kind == 0 && body.first()? & 0x80 != 0 {
            return body.get(2..10)?.try_into().map(u64::from_be_bytes).ok();
        }
        descriptors = &rest[body.len()..];
    }
    None
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = KEYS.get(usize::from(self.key)).copied().unwrap_or("?");
        let Asc { code, qualifier } = self.asc;
        match self.asc.name() {
            Some(name) => write!(f, "{key}: {} ({code:02X}h/{qualifier:02X}h)", name.to_lowercase().replace('_', " "))?,
            None => write!(f, "{key}: {code:02X}h/{qualifier:02X}h")?,
        }
        match self.information {
            Some(information) => write!(f, ", at {information}"),
            None => Ok(()),
        }
    }
}

/// A status that is not GOOD, with its sense data.
pub fn in_words(status: ScsiStatus, sense: &[u8]) -> String {
    let name = match status.name() {
        Some(name) => name.replace('_', " "),
        None => format!("status {:02X}h", status.0),
    };
    match Told::read(sense) {
        Some(told) => format!("{name}, {told}"),
        None => name,
    }
}

const UNIT_ATTENTION: u8 = 6;

/// SPC-5 table 48.
const KEYS: [&str; 16] = [
    "NO SENSE",
    "RECOVERED ERROR",
    "NOT READY",
    "MEDIUM ERROR",
    "HARDWARE ERROR",
    "ILLEGAL REQUEST",
    "UNIT ATTENTION",
    "DATA PROTECT",
    "BLANK CHECK",
    "VENDOR SPECIFIC",
    "COPY ABORTED",
    "ABORTED COMMAND",
    "reserved",
    "VOLUME OVERFLOW",
    "MISCOMPARE",
    "COMPLETED",
];

#[cfg(test)]
mod tests {
    use target_core::scsi::sense::Sense;

    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let sense = Sense::lba_out_of_range(0x1234);
        for descriptor_format in [false, true] {
            assert_eq!(
                in_words(ScsiStatus::CHECK_CONDITION, &sense.encode(descriptor_format)),
                "CHECK CONDITION, ILLEGAL REQUEST: logical block address out of range (21h/00h), at 4660"
            );
        }
        let attention = Sense::unit_attention(Asc { code: 0x29, qualifier: 0x77 });
        let told = Told::read(&attention.encode(true)).expect("it is sense data");
        assert_eq!(told.to_string(), "UNIT ATTENTION: 29h/77h");
        assert!(told.is_unit_attention());
    }

    #[test]
    fn what_is_cut_short_is_no_sense() {
        let whole = Sense::lba_out_of_range(7).encode(true);
        for length in 0..8 {
            assert_eq!(Told::read(&whole[..length.min(3)]), None);
        }
        assert_eq!(Told::read(&whole[..9]).map(|told| told.information), Some(None));
        assert_eq!(in_words(ScsiStatus::BUSY, &[]), "BUSY");
        assert_eq!(in_words(ScsiStatus(0x99), &[0; 18]), "status 99h");
    }
}
