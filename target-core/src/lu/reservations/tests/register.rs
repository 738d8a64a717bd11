//! REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE.

use super::*;
use crate::scsi::sense::{Asc, SenseKeySpecific};

fn parameter_fault(refusal: Refusal) -> (Asc, u16) {
    match refusal {
        Refusal::Sense(Sense {
            asc,
            specific: Some(SenseKeySpecific::FieldPointer { in_cdb: false, byte, .. }),
            ..
        }) => (asc, byte),
        other => panic!("a fault in the parameter list was expected, not {other:?}"),
    }
}

#[test]
fn a_key_is_registered_changed_and_given_up() {
    let mut reservations = Reservations::default();
    accept(&mut reservations, command(A, PrOut::Register, 0, 0xA));
    assert_eq!((keys(&reservations), reservations.generation), (vec![0xA], 1));
    assert_eq!(refuse(&reservations, command(A, PrOut::Register, 0, 0xC)), Refusal::ReservationConflict);
    assert_eq!(refuse(&reservations, command(A, PrOut::Register, 0xB, 0xC)), Refusal::ReservationConflict);
    assert_eq!(refuse(&reservations, command(B, PrOut::Register, 0xA, 0xC)), Refusal::ReservationConflict);
    accept(&mut reservations, command(A, PrOut::Register, 0xA, 0xC));
    assert_eq!((keys(&reservations), reservations.generation), (vec![0xC], 2));
    accept(&mut reservations, command(A, PrOut::RegisterAndIgnoreExistingKey, 0x77, 0xD));
    accept(&mut reservations, command(A, PrOut::Register, 0xD, 0));
    assert_eq!((keys(&reservations), reservations.generation), (vec![], 4));
    accept(&mut reservations, command(A, PrOut::Register, 0, 0));
    accept(&mut reservations, command(A, PrOut::RegisterAndIgnoreExistingKey, 0, 0));
    assert_eq!(reservations.generation, 4, "nothing was done, nothing is counted");
}

#[test]
fn all_target_ports_registers_and_unregisters_on_each() {
    let mut reservations = Reservations::default();
    accept(&mut reservations, command(A, PrOut::Register, 0, 0xA).flags(4));
    assert_eq!(reservations.registrations.keys().cloned().collect::<Vec<_>>(), [nexus_on(A, 1), nexus_on(A, 2)]);
    accept(&mut reservations, command(A, PrOut::Register, 0xA, 0).flags(4));
    assert!(keys(&reservations).is_empty());
}

#[test]
fn a_holder_that_unregisters_on_all_target_ports_tells_only_those_that_stay() {
    let mut reservations = Reservations::default();
    register(&mut reservations, B, 0xB);
    accept(&mut reservations, command(A, PrOut::Register, 0, 0xA).flags(4));
    accept(&mut reservations, command(A, PrOut::Reserve, 0xA, 0).kind(ReservationType::WriteExclusiveRegistrantsOnly));
    let effects = accept(&mut reservations, command(A, PrOut::Register, 0xA, 0).flags(4));
    assert_eq!(effects.unit_attentions, [(nexus(B), Asc::RESERVATIONS_RELEASED)]);
    assert_eq!((keys(&reservations), reservations.reservation), (vec![0xB], None));
}

#[test]
fn specified_initiators_are_registered_too() {
    let mut reservations = Reservations::default();
    let by_name = TransportId { name: "iqn.host-3".into(), isid: None };
    let unknown = TransportId { name: "iqn.elsewhere".into(), isid: None };
    accept(&mut reservations, command(A, PrOut::Register, 0, 0xA).specify_initiators(&[port_id(B), by_name, unknown]));
    assert_eq!(keys(&reservations), [0xA; 3]);
    assert!(reservations.registrations.contains_key(&nexus(C)), "known by its name");
    // "… already registered": REGISTER with SPEC_I_PT is for the unregistered.
    let again = command(A, PrOut::Register, 0xA, 0xB).specify_initiators(&[port_id(B)]);
    assert_eq!(parameter_fault(refuse(&reservations, again)), (Asc::INVALID_FIELD_IN_PARAMETER_LIST, 20));
}

#[test]
fn specified_initiators_keep_a_key_of_their_own_and_nothing_changes() {
    let mut reservations = Reservations::default();
    register(&mut reservations, B, 0xB);
    let before = reservations.clone();
    let greedy = command(A, PrOut::Register, 0, 0xA).specify_initiators(&[port_id(C), port_id(B)]);
    assert_eq!(parameter_fault(refuse(&reservations, greedy)), (Asc::INVALID_FIELD_IN_PARAMETER_LIST, 28));
    assert_eq!(reservations, before);
}

#[test]
fn parameter_lists_of_the_wrong_length_are_refused() {
    let reservations = Reservations::default();
    let length_error = Refusal::Sense(Sense::parameter_list_length_error());
    for bytes in [0, 23, 25, 28] {
        let mut wrong = command(A, PrOut::Register, 0, 1);
        wrong.list.resize(bytes, 0);
        assert_eq!(refuse(&reservations, wrong), length_error, "{bytes} bytes");
    }
    let mut cut = command(A, PrOut::Register, 0, 1).specify_initiators(&[port_id(B)]);
    cut.list.pop();
    assert_eq!(refuse(&reservations, cut), length_error);
    let mut foreign = command(A, PrOut::Register, 0, 1).specify_initiators(&[port_id(B)]);
    foreign.list[28] = 0x46;
    assert_eq!(parameter_fault(refuse(&reservations, foreign)), (Asc::INVALID_FIELD_IN_PARAMETER_LIST, 28));
    for action in [PrOut::RegisterAndIgnoreExistingKey, PrOut::Reserve, PrOut::Clear] {
        let misplaced = command(A, action, 0, 1).specify_initiators(&[]);
        assert_eq!(parameter_fault(refuse(&reservations, misplaced)), (Asc::INVALID_FIELD_IN_PARAMETER_LIST, 20));
    }
}

#[test]
fn registrations_are_bounded() {
    let mut reservations = Reservations::default();
    for n in 0..REGISTRATIONS_MAX {
        let name = NexusName {
            initiator: InitiatorPort { name: format!("iqn.{n}").into(), isid: [0; 6] },
            target_port: PORTS[0],
        };
        reservations.registrations.insert(name, ReservationKey(1));
    }
    let refusal = refuse(&reservations, command(A, PrOut::Register, 0, 1));
    assert_eq!(refusal, Refusal::Sense(Sense::illegal_request(Asc::INSUFFICIENT_REGISTRATION_RESOURCES)));
}

#[test]
fn aptpl_is_what_the_last_registration_said() {
    let mut reservations = Reservations::default();
    let effects = accept(&mut reservations, command(A, PrOut::Register, 0, 0xA).flags(1));
    let Persist::Write(record) = effects.persist else { panic!("a record is written") };
    let mut restored = record.restore().unwrap();
    assert_eq!((restored.registrations.clone(), restored.generation), (reservations.registrations.clone(), 0));
    let effects =
        accept(&mut restored, command(A, PrOut::Reserve, 0xA, 0).kind(ReservationType::WriteExclusiveAllRegistrants));
    let Persist::Write(record) = effects.persist else { panic!("a record is written") };
    assert_eq!(record.restore().unwrap().reservation, restored.reservation);
    let effects = accept(&mut restored, command(A, PrOut::Register, 0xA, 0xA));
    assert_eq!(effects.persist, Persist::Remove, "APTPL=0 forgets");
    let effects = accept(&mut restored, command(A, PrOut::Register, 0xA, 0));
    assert_eq!(effects.persist, Persist::Nothing);
}

fn register_and_move(from: u8, key: u64, new_key: u64, flags: u8, port: u16, to: &TransportId) -> Command {
    let mut moving = command(from, PrOut::RegisterAndMove, key, new_key);
    let id = to.encode();
    moving.list[17] = flags;
    moving.list[18..20].copy_from_slice(&port.to_be_bytes());
    moving.list[20..24].copy_from_slice(&(id.len() as u32).to_be_bytes());
    moving.list.extend_from_slice(&id);
    moving
}

#[test]
fn a_reservation_moves_with_its_type() {
    let mut reservations = held_by_a(ReservationType::ExclusiveAccess);
    accept(&mut reservations, register_and_move(A, 0xA, 0xC, 0, 2, &port_id(C)));
    assert!(reservations.is_holder(&nexus_on(C, 2)) && !reservations.is_holder(&nexus(A)));
    assert_eq!(keys(&reservations), [0xA, 0xB, 0xC]);
    assert_eq!(reservations.generation, 3);

    let mut reservations = held_by_a(ReservationType::WriteExclusive);
    accept(&mut reservations, register_and_move(A, 0xA, 0xBB, 2, 1, &port_id(B)));
    assert!(reservations.is_holder(&nexus(B)));
    assert_eq!(keys(&reservations), [0xBB], "UNREG");
}

#[test]
fn a_move_is_for_the_one_holder_to_another_port() {
    let reservations = held_by_a(ReservationType::WriteExclusive);
    let to_c = |from, key, new_key| register_and_move(from, key, new_key, 0, 1, &port_id(C));
    assert_eq!(refuse(&reservations, to_c(B, 0xB, 0xC)), Refusal::ReservationConflict);
    assert_eq!(refuse(&reservations, to_c(A, 0xB, 0xC)), Refusal::ReservationConflict);
    assert_eq!(refuse(&reservations, to_c(C, 0, 0xC)), Refusal::ReservationConflict);
    let shared = held_by_a(ReservationType::WriteExclusiveAllRegistrants);
    assert_eq!(refuse(&shared, to_c(A, 0xA, 0xC)), Refusal::ReservationConflict);
    let by_name = TransportId { name: "iqn.host-3".into(), isid: None };
    for (moving, byte) in [
        (to_c(A, 0xA, 0), 8),
        (register_and_move(A, 0xA, 0xC, 0, 9, &port_id(C)), 18),
        (register_and_move(A, 0xA, 0xC, 0, 1, &port_id(A)), 24),
        (register_and_move(A, 0xA, 0xC, 0, 1, &by_name), 24),
    ] {
        assert_eq!(parameter_fault(refuse(&reservations, moving)), (Asc::INVALID_FIELD_IN_PARAMETER_LIST, byte));
    }
    let mut short = to_c(A, 0xA, 0xC);
    short.list.pop();
    assert_eq!(refuse(&reservations, short), Refusal::Sense(Sense::parameter_list_length_error()));
}
