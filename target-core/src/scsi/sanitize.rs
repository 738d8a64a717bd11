//! SANITIZE: the OVERWRITE service action's parameter list (SBC-4 §5.27.5).

use super::sense::Sense;

/// What OVERWRITE writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwrite {
    /// OVERWRITE COUNT, 1 to 31.
    passes: u8,
    /// INVERT: each pass writes the complement of the one before.
    invert: bool,
    /// INITIALIZATION PATTERN: 1 byte to one block.
    pattern: Vec<u8>,
}

impl Overwrite {
    pub fn parse(list: &[u8], block_length: u32) -> Result<Overwrite, Sense> {
        const INVERT: u8 = 0x80;
        const TEST: u8 = 0x60;
        const OVERWRITE_COUNT: u8 = 0x1F;
        // "PARAMETER LIST LENGTH … less than 0005h or greater than the logical block length + 4 … INVALID FIELD IN CDB".
        if list.len() < HEADER_BYTES + 1 || list.len() > HEADER_BYTES + block_length as usize {
            return Err(Sense::invalid_field_in_cdb(7, None));
        }
        if list[0] & TEST != 0 {
            return Err(Sense::invalid_field_in_parameter_list(0, 6));
        }
        let passes = list[0] & OVERWRITE_COUNT;
        if passes == 0 {
            return Err(Sense::invalid_field_in_parameter_list(0, 4));
        }
        let length = usize::from(u16::from_be_bytes([list[2], list[3]]));
        if length == 0 || length > block_length as usize {
            return Err(Sense::invalid_field_in_parameter_list(2, None));
        }
        let pattern =
            list.get(HEADER_BYTES..HEADER_BYTES + length).ok_or_else(Sense::parameter_list_length_error)?.to_vec();
        Ok(Overwrite { passes, invert: list[0] & INVERT != 0, pattern })
    }

    pub fn passes(&self) -> u8 {
        self.passes
    }

    /// One block of what pass `pass` (from 0) writes: "If the length of the initialization pattern is less than the length
    /// of a logical block, then the pattern shall be repeated as necessary".
    pub fn block(&self, pass: u8, block_length: u32) -> Vec<u8> {
        let inverted = if self.invert && pass % 2 == 1 { 0xFF } else { 0x00 };
        self.pattern.iter().map(|byte| byte ^ inverted).cycle().take(block_length as usize).collect()
    }
}

const HEADER_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(first: u8, length: u16, bytes: usize) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [vec![first, 0, high, low], vec![0xAA; bytes]].concat()
    }

    #[test]
    fn patterns_are_repeated_and_inverted() {
        let mut bytes = list(0x82, 4, 4);
        bytes[4..].copy_from_slice(&[1, 2, 3, 4]);
        let overwrite = Overwrite::parse(&bytes, 512).expect("parsed");
        assert_eq!(overwrite.passes(), 2);
        assert_eq!(overwrite.block(0, 512)[..6], [1, 2, 3, 4, 1, 2]);
        assert_eq!(overwrite.block(1, 512)[508..], [0xFE, 0xFD, 0xFC, 0xFB]);
        assert_eq!(overwrite.block(0, 512).len(), 512);
    }

    #[test]
    fn lengths_and_counts_are_checked() {
        assert!(Overwrite::parse(&list(1, 512, 512), 512).is_ok());
        assert!(Overwrite::parse(&list(1, 256, 256), 512).is_ok());
        for bytes in 0..5 {
            let cut = &list(1, 512, 512)[..bytes];
            assert_eq!(Overwrite::parse(cut, 512), Err(Sense::invalid_field_in_cdb(7, None)));
        }
        assert_eq!(Overwrite::parse(&list(1, 512, 513), 512), Err(Sense::invalid_field_in_cdb(7, None)));
        assert_eq!(Overwrite::parse(&list(0, 512, 512), 512), Err(Sense::invalid_field_in_parameter_list(0, 4)));
        assert_eq!(Overwrite::parse(&list(0x21, 512, 512), 512), Err(Sense::invalid_field_in_parameter_list(0, 6)));
        assert_eq!(Overwrite::parse(&list(1, 516, 512), 512), Err(Sense::invalid_field_in_parameter_list(2, None)));
        assert_eq!(Overwrite::parse(&list(1, 0, 512), 512), Err(Sense::invalid_field_in_parameter_list(2, None)));
        assert_eq!(Overwrite::parse(&list(1, 512, 100), 512), Err(Sense::parameter_list_length_error()));
    }
}
