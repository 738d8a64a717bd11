//! What an initiator says of itself: names, alias, session type (RFC 7143 §6.3, §13).

use super::error::{LoginError, Refusal};
use crate::text::keys::{Senders, Stage};
use crate::text::{Key, Pair, SessionType, TextError};
use crate::types::IscsiName;

/// What the initiator declared of itself.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) initiator_name: IscsiName,
    pub(super) initiator_alias: Option<String>,
    pub(super) node_architecture: Option<String>,
    pub(super) session_type: SessionType,
    pub(super) target_name: Option<IscsiName>,
}

impl Declared {
    /// "The initial Login Request of any connection MUST include the InitiatorName key=value pair. … For any connection
    /// within a session whose type is not "Discovery", the first Login Request MUST also include the TargetName
    /// key=value pair." (§6.3)
    pub(super) fn read(pairs: &[Pair]) -> Result<Declared, Refusal> {
        refuse_target_keys(pairs)?;
        let missing = |rule| Refusal::new(LoginError::MissingParameter, rule);
        let Some(initiator) = find(pairs, Key::InitiatorName) else {
            return Err(missing("the initial Login Request has no InitiatorName"));
        };
        let initiator_name = IscsiName::new(initiator)
            .map_err(|error| misuse(format!("InitiatorName={initiator:?} is no iSCSI name: {error}")))?;
        let session_type = match find(pairs, Key::SessionType) {
            None => SessionType::Normal,
            Some(value) => SessionType::parse(value).ok_or_else(|| {
                Refusal::new(
                    LoginError::SessionTypeNotSupported,
                    format!("SessionType={value:?} is neither Normal nor Discovery"),
                )
            })?,
        };
        let target_name = match (find(pairs, Key::TargetName), session_type) {
            (None, SessionType::Normal) => {
                return Err(missing("the initial Login Request of a normal session has no TargetName"));
            }
            (None, SessionType::Discovery) => None,
            (Some(name), _) => Some(IscsiName::new(name).map_err(|error| {
                Refusal::new(LoginError::NotFound, format!("TargetName={name:?} is no iSCSI name: {error}"))
            })?),
        };
        Ok(Declared {
            initiator_name,
            initiator_alias: find(pairs, Key::InitiatorAlias).map(str::to_owned),
            node_architecture: find(pairs, Key::NodeArchitecture).map(str::to_owned),
            session_type,
            target_name,
        })
    }

    /// "The InitiatorName MUST NOT be redeclared within the Login Phase" (§13.5). The same value once more is let
    /// through: initiators in the field begin every stage with it.
    pub(super) fn repeat(&mut self, pairs: &[Pair]) -> Result<(), Refusal> {
        refuse_target_keys(pairs)?;
        let differs = |key: Key, same: &dyn Fn(&str) -> bool| find(pairs, key).is_some_and(|value| !same(value));
        let target_name = self.target_name.as_ref();
        let redeclared = [
            (
                Key::InitiatorName,
                differs(Key::InitiatorName, &|v| IscsiName::new(v).as_ref() == Ok(&self.initiator_name)),
            ),
            (Key::TargetName, differs(Key::TargetName, &|v| IscsiName::new(v).ok().as_ref() == target_name)),
            (Key::SessionType, differs(Key::SessionType, &|v| SessionType::parse(v) == Some(self.session_type))),
        ];
        if let Some((key, _)) = redeclared.iter().find(|(_, differs)| *differs) {
            return Err(misuse(format!("the initiator redeclared {} during login", key.name())));
        }
        if let Some(alias) = find(pairs, Key::InitiatorAlias) {
            self.initiator_alias = Some(alias.to_owned());
        }
        if let Some(architecture) = find(pairs, Key::NodeArchitecture) {
            self.node_architecture = Some(architecture.to_owned());
        }
        Ok(())
    }
}

/// The any-stage keys that only a target declares.
fn refuse_target_keys(pairs: &[Pair]) -> Result<(), TextError> {
    let of_targets = |pair: &&Pair| {
        Key::named(&pair.key).is_some_and(|key| key.rule().stage == Stage::Any && key.rule().senders == Senders::Target)
    };
    match pairs.iter().find(of_targets) {
        Some(pair) => Err(TextError::NotForInitiators(pair.key.clone())),
        None => Ok(()),
    }
}

fn find(pairs: &[Pair], key: Key) -> Option<&str> {
    pairs.iter().find(|pair| pair.key == key.name()).map(|pair| pair.value.as_str())
}

pub(super) fn misuse(rule: impl Into<String>) -> Refusal {
    Refusal::new(LoginError::InitiatorError, rule)
}
