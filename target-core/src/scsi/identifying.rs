//! REPORT and SET IDENTIFYING INFORMATION (SPC-5 §6.31, §6.45): what an operator wrote on the logical unit.

use super::sense::Sense;

/// IDENTIFYING INFORMATION TYPE, what of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InformationType {
    /// 0000000b: peripheral device or logical unit identifying information.
    Binary,
    /// 0000010b: text, UTF-8 and null terminated.
    Text,
}

impl InformationType {
    /// Of the CDB's field, in SET IDENTIFYING INFORMATION and where one is reported.
    pub fn new(code: u8) -> Result<InformationType, Sense> {
        match code {
            BINARY => Ok(InformationType::Binary),
            TEXT => Ok(InformationType::Text),
            _ => Err(Sense::invalid_field_in_cdb(10, 7)),
        }
    }

    /// MAXIMUM IDENTIFYING INFORMATION LENGTH: what the standard asks for at least.
    pub const fn bytes_max(self) -> u16 {
        match self {
            InformationType::Binary => 64,
            InformationType::Text => 256,
        }
    }
}

/// What REPORT IDENTIFYING INFORMATION asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InformationReport {
    Information(InformationType),
    /// 1111111b: which types there are, and how long each may be.
    Supported,
}

impl InformationReport {
    pub fn new(code: u8) -> Result<InformationReport, Sense> {
        match code {
            SUPPORTED => Ok(InformationReport::Supported),
            code => InformationType::new(code).map(InformationReport::Information),
        }
    }
}

/// Parameter data, to be cut to the ALLOCATION LENGTH.
pub fn report(information: &[u8]) -> Vec<u8> {
    let [high, low] = (information.len() as u16).to_be_bytes();
    [&[0, 0, high, low], information].concat()
}

/// Parameter data of the supported types.
pub fn report_supported() -> Vec<u8> {
    let mut out = vec![0, 0, 0, 8];
    for (code, kind) in [(BINARY, InformationType::Binary), (TEXT, InformationType::Text)] {
        let [high, low] = kind.bytes_max().to_be_bytes();
        out.extend_from_slice(&[code << 1, 0, high, low]);
    }
    out
}

/// May that be set? The length is checked before data are asked for, so `list` may be empty then.
pub fn check_length(kind: InformationType, parameter_list_length: u32) -> Result<(), Sense> {
    if parameter_list_length > kind.bytes_max().into() {
        return Err(Sense::invalid_field_in_cdb(6, None));
    }
    Ok(())
}

/// The information to keep; an empty one removes what there was.
pub fn parse(kind: InformationType, list: &[u8]) -> Result<&[u8], Sense> {
    check_length(kind, list.len() as u32)?;
    let text_is_sound = || list.last() == Some(&0) && std::str::from_utf8(list).is_ok();
    if kind == InformationType::Text && !list.is_empty() && !text_is_sound() {
        return Err(Sense::invalid_field_in_parameter_list(0, None));
    }
    Ok(list)
}

const BINARY: u8 = 0b000_0000;
const TEXT: u8 = 0b000_0010;
const SUPPORTED: u8 = 0b111_1111;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn information_is_reported_as_it_was_set() {
        assert_eq!(parse(InformationType::Text, b"rack 7\0"), Ok(b"rack 7\0".as_slice()));
        assert_eq!(report(b"rack 7\0"), *b"\0\0\0\x07rack 7\0");
        assert_eq!(parse(InformationType::Binary, &[0xFF; 64]).map(<[u8]>::len), Ok(64));
        assert_eq!(parse(InformationType::Binary, &[]), Ok([].as_slice()));
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused() {
        assert_eq!(parse(InformationType::Binary, &[0; 65]), Err(Sense::invalid_field_in_cdb(6, None)));
        let unterminated = parse(InformationType::Text, b"rack 7");
        assert_eq!(unterminated, Err(Sense::invalid_field_in_parameter_list(0, None)));
        assert!(parse(InformationType::Text, &[0xFF, 0]).is_err());
    }

    #[test]
    fn types_are_those_supported() {
        assert_eq!(report_supported(), [0, 0, 0, 8, 0x00, 0, 0, 64, 0x04, 0, 1, 0]);
        assert_eq!(InformationReport::new(0x7F), Ok(InformationReport::Supported));
        assert_eq!(InformationReport::new(0x02), Ok(InformationReport::Information(InformationType::Text)));
        assert_eq!(InformationReport::new(0x01), Err(Sense::invalid_field_in_cdb(10, 7)));
        assert!(InformationType::new(0x7F).is_err());
    }
}
