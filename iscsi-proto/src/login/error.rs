//! Why a login ends without a session: Status-Class and Status-Detail (RFC 7143 §11.13.5).

use crate::pdu::LoginStatus;
use crate::text::TextError;

/// Every status but success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    #[error("target moved temporarily to {address}")]
    TargetMovedTemporarily { address: String },
    #[error("target moved permanently to {address}")]
    TargetMovedPermanently { address: String },
    #[error("initiator error")]
    InitiatorError,
    #[error("authentication failure")]
    AuthenticationFailure,
    #[error("authorization failure")]
    AuthorizationFailure,
    #[error("not found")]
    NotFound,
    #[error("target removed")]
    TargetRemoved,
    #[error("unsupported version")]
    UnsupportedVersion,
    #[error("too many connections")]
    TooManyConnections,
    #[error("missing parameter")]
    MissingParameter,
    #[error("can't include in session")]
    CannotIncludeInSession,
    #[error("session type not supported")]
    SessionTypeNotSupported,
    #[error("session does not exist")]
    SessionDoesNotExist,
    #[error("invalid during login")]
    InvalidDuringLogin,
    #[error("target error")]
    TargetError,
    #[error("service unavailable")]
    ServiceUnavailable,
    #[error("out of resources")]
    OutOfResources,
}

impl LoginError {
    pub const fn status(&self) -> LoginStatus {
        match self {
            LoginError::TargetMovedTemporarily { .. } => LoginStatus::TARGET_MOVED_TEMPORARILY,
            LoginError::TargetMovedPermanently { .. } => LoginStatus::TARGET_MOVED_PERMANENTLY,
            LoginError::InitiatorError => LoginStatus::INITIATOR_ERROR,
            LoginError::AuthenticationFailure => LoginStatus::AUTHENTICATION_FAILURE,
            LoginError::AuthorizationFailure => LoginStatus::AUTHORIZATION_FAILURE,
            LoginError::NotFound => LoginStatus::NOT_FOUND,
            LoginError::TargetRemoved => LoginStatus::TARGET_REMOVED,
            LoginError::UnsupportedVersion => LoginStatus::UNSUPPORTED_VERSION,
            LoginError::TooManyConnections => LoginStatus::TOO_MANY_CONNECTIONS,
            LoginError::MissingParameter => LoginStatus::MISSING_PARAMETER,
            LoginError::CannotIncludeInSession => LoginStatus::CANNOT_INCLUDE_IN_SESSION,
            LoginError::SessionTypeNotSupported => LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
            LoginError::SessionDoesNotExist => LoginStatus::SESSION_DOES_NOT_EXIST,
            LoginError::InvalidDuringLogin => LoginStatus::INVALID_DURING_LOGIN,
            LoginError::TargetError => LoginStatus::TARGET_ERROR,
            LoginError::ServiceUnavailable => LoginStatus::SERVICE_UNAVAILABLE,
            LoginError::OutOfResources => LoginStatus::OUT_OF_RESOURCES,
        }
    }
}

impl LoginError {
    /// Where a redirection leads: the TargetAddress that MUST come with it.
    pub fn address(&self) -> Option<&str> {
        match self {
            LoginError::TargetMovedTemporarily { address } | LoginError::TargetMovedPermanently { address } => {
                Some(address)
            }
            _ => None,
        }
    }
}

/// A login refused: the status for the initiator, and for the log a sentence that names the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: LoginError,
    pub rule: String,
}

impl Refusal {
    pub fn new(error: LoginError, rule: impl Into<String>) -> Refusal {
        Refusal { error, rule: rule.into() }
    }
}

impl From<TextError> for Refusal {
    fn from(error: TextError) -> Refusal {
        Refusal::new(LoginError::InitiatorError, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_the_table() {
        let address = String::new;
        let table = [
            (LoginError::TargetMovedTemporarily { address: address() }, 0x0101),
            (LoginError::TargetMovedPermanently { address: address() }, 0x0102),
            (LoginError::InitiatorError, 0x0200),
            (LoginError::AuthenticationFailure, 0x0201),
            (LoginError::AuthorizationFailure, 0x0202),
            (LoginError::NotFound, 0x0203),
            (LoginError::TargetRemoved, 0x0204),
            (LoginError::UnsupportedVersion, 0x0205),
            (LoginError::TooManyConnections, 0x0206),
            (LoginError::MissingParameter, 0x0207),
            (LoginError::CannotIncludeInSession, 0x0208),
            (LoginError::SessionTypeNotSupported, 0x0209),
            (LoginError::SessionDoesNotExist, 0x020a),
            (LoginError::InvalidDuringLogin, 0x020b),
            (LoginError::TargetError, 0x0300),
            (LoginError::ServiceUnavailable, 0x0301),
            (LoginError::OutOfResources, 0x0302),
        ];
        for (error, code) in table {
            let LoginStatus { class, detail } = error.status();
            assert_eq!(u16::from_be_bytes([class, detail]), code, "{error}");
        }
    }
}
