//! One byte at a time: the login timeout counts from accept, not from the last byte; after login, keepalive ends it.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use scenarios::bystander::{Bystander, config, options};
use scenarios::daemon::Daemon;
use scenarios::initiator::Session;
use scenarios::note;

const DRIPPERS: usize = 24;
const DRIP: Duration = Duration::from_millis(100);

/// Sends this byte by byte until the other side has had enough; says how long that took.
fn drip(mut stream: &TcpStream, bytes: impl Iterator<Item = u8>, patience: Duration) -> Duration {
    let since = Instant::now();
    for byte in bytes {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        assert!(since.elapsed() < patience, "still listening after {:?}", since.elapsed());
        thread::sleep(DRIP);
    }
    since.elapsed()
}

#[test]
fn a_login_dripping_in_is_cut_off_at_the_login_timeout() {
    let mut daemon = Daemon::start(&config("login_timeout: 2s", ""));
    let bystander = Bystander::start(daemon.address());
    let memory = daemon.rss();
    let address = daemon.address();
    let drippers: Vec<_> = (0..DRIPPERS)
        .map(|_| {
            thread::spawn(move || {
                let stream = TcpStream::connect(address).expect("accepted");
                stream.set_nodelay(true).expect("a socket option");
                // 48 bytes at that pace take longer than a login may.
                drip(&stream, std::iter::once(0x43).chain(std::iter::repeat(0)), Duration::from_secs(10))
            })
        })
        .collect();
    let slowest = drippers.into_iter().map(|thread| thread.join().expect("cut off")).max().expect("some");
    let grown = daemon.rss().saturating_sub(memory);
    assert!(slowest < Duration::from_secs(6), "{slowest:?}");
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more");
    note!("slowloris, login: cut off after {slowest:?}, {grown} bytes more; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}

#[test]
fn a_pdu_dripping_in_after_login_harms_nobody_and_ends_with_the_keepalive() {
    let mut daemon = Daemon::start(&config("", "keepalive_interval: 1s, keepalive_timeout: 1s"));
    let bystander = Bystander::start(daemon.address());
    let address = daemon.address();
    let drippers: Vec<_> = (0..DRIPPERS)
        .map(|n| {
            thread::spawn(move || {
                let mut session = Session::login(address, options(n)).expect("logged in");
                // A NOP-Out whose data segment never ends: 16 MiB less one byte, a byte at a time.
                let header = [0x40, 0x80, 0, 0, 0, 0, 64, 0].into_iter().chain(std::iter::repeat_n(0xff, 40));
                drip(session.connection().stream(), header.chain(std::iter::repeat(0)), Duration::from_secs(30))
            })
        })
        .collect();
    let slowest = drippers.into_iter().map(|thread| thread.join().expect("cut off")).max().expect("some");
    note!("slowloris, full feature phase: cut off after {slowest:?}; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}
