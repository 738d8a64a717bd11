//! Whatever is sent, in whatever order: what must always hold.

use proptest::prelude::*;

use super::*;

fn any_action() -> impl Strategy<Value = PrOut> {
    prop::sample::select(vec![
        PrOut::Register,
        PrOut::Reserve,
        PrOut::Release,
        PrOut::Clear,
        PrOut::Preempt,
        PrOut::PreemptAndAbort,
        PrOut::RegisterAndIgnoreExistingKey,
        PrOut::RegisterAndMove,
    ])
}

/// Few initiators and keys, so that they meet.
fn any_command() -> impl Strategy<Value = Command> {
    (1..=3u8, 1..=2u16, any_action(), 0..=3u64, 0..=3u64, 0..=9u8, 0..=7u8, 1..=3u8).prop_map(
        |(from, port, action, key, new_key, kind, flags, other)| {
            let mut built = command(from, action, key, new_key);
            built.from = nexus_on(from, port);
            built.cdb.kind = kind;
            if action == PrOut::RegisterAndMove {
                let id = port_id(other).encode();
                built.list[17] = flags & 3;
                built.list[19] = 1 + (flags >> 2);
                built.list[23] = id.len() as u8;
                built.list.extend_from_slice(&id);
            } else if action == PrOut::Register && flags & 2 != 0 {
                built = built.flags(flags & 5).specify_initiators(&[port_id(other)]);
            } else {
                built = built.flags(flags & 5);
            }
            built
        },
    )
}

fn check(before: &Reservations, command: &Command, change: &Change) {
    let (next, effects) = (&change.next, &change.effects);
    match &next.reservation {
        None => {}
        Some(PersistentReservation { kind, holder: Some(holder) }) => {
            assert!(!kind.all_registrants());
            assert!(next.registrations.contains_key(holder), "the holder is registered");
        }
        Some(PersistentReservation { kind, holder: None }) => {
            assert!(kind.all_registrants());
            assert!(!next.registrations.is_empty(), "all registrants are at least one");
        }
    }
    assert!(next.registrations.values().all(|key| key.0 != 0), "0 is no key");
    assert!(next.generation.wrapping_sub(before.generation) <= 1);
    if next.registrations != before.registrations {
        assert_eq!(next.generation, before.generation + 1, "a change of registrations is counted");
    }
    // Another's key changes only by ALL_TG_PT, SPEC_I_PT and REGISTER AND MOVE.
    let registering =
        matches!(command.cdb.action, PrOut::Register | PrOut::RegisterAndIgnoreExistingKey | PrOut::RegisterAndMove);
    for (nexus, key) in &next.registrations {
        assert!(registering || before.registrations.get(nexus) == Some(key), "no key comes of {:?}", command.cdb);
    }
    // Whoever lost a registration that was not its own to give up is told; the asking nexus never is.
    for nexus in before.registrations.keys().filter(|nexus| !next.registrations.contains_key(*nexus)) {
        let told = effects.unit_attentions.iter().any(|(whom, _)| whom == nexus);
        assert_eq!(told, !registering && *nexus != command.from);
    }
    assert!(effects.unit_attentions.iter().all(|(whom, _)| *whom != command.from));
    assert!(effects.abort.is_empty() || command.cdb.action == PrOut::PreemptAndAbort);
    assert!(!effects.abort.contains(&command.from));
    // What is on the medium is what is in force.
    match &effects.persist {
        Persist::Nothing => assert_eq!(next.record(), before.record()),
        Persist::Remove => assert_eq!(next.record(), None),
        Persist::Write(record) => {
            let restored = record.clone().restore().expect("a record of our own comes back");
            assert_eq!(restored.registrations, next.registrations);
            assert_eq!(restored.reservation, next.reservation);
        }
    }
}

proptest! {
    #[test]
    fn every_sequence_keeps_the_invariants(commands in prop::collection::vec(any_command(), 1..40)) {
        let mut reservations = Reservations::default();
        for command in commands {
            if let Ok(change) = command.run(&reservations) {
                check(&reservations, &command, &change);
                reservations = change.next;
            }
        }
    }

    #[test]
    fn no_parameter_list_is_a_panic(
        list in prop::collection::vec(any::<u8>(), 0..120), action in any_action(), kind in 0..16u8, flags in 0..16u8,
    ) {
        let reservations = held_by_a(ReservationType::WriteExclusive);
        let mut built = command(A, action, 0xA, 0xB);
        built.cdb.kind = kind;
        built.list[20] = flags;
        built.list.extend_from_slice(&list);
        let _ = built.run(&reservations);
        built.list = list;
        let _ = built.run(&reservations);
    }
}
