//! More answers at once than the daemon keeps for a socket: the rest follows as soon as there is room again.

use std::time::{Duration, Instant};

use iscsi_proto::initiator::Command;
use iscsi_proto::pdu::Cdb;
use iscsi_proto::types::Lun;
use scenarios::bystander::{config, options, settle};
use scenarios::daemon::Daemon;
use scenarios::initiator::Session;

const READS: u32 = 40;
const BLOCKS: u32 = 512;

#[test]
fn what_was_held_back_is_taken_up_without_being_asked_for() {
    let daemon = Daemon::start(&config("", ""));
    let mut session = Session::login(daemon.address(), options(1)).expect("logs in");
    settle(&mut session);
    let since = Instant::now();
    for _ in 0..50 {
        let [a, b, c, d] = BLOCKS.to_be_bytes();
        let cdb = [0xA8, 0, 0, 0, 0, 0, a, b, c, d, 0, 0];
        let command =
            || Command::with_data(Lun::ZERO, Cdb::new(&cdb).expect("12 bytes"), bytes::Bytes::new(), BLOCKS * 512);
        let tags: Vec<_> = (0..READS).map(|_| session.initiator().command(command()).expect("room")).collect();
        let all: Vec<u8> = std::iter::from_fn(|| session.initiator().poll_transmit()).flatten().collect();
        session.connection().send_bytes(&all).expect("sends");
        std::thread::sleep(Duration::from_millis(10));
        for tag in tags {
            session.complete(tag).expect("no read is forgotten");
        }
    }
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}
