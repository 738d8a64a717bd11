//! What a hostile peer costs the others: while it does its worst, a bystander works on and is timed, and the most memory
//! that the daemon ever held is measured against a bound.

use std::fs;
use std::time::Duration;

use crate::bystander::{Bystander, TARGET};
use crate::daemon::Daemon;
use crate::note;

/// The target that is attacked: LUN 0 in memory, LUN 1 in a file. The bystander's is another.
pub const ATTACKED: &str = "iqn.2026-11.net.example:attacked";

/// What one round of the bystander may take at the very worst, on a machine that also runs the attacker and other tests.
pub const ROUND_MAX: Duration = Duration::from_secs(2);
/// What half of its rounds stay below.
pub const ROUND_MEDIAN_MAX: Duration = Duration::from_millis(100);

pub const MIB: u64 = 1 << 20;

/// A daemon to be attacked; `limits` is the inside of its `limits: { … }`.
pub fn daemon(limits: &str) -> Daemon {
    Daemon::start(&format!(
        "\
node: hostile
state_dir: DIR/state
portals: [127.0.0.1:PORT]
limits: {{ {limits} }}
volumes:
  ram: {{ memory: {{}}, size: 64MiB }}
  disk: {{ file: DIR/disk.img, size: 1GiB }}
  quiet: {{ file: DIR/quiet.img, size: 64MiB }}
targets:
  {ATTACKED}: {{ initiators: [\"*\"], luns: {{ 0: ram, 1: disk }} }}
  {TARGET}: {{ initiators: [\"*\"], luns: {{ 0: quiet }} }}
"
    ))
}

/// Run `attack` and see that it harms nobody: the daemon's memory grows by `growth_bytes_max` at most, at any moment, and
/// a session that has nothing to do with it is served all the while.
pub fn endure(name: &str, daemon: &mut Daemon, growth_bytes_max: u64, attack: impl FnOnce(&Daemon)) {
    let bystander = Bystander::start(daemon.address());
    forget_peak(daemon);
    let before = daemon.rss();
    attack(daemon);
    let growth_bytes = daemon.rss_max().saturating_sub(before);
    bystander.wait_rounds(1);
    let report = bystander.finish();
    daemon.assert_well();
    note!(
        "{name}: memory grew by {:.1} MiB of {} at the most; the bystander: {report:?}",
        growth_bytes as f64 / MIB as f64,
        growth_bytes_max / MIB
    );
    assert!(growth_bytes <= growth_bytes_max, "{name}: memory grew by {growth_bytes} bytes, of {growth_bytes_max}");
    assert!(report.median <= ROUND_MEDIAN_MAX, "{name}: half of the bystander's rounds took over {report:?}");
    assert!(report.slowest <= ROUND_MAX, "{name}: the bystander had to wait: {report:?}");
}

/// proc(5), clear_refs: 5 resets the peak resident set size.
fn forget_peak(daemon: &Daemon) {
    fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("the daemon's peak memory can be reset");
}
