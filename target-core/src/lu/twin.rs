//! A mirrored logical unit: one on each node, of which one serves hosts. What that one remembers besides blocks it tells its
//! counterpart, before the command that changed it is answered; which answers hosts the same on the day it takes over.
//!
//! ```text
//!   serves:   command ─► record ─► tell ─► take effect, answer
//!   stands by:            told ─► take effect ─► record
//! ```
//! What is told is the whole state of its kind; the last stands. Everything is told when a node begins to serve.

use std::sync::Arc;

use bytes::Bytes;
use mirror_link::replica::io::Standing;
use mirror_link::wire::message::MarkKind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::attention::Attention;
use super::background;
use super::device_error::{self, Direction, Failure};
use super::nexus::RelativeTargetPort;
use super::operation::{Condition, Plan};
use super::options::LuOptions;
use super::persist::{RecordKind, StateError, StateStore, UnitName};
use super::reservations::{Reservations, Told, ToldPort};
use super::state::State;
use super::unit::LogicalUnit;
use crate::block::{BlockCount, BlockError, BlockLength, Extent, Lba};
use crate::scsi::mode::SavedModePages;
use crate::scsi::sense::{Asc, Sense};

/// Which part of the state. The numbers are those of marks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Designation = 0,
    Reservations = 1,
    ModePages = 2,
    Information = 3,
    Operation = 4,
    Medium = 5,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Designation, Kind::Reservations, Kind::ModePages, Kind::Information, Kind::Operation, Kind::Medium];

    fn new(mark: MarkKind) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == mark.0)
    }
}

/// What initiators know the logical unit by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Designation {
    /// PRODUCT SERIAL NUMBER
    pub serial: String,
    /// NAA designator, 8 or 16 bytes.
    pub naa: Vec<u8>,
}

impl Designation {
    /// What the configuration says goes before what the owner told, and that before what we would be known by ourselves.
    pub fn new(options: &LuOptions, told: Option<Designation>) -> Designation {
        let told = told.filter(Designation::is_sound);
        let (serial, naa) = told.map(|told| (told.serial, told.naa)).unzip();
        Designation {
            serial: options.serial.clone().or(serial).unwrap_or_else(|| options.serial()),
            naa: options.naa.clone().or(naa).unwrap_or_else(|| options.naa()),
        }
    }

    fn is_sound(&self) -> bool {
        let graphic = self.serial.bytes().all(|byte| byte.is_ascii_graphic());
        (1..=SERIAL_LENGTH_MAX).contains(&self.serial.len()) && graphic && [8, 16].contains(&self.naa.len())
    }
}

/// Current values too, where the record has saved ones only.
#[derive(Serialize, Deserialize)]
struct ToldModes {
    current: SavedModePages,
    saved: SavedModePages,
}

#[derive(Serialize, Deserialize)]
struct ToldMedium {
    ejected: bool,
}

/// Writes a record, or removes it.
type Keep = Box<dyn FnOnce(&StateStore, &UnitName) -> Result<(), StateError> + Send>;

pub(super) fn told_reservations(reservations: &Reservations, state: &State) -> Bytes {
    let known = state.target_ports.iter().chain(&state.foreign_ports);
    let name = |relative: RelativeTargetPort| {
        known.clone().find(|port| port.relative == relative).map(|port| ToldPort {
            relative: relative.0,
            target: port.target_name.to_string(),
            portal_group: port.portal_group,
        })
    };
    json(&Told::new(reservations, name))
}

pub(super) fn told_operation(plan: Option<&Plan>) -> Bytes {
    json(&plan)
}

impl State {
    fn told(&self, kind: Kind) -> Bytes {
        match kind {
            Kind::Designation => json(&self.designation),
            Kind::Reservations => told_reservations(&self.reservations, self),
            Kind::ModePages => {
                let modes = self.pages.modes();
                json(&ToldModes { current: modes.current(), saved: modes.saved() })
            }
            Kind::Information => json(self.pages.information()),
            Kind::Operation => told_operation(self.condition.plan().as_ref()),
            Kind::Medium => json(&ToldMedium { ejected: self.ejected }),
        }
    }

    /// Be as the owner is. No unit attentions: what it is to its initiators they know.
    fn be_told(
        &mut self,
        kind: Kind,
        data: &[u8],
        options: &LuOptions,
        block_length: BlockLength,
    ) -> Result<(), String> {
        match kind {
            Kind::Designation => {
                let designation = Designation::new(options, Some(parse(data)?));
                // Those that looked at us already have seen another disk.
                if std::mem::replace(&mut self.designation, designation.clone()) != designation {
                    self.raise_all(Attention::InquiryDataChanged);
                }
            }
            Kind::Reservations => self.reservations = self.restore_reservations(parse(data)?)?,
            Kind::ModePages => {
                let ToldModes { current, saved } = parse(data)?;
                self.pages.set_modes(&current, &saved);
            }
            Kind::Information => self.pages.set_information(parse(data)?),
            Kind::Operation => self.condition = Condition::restored(parse(data)?, block_length),
            Kind::Medium => self.ejected = parse::<ToldMedium>(data)?.ejected && options.removable,
        }
        Ok(())
    }

    /// A target that is not here gets an identifier that no port of ours has: nobody comes by it.
    fn restore_reservations(&mut self, told: Told) -> Result<Reservations, String> {
        let (ours, mut foreign) = (&self.target_ports, Vec::new());
        let mut free = (1..=u16::MAX).rev().filter(|id| ours.iter().all(|port| port.relative.0 != *id));
        let restored = told.restore(|told| {
            let here =
                ours.iter().find(|port| *port.target_name == *told.target && port.portal_group == told.portal_group);
            here.map(|port| port.relative).unwrap_or_else(|| {
                let relative = RelativeTargetPort(free.next().unwrap_or(told.relative));
                foreign.push(super::options::TargetPort {
                    relative,
                    group: 0,
                    target_name: told.target.as_str().into(),
                    portal_group: told.portal_group,
                });
                relative
            })
        });
        let restored = restored.map_err(|error| error.to_string())?;
        self.foreign_ports = foreign;
        Ok(restored)
    }

    /// What makes that part of the state durable.
    fn keep(&self, kind: Kind) -> Keep {
        match kind {
            Kind::Designation => {
                let designation = self.designation.clone();
                Box::new(move |store, name| store.write(name, RecordKind::Designation, &designation))
            }
            Kind::Reservations => {
                let record = self.reservations.record();
                Box::new(move |store, name| write_or_remove(store, name, RecordKind::Reservations, record))
            }
            Kind::ModePages => {
                let saved = self.pages.modes().saved();
                Box::new(move |store, name| store.write(name, RecordKind::ModePages, &saved))
            }
            Kind::Information => {
                let information = self.pages.information().clone();
                Box::new(move |store, name| store.write(name, RecordKind::IdentifyingInformation, &information))
            }
            Kind::Operation => {
                let plan = self.condition.plan().filter(Plan::is_sanitize);
                Box::new(move |store, name| write_or_remove(store, name, RecordKind::Sanitize, plan))
            }
            // A medium is back in its place when the program starts.
            Kind::Medium => Box::new(|_, _| Ok(())),
        }
    }
}

impl LogicalUnit {
    /// How the group stands from now on. Within a runtime.
    pub fn set_standing(self: &Arc<LogicalUnit>, standing: Standing) {
        let mut state = self.state.lock();
        if state.port_groups.standing() == standing {
            return;
        }
        state.port_groups.set_standing(standing);
        state.raise_all(Attention::AsymmetricAccessChanged);
        if standing != Standing::Active {
            // RESERVE ends as with a loss of the nexus: the peer knows nothing of it.
            state.reservations.reset();
        }
        self.settle(&state);
        drop(state);
        if standing == Standing::Active {
            tokio::spawn(tell_all(self.clone()));
            background::resume(self);
        }
    }

    /// The owner told a part of its state.
    pub fn be_told(self: &Arc<LogicalUnit>, mark: MarkKind, data: Bytes) {
        let lu = &*self.options.name;
        let Some(kind) = Kind::new(mark) else {
            // Of a later version, which has more to tell.
            return tracing::warn!(lu, mark = mark.0, "the peer told something this version does not know");
        };
        let mut state = self.state.lock();
        if state.port_groups.standing() == Standing::Active {
            return tracing::error!(lu, ?kind, "the peer told what we are to say; it is not taken");
        }
        if let Err(cause) = state.be_told(kind, &data, &self.options, self.device.block_length()) {
            return tracing::error!(lu, ?kind, cause, "what the peer told is not taken");
        }
        let kept_by_another = !state.unkept.is_empty();
        state.unkept.insert(kind);
        self.settle(&state);
        drop(state);
        if !kept_by_another {
            tokio::spawn(keep_told(self.clone()));
        }
    }

    /// Tell that part as it is now. Whoever calls has the turn, so that the last told is the last that was.
    pub(super) async fn tell(&self, kind: Kind) -> Result<(), Failure> {
        if self.counterpart.is_none() {
            return Ok(());
        }
        let data = self.state.lock().told(kind);
        self.tell_this(kind, data).await
    }

    /// As `tell`, of what is not so yet.
    pub(super) async fn tell_this(&self, kind: Kind, data: Bytes) -> Result<(), Failure> {
        let Some(counterpart) = &self.counterpart else { return Ok(()) };
        counterpart.tell(MarkKind(kind as u8), data).await.map_err(failure)
    }

    /// What was recorded and told comes to nothing: record and tell what is. Whoever calls has the turn.
    pub(super) async fn take_back(self: &Arc<LogicalUnit>, kind: Kind) {
        let (keep, told) = {
            let state = self.state.lock();
            (state.keep(kind), state.told(kind))
        };
        if let Err(error) = self.with_store(keep).await {
            tracing::error!(lu = %self.options.name, ?kind, %error, "a change that was refused stays on record");
        }
        let unit = self.clone();
        // Its place among all that is told is the one it has now; when it gets there is not waited for.
        let telling = self.counterpart.as_ref().map(|counterpart| counterpart.tell(MarkKind(kind as u8), told));
        tokio::spawn(async move {
            if let Some(telling) = telling
                && let Err(error) = telling.await
            {
                tracing::warn!(lu = %unit.options.name, ?kind, %error, "the peer was not told");
            }
        });
    }

    /// Tell it in its turn, whoever else waits; for what does not wait itself.
    pub(super) fn tell_soon(self: &Arc<LogicalUnit>, kind: Kind) {
        if self.counterpart.is_none() {
            return;
        }
        let unit = self.clone();
        tokio::spawn(async move {
            let _turn = unit.turn.lock().await;
            if let Err(failure) = unit.tell(kind).await {
                tracing::warn!(lu = %unit.options.name, ?kind, ?failure, "the peer was not told");
            }
        });
    }
}

/// The node begins to serve: the peer's copy of the state may be of some former time, or of none.
async fn tell_all(unit: Arc<LogicalUnit>) {
    let Some(counterpart) = &unit.counterpart else { return };
    let turn = unit.turn.lock().await;
    let told: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let data = unit.state.lock().told(kind);
            (kind, counterpart.tell(MarkKind(kind as u8), data))
        })
        .collect();
    // They have their order; a peer that is away is no reason to keep commands waiting.
    drop(turn);
    for (kind, done) in told {
        if let Err(error) = done.await {
            tracing::warn!(lu = %unit.options.name, ?kind, %error, "the peer was not told");
        }
    }
}

/// Make durable what was told. In its turn, and as it is by then: a record never goes back behind the state.
async fn keep_told(unit: Arc<LogicalUnit>) {
    let _turn = unit.turn.lock().await;
    loop {
        let (kind, keep) = {
            let mut state = unit.state.lock();
            let Some(kind) = state.unkept.pop_first() else { return };
            (kind, state.keep(kind))
        };
        if let Err(error) = unit.with_store(keep).await {
            tracing::error!(lu = %unit.options.name, ?kind, %error, "what the peer told was not recorded");
        }
    }
}

fn failure(error: BlockError) -> Failure {
    match error {
        // Of all that is told only registrations can be too many.
        BlockError::NoSpace => Sense::illegal_request(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into(),
        error => {
            let nothing = Extent::new(Lba(0), BlockCount(0), BlockCount(0)).expect("nothing fits everywhere");
            device_error::failure(error, Direction::Write, nothing)
        }
    }
}

fn write_or_remove<R: Serialize>(
    store: &StateStore,
    name: &UnitName,
    kind: RecordKind,
    record: Option<R>,
) -> Result<(), StateError> {
    match record {
        Some(record) => store.write(name, kind, &record),
        None => store.remove(name, kind),
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("the state has no maps with keys that are no strings").into()
}

fn parse<T: DeserializeOwned>(data: &[u8]) -> Result<T, String> {
    serde_json::from_slice(data).map_err(|error| error.to_string())
}

/// Characters of a serial number that VPD page 80h and the T10 designator of 83h hold.
const SERIAL_LENGTH_MAX: usize = 64;
