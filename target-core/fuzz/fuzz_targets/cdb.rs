//! Any CDBs, one after the other, to one logical unit: each is answered, and with what may be answered.

#![no_main]

// Its parameter lists are for the other target.
#[allow(dead_code)]
#[path = "../../tests/exercise/mod.rs"]
mod exercise;

use libfuzzer_sys::fuzz_target;

/// Two bytes of length and a CDB of 16.
const INPUT: usize = 18;

fuzz_target!(|input: &[u8]| {
    let exercise = exercise::Exercise::new();
    for one in input.chunks(INPUT) {
        exercise.cdb(one);
    }
});
