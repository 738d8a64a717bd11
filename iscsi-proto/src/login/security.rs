//! The SecurityNegotiation stage (RFC 7143 §6.3.2, §12.1).
//!
//! ```text
//!            AuthMethod=None                                          every step: the initiator moves first
//!   Method ------------------------------------------> Concluded
//!     | AuthMethod=CHAP        CHAP_N, CHAP_R [,I,C]       ^
//!     v                                                    |
//!   Algorithm --- CHAP_A ---> (challenge) ---> Response ---+
//! ```

use super::chap::{Algorithm, Challenge, ChapRequirement, Proof};
use super::error::{LoginError, Refusal};
use super::question::AuthRequirement;
use crate::text::keys::{Senders, Stage};
use crate::text::value::{self, NONE, NOT_UNDERSTOOD, REJECT};
use crate::text::{Key, KeySet, Pair, TextError};

/// What the initiator has to say next.
#[derive(Clone, Debug)]
pub(super) enum ExpectSecurity {
    /// `proposed`: "the authentication method proposal may be made by either the initiator or the target"; ours was.
    Method {
        proposed: bool,
    },
    Algorithm,
    Response {
        algorithm: Algorithm,
        challenge: Challenge,
    },
    Concluded {
        chap_user: Option<String>,
    },
}

pub(super) enum Outcome {
    Answer(Vec<Pair>, ExpectSecurity),
    /// The answers so far; [`challenged`] goes on.
    Challenge(Vec<Pair>, Algorithm),
}

impl ExpectSecurity {
    /// The stage may end: the initiator is authenticated, or does not need to be.
    pub(super) fn is_ready(&self, requirement: &AuthRequirement) -> bool {
        match (self, requirement) {
            (ExpectSecurity::Concluded { .. }, _) => true,
            (ExpectSecurity::Method { .. }, AuthRequirement::None) => true,
            (ExpectSecurity::Method { .. }, AuthRequirement::Chap(_)) => false,
            (ExpectSecurity::Algorithm | ExpectSecurity::Response { .. }, _) => false,
        }
    }

    pub(super) fn step(
        self,
        requirement: &AuthRequirement,
        pairs: &[Pair],
        seen: &mut KeySet,
    ) -> Result<Outcome, Refusal> {
        let (keys, mut answers) = SecurityKeys::sort(pairs, seen)?;
        match self {
            ExpectSecurity::Method { proposed } => method(requirement, proposed, keys, answers),
            ExpectSecurity::Algorithm => {
                keys.only(&[Key::ChapA], "while CHAP_A is expected")?;
                algorithm(chap(requirement)?, keys.required(Key::ChapA)?, answers)
            }
            ExpectSecurity::Response { algorithm, challenge } => {
                keys.only(&[Key::ChapN, Key::ChapR, Key::ChapI, Key::ChapC], "while CHAP_N and CHAP_R are expected")?;
                let proof = keys.proof()?;
                let (user, ours) = chap(requirement)?.verify(algorithm, &challenge, proof)?;
                answers.extend(ours);
                Ok(Outcome::Answer(answers, ExpectSecurity::Concluded { chap_user: Some(user) }))
            }
            ExpectSecurity::Concluded { chap_user } => {
                keys.only(&[], "after the authentication is over")?;
                Ok(Outcome::Answer(answers, ExpectSecurity::Concluded { chap_user }))
            }
        }
    }
}

/// "CHAP_A=<A> CHAP_I=<I> CHAP_C=<C>" (RFC 7143 §12.1.3), after what else there is to answer.
pub(super) fn challenged(
    mut answers: Vec<Pair>,
    algorithm: Algorithm,
    challenge: Challenge,
) -> (Vec<Pair>, ExpectSecurity) {
    answers.extend(challenge.pairs(algorithm));
    (answers, ExpectSecurity::Response { algorithm, challenge })
}

fn method(
    requirement: &AuthRequirement,
    proposed: bool,
    keys: SecurityKeys<'_>,
    mut answers: Vec<Pair>,
) -> Result<Outcome, Refusal> {
    let Some(offered) = keys.get(Key::AuthMethod) else {
        keys.only(&[], "while AuthMethod is expected")?;
        return match requirement {
            AuthRequirement::None => Ok(Outcome::Answer(answers, ExpectSecurity::Method { proposed })),
            AuthRequirement::Chap(_) if proposed => {
                Err(failure("CHAP is required and the initiator chose no AuthMethod"))
            }
            AuthRequirement::Chap(_) => {
                answers.push(Pair::new(Key::AuthMethod.name(), CHAP));
                Ok(Outcome::Answer(answers, ExpectSecurity::Method { proposed: true }))
            }
        };
    };
    let allowed = match requirement {
        AuthRequirement::None => NONE,
        AuthRequirement::Chap(_) => CHAP,
    };
    // "The target MUST reply with the first option in the list it supports and is allowed to use for the specific
    // initiator."
    if !value::list(offered).any(|method| method == allowed) {
        return Err(failure(format!("AuthMethod has to be {allowed} here and the initiator offers {offered:?}")));
    }
    if !proposed {
        answers.push(Pair::new(Key::AuthMethod.name(), allowed));
    }
    match (requirement, keys.get(Key::ChapA)) {
        (AuthRequirement::None, _) => {
            keys.only(&[Key::AuthMethod], "with AuthMethod=None")?;
            Ok(Outcome::Answer(answers, ExpectSecurity::Concluded { chap_user: None }))
        }
        (AuthRequirement::Chap(_), None) => {
            keys.only(&[Key::AuthMethod], "while AuthMethod and CHAP_A are expected")?;
            Ok(Outcome::Answer(answers, ExpectSecurity::Algorithm))
        }
        // "The initiator sends the first key(s) of the exchange together with its authentication method selection"
        // (§12.1).
        (AuthRequirement::Chap(requirement), Some(list)) => {
            keys.only(&[Key::AuthMethod, Key::ChapA], "while AuthMethod and CHAP_A are expected")?;
            algorithm(requirement, list, answers)
        }
    }
}

fn algorithm(requirement: &ChapRequirement, list: &str, answers: Vec<Pair>) -> Result<Outcome, Refusal> {
    match Algorithm::choose(list, &requirement.algorithms) {
        Some(algorithm) => Ok(Outcome::Challenge(answers, algorithm)),
        None => Err(failure(format!("no algorithm of CHAP_A={list:?} is allowed here"))),
    }
}

fn chap(requirement: &AuthRequirement) -> Result<&ChapRequirement, Refusal> {
    match requirement {
        AuthRequirement::Chap(requirement) => Ok(requirement),
        AuthRequirement::None => Err(Refusal::new(LoginError::InitiatorError, "no authentication is under way")),
    }
}

/// The authentication keys of one logical text data segment.
struct SecurityKeys<'a>(Vec<(Key, &'a str)>);

impl<'a> SecurityKeys<'a> {
    /// And the answers to those that nobody understands. "Only the following keys are used during the
    /// SecurityNegotiation stage … Other keys MUST NOT be used" (RFC 7143 §12).
    fn sort(pairs: &'a [Pair], seen: &mut KeySet) -> Result<(SecurityKeys<'a>, Vec<Pair>), TextError> {
        let (mut keys, mut answers) = (Vec::new(), Vec::new());
        for pair in pairs {
            let Some(key) = Key::named(&pair.key) else {
                answers.push(Pair::new(pair.key.as_str(), NOT_UNDERSTOOD));
                continue;
            };
            let rule = key.rule();
            match rule.stage {
                Stage::Any => continue, // read where the names are
                Stage::Operational => {
                    let (key, allowed) = (pair.key.clone(), rule.stage.describe());
                    return Err(TextError::NotNow { key, allowed, now: "in the SecurityNegotiation stage" });
                }
                Stage::Security => {}
            }
            if rule.senders == Senders::Target {
                return Err(TextError::NotForInitiators(pair.key.clone()));
            }
            if !seen.insert(key) {
                return Err(TextError::Duplicate(pair.key.clone()));
            }
            if value::is_reserved_for_answers(&pair.value) && pair.value != REJECT {
                return Err(TextError::ReservedValue { key: pair.key.clone(), value: pair.value.clone() });
            }
            keys.push((key, pair.value.as_str()));
        }
        Ok((SecurityKeys(keys), answers))
    }

    fn get(&self, key: Key) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// "Whenever an iSCSI target gets a request or response whose keys, or their values, are not according to the step
    /// definition, it MUST answer with a Login reject with the "Initiator Error" or "Missing Parameter" status" (§9.2).
    fn required(&self, key: Key) -> Result<&'a str, Refusal> {
        self.get(key).ok_or_else(|| Refusal::new(LoginError::MissingParameter, format!("{} is missing", key.name())))
    }

    fn only(&self, expected: &[Key], now: &str) -> Result<(), Refusal> {
        match self.0.iter().find(|(key, _)| !expected.contains(key)) {
            Some((key, _)) => Err(Refusal::new(LoginError::InitiatorError, format!("{} came {now}", key.name()))),
            None => Ok(()),
        }
    }

    fn proof(&self) -> Result<Proof<'a>, Refusal> {
        let counter_challenge = match (self.get(Key::ChapI), self.get(Key::ChapC)) {
            (None, None) => None,
            _ => Some((self.required(Key::ChapI)?, self.required(Key::ChapC)?)),
        };
        Ok(Proof { name: self.required(Key::ChapN)?, response: self.required(Key::ChapR)?, counter_challenge })
    }
}

fn failure(rule: impl Into<String>) -> Refusal {
    Refusal::new(LoginError::AuthenticationFailure, rule)
}

/// The one method besides None: "The initiator and target MUST implement CHAP.  All other authentication methods are
/// OPTIONAL."
const CHAP: &str = "CHAP";
