//! What runs through a login from the first request to the last: header checks, stages, numbers, and the text of both
//! directions.

use super::chap::Algorithm;
use super::declared::{Declared, misuse};
use super::error::{LoginError, Refusal};
use super::machine::{Admit, AskChallenge, Authorize, Login, Rejected, Step};
use super::question::{Admission, Allow, AuthRequirement, Knock};
use super::security::{ExpectSecurity, Outcome};
use crate::pdu::{LoginRequest, LoginResponse, LoginStage, LoginStatus};
use crate::text::parameters::DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH;
use crate::text::{
    self, Key, KeySet, Negotiation, OperationalParameters, Outgoing, Pair, Reassembly, SessionType, TextError,
};
use crate::types::{Cid, CmdSn, InitiatorTaskTag, IscsiName, Isid, StatSn, Tsih};
use bytes::Bytes;

/// Login Requests in one login: six exchanges SHOULD be allowed (RFC 7143 §6.2), and text of [`LOGIN_BYTES_MAX`] in
/// small pieces.
pub const LOGIN_REQUESTS_MAX: usize = 64;

/// Bytes of text in one login, all requests together: "MUST support receiving at least 64 kilobytes of key=value data"
/// (§6.1).
pub const LOGIN_BYTES_MAX: usize = 65536;

/// "The default MaxRecvDataSegmentLength is used during login" (§6.3).
const DATA_SEGMENT_BYTES_MAX: usize = DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH as usize;

/// "The version number for this document is 0x00" (§11.12.4).
const VERSION: u8 = 0;

/// What is the same for the whole login, and the numbers that run through it.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) first: Option<First>,
    pub(super) turn: Turn,
    pub(super) next_stat_sn: StatSn,
    pub(super) command_window: u32,
    pub(super) requests: usize,
    pub(super) bytes: usize,
    pub(super) received: Reassembly,
    pub(super) initiator_name: Option<IscsiName>,
    pub(super) target_name: Option<IscsiName>,
}

/// "All Login Requests within the Login Phase MUST carry the same" version, TSIH and CID (§11.12), ITT (§6.3) and ISID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) isid: Isid,
    pub(super) tsih: Tsih,
    pub(super) cid: Cid,
    pub(super) initiator_task_tag: InitiatorTaskTag,
    pub(super) version_max: u8,
    pub(super) version_min: u8,
    pub(super) cmd_sn: CmdSn,
}

/// What the request at hand asks: "the T bit settings in one Login Request-Login Response pair have no bearing on the T
/// bit settings of the next pair" (§6.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) current_stage: LoginStage,
    /// NSG, when T is 1.
    pub(super) transit: Option<LoginStage>,
}

#[derive(Debug)]
pub(super) enum Expect {
    /// The first logical text data segment, with the names.
    InitialText,
    Security(Box<Party>, ExpectSecurity),
    Operational(Box<Party>, Box<Negotiation>),
    /// An empty request, to be answered with the rest of the text.
    Acknowledgement(Outgoing, Box<Expect>),
}

/// An initiator that was let in, on terms.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) declared: Declared,
    pub(super) terms: Allow,
    pub(super) chap_user: Option<String>,
    pub(super) seen: KeySet,
}

/// A [`Step`] that has not met its [`Thread`] yet.
pub(super) enum Next {
    Send { transit: Option<LoginStage>, more_follows: bool, data: Bytes, expect: Expect },
    Authorize(Knock, Declared, Vec<Pair>),
    Challenge(Box<Party>, Vec<Pair>, Algorithm),
    Admit(Box<Party>, OperationalParameters, Bytes),
}

impl Thread {
    pub(super) fn new(initial_stat_sn: StatSn) -> Thread {
        Thread {
            first: None,
            turn: Turn { current_stage: LoginStage::SECURITY_NEGOTIATION, transit: None },
            next_stat_sn: initial_stat_sn,
            command_window: 1,
            requests: 0,
            bytes: 0,
            received: Reassembly::default(),
            initiator_name: None,
            target_name: None,
        }
    }

    /// The header, held against the rules and the first request.
    pub(super) fn follow(&mut self, request: &LoginRequest) -> Result<(), Refusal> {
        let this = First {
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
            initiator_task_tag: request.initiator_task_tag,
            version_max: request.version_max,
            version_min: request.version_min,
            // May move on when connections are added to a session (§11.12.8).
            cmd_sn: self.first.map_or(request.cmd_sn, |first| first.cmd_sn),
        };
        let first = *self.first.get_or_insert(this);
        self.turn =
            Turn { current_stage: request.current_stage, transit: request.transit.then_some(request.next_stage) };
        if first != this {
            return Err(misuse("the initiator changed ISID, TSIH, CID, Initiator Task Tag or version during login"));
        }
        if request.version_min > VERSION {
            let rule =
                format!("the initiator wants version {} or later, this is version {VERSION}", request.version_min);
            return Err(Refusal::new(LoginError::UnsupportedVersion, rule));
        }
        self.requests += 1;
        self.bytes += request.data.len();
        if self.requests > LOGIN_REQUESTS_MAX {
            return Err(misuse(format!("the login takes more than {LOGIN_REQUESTS_MAX} requests")));
        }
        if self.bytes > LOGIN_BYTES_MAX {
            return Err(misuse(format!("the login takes more than {LOGIN_BYTES_MAX} bytes of text")));
        }
        match (request.continue_, self.turn.transit) {
            (_, None) => Ok(()),
            // "A Login Request with the C bit set to 1 MUST have the T bit set to 0." (§11.12.2)
            (true, Some(_)) => Err(TextError::ContinueAndFinal.into()),
            (false, Some(next)) if may_follow(request.current_stage, next) => Ok(()),
            (false, Some(next)) => {
                Err(misuse(format!("no stage transition leads from {} to {next}", request.current_stage)))
            }
        }
    }

    pub(super) fn advance(&mut self, expect: Expect, request: &LoginRequest) -> Result<Next, Refusal> {
        expect.check_stage(request.current_stage)?;
        let expect = match expect {
            Expect::Acknowledgement(rest, then) => {
                if request.continue_ || !request.data.is_empty() {
                    return Err(TextError::AnswerInterrupted.into());
                }
                return self.reply(rest, *then);
            }
            other => other,
        };
        let Some(pairs) = self.received.receive(&request.data, request.continue_)? else {
            // "A target receiving a Text or Login Request with the C bit set to 1 MUST answer with a Text or Login
            // Response with no data segment" (§6.2).
            return Ok(Next::Send { transit: None, more_follows: false, data: Bytes::new(), expect });
        };
        text::negotiation::refuse_duplicates(&pairs)?;
        match expect {
            Expect::InitialText => self.knock(request, pairs),
            Expect::Security(mut party, expect) => {
                party.declared.repeat(&pairs)?;
                self.negotiate_security(party, expect, &pairs, Vec::new())
            }
            Expect::Operational(mut party, negotiation) => {
                party.declared.repeat(&pairs)?;
                self.negotiate_operational(party, negotiation, &pairs, Vec::new())
            }
            Expect::Acknowledgement(..) => Err(TextError::AnswerInterrupted.into()),
        }
    }

    fn knock(&mut self, request: &LoginRequest, pairs: Vec<Pair>) -> Result<Next, Refusal> {
        let declared = Declared::read(&pairs)?;
        self.initiator_name = Some(declared.initiator_name.clone());
        self.target_name = declared.target_name.clone();
        let knock = Knock {
            initiator_name: declared.initiator_name.clone(),
            session_type: declared.session_type,
            target_name: declared.target_name.clone(),
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
        };
        Ok(Next::Authorize(knock, declared, pairs))
    }

    /// The first answer, now that the terms are known.
    pub(super) fn begin(&mut self, declared: Declared, terms: Allow, pairs: &[Pair]) -> Result<Next, Refusal> {
        self.command_window = terms.command_window;
        // "The iSCSI target MUST return the TargetPortalGroupTag key with the first Login Response PDU with which it is
        // allowed to do so (i.e., the first Login Response issued after the first Login Request with the C bit set to
        // 0) for all session types" (§6.3.1).
        let mut greeting = vec![Pair::new(Key::TargetPortalGroupTag.name(), terms.tpgt.to_string())];
        if let (SessionType::Normal, Some(alias)) = (declared.session_type, &terms.target_alias) {
            greeting.push(Pair::new(Key::TargetAlias.name(), alias.as_str()));
        }
        let party = Box::new(Party { declared, terms, chap_user: None, seen: KeySet::default() });
        if self.turn.current_stage == LoginStage::SECURITY_NEGOTIATION {
            return self.negotiate_security(party, ExpectSecurity::Method { proposed: false }, pairs, greeting);
        }
        match &party.terms.auth {
            AuthRequirement::None => {
                let negotiation = self.negotiation(&party);
                self.negotiate_operational(party, negotiation, pairs, greeting)
            }
            // "Unwilling to accept the connection (see Section 11.13) without SecurityNegotiation" (§6.3.1).
            AuthRequirement::Chap(_) => Err(Refusal::new(
                LoginError::AuthenticationFailure,
                "CHAP is required and the initiator skipped the SecurityNegotiation stage",
            )),
        }
    }

    fn negotiate_security(
        &mut self,
        mut party: Box<Party>,
        expect: ExpectSecurity,
        pairs: &[Pair],
        mut answers: Vec<Pair>,
    ) -> Result<Next, Refusal> {
        match expect.step(&party.terms.auth, pairs, &mut party.seen)? {
            Outcome::Answer(more, expect) => {
                answers.extend(more);
                self.reply(Outgoing::new(&answers), Expect::Security(party, expect))
            }
            Outcome::Challenge(more, algorithm) => {
                answers.extend(more);
                Ok(Next::Challenge(party, answers, algorithm))
            }
        }
    }

    fn negotiate_operational(
        &mut self,
        party: Box<Party>,
        mut negotiation: Box<Negotiation>,
        pairs: &[Pair],
        mut answers: Vec<Pair>,
    ) -> Result<Next, Refusal> {
        answers.extend(negotiation.answer(pairs)?);
        self.reply(Outgoing::new(&answers), Expect::Operational(party, negotiation))
    }

    /// The next data segment of an answer. With the last one goes the transition, when the initiator asked for it and
    /// the stage is done.
    fn reply(&mut self, mut answer: Outgoing, expect: Expect) -> Result<Next, Refusal> {
        let (Some(stage), true) = (self.turn.transit, answer.fits(DATA_SEGMENT_BYTES_MAX)) else {
            return Ok(self.stay(answer, expect));
        };
        match expect {
            Expect::Security(mut party, security) if security.is_ready(&party.terms.auth) => {
                if let ExpectSecurity::Concluded { chap_user } = security {
                    party.chap_user = chap_user;
                }
                let negotiation = self.negotiation(&party);
                let data = answer.next(DATA_SEGMENT_BYTES_MAX);
                if stage == LoginStage::FULL_FEATURE_PHASE {
                    return Ok(Next::Admit(party, negotiation.finish()?, data));
                }
                let expect = Expect::Operational(party, negotiation);
                Ok(Next::Send { transit: Some(stage), more_follows: false, data, expect })
            }
            Expect::Operational(party, negotiation) => {
                Ok(Next::Admit(party, negotiation.finish()?, answer.next(DATA_SEGMENT_BYTES_MAX)))
            }
            expect => Ok(self.stay(answer, expect)),
        }
    }

    /// The next data segment of an answer, in the same stage.
    pub(super) fn stay(&mut self, mut answer: Outgoing, expect: Expect) -> Next {
        let data = answer.next(DATA_SEGMENT_BYTES_MAX);
        let more_follows = answer.more_follows();
        let expect = if more_follows { Expect::Acknowledgement(answer, Box::new(expect)) } else { expect };
        Next::Send { transit: None, more_follows, data, expect }
    }

    fn negotiation(&self, party: &Party) -> Box<Negotiation> {
        let leading = self.first.is_some_and(|first| first.tsih.is_new_session());
        Box::new(Negotiation::new(party.terms.offers.clone(), party.declared.session_type, leading))
    }

    pub(super) fn step(mut self: Box<Self>, next: Next) -> Step {
        match next {
            Next::Send { transit, more_follows, data, expect } => {
                let response = self.response(transit, more_follows, data);
                Step::Send(response, Login { thread: self, expect })
            }
            Next::Authorize(knock, declared, pairs) => {
                Step::Authorize(Box::new(Authorize { knock, thread: self, declared, pairs }))
            }
            Next::Challenge(party, answers, algorithm) => {
                Step::Challenge(Box::new(AskChallenge { thread: self, party, answers, algorithm }))
            }
            Next::Admit(party, parameters, data) => {
                let first = self.first.unwrap_or_else(First::none);
                let admission = Admission {
                    initiator_name: party.declared.initiator_name.clone(),
                    session_type: party.declared.session_type,
                    target_name: party.declared.target_name.clone(),
                    tpgt: party.terms.tpgt,
                    isid: first.isid,
                    tsih: first.tsih,
                    cid: first.cid,
                    chap_user: party.chap_user.clone(),
                };
                Step::Admit(Box::new(Admit { admission, thread: self, party, parameters, data }))
            }
        }
    }

    /// A response that accepts, and takes up a StatSN.
    pub(super) fn response(&mut self, transit: Option<LoginStage>, more_follows: bool, data: Bytes) -> LoginResponse {
        let first = self.first.unwrap_or_else(First::none);
        let stat_sn = self.next_stat_sn;
        self.next_stat_sn = stat_sn.next();
        LoginResponse {
            transit: transit.is_some(),
            continue_: more_follows,
            current_stage: self.turn.current_stage,
            next_stage: transit.unwrap_or(LoginStage::SECURITY_NEGOTIATION),
            version_max: VERSION,
            version_active: VERSION,
            isid: first.isid,
            tsih: first.tsih,
            initiator_task_tag: first.initiator_task_tag,
            stat_sn,
            // Login Requests are immediate: their CmdSN is not used up.
            exp_cmd_sn: first.cmd_sn,
            max_cmd_sn: first.cmd_sn.advanced(self.command_window).previous(),
            status: LoginStatus::SUCCESS,
            data,
        }
    }

    /// "The T bit, the CSG field, and the NSG field are reserved" in a reject (§6.3.1).
    pub(super) fn reject(mut self, refusal: Refusal) -> Box<Rejected> {
        let Refusal { error, rule } = refusal;
        let moved_to = error.address().map(|address| Pair::new(Key::TargetAddress.name(), address));
        let data = text::pair::encode(moved_to.as_slice()).into();
        let response = LoginResponse {
            current_stage: LoginStage::SECURITY_NEGOTIATION,
            status: error.status(),
            ..self.response(None, false, data)
        };
        let Thread { initiator_name, target_name, .. } = self;
        Box::new(Rejected { response, error, rule, initiator_name, target_name })
    }
}

impl First {
    /// Of a login that ended before its first request.
    fn none() -> First {
        First {
            isid: Isid::default(),
            tsih: Tsih::NEW_SESSION,
            cid: Cid::default(),
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            version_max: VERSION,
            version_min: VERSION,
            cmd_sn: CmdSn::default(),
        }
    }
}

impl Expect {
    fn check_stage(&self, stage: LoginStage) -> Result<(), Refusal> {
        let expected = match self {
            Expect::InitialText => {
                return match stage {
                    LoginStage::SECURITY_NEGOTIATION | LoginStage::LOGIN_OPERATIONAL_NEGOTIATION => Ok(()),
                    other => Err(misuse(format!("no login begins in stage {other}"))),
                };
            }
            Expect::Security(..) => LoginStage::SECURITY_NEGOTIATION,
            Expect::Operational(..) => LoginStage::LOGIN_OPERATIONAL_NEGOTIATION,
            Expect::Acknowledgement(_, then) => return then.check_stage(stage),
        };
        if stage == expected {
            return Ok(());
        }
        Err(misuse(format!("expected a request in stage {expected}, got one in stage {stage}")))
    }
}

/// The table of RFC 7143 §6.3.
fn may_follow(current: LoginStage, next: LoginStage) -> bool {
    use LoginStage as S;
    matches!(
        (current, next),
        (S::SECURITY_NEGOTIATION, S::LOGIN_OPERATIONAL_NEGOTIATION | S::FULL_FEATURE_PHASE)
            | (S::LOGIN_OPERATIONAL_NEGOTIATION, S::FULL_FEATURE_PHASE)
    )
}
