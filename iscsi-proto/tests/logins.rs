//! Every file of `logins/` is a login, told line by line, and has to come out as told.
//!
//! ```text
//! # what this shows
//! given chap host=secret …        the shell's side, see `Shell::given`
//! I: T CSG=0 NSG=1                a Login Request: flags, stages, and what differs from the usual header
//!    AuthMethod=CHAP              its text; a line that ends in \ has no null after it
//!    repeat 200 X-key-%=1         two hundred pairs
//! T: CSG=0                        the Login Response, in the same way; or status and the rule that refused
//! = Normal …                      the session
//! ```
//!
//! `UPDATE_LOGINS=1 cargo test -p iscsi-proto --test logins` writes the files anew: read the difference before you
//! commit it.

use bytes::Bytes;
use iscsi_proto::login::chap::{Algorithm, Challenge, ChapRequirement, Credential, Secret};
use iscsi_proto::login::{
    Allow, AuthRequirement, Knock, LoggedIn, Login, LoginError, Refusal, Rejected, Step, Verdict, admission,
};
use iscsi_proto::pdu::{LoginRequest, LoginResponse, LoginStage};
use iscsi_proto::text::Offers;
use iscsi_proto::types::{Cid, CmdSn, InitiatorTaskTag, Isid, StatSn, Tpgt, Tsih};
use std::path::{Path, PathBuf};

#[test]
fn logins_come_out_as_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logins");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of logins")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() >= 40, "{} logins", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let told = std::fs::read_to_string(&file).expect("readable");
        let came = replay(&told);
        if told == came {
            continue;
        }
        if std::env::var_os("UPDATE_LOGINS").is_some() {
            std::fs::write(&file, came).expect("writable");
        } else {
            wrong.push(format!("{}\n--- came out as\n{came}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The file with what the target says and does filled in.
fn replay(told: &str) -> String {
    let mut shell = Shell::default();
    let mut login = Some(Login::new(StatSn(100)));
    let mut out = String::new();
    let mut request: Option<(String, Vec<u8>)> = None;
    let mut in_answer = false;
    for line in told.lines().chain(["I: end"]) {
        if let Some(pair) = line.strip_prefix("   ") {
            if in_answer {
                continue;
            }
            request.as_mut().expect("text belongs to a request").1.extend(text(pair));
            out += &format!("{line}\n");
            continue;
        }
        in_answer = line.starts_with("T:") || line.starts_with('=');
        if in_answer {
            continue;
        }
        if let Some((header, data)) = request.take() {
            let current = login.take().unwrap_or_else(|| panic!("a request after the login ended: {header}"));
            let (said, next) = shell.exchange(current, parse_request(&header, data));
            out += &said;
            login = next;
        }
        if line == "I: end" {
            break;
        }
        out += &format!("{line}\n");
        if let Some(given) = line.strip_prefix("given ") {
            shell.given(given);
        } else if let Some(header) = line.strip_prefix("I:") {
            request = Some((header.trim().to_owned(), Vec::new()));
        } else if !line.is_empty() && !line.starts_with('#') {
            panic!("what is {line:?}?");
        }
    }
    out
}

fn text(line: &str) -> Vec<u8> {
    if let Some((count, pattern)) = line.strip_prefix("repeat ").and_then(|rest| rest.split_once(' ')) {
        let count: usize = count.parse().expect("a number");
        return (0..count).flat_map(|n| text(&pattern.replace('%', &format!("{n:03}")))).collect();
    }
    match line.strip_suffix('\\') {
        Some(part) => part.as_bytes().to_vec(),
        None => [line.as_bytes(), b"\0"].concat(),
    }
}

fn parse_request(header: &str, data: Vec<u8>) -> LoginRequest {
    let mut request = LoginRequest {
        transit: false,
        continue_: false,
        current_stage: LoginStage::SECURITY_NEGOTIATION,
        next_stage: LoginStage::SECURITY_NEGOTIATION,
        version_max: 0,
        version_min: 0,
        isid: Isid([0, 2, 0x3d, 0, 0, 1]),
        tsih: Tsih(0),
        initiator_task_tag: InitiatorTaskTag(1),
        cid: Cid(0),
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(0),
        data: Bytes::from(data),
    };
    for word in header.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, "1"));
        let number: u16 = value.parse().expect("a number");
        match name {
            "T" => request.transit = true,
            "C" => request.continue_ = true,
            "CSG" => request.current_stage = LoginStage(number as u8),
            "NSG" => request.next_stage = LoginStage(number as u8),
            "Version-max" => request.version_max = number as u8,
            "Version-min" => request.version_min = number as u8,
            "TSIH" => request.tsih = Tsih(number),
            "CID" => request.cid = Cid(number),
            "ITT" => request.initiator_task_tag = InitiatorTaskTag(number.into()),
            "CmdSN" => request.cmd_sn = CmdSn(number.into()),
            other => panic!("what is {other}?"),
        }
    }
    request
}

/// The shell of these logins.
#[derive(Default)]
struct Shell {
    users: Vec<Credential>,
    mutual: Option<Credential>,
    algorithms: Vec<Algorithm>,
    verdict: Option<Verdict>,
    session: Option<(Tsih, Vec<Cid>)>,
    resources: bool,
}

impl Shell {
    /// `chap user=secret …`, `mutual user=secret`, `algorithms 5 7`, `refuse rule`, `redirect address [permanent]`,
    /// `session TSIH CID`, `no resources`.
    fn given(&mut self, given: &str) {
        let (what, rest) = given.split_once(' ').unwrap_or((given, ""));
        let credential = |word: &str| {
            let (user, secret) = word.split_once('=').expect("user=secret");
            Credential { user: user.to_owned(), secret: Secret::new(secret) }
        };
        match what {
            "chap" => self.users = rest.split_whitespace().map(credential).collect(),
            "mutual" => self.mutual = Some(credential(rest)),
            "algorithms" => {
                let named = |word: &str| Algorithm::ALL.into_iter().find(|a| (*a as u8).to_string() == word);
                self.algorithms = rest.split_whitespace().map(|word| named(word).expect("5 to 8")).collect();
            }
            "refuse" => {
                self.verdict = Some(Verdict::Refuse(Refusal::new(LoginError::AuthorizationFailure, rest)));
            }
            "redirect" => {
                let (address, permanent) = rest.split_once(' ').unwrap_or((rest, ""));
                let address = address.to_owned();
                self.verdict = Some(Verdict::Redirect { address, permanent: permanent == "permanent" });
            }
            "session" => {
                let (tsih, cid) = rest.split_once(' ').expect("TSIH CID");
                self.session = Some((Tsih(tsih.parse().expect("TSIH")), vec![Cid(cid.parse().expect("CID"))]));
            }
            "no" => self.resources = true,
            other => panic!("what is {other:?}?"),
        }
    }

    /// Hands the request in and answers the questions, until the target has spoken.
    fn exchange(&mut self, login: Login, request: LoginRequest) -> (String, Option<Login>) {
        let mut step = login.handle(request);
        loop {
            step = match step {
                Err(rejected) => return (told_refusal(&rejected), None),
                Ok(Step::Send(response, login)) => return (told(&response), Some(login)),
                Ok(Step::Authorize(question)) => {
                    let verdict = self.verdict(&question.knock);
                    question.answer(verdict)
                }
                Ok(Step::Challenge(question)) => {
                    let octets = std::array::from_fn(|n| n as u8);
                    Ok(question.answer(Challenge { identifier: 0x42, octets }))
                }
                Ok(Step::Admit(question)) => {
                    if self.resources {
                        let refusal =
                            Refusal::new(LoginError::OutOfResources, "there are as many sessions as there may be");
                        return (told_refusal(&question.refuse(refusal)), None);
                    }
                    let (tsih, cid) = (question.admission.tsih, question.admission.cid);
                    let existing = self.session.as_ref().map(|(tsih, connections)| admission::ExistingSession {
                        tsih: *tsih,
                        connections,
                        max_connections: 1,
                    });
                    match admission::decide(existing, tsih, cid) {
                        Err(refusal) => return (told_refusal(&question.refuse(refusal)), None),
                        Ok(action) => {
                            let handle = match action {
                                admission::Action::AddConnection(tsih)
                                | admission::Action::ReinstateConnection(tsih) => tsih,
                                admission::Action::NewSession | admission::Action::ReinstateSession(_) => Tsih(7),
                            };
                            let (response, logged_in) = question.admit(handle);
                            return (format!("{}{}", told(&response), told_session(&logged_in, action)), None);
                        }
                    }
                }
            };
        }
    }

    fn verdict(&self, knock: &Knock) -> Verdict {
        if let Some(verdict) = &self.verdict {
            return verdict.clone();
        }
        let known = |name: &str| name == "iqn.2026-11.net.example:disk";
        if knock.target_name.as_ref().is_some_and(|name| !known(name.as_str())) {
            return Verdict::Refuse(Refusal::new(LoginError::NotFound, "no target of this name is configured"));
        }
        let algorithms = if self.algorithms.is_empty() { Algorithm::ALL.to_vec() } else { self.algorithms.clone() };
        let auth = match self.users.is_empty() {
            true => AuthRequirement::None,
            false => AuthRequirement::Chap(ChapRequirement {
                users: self.users.clone(),
                mutual: self.mutual.clone(),
                algorithms,
            }),
        };
        let target_alias = Some("alpha disk".to_owned());
        Verdict::Allow(Allow { auth, tpgt: Tpgt(1), target_alias, offers: Offers::default(), command_window: 32 })
    }
}

fn told(response: &LoginResponse) -> String {
    let mut told = String::from("T:");
    for (set, name) in [(response.transit, " T"), (response.continue_, " C")] {
        told += if set { name } else { "" };
    }
    told += &format!(" CSG={}", response.current_stage.0);
    if response.transit {
        told += &format!(" NSG={}", response.next_stage.0);
    }
    if response.tsih != Tsih(0) {
        told += &format!(" TSIH={}", response.tsih);
    }
    told +=
        &format!(" StatSN={} ExpCmdSN={} MaxCmdSN={}\n", response.stat_sn, response.exp_cmd_sn, response.max_cmd_sn);
    told + &told_text(&response.data)
}

fn told_text(data: &[u8]) -> String {
    if data.len() > 2000 {
        return format!("   ({} bytes)\n", data.len());
    }
    let text = String::from_utf8_lossy(data);
    let pairs = text.split_terminator('\0').map(|pair| format!("   {pair}\n")).collect::<String>();
    if text.is_empty() || text.ends_with('\0') { pairs } else { format!("{}\\\n", pairs.trim_end()) }
}

fn told_refusal(rejected: &Rejected) -> String {
    let status = rejected.response.status;
    assert_eq!(status, rejected.error.status());
    assert!(!rejected.response.transit && !rejected.response.continue_);
    format!("T: {:02x}{:02x} {}\n{}", status.class, status.detail, rejected.rule, told_text(&rejected.response.data))
}

fn told_session(session: &LoggedIn, action: admission::Action) -> String {
    let p = &session.parameters;
    let name = |name: &Option<_>| name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "= {:?} {action:?} TSIH {} of {} ({}) to {}, CHAP user {}, next StatSN {}\n\
         = digests {:?}/{:?}, MaxRecvDataSegmentLength {} and the initiator's {}, MaxBurstLength {}, FirstBurstLength {}\n\
         = InitialR2T {}, ImmediateData {}, MaxOutstandingR2T {}, Time2Wait {}, Time2Retain {}, level {}, {:?}\n",
        session.session_type,
        session.tsih,
        session.initiator_name,
        text(&session.initiator_alias),
        name(&session.target_name),
        text(&session.chap_user),
        session.next_stat_sn,
        p.header_digest,
        p.data_digest,
        p.max_recv_data_segment_length,
        p.initiator_max_recv_data_segment_length,
        p.max_burst_length,
        p.first_burst_length,
        p.initial_r2t,
        p.immediate_data,
        p.max_outstanding_r2t,
        p.default_time2wait,
        p.default_time2retain,
        p.iscsi_protocol_level,
        p.task_reporting,
    )
}
