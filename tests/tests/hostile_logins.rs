//! Peers that connect and do not log in, or log in without end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use iscsi_proto::pdu::{LoginRequest, LoginStage};
use iscsi_proto::types::{Cid, CmdSn, ExpStatSn, InitiatorTaskTag, Isid, Tsih};
use scenarios::daemon::wait_until;
use scenarios::foe::{Foe, header, options, wire};
use scenarios::initiator::{Connection, Error, Session};
use scenarios::ordeal::{MIB, daemon, endure, tell};

/// Of the daemons here; what is over it must be gone soon after.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(3);

#[test]
fn those_who_say_nothing_are_few_and_their_time_is_short() {
    let mut daemon = daemon("max_pending_logins: 64, login_timeout: 2s");
    endure("half-open logins", &mut daemon, 4 * MIB, |daemon| {
        let begun = Instant::now();
        let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(daemon.address()).expect("taken")).collect();
        // The 64 have to be accepted before more come.
        wait_until("64 are let in", SOON, || daemon.open_files() > 64);
        for _ in 0..36 {
            let mut one_more = TcpStream::connect(daemon.address()).expect("the kernel takes it");
            assert!(is_closed(&mut one_more), "one more than limits.max_pending_logins is closed at once");
        }
        assert!(begun.elapsed() < LOGIN_TIMEOUT, "at once, not after the login's time");
        for mut stream in silent {
            assert!(is_closed(&mut stream));
        }
        assert!((LOGIN_TIMEOUT..LOGIN_TIMEOUT + SOON).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    });
    let log = daemon.log();
    assert_eq!(log.matches("which is limits.max_pending_logins").count(), 36, "each refusal is logged with its rule");
    assert_eq!(log.matches("login took longer than 2s").count(), 64, "so is each that took too long");
    Foe::login(daemon.address(), options(1)).ping();
}

#[test]
fn a_byte_at_a_time_gains_no_time() {
    let mut daemon = daemon("login_timeout: 2s");
    endure("slow logins", &mut daemon, 4 * MIB, |daemon| {
        let begun = Instant::now();
        // A third never completes a header, a third never the text after it, a third sends request after request.
        let login = wire(login_request(b"InitiatorName=iqn.2026-11.net.example:slow\0", true));
        let mut text = header(0x03, 0, 8192).to_vec();
        text.extend(std::iter::repeat_n(b'a', 8192));
        let mut slow: Vec<(TcpStream, usize, &[u8])> = (0..90)
            .map(|n| (TcpStream::connect(daemon.address()).expect("taken"), 0, [&login[..47], &text, &login][n % 3]))
            .collect();
        while !slow.is_empty() {
            slow.retain_mut(|(stream, at, bytes)| {
                *at += 1;
                stream.write_all(&bytes[(*at - 1) % bytes.len()..][..1]).is_ok()
            });
            assert!(begun.elapsed() < LOGIN_TIMEOUT + SOON, "{} are still there", slow.len());
            thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn slow_sessions_are_asked_and_then_dropped() {
    let mut daemon = daemon("target: { keepalive_interval: 500ms, keepalive_timeout: 500ms }");
    endure("slow sessions", &mut daemon, 30 * MIB, |daemon| {
        let mut foes: Vec<_> = (0..50).map(|n| Foe::login(daemon.address(), options(n))).collect();
        let begun = Instant::now();
        // A NOP-Out with 256 KiB of data, of which a byte comes now and then.
        foes.iter_mut().for_each(|foe| foe.send_bytes(&header(0x00, 0, 256 << 10)).expect("sent"));
        while !foes.is_empty() {
            foes.retain_mut(|foe| foe.send_bytes(&[0]).is_ok());
            assert!(begun.elapsed() < SOON, "{} are still there", foes.len());
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(daemon.log().matches("no answer to a NOP-In within the keepalive timeout").count(), 50);
}

#[test]
fn text_without_end_ends_the_login() {
    let mut daemon = daemon("");
    endure("endless login text", &mut daemon, 8 * MIB, |daemon| {
        for _ in 0..20 {
            let mut connection = Connection::open(daemon.address()).expect("taken");
            static PART: [u8; 4096] = [b'a'; 4096];
            let mut sent = 0;
            while connection.send(login_request(&PART, true)).is_ok() && connection.recv().is_ok() {
                sent += PART.len();
                assert!(sent <= 1 << 20, "a login of {sent} bytes goes on");
            }
        }
    });
    assert_eq!(daemon.log().matches("login refused").count(), 20);
}

#[test]
fn logins_without_pause() {
    let mut daemon = daemon("");
    endure("login flood", &mut daemon, 16 * MIB, |daemon| {
        let until = Instant::now() + Duration::from_secs(3);
        let address = daemon.address();
        let flood = |n: u32| {
            let mut count = 0;
            while Instant::now() < until {
                let done = match n {
                    // The same session over and over, each taking the last one's place.
                    0 => Session::login(address, options(0)).map(drop),
                    1 => Session::login(address, options(1)).and_then(Session::logout).map(drop),
                    2 => {
                        let mut options = options(2);
                        options.target_name = Some("iqn.2026-11.net.example:none".into());
                        match Session::login(address, options) {
                            Err(Error::Login(_) | Error::Closed) => Ok(()),
                            other => panic!("a login to no target ended with {:?}", other.map(drop)),
                        }
                    }
                    _ => TcpStream::connect(address).map(drop).map_err(Error::from),
                };
                // While connections come as fast as they can, limits.max_pending_logins closes some of all kinds.
                assert!(matches!(done, Ok(()) | Err(Error::Closed)), "{done:?}");
                count += 1;
            }
            count
        };
        let counts: Vec<usize> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || flood(n))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a flood")).collect()
        });
        tell(&format!("in 3 s: {counts:?} logins that reinstate, that log out, that fail, connections"));
        assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
    });
    wait_until("all connections are gone", SOON, || daemon.open_files() < 64);
}

fn login_request(text: &'static [u8], continue_: bool) -> LoginRequest {
    LoginRequest {
        transit: false,
        continue_,
        current_stage: LoginStage::LOGIN_OPERATIONAL_NEGOTIATION,
        next_stage: LoginStage::LOGIN_OPERATIONAL_NEGOTIATION,
        version_max: 0,
        version_min: 0,
        isid: Isid([0x80, 0, 0, 0, 0, 9]),
        tsih: Tsih::NEW_SESSION,
        initiator_task_tag: InitiatorTaskTag(1),
        cid: Cid(0),
        cmd_sn: CmdSn(1),
        exp_stat_sn: ExpStatSn(0),
        data: text.into(),
    }
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(LOGIN_TIMEOUT + SOON)).expect("a timeout");
    matches!(stream.read(&mut [0; 1]), Ok(0)) || stream.write(&[0]).is_err()
}
