//! Reservations judged from outside: by commands in and answers out.

mod access;
mod invariants;
mod persistent_reserve_in;
mod preempt;
mod register;
mod reserve_release;
mod spc2;

use super::*;
use crate::scsi::request::PrOut;
use crate::scsi::transport_id::TransportId;

const PORTS: [RelativeTargetPort; 2] = [RelativeTargetPort(1), RelativeTargetPort(2)];
const A: u8 = 1;
const B: u8 = 2;
const C: u8 = 3;

/// Initiator `n`, on target port 1.
fn nexus(n: u8) -> NexusName {
    nexus_on(n, 1)
}

fn nexus_on(n: u8, port: u16) -> NexusName {
    NexusName { initiator: initiator(n), target_port: RelativeTargetPort(port) }
}

fn initiator(n: u8) -> InitiatorPort {
    InitiatorPort { name: format!("iqn.host-{n}").into(), isid: [0x80, 0, 0, 0, 0, n] }
}

/// A PERSISTENT RESERVE OUT in the making.
#[derive(Clone, Debug)]
struct Command {
    from: NexusName,
    cdb: PersistentReserveOut,
    list: Vec<u8>,
}

fn command(from: u8, action: PrOut, key: u64, service_action_key: u64) -> Command {
    let mut list = vec![0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&service_action_key.to_be_bytes());
    Command { from: nexus(from), cdb: PersistentReserveOut { action, scope: 0, kind: 0 }, list }
}

impl Command {
    fn kind(mut self, kind: ReservationType) -> Command {
        self.cdb.kind = kind as u8;
        self
    }

    /// SPEC_I_PT, ALL_TG_PT, APTPL.
    fn flags(mut self, flags: u8) -> Command {
        self.list[20] |= flags;
        self
    }

    fn specify_initiators(mut self, initiators: &[TransportId]) -> Command {
        let ids: Vec<u8> = initiators.iter().flat_map(TransportId::encode).collect();
        self.list[20] |= 8;
        self.list.extend_from_slice(&(ids.len() as u32).to_be_bytes());
        self.list.extend_from_slice(&ids);
        self
    }

    fn run(&self, reservations: &Reservations) -> Result<Change, Refusal> {
        let initiator_ports = [initiator(A), initiator(B), initiator(C)];
        let surroundings = Surroundings { target_ports: &PORTS, initiator_ports: &initiator_ports };
        reservations.persistent_reserve_out(&self.from, self.cdb, &self.list, surroundings)
    }
}

/// Run a command that must be accepted.
fn accept(reservations: &mut Reservations, command: Command) -> Effects {
    let change = command.run(reservations).expect("the command is in order");
    *reservations = change.next;
    change.effects
}

fn refuse(reservations: &Reservations, command: Command) -> Refusal {
    command.run(reservations).expect_err("the command is out of order")
}

fn register(reservations: &mut Reservations, from: u8, key: u64) -> Effects {
    accept(reservations, command(from, PrOut::RegisterAndIgnoreExistingKey, 0, key))
}

/// A, B registered with keys 0xA, 0xB; A holds `kind`.
fn held_by_a(kind: ReservationType) -> Reservations {
    let mut reservations = Reservations::default();
    register(&mut reservations, A, 0xA);
    register(&mut reservations, B, 0xB);
    accept(&mut reservations, command(A, PrOut::Reserve, 0xA, 0).kind(kind));
    reservations
}

fn port_id(n: u8) -> TransportId {
    TransportId { name: format!("iqn.host-{n}"), isid: Some(initiator(n).isid) }
}

fn keys(reservations: &Reservations) -> Vec<u64> {
    reservations.registrations.values().map(|key| key.0).collect()
}
