//! The logical unit itself: a device and what SCSI puts around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use mirror_link::replica::io::Standing;
use parking_lot::Mutex;

use super::attention::Attention;
use super::background;
use super::command::CommandComplete;
use super::complaint::Complaints;
use super::copy_manager::CopyManager;
use super::device_error::Failure;
use super::gate::Gate;
use super::itl::ItlNexus;
use super::media::Outcome;
use super::nexus::Nexus;
use super::operation::Condition;
use super::options::{LuOptions, TargetPort};
use super::orders::OrderSender;
use super::pages::Pages;
use super::persist::{RecordKind, StateError, StateStore, UnitName};
use super::reservations::{Record, RecordError, Reservations};
use super::state::State;
use super::statistics::Statistics;
use super::twin::Designation;
use crate::block::{BlockDevice, Durability};
use crate::scsi::sense::{Sense, SenseKey};
use crate::scsi::status::Status;
use crate::scsi::vpd::BlockLimits;
use crate::volume::Counterpart;

pub struct LogicalUnit {
    pub(super) options: LuOptions,
    pub(super) limits: BlockLimits,
    pub(super) device: Arc<dyn BlockDevice>,
    /// Of a mirrored volume: the logical unit on the peer.
    pub(super) counterpart: Option<Arc<dyn Counterpart>>,
    store: StateStore,
    record: UnitName,
    pub(super) gate: Arc<Gate>,
    /// What makes a command take the long way round, in bits of [`super::state::exceptional`].
    exceptional: AtomicU32,
    /// WCE of the Caching mode page.
    write_cache: AtomicBool,
    /// D_SENSE of the Control mode page.
    descriptor_sense: AtomicBool,
    pub(super) state: Mutex<State>,
    /// One change at a time of what is kept or told, as that is done before it takes effect.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) copies: CopyManager,
    pub(super) statistics: Statistics,
    complaints: Complaints,
    nexus_ids: AtomicU64,
}

/// Why a logical unit cannot be made of what its records say.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Reservations(#[from] RecordError),
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
    ) -> Result<Arc<LogicalUnit>, UnitError> {
        LogicalUnit::restore(options, device, None, store)
    }

    /// As `new`, of a mirrored volume. It serves nobody until `set_standing` says that it may.
    pub fn mirrored(
        options: LuOptions,
        device: Arc<dyn BlockDevice>,
        counterpart: Arc<dyn Counterpart>,
        store: StateStore,
    ) -> Result<Arc<LogicalUnit>, UnitError> {
        LogicalUnit::restore(options, device, Some(counterpart), store)
    }

    fn restore(
        options: LuOptions,
        device: Arc<dyn BlockDevice>,
        counterpart: Option<Arc<dyn Counterpart>>,
        store: StateStore,
    ) -> Result<Arc<LogicalUnit>, UnitError> {
        let record = UnitName::new(&options.name);
        let reservations = match store.read::<Record>(&record, RecordKind::Reservations)? {
            Some(kept) => kept.restore()?,
            None => Reservations::default(),
        };
        let condition = Condition::restored(store.read(&record, RecordKind::Sanitize)?, device.block_length());
        let pages = Pages::restore(&options, &store, &record)?;
        // Of use even if there is no peer any more: hosts know the disk by it.
        let designation = Designation::new(&options, store.read(&record, RecordKind::Designation)?);
        let standing = if counterpart.is_some() { Standing::Waiting } else { Standing::Active };
        let limits = BlockLimits::new(
            device.block_length().bytes(),
            options.physical_block_exponent,
            device.capabilities().unmap_granularity.0,
            options.thin,
        );
        let unit = Arc::new(LogicalUnit {
            limits,
            device,
            counterpart,
            store,
            record,
            gate: Arc::default(),
            exceptional: AtomicU32::new(0),
            write_cache: AtomicBool::new(true),
            descriptor_sense: AtomicBool::new(false),
            state: Mutex::new(State::new(reservations, condition, pages, designation, standing)),
            turn: tokio::sync::Mutex::default(),
            copies: CopyManager::default(),
            statistics: Statistics::default(),
            complaints: Complaints::default(),
            nexus_ids: AtomicU64::new(0),
            options,
        });
        unit.settle(&unit.state.lock());
        background::resume(&unit);
        Ok(unit)
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

    /// PRODUCT SERIAL NUMBER, as initiators see it.
    pub fn serial(&self) -> String {
        self.state.lock().designation.serial.clone()
    }

    /// NAA designator, as initiators see it: 8 or 16 bytes.
    pub fn naa(&self) -> Vec<u8> {
        self.state.lock().designation.naa.clone()
    }

    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The target ports it is reached by, each time the configuration changes them.
    pub fn set_target_ports(&self, ports: Vec<TargetPort>) {
        let mut state = self.state.lock();
        state.port_groups.set_groups(ports.iter().map(|port| port.group));
        state.target_ports = ports;
        self.settle(&state);
    }

    /// The device grew: tell every nexus (CAPACITY DATA HAS CHANGED).
    pub fn capacity_changed(&self) {
        self.state.lock().raise_all(Attention::CapacityChanged);
    }

    /// The nexuses' LUN maps changed: tell them (REPORTED LUNS DATA HAS CHANGED). For one nexus: `ItlNexus::luns_changed`.
    pub fn luns_changed(&self) {
        self.state.lock().raise_all(Attention::ReportedLunsChanged);
    }

    /// Publish what the command path reads without the lock. After every change of the state, before the lock is let go.
    pub(super) fn settle(&self, state: &State) {
        let exceptional = state.exceptional(self.is_read_only());
        self.exceptional.store(exceptional, Ordering::Release);
        self.write_cache.store(state.pages.write_cache(), Ordering::Release);
        self.descriptor_sense.store(state.pages.descriptor_sense(), Ordering::Release);
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.options.read_only || self.device.capabilities().read_only
    }

    pub(super) fn is_exceptional(&self, bits: u32) -> bool {
        self.exceptional.load(Ordering::Acquire) & bits != 0
    }

    /// Without a write cache every write is as if FUA were set.
    pub(super) fn durability(&self, fua: bool) -> Durability {
        match fua || !self.write_cache.load(Ordering::Relaxed) {
            true => Durability::Durable,
            false => Durability::Cached,
        }
    }

    /// The status of a command's outcome.
    pub(super) fn complete(&self, outcome: Outcome) -> CommandComplete {
        match outcome {
            Ok(data_in) => CommandComplete::data(data_in),
            Err(Failure::Sense(sense)) => self.refuse(sense),
            Err(Failure::Busy) => CommandComplete::with_status(Status::Busy),
        }
    }

    pub(super) fn refuse(&self, sense: Sense) -> CommandComplete {
        if sense.key != SenseKey::UnitAttention {
            self.statistics.errors.add(1);
            self.complaints.hear(&self.options.name, &sense);
        }
        let descriptor_sense = self.descriptor_sense.load(Ordering::Relaxed);
        CommandComplete { descriptor_sense, ..CommandComplete::check_condition(sense) }
    }

    /// Write or remove a record: it blocks, so elsewhere. Done even where the answer is not waited for.
    pub(super) async fn with_store(
        self: &Arc<LogicalUnit>,
        work: impl FnOnce(&StateStore, &UnitName) -> Result<(), StateError> + Send + 'static,
    ) -> Result<(), StateError> {
        let unit = self.clone();
        tokio::task::spawn_blocking(move || work(&unit.store, &unit.record))
            .await
            .expect("the store reports failures, it does not panic")
    }
}
