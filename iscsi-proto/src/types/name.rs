//! iSCSI names (RFC 7143 §4.2.7).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// "The UTF-8 encoding of the name is not larger than 223 bytes." (RFC 7143 §4.2.7.2)
pub const ISCSI_NAME_BYTES_MAX: usize = 223;

/// A name of an iSCSI node, checked and in lower case: equal names are equal bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IscsiName(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("longer than {ISCSI_NAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("does not begin with iqn., eui. or naa.")]
    UnknownType,
    #[error("iqn. is not followed by a date as yyyy-mm and a dot")]
    BadDate,
    #[error("no naming authority after the date")]
    NoAuthority,
    #[error("not 16 hexadecimal digits (eui.), or 16 or 32 (naa.)")]
    BadDigits,
    #[error("character {0:?} is not allowed in an iSCSI name")]
    BadCharacter(char),
}

impl IscsiName {
    /// "iSCSI's stringprep profile maps uppercase characters to lowercase and SHOULD be used to prepare iSCSI names from
    /// input that may include uppercase characters." (RFC 7143 §4.2.7.1)
    pub fn new(text: &str) -> Result<IscsiName, NameError> {
        // Lower case may be longer than the input, never a fourth as long: this bounds the work on hostile input.
        if text.len() > 4 * ISCSI_NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let name = text.to_lowercase();
        if name.len() > ISCSI_NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if let Some(character) = name.chars().find(|&character| !is_allowed(character)) {
            return Err(NameError::BadCharacter(character));
        }
        match name.split_once('.') {
            Some(("iqn", rest)) => check_qualified(rest)?,
            Some(("eui", digits)) => check_digits(digits, &[16])?,
            Some(("naa", digits)) => check_digits(digits, &[16, 32])?,
            _ => return Err(NameError::UnknownType),
        }
        Ok(IscsiName(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same name, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

/// "A date code, in yyyy-mm format … a dot … the reverse domain name of the naming authority" (RFC 7143 §4.2.7.4)
fn check_qualified(rest: &str) -> Result<(), NameError> {
    let (date, authority) = rest.split_once('.').ok_or(NameError::BadDate)?;
    let (year, month) = date.split_once('-').ok_or(NameError::BadDate)?;
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) || !("01"..="12").contains(&month) {
        return Err(NameError::BadDate);
    }
    match authority.split(':').next() {
        None | Some("") => Err(NameError::NoAuthority),
        Some(_) => Ok(()),
    }
}

fn check_digits(digits: &str, lengths: &[usize]) -> Result<(), NameError> {
    let whole = lengths.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then_some(()).ok_or(NameError::BadDigits)
}

/// RFC 3722 §6 prohibits white space, controls and ASCII punctuation other than `-`, `.` and `:`. The underscore is let
/// through: host names carry it into initiator names in the field, and it confuses nobody.
fn is_allowed(character: char) -> bool {
    match character {
        '-' | '.' | ':' | '_' => true,
        _ if character.is_ascii() => character.is_ascii_alphanumeric(),
        _ => !character.is_whitespace() && !character.is_control(),
    }
}

impl FromStr for IscsiName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<IscsiName, NameError> {
        IscsiName::new(text)
    }
}

impl AsRef<str> for IscsiName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_standard_are_accepted() {
        for name in [
            "iqn.2001-04.com.example:storage:diskarrays-sn-a8675309",
            "iqn.2001-04.com.example",
            "iqn.1993-08.org.debian:01:my_host",
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
            "iqn.2001-04.com.example:größe",
        ] {
            assert_eq!(IscsiName::new(name).map(|name| name.to_string()).as_deref(), Ok(name));
        }
    }

    #[test]
    fn upper_case_is_the_same_name() {
        assert_eq!(IscsiName::new("IQN.2001-04.COM.Example:A"), IscsiName::new("iqn.2001-04.com.example:a"));
        assert_eq!(IscsiName::new("eui.02004567A425678D").map(|n| n.to_string()), Ok("eui.02004567a425678d".into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let long = format!("iqn.2001-04.com.example:{}", "a".repeat(200));
        for (text, error) in [
            ("", NameError::UnknownType),
            ("disk", NameError::UnknownType),
            ("wwn.2001-04.com.example", NameError::UnknownType),
            ("iqn.2001-13.com.example", NameError::BadDate),
            ("iqn.200-04.com.example", NameError::BadDate),
            ("iqn.2001-04", NameError::BadDate),
            ("iqn.2001-04.", NameError::NoAuthority),
            ("iqn.2001-04.:x", NameError::NoAuthority),
            ("eui.0200", NameError::BadDigits),
            ("naa.5200456", NameError::BadDigits),
            ("iqn.2001-04.com.example:a b", NameError::BadCharacter(' ')),
            ("iqn.2001-04.com.example:a\0", NameError::BadCharacter('\0')),
            ("iqn.2001-04.com.example:a,b", NameError::BadCharacter(',')),
            (&long, NameError::TooLong),
        ] {
            assert_eq!(IscsiName::new(text), Err(error), "{text}");
        }
        assert!(IscsiName::new(&long[..ISCSI_NAME_BYTES_MAX]).is_ok());
    }
}
