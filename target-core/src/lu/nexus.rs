//! Who asks: I_T nexuses (SAM-5 §4.7).

use std::fmt;
use std::sync::Arc;

/// The initiator port: for iSCSI its name and ISID (RFC 7143 §4.4), the SPC-5 TransportID format 01b.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InitiatorPort {
    pub name: Arc<str>,
    pub isid: [u8; 6],
}

/// RELATIVE TARGET PORT IDENTIFIER, 1 and up; one for each portal group of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativeTargetPort(pub u16);

/// What a reservation holds on to: it outlives a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NexusName {
    pub initiator: InitiatorPort,
    pub target_port: RelativeTargetPort,
}

/// One login's I_T nexus. `session` tells two sessions of the same name apart: a new one each login, never reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nexus {
    pub name: NexusName,
    pub session: u64,
    /// The iSCSI target name, for VPD 83h and TransportIDs of target ports.
    pub target_name: Arc<str>,
    /// TPGT of the target portal group the session came in by.
    pub portal_group: u16,
}

impl fmt::Debug for InitiatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},i,0x{:02x?}", self.name, self.isid)
    }
}
