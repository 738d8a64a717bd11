//! Any parameter list to UNMAP, PERSISTENT RESERVE OUT, EXTENDED COPY, MODE SELECT, FORMAT UNIT, SANITIZE and their like.

#![no_main]

#[path = "../../tests/exercise/mod.rs"]
mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let exercise = exercise::Exercise::new();
    // The unit attention of a new nexus; a registration, so that reservations can be had.
    exercise.cdb(&[0; 8]);
    exercise.parameter_list(&[&[1, 0], exercise::LISTS[1].sample].concat());
    exercise.parameter_list(input);
});
