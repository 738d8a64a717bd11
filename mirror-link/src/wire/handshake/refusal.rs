use std::fmt;

/// What a peer has against the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: RefusalCode,
    /// For the operator; printable, at most [`TEXT_MAX`] bytes.
    text: String,
}

/// Bytes of a refusal's text.
pub(super) const TEXT_MAX: usize = 240;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalCode(pub u8);

impl RefusalCode {
    pub const VERSION: RefusalCode = RefusalCode(1);
    pub const UNKNOWN_NODE: RefusalCode = RefusalCode(2);
    pub const WRONG_SECRET: RefusalCode = RefusalCode(3);
    pub const ENCRYPTION: RefusalCode = RefusalCode(4);
    pub const NO_SUCH_SLOT: RefusalCode = RefusalCode(5);
    pub const SLOT_IN_USE: RefusalCode = RefusalCode(6);
    /// The session is older than the one that stands.
    pub const OLD_SESSION: RefusalCode = RefusalCode(7);
    /// The node of the greater name was dialed by nobody but that of the lesser.
    pub const WRONG_DIRECTION: RefusalCode = RefusalCode(8);
    pub const MALFORMED: RefusalCode = RefusalCode(9);
    /// Too much at once, or about to end.
    pub const BUSY: RefusalCode = RefusalCode(10);

    pub(super) fn is_lasting(self) -> bool {
        [
            RefusalCode::VERSION,
            RefusalCode::UNKNOWN_NODE,
            RefusalCode::WRONG_SECRET,
            RefusalCode::ENCRYPTION,
            RefusalCode::WRONG_DIRECTION,
        ]
        .contains(&self)
    }
}

impl Refusal {
    /// The text is cut where it is too long; what is not printable is replaced, since it ends in a log.
    pub fn new(code: RefusalCode, text: impl fmt::Display) -> Refusal {
        let mut printable = String::new();
        for character in text.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
            if printable.len() + character.len_utf8() > TEXT_MAX {
                break;
            }
            printable.push(character);
        }
        Refusal { code, text: printable }
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            RefusalCode::VERSION => "another version",
            RefusalCode::UNKNOWN_NODE => "unknown node",
            RefusalCode::WRONG_SECRET => "wrong secret",
            RefusalCode::ENCRYPTION => "encryption differs",
            RefusalCode::NO_SUCH_SLOT => "no such slot",
            RefusalCode::SLOT_IN_USE => "slot in use",
            RefusalCode::OLD_SESSION => "old session",
            RefusalCode::WRONG_DIRECTION => "wrong direction",
            RefusalCode::MALFORMED => "malformed",
            RefusalCode::BUSY => "busy",
            RefusalCode(other) => return write!(f, "reason {other}"),
        };
        f.write_str(text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => write!(f, "{}", self.code),
            text => write!(f, "{}: {text}", self.code),
        }
    }
}
