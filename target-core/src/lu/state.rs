//! What a logical unit remembers between commands, behind its one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mirror_link::replica::io::Standing;

use super::attention::{Attention, Attentions};
use super::nexus::{InitiatorPort, Nexus, NexusName};
use super::operation::Condition;
use super::options::TargetPort;
use super::orders::OrderSender;
use super::pages::Pages;
use super::port_groups::PortGroups;
use super::reservations::Reservations;
use super::twin::{Designation, Kind};
use crate::scsi::sense::Sense;

/// Why a command might not simply run. One bit each; with none of them set nobody takes the lock.
pub(super) mod exceptional {
    /// Something is reserved, by either method.
    pub const RESERVED: u32 = 1 << 0;
    /// The medium is out, or a sanitize or format operation has it.
    pub const NOT_READY: u32 = 1 << 1;
    /// By configuration or by SWP.
    pub const WRITE_PROTECTED: u32 = 1 << 2;
    /// A target port group is not active, or this node does not serve the volume.
    pub const INACTIVE: u32 = 1 << 3;
}

/// The part of an I_T_L nexus that the command path reads without a lock.
#[derive(Debug)]
pub(super) struct ItlCore {
    pub id: u64,
    pub nexus: Arc<Nexus>,
    /// A unit attention is pending.
    pub attention: AtomicBool,
}

/// The part behind the lock.
#[derive(Debug)]
pub(super) struct Member {
    pub core: Arc<ItlCore>,
    pub orders: OrderSender,
    pub attentions: Attentions,
    /// PREVENT ALLOW MEDIUM REMOVAL
    pub prevents_removal: bool,
    /// What WRITE BUFFER echoed last. Nothing: none did.
    pub echo: Option<Bytes>,
}

impl Member {
    pub fn raise(&mut self, attention: Attention) {
        self.attentions.raise(attention);
        self.core.attention.store(true, Ordering::Release);
    }

    pub fn take_attention(&mut self) -> Option<Attention> {
        let taken = self.attentions.take();
        self.core.attention.store(!self.attentions.is_empty(), Ordering::Release);
        taken
    }

    pub fn clear_attention(&mut self, attention: Attention) {
        self.attentions.clear(attention);
        self.core.attention.store(!self.attentions.is_empty(), Ordering::Release);
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub members: BTreeMap<u64, Member>,
    /// Names that were attached before: for them 29h/07h rather than 29h/01h.
    known: BTreeSet<NexusName>,
    pub reservations: Reservations,
    /// A removable medium was ejected.
    pub ejected: bool,
    pub condition: Condition,
    pub pages: Pages,
    pub port_groups: PortGroups,
    pub target_ports: Vec<TargetPort>,
    pub designation: Designation,
    /// Ports of the peer's that registrations are of, under identifiers that none of ours has.
    pub foreign_ports: Vec<TargetPort>,
    /// Told by the peer and not yet on record.
    pub unkept: BTreeSet<Kind>,
    /// A task runs the operation that `condition` tells of.
    pub operating: bool,
}

/// Names remembered; past it further ones are told 29h/01h each time, which is harmless.
const KNOWN_MAX: usize = 4096;

impl State {
    pub fn new(
        reservations: Reservations,
        condition: Condition,
        pages: Pages,
        designation: Designation,
        standing: Standing,
    ) -> State {
        State {
            members: BTreeMap::new(),
            known: BTreeSet::new(),
            reservations,
            ejected: false,
            condition,
            pages,
            port_groups: PortGroups::new(standing),
            target_ports: Vec::new(),
            designation,
            foreign_ports: Vec::new(),
            unkept: BTreeSet::new(),
            operating: false,
        }
    }

    pub fn attach(&mut self, id: u64, nexus: Arc<Nexus>, orders: OrderSender) -> Arc<ItlCore> {
        let known = self.known.contains(&nexus.name);
        if !known && self.known.len() < KNOWN_MAX {
            self.known.insert(nexus.name.clone());
        }
        let core = Arc::new(ItlCore { id, nexus, attention: AtomicBool::new(false) });
        let mut member = Member {
            core: core.clone(),
            orders,
            attentions: Attentions::default(),
            prevents_removal: false,
            echo: None,
        };
        member.raise(if known { Attention::NexusLoss } else { Attention::PowerOn });
        self.members.insert(id, member);
        core
    }

    /// I_T nexus loss (SAM-5 §6.3.4). Of two sessions of one name, the last takes the RESERVE with it.
    pub fn detach(&mut self, id: u64) {
        let Some(gone) = self.members.remove(&id) else { return };
        let name = &gone.core.nexus.name;
        // Of ten thousand sessions that go at once, each would look at all the others.
        if self.reservations.is_free() {
            return;
        }
        if !self.members.values().any(|member| member.core.nexus.name == *name) {
            self.reservations.nexus_lost(name);
        }
    }

    pub fn member(&mut self, core: &ItlCore) -> Option<&mut Member> {
        self.members.get_mut(&core.id)
    }

    pub fn raise_all(&mut self, attention: Attention) {
        self.members.values_mut().for_each(|member| member.raise(attention));
    }

    pub fn raise_others(&mut self, core: &ItlCore, attention: Attention) {
        self.members.values_mut().filter(|member| member.core.id != core.id).for_each(|member| member.raise(attention));
    }

    pub fn raise_named(&mut self, name: &NexusName, attention: Attention) {
        self.members
            .values_mut()
            .filter(|member| member.core.nexus.name == *name)
            .for_each(|member| member.raise(attention));
    }

    pub fn removal_prevented(&self) -> bool {
        self.members.values().any(|member| member.prevents_removal)
    }

    pub fn initiator_ports(&self) -> Vec<InitiatorPort> {
        let ports: BTreeSet<_> = self.members.values().map(|member| &member.core.nexus.name.initiator).collect();
        ports.into_iter().cloned().collect()
    }

    /// May the medium be accessed?
    pub fn readiness(&self) -> Result<(), Sense> {
        self.port_groups.is_served()?;
        self.condition.readiness()?;
        match self.ejected {
            true => Err(Sense::medium_not_present()),
            false => Ok(()),
        }
    }

    /// What [`exceptional`] says of all this.
    pub fn exceptional(&self, read_only: bool) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(!self.reservations.is_free(), exceptional::RESERVED)
            | bit(self.readiness().is_err(), exceptional::NOT_READY)
            | bit(read_only || self.pages.software_write_protect(), exceptional::WRITE_PROTECTED)
            | bit(!self.port_groups.all_active(), exceptional::INACTIVE)
    }
}
