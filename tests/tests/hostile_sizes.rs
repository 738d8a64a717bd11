//! PDUs that announce more than they may: closed as soon as the header is read, before anything is buffered.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use scenarios::daemon::wait_until;
use scenarios::foe::{Foe, header, options};
use scenarios::initiator::{Connection, Error};
use scenarios::ordeal::{MIB, daemon, endure};

const SEGMENT_MAX: u32 = (1 << 24) - 1;

#[test]
fn oversized_segments_close_the_connection_unread() {
    let mut daemon = daemon("");
    // No more than a socket read's worth for each of them, and no segment: 300 of 16 MiB would be 4.7 GiB.
    endure("oversized segments", &mut daemon, 8 * MIB, |daemon| {
        for number in 0..100 {
            // During login, 8192 bytes are the most (RFC 7143 §13.12).
            let mut connection = Connection::open(daemon.address()).expect("taken");
            flood(&mut |bytes| connection.send_bytes(bytes), &header(0x03, 0, SEGMENT_MAX));
            // After it, what the target declared.
            let mut foe = Foe::login(daemon.address(), options(number));
            flood(&mut |bytes| foe.send_bytes(bytes), &header(0x00, 0, (256 << 10) + 1));
            let mut foe = Foe::login(daemon.address(), options(number));
            flood(&mut |bytes| foe.send_bytes(bytes), &header(0x01, 255, SEGMENT_MAX));
        }
    });
    let log = daemon.log();
    assert_eq!(log.matches("where MaxRecvDataSegmentLength is 262144").count(), 100, "{log}");
    assert_eq!(log.matches("additional header segments of 1020 bytes").count(), 100, "{log}");
}

#[test]
fn the_largest_that_may_be_is_taken() {
    let mut daemon = daemon("");
    endure("largest segments", &mut daemon, 64 * MIB, |daemon| {
        let mut foes: Vec<_> = (0..50).map(|number| Foe::login(daemon.address(), options(number))).collect();
        for foe in &mut foes {
            foe.send_bytes(&header(0x00, 0, 256 << 10)).expect("sent");
            foe.send_bytes(&vec![0x5A; (256 << 10) - 1]).expect("all but one byte");
        }
        for foe in &mut foes {
            foe.send_bytes(&[0]).expect("the last byte");
            foe.ping();
        }
    });
}

#[test]
fn ten_thousand_of_them_leave_nothing_behind() {
    let mut daemon = daemon("");
    let before = daemon.open_files();
    endure("oversized headers in great number", &mut daemon, 8 * MIB, |daemon| {
        for _ in 0..10_000 {
            let mut stream = TcpStream::connect(daemon.address()).expect("taken");
            // It may be closed before it is all written.
            let _ = stream.write_all(&header(0x03, 64, SEGMENT_MAX));
        }
    });
    // The runtime and the standard library have opened a few files of their own since.
    wait_until("all are gone", Duration::from_secs(5), || daemon.open_files() <= before + 4);
}

/// The header, and then as much as the target lets into its socket: it must close before 16 MiB.
fn flood(send: &mut dyn FnMut(&[u8]) -> Result<(), Error>, header: &[u8]) {
    let mut sent = send(header);
    let chunk = vec![0; 64 << 10];
    let mut left = (SEGMENT_MAX as usize) / chunk.len();
    while sent.is_ok() && left > 0 {
        sent = send(&chunk);
        left -= 1;
    }
    assert!(matches!(sent, Err(Error::Closed)), "the target takes it all: {sent:?}");
}
