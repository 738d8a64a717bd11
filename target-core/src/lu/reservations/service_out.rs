//! PERSISTENT RESERVE OUT (SPC-5 §5.14.7–5.14.11, §6.17).

use super::parameters::{BasicParameters, MoveParameters, SERVICE_ACTION_KEY_AT};
use super::{
    Change, Effects, Persist, PersistentReservation, REGISTRATIONS_MAX, Refusal, ReservationKey, ReservationType,
    Reservations, Surroundings,
};
use crate::lu::nexus::{InitiatorPort, NexusName, RelativeTargetPort};
use crate::scsi::request::PrOut;
use crate::scsi::sense::{Asc, Sense};
use crate::scsi::transport_id::TransportId;

/// The CDB: service action, SCOPE and TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistentReserveOut {
    pub action: PrOut,
    pub scope: u8,
    pub kind: u8,
}

impl Reservations {
    /// `parameter_list` is as long as PARAMETER LIST LENGTH says. Nothing here changes until the change is taken over.
    pub fn persistent_reserve_out(
        &self,
        nexus: &NexusName,
        command: PersistentReserveOut,
        parameter_list: &[u8],
        surroundings: Surroundings<'_>,
    ) -> Result<Change, Refusal> {
        if self.reserved_by.is_some() {
            return Err(Refusal::ReservationConflict);
        }
        let mut proposal = Proposal { nexus, next: self.clone(), effects: Effects::default() };
        if command.action == PrOut::RegisterAndMove {
            let parameters = MoveParameters::parse(parameter_list)?;
            proposal.register_and_move(parameters, surroundings)?;
        } else {
            let parameters = BasicParameters::parse(parameter_list)?;
            if parameters.transport_ids.is_some() && command.action != PrOut::Register {
                // §6.17.3: SPEC_I_PT set to one with any service action other than REGISTER.
                return Err(Sense::invalid_field_in_parameter_list(20, 3).into());
            }
            match command.action {
                PrOut::Register => proposal.register(parameters, surroundings, false)?,
                PrOut::RegisterAndIgnoreExistingKey => proposal.register(parameters, surroundings, true)?,
                action => {
                    proposal.check_registered(parameters.key)?;
                    match action {
                        PrOut::Reserve => proposal.reserve(command)?,
                        PrOut::Release => proposal.release(command)?,
                        PrOut::Clear => proposal.clear(),
                        PrOut::Preempt => drop(proposal.preempt(command, parameters.service_action_key)?),
                        PrOut::PreemptAndAbort => {
                            proposal.effects.abort = proposal.preempt(command, parameters.service_action_key)?;
                        }
                        PrOut::Register | PrOut::RegisterAndIgnoreExistingKey | PrOut::RegisterAndMove => {
                            unreachable!("registrations were dealt with above")
                        }
                    }
                }
            }
        }
        Ok(proposal.into_change(self))
    }
}

/// A change in the making: `next` belongs to nobody yet.
struct Proposal<'a> {
    /// Who asks.
    nexus: &'a NexusName,
    next: Reservations,
    effects: Effects,
}

impl Proposal<'_> {
    /// §5.14.7, tables 71 and 72.
    fn register(
        &mut self,
        parameters: BasicParameters,
        surroundings: Surroundings<'_>,
        ignore_existing_key: bool,
    ) -> Result<(), Refusal> {
        let registered = self.next.registrations.get(self.nexus).copied();
        if !ignore_existing_key && parameters.key != registered.unwrap_or(ReservationKey(0)) {
            return Err(Refusal::ReservationConflict);
        }
        if registered.is_some() && parameters.transport_ids.is_some() {
            return Err(Sense::invalid_field_in_parameter_list(20, 3).into());
        }
        let key = parameters.service_action_key;
        if registered.is_none() && key.0 == 0 {
            return Ok(());
        }
        let target_ports: &[RelativeTargetPort] =
            if parameters.all_target_ports { surroundings.target_ports } else { &[] };
        let own = every_nexus(&self.nexus.initiator, self.nexus.target_port, target_ports);
        if key.0 == 0 {
            self.unregister(own);
        } else {
            self.next.registrations.extend(own.map(|nexus| (nexus, key)));
            for transport_id in parameters.transport_ids.unwrap_or_default() {
                for initiator in initiator_ports(transport_id, surroundings) {
                    for nexus in every_nexus(&initiator, self.nexus.target_port, target_ports) {
                        self.register_another(nexus, key)?;
                    }
                }
            }
            if self.next.registrations.len() > REGISTRATIONS_MAX {
                return Err(Sense::illegal_request(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into());
            }
        }
        self.next.aptpl = parameters.aptpl;
        self.count_generation();
        Ok(())
    }

    /// SPEC_I_PT registers the unregistered: a key that another port chose for itself is not replaced.
    fn register_another(&mut self, nexus: NexusName, key: ReservationKey) -> Result<(), Refusal> {
        match *self.next.registrations.entry(nexus).or_insert(key) == key {
            true => Ok(()),
            false => Err(Sense::invalid_field_in_parameter_list(28, None).into()),
        }
    }

    /// §5.14.11.3: a holder that unregisters releases; registrants who shared the reservation, and still are, are told.
    fn unregister(&mut self, own: impl Iterator<Item = NexusName>) {
        for nexus in own {
            self.next.registrations.remove(&nexus);
        }
        let Some(reservation) = &self.next.reservation else { return };
        let is_held = match &reservation.holder {
            Some(holder) => self.next.registrations.contains_key(holder),
            None => !self.next.registrations.is_empty(),
        };
        if !is_held {
            let shared = reservation.kind.shared();
            self.next.reservation = None;
            if shared {
                self.attention_to_registrants(Asc::RESERVATIONS_RELEASED);
            }
        }
    }

    /// RESERVE, RELEASE, CLEAR and PREEMPT are for the registered, by their key.
    fn check_registered(&self, key: ReservationKey) -> Result<(), Refusal> {
        match self.next.registrations.get(self.nexus) == Some(&key) {
            true => Ok(()),
            false => Err(Refusal::ReservationConflict),
        }
    }

    /// §5.14.9
    fn reserve(&mut self, command: PersistentReserveOut) -> Result<(), Refusal> {
        let kind = scope_and_type(command)?;
        match &self.next.reservation {
            None => self.next.reservation = Some(self.reservation(kind)),
            // "… of the same type and scope from the persistent reservation holder … complete with GOOD status".
            Some(held) if held.kind == kind && self.next.is_holder(self.nexus) => {}
            Some(_) => return Err(Refusal::ReservationConflict),
        }
        Ok(())
    }

    /// §5.14.11.2
    fn release(&mut self, command: PersistentReserveOut) -> Result<(), Refusal> {
        let Some(held) = &self.next.reservation else { return Ok(()) };
        if !self.next.is_holder(self.nexus) {
            return Ok(());
        }
        let kind = held.kind;
        if command.scope != 0 || command.kind != kind as u8 {
            return Err(Sense::illegal_request(Asc::INVALID_RELEASE_OF_PERSISTENT_RESERVATION).into());
        }
        self.next.reservation = None;
        if kind.shared() {
            self.attention_to_registrants(Asc::RESERVATIONS_RELEASED);
        }
        Ok(())
    }

    /// §5.14.11.6
    fn clear(&mut self) {
        self.attention_to_registrants(Asc::RESERVATIONS_PREEMPTED);
        self.next.registrations.clear();
        self.next.reservation = None;
        self.count_generation();
    }

    /// §5.14.11.4, figure 9. The nexuses preempted, the asking one excepted.
    fn preempt(&mut self, command: PersistentReserveOut, key: ReservationKey) -> Result<Vec<NexusName>, Refusal> {
        let preempts_reservation = match &self.next.reservation {
            None => false,
            Some(PersistentReservation { holder: Some(holder), .. }) => {
                self.next.registrations.get(holder) == Some(&key)
            }
            Some(PersistentReservation { holder: None, .. }) => key.0 == 0,
        };
        if key.0 == 0 && !preempts_reservation {
            return Err(Sense::invalid_field_in_parameter_list(SERVICE_ACTION_KEY_AT, None).into());
        }
        let preempted = match preempts_reservation {
            true => self.preempt_reservation(scope_and_type(command)?, key),
            false => self.remove_registrations(key)?,
        };
        for nexus in &preempted {
            self.effects.unit_attentions.push((nexus.clone(), Asc::REGISTRATIONS_PREEMPTED));
        }
        self.count_generation();
        Ok(preempted)
    }

    /// Key 0 stands for every registrant. The asking nexus keeps its registration and takes the reservation.
    fn preempt_reservation(&mut self, kind: ReservationType, key: ReservationKey) -> Vec<NexusName> {
        let (before, asking) = (self.next.reservation.take(), self.nexus);
        let preempted = self.take_registrations(|nexus, held| nexus != asking && (key.0 == 0 || held == key));
        self.next.reservation = Some(self.reservation(kind));
        // "If the type or scope has changed, then for every I_T nexus whose reservation key was not removed, except …"
        if before.is_some_and(|before| before.kind != kind) {
            self.attention_to_registrants(Asc::RESERVATIONS_RELEASED);
        }
        preempted
    }

    /// The reservation stays, unless it was the registrants' and none is left.
    fn remove_registrations(&mut self, key: ReservationKey) -> Result<Vec<NexusName>, Refusal> {
        let mut preempted = self.take_registrations(|_, held| held == key);
        if preempted.is_empty() {
            return Err(Refusal::ReservationConflict);
        }
        preempted.retain(|nexus| nexus != self.nexus);
        if self.next.registrations.is_empty() {
            self.next.reservation = None;
        }
        Ok(preempted)
    }

    fn take_registrations(&mut self, chosen: impl Fn(&NexusName, ReservationKey) -> bool) -> Vec<NexusName> {
        let mut taken = Vec::new();
        self.next.registrations.retain(|nexus, key| {
            let take = chosen(nexus, *key);
            if take {
                taken.push(nexus.clone());
            }
            !take
        });
        taken
    }

    /// §5.14.8
    fn register_and_move(&mut self, parameters: MoveParameters, surroundings: Surroundings<'_>) -> Result<(), Refusal> {
        self.check_registered(parameters.key)?;
        let Some(held) = &mut self.next.reservation else { return Err(Refusal::ReservationConflict) };
        // All-registrants reservations have no one holder to move from.
        if held.holder.as_ref() != Some(self.nexus) {
            return Err(Refusal::ReservationConflict);
        }
        if parameters.service_action_key.0 == 0 {
            return Err(Sense::invalid_field_in_parameter_list(SERVICE_ACTION_KEY_AT, None).into());
        }
        if !surroundings.target_ports.contains(&parameters.target_port) {
            return Err(Sense::invalid_field_in_parameter_list(18, None).into());
        }
        let destination = NexusName { initiator: parameters.initiator, target_port: parameters.target_port };
        if destination == *self.nexus {
            return Err(Sense::invalid_field_in_parameter_list(24, None).into());
        }
        held.holder = Some(destination.clone());
        self.next.registrations.insert(destination, parameters.service_action_key);
        if parameters.unregister {
            self.next.registrations.remove(self.nexus);
        }
        if self.next.registrations.len() > REGISTRATIONS_MAX {
            return Err(Sense::illegal_request(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into());
        }
        self.next.aptpl = parameters.aptpl;
        self.count_generation();
        Ok(())
    }

    fn reservation(&self, kind: ReservationType) -> PersistentReservation {
        PersistentReservation { kind, holder: (!kind.all_registrants()).then(|| self.nexus.clone()) }
    }

    /// To every registered nexus but the asking one.
    fn attention_to_registrants(&mut self, asc: Asc) {
        let others = self.next.registrations.keys().filter(|nexus| *nexus != self.nexus);
        self.effects.unit_attentions.extend(others.map(|nexus| (nexus.clone(), asc)));
    }

    fn count_generation(&mut self) {
        self.next.generation = self.next.generation.wrapping_add(1);
    }

    fn into_change(mut self, before: &Reservations) -> Change {
        let record = self.next.record();
        if record != before.record() {
            self.effects.persist = record.map_or(Persist::Remove, Persist::Write);
        }
        Change { next: self.next, effects: self.effects }
    }
}

/// §6.17.1: only LU_SCOPE, and the six types, exist.
fn scope_and_type(command: PersistentReserveOut) -> Result<ReservationType, Sense> {
    if command.scope != 0 {
        return Err(Sense::invalid_field_in_cdb(2, 7));
    }
    ReservationType::new(command.kind).ok_or_else(|| Sense::invalid_field_in_cdb(2, 3))
}

/// The initiator port on the target port asked through, and on `target_ports`.
fn every_nexus(
    initiator: &InitiatorPort,
    own: RelativeTargetPort,
    target_ports: &[RelativeTargetPort],
) -> impl Iterator<Item = NexusName> {
    let others = target_ports.iter().copied().filter(move |port| *port != own);
    std::iter::once(own).chain(others).map(|target_port| NexusName { initiator: initiator.clone(), target_port })
}

/// §7.6.4.6: a TransportID without ISID stands for "all initiator ports known to the device server with an iSCSI node name
/// matching the one in the TransportID".
fn initiator_ports(transport_id: TransportId, surroundings: Surroundings<'_>) -> Vec<InitiatorPort> {
    match transport_id.isid {
        Some(isid) => vec![InitiatorPort { name: transport_id.name.into(), isid }],
        None => surroundings.initiator_ports.iter().filter(|port| *port.name == *transport_id.name).cloned().collect(),
    }
}
