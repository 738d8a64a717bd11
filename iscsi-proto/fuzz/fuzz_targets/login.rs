//! Any Login Requests: the login ends within its bound, and nobody gets in without the secret.
//!
//! Each request is `flags length text`: T, C, CSG and NSG as in byte 1 of the PDU, and the length of the text in one byte.

#![no_main]

use bytes::Bytes;
use iscsi_proto::login::chap::{Algorithm, Challenge, ChapRequirement, Credential, Secret};
use iscsi_proto::login::{Allow, AuthRequirement, LOGIN_REQUESTS_MAX, Login, Step, Verdict};
use iscsi_proto::pdu::{LoginRequest, LoginStage};
use iscsi_proto::text::Offers;
use iscsi_proto::types::{Cid, CmdSn, InitiatorTaskTag, Isid, StatSn, Tpgt, Tsih};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&chap, mut rest)) = input.split_first() else { return };
    let chap = chap & 1 != 0;
    let mut login = Login::new(StatSn(0));
    let mut requests = 0;
    while let Some((&[flags, length], tail)) = rest.split_first_chunk() {
        let (text, tail) = tail.split_at(tail.len().min(length.into()));
        rest = tail;
        requests += 1;
        assert!(requests <= LOGIN_REQUESTS_MAX + 1, "a login without end");
        let mut step = login.handle(request(flags, text));
        login = loop {
            step = match step {
                Ok(Step::Send(response, login)) => {
                    assert!(!(response.transit && (response.continue_ || flags & 0x80 == 0)));
                    break login;
                }
                Ok(Step::Authorize(question)) => question.answer(verdict(chap)),
                Ok(Step::Challenge(question)) => Ok(question.answer(Challenge { identifier: 1, octets: [7; 32] })),
                Ok(Step::Admit(question)) => {
                    assert!(!chap, "let in without the secret");
                    let (response, logged_in) = question.admit(Tsih(1));
                    assert!(response.is_final_response());
                    assert!(logged_in.parameters.first_burst_length <= logged_in.parameters.max_burst_length);
                    return;
                }
                Err(rejected) => return assert!(!rejected.response.status.is_success()),
            };
        };
    }
});

fn request(flags: u8, text: &[u8]) -> LoginRequest {
    LoginRequest {
        transit: flags & 0x80 != 0,
        continue_: flags & 0x40 != 0,
        current_stage: LoginStage(flags >> 2 & 3),
        next_stage: LoginStage(flags & 3),
        version_max: 0,
        version_min: 0,
        isid: Isid([0; 6]),
        tsih: Tsih(0),
        initiator_task_tag: InitiatorTaskTag(1),
        cid: Cid(0),
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(0),
        data: Bytes::copy_from_slice(text),
    }
}

fn verdict(chap: bool) -> Verdict {
    let user = Credential { user: "host".into(), secret: Secret::new(b"not to be guessed".to_vec()) };
    let requirement = ChapRequirement { users: vec![user], mutual: None, algorithms: Algorithm::ALL.to_vec() };
    Verdict::Allow(Allow {
        auth: if chap { AuthRequirement::Chap(requirement) } else { AuthRequirement::None },
        tpgt: Tpgt(1),
        target_alias: None,
        offers: Offers::default(),
        command_window: 32,
    })
}
