//! Random and mutated CDBs and parameter lists through a logical unit: what the fuzz targets `cdb` and `parameter_list` do,
//! bounded, on any toolchain.

mod exercise;

use exercise::{Exercise, LISTS};
use target_core::scsi::opcodes::OPERATIONS;
use target_core::scsi::status::Status;

const ROUNDS: u64 = 400;
/// Commands of one logical unit's life.
const COMMANDS: usize = 128;

/// SplitMix64: one seed, one run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

/// Evaluated bits of an operation's fields, mostly small; one in four CDBs has something else changed as well.
fn cdb(random: &mut Random) -> Vec<u8> {
    let operation = &OPERATIONS[random.below(OPERATIONS.len())];
    let mut input = vec![random.byte() & 0x1F, random.byte() & 0xF0];
    input.extend(operation.usage.iter().map(|usage| match random.below(4) {
        0 | 1 => 0,
        2 => random.byte() & 7 & usage,
        _ => random.byte() & usage,
    }));
    input[2] = operation.opcode;
    match operation.service_action {
        Some(service_action) if operation.opcode == 0x7F => {
            input[9] = (operation.cdb_length() - 8) as u8;
            input[10..12].copy_from_slice(&service_action.to_be_bytes());
        }
        Some(service_action) => input[3] = (input[3] & 0xE0) | service_action as u8,
        None => {}
    }
    if random.below(4) == 0 {
        let at = random.below(input.len());
        input[at] = random.byte();
    }
    if random.below(16) == 0 {
        input.truncate(random.below(input.len() + 1));
    }
    input
}

/// A good list, in half of the cases changed here and there, shortened or lengthened.
fn parameter_list(random: &mut Random) -> Vec<u8> {
    let which = random.below(LISTS.len());
    let mut list = LISTS[which].sample.to_vec();
    if random.below(2) == 0 {
        for _ in 0..1 + random.below(3) {
            let at = random.below(list.len());
            list[at] = match random.below(4) {
                0 => 0xFF,
                1 => list[at].wrapping_add(1),
                2 => list[at] ^ 1 << random.below(8),
                _ => random.byte(),
            };
        }
        match random.below(6) {
            0 => list.truncate(random.below(list.len())),
            1 => list.resize(list.len() + random.below(300), random.byte() & 1),
            _ => {}
        }
    }
    [vec![which as u8, random.byte() & 0x0F], list].concat()
}

fn rounds(name: &str, one: impl Fn(&Exercise, &mut Random) -> Option<Status>) {
    let (mut good, mut refused) = (0, 0);
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let exercise = Exercise::new();
        for _ in 0..COMMANDS {
            match one(&exercise, &mut random) {
                Some(Status::Good) => good += 1,
                Some(_) => refused += 1,
                None => {}
            }
        }
    }
    let least = ROUNDS as usize * COMMANDS / 20;
    assert!(good > least && refused > least, "{name}: {good} good, {refused} refused");
}

#[test]
fn any_cdb_is_answered() {
    rounds("CDBs", |exercise, random| exercise.cdb(&cdb(random)));
}

#[test]
fn any_parameter_list_is_answered() {
    rounds("parameter lists", |exercise, random| exercise.parameter_list(&parameter_list(random)));
}

#[test]
fn every_sample_is_taken() {
    for (which, list) in LISTS.iter().enumerate() {
        let exercise = Exercise::new();
        exercise.cdb(&[0; 8]);
        let taken = |which: usize| exercise.parameter_list(&[&[which as u8, 1], LISTS[which].sample].concat());
        // Those that want a registration and a reservation have them.
        if (3..=9).contains(&which) {
            assert_eq!(taken(1), Some(Status::Good));
        }
        if (4..=9).contains(&which) {
            assert_eq!(taken(3), Some(Status::Good));
        }
        assert_eq!(taken(which), Some(Status::Good), "list {which}: {:02x?}", list.sample);
    }
}
