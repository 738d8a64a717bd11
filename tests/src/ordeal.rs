//! What a hostile peer costs the others: while it does its worst, an innocent session reads on and is timed, and the most
//! memory that the daemon ever held is measured against a bound.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use iscsi_proto::initiator::Options;
use iscsi_proto::pdu::ScsiStatus;

use crate::daemon::Daemon;
use crate::initiator::Session;

/// The target that is attacked: LUN 0 in memory, LUN 1 in a file.
pub const ATTACKED: &str = "iqn.2026-11.net.example:attacked";
/// The target of the innocent.
pub const QUIET: &str = "iqn.2026-11.net.example:quiet";

/// What one read of the innocent may take at the very worst, on a machine that also runs the attacker and other tests.
pub const READ_MAX: Duration = Duration::from_secs(2);
/// What half of its reads stay below.
pub const READ_MEDIAN_MAX: Duration = Duration::from_millis(100);

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
  {QUIET}: {{ initiators: [\"*\"], luns: {{ 0: quiet }} }}
"
    ))
}

/// What an ordeal measured.
#[derive(Debug)]
pub struct Endured {
    pub reads: usize,
    pub median: Duration,
    pub slowest: Duration,
    pub growth_bytes: u64,
}

/// Run `attack` and see that it harms nobody: the daemon's memory grows by `growth_bytes_max` at most, at any moment, and
/// a session that has nothing to do with it is served all the while.
pub fn endure(name: &str, daemon: &mut Daemon, growth_bytes_max: u64, attack: impl FnOnce(&Daemon)) -> Endured {
    let innocent = Innocent::start(daemon);
    forget_peak(daemon);
    let before = daemon.rss();
    attack(daemon);
    let growth_bytes = daemon.rss_max().saturating_sub(before);
    let mut times = innocent.stop();
    daemon.assert_well();
    times.sort_unstable();
    let (reads, slowest) = (times.len(), *times.last().expect("at least one read ended"));
    let endured = Endured { reads, median: times[reads / 2], slowest, growth_bytes };
    tell(&format!(
        "{name}: memory grew by {:.1} MiB (bound {}); {reads} reads meanwhile, median {:?}, slowest {:?}",
        growth_bytes as f64 / MIB as f64,
        growth_bytes_max / MIB,
        endured.median,
        slowest
    ));
    assert!(growth_bytes <= growth_bytes_max, "{name}: memory grew by {growth_bytes} bytes, of {growth_bytes_max}");
    assert!(endured.median <= READ_MEDIAN_MAX, "{name}: half of the others' reads took over {READ_MEDIAN_MAX:?}");
    assert!(slowest <= READ_MAX, "{name}: a read of the others took {slowest:?}");
    endured
}

/// A figure for whoever runs the scenarios, shown whether they pass or not.
pub fn tell(line: &str) {
    // Nobody reading is no failure.
    let _ = writeln!(io::stderr(), "    {line}");
}

/// proc(5), clear_refs: 5 resets the peak resident set size.
fn forget_peak(daemon: &Daemon) {
    fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("the daemon's peak memory can be reset");
}

/// Reads 4 KiB again and again.
struct Innocent {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Innocent {
    fn start(daemon: &Daemon) -> Innocent {
        let options = Options::normal("iqn.2026-11.net.example:innocent", QUIET);
        let mut session = Session::login(daemon.address(), options).expect("the innocent logs in");
        // The first answers may be unit attentions.
        while read_4k(&mut session) != ScsiStatus::GOOD {}
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut times = Vec::new();
            loop {
                let begun = Instant::now();
                assert_eq!(read_4k(&mut session), ScsiStatus::GOOD, "a read of the innocent");
                times.push(begun.elapsed());
                if stopping.load(Ordering::Relaxed) {
                    return times;
                }
                thread::sleep(PAUSE);
            }
        });
        Innocent { stop, thread }
    }

    fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the innocent is served to the end")
    }
}

/// Between two reads: the processor is for the attacker.
const PAUSE: Duration = Duration::from_millis(1);

fn read_4k(session: &mut Session) -> ScsiStatus {
    let outcome = session.command(0, &read_10(0, 8), "", 4096).expect("the innocent is answered");
    assert!(outcome.status != ScsiStatus::GOOD || outcome.data.len() == 4096, "a whole read");
    outcome.status
}

pub fn read_10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb_10(0x28, lba, blocks)
}

pub fn write_10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb_10(0x2A, lba, blocks)
}

fn cdb_10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, 0, a, b, c, d, 0, e, f, 0]
}
