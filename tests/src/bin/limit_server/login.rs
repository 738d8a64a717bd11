//! A login that agrees: each key that is offered gets the answer that costs the data path least.

use crate::Settings;

/// Of our own, declared; and most of one Data-In, whatever the initiator takes.
pub const SEGMENT_BYTES: usize = 262_144;
const FIRST_BURST_BYTES: u32 = 262_144;
const BURST_BYTES: u32 = 16_776_192;

#[derive(Clone, Copy)]
pub struct Agreed {
    pub header_digest: bool,
    pub data_digest: bool,
    /// Of Data-In: what the initiator declared, if we make use of so much.
    pub segment_bytes: usize,
}

impl Agreed {
    /// RFC 7143's defaults.
    pub fn nothing() -> Agreed {
        Agreed { header_digest: false, data_digest: false, segment_bytes: 8192 }
    }
}

/// The answer to what a login request says, and what it means for us.
pub fn answer(text: &[u8], settings: &Settings, agreed: &mut Agreed) -> Vec<u8> {
    let mut answers = String::new();
    let mut say = |key: &str, value: &str| answers.extend([key, "=", value, "\0"]);
    for pair in text.split(|&byte| byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok()) {
        let Some((key, offered)) = pair.split_once('=') else { continue };
        let number = || offered.parse().unwrap_or(u32::MAX);
        let digest = settings.digests && offered.split(',').next() == Some("CRC32C");
        let digest_name = if digest { "CRC32C" } else { "None" };
        match key {
            // Declarations want no answer; our own is said beside the initiator's.
            "InitiatorName" | "InitiatorAlias" | "SessionType" => {}
            "TargetName" => say("TargetPortalGroupTag", "1"),
            "MaxRecvDataSegmentLength" => {
                agreed.segment_bytes = SEGMENT_BYTES.min(number() as usize);
                say(key, &SEGMENT_BYTES.to_string());
            }
            "AuthMethod" => say(key, "None"),
            "HeaderDigest" => {
                agreed.header_digest = digest;
                say(key, digest_name);
            }
            "DataDigest" => {
                agreed.data_digest = digest;
                say(key, digest_name);
            }
            // Either side's Yes counts.
            "InitialR2T" => say(key, if settings.r2t { "Yes" } else { offered }),
            // Both sides' Yes counts.
            "ImmediateData" => say(key, if settings.r2t { "No" } else { offered }),
            "DataPDUInOrder" | "DataSequenceInOrder" => say(key, "Yes"),
            "FirstBurstLength" => say(key, &number().min(FIRST_BURST_BYTES).to_string()),
            "MaxBurstLength" => say(key, &number().min(BURST_BYTES).to_string()),
            "MaxConnections" | "MaxOutstandingR2T" => say(key, "1"),
            "ErrorRecoveryLevel" | "DefaultTime2Retain" => say(key, "0"),
            "DefaultTime2Wait" => say(key, offered),
            _ => say(key, "NotUnderstood"),
        }
    }
    answers.into_bytes()
}
