//! FORMAT UNIT parameter list (SBC-4 §5.5.2).

use super::sense::Sense;

/// What FORMAT UNIT is to do: the blocks' contents are of no other concern, as formats do not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatUnit {
    /// IMMED
    pub immediate: bool,
    /// INITIALIZATION PATTERN, repeated to fill a block. `None`: zeroes.
    pub pattern: Option<Vec<u8>>,
}

/// `list`: what came with FMTDATA; `long_list`: LONGLIST.
pub fn parse(list: &[u8], long_list: bool, block_length: u32) -> Result<FormatUnit, Sense> {
    const FOV: u8 = 0x80;
    const DPRY_DCRT_STPF_IP: u8 = 0x78;
    const IP: u8 = 0x08;
    const IMMED: u8 = 0x02;
    let header_length = if long_list { 8 } else { 4 };
    let header = list.get(..header_length).ok_or_else(Sense::parameter_list_length_error)?;
    let (usage, flags) = (header[0], header[1]);
    // PROTECTION FIELD USAGE, and the protection interval: there is no protection information.
    if usage & 0x07 != 0 {
        return Err(Sense::invalid_field_in_parameter_list(0, 2));
    }
    if long_list && header[3] != 0 {
        return Err(Sense::invalid_field_in_parameter_list(3, None));
    }
    // "If the FOV bit is set to zero, and any of the other bits … is not set to zero, then the device server shall
    // terminate the command".
    if flags & FOV == 0 && flags & DPRY_DCRT_STPF_IP != 0 {
        return Err(Sense::invalid_field_in_parameter_list(1, 7));
    }
    let defect_list_at = header_length - if long_list { 4 } else { 2 };
    if header[defect_list_at..].iter().any(|byte| *byte != 0) {
        return Err(Sense::invalid_field_in_parameter_list(defect_list_at as u16, None));
    }
    let pattern = if flags & IP != 0 { pattern(list, header_length, block_length)? } else { None };
    Ok(FormatUnit { immediate: flags & IMMED != 0, pattern })
}

/// The initialization pattern descriptor, behind the header.
fn pattern(list: &[u8], at: usize, block_length: u32) -> Result<Option<Vec<u8>>, Sense> {
    const DEFAULT: u8 = 0x00;
    const REPEAT: u8 = 0x01;
    let header: &[u8; 4] =
        list.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(Sense::parameter_list_length_error)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    match (header[1], length) {
        (DEFAULT, 0) => Ok(None),
        (REPEAT, 1..) if length <= block_length as usize => {
            let bytes = list.get(at + 4..at + 4 + length).ok_or_else(Sense::parameter_list_length_error)?;
            Ok(Some(bytes.to_vec()))
        }
        (DEFAULT | REPEAT, _) => Err(Sense::invalid_field_in_parameter_list(at as u16 + 2, None)),
        _ => Err(Sense::invalid_field_in_parameter_list(at as u16 + 1, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_lengths() {
        let immediate = FormatUnit { immediate: true, pattern: None };
        assert_eq!(parse(&[0, 0x02, 0, 0], false, 512), Ok(immediate.clone()));
        assert_eq!(parse(&[0, 0x82, 0, 0, 0, 0, 0, 0], true, 512), Ok(immediate));
        assert_eq!(parse(&[0, 0, 0], false, 512), Err(Sense::parameter_list_length_error()));
    }

    #[test]
    fn a_pattern_is_taken_with_fov() {
        let list = [0, 0x88, 0, 0, 0, 1, 0, 2, 0xAB, 0xCD];
        assert_eq!(parse(&list, false, 512).map(|format| format.pattern), Ok(Some(vec![0xAB, 0xCD])));
        assert_eq!(parse(&list[..9], false, 512), Err(Sense::parameter_list_length_error()));
        let mut without = list;
        without[1] = 0x08;
        assert_eq!(parse(&without, false, 512), Err(Sense::invalid_field_in_parameter_list(1, 7)));
        let mut long = list;
        long[6] = 0x80;
        assert_eq!(parse(&long, false, 512), Err(Sense::invalid_field_in_parameter_list(6, None)));
        let mut kind = list;
        kind[5] = 9;
        assert_eq!(parse(&kind, false, 512), Err(Sense::invalid_field_in_parameter_list(5, None)));
    }

    #[test]
    fn defects_and_protection_are_refused() {
        assert_eq!(parse(&[0, 0, 0, 4], false, 512), Err(Sense::invalid_field_in_parameter_list(2, None)));
        assert_eq!(parse(&[1, 0, 0, 0], false, 512), Err(Sense::invalid_field_in_parameter_list(0, 2)));
        assert_eq!(parse(&[0, 0, 0, 1, 0, 0, 0, 0], true, 512), Err(Sense::invalid_field_in_parameter_list(3, None)));
    }
}
