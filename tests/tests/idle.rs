//! What it costs to do nothing: a hundred idle sessions, and a thousand logical units at start.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use scenarios::bystander::{TARGET, config, options, settle};
use scenarios::daemon::Daemon;
use scenarios::initiator::Session;
use scenarios::note;

const SESSIONS: usize = 100;
const WATCHED: Duration = Duration::from_secs(20);
/// One tick of the kernel's accounting, which is all of the tenth of a percent of [`WATCHED`] and a little more.
const TICK: Duration = Duration::from_millis(10);

const UNITS: usize = 1000;
const SERVED_MAX: Duration = Duration::from_secs(1);

#[test]
fn a_hundred_idle_sessions_take_less_than_a_thousandth_of_a_processor() {
    let mut daemon = Daemon::start(&config("", ""));
    let sessions: Vec<Session> = (0..SESSIONS)
        .map(|n| {
            let mut session = Session::login(daemon.address(), options(n)).expect("logged in");
            settle(&mut session);
            session
        })
        .collect();
    let before = daemon.cpu_time();
    thread::sleep(WATCHED);
    let spent = daemon.cpu_time() - before;
    note!("idle: {SESSIONS} sessions, {spent:?} of processor in {WATCHED:?}, {} KiB resident", daemon.rss() / 1024);
    assert!(spent <= WATCHED / 1000 + TICK, "{spent:?} in {WATCHED:?}");
    drop(sessions);
    daemon.assert_well();
}

#[test]
fn a_thousand_logical_units_are_served_within_a_second() {
    let mut yaml = String::from("node: many\nstate_dir: DIR/state\nportals: [127.0.0.1:PORT]\nvolumes:\n");
    for n in 0..UNITS {
        writeln!(yaml, "  v{n}: {{ file: DIR/v{n}.img, size: 1MiB }}").expect("a String takes it");
    }
    writeln!(yaml, "targets:\n  {TARGET}:\n    initiators: [\"*\"]\n    luns:").expect("a String takes it");
    for n in 0..UNITS {
        writeln!(yaml, "      {n}: v{n}").expect("a String takes it");
    }
    // The first start makes a thousand files, and their identities in the state directory.
    let (first, took_first) = served(|| Daemon::start(&yaml));
    let (dir, ports) = (first.keep_dir(), first.ports());
    first.stop(Duration::from_secs(30));
    let (mut daemon, took) = served(|| Daemon::start_at(dir, &ports, &yaml));
    let mut session = Session::login(daemon.address(), options(1)).expect("logged in");
    // REPORT LUNS: 8 bytes of header, 8 for each.
    let mut cdb = [0; 12];
    cdb[0] = 0xa0;
    cdb[6..10].copy_from_slice(&16384u32.to_be_bytes());
    let list = session.command(0, &cdb, Vec::new(), 16384).expect("answered").data;
    assert_eq!(list.len(), 8 + 8 * UNITS);
    note!(
        "{UNITS} logical units: served {took_first:?} after the first start, {took:?} after another, {} KiB resident",
        daemon.rss() / 1024
    );
    assert!(took < SERVED_MAX && took_first < SERVED_MAX, "{took_first:?}, {took:?}");
    daemon.assert_well();
}

/// From the start of the process to the answer of a first command.
fn served(start: impl FnOnce() -> Daemon) -> (Daemon, Duration) {
    let since = Instant::now();
    let daemon = start();
    let mut session = Session::login(daemon.address(), options(1)).expect("logged in");
    settle(&mut session);
    let took = since.elapsed();
    session.logout().expect("logged out");
    (daemon, took)
}
