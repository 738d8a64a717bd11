//! PREEMPT and PREEMPT AND ABORT (SPC-5 §5.14.11.4).

use super::*;
use crate::scsi::sense::Asc;
use ReservationType as Kind;

fn preempt(from: u8, key: u64, victim: u64, kind: Kind) -> Command {
    command(from, PrOut::Preempt, key, victim).kind(kind)
}

#[test]
fn without_a_reservation_registrations_are_removed() {
    let mut reservations = Reservations::default();
    register(&mut reservations, A, 0xA);
    register(&mut reservations, B, 0xB);
    register(&mut reservations, C, 0xA);
    let effects = accept(&mut reservations, preempt(B, 0xB, 0xA, Kind::ExclusiveAccess));
    let removed = [nexus(A), nexus(C)].map(|nexus| (nexus, Asc::REGISTRATIONS_PREEMPTED));
    assert_eq!(effects.unit_attentions, removed);
    assert_eq!(effects.abort, []);
    assert_eq!((keys(&reservations), reservations.is_free(), reservations.generation), (vec![0xB], true, 4));
    assert_eq!(refuse(&reservations, preempt(B, 0xB, 0xA, Kind::ExclusiveAccess)), Refusal::ReservationConflict);
    let zero = refuse(&reservations, preempt(B, 0xB, 0, Kind::ExclusiveAccess));
    assert_eq!(zero, Refusal::Sense(Sense::invalid_field_in_parameter_list(8, None)));
}

#[test]
fn the_holders_key_takes_the_reservation() {
    for before in [Kind::WriteExclusive, Kind::ExclusiveAccess, Kind::WriteExclusiveRegistrantsOnly] {
        for after in Kind::ALL {
            let mut reservations = held_by_a(before);
            register(&mut reservations, C, 0xC);
            let effects = accept(&mut reservations, preempt(B, 0xB, 0xA, after));
            let mut told = vec![(nexus(A), Asc::REGISTRATIONS_PREEMPTED)];
            if before != after {
                told.insert(0, (nexus(C), Asc::RESERVATIONS_RELEASED));
            }
            assert_eq!(effects.unit_attentions, told, "{before:?} to {after:?}");
            assert!(reservations.is_holder(&nexus(B)));
            assert_eq!(reservations.reservation.as_ref().unwrap().kind, after);
            assert_eq!(keys(&reservations), [0xB, 0xC]);
        }
    }
}

#[test]
fn a_holder_may_preempt_itself_to_change_the_type() {
    let mut reservations = held_by_a(Kind::WriteExclusive);
    let effects = accept(&mut reservations, preempt(A, 0xA, 0xA, Kind::ExclusiveAccess));
    assert_eq!(effects.unit_attentions, [(nexus(B), Asc::RESERVATIONS_RELEASED)]);
    assert!(!reservations.allows(&nexus(B), ReservationAccess::Read));
    assert_eq!(keys(&reservations), [0xA, 0xB]);
}

#[test]
fn another_key_leaves_the_reservation() {
    let mut reservations = held_by_a(Kind::WriteExclusive);
    register(&mut reservations, C, 0xC);
    let mut anything = preempt(C, 0xC, 0xB, Kind::ExclusiveAccess);
    anything.cdb.kind = 0;
    accept(&mut reservations, anything);
    assert!(reservations.is_holder(&nexus(A)));
    assert_eq!(keys(&reservations), [0xA, 0xC]);
    let zero = refuse(&reservations, preempt(C, 0xC, 0, Kind::ExclusiveAccess));
    assert_eq!(zero, Refusal::Sense(Sense::invalid_field_in_parameter_list(8, None)));
}

#[test]
fn key_zero_takes_a_reservation_of_all_registrants() {
    let mut reservations = held_by_a(Kind::WriteExclusiveAllRegistrants);
    register(&mut reservations, C, 0xC);
    let mut kept = reservations.clone();
    let effects = accept(&mut reservations, preempt(B, 0xB, 0, Kind::ExclusiveAccess));
    assert_eq!(effects.unit_attentions, [nexus(A), nexus(C)].map(|nexus| (nexus, Asc::REGISTRATIONS_PREEMPTED)));
    assert!(reservations.is_holder(&nexus(B)));
    assert_eq!(keys(&reservations), [0xB]);

    accept(&mut kept, preempt(B, 0xB, 0xA, Kind::ExclusiveAccess));
    assert_eq!(kept.reservation.as_ref().unwrap().kind, Kind::WriteExclusiveAllRegistrants);
    assert_eq!(keys(&kept), [0xB, 0xC]);
}

#[test]
fn abort_names_the_preempted_but_not_the_asking() {
    let mut reservations = held_by_a(Kind::ExclusiveAccess);
    register(&mut reservations, C, 0xA);
    let mut preempting = preempt(C, 0xA, 0xA, Kind::ExclusiveAccess);
    preempting.cdb.action = PrOut::PreemptAndAbort;
    let effects = accept(&mut reservations, preempting);
    assert_eq!(effects.abort, [nexus(A)]);
    assert_eq!(effects.unit_attentions, [(nexus(A), Asc::REGISTRATIONS_PREEMPTED)]);
    assert!(reservations.is_holder(&nexus(C)));
}

#[test]
fn only_the_registered_preempt() {
    let reservations = held_by_a(Kind::WriteExclusive);
    assert_eq!(refuse(&reservations, preempt(C, 0, 0xA, Kind::WriteExclusive)), Refusal::ReservationConflict);
    assert_eq!(refuse(&reservations, preempt(B, 0xA, 0xA, Kind::WriteExclusive)), Refusal::ReservationConflict);
    let mut unknown = preempt(B, 0xB, 0xA, Kind::WriteExclusive);
    unknown.cdb.kind = 2;
    assert_eq!(refuse(&reservations, unknown), Refusal::Sense(Sense::invalid_field_in_cdb(2, 3)));
}
