//! RESERVE, RELEASE, CLEAR, and what unregistering does to a reservation.

use super::*;
use crate::scsi::sense::Asc;

#[test]
fn reserving_again_is_for_the_holder_and_the_same_type() {
    for kind in ReservationType::ALL {
        let mut reservations = held_by_a(kind);
        accept(&mut reservations, command(A, PrOut::Reserve, 0xA, 0).kind(kind));
        for other in ReservationType::ALL.into_iter().filter(|other| *other != kind) {
            let refusal = refuse(&reservations, command(A, PrOut::Reserve, 0xA, 0).kind(other));
            assert_eq!(refusal, Refusal::ReservationConflict, "{kind:?} to {other:?}");
        }
        let by_another = command(B, PrOut::Reserve, 0xB, 0).kind(kind).run(&reservations);
        assert_eq!(by_another.is_ok(), kind.all_registrants(), "{kind:?}: every registrant is the holder");
        assert_eq!(refuse(&reservations, command(C, PrOut::Reserve, 0, 0).kind(kind)), Refusal::ReservationConflict);
        assert_eq!(reservations.generation, 2, "RESERVE does not count");
    }
}

#[test]
fn scope_and_type_must_exist() {
    let mut reservations = Reservations::default();
    register(&mut reservations, A, 0xA);
    for kind in [0, 2, 4, 9, 15] {
        let mut unknown = command(A, PrOut::Reserve, 0xA, 0);
        unknown.cdb.kind = kind;
        assert_eq!(refuse(&reservations, unknown), Refusal::Sense(Sense::invalid_field_in_cdb(2, 3)));
    }
    let mut element = command(A, PrOut::Reserve, 0xA, 0).kind(ReservationType::WriteExclusive);
    element.cdb.scope = 2;
    assert_eq!(refuse(&reservations, element), Refusal::Sense(Sense::invalid_field_in_cdb(2, 7)));
}

#[test]
fn release_tells_those_who_shared() {
    for kind in ReservationType::ALL {
        let mut reservations = held_by_a(kind);
        let mut wrong = command(A, PrOut::Release, 0xA, 0).kind(kind);
        wrong.cdb.kind ^= 0xf;
        let invalid = Sense::illegal_request(Asc::INVALID_RELEASE_OF_PERSISTENT_RESERVATION);
        assert_eq!(refuse(&reservations, wrong), Refusal::Sense(invalid));
        assert_eq!(
            refuse(&reservations, command(A, PrOut::Release, 0xB, 0).kind(kind)),
            Refusal::ReservationConflict,
            "a wrong key"
        );
        if !kind.all_registrants() {
            accept(&mut reservations, command(B, PrOut::Release, 0xB, 0).kind(kind));
            assert!(!reservations.is_free(), "{kind:?}: release by another does nothing");
        }
        let effects = accept(&mut reservations, command(A, PrOut::Release, 0xA, 0).kind(kind));
        let told = [(nexus(B), Asc::RESERVATIONS_RELEASED)];
        assert_eq!(effects.unit_attentions, if kind.shared() { told.as_slice() } else { &[] }, "{kind:?}");
        assert!(reservations.is_free());
        accept(&mut reservations, command(A, PrOut::Release, 0xA, 0).kind(kind));
    }
}

#[test]
fn a_holder_that_unregisters_releases() {
    for kind in ReservationType::ALL {
        let mut reservations = held_by_a(kind);
        let effects = accept(&mut reservations, command(A, PrOut::Register, 0xA, 0));
        assert_eq!(reservations.is_free(), !kind.all_registrants(), "{kind:?}");
        let told = [(nexus(B), Asc::RESERVATIONS_RELEASED)];
        let shared_by_registrants_only = kind.shared() && !kind.all_registrants();
        assert_eq!(effects.unit_attentions, if shared_by_registrants_only { told.as_slice() } else { &[] }, "{kind:?}");
        accept(&mut reservations, command(B, PrOut::Register, 0xB, 0));
        assert!(reservations.is_free(), "{kind:?}: no registrant is left");
    }
}

#[test]
fn clear_leaves_nothing_but_attentions() {
    let mut reservations = held_by_a(ReservationType::WriteExclusive);
    assert_eq!(refuse(&reservations, command(B, PrOut::Clear, 0xA, 0)), Refusal::ReservationConflict);
    assert_eq!(refuse(&reservations, command(C, PrOut::Clear, 0, 0)), Refusal::ReservationConflict);
    let effects = accept(&mut reservations, command(B, PrOut::Clear, 0xB, 0));
    assert_eq!(effects.unit_attentions, [(nexus(A), Asc::RESERVATIONS_PREEMPTED)]);
    assert!(keys(&reservations).is_empty());
    assert!(reservations.is_free());
    assert_eq!(reservations.generation, 3);
}
