//! The login itself.
//!
//! ```text
//!                     first request
//!   InitialText ----------------------> Security ----------------> Operational
//!        |                                 |  T, NSG=3                 |  T, NSG=3
//!        +-----> Operational               +---------> (admission) <---+
//!   Any of them becomes Acknowledgement while an answer longer than one PDU is being fetched.
//! ```

use super::chap::{Algorithm, Challenge};
use super::declared::Declared;
use super::error::{LoginError, Refusal};
use super::question::{Admission, Knock, LoggedIn, Verdict};
use super::security;
use super::thread::{Expect, Party, Thread};
use crate::pdu::{LoginRequest, LoginResponse, LoginStage};
use crate::text::{OperationalParameters, Outgoing, Pair};
use crate::types::{IscsiName, StatSn, Tsih};
use bytes::Bytes;
use std::fmt;

/// A login that waits for a Login Request.
#[derive(Debug)]
pub struct Login {
    pub(super) thread: Box<Thread>,
    pub(super) expect: Expect,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Send this and hand the next Login Request to the [`Login`].
    Send(LoginResponse, Login),
    Authorize(Box<Authorize>),
    Challenge(Box<AskChallenge>),
    Admit(Box<Admit>),
}

/// Who may log in, and on which terms? Answer with [`Authorize::answer`].
#[derive(Debug)]
pub struct Authorize {
    pub knock: Knock,
    pub(super) thread: Box<Thread>,
    pub(super) declared: Declared,
    pub(super) pairs: Vec<Pair>,
}

/// Random bytes are needed. Answer with [`AskChallenge::answer`].
#[derive(Debug)]
pub struct AskChallenge {
    pub(super) thread: Box<Thread>,
    pub(super) party: Box<Party>,
    pub(super) answers: Vec<Pair>,
    pub(super) algorithm: Algorithm,
}

/// May this connection have its session? Answer with [`Admit::admit`] or [`Admit::refuse`].
#[derive(Debug)]
pub struct Admit {
    pub admission: Admission,
    pub(super) thread: Box<Thread>,
    pub(super) party: Box<Party>,
    pub(super) parameters: OperationalParameters,
    pub(super) data: Bytes,
}

/// A login that failed: send the response, close the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub response: LoginResponse,
    pub error: LoginError,
    /// A sentence that names the rule that refused.
    pub rule: String,
    /// As far as the login got.
    pub initiator_name: Option<IscsiName>,
    pub target_name: Option<IscsiName>,
}

impl Login {
    /// `initial_stat_sn`: "the starting status sequence number for the connection" (§11.13.4), any value.
    pub fn new(initial_stat_sn: StatSn) -> Login {
        Login { thread: Box::new(Thread::new(initial_stat_sn)), expect: Expect::InitialText }
    }

    pub fn handle(self, request: LoginRequest) -> Result<Step, Box<Rejected>> {
        let Login { mut thread, expect } = self;
        // Even a refusal needs the tags of the request that it answers.
        let repeated = thread.follow(&request);
        match repeated.and_then(|()| thread.advance(expect, &request)) {
            Ok(next) => Ok(thread.step(next)),
            Err(refusal) => Err(thread.reject(refusal)),
        }
    }

    /// Ends the login from outside: a PDU other than a Login Request ("Invalid during login"), a shutdown, no
    /// resources.
    pub fn refuse(self, refusal: Refusal) -> Box<Rejected> {
        self.thread.reject(refusal)
    }
}

impl Authorize {
    pub fn answer(self, verdict: Verdict) -> Result<Step, Box<Rejected>> {
        let Authorize { mut thread, declared, pairs, .. } = self;
        let next = match verdict {
            Verdict::Allow(terms) => thread.begin(declared, terms, &pairs),
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Redirect { address, permanent } => {
                let rule = format!("the target has moved to {address}");
                Err(Refusal::new(
                    if permanent {
                        LoginError::TargetMovedPermanently { address }
                    } else {
                        LoginError::TargetMovedTemporarily { address }
                    },
                    rule,
                ))
            }
        };
        match next {
            Ok(next) => Ok(thread.step(next)),
            Err(refusal) => Err(thread.reject(refusal)),
        }
    }
}

impl AskChallenge {
    pub fn answer(self, challenge: Challenge) -> Step {
        let AskChallenge { mut thread, party, answers, algorithm } = self;
        let (answers, expect) = security::challenged(answers, algorithm, challenge);
        let next = thread.stay(Outgoing::new(&answers), Expect::Security(party, expect));
        thread.step(next)
    }
}

impl Admit {
    /// `tsih`: for a new session "the target MUST generate a non-zero TSIH" (§11.13.3), else that of the session.
    pub fn admit(self, tsih: Tsih) -> (LoginResponse, LoggedIn) {
        assert!(!tsih.is_new_session(), "a session's TSIH is not 0");
        let Admit { admission, mut thread, party, parameters, data } = self;
        let response = LoginResponse { tsih, ..thread.response(Some(LoginStage::FULL_FEATURE_PHASE), false, data) };
        let logged_in = LoggedIn {
            initiator_name: admission.initiator_name,
            initiator_alias: party.declared.initiator_alias,
            initiator_node_architecture: party.declared.node_architecture,
            isid: admission.isid,
            tsih,
            cid: admission.cid,
            session_type: admission.session_type,
            target_name: admission.target_name,
            tpgt: admission.tpgt,
            parameters,
            chap_user: admission.chap_user,
            exp_cmd_sn: response.exp_cmd_sn,
            max_cmd_sn: response.max_cmd_sn,
            next_stat_sn: thread.next_stat_sn,
        };
        (response, logged_in)
    }

    pub fn refuse(self, refusal: Refusal) -> Box<Rejected> {
        self.thread.reject(refusal)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.response.status;
        write!(f, "{} ({:02x}{:02x}h): {}", self.error, status.class, status.detail, self.rule)
    }
}

impl std::error::Error for Rejected {}
