//! What the login asks of its shell, and what it hands over when it is done.

use super::chap::ChapRequirement;
use super::error::Refusal;
use crate::text::{Offers, OperationalParameters, SessionType};
use crate::types::{Cid, CmdSn, IscsiName, Isid, StatSn, Tpgt, Tsih};

/// Who is at the door, before any authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    pub initiator_name: IscsiName,
    pub session_type: SessionType,
    /// Always there in a normal session.
    pub target_name: Option<IscsiName>,
    pub isid: Isid,
    pub tsih: Tsih,
    pub cid: Cid,
}

/// The answer to a [`Knock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow(Allow),
    Refuse(Refusal),
    /// "All of the redirection Status-Class responses MUST return one or more text key parameters of the type
    /// "TargetAddress"" (RFC 7143 §11.13.5). `domainname[:port]`: "the comma and portal-group-tag MUST be omitted"
    /// (§13.8).
    Redirect {
        address: String,
        permanent: bool,
    },
}

/// Terms on which the initiator may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    pub auth: AuthRequirement,
    /// Of the portal that the connection came in on.
    pub tpgt: Tpgt,
    pub target_alias: Option<String>,
    pub offers: Offers,
    /// Commands: MaxCmdSN - ExpCmdSN + 1 in the Login Responses.
    pub command_window: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRequirement {
    /// AuthMethod=None.
    None,
    Chap(ChapRequirement),
}

/// Everything is agreed and the initiator is who it says: may this connection have its session? (RFC 7143 §6.3.1, see
/// [`super::admission`].)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub initiator_name: IscsiName,
    pub session_type: SessionType,
    pub target_name: Option<IscsiName>,
    pub tpgt: Tpgt,
    pub isid: Isid,
    /// 0: a new session, or the reinstatement of the one with the same initiator name, ISID, target and portal group.
    pub tsih: Tsih,
    pub cid: Cid,
    /// CHAP_N, verified.
    pub chap_user: Option<String>,
}

/// A finished login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    pub initiator_name: IscsiName,
    pub initiator_alias: Option<String>,
    /// X#NodeArchitecture, for the log and for nothing else (RFC 7143 §13.26.2).
    pub initiator_node_architecture: Option<String>,
    pub isid: Isid,
    pub tsih: Tsih,
    pub cid: Cid,
    pub session_type: SessionType,
    pub target_name: Option<IscsiName>,
    pub tpgt: Tpgt,
    pub parameters: OperationalParameters,
    pub chap_user: Option<String>,
    /// "The first non-immediate command in the Full Feature Phase also carries" the CmdSN of the login (§11.12.8).
    pub exp_cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    /// StatSN of the next response on the connection.
    pub next_stat_sn: StatSn,
}
