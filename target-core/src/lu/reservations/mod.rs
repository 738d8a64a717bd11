//! Reservations of one logical unit: PERSISTENT RESERVE IN and OUT (SPC-5 §5.14), and RESERVE/RELEASE as SPC-2 has them.
//!
//! ```text
//!   PERSISTENT RESERVE OUT ──► Reservations::persistent_reserve_out ──► Change { next, effects }
//!                                                                          │ persist, then
//!                                                                          ▼
//!                                                     *reservations = next; raise unit attentions; abort
//! ```
//! Pure: a change is proposed, and takes effect only when its owner has persisted it and put `next` in its place.

mod parameters;
mod record;
mod service_in;
mod service_out;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeMap;

use crate::lu::nexus::{InitiatorPort, NexusName, RelativeTargetPort};
use crate::scsi::access::ReservationAccess;
use crate::scsi::sense::{Asc, Sense};

pub use record::{Record, RecordError};
pub use service_out::PersistentReserveOut;
pub use told::{Told, ToldPort};

/// RESERVATION KEY. 0 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationKey(pub u64);

/// Persistent reservation TYPE (SPC-5 §6.16.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationType {
    WriteExclusive = 1,
    ExclusiveAccess = 3,
    WriteExclusiveRegistrantsOnly = 5,
    ExclusiveAccessRegistrantsOnly = 6,
    WriteExclusiveAllRegistrants = 7,
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    pub const ALL: [ReservationType; 6] = [
        ReservationType::WriteExclusive,
        ReservationType::ExclusiveAccess,
        ReservationType::WriteExclusiveRegistrantsOnly,
        ReservationType::ExclusiveAccessRegistrantsOnly,
        ReservationType::WriteExclusiveAllRegistrants,
        ReservationType::ExclusiveAccessAllRegistrants,
    ];

    pub fn new(code: u8) -> Option<ReservationType> {
        ReservationType::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    fn all_registrants(self) -> bool {
        matches!(self, ReservationType::WriteExclusiveAllRegistrants | ReservationType::ExclusiveAccessAllRegistrants)
    }

    /// "Registrants Only" or "All Registrants": a registration is enough for any command.
    fn shared(self) -> bool {
        !matches!(self, ReservationType::WriteExclusive | ReservationType::ExclusiveAccess)
    }

    fn keeps_readers_out(self) -> bool {
        matches!(
            self,
            ReservationType::ExclusiveAccess
                | ReservationType::ExclusiveAccessRegistrantsOnly
                | ReservationType::ExclusiveAccessAllRegistrants
        )
    }
}

/// The persistent reservation; its scope is the logical unit, the only one there is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PersistentReservation {
    kind: ReservationType,
    /// Who reserved. Of an all-registrants reservation every registered nexus is the holder and this is `None`.
    holder: Option<NexusName>,
}

/// Everything a logical unit knows of reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    registrations: BTreeMap<NexusName, ReservationKey>,
    reservation: Option<PersistentReservation>,
    generation: u32,
    /// Activate Persist Through Power Loss, as last asked for.
    aptpl: bool,
    /// Holder of an SPC-2 RESERVE.
    reserved_by: Option<NexusName>,
}

/// What is around the logical unit, for SPEC_I_PT, ALL_TG_PT and REGISTER AND MOVE.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Every target port the logical unit is reached by.
    pub target_ports: &'a [RelativeTargetPort],
    /// Every initiator port known now: those that are logged in.
    pub initiator_ports: &'a [InitiatorPort],
}

/// An accepted PERSISTENT RESERVE OUT: put `next` in place once `persist` is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub next: Reservations,
    pub effects: Effects,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To establish for every session of that name.
    pub unit_attentions: Vec<(NexusName, Asc)>,
    /// PREEMPT AND ABORT: whose commands to abort, the PERSISTENT RESERVE OUT itself excepted.
    pub abort: Vec<NexusName>,
    pub persist: Persist,
}

/// What must be durable before GOOD status (`RecordKind::Reservations`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Persist {
    #[default]
    Nothing,
    Write(Record),
    Remove,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Sense(Sense),
    /// RESERVATION CONFLICT status.
    ReservationConflict,
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Refusal {
        Refusal::Sense(sense)
    }
}

impl Reservations {
    /// May the nexus do that now? "No" is RESERVATION CONFLICT.
    pub fn allows(&self, nexus: &NexusName, access: ReservationAccess) -> bool {
        let reserved_by_another = self.reserved_by.as_ref().is_some_and(|holder| holder != nexus);
        match access {
            ReservationAccess::Always | ReservationAccess::ReserveRelease => true,
            ReservationAccess::Status => !reserved_by_another,
            // While RESERVE stands, the other method is closed to its holder too (SPC-2 §5.5.1).
            ReservationAccess::PersistentReserve => self.reserved_by.is_none(),
            ReservationAccess::Read => !reserved_by_another && self.persistent_allows(nexus, true),
            ReservationAccess::Write => !reserved_by_another && self.persistent_allows(nexus, false),
        }
    }

    /// Nothing is reserved by either method: every command of every nexus is allowed.
    pub fn is_free(&self) -> bool {
        self.reservation.is_none() && self.reserved_by.is_none()
    }

    fn persistent_allows(&self, nexus: &NexusName, reads: bool) -> bool {
        match &self.reservation {
            None => true,
            Some(reservation) => {
                self.is_holder(nexus)
                    || (reservation.kind.shared() && self.registrations.contains_key(nexus))
                    || (reads && !reservation.kind.keeps_readers_out())
            }
        }
    }

    fn is_holder(&self, nexus: &NexusName) -> bool {
        match &self.reservation {
            None => false,
            Some(PersistentReservation { holder: Some(holder), .. }) => holder == nexus,
            Some(PersistentReservation { holder: None, .. }) => self.registrations.contains_key(nexus),
        }
    }

    /// RESERVE(6) and (10). `Err` is RESERVATION CONFLICT.
    pub fn reserve(&mut self, nexus: &NexusName) -> Result<(), Refusal> {
        if self.persistent_method_answers(nexus)? {
            return Ok(());
        }
        match &self.reserved_by {
            Some(holder) if holder != nexus => Err(Refusal::ReservationConflict),
            _ => {
                self.reserved_by = Some(nexus.clone());
                Ok(())
            }
        }
    }

    /// RELEASE(6) and (10). Of another's reservation it does nothing and is GOOD.
    pub fn release(&mut self, nexus: &NexusName) -> Result<(), Refusal> {
        if !self.persistent_method_answers(nexus)? {
            self.reserved_by.take_if(|holder| holder == nexus);
        }
        Ok(())
    }

    /// CRH=1 (SPC-5 §5.14.3): "shall complete with GOOD status, but no reservation shall be established and the persistent
    /// reservation shall not be changed" for a holder, or a registrant where registrants share the reservation; otherwise
    /// SPC-2 §5.5.1: any registration makes RESERVE and RELEASE conflict.
    fn persistent_method_answers(&self, nexus: &NexusName) -> Result<bool, Refusal> {
        let shared = self.reservation.as_ref().is_some_and(|reservation| reservation.kind.shared());
        if self.is_holder(nexus) || (shared && self.registrations.contains_key(nexus)) {
            return Ok(true);
        }
        match self.registrations.is_empty() {
            true => Ok(false),
            false => Err(Refusal::ReservationConflict),
        }
    }

    /// I_T nexus loss, logout: a RESERVE of that nexus ends; persistent reservations do not.
    pub fn nexus_lost(&mut self, nexus: &NexusName) {
        self.reserved_by.take_if(|holder| holder == nexus);
    }

    /// Logical unit reset, target reset: a RESERVE ends; persistent reservations do not.
    pub fn reset(&mut self) {
        self.reserved_by = None;
    }
}

/// Registrations a logical unit holds: enough for 1,000 hosts on several ports. One more is INSUFFICIENT REGISTRATION
/// RESOURCES.
pub const REGISTRATIONS_MAX: usize = 4096;
