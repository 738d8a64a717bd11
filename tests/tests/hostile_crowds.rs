//! Ten thousand connections: at once, where the configuration allows them; where it does not, each refused.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use scenarios::daemon::{Daemon, wait_until};
use scenarios::foe::{Foe, options};
use scenarios::ordeal::{MIB, daemon, endure, tell};

const CROWD: usize = 10_000;
const WIDE: &str = "max_connections: 12000, max_pending_logins: 12000, max_sessions: 12000, login_timeout: 60s, \
                    target: { max_sessions: 12000, keepalive_interval: 5m }";

#[test]
fn ten_thousand_that_do_not_log_in() {
    allow_many_files();
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
    allow_many_files();
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
        tell(&format!("{CROWD} sessions logged in in {:?}", begun.elapsed()));
        crowd.iter_mut().step_by(10).for_each(Foe::ping);
        drop(crowd);
        wait_until("all are gone", Duration::from_secs(30), || daemon.open_files() < 64);
    });
}

#[test]
fn ten_thousand_where_fewer_are_allowed() {
    allow_many_files();
    let mut daemon = daemon("max_connections: 300, max_pending_logins: 200, login_timeout: 2s");
    endure("10,000 connections over the limits", &mut daemon, 16 * MIB, |daemon| {
        let crowd: Vec<_> =
            (0..CROWD).map(|_| TcpStream::connect(daemon.address()).expect("the kernel takes it")).collect();
        for mut stream in crowd {
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            assert!(stream.read(&mut [0; 1]).is_ok_and(|read| read == 0), "closed, at once or after 2 s");
        }
        Foe::login(daemon.address(), options(1)).ping();
    });
    let refused = daemon.log().matches("connection refused").count();
    let expected = CROWD - 1000..CROWD;
    assert!(expected.contains(&refused), "{refused} refusals are logged");
    waves(&mut daemon);
}

/// Who comes, goes and comes again leaves nothing behind.
fn waves(daemon: &mut Daemon) {
    endure("waves of connections", daemon, 4 * MIB, |daemon| {
        for _ in 0..20 {
            let wave: Vec<_> = (0..500).map(|_| TcpStream::connect(daemon.address()).expect("taken")).collect();
            drop(wave);
        }
        wait_until("all are gone", Duration::from_secs(10), || daemon.open_files() < 64);
    });
}

/// For this process and those it starts.
fn allow_many_files() {
    let this = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &this, "--nofile=20000:20000"]).status();
    assert!(raised.is_ok_and(|status| status.success()), "this needs 20000 open files; as root they can be had");
}
