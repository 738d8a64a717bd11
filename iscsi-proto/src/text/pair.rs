//! One key=value pair, and a logical text data segment as a list of them.

use super::{TextError, keys};
use std::fmt;

/// "A standard-label MUST begin with a capital letter and must not exceed 63 characters" (RFC 7143 §6.1).
pub const KEY_BYTES_MAX: usize = 63;

/// Pairs in one logical text data segment. RFC 7143 names fewer than 60 keys; the bound keeps the answer (NotUnderstood
/// for each of them) in proportion.
pub const PAIRS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

impl Pair {
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Pair {
        Pair { key: key.into(), value: value.into() }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// "Every key=value pair, including the last or only pair in a LTDS, MUST be followed by one null (0x00) delimiter"
/// (RFC 7143 §6.1). Further nulls are passed over: some initiators count padding as text.
pub fn parse(text: &[u8]) -> Result<Vec<Pair>, TextError> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (pair, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        if pair.is_empty() {
            continue;
        }
        if pairs.len() == PAIRS_MAX {
            return Err(TextError::TooManyPairs);
        }
        pairs.push(parse_pair(pair)?);
    }
    if rest.is_empty() { Ok(pairs) } else { Err(TextError::NotTerminated) }
}

pub fn encode(pairs: &[Pair]) -> Vec<u8> {
    let mut text = Vec::with_capacity(pairs.iter().map(|pair| pair.key.len() + pair.value.len() + 2).sum());
    for pair in pairs {
        text.extend_from_slice(pair.key.as_bytes());
        text.push(b'=');
        text.extend_from_slice(pair.value.as_bytes());
        text.push(0);
    }
    text
}

/// "A key-name is whatever precedes the first "=" in the key=value pair" (RFC 7143 §6.1).
fn parse_pair(pair: &[u8]) -> Result<Pair, TextError> {
    let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
        return Err(TextError::NoEquals(excerpt(pair)));
    };
    let (name, value) = pair.split_at(equals);
    let value = value.get(1..).unwrap_or_default();
    let key = match std::str::from_utf8(name) {
        Ok(key) if is_key_name(key) => key,
        _ => return Err(TextError::BadKeyName(excerpt(name))),
    };
    let max = keys::value_bytes_max(key);
    if value.len() > max {
        return Err(TextError::ValueTooLong { key: key.to_owned(), bytes: value.len(), max });
    }
    match std::str::from_utf8(value) {
        Ok(value) => Ok(Pair::new(key, value)),
        Err(_) => Err(TextError::NotUtf8(key.to_owned())),
    }
}

/// A standard-label, and besides: iSCSIProtocolLevel begins with a small letter, X#NodeArchitecture has a "#".
fn is_key_name(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len())
        && key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+@_#".contains(&byte))
}

/// Enough of what came for a log line, never all of it.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..KEY_BYTES_MAX).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_end_with_a_null_each() {
        let text = b"InitiatorName=iqn.2026-11.net.example:h\0SessionType=Normal\0";
        let pairs = parse(text).expect("well formed");
        assert_eq!(
            pairs,
            [Pair::new("InitiatorName", "iqn.2026-11.net.example:h"), Pair::new("SessionType", "Normal")]
        );
        assert_eq!(encode(&pairs), text);
    }

    #[test]
    fn the_first_equals_sign_ends_the_key() {
        assert_eq!(parse(b"X-a=b=c\0").expect("well formed"), [Pair::new("X-a", "b=c")]);
        assert_eq!(parse(b"SendTargets=\0").expect("well formed"), [Pair::new("SendTargets", "")]);
        assert_eq!(parse(b"A=1\0\0\0B=2\0\0").expect("nulls are passed over").len(), 2);
    }

    #[test]
    fn malformed_text_is_refused() {
        assert_eq!(parse(b"A=1\0B=2"), Err(TextError::NotTerminated));
        assert_eq!(parse(b"A\0"), Err(TextError::NoEquals("A".into())));
        assert_eq!(parse(b"=1\0"), Err(TextError::BadKeyName(String::new())));
        assert_eq!(parse(b"A b=1\0"), Err(TextError::BadKeyName("A b".into())));
        assert_eq!(parse(b"\xff=1\0"), Err(TextError::BadKeyName("\u{fffd}".into())));
        assert_eq!(parse(b"InitiatorAlias=\xff\0"), Err(TextError::NotUtf8("InitiatorAlias".into())));
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let key = |bytes: usize| [vec![b'K'; bytes], b"=v\0".to_vec()].concat();
        assert!(parse(&key(63)).is_ok());
        assert!(matches!(parse(&key(64)), Err(TextError::BadKeyName(_))));
        let value = |key: &str, bytes: usize| [key.as_bytes(), b"=", &vec![b'v'; bytes], b"\0"].concat();
        assert!(parse(&value("CHAP_N", 255)).is_ok());
        assert!(matches!(parse(&value("CHAP_N", 256)), Err(TextError::ValueTooLong { bytes: 256, max: 255, .. })));
        assert!(parse(&value("CHAP_R", 8192)).is_ok());
        assert!(matches!(parse(&value("CHAP_R", 8193)), Err(TextError::ValueTooLong { max: 8192, .. })));
        assert!(parse(&b"A=1\0".repeat(PAIRS_MAX)).is_ok());
        assert_eq!(parse(&b"A=1\0".repeat(PAIRS_MAX + 1)), Err(TextError::TooManyPairs));
    }

    proptest! {
        #[test]
        fn every_list_of_pairs_comes_back(pairs in prop::collection::vec(("[A-Z][A-Za-z0-9._@+-]{0,62}", "[ -~é]{0,100}"), 0..20)) {
            let pairs: Vec<Pair> = pairs.into_iter().map(|(key, value)| Pair::new(key, value)).collect();
            prop_assert_eq!(parse(&encode(&pairs)), Ok(pairs));
        }

        #[test]
        fn what_parses_encodes_to_what_parses_alike(text in prop::collection::vec(prop_oneof![Just(0u8), Just(b'='), any::<u8>(), b'A'..=b'Z'], 0..200)) {
            if let Ok(pairs) = parse(&text) {
                prop_assert_eq!(parse(&encode(&pairs)), Ok(pairs));
            }
        }
    }
}
