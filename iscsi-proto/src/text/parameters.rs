//! What a negotiation ends in, and what this target is ready to agree to.

/// RFC 7143 §13.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    None,
    Crc32c,
}

/// RFC 7143 §13.23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskReporting {
    Rfc3720,
    ResponseFence,
    FastAbort,
}

/// RFC 7143 §13.21.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionType {
    Normal,
    Discovery,
}

/// The operational parameters in force on a connection and its session. Default is RFC 7143's default of every key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationalParameters {
    pub header_digest: Digest,
    pub data_digest: Digest,
    pub max_connections: u16,
    pub initial_r2t: bool,
    pub immediate_data: bool,
    /// The longest data segment this target takes, in bytes: the value in force, which is the default until we declared
    /// ours.
    pub max_recv_data_segment_length: u32,
    /// The longest data segment the initiator takes, in bytes: what it declared, or the default.
    pub initiator_max_recv_data_segment_length: u32,
    pub max_burst_length: u32,
    pub first_burst_length: u32,
    /// Seconds.
    pub default_time2wait: u16,
    /// Seconds.
    pub default_time2retain: u16,
    pub max_outstanding_r2t: u16,
    pub data_pdu_in_order: bool,
    pub data_sequence_in_order: bool,
    pub error_recovery_level: u8,
    /// RFC 7144 §7.1.1. Its features are in force from 2.
    pub iscsi_protocol_level: u8,
    pub task_reporting: TaskReporting,
}

/// What this target can do, from its configuration: the side that negotiation weighs against the initiator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Digests allowed. Without [`Digest::None`] in the list a digest is required.
    pub header_digests: Vec<Digest>,
    pub data_digests: Vec<Digest>,
    pub max_connections: u16,
    /// `true` insists on R2T for all but immediate data.
    pub initial_r2t: bool,
    pub immediate_data: bool,
    pub max_recv_data_segment_length: u32,
    pub max_burst_length: u32,
    pub first_burst_length: u32,
    pub default_time2wait: u16,
    pub default_time2retain: u16,
    pub max_outstanding_r2t: u16,
    pub data_pdu_in_order: bool,
    pub data_sequence_in_order: bool,
    pub error_recovery_level: u8,
    pub iscsi_protocol_level: u8,
    pub task_reporting: Vec<TaskReporting>,
}

impl Digest {
    pub const fn name(self) -> &'static str {
        match self {
            Digest::None => "None",
            Digest::Crc32c => "CRC32C",
        }
    }
}

impl TaskReporting {
    pub const fn name(self) -> &'static str {
        match self {
            TaskReporting::Rfc3720 => "RFC3720",
            TaskReporting::ResponseFence => "ResponseFence",
            TaskReporting::FastAbort => "FastAbort",
        }
    }
}

impl SessionType {
    pub fn parse(value: &str) -> Option<SessionType> {
        match value {
            "Normal" => Some(SessionType::Normal),
            "Discovery" => Some(SessionType::Discovery),
            _ => None,
        }
    }
}

impl Default for OperationalParameters {
    fn default() -> OperationalParameters {
        OperationalParameters {
            header_digest: Digest::None,
            data_digest: Digest::None,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_recv_data_segment_length: DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH,
            initiator_max_recv_data_segment_length: DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            iscsi_protocol_level: 1,
            task_reporting: TaskReporting::Rfc3720,
        }
    }
}

impl Default for Offers {
    fn default() -> Offers {
        Offers {
            header_digests: vec![Digest::None, Digest::Crc32c],
            data_digests: vec![Digest::None, Digest::Crc32c],
            max_connections: 1,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 262_144,
            max_burst_length: 1_048_576,
            first_burst_length: 262_144,
            // The initiator's wish holds: result function Maximum.
            default_time2wait: 0,
            // At ErrorRecoveryLevel 0 nothing is kept of a lost connection: "A value of 0 indicates that
            // connection/task state is immediately discarded by the target" (RFC 7143 §13.16).
            default_time2retain: 0,
            max_outstanding_r2t: 8,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            iscsi_protocol_level: 2,
            task_reporting: vec![TaskReporting::Rfc3720],
        }
    }
}

/// Bytes. RFC 7143 §13.12; "The default MaxRecvDataSegmentLength is used during login" (§6.3).
pub const DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH: u32 = 8192;
