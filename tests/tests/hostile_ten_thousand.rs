//! Ten thousand connections at once, where the configuration allows them.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use scenarios::daemon::wait_until;
use scenarios::foe::{Foe, options};
use scenarios::limits::raise_open_files;
use scenarios::note;
use scenarios::ordeal::{MIB, daemon, endure};

const CROWD: usize = 10_000;
const WIDE: &str = "max_connections: 12000, max_pending_logins: 12000, max_sessions: 12000, login_timeout: 60s, \
                    target: { max_sessions: 12000, keepalive_interval: 5m }";

#[test]
fn ten_thousand_that_do_not_log_in() {
    raise_open_files(CROWD as u64 + 2000);
    let mut daemon = daemon(WIDE);
    // 8 KiB for each.
    endure("10,000 silent connections", &mut daemon, 80 * MIB, |daemon| {
        let crowd: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(daemon.address()).expect("taken")).collect();
        wait_until("all are let in", Duration::from_secs(20), || daemon.open_files() > CROWD);
        // Whoever wants to log in still can.
        Foe::login(daemon.address(), options(1)).ping();
        drop(crowd);
        wait_until("all are gone", Duration::from_secs(20), || daemon.open_files() < 64);
    });
}

#[test]
fn ten_thousand_sessions() {
    raise_open_files(CROWD as u64 + 2000);
    let mut daemon = daemon(WIDE);
    // 32 KiB for each: its receive buffer, its tables, its nexus with two logical units.
    endure("10,000 sessions", &mut daemon, 320 * MIB, |daemon| {
        let begun = Instant::now();
        let address = daemon.address();
        let mut crowd: Vec<Foe> = thread::scope(|scope| {
            let part = CROWD as u32 / 4;
            let parts: Vec<_> = (0..4)
                .map(|n| {
                    scope.spawn(move || (n * part..(n + 1) * part).map(|n| Foe::login(address, options(n))).collect())
                })
                .collect();
            parts.into_iter().flat_map(|part| -> Vec<Foe> { part.join().expect("all log in") }).collect()
        });
        note!("{CROWD} sessions logged in in {:?}", begun.elapsed());
        crowd.iter_mut().step_by(10).for_each(Foe::ping);
        drop(crowd);
        wait_until("all are gone", Duration::from_secs(30), || daemon.open_files() < 64);
    });
}
