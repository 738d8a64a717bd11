//! SEND DIAGNOSTIC (SPC-5 §6.42): the default self-test, and no diagnostic pages.

use super::sense::Sense;

/// Refuses all but the default self-test (SELFTEST) and, where that bit is zero, nothing at all.
pub fn check(self_test_code: u8, parameter_list_length: u32) -> Result<(), Sense> {
    // "The SELF-TEST CODE field … shall be set to 000b if the SELFTEST bit is set to one"; the tests it names, in the
    // foreground and the background, are optional.
    if self_test_code != 0 {
        return Err(Sense::invalid_field_in_cdb(1, 7));
    }
    if parameter_list_length != 0 {
        return Err(Sense::invalid_field_in_cdb(3, None));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_self_test_is_known() {
        assert_eq!(check(0, 0), Ok(()));
        assert_eq!(check(1, 0), Err(Sense::invalid_field_in_cdb(1, 7)));
        assert_eq!(check(0, 4), Err(Sense::invalid_field_in_cdb(3, None)));
    }
}
