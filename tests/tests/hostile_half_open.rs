//! Logins that are begun and never ended: bounded in number and in time, and others log in and work meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use scenarios::bystander::{Bystander, config, options, settle};
use scenarios::daemon::{Daemon, wait_until};
use scenarios::initiator::{Connection, Error, Session};
use scenarios::note;

const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);
const PENDING_MAX: usize = 32;
/// Bytes that a connection in login may cost, with everything the allocator and the runtime keep for it.
const BYTES_EACH_MAX: u64 = 256 * 1024;

fn daemon() -> Daemon {
    Daemon::start(&config(&format!("max_pending_logins: {PENDING_MAX}, login_timeout: 2s"), ""))
}

#[test]
fn silence_is_ended_by_the_login_timeout() {
    let mut daemon = daemon();
    let bystander = Bystander::start(daemon.address());
    let idle = daemon.open_files();
    let since = Instant::now();
    let silent: Vec<Connection> =
        (0..PENDING_MAX / 2).map(|_| Connection::open(daemon.address()).expect("accepted")).collect();
    for mut connection in silent {
        connection.expect_close().expect("closed by the target");
    }
    let took = since.elapsed();
    assert!(took >= LOGIN_TIMEOUT.mul_f32(0.9), "closed after {took:?} already");
    assert!(took < LOGIN_TIMEOUT * 3, "closed only after {took:?}");
    wait_until("their descriptors are gone", Duration::from_secs(5), || daemon.open_files() <= idle);
    note!("half-open, silent: closed after {took:?}; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}

#[test]
fn a_login_that_stops_half_way_is_ended_too() {
    let mut daemon = daemon();
    let bystander = Bystander::start(daemon.address());
    // A Login Request with the C bit: more text is to come, and never does.
    let mut bhs = [0u8; 48];
    bhs[0] = 0x43;
    bhs[1] = 0x40;
    bhs[7] = 4;
    let mut connection = Connection::open(daemon.address()).expect("accepted");
    connection.send_bytes(&bhs).expect("sent");
    connection.send_bytes(b"Ini\0").expect("sent");
    let since = Instant::now();
    connection.expect_close().expect("closed by the target");
    assert!(since.elapsed() < LOGIN_TIMEOUT * 3);
    bystander.finish();
    daemon.assert_well();
}

#[test]
fn a_crowd_of_them_is_bounded_and_keeps_nobody_out() {
    let mut daemon = daemon();
    let bystander = Bystander::start(daemon.address());
    let (idle, memory) = (daemon.open_files(), daemon.rss());
    // Wave after wave, each as large as the bound: a newcomer must find room within the login timeout.
    let mut crowd: Vec<TcpStream> = Vec::new();
    let mut open_max = 0;
    for _ in 0..PENDING_MAX * 8 {
        let mut stream = TcpStream::connect(daemon.address()).expect("the kernel accepts");
        // Refused ones are closed already.
        let _ = stream.write_all(&[0x43]);
        crowd.push(stream);
        open_max = open_max.max(daemon.open_files());
    }
    assert!(open_max <= idle + PENDING_MAX + 8, "{open_max} descriptors at once, {idle} when idle");
    let grown = daemon.rss().saturating_sub(memory);
    assert!(grown < BYTES_EACH_MAX * PENDING_MAX as u64, "{grown} bytes more");
    let since = Instant::now();
    let mut session = loop {
        match Session::login(daemon.address(), options(1)) {
            Ok(session) => break session,
            Err(Error::Closed) => assert!(since.elapsed() < LOGIN_TIMEOUT * 3, "no room for an honest login"),
            Err(error) => panic!("{error}"),
        }
    };
    let waited = since.elapsed();
    settle(&mut session);
    drop(crowd);
    note!(
        "half-open, a crowd: {open_max} descriptors (idle {idle}), {grown} bytes more, an honest login after {waited:?}; the bystander: {:?}",
        bystander.finish()
    );
    daemon.assert_well();
}
