//! The one table of keys (RFC 7143 §12 and §13, RFC 7144 §7.1): parsing, negotiation and login all read it.

use super::parameters::{Digest, Offers, OperationalParameters, TaskReporting};
use std::ops::RangeInclusive;

/// Every key that the standards name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Key {
    SessionType,
    InitiatorName,
    TargetName,
    TargetAddress,
    InitiatorAlias,
    TargetAlias,
    TargetPortalGroupTag,
    AuthMethod,
    ChapA,
    ChapI,
    ChapC,
    ChapN,
    ChapR,
    KrbApReq,
    KrbApRep,
    SrpU,
    TargetAuth,
    SrpGroup,
    SrpSalt,
    SrpA,
    SrpB,
    SrpM,
    SrpHm,
    HeaderDigest,
    DataDigest,
    MaxConnections,
    SendTargets,
    InitialR2T,
    ImmediateData,
    MaxRecvDataSegmentLength,
    MaxBurstLength,
    FirstBurstLength,
    DefaultTime2Wait,
    DefaultTime2Retain,
    MaxOutstandingR2T,
    DataPduInOrder,
    DataSequenceInOrder,
    ErrorRecoveryLevel,
    TaskReporting,
    IscsiProtocolLevel,
    OFMarker,
    IFMarker,
    OFMarkInt,
    IFMarkInt,
    NodeArchitecture,
}

#[derive(Debug)]
pub struct KeyRule {
    pub key: Key,
    pub name: &'static str,
    pub kind: Kind,
    pub stage: Stage,
    pub usage: Usage,
    pub senders: Senders,
    pub discovery: InDiscovery,
}

/// How the answer, or the value in force, comes about.
#[derive(Debug)]
pub enum Kind {
    /// "A declaration is a one-way textual exchange" (RFC 7143 §6.2). Whoever the key is for reads it by name.
    Declarative,
    /// A declared number. The field takes the initiator's; `ours` is what we declare.
    DeclarativeNumber {
        range: RangeInclusive<u32>,
        ours: fn(&Offers) -> u32,
        set: fn(&mut OperationalParameters, u32),
    },
    /// A step of the authentication exchange; login's security stage answers.
    Authentication,
    /// "The first value that it supports", or false for one value of the list that is not supported (§6.2.1).
    List {
        choose: fn(&Offers, &mut OperationalParameters, &str) -> bool,
    },
    And {
        ours: fn(&Offers) -> bool,
        set: fn(&mut OperationalParameters, bool),
    },
    Or {
        ours: fn(&Offers) -> bool,
        set: fn(&mut OperationalParameters, bool),
    },
    Minimum {
        range: RangeInclusive<u32>,
        ours: fn(&Offers) -> u32,
        set: fn(&mut OperationalParameters, u32),
    },
    Maximum {
        range: RangeInclusive<u32>,
        ours: fn(&Offers) -> u32,
        set: fn(&mut OperationalParameters, u32),
    },
    /// Answered by a list of targets.
    SendTargets,
    /// "When an IFMarker or OFMarker key is received, a compliant iSCSI implementation SHOULD respond with the constant
    /// "Reject" value.  The implementation MAY alternatively respond with a "No" value." (§13.25)
    ObsoleteMarker,
    /// "MUST respond with the constant "Reject" value" (§13.25).
    ObsoleteMarkerInterval,
}

/// "Sending a key that is not allowed in the current stage is considered a protocol error" (RFC 7143 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Security,
    Operational,
    Any,
}

/// RFC 7143 §13: LO, IO, ALL, FFPO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    LeadingOnly,
    InitializeOnly,
    All,
    FullFeaturePhaseOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    Initiator,
    Target,
    Both,
}

/// "Irrelevant when: SessionType=Discovery".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDiscovery {
    Relevant,
    Irrelevant,
}

/// A set of [`Key`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySet(u64);

impl Key {
    pub fn rule(self) -> &'static KeyRule {
        // The table is in the order of the enum: a test holds it to that.
        &TABLE[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.rule().name
    }

    /// `None` for a key of no standard known here, X- keys among them.
    pub fn named(name: &str) -> Option<Key> {
        TABLE.iter().find(|rule| rule.name == name).map(|rule| rule.key)
    }
}

impl KeySet {
    /// False if it was there already.
    #[must_use]
    pub fn insert(&mut self, key: Key) -> bool {
        let bit = 1u64 << key as u8;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    pub fn contains(self, key: Key) -> bool {
        self.0 & (1 << key as u8) != 0
    }
}

impl Usage {
    pub fn describe(self) -> &'static str {
        match self {
            Usage::LeadingOnly => "only in the login of a session's first connection",
            Usage::InitializeOnly => "only during login",
            Usage::All => "at any time",
            Usage::FullFeaturePhaseOnly => "only in the full feature phase",
        }
    }
}

impl Stage {
    pub fn describe(self) -> &'static str {
        match self {
            Stage::Security => "only in the SecurityNegotiation stage",
            Stage::Operational => "only in the LoginOperationalNegotiation stage",
            Stage::Any => "in any stage",
        }
    }
}

/// Bytes. "If not otherwise specified, the maximum length of a simple-value (not its encoded representation) is 255
/// bytes" (RFC 7143 §6.1).
pub const VALUE_BYTES_MAX: usize = 255;

/// Bytes, encoded: a binary value of 1024 bytes in hex (§12.1.3), a list of 255-byte values, a private key's value.
pub const LARGE_VALUE_BYTES_MAX: usize = 8192;

pub fn value_bytes_max(name: &str) -> usize {
    match Key::named(name).map(|key| &key.rule().kind) {
        None | Some(Kind::List { .. } | Kind::Authentication) if name != "CHAP_N" => LARGE_VALUE_BYTES_MAX,
        _ => VALUE_BYTES_MAX,
    }
}

const LENGTH: RangeInclusive<u32> = 512..=(1 << 24) - 1;
const SECONDS: RangeInclusive<u32> = 0..=3600;

const fn rule(
    key: Key,
    name: &'static str,
    senders: Senders,
    stage: Stage,
    usage: Usage,
    discovery: InDiscovery,
    kind: Kind,
) -> KeyRule {
    KeyRule { key, name, kind, stage, usage, senders, discovery }
}

/// As wide as the rows need, one key a row: who sends it, in which stage, when, whether discovery knows it, and its
/// kind.
#[rustfmt::skip]
pub static TABLE: [KeyRule; 45] = {
    use InDiscovery::{Irrelevant, Relevant};
    use Kind::*;
    use Senders::{Both, Initiator, Target};
    use Stage::{Any, Operational, Security};
    use Usage::{All, FullFeaturePhaseOnly, InitializeOnly, LeadingOnly};
    [
        rule(Key::SessionType, "SessionType", Initiator, Any, LeadingOnly, Relevant, Declarative),
        rule(Key::InitiatorName, "InitiatorName", Initiator, Any, InitializeOnly, Relevant, Declarative),
        rule(Key::TargetName, "TargetName", Both, Any, InitializeOnly, Relevant, Declarative),
        rule(Key::TargetAddress, "TargetAddress", Target, Any, All, Relevant, Declarative),
        rule(Key::InitiatorAlias, "InitiatorAlias", Initiator, Any, All, Relevant, Declarative),
        rule(Key::TargetAlias, "TargetAlias", Target, Any, All, Relevant, Declarative),
        rule(Key::TargetPortalGroupTag, "TargetPortalGroupTag", Target, Any, InitializeOnly, Relevant, Declarative),

        rule(Key::AuthMethod, "AuthMethod", Both, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::ChapA, "CHAP_A", Both, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::ChapI, "CHAP_I", Both, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::ChapC, "CHAP_C", Both, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::ChapN, "CHAP_N", Both, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::ChapR, "CHAP_R", Both, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::KrbApReq, "KRB_AP_REQ", Initiator, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::KrbApRep, "KRB_AP_REP", Target, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::SrpU, "SRP_U", Initiator, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::TargetAuth, "TargetAuth", Initiator, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::SrpGroup, "SRP_GROUP", Both, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::SrpSalt, "SRP_s", Target, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::SrpA, "SRP_A", Initiator, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::SrpB, "SRP_B", Target, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::SrpM, "SRP_M", Initiator, Security, InitializeOnly, Relevant, Authentication),
        rule(Key::SrpHm, "SRP_HM", Target, Security, InitializeOnly, Relevant, Authentication),

        rule(Key::HeaderDigest, "HeaderDigest", Both, Operational, InitializeOnly, Relevant,
            List { choose: |offers, p, value| choose_digest(&offers.header_digests, &mut p.header_digest, value) }),
        rule(Key::DataDigest, "DataDigest", Both, Operational, InitializeOnly, Relevant,
            List { choose: |offers, p, value| choose_digest(&offers.data_digests, &mut p.data_digest, value) }),
        rule(Key::MaxConnections, "MaxConnections", Both, Operational, LeadingOnly, Irrelevant,
            Minimum { range: 1..=65535, ours: |o| o.max_connections.into(), set: |p, v| p.max_connections = v as u16 }),
        rule(Key::SendTargets, "SendTargets", Initiator, Operational, FullFeaturePhaseOnly, Relevant, SendTargets),
        rule(Key::InitialR2T, "InitialR2T", Both, Operational, LeadingOnly, Irrelevant,
            Or { ours: |o| o.initial_r2t, set: |p, v| p.initial_r2t = v }),
        rule(Key::ImmediateData, "ImmediateData", Both, Operational, LeadingOnly, Irrelevant,
            And { ours: |o| o.immediate_data, set: |p, v| p.immediate_data = v }),
        rule(Key::MaxRecvDataSegmentLength, "MaxRecvDataSegmentLength", Both, Operational, All, Relevant,
            DeclarativeNumber { range: LENGTH, ours: |o| o.max_recv_data_segment_length,
                set: |p, v| p.initiator_max_recv_data_segment_length = v }),
        rule(Key::MaxBurstLength, "MaxBurstLength", Both, Operational, LeadingOnly, Irrelevant,
            Minimum { range: LENGTH, ours: |o| o.max_burst_length, set: |p, v| p.max_burst_length = v }),
        rule(Key::FirstBurstLength, "FirstBurstLength", Both, Operational, LeadingOnly, Irrelevant,
            Minimum { range: LENGTH, ours: |o| o.first_burst_length, set: |p, v| p.first_burst_length = v }),
        rule(Key::DefaultTime2Wait, "DefaultTime2Wait", Both, Operational, LeadingOnly, Relevant,
            Maximum { range: SECONDS, ours: |o| o.default_time2wait.into(), set: |p, v| p.default_time2wait = v as u16 }),
        rule(Key::DefaultTime2Retain, "DefaultTime2Retain", Both, Operational, LeadingOnly, Relevant,
            Minimum { range: SECONDS, ours: |o| o.default_time2retain.into(), set: |p, v| p.default_time2retain = v as u16 }),
        rule(Key::MaxOutstandingR2T, "MaxOutstandingR2T", Both, Operational, LeadingOnly, Irrelevant,
            Minimum { range: 1..=65535, ours: |o| o.max_outstanding_r2t.into(), set: |p, v| p.max_outstanding_r2t = v as u16 }),
        rule(Key::DataPduInOrder, "DataPDUInOrder", Both, Operational, LeadingOnly, Irrelevant,
            Or { ours: |o| o.data_pdu_in_order, set: |p, v| p.data_pdu_in_order = v }),
        rule(Key::DataSequenceInOrder, "DataSequenceInOrder", Both, Operational, LeadingOnly, Irrelevant,
            Or { ours: |o| o.data_sequence_in_order, set: |p, v| p.data_sequence_in_order = v }),
        rule(Key::ErrorRecoveryLevel, "ErrorRecoveryLevel", Both, Operational, LeadingOnly, Relevant,
            Minimum { range: 0..=2, ours: |o| o.error_recovery_level.into(), set: |p, v| p.error_recovery_level = v as u8 }),
        rule(Key::TaskReporting, "TaskReporting", Both, Operational, LeadingOnly, Irrelevant,
            List { choose: choose_task_reporting }),
        rule(Key::IscsiProtocolLevel, "iSCSIProtocolLevel", Both, Operational, LeadingOnly, Irrelevant,
            Minimum { range: 0..=31, ours: |o| o.iscsi_protocol_level.into(), set: |p, v| p.iscsi_protocol_level = v as u8 }),

        rule(Key::OFMarker, "OFMarker", Both, Operational, InitializeOnly, Relevant, ObsoleteMarker),
        rule(Key::IFMarker, "IFMarker", Both, Operational, InitializeOnly, Relevant, ObsoleteMarker),
        rule(Key::OFMarkInt, "OFMarkInt", Both, Operational, InitializeOnly, Relevant, ObsoleteMarkerInterval),
        rule(Key::IFMarkInt, "IFMarkInt", Both, Operational, InitializeOnly, Relevant, ObsoleteMarkerInterval),
        rule(Key::NodeArchitecture, "X#NodeArchitecture", Both, Operational, LeadingOnly, Relevant, Declarative),
    ]
};

fn choose_digest(allowed: &[Digest], chosen: &mut Digest, value: &str) -> bool {
    match allowed.iter().find(|digest| digest.name() == value) {
        Some(digest) => {
            *chosen = *digest;
            true
        }
        None => false,
    }
}

fn choose_task_reporting(offers: &Offers, parameters: &mut OperationalParameters, value: &str) -> bool {
    let supported: &[TaskReporting] = &offers.task_reporting;
    match supported.iter().find(|reporting| reporting.name() == value) {
        Some(reporting) => {
            parameters.task_reporting = *reporting;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_keys() {
        for (index, rule) in TABLE.iter().enumerate() {
            assert_eq!(rule.key as usize, index, "{}", rule.name);
            assert_eq!(Key::named(rule.name), Some(rule.key));
        }
        assert_eq!(Key::NodeArchitecture as usize + 1, TABLE.len());
    }

    #[test]
    fn a_set_of_keys_tells_the_second_time() {
        let mut keys = KeySet::default();
        assert!(keys.insert(Key::SessionType) && keys.insert(Key::NodeArchitecture));
        assert!(!keys.insert(Key::NodeArchitecture));
        assert!(keys.contains(Key::SessionType) && !keys.contains(Key::AuthMethod));
    }

    #[test]
    fn value_limits() {
        assert_eq!(value_bytes_max("CHAP_C"), LARGE_VALUE_BYTES_MAX);
        assert_eq!(value_bytes_max("AuthMethod"), LARGE_VALUE_BYTES_MAX);
        assert_eq!(value_bytes_max("X-net.example.blob"), LARGE_VALUE_BYTES_MAX);
        assert_eq!(value_bytes_max("CHAP_N"), VALUE_BYTES_MAX);
        assert_eq!(value_bytes_max("InitiatorName"), VALUE_BYTES_MAX);
    }
}
