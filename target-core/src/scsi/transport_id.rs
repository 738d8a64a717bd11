//! TransportIDs of iSCSI initiators (SPC-5 §7.6.4.6).
//!
//! ```text
//!   byte 0      TPID FORMAT (bits 7-6), PROTOCOL IDENTIFIER 5h
//!   byte 1      reserved
//!   bytes 2-3   ADDITIONAL LENGTH: a multiple of 4, at least 20
//!   bytes 4-    00b: the iSCSI name; 01b: the name, ",i,0x", the ISID in hexadecimal; null-terminated, null-padded
//! ```

/// An initiator, or one initiator port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportId {
    pub name: String,
    /// Format 01b. `None` is format 00b: every port of the initiator.
    pub isid: Option<[u8; 6]>,
}

/// The TransportID is not one of iSCSI; `byte` is where, within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTransportId {
    pub byte: u16,
}

impl TransportId {
    /// The TransportID at the start of `bytes`, and how many of them it takes.
    pub fn decode(bytes: &[u8]) -> Result<(TransportId, usize), InvalidTransportId> {
        let [head, _, high, low, rest @ ..] = bytes else { return Err(InvalidTransportId { byte: 0 }) };
        if head & 0x0f != PROTOCOL_ISCSI {
            return Err(InvalidTransportId { byte: 0 });
        }
        let additional = usize::from(u16::from_be_bytes([*high, *low]));
        if additional < ADDITIONAL_LENGTH_MIN || !additional.is_multiple_of(4) || additional > rest.len() {
            return Err(InvalidTransportId { byte: 2 });
        }
        let invalid = InvalidTransportId { byte: 4 };
        let text = rest[..additional].split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| invalid)?;
        let (name, isid) = match head >> 6 {
            0b00 => (text, None),
            0b01 => {
                let (name, isid) = text.split_once(ISID_SEPARATOR).ok_or(invalid)?;
                (name, Some(isid_from_hexadecimal(isid).ok_or(invalid)?))
            }
            _ => return Err(InvalidTransportId { byte: 0 }),
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || text.len() == additional {
            return Err(invalid);
        }
        // RFC 7143 §4.2.7: iSCSI names are compared after case folding.
        Ok((TransportId { name: name.to_lowercase(), isid }, 4 + additional))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut text = self.name.clone().into_bytes();
        if let Some(isid) = self.isid {
            text.extend_from_slice(ISID_SEPARATOR.as_bytes());
            text.extend(isid.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(hexadecimal_digit));
        }
        let padded = (text.len() + 1).next_multiple_of(4).max(ADDITIONAL_LENGTH_MIN);
        text.resize(padded, 0);
        let [high, low] = (padded as u16).to_be_bytes();
        let format = if self.isid.is_some() { 0b01 << 6 } else { 0 };
        let mut out = vec![format | PROTOCOL_ISCSI, 0, high, low];
        out.append(&mut text);
        out
    }
}

fn isid_from_hexadecimal(text: &str) -> Option<[u8; 6]> {
    if text.is_empty() || text.len() > 12 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let [_, _, isid @ ..] = u64::from_str_radix(text, 16).ok()?.to_be_bytes();
    Some(isid)
}

fn hexadecimal_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

const PROTOCOL_ISCSI: u8 = 0x5;
const ADDITIONAL_LENGTH_MIN: usize = 20;
const ISID_SEPARATOR: &str = ",i,0x";
/// RFC 7143 §4.2.7.1.
const NAME_BYTES_MAX: usize = 223;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initiator_port_is_byte_exact() {
        let port = TransportId { name: "iqn.2026-11.net:a".into(), isid: Some([0x80, 0x12, 0x34, 0x56, 0, 0x01]) };
        let bytes = port.encode();
        assert_eq!(&bytes[..4], [0x45, 0, 0, 36]);
        assert_eq!(&bytes[4..], b"iqn.2026-11.net:a,i,0x801234560001\0\0");
        assert_eq!(TransportId::decode(&bytes), Ok((port, bytes.len())));
    }

    #[test]
    fn a_short_name_is_padded_to_the_minimum() {
        let device = TransportId { name: "iqn.x".into(), isid: None };
        let bytes = device.encode();
        assert_eq!(&bytes[..9], b"\x05\0\0\x14iqn.x");
        assert_eq!(bytes.len(), 24);
        assert_eq!(TransportId::decode(&bytes), Ok((device, 24)));
    }

    #[test]
    fn faults_point_at_their_byte() {
        let good = TransportId { name: "iqn.x".into(), isid: Some([1; 6]) }.encode();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            TransportId::decode(&bytes).unwrap_err().byte
        };
        assert_eq!(with(0, 0x46), 0, "a SAS port");
        assert_eq!(with(0, 0x85), 0, "format 10b");
        assert_eq!(with(3, 21), 2);
        assert_eq!(with(3, 16), 2);
        assert_eq!(with(3, 28), 2, "beyond the list");
        assert_eq!(with(4, 0xff), 4, "not UTF-8");
        assert_eq!(with(9, b'.'), 4, "no ISID");
        assert_eq!(TransportId::decode(&good[..3]).unwrap_err().byte, 0);
        let unterminated = [b"\x05\0\0\x14".as_slice(), &[b'x'; 20]].concat();
        assert_eq!(TransportId::decode(&unterminated).unwrap_err().byte, 4);
    }
}
