//! RESERVE and RELEASE, alone and beside persistent reservations.

use super::*;
use ReservationAccess::*;

#[test]
fn reserve_keeps_others_from_nearly_all() {
    let mut reservations = Reservations::default();
    reservations.reserve(&nexus(A)).unwrap();
    reservations.reserve(&nexus(A)).unwrap();
    assert_eq!(reservations.reserve(&nexus(B)), Err(Refusal::ReservationConflict));
    reservations.release(&nexus(B)).unwrap();
    for (access, holder, other) in [
        (Always, true, true),
        (ReserveRelease, true, true),
        (Status, true, false),
        (Read, true, false),
        (Write, true, false),
        (PersistentReserve, false, false),
    ] {
        assert_eq!(reservations.allows(&nexus(A), access), holder, "{access:?}");
        assert_eq!(reservations.allows(&nexus(B), access), other, "{access:?}");
    }
    assert_eq!(refuse(&reservations, command(A, PrOut::Register, 0, 1)), Refusal::ReservationConflict);
    reservations.release(&nexus(A)).unwrap();
    reservations.reserve(&nexus(B)).unwrap();
}

#[test]
fn reserve_ends_with_its_nexus_or_a_reset() {
    let mut reservations = Reservations::default();
    reservations.reserve(&nexus(A)).unwrap();
    reservations.nexus_lost(&nexus(B));
    assert!(!reservations.is_free());
    reservations.nexus_lost(&nexus(A));
    assert!(reservations.is_free());
    reservations.reserve(&nexus(B)).unwrap();
    reservations.reset();
    assert!(reservations.is_free());
}

#[test]
fn persistent_reservations_outlive_nexus_and_reset() {
    let mut reservations = held_by_a(ReservationType::WriteExclusive);
    let before = reservations.clone();
    reservations.nexus_lost(&nexus(A));
    reservations.reset();
    assert_eq!(reservations, before);
}

#[test]
fn registrations_make_reserve_conflict_but_for_those_who_hold() {
    let conflict = Err(Refusal::ReservationConflict);
    let mut reservations = Reservations::default();
    register(&mut reservations, A, 0xA);
    assert_eq!(reservations.reserve(&nexus(A)), conflict);
    assert_eq!(reservations.reserve(&nexus(C)), conflict);
    for kind in ReservationType::ALL {
        let mut reservations = held_by_a(kind);
        let before = reservations.clone();
        assert_eq!(reservations.reserve(&nexus(A)), Ok(()));
        assert_eq!(reservations.release(&nexus(A)), Ok(()));
        let registrant = if kind.shared() { Ok(()) } else { conflict.clone() };
        assert_eq!(reservations.reserve(&nexus(B)), registrant, "{kind:?}");
        assert_eq!(reservations.release(&nexus(B)), registrant, "{kind:?}");
        assert_eq!(reservations.reserve(&nexus(C)), conflict);
        assert_eq!(reservations.release(&nexus(C)), conflict);
        assert_eq!(reservations, before, "{kind:?}: nothing was reserved or released");
    }
}
