//! Peers that log in without end, one way or the other.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use iscsi_proto::pdu::{LoginRequest, LoginStage};
use iscsi_proto::types::{Cid, CmdSn, ExpStatSn, InitiatorTaskTag, Isid, Tsih};
use scenarios::daemon::wait_until;
use scenarios::foe::options;
use scenarios::initiator::{Connection, Error, Session};
use scenarios::note;
use scenarios::ordeal::{MIB, daemon, endure};

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
        note!("in 3 s: {counts:?} logins that reinstate, that log out, that fail, connections");
        assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
    });
    wait_until("all connections are gone", Duration::from_secs(3), || daemon.open_files() < 64);
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
