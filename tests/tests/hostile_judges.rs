//! The judges of the ordeals, judged: growth and waiting that are planted are found.

use std::thread;
use std::time::Duration;

use scenarios::foe::{Foe, data_out, options};
use scenarios::ordeal::{MIB, ROUND_MAX, daemon, endure};

/// A write of 16 MiB into memory is growth.
fn grow(foe: &mut Foe) {
    let write = foe.write(0, 32768);
    foe.send(write.clone()).expect("sent");
    for _ in 0..(16 << 20) / 262_144 {
        let data = data_out(&foe.r2t());
        foe.send(data).expect("sent");
    }
    foe.response(write.initiator_task_tag);
}

#[test]
#[should_panic(expected = "memory grew by")]
fn growth_is_found() {
    let mut daemon = daemon("");
    endure("planted growth", &mut daemon, 8 * MIB, |daemon| grow(&mut Foe::login(daemon.address(), options(1))));
}

#[test]
fn growth_within_the_bound_is_let_pass() {
    let mut daemon = daemon("");
    endure("allowed growth", &mut daemon, 64 * MIB, |daemon| grow(&mut Foe::login(daemon.address(), options(1))));
}

#[test]
#[should_panic(expected = "the bystander had to wait")]
fn waiting_is_found() {
    let mut daemon = daemon("");
    endure("planted waiting", &mut daemon, 8 * MIB, |daemon| {
        daemon.signal("STOP");
        thread::sleep(ROUND_MAX + Duration::from_millis(500));
        daemon.signal("CONT");
    });
}
