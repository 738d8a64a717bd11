//! What an initiator brings to a login, and what comes out of it.

use super::chap::Chap;
use crate::digest::Digests;
use crate::types::{Cid, CmdSn, Isid, Tsih};

/// All of it may be set wrong on purpose.
#[derive(Clone, Debug)]
pub struct Options {
    pub initiator_name: String,
    /// `None`: a discovery session.
    pub target_name: Option<String>,
    pub isid: Isid,
    pub tsih: Tsih,
    pub cid: Cid,
    pub initial_cmd_sn: CmdSn,
    pub chap: Option<Chap>,
    /// Operational keys, offered in this order; see [`Options::with`].
    pub keys: Vec<(String, String)>,
    /// Most text in one Login Request: less makes the C bit necessary.
    pub login_text_bytes_max: usize,
    /// Answer R2Ts with data by itself; otherwise they are events.
    pub answer_r2t: bool,
    /// Answer the target's NOP-In by itself; otherwise they are events only.
    pub answer_nop: bool,
}

impl Options {
    pub fn normal(initiator_name: &str, target_name: &str) -> Options {
        let options = Options { target_name: Some(target_name.into()), ..Options::discovery(initiator_name) };
        options
            .with("InitialR2T", "Yes")
            .with("ImmediateData", "Yes")
            .with("MaxBurstLength", "262144")
            .with("FirstBurstLength", "65536")
            .with("MaxOutstandingR2T", "1")
            .with("MaxConnections", "1")
            .with("DataPDUInOrder", "Yes")
            .with("DataSequenceInOrder", "Yes")
            .with("DefaultTime2Wait", "2")
            .with("DefaultTime2Retain", "0")
    }

    pub fn discovery(initiator_name: &str) -> Options {
        let options = Options {
            initiator_name: initiator_name.into(),
            target_name: None,
            isid: Isid([0x80, 0x6c, 0x75, 0x6e, 0x00, 0x00]),
            tsih: Tsih::NEW_SESSION,
            cid: Cid(0),
            initial_cmd_sn: CmdSn(1),
            chap: None,
            keys: Vec::new(),
            login_text_bytes_max: 8192,
            answer_r2t: true,
            answer_nop: true,
        };
        options
            .with("HeaderDigest", "None")
            .with("DataDigest", "None")
            .with("MaxRecvDataSegmentLength", "262144")
            .with("ErrorRecoveryLevel", "0")
    }

    /// Offers this value; the last one of a key counts.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Options {
        self.keys.retain(|(other, _)| other != key);
        self.keys.push((key.into(), value.into()));
        self
    }

    /// Does not offer this key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Options {
        self.keys.retain(|(other, _)| other != key);
        self
    }

    #[must_use]
    pub fn with_chap(self, chap: Chap) -> Options {
        Options { chap: Some(chap), ..self }
    }

    /// Offers CRC32C and nothing else, for both digests.
    #[must_use]
    pub fn with_digests(self) -> Options {
        self.with("HeaderDigest", "CRC32C").with("DataDigest", "CRC32C")
    }
}

/// What was agreed, as far as an initiator acts on it. Defaults are those of RFC 7143 §13.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub tsih: Tsih,
    pub digests: Digests,
    /// Ours, declared.
    pub max_recv_data_segment_length: u32,
    /// The target's, declared.
    pub target_max_recv_data_segment_length: u32,
    pub max_burst_length: u32,
    pub first_burst_length: u32,
    pub initial_r2t: bool,
    pub immediate_data: bool,
    pub target_portal_group_tag: Option<u16>,
    /// Every key the target sent, in order.
    pub answers: Vec<(String, String)>,
}

impl Parameters {
    pub(super) fn new(tsih: Tsih, offers: &[(String, String)], answers: Vec<(String, String)>) -> Parameters {
        let answer = |key: &str| find(&answers, key);
        let number = |key: &str, default| answer(key).and_then(|value| value.parse().ok()).unwrap_or(default);
        let yes = |key: &str, default| answer(key).map_or(default, |value| value == "Yes");
        Parameters {
            tsih,
            digests: Digests {
                header: answer("HeaderDigest") == Some("CRC32C"),
                data: answer("DataDigest") == Some("CRC32C"),
            },
            max_recv_data_segment_length: find(offers, "MaxRecvDataSegmentLength")
                .and_then(|value| value.parse().ok())
                .unwrap_or(8192),
            target_max_recv_data_segment_length: number("MaxRecvDataSegmentLength", 8192),
            max_burst_length: number("MaxBurstLength", 262_144),
            first_burst_length: number("FirstBurstLength", 65_536),
            initial_r2t: yes("InitialR2T", true),
            immediate_data: yes("ImmediateData", true),
            target_portal_group_tag: answer("TargetPortalGroupTag").and_then(|value| value.parse().ok()),
            answers,
        }
    }

    /// What the target answered to a key.
    pub fn answer(&self, key: &str) -> Option<&str> {
        find(&self.answers, key)
    }
}

pub(super) fn find<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
}
