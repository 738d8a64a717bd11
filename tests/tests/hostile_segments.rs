//! Lengths that nobody agreed to: refused by the header, before a byte of them is kept.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use scenarios::bystander::{Bystander, config, options, settle};
use scenarios::daemon::Daemon;
use scenarios::initiator::{Connection, Session};
use scenarios::note;

/// 2²⁴ − 1: DataSegmentLength has three bytes.
const LARGEST: usize = 0xff_ffff;
const ATTACKERS: usize = 32;
/// The framer's buffers and the socket's, for each.
const BYTES_EACH_MAX: u64 = 1024 * 1024;

fn header(opcode: u8, flags: u8, ahs_words: u8, data_length: usize) -> [u8; 48] {
    let mut bhs = [0; 48];
    bhs[0] = opcode;
    bhs[1] = flags;
    bhs[4] = ahs_words;
    bhs[5..8].copy_from_slice(&u32::try_from(data_length).expect("24 bits").to_be_bytes()[1..]);
    bhs
}

/// Sends zeroes after a header until the target has had enough; the bytes that it took.
fn pour(connection: &mut Connection, header: [u8; 48], length: usize) -> usize {
    connection.stream().set_write_timeout(Some(Duration::from_secs(5))).expect("a socket option");
    let mut stream = connection.stream();
    if stream.write_all(&header).is_err() {
        return 0;
    }
    let (zeroes, mut sent) = ([0; 65536], 0);
    while sent < length {
        match stream.write(&zeroes[..zeroes.len().min(length - sent)]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn a_login_of_16_mib_is_refused() {
    let mut daemon = Daemon::start(&config("login_timeout: 5s", ""));
    let bystander = Bystander::start(daemon.address());
    let memory = daemon.rss();
    let (address, since) = (daemon.address(), Instant::now());
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(address).expect("accepted");
                pour(&mut connection, header(0x43, 0x87, 0, LARGEST), LARGEST);
                connection.expect_close().or_else(|error| match error {
                    // What it has sent in answer is of no interest, but it must not wait for the rest.
                    scenarios::initiator::Error::Io(_) => Ok(()),
                    other => Err(other),
                })
            })
        })
        .collect();
    for attacker in attackers {
        attacker.join().expect("no panic").expect("closed by the target");
    }
    let grown = daemon.rss_max().saturating_sub(memory);
    assert!(grown < BYTES_EACH_MAX * ATTACKERS as u64, "{grown} bytes more");
    note!(
        "oversized login: {ATTACKERS} refused in {:?}, {grown} bytes more at most; the bystander: {:?}",
        since.elapsed(),
        bystander.finish()
    );
    daemon.assert_well();
}

#[test]
fn a_segment_larger_than_declared_is_refused_after_login() {
    let mut daemon = Daemon::start(&config("", ""));
    let bystander = Bystander::start(daemon.address());
    let memory = daemon.rss();
    let address = daemon.address();
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|n| {
            thread::spawn(move || {
                let mut session = Session::login(address, options(n)).expect("logged in");
                let opcode = [0x40, 0x01, 0x05, 0x04, 0x02][n % 5];
                pour(session.connection(), header(opcode, 0x80, 0, LARGEST), LARGEST);
                session.connection().expect_close().or_else(|error| match error {
                    scenarios::initiator::Error::Io(_) => Ok(()),
                    other => Err(other),
                })
            })
        })
        .collect();
    for attacker in attackers {
        attacker.join().expect("no panic").expect("closed by the target");
    }
    let grown = daemon.rss_max().saturating_sub(memory);
    assert!(grown < BYTES_EACH_MAX * ATTACKERS as u64, "{grown} bytes more");
    note!("oversized segments: {grown} bytes more at most; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}

#[test]
fn the_longest_additional_headers_harm_nobody() {
    let mut daemon = Daemon::start(&config("", ""));
    let bystander = Bystander::start(daemon.address());
    for opcode in [0x40u8, 0x41, 0x42, 0x44, 0x05, 0x46, 0x50, 0x7e, 0x5f] {
        let mut session = Session::login(daemon.address(), options(1)).expect("logged in");
        settle(&mut session);
        // 1020 bytes of zeroes: AHSs of length 0 and an unknown type, one after the other.
        let mut bytes = header(opcode, 0x80, 255, 0).to_vec();
        bytes.resize(48 + 1020, 0);
        session.raw_send_bytes(&bytes).expect("sent");
        // Rejected, answered or closed; the next session of the same name is let in.
        session.connection().set_patience(Duration::from_millis(200)).expect("a socket option");
        let _ = session.raw_recv();
    }
    bystander.wait_rounds(10);
    bystander.finish();
    daemon.assert_well();
}
