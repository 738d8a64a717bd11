//! Who may do what: SPC-5 §5.14.1's table, each type × holder, registered, unregistered × class of command.

use super::*;
use ReservationAccess::*;
use ReservationType as Kind;

#[test]
fn every_type_keeps_out_whom_the_table_says() {
    // (type, [registered reads, registered writes, unregistered reads, unregistered writes])
    let table = [
        (Kind::WriteExclusive, [true, false, true, false]),
        (Kind::ExclusiveAccess, [false, false, false, false]),
        (Kind::WriteExclusiveRegistrantsOnly, [true, true, true, false]),
        (Kind::ExclusiveAccessRegistrantsOnly, [true, true, false, false]),
        (Kind::WriteExclusiveAllRegistrants, [true, true, true, false]),
        (Kind::ExclusiveAccessAllRegistrants, [true, true, false, false]),
    ];
    for (kind, expected) in table {
        let reservations = held_by_a(kind);
        let may = |n: u8, access| reservations.allows(&nexus(n), access);
        assert!(may(A, Read) && may(A, Write), "{kind:?}: the holder may do anything");
        assert_eq!([may(B, Read), may(B, Write), may(C, Read), may(C, Write)], expected, "{kind:?}");
        for n in [A, B, C] {
            for access in [Always, Status, PersistentReserve, ReserveRelease] {
                assert!(may(n, access), "{kind:?} allows {access:?} to all");
            }
        }
    }
}

#[test]
fn the_same_initiator_on_another_port_is_another_nexus() {
    let reservations = held_by_a(Kind::ExclusiveAccess);
    assert!(!reservations.allows(&nexus_on(A, 2), Read));
}

#[test]
fn registrations_alone_keep_nobody_out() {
    let mut reservations = Reservations::default();
    register(&mut reservations, A, 0xA);
    assert!(reservations.is_free());
    assert!(reservations.allows(&nexus(C), Write));
}
