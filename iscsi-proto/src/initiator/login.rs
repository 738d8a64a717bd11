//! The initiator's login: what it expects next, and what it says then (RFC 7143 §6.3).
//!
//! ```text
//!  no CHAP   ──────────────────────────────► SecurityEnd ──► OperationalEnd ──► full feature phase
//!  CHAP      AuthMethod ──► Challenge ──► Proof ────┘
//! ```

use bytes::{Bytes, BytesMut};

use super::chap::{Chap, ChapAlgorithm, decode_binary};
use super::options::{Options, Parameters, find};
use super::text::{decode_pairs, encode_pairs};
use crate::pdu::{LoginRequest, LoginResponse, LoginStage, LoginStatus};
use crate::types::{CmdSn, InitiatorTaskTag, StatSn};

/// Every login that gets anywhere needs fewer; a target that never ends one is not waited for.
pub const LOGIN_REQUESTS_MAX: u32 = 64;

/// Most text of one stage, however many PDUs it spans.
const TEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    #[error("the target answers {status}")]
    Refused { status: LoginStatus, answers: Vec<(String, String)> },
    #[error("expected {expected}, got {got:?}")]
    Unexpected { expected: &'static str, got: String },
    #[error("the target could not prove who it is")]
    TargetUnproven,
    #[error("no end after {LOGIN_REQUESTS_MAX} requests")]
    Endless,
}

#[derive(Debug)]
pub(super) enum Progress {
    Send(LoginRequest),
    Complete(Parameters),
}

#[derive(Debug)]
pub(super) struct Login {
    options: Options,
    expect: Expect,
    /// What is left to say in this turn, and where the turn leads.
    turn: Turn,
    heard: BytesMut,
    answers: Vec<(String, String)>,
    exp_stat_sn: StatSn,
    requests: u32,
}

#[derive(Debug)]
enum Expect {
    AuthMethod(Chap),
    Challenge(Chap),
    Proof(Chap, ChapAlgorithm),
    SecurityEnd,
    OperationalEnd,
}

#[derive(Debug)]
struct Turn {
    text: Bytes,
    stage: LoginStage,
    transit: Option<LoginStage>,
}

const SECURITY: LoginStage = LoginStage::SECURITY_NEGOTIATION;
const OPERATIONAL: LoginStage = LoginStage::LOGIN_OPERATIONAL_NEGOTIATION;
const FULL_FEATURE: LoginStage = LoginStage::FULL_FEATURE_PHASE;

impl Login {
    /// The exchange, and its first request.
    pub fn new(options: Options) -> (Login, LoginRequest) {
        let session_type = if options.target_name.is_some() { "Normal" } else { "Discovery" };
        let mut pairs = vec![("InitiatorName", options.initiator_name.as_str()), ("SessionType", session_type)];
        pairs.extend(options.target_name.iter().map(|name| ("TargetName", name.as_str())));
        let (expect, transit) = match options.chap.clone() {
            Some(chap) => (Expect::AuthMethod(chap), None),
            None => (Expect::SecurityEnd, Some(OPERATIONAL)),
        };
        pairs.push(("AuthMethod", if transit.is_none() { "CHAP" } else { "None" }));
        let turn = Turn { text: encode_pairs(pairs), stage: SECURITY, transit };
        let (heard, answers) = (BytesMut::new(), Vec::new());
        let mut login = Login { options, expect, turn, heard, answers, exp_stat_sn: StatSn(0), requests: 0 };
        let first = login.request();
        (login, first)
    }

    pub fn handle(mut self, response: LoginResponse) -> Result<(Login, Progress), LoginFailure> {
        self.exp_stat_sn = response.stat_sn.next();
        self.heard.extend_from_slice(&response.data);
        if !response.status.is_success() {
            let (status, answers) = (response.status, decode_pairs(&self.heard));
            return Err(LoginFailure::Refused { status, answers });
        }
        if self.requests >= LOGIN_REQUESTS_MAX || self.heard.len() > TEXT_BYTES_MAX {
            return Err(LoginFailure::Endless);
        }
        // Either side goes on with its text while the other has nothing to say.
        if !self.turn.text.is_empty() || response.continue_ {
            let request = self.request();
            return Ok((self, Progress::Send(request)));
        }
        let answers = decode_pairs(&self.heard.split());
        self.answers.extend(answers.iter().cloned());
        self.hear(&response, &answers)
    }

    fn hear(self, response: &LoginResponse, answers: &[(String, String)]) -> Result<(Login, Progress), LoginFailure> {
        let value = |key, expected| find(answers, key).ok_or_else(|| unexpected(expected, format!("{answers:?}")));
        match &self.expect {
            Expect::AuthMethod(chap) => {
                let method = value("AuthMethod", "AuthMethod=CHAP")?;
                if method != "CHAP" {
                    return Err(unexpected("AuthMethod=CHAP", method.into()));
                }
                let numbers: Vec<String> =
                    chap.algorithms.iter().map(|algorithm| algorithm.number().to_string()).collect();
                let text = encode_pairs([("CHAP_A", numbers.join(",").as_str())]);
                let expect = Expect::Challenge(chap.clone());
                Ok(self.say(expect, Turn { text, stage: SECURITY, transit: None }))
            }
            Expect::Challenge(chap) => {
                let number = value("CHAP_A", "CHAP_A")?;
                let algorithm = ChapAlgorithm::from_number(number)
                    .filter(|algorithm| chap.algorithms.contains(algorithm))
                    .ok_or_else(|| unexpected("CHAP_A of those offered", number.into()))?;
                let identifier = value("CHAP_I", "CHAP_I")?;
                let identifier = identifier.parse().map_err(|_| unexpected("CHAP_I below 256", identifier.into()))?;
                let challenge = value("CHAP_C", "CHAP_C")?;
                let challenge =
                    decode_binary(challenge).ok_or_else(|| unexpected("CHAP_C in binary", challenge.into()))?;
                let text = prove(chap, algorithm, identifier, &challenge);
                let expect = Expect::Proof(chap.clone(), algorithm);
                Ok(self.say(expect, Turn { text, stage: SECURITY, transit: Some(OPERATIONAL) }))
            }
            Expect::Proof(chap, algorithm) => {
                if !is_proven(chap, *algorithm, answers) {
                    return Err(LoginFailure::TargetUnproven);
                }
                self.end_security(response)
            }
            Expect::SecurityEnd => self.end_security(response),
            Expect::OperationalEnd if response.is_final_response() => {
                let parameters = Parameters::new(response.tsih, &self.options.keys, self.answers.clone());
                Ok((self, Progress::Complete(parameters)))
            }
            Expect::OperationalEnd => Ok(self.say(Expect::OperationalEnd, go_on(OPERATIONAL, FULL_FEATURE))),
        }
    }

    fn end_security(self, response: &LoginResponse) -> Result<(Login, Progress), LoginFailure> {
        if !response.transit {
            return Ok(self.say(Expect::SecurityEnd, go_on(SECURITY, OPERATIONAL)));
        }
        if response.next_stage != OPERATIONAL {
            return Err(unexpected("LOGIN_OPERATIONAL_NEGOTIATION", format!("{:?}", response.next_stage)));
        }
        let text = encode_pairs(self.options.keys.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        Ok(self.say(Expect::OperationalEnd, Turn { text, stage: OPERATIONAL, transit: Some(FULL_FEATURE) }))
    }

    fn say(self, expect: Expect, turn: Turn) -> (Login, Progress) {
        let mut login = Login { expect, turn, ..self };
        let request = login.request();
        (login, Progress::Send(request))
    }

    /// The next piece of this turn's text; T comes with the last.
    fn request(&mut self) -> LoginRequest {
        self.requests += 1;
        let length = self.turn.text.len().min(self.options.login_text_bytes_max);
        let data = self.turn.text.split_to(length);
        let continue_ = !self.turn.text.is_empty();
        let transit = self.turn.transit.filter(|_| !continue_);
        LoginRequest {
            transit: transit.is_some(),
            continue_,
            current_stage: self.turn.stage,
            next_stage: transit.unwrap_or(SECURITY),
            version_max: 0,
            version_min: 0,
            isid: self.options.isid,
            tsih: self.options.tsih,
            initiator_task_tag: InitiatorTaskTag(0),
            cid: self.options.cid,
            cmd_sn: self.cmd_sn(),
            exp_stat_sn: self.exp_stat_sn,
            data,
        }
    }

    /// "The first non-immediate command in the Full Feature Phase also carries the CmdSN" of the login (RFC 7143 §11.12.8).
    pub fn cmd_sn(&self) -> CmdSn {
        self.options.initial_cmd_sn
    }

    pub fn exp_stat_sn(&self) -> StatSn {
        self.exp_stat_sn
    }

    pub fn into_options(self) -> Options {
        self.options
    }
}

/// Nothing more to say, and ready to leave the stage.
fn go_on(stage: LoginStage, next: LoginStage) -> Turn {
    Turn { text: Bytes::new(), stage, transit: Some(next) }
}

fn prove(chap: &Chap, algorithm: ChapAlgorithm, identifier: u8, challenge: &[u8]) -> Bytes {
    let response = chap.encoding.encode(&algorithm.response(identifier, &chap.secret, challenge));
    let mut pairs = vec![("CHAP_N", chap.name.clone()), ("CHAP_R", response)];
    if let Some(target) = &chap.target {
        pairs.push(("CHAP_I", target.identifier.to_string()));
        pairs.push(("CHAP_C", chap.encoding.encode(&target.challenge)));
    }
    encode_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())))
}

fn is_proven(chap: &Chap, algorithm: ChapAlgorithm, answers: &[(String, String)]) -> bool {
    let Some(target) = &chap.target else { return true };
    let response = algorithm.response(target.identifier, &target.secret, &target.challenge);
    let name = find(answers, "CHAP_N");
    name.is_some()
        && target.name.as_deref().is_none_or(|expected| name == Some(expected))
        && find(answers, "CHAP_R").and_then(decode_binary) == Some(response)
}

fn unexpected(expected: &'static str, got: String) -> LoginFailure {
    LoginFailure::Unexpected { expected, got }
}
