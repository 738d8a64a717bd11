//! One I_T_L nexus: the door to a logical unit, and the task management functions it offers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attention::Attention;
use super::state::ItlCore;
use super::twin::Kind;
use super::unit::LogicalUnit;

/// An initiator port, a target port and a logical unit. Its drop is the loss of the nexus (SAM-5 §6.3.4).
pub struct ItlNexus {
    pub(super) unit: Arc<LogicalUnit>,
    pub(super) core: Arc<ItlCore>,
}

/// Which function reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    LogicalUnit,
    /// TARGET WARM RESET or TARGET COLD RESET.
    Target,
}

impl ItlNexus {
    pub(super) fn new(unit: Arc<LogicalUnit>, core: Arc<ItlCore>) -> ItlNexus {
        ItlNexus { unit, core }
    }

    pub fn unit(&self) -> &Arc<LogicalUnit> {
        &self.unit
    }

    /// LOGICAL UNIT RESET, and this logical unit's part in a target reset (SAM-5 §6.3.3). The caller has aborted its own
    /// nexus's tasks; those of the others are gone when the answer is there. A sanitize or format operation goes on.
    pub fn reset(&self, reset: Reset) -> impl Future<Output = ()> + Send + 'static {
        self.unit.copies.reset();
        let mut state = self.unit.state.lock();
        state.reservations.reset();
        // What another node serves is not reset here; its own initiators may have set what there is.
        if state.port_groups.is_served().is_ok() {
            state.pages.reset();
        }
        state.members.values_mut().for_each(|member| member.prevents_removal = false);
        state.raise_all(match reset {
            Reset::LogicalUnit => Attention::LogicalUnitReset,
            Reset::Target => Attention::TargetReset,
        });
        self.unit.settle(&state);
        self.unit.tell_soon(Kind::ModePages);
        let others = state.members.values().filter(|member| member.core.id != self.core.id);
        let answers: Vec<_> = others.map(|member| member.orders.abort_tasks()).collect();
        async move {
            for answer in answers {
                // An order nobody answers was to a session that is gone, and its tasks with it.
                answer.await.ok();
            }
        }
    }

    /// I_T NEXUS RESET: as if the nexus had been lost and made anew. The caller aborts its own tasks.
    pub fn nexus_reset(&self) {
        self.unit.copies.nexus_lost(&self.core.nexus);
        let mut state = self.unit.state.lock();
        state.reservations.nexus_lost(&self.core.nexus.name);
        if let Some(member) = state.member(&self.core) {
            member.prevents_removal = false;
            member.echo = None;
            member.raise(Attention::NexusLoss);
        }
        self.unit.settle(&state);
    }

    /// QUERY ASYNCHRONOUS EVENT: the additional response information where a unit attention is pending.
    pub fn query_async_event(&self) -> Option<[u8; 3]> {
        if !self.core.attention.load(Ordering::Acquire) {
            return None;
        }
        self.unit.state.lock().member(&self.core)?.attentions.query_async_event()
    }

    /// This nexus's LUN map changed (REPORTED LUNS DATA HAS CHANGED).
    pub fn luns_changed(&self) {
        if let Some(member) = self.unit.state.lock().member(&self.core) {
            member.raise(Attention::ReportedLunsChanged);
        }
    }
}

impl Drop for ItlNexus {
    fn drop(&mut self) {
        self.unit.copies.nexus_lost(&self.core.nexus);
        let mut state = self.unit.state.lock();
        state.detach(self.core.id);
        self.unit.settle(&state);
    }
}
