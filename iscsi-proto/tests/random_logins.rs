//! Logins and text negotiations made of what initiators say, in any order and mutilated: none panics, none goes on for
//! ever, none holds more than its bound, and nobody gets in without the secret.

use bytes::Bytes;
use iscsi_proto::login::chap::{Algorithm, Challenge, ChapRequirement, Credential, Secret};
use iscsi_proto::login::{
    Allow, AuthRequirement, LOGIN_REQUESTS_MAX, LoggedIn, Login, LoginError, Refusal, Step, Verdict,
};
use iscsi_proto::pdu::{LoginRequest, LoginResponse, LoginStage};
use iscsi_proto::text::{DiscoveredTarget, Offers, Received, SessionType, TextExchange, TextPart};
use iscsi_proto::types::{Cid, CmdSn, InitiatorTaskTag, IscsiName, Isid, StatSn, TargetTransferTag, Tpgt, Tsih};
use proptest::prelude::*;

const SECRET: &str = "nobody guesses it";

/// What an initiator may say, well and badly.
const PHRASES: [&str; 40] = [
    "InitiatorName=iqn.2026-11.net.example:host",
    "InitiatorName=iqn.2026-11.net.example:other",
    "InitiatorName=",
    "TargetName=iqn.2026-11.net.example:disk",
    "SessionType=Normal",
    "SessionType=Discovery",
    "InitiatorAlias=größe",
    "AuthMethod=CHAP,None",
    "AuthMethod=None",
    "AuthMethod=CHAP",
    "AuthMethod=Reject",
    "CHAP_A=5,7",
    "CHAP_A=8",
    "CHAP_A=,",
    "CHAP_N=host",
    "CHAP_R=0x00112233445566778899aabbccddeeff",
    "CHAP_R=0bAAECAwQFBgcICQoLDA0ODw==",
    "CHAP_R=0x",
    "CHAP_I=66",
    "CHAP_C=0x000102030405060708090a0b0c0d0e0f",
    "CHAP_C=0b====",
    "HeaderDigest=CRC32C,None",
    "DataDigest=Reject",
    "MaxRecvDataSegmentLength=0",
    "MaxRecvDataSegmentLength=16777215",
    "MaxBurstLength=512",
    "FirstBurstLength=16777215",
    "InitialR2T=No",
    "ImmediateData=No",
    "MaxConnections=65535",
    "ErrorRecoveryLevel=2",
    "DefaultTime2Wait=0xffffffffffffffff",
    "OFMarkInt=2048~8192",
    "iSCSIProtocolLevel=31",
    "TaskReporting=FastAbort,,",
    "X-net.example.key=\u{1F980}",
    "SendTargets=All",
    "SendTargets=",
    "TargetAddress=10.0.0.1",
    "=",
];

#[derive(Clone, Debug)]
struct Said {
    transit: bool,
    more_follows: bool,
    current_stage: u8,
    next_stage: u8,
    tsih: u16,
    text: Vec<u8>,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let phrase = prop_oneof![
        12 => prop::sample::select(PHRASES.to_vec()).prop_map(|phrase| [phrase.as_bytes(), b"\0"].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
        1 => ("[A-Z][a-z]{0,70}", "[0-9a-zA-Z,~]{0,300}").prop_map(|(key, value)| format!("{key}={value}\0").into_bytes()),
        1 => (1usize..400).prop_map(|count| (0..count).flat_map(|n| format!("X-key{n}=1\0").into_bytes()).collect()),
    ];
    prop::collection::vec(phrase, 0..6).prop_map(|phrases| phrases.concat())
}

fn said() -> impl Strategy<Value = Said> {
    let stage = || prop_oneof![4 => Just(0u8), 4 => Just(1u8), 1 => Just(2u8), 3 => Just(3u8)];
    (any::<bool>(), prop::bool::weighted(0.15), stage(), stage(), prop::bool::weighted(0.02), text()).prop_map(
        |(transit, more_follows, current_stage, next_stage, other_session, text)| Said {
            transit: transit && !more_follows,
            more_follows,
            current_stage,
            next_stage,
            tsih: other_session.into(),
            text,
        },
    )
}

/// The names, so that most logins get beyond the first request.
fn introduced(mut said: Vec<Said>) -> Vec<Said> {
    if let Some(first) = said.first_mut() {
        first.text = [
            b"InitiatorName=iqn.2026-11.net.example:host\0TargetName=iqn.2026-11.net.example:disk\0".to_vec(),
            std::mem::take(&mut first.text),
        ]
        .concat();
    }
    said
}

fn request(said: Said) -> LoginRequest {
    LoginRequest {
        transit: said.transit,
        continue_: said.more_follows,
        current_stage: LoginStage(said.current_stage),
        next_stage: LoginStage(said.next_stage),
        version_max: 0,
        version_min: 0,
        isid: Isid([0; 6]),
        tsih: Tsih(said.tsih),
        initiator_task_tag: InitiatorTaskTag(1),
        cid: Cid(0),
        cmd_sn: CmdSn(u32::MAX),
        exp_stat_sn: StatSn(0),
        data: Bytes::from(said.text),
    }
}

fn credential(user: &str, secret: &str) -> Credential {
    Credential { user: user.into(), secret: Secret::new(secret) }
}

fn verdict(chap: bool) -> Verdict {
    let requirement = ChapRequirement {
        users: vec![credential("host", SECRET)],
        mutual: Some(credential("target", "nor this one")),
        algorithms: Algorithm::ALL.to_vec(),
    };
    Verdict::Allow(Allow {
        auth: if chap { AuthRequirement::Chap(requirement) } else { AuthRequirement::None },
        tpgt: Tpgt(1),
        target_alias: Some("alias".into()),
        offers: Offers::default(),
        command_window: 32,
    })
}

/// What came of it: the responses, and the session if there is one.
fn run(requests: Vec<Said>, chap: bool) -> (Vec<LoginResponse>, Option<LoggedIn>) {
    let mut login = Login::new(StatSn(u32::MAX));
    let mut responses = Vec::new();
    for said in requests {
        let mut step = login.handle(request(said));
        login = loop {
            step = match step {
                Ok(Step::Send(response, login)) => {
                    responses.push(response);
                    break login;
                }
                Ok(Step::Authorize(question)) => question.answer(verdict(chap)),
                Ok(Step::Challenge(question)) => {
                    Ok(question.answer(Challenge { identifier: 66, octets: std::array::from_fn(|n| n as u8) }))
                }
                Ok(Step::Admit(question)) if question.admission.tsih == Tsih(0) => {
                    let (response, logged_in) = question.admit(Tsih(1));
                    responses.push(response);
                    return (responses, Some(logged_in));
                }
                Ok(Step::Admit(question)) => {
                    Err(question.refuse(Refusal::new(LoginError::SessionDoesNotExist, "none")))
                }
                Err(rejected) => {
                    assert!(!rejected.rule.is_empty() && !rejected.response.status.is_success());
                    responses.push(rejected.response);
                    return (responses, None);
                }
            };
        };
    }
    (responses, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn logins_keep_their_rules(said in prop::collection::vec(said(), 1..12), chap: bool) {
        let asked: Vec<(bool, u8)> = said.iter().map(|said| (said.transit, said.next_stage)).collect();
        let (responses, logged_in) = run(introduced(said), chap);
        prop_assert!(!(chap && logged_in.is_some()), "logged in without the secret");
        for (n, response) in responses.iter().enumerate() {
            prop_assert!(response.data.len() <= 8192);
            prop_assert!(!(response.transit && response.continue_));
            if response.transit {
                // "The T bit MUST NOT be set to 1 if the T bit in the request was set to 0"; "The selected NSG MUST NOT
                // exceed the value stated by the initiator".
                prop_assert!(asked[n].0 && response.next_stage.0 <= asked[n].1);
            }
            if response.status.is_success() {
                prop_assert_eq!(response.stat_sn, StatSn(u32::MAX).advanced(n as u32));
                prop_assert_eq!(response.is_final_response(), logged_in.is_some() && n + 1 == responses.len());
            }
        }
        if let Some(logged_in) = logged_in {
            let p = logged_in.parameters;
            prop_assert!(p.first_burst_length <= p.max_burst_length);
            prop_assert_eq!((p.max_connections, p.error_recovery_level), (1, 0));
        }
    }

    #[test]
    fn no_login_is_endless(said in said()) {
        let endless = Said { transit: false, next_stage: 0, tsih: 0, ..said };
        let (responses, _) = run(introduced(vec![endless; LOGIN_REQUESTS_MAX + 10]), false);
        prop_assert!(responses.len() <= LOGIN_REQUESTS_MAX + 1);
        prop_assert!(!responses.last().is_some_and(|last| last.status.is_success()));
    }

    #[test]
    fn text_negotiations_end(said in prop::collection::vec((said(), prop::bool::weighted(0.7), 1u32..600), 1..20), discovery: bool) {
        let session_type = if discovery { SessionType::Discovery } else { SessionType::Normal };
        let name = IscsiName::new("iqn.2026-11.net.example:disk").expect("well formed");
        let targets = [DiscoveredTarget { name, portals: vec![("10.0.0.1:3260".into(), Tpgt(1)); 10] }];
        let mut exchange = TextExchange::new(session_type);
        let mut tag = TargetTransferTag::RESERVED;
        for (said, follows, segment) in said {
            let part = TextPart {
                initiator_task_tag: InitiatorTaskTag(1),
                target_transfer_tag: if follows { tag } else { TargetTransferTag::RESERVED },
                is_final: said.transit,
                more_follows: said.more_follows,
                data: &said.text,
            };
            let reply = match exchange.receive(part, TargetTransferTag(5), segment) {
                Ok(Received::Reply(reply)) => reply,
                Ok(Received::SendTargets(wanted)) => {
                    exchange.answer_send_targets(wanted.answer(&targets, None), segment).expect("just asked for")
                }
                Err(_) => {
                    tag = TargetTransferTag::RESERVED;
                    continue;
                }
            };
            prop_assert!(reply.data.len() <= segment as usize);
            prop_assert_eq!(reply.is_final, reply.target_transfer_tag.is_reserved());
            prop_assert!(!(reply.is_final && (reply.more_follows || !said.transit)));
            tag = reply.target_transfer_tag;
        }
    }
}
