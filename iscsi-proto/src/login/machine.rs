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
use super::error::{LoginError, Refusal};
use super::question::{Admission, Allow, AuthRequirement, Knock, LoggedIn, Verdict};
use super::security::{self, ExpectSecurity, Outcome};
use crate::pdu::{LoginRequest, LoginResponse, LoginStage, LoginStatus};
use crate::text::keys::{Senders, Stage};
use crate::text::parameters::DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH;
use crate::text::{self, Key, KeySet, Negotiation, Outgoing, Pair, Reassembly, SessionType, TextError};
use crate::types::{Cid, CmdSn, InitiatorTaskTag, IscsiName, Isid, StatSn, Tsih};
use bytes::Bytes;
use std::fmt;

/// Login Requests in one login: six exchanges SHOULD be allowed (RFC 7143 §6.2), and text of [`LOGIN_BYTES_MAX`] in small pieces.
pub const LOGIN_REQUESTS_MAX: usize = 64;

/// Bytes of text in one login, all requests together: "MUST support receiving at least 64 kilobytes of key=value data" (§6.1).
pub const LOGIN_BYTES_MAX: usize = 65536;

/// "The default MaxRecvDataSegmentLength is used during login" (§6.3).
const DATA_SEGMENT_BYTES_MAX: usize = DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH as usize;

/// "The version number for this document is 0x00" (§11.12.4).
const VERSION: u8 = 0;

/// A login that waits for a Login Request.
#[derive(Debug)]
pub struct Login {
    thread: Box<Thread>,
    expect: Expect,
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
    thread: Box<Thread>,
    declared: Declared,
    pairs: Vec<Pair>,
}

/// Random bytes are needed. Answer with [`AskChallenge::answer`].
#[derive(Debug)]
pub struct AskChallenge {
    thread: Box<Thread>,
    party: Box<Party>,
    answers: Vec<Pair>,
    algorithm: Algorithm,
}

/// May this connection have its session? Answer with [`Admit::admit`] or [`Admit::refuse`].
#[derive(Debug)]
pub struct Admit {
    pub admission: Admission,
    thread: Box<Thread>,
    party: Box<Party>,
    parameters: text::OperationalParameters,
    data: Bytes,
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

/// What is the same for the whole login, and the numbers that run through it.
#[derive(Debug)]
struct Thread {
    first: Option<First>,
    turn: Turn,
    next_stat_sn: StatSn,
    command_window: u32,
    requests: usize,
    bytes: usize,
    received: Reassembly,
    initiator_name: Option<IscsiName>,
    target_name: Option<IscsiName>,
}

/// "All Login Requests within the Login Phase MUST carry the same" version, TSIH and CID (§11.12), ITT (§6.3) and ISID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct First {
    isid: Isid,
    tsih: Tsih,
    cid: Cid,
    initiator_task_tag: InitiatorTaskTag,
    version_max: u8,
    version_min: u8,
    cmd_sn: CmdSn,
}

/// What the request at hand asks: "the T bit settings in one Login Request-Login Response pair have no bearing on the T bit settings
/// of the next pair" (§6.3).
#[derive(Clone, Copy, Debug)]
struct Turn {
    current_stage: LoginStage,
    /// NSG, when T is 1.
    transit: Option<LoginStage>,
}

#[derive(Debug)]
enum Expect {
    /// The first logical text data segment, with the names.
    InitialText,
    Security(Box<Party>, ExpectSecurity),
    Operational(Box<Party>, Box<Negotiation>),
    /// An empty request, to be answered with the rest of the text.
    Acknowledgement(Outgoing, Box<Expect>),
}

/// What the initiator declared of itself.
#[derive(Debug)]
struct Declared {
    initiator_name: IscsiName,
    initiator_alias: Option<String>,
    node_architecture: Option<String>,
    session_type: SessionType,
    target_name: Option<IscsiName>,
}

/// An initiator that was let in, on terms.
#[derive(Debug)]
struct Party {
    declared: Declared,
    terms: Allow,
    chap_user: Option<String>,
    seen: KeySet,
}

/// A [`Step`] that has not met its [`Thread`] yet.
enum Next {
    Send { transit: Option<LoginStage>, more_follows: bool, data: Bytes, expect: Expect },
    Authorize(Knock, Declared, Vec<Pair>),
    Challenge(Box<Party>, Vec<Pair>, Algorithm),
    Admit(Box<Party>, text::OperationalParameters, Bytes),
}

impl Login {
    /// `initial_stat_sn`: "the starting status sequence number for the connection" (§11.13.4), any value.
    pub fn new(initial_stat_sn: StatSn) -> Login {
        let thread = Thread {
            first: None,
            turn: Turn { current_stage: LoginStage::SECURITY_NEGOTIATION, transit: None },
            next_stat_sn: initial_stat_sn,
            command_window: 1,
            requests: 0,
            bytes: 0,
            received: Reassembly::default(),
            initiator_name: None,
            target_name: None,
        };
        Login { thread: Box::new(thread), expect: Expect::InitialText }
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

    /// Ends the login from outside: a PDU other than a Login Request ("Invalid during login"), a shutdown, no resources.
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

impl Thread {
    /// The header, held against the rules and the first request.
    fn follow(&mut self, request: &LoginRequest) -> Result<(), Refusal> {
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

    fn advance(&mut self, expect: Expect, request: &LoginRequest) -> Result<Next, Refusal> {
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
            // "A target receiving a Text or Login Request with the C bit set to 1 MUST answer with a Text or Login Response with no
            // data segment" (§6.2).
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
    fn begin(&mut self, declared: Declared, terms: Allow, pairs: &[Pair]) -> Result<Next, Refusal> {
        self.command_window = terms.command_window;
        // "The iSCSI target MUST return the TargetPortalGroupTag key with the first Login Response PDU with which it is allowed to do
        // so (i.e., the first Login Response issued after the first Login Request with the C bit set to 0) for all session types"
        // (§6.3.1).
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

    /// The next data segment of an answer. With the last one goes the transition, when the initiator asked for it and the stage is
    /// done.
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
    fn stay(&mut self, mut answer: Outgoing, expect: Expect) -> Next {
        let data = answer.next(DATA_SEGMENT_BYTES_MAX);
        let more_follows = answer.more_follows();
        let expect = if more_follows { Expect::Acknowledgement(answer, Box::new(expect)) } else { expect };
        Next::Send { transit: None, more_follows, data, expect }
    }

    fn negotiation(&self, party: &Party) -> Box<Negotiation> {
        let leading = self.first.is_some_and(|first| first.tsih.is_new_session());
        Box::new(Negotiation::new(party.terms.offers.clone(), party.declared.session_type, leading))
    }

    fn step(mut self: Box<Self>, next: Next) -> Step {
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
    fn response(&mut self, transit: Option<LoginStage>, more_follows: bool, data: Bytes) -> LoginResponse {
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
    fn reject(mut self, refusal: Refusal) -> Box<Rejected> {
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

impl Declared {
    /// "The initial Login Request of any connection MUST include the InitiatorName key=value pair. … For any connection within a session
    /// whose type is not "Discovery", the first Login Request MUST also include the TargetName key=value pair." (§6.3)
    fn read(pairs: &[Pair]) -> Result<Declared, Refusal> {
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

    /// "The InitiatorName MUST NOT be redeclared within the Login Phase" (§13.5). The same value once more is let through:
    /// initiators in the field begin every stage with it.
    fn repeat(&mut self, pairs: &[Pair]) -> Result<(), Refusal> {
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

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.response.status;
        write!(f, "{} ({:02x}{:02x}h): {}", self.error, status.class, status.detail, self.rule)
    }
}

impl std::error::Error for Rejected {}

/// The table of RFC 7143 §6.3.
fn may_follow(current: LoginStage, next: LoginStage) -> bool {
    use LoginStage as S;
    matches!(
        (current, next),
        (S::SECURITY_NEGOTIATION, S::LOGIN_OPERATIONAL_NEGOTIATION | S::FULL_FEATURE_PHASE)
            | (S::LOGIN_OPERATIONAL_NEGOTIATION, S::FULL_FEATURE_PHASE)
    )
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

fn misuse(rule: impl Into<String>) -> Refusal {
    Refusal::new(LoginError::InitiatorError, rule)
}
