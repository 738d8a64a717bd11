//! What identifies a session, its connections and its portal group (RFC 7143 §11.12, §4.4).

use std::fmt;

/// Initiator's part of the session identifier.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isid(pub [u8; 6]);

/// Target session identifying handle. "The value 0 is reserved" (RFC 7143 §11.13.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tsih(pub u16);

/// Names a connection within its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cid(pub u16);

/// Target portal group tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tpgt(pub u16);

impl Tsih {
    /// In a Login Request: "The reserved value 0 MUST be used on the first connection for a new session." (§11.12.6)
    pub const NEW_SESSION: Tsih = Tsih(0);

    pub const fn is_new_session(self) -> bool {
        self.0 == Self::NEW_SESSION.0
    }
}

/// As in an initiator port name: `0x` and twelve digits.
impl fmt::Display for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! decimal {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
decimal!(Tsih Cid Tpgt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isid_is_written_as_in_a_port_name() {
        assert_eq!(Isid([0x00, 0x02, 0x3d, 0x00, 0x00, 0x0a]).to_string(), "0x00023d00000a");
    }

    #[test]
    fn zero_asks_for_a_new_session() {
        assert!(Tsih(0).is_new_session() && !Tsih(1).is_new_session());
    }
}
