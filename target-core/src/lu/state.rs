//! What a logical unit remembers between commands, behind its one lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::attention::{Attention, Attentions};
use super::nexus::{Nexus, NexusName};
use super::orders::OrderSender;

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
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub members: BTreeMap<u64, Member>,
    /// Names that were attached before: for them 29h/07h rather than 29h/01h.
    known: std::collections::BTreeSet<NexusName>,
}

/// Names remembered; past it the newest are told 29h/01h again, which is harmless.
const KNOWN_MAX: usize = 4096;

impl State {
    pub fn attach(&mut self, id: u64, nexus: Arc<Nexus>, orders: OrderSender) -> Arc<ItlCore> {
        let known = self.known.contains(&nexus.name);
        if !known && self.known.len() < KNOWN_MAX {
            self.known.insert(nexus.name.clone());
        }
        let core = Arc::new(ItlCore { id, nexus, attention: AtomicBool::new(true) });
        let mut attentions = Attentions::default();
        attentions.raise(if known { Attention::NexusLoss } else { Attention::PowerOn });
        self.members.insert(id, Member { core: core.clone(), orders, attentions, prevents_removal: false });
        core
    }
}
