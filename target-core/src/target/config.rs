//! The configuration, typed. Whoever makes a [`Config`] has checked it: every name refers to something that exists,
//! every number is in its range, every secret has been read. Equality is what a reload looks for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
pub use iscsi_proto::types::IscsiName;
pub use mirror_link::config::{
    AsideBounds, Compression, Encryption, Heartbeat, InitialSync, MapBounds, Mode, OnJournalFull, OnLinkLoss,
    OnSplitBrain, PairSecret, PeerConfig, Policy, QueueBounds, Scrub,
};
pub use mirror_link::ids::{GroupName, NAME_MAX, NodeName};
pub use mirror_link::wire::message::Role;
use uuid::Uuid;

use crate::block::BlockLength;

/// Key of the `volumes` section.
pub type VolumeName = Arc<str>;

/// What a LUN means to one initiator; the keys are at most [`LUN_MAX`].
pub type LunMap = BTreeMap<u16, VolumeName>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of this host; the default alias of its targets. To peers, which of the pair it is.
    pub node: String,
    /// Serial numbers, persistent reservations, records of mirroring.
    pub state_dir: PathBuf,
    pub admin: Admin,
    /// Where peers reach us, TCP and UDP on the same port. Empty where no volume is mirrored.
    pub mirror_listen: Vec<SocketAddr>,
    /// By name; none of them is ours.
    pub peers: BTreeMap<NodeName, PeerConfig>,
    /// At least one, each with at least one portal, tags ascending.
    pub portal_groups: Vec<PortalGroup>,
    /// Asked of discovery sessions. `None`: discovery is open, and tells each initiator only what it may log in to.
    pub discovery_auth: Option<Auth>,
    pub volumes: BTreeMap<VolumeName, VolumeConfig>,
    pub targets: BTreeMap<IscsiName, TargetConfig>,
    pub limits: DaemonLimits,
    /// For sessions that are not (yet) a target's: discovery, and login up to TargetName.
    pub session_limits: SessionLimits,
}

/// Where the operator's tools reach the daemon. The daemon here does not open them: whoever starts it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket of `lunmirrorctl`.
    pub socket: Option<PathBuf>,
    /// Metrics and dashboard.
    pub http: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalGroup {
    /// Target Portal Group Tag, 1 to 65535.
    pub tag: u16,
    pub portals: Vec<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Who may log in; at least one.
    pub users: Vec<ChapCredentials>,
    /// What we answer when the initiator challenges us.
    pub mutual: Option<ChapCredentials>,
    /// Acceptable CHAP_A, at least one; the initiator's order of preference decides among them.
    pub algorithms: Vec<ChapAlgorithm>,
}

/// CHAP_N and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapCredentials {
    pub name: String,
    pub secret: Secret,
}

/// A CHAP secret. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

/// RFC 7143 §12.1.3 and IANA's registry of PPP authentication algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChapAlgorithm {
    Md5 = 5,
    Sha1 = 6,
    Sha256 = 7,
    Sha3_256 = 8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    pub store: Store,
    /// Bytes, a multiple of `block_size`. `None` only for [`Store::Device`]: all of it.
    pub size: Option<u64>,
    /// LOGICAL BLOCK LENGTH.
    pub block_size: BlockLength,
    /// Bytes; a power of two, at least `block_size`.
    pub physical_block_size: u32,
    /// Logical block provisioning. `None`: thin where the store can give space back.
    pub thin: Option<bool>,
    /// RMB.
    pub removable: bool,
    pub read_only: bool,
    /// WCE at power on.
    pub write_cache: bool,
    /// READ(32) and its kin. Off unless asked for: libiscsi, and QEMU with it, can't read the list of commands that has them.
    pub long_cdbs: bool,
    pub identity: Identity,
    pub scsi_version: ScsiVersion,
    pub rotation: Rotation,
    /// `None`: on this node alone.
    pub mirror: Option<VolumeMirror>,
}

/// How a volume is kept alike on a peer. Volumes of one group have the same of these: they have one owner, one order and
/// one link ([`super::mirrored::groups`] looks).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMirror {
    /// A key of [`Config::peers`].
    pub peer: NodeName,
    /// Consistency group: the same on both nodes. The volume's own name unless given.
    pub group: GroupName,
    /// Who serves until a promotion says otherwise.
    pub first_role: Role,
    pub policy: Policy,
    pub queue: QueueBounds,
    pub map: MapBounds,
    /// `None`: the copies are compared when an operator wants it.
    pub scrub: Option<Scrub>,
    pub initial_sync: InitialSync,
    pub aside: AsideBounds,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// Created, sparse, at the size asked for.
    File {
        path: PathBuf,
        direct_io: bool,
    },
    Device {
        path: PathBuf,
        direct_io: bool,
    },
    Memory,
    /// Reads zeroes, forgets writes.
    Null,
}

/// What an initiator knows the volume by. Absent parts are made from a UUID that is kept in `state_dir`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uuid: Option<Uuid>,
    /// PRODUCT SERIAL NUMBER: 1 to [`SERIAL_LENGTH_MAX`] graphic ASCII characters.
    pub serial: Option<String>,
    pub naa: Option<Naa>,
    /// T10 VENDOR IDENTIFICATION, at most 8 ASCII characters.
    pub vendor: Option<String>,
    /// PRODUCT IDENTIFICATION, at most 16 ASCII characters.
    pub product: Option<String>,
    /// PRODUCT REVISION LEVEL, at most 4 ASCII characters.
    pub revision: Option<String>,
}

/// SPC-5 §7.7.6.6: NAA 2h, 3h and 5h have 8 bytes, 6h has 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naa {
    Short([u8; 8]),
    Long([u8; 16]),
}

/// VERSION of standard INQUIRY data and the version descriptors that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScsiVersion {
    Spc3 = 5,
    Spc4 = 6,
    Spc5 = 7,
}

/// MEDIUM ROTATION RATE (SBC-4 §6.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    NotReported,
    NonRotating,
    /// Revolutions per minute, 0401h to FFFEh.
    Rpm(u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    pub alias: Option<String>,
    /// `None`: AuthMethod=None.
    pub auth: Option<Auth>,
    /// The first rule that fits decides; at least one. See [`super::access`].
    pub acl: Vec<AclRule>,
    /// Unless the rule has a map of its own.
    pub luns: LunMap,
    /// Tags of the groups it is served on, ascending; at least one.
    pub portal_groups: Vec<u16>,
    /// Answer every login with Target moved.
    pub redirect: Option<Redirect>,
    pub limits: SessionLimits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// One of these must match the initiator's name; at least one.
    pub initiators: Vec<NamePattern>,
    /// Where it must come from. Empty: anywhere.
    pub networks: Vec<IpNet>,
    /// Which of the target's CHAP users it must be. `None`: any of them.
    pub users: Option<Vec<String>>,
    /// LUNs as this initiator sees them. `None`: the target's.
    pub luns: Option<LunMap>,
}

/// An initiator name in which `*` stands for any characters, none included, and `?` for exactly one. Lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(pub String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// TargetAddress: `domainname[:port]`, RFC 7143 §13.8.
    pub address: String,
    /// 0102h Target moved permanently, else 0101h Target moved temporarily.
    pub permanent: bool,
}

/// Bounds of the whole process: what strangers can make it hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonLimits {
    /// TCP connections at once, logging in or logged in. One more is closed at once.
    pub max_connections: usize,
    /// Connections that have not finished login. When one more comes, it is closed.
    pub max_pending_logins: usize,
    /// Sessions at once, discovery included.
    pub max_sessions: usize,
    /// From accept to the end of login.
    pub login_timeout: Duration,
    /// At shutdown, how long initiators have to log out.
    pub shutdown_grace: Duration,
}

/// What one session may use. A target's own, or the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions of one target at once.
    pub max_sessions: usize,
    /// MaxRecvDataSegmentLength we declare: bytes in a data segment sent to us.
    pub max_recv_data_segment_length: u32,
    /// FirstBurstLength we agree to, bytes.
    pub first_burst_length: u32,
    /// MaxBurstLength we agree to, bytes.
    pub max_burst_length: u32,
    /// MaxOutstandingR2T we agree to.
    pub max_outstanding_r2t: u16,
    /// ImmediateData we agree to.
    pub immediate_data: bool,
    /// InitialR2T we insist on.
    pub initial_r2t: bool,
    /// Commands in flight: MaxCmdSN runs at most this far ahead of ExpCmdSN.
    pub queue_depth: u32,
    /// Silence after which we send a NOP-In.
    pub keepalive_interval: Duration,
    /// Silence after that NOP-In after which the connection is dropped.
    pub keepalive_timeout: Duration,
}

impl Default for DaemonLimits {
    fn default() -> DaemonLimits {
        DaemonLimits {
            max_connections: MAX_CONNECTIONS,
            max_pending_logins: MAX_PENDING_LOGINS,
            max_sessions: MAX_SESSIONS,
            login_timeout: LOGIN_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            max_sessions: MAX_SESSIONS_PER_TARGET,
            max_recv_data_segment_length: MAX_RECV_DATA_SEGMENT_LENGTH,
            first_burst_length: FIRST_BURST_LENGTH,
            max_burst_length: MAX_BURST_LENGTH,
            max_outstanding_r2t: MAX_OUTSTANDING_R2T,
            immediate_data: true,
            initial_r2t: false,
            queue_depth: QUEUE_DEPTH,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
        }
    }
}

impl VolumeConfig {
    /// A volume of that many bytes with every default: 512-byte blocks on 4096-byte physical blocks.
    pub fn new(store: Store, size: Option<u64>) -> VolumeConfig {
        VolumeConfig {
            store,
            size,
            block_size: BlockLength::B512,
            physical_block_size: PHYSICAL_BLOCK_SIZE,
            thin: None,
            removable: false,
            read_only: false,
            write_cache: true,
            long_cdbs: false,
            identity: Identity::default(),
            scsi_version: ScsiVersion::Spc4,
            rotation: Rotation::NonRotating,
            mirror: None,
        }
    }
}

impl VolumeMirror {
    /// With every default.
    pub fn new(peer: NodeName, group: GroupName, first_role: Role) -> VolumeMirror {
        VolumeMirror {
            peer,
            group,
            first_role,
            policy: DEFAULT_POLICY,
            queue: DEFAULT_QUEUE,
            map: DEFAULT_MAP,
            scrub: None,
            initial_sync: InitialSync::Full,
            aside: DEFAULT_ASIDE,
        }
    }
}

impl ChapAlgorithm {
    /// Strongest first.
    pub const ALL: [ChapAlgorithm; 4] =
        [ChapAlgorithm::Sha3_256, ChapAlgorithm::Sha256, ChapAlgorithm::Sha1, ChapAlgorithm::Md5];
}

impl Naa {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Naa::Short(bytes) => bytes,
            Naa::Long(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(…)")
    }
}

/// LUNs, single level, flat space addressing: 14 bits (SAM-5 §4.7.7.3).
pub const LUN_MAX: u16 = 16383;

/// Characters; what VPD page 80h and the T10 designator of page 83h hold with room to spare.
pub const SERIAL_LENGTH_MAX: usize = 64;

/// Bytes. Page cache and flash work in these; initiators align to them (512e).
pub const PHYSICAL_BLOCK_SIZE: u32 = 4096;

/// Connections. Five times what a well-filled cluster uses, and within the descriptors a process may open everywhere.
pub const MAX_CONNECTIONS: usize = 2048;

/// Connections. Each holds little, but a stranger needs no password to make one.
pub const MAX_PENDING_LOGINS: usize = 256;

/// Sessions, as many as connections: one connection makes one session.
pub const MAX_SESSIONS: usize = 2048;

/// Sessions. A cluster of 64 hosts on eight paths.
pub const MAX_SESSIONS_PER_TARGET: usize = 512;

/// Longer than the 15 s open-iscsi gives a whole login, so that it is never we who give up on a slow one first.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);

/// An initiator that heeds the request logs out within a round trip; a busy one finishes its commands first.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Bytes. One PDU carries a whole 256 KiB request; larger ones only keep other commands waiting behind them.
pub const MAX_RECV_DATA_SEGMENT_LENGTH: u32 = 256 * 1024;

/// Bytes. A write as large as one data segment needs no R2T round trip.
pub const FIRST_BURST_LENGTH: u32 = 256 * 1024;

/// Bytes. Large sequential writes need few R2Ts, and one burst fits a socket buffer.
pub const MAX_BURST_LENGTH: u32 = 1024 * 1024;

/// R2Ts. Enough to cover the round trip at 1 MiB each.
pub const MAX_OUTSTANDING_R2T: u16 = 8;

/// Commands. The kernel initiator's default cmds_max is 128.
pub const QUEUE_DEPTH: u32 = 128;

/// Well above the 5 s of open-iscsi, so that its NOPs usually spare us ours.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Programs on libiscsi look at their socket only while they wait for a command, and may sleep a minute in between. A host
/// that is gone is found out by TCP long before where commands are outstanding.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// No acknowledged write is lost with a node, and hosts go on when the link is.
pub const DEFAULT_POLICY: Policy = Policy {
    mode: Mode::Sync,
    on_link_loss: OnLinkLoss::Degrade,
    max_stall: MAX_STALL,
    wait_for_peer: WAIT_FOR_PEER,
    host_latency: None,
    on_journal_full: OnJournalFull::Detach,
    on_split_brain: OnSplitBrain::Hold,
};

/// Within the patience of initiators: the kernel's give a command 30 s, and multipathing less.
pub const MAX_STALL: Duration = Duration::from_secs(5);

/// Both nodes of a pair seldom come back from a power cut within one second, and nearly always within this.
pub const WAIT_FOR_PEER: Duration = Duration::from_secs(30);

/// A minute of a slow link, or a second of a fast one, in memory; more is kept as which blocks changed.
pub const DEFAULT_QUEUE: QueueBounds =
    QueueBounds { memory: 64 << 20, spill: 0, window_bytes: 32 << 20, window_writes: 4096 };

/// Some 4 MiB of map a TiB, and after a crash at most some 4 GiB to send: seconds on 10 Gb/s.
pub const DEFAULT_MAP: MapBounds = MapBounds { piece_bytes: 64 << 10, hot_max: 1024 };

/// A week to notice what a rollback discarded. More than hot regions of [`DEFAULT_MAP`] amount to, once what is alike is left out,
/// but less than a whole volume.
pub const DEFAULT_ASIDE: AsideBounds =
    AsideBounds { undo_max: 4 << 30, undo_keep: Duration::from_secs(7 * 24 * 60 * 60), snapshot: true };

/// TCP and UDP; beside iSCSI's 3260.
pub const MIRROR_PORT: u16 = 3262;

/// The patent's n.
pub const MIRROR_CONNECTIONS: u8 = 4;

/// T2, T1 and probation: a dead line is noticed well within [`MAX_STALL`].
pub const DEFAULT_HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(500),
    timeout: Duration::from_secs(3),
    probation: Duration::from_secs(3),
    probation_max: Duration::from_secs(60),
};

/// T3.
pub const MIRROR_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes; HMAC-SHA256 keys of fewer are weaker than it.
pub const PAIR_SECRET_LENGTH_MIN: usize = 32;
