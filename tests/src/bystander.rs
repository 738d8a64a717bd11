//! Someone who behaves, while others do not: reads, writes and compares, and remembers how long each took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use iscsi_proto::initiator::Options;
use iscsi_proto::pdu::ScsiStatus;

use crate::daemon::wait_until;
use crate::initiator::Session;

pub const TARGET: &str = "iqn.2026-11.net.example:scenario";
pub const BLOCK: usize = 512;

/// A daemon with one volume in memory that anybody may use; `limits` and `target_limits` are YAML's `key: value, …`.
pub fn config(limits: &str, target_limits: &str) -> String {
    format!(
        "node: scenario\n\
         state_dir: DIR/state\n\
         portals: [127.0.0.1:PORT]\n\
         limits: {{ {limits} }}\n\
         volumes:\n  memory: {{ memory: {{}}, size: 64MiB }}\n\
         targets:\n  {TARGET}: {{ initiators: [\"*\"], luns: {{ 0: memory }}, limits: {{ {target_limits} }} }}\n"
    )
}

/// Options of the nth initiator: names differ, so that sessions are nobody's reinstatement.
pub fn options(n: usize) -> Options {
    Options::normal(&format!("iqn.2026-11.net.example:initiator-{n}"), TARGET)
}

pub fn read10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb10(0x28, lba, blocks)
}

pub fn write10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb10(0x2a, lba, blocks)
}

fn cdb10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    let [e, f] = blocks.to_be_bytes();
    [opcode, 0, a, b, c, d, 0, e, f, 0]
}

/// Takes the unit attention of a new nexus, if there is one, out of the way.
pub fn settle(session: &mut Session) {
    for _ in 0..8 {
        let outcome = session.command(0, &[0; 6], Vec::new(), 0).expect("TEST UNIT READY is answered");
        if outcome.status == ScsiStatus::GOOD {
            return;
        }
    }
    panic!("the unit does not become ready");
}

pub struct Bystander {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

/// What the bystander met with.
#[derive(Debug)]
pub struct Report {
    pub rounds: usize,
    pub median: Duration,
    pub slowest: Duration,
}

impl Bystander {
    /// Uses the last 8 blocks of the volume, where nobody else is to write.
    pub fn start(address: SocketAddr) -> Bystander {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            move || work(address, &stop, &rounds)
        });
        let bystander = Bystander { stop, rounds, thread: Some(thread) };
        bystander.wait_rounds(10);
        bystander
    }

    /// Waits until it has done so many rounds more: what happened meanwhile has not stopped it.
    pub fn wait_rounds(&self, more: u64) {
        let wanted = self.rounds.load(Ordering::Acquire) + more;
        wait_until("the bystander's commands are answered", Duration::from_secs(30), || {
            self.rounds.load(Ordering::Acquire) >= wanted || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
        });
    }

    /// Stops it. Panics if a command of it failed or its data was not its own.
    pub fn finish(mut self) -> Report {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("it is finished once");
        let mut took = thread.join().expect("the bystander was unharmed");
        took.sort_unstable();
        Report {
            rounds: took.len(),
            median: took[took.len() / 2],
            slowest: *took.last().expect("it has done some rounds"),
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Blocks of the 64 MiB volume, less 8.
const OWN_LBA: u32 = 64 * 1024 * 1024 / BLOCK as u32 - 8;

fn work(address: SocketAddr, stop: &AtomicBool, rounds: &AtomicU64) -> Vec<Duration> {
    let mut session = Session::login(address, options(usize::MAX)).expect("the bystander logs in");
    settle(&mut session);
    let mut took = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let round = rounds.load(Ordering::Acquire);
        let data = vec![(round % 251) as u8; 8 * BLOCK];
        let since = Instant::now();
        let written = session.command(0, &write10(OWN_LBA, 8), data.clone(), 0).expect("its write is answered");
        assert_eq!(written.status, ScsiStatus::GOOD, "its write");
        let read = session.command(0, &read10(OWN_LBA, 8), Vec::new(), 8 * BLOCK as u32).expect("its read is answered");
        took.push(since.elapsed());
        assert_eq!(read.status, ScsiStatus::GOOD, "its read");
        assert_eq!(read.data, data, "it reads what it wrote");
        rounds.fetch_add(1, Ordering::AcqRel);
        // Others shall have the processor, too: this is a measure of latency, not a load.
        thread::sleep(Duration::from_millis(1));
    }
    session.logout().expect("the bystander logs out");
    took
}
