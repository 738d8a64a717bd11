//! PERSISTENT RESERVE IN, byte by byte.

use super::*;
use crate::scsi::request::PrIn;

#[test]
fn keys_come_with_their_generation_and_full_length() {
    let reservations = held_by_a(ReservationType::WriteExclusive);
    let whole = reservations.persistent_reserve_in(PrIn::ReadKeys, 16384);
    assert_eq!(whole, [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0xA, 0, 0, 0, 0, 0, 0, 0, 0xB]);
    assert_eq!(reservations.persistent_reserve_in(PrIn::ReadKeys, 8), [0, 0, 0, 2, 0, 0, 0, 16]);
    assert!(reservations.persistent_reserve_in(PrIn::ReadKeys, 0).is_empty());
}

#[test]
fn the_reservation_names_its_holders_key_and_type() {
    let free = Reservations::default().persistent_reserve_in(PrIn::ReadReservation, 255);
    assert_eq!(free, [0; 8]);
    for kind in ReservationType::ALL {
        let data = held_by_a(kind).persistent_reserve_in(PrIn::ReadReservation, 255);
        let key = if kind.all_registrants() { 0 } else { 0xA };
        assert_eq!(data, [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, key, 0, 0, 0, 0, 0, kind as u8, 0, 0]);
    }
}

#[test]
fn capabilities_are_all_there_is() {
    let mut reservations = Reservations::default();
    let data = reservations.persistent_reserve_in(PrIn::ReportCapabilities, 255);
    assert_eq!(data, [0, 8, 0x1d, 0x90, 0b1110_1010, 0b0000_0001, 0, 0]);
    accept(&mut reservations, command(A, PrOut::Register, 0, 1).flags(1));
    assert_eq!(reservations.persistent_reserve_in(PrIn::ReportCapabilities, 255)[3], 0x91, "PTPL_A");
}

#[test]
fn full_status_describes_every_registration() {
    let mut reservations = Reservations::default();
    accept(&mut reservations, command(A, PrOut::Register, 0, 0xA).flags(4));
    accept(&mut reservations, command(A, PrOut::Reserve, 0xA, 0).kind(ReservationType::ExclusiveAccess));
    let data = reservations.persistent_reserve_in(PrIn::ReadFullStatus, 4096);
    let transport_id = b"\x45\0\0\x1ciqn.host-1,i,0x800000000001\0";
    assert_eq!(data[..8], [0, 0, 0, 1, 0, 0, 0, 112]);
    assert_eq!(data.len(), 8 + 112);
    let first = &data[8..64];
    assert_eq!(first[..24], [0, 0, 0, 0, 0, 0, 0, 0xA, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 32]);
    assert_eq!(&first[24..], transport_id);
    let second = &data[64..];
    assert_eq!(second[12..20], [0, 0, 0, 0, 0, 0, 0, 2], "no holder, target port 2");
    let cut = reservations.persistent_reserve_in(PrIn::ReadFullStatus, 20);
    assert_eq!(cut, data[..20]);
}

#[test]
fn every_registrant_holds_what_all_registrants_hold() {
    let reservations = held_by_a(ReservationType::ExclusiveAccessAllRegistrants);
    let data = reservations.persistent_reserve_in(PrIn::ReadFullStatus, 4096);
    assert_eq!((data[8 + 12], data[8 + 13]), (1, 8));
    assert_eq!((data[64 + 12], data[64 + 13]), (1, 8));
}
