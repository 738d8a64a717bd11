//! The values of RFC 7143 §6.1: numbers, booleans, lists and binary strings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// "The constants "None", "Reject", "Irrelevant", and "NotUnderstood" are reserved" (RFC 7143 §6.2).
pub const NONE: &str = "None";
pub const REJECT: &str = "Reject";
pub const IRRELEVANT: &str = "Irrelevant";
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";

/// "In particular, the use of "Reject", "Irrelevant", and "NotUnderstood" as proposed values" is a protocol error.
pub fn is_reserved_for_answers(value: &str) -> bool {
    matches!(value, REJECT | IRRELEVANT | NOT_UNDERSTOOD)
}

/// A numerical-value: a decimal-constant ("the digit 0 or a string of one or more digits that starts with a non-zero
/// digit") or a hex-constant, less than 2**64.
pub fn numerical(value: &str) -> Option<u64> {
    if let Some(digits) = strip_prefix(value, ["0x", "0X"]) {
        return hex_number(digits);
    }
    let decimal = value == "0" || !value.starts_with('0');
    (decimal && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())).then(|| value.parse().ok())?
}

pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

pub fn yes_or_no(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',')
}

/// What is wrong with a binary-value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBinary {
    #[error("neither a hex-constant nor a base64-constant")]
    Malformed,
    #[error("longer than the key allows")]
    TooLong,
}

/// A binary-value of implicit length: "a hex-constant of n hexadecimal digits has a byte-length of (the integer part
/// of) (n + 1)/2", or base64 after 0b or 0B. The length is judged before anything is decoded.
pub fn binary(value: &str, bytes_max: usize) -> Result<Vec<u8>, BadBinary> {
    if let Some(digits) = strip_prefix(value, ["0x", "0X"]) {
        if digits.is_empty() {
            return Err(BadBinary::Malformed);
        }
        if digits.len().div_ceil(2) > bytes_max {
            return Err(BadBinary::TooLong);
        }
        let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
        return hex::decode(even).map_err(|_| BadBinary::Malformed);
    }
    let Some(digits) = strip_prefix(value, ["0b", "0B"]) else {
        return Err(BadBinary::Malformed);
    };
    if digits.is_empty() {
        return Err(BadBinary::Malformed);
    }
    if digits.len() / 4 * 3 > bytes_max + 2 {
        return Err(BadBinary::TooLong);
    }
    match STANDARD.decode(digits) {
        Ok(bytes) if bytes.len() > bytes_max => Err(BadBinary::TooLong),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(BadBinary::Malformed),
    }
}

/// Hex in small letters after 0x: the one form that every initiator reads.
pub fn encode_binary(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn hex_number(digits: &str) -> Option<u64> {
    // from_str_radix would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
}

fn strip_prefix<'a>(value: &'a str, prefixes: [&str; 2]) -> Option<&'a str> {
    prefixes.iter().find_map(|prefix| value.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_decimal_or_hex_constants() {
        assert_eq!(numerical("0"), Some(0));
        assert_eq!(numerical("262144"), Some(262144));
        assert_eq!(numerical("0x40000"), Some(262144));
        assert_eq!(numerical("0XfF"), Some(255));
        assert_eq!(numerical("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "018", "00", "-1", "+1", "1 ", "0x", "0x+1", "0xg", "18446744073709551616", "0b1", "1~2", "Yes"]
        {
            assert_eq!(numerical(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn binary_is_hex_or_base64() {
        assert_eq!(binary("0x00ff", 16), Ok(vec![0, 255]));
        assert_eq!(binary("0XABC", 16), Ok(vec![0x0a, 0xbc]));
        assert_eq!(binary("0bAP8=", 16), Ok(vec![0, 255]));
        assert_eq!(binary("0BAP8=", 16), Ok(vec![0, 255]));
        for bad in ["", "0x", "0b", "12", "0xzz", "0bAP8", "0b====", "x00"] {
            assert_eq!(binary(bad, 16), Err(BadBinary::Malformed), "{bad:?}");
        }
        assert_eq!(binary("0x000102", 2), Err(BadBinary::TooLong));
        assert_eq!(binary("0bAAEC", 2), Err(BadBinary::TooLong));
        assert_eq!(binary(&format!("0b{}", "A".repeat(8000)), 1024), Err(BadBinary::TooLong));
    }

    proptest! {
        #[test]
        fn binary_comes_back(bytes in prop::collection::vec(any::<u8>(), 1..1024)) {
            prop_assert_eq!(binary(&encode_binary(&bytes), 1024), Ok(bytes.clone()));
            prop_assert_eq!(binary(&format!("0b{}", STANDARD.encode(&bytes)), 1024), Ok(bytes));
        }

        #[test]
        fn no_value_panics(value in "\\PC{0,40}") {
            let _ = (numerical(&value), binary(&value, 16), boolean(&value), list(&value).count());
        }
    }
}
