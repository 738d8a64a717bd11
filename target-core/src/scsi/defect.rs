//! READ DEFECT DATA (SBC-4 §5.22, §5.23): a medium made of files has no defect lists, which is told by empty ones.

/// Parameter data of READ DEFECT DATA (10), or (12) where `long`; to be cut to the ALLOCATION LENGTH.
pub fn read_defect_data(long: bool, primary_list: bool, grown_list: bool, format: u8) -> Vec<u8> {
    let plistv = if primary_list { 0x10 } else { 0 };
    let glistv = if grown_list { 0x08 } else { 0 };
    let mut out = vec![0; if long { 8 } else { 4 }];
    out[1] = plistv | glistv | format & 0x07;
    out
}

#[cfg(test)]
mod tests {
    use super::read_defect_data;

    #[test]
    fn lists_are_valid_and_empty() {
        assert_eq!(read_defect_data(false, true, true, 0b101), [0, 0x1D, 0, 0]);
        assert_eq!(read_defect_data(true, false, true, 0), [0, 0x08, 0, 0, 0, 0, 0, 0]);
    }
}
