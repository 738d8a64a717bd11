//! Text of Login and Text PDUs (RFC 7143 §6): key=value pairs, continuation over several PDUs, one table of keys, and
//! negotiation.

pub mod continuation;
pub mod exchange;
pub mod keys;
pub mod negotiation;
pub mod pair;
pub mod parameters;
pub mod send_targets;
pub mod value;

pub use continuation::{Outgoing, Reassembly};
pub use exchange::{Received, TextExchange, TextPart, TextRefusal, TextReply};
pub use keys::{Key, KeyRule, KeySet};
pub use negotiation::{FullFeatureAnswer, Negotiation, full_feature};
pub use pair::Pair;
pub use parameters::{Digest, Offers, OperationalParameters, SessionType, TaskReporting};
pub use send_targets::{DiscoveredTarget, SendTargets};

/// Text that breaks RFC 7143 §6: the sender misbehaved. In a login this is an initiator error, in the full feature
/// phase a Reject with the reason Protocol Error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("expected a null delimiter after every key=value pair, got text that ends without one")]
    NotTerminated,
    #[error("expected key=value, got {0:?} without \"=\"")]
    NoEquals(String),
    #[error("expected a key-name of 1 to {max} letters, digits and . - + @ _ #, got {0:?}", max = pair::KEY_BYTES_MAX)]
    BadKeyName(String),
    #[error("expected at most {max} bytes as the value of {key}, got {bytes}")]
    ValueTooLong { key: String, bytes: usize, max: usize },
    #[error("expected UTF-8 as the value of {0}")]
    NotUtf8(String),
    #[error("expected at most {max} keys in one logical text data segment", max = pair::PAIRS_MAX)]
    TooManyPairs,
    #[error("expected at most {max} bytes in one logical text data segment, got {bytes}", max = continuation::TEXT_BYTES_MAX)]
    TooMuchText { bytes: usize },
    #[error("{0} was given twice in one negotiation")]
    Duplicate(String),
    #[error("{0} is not for an initiator to send")]
    NotForInitiators(String),
    #[error("{key} may be used {allowed}, not {now}")]
    NotNow { key: String, allowed: &'static str, now: &'static str },
    #[error("{key}={value} is reserved for answers and was proposed")]
    ReservedValue { key: String, value: String },
    #[error("{key}={value:?} declares what the key does not allow")]
    NotAdmissible { key: String, value: String },
    #[error("expected no data segment in the request that asks for the rest of a continued answer")]
    AnswerInterrupted,
    #[error("the continue bit and the final or transit bit are both 1")]
    ContinueAndFinal,
}
