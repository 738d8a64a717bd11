//! A host that writes over what others write, keeps several commands under way, and has all of it in the volume's history.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use iscsi_proto::initiator::{Command, Event, Outcome};
use iscsi_proto::pdu::{Cdb, ScsiStatus};
use iscsi_proto::types::{InitiatorTaskTag, Lun};

use crate::bystander::{read10, write10};
use crate::daemon::wait_until;
use crate::history::{BLOCK, History, Moment, Version};
use crate::initiator::{Error, Session};
use crate::random::Random;

/// What all hosts of a load share.
#[derive(Debug, Default)]
pub struct Load {
    ended: AtomicBool,
    /// Hosts at work.
    hosts: AtomicU64,
    /// Writes.
    acknowledged: AtomicU64,
}

impl Load {
    /// Hosts answer what is under way and end.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Until so many writes more are acknowledged, or no host is left.
    pub fn wait(&self, more: u64, patience: Duration) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        wait_until(&format!("hosts are told of {more} writes that they are done"), patience, || {
            self.acknowledged.load(Ordering::Relaxed) >= wanted || self.hosts.load(Ordering::Relaxed) == 0
        });
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// However the scenario ends, its hosts do.
pub struct Ending<'a>(pub &'a Load);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// One host of a volume.
pub struct Host<'a> {
    load: &'a Load,
    history: &'a Mutex<History>,
    session: Session,
    lun: u16,
    /// Blocks that it uses.
    window: Range<u32>,
    /// Commands that it keeps under way.
    depth: usize,
    random: Random,
    written_bytes: u64,
}

/// Why a host ended, though nobody told it to.
#[derive(Debug)]
pub enum Trouble {
    /// The session is over.
    Lost(Error),
    /// It was not told GOOD.
    Failed(String),
    /// It has read what it may not have.
    Wrong(String),
}

#[derive(Clone, Debug)]
enum Task {
    Write { version: Version, blocks: Range<u32>, is_durable: bool },
    Read { begun: Moment, blocks: Range<u32> },
    SynchronizeCache { begun: Moment },
}

impl<'a> Host<'a> {
    /// It counts as one at work from now on.
    pub fn new(
        load: &'a Load,
        history: &'a Mutex<History>,
        session: Session,
        lun: u16,
        window: Range<u32>,
        mut random: Random,
    ) -> Host<'a> {
        load.hosts.fetch_add(1, Ordering::Relaxed);
        let depth = 1 + random.below(DEPTH_MAX);
        Host { load, history, session, lun, window, depth, random, written_bytes: 0 }
    }

    /// Until the load is ended, and all is answered; gives back how many bytes it wrote and was told so.
    pub fn work(mut self) -> (u64, Result<(), Trouble>) {
        let mut tasks = Vec::new();
        let result = loop {
            let ended = self.load.ended.load(Ordering::Relaxed);
            if ended && tasks.is_empty() {
                break Ok(());
            }
            if let Err(trouble) = self.turn(&mut tasks, ended) {
                break Err(trouble);
            }
        };
        self.load.hosts.fetch_sub(1, Ordering::Relaxed);
        (self.written_bytes, result)
    }

    fn turn(&mut self, tasks: &mut Vec<(InitiatorTaskTag, Task)>, ended: bool) -> Result<(), Trouble> {
        while !ended && tasks.len() < self.depth {
            let (task, command) = self.draw();
            tasks.push((self.session.submit(command).map_err(Trouble::Lost)?, task));
        }
        let complete = self.session.wait(|event| match event {
            Event::Complete { tag, outcome } => Ok((tag, outcome)),
            other => Err(other),
        });
        let (tag, outcome) = complete.map_err(Trouble::Lost)?;
        let at = tasks.iter().position(|(asked, _)| *asked == tag).expect("answers are to what was asked");
        let (_, task) = tasks.swap_remove(at);
        self.complete(task, outcome)
    }

    fn draw(&mut self) -> (Task, Command) {
        let lun = Lun::from_u16(self.lun).expect("a single-level LUN");
        let command = |cdb: [u8; 10], data: Vec<u8>, length| {
            Command::with_data(lun, Cdb::new(&cdb).expect("10 bytes"), data.into(), length)
        };
        let count = self.random.pick(&LENGTHS);
        let room = self.window.len() - count as usize;
        let first = self.window.start + self.random.below(room + 1) as u32;
        let blocks = first..first + count;
        let what = self.random.below(SHARES);
        let mut history = self.history.lock().expect("nobody panics with it");
        match what {
            0 => (Task::SynchronizeCache { begun: history.begin() }, command(SYNCHRONIZE_CACHE, Vec::new(), 0)),
            1..=READS => {
                let bytes = count * BLOCK as u32;
                let task = Task::Read { begun: history.begin(), blocks };
                (task, command(read10(first, count as u16), Vec::new(), bytes))
            }
            _ => {
                let is_durable = self.random.once_in(8);
                let version = history.write(blocks.clone());
                let data = history.data(blocks.clone(), version);
                let mut cdb = write10(first, count as u16);
                cdb[1] |= if is_durable { FUA } else { 0 };
                (Task::Write { version, blocks, is_durable }, command(cdb, data, 0))
            }
        }
    }

    fn complete(&mut self, task: Task, outcome: Outcome) -> Result<(), Trouble> {
        if outcome.status != ScsiStatus::GOOD {
            return Err(Trouble::Failed(format!("{task:?} ended with {outcome:?}")));
        }
        let mut history = self.history.lock().expect("nobody panics with it");
        match task {
            Task::Write { version, blocks, is_durable } => {
                history.acknowledge(version, is_durable);
                self.written_bytes += blocks.len() as u64 * BLOCK as u64;
                self.load.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Task::Read { begun, blocks } => {
                history.read(begun, blocks.start, &outcome.data).map_err(Trouble::Wrong)?;
            }
            Task::SynchronizeCache { begun } => history.flushed(begun),
        }
        Ok(())
    }
}

/// Reads blocks, however many.
pub fn read(session: &mut Session, lun: u16, blocks: Range<u32>) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    for first in blocks.clone().step_by(READ_BLOCKS) {
        let count = (blocks.end - first).min(READ_BLOCKS as u32);
        let read = session.command(lun, &read10(first, count as u16), Bytes::new(), count * BLOCK as u32);
        let read = read.map_err(|error| format!("{count} blocks from {first} on: {error}"))?;
        if read.status != ScsiStatus::GOOD {
            return Err(format!("{count} blocks from {first} on: {read:?}"));
        }
        data.extend_from_slice(&read.data);
    }
    Ok(data)
}

/// Commands of one host under way at a time.
const DEPTH_MAX: usize = 8;
/// Blocks of one command: a few, a page, and more than goes in one burst.
const LENGTHS: [u32; 10] = [1, 1, 2, 3, 8, 8, 8, 16, 64, 256];
/// Of so many commands one is a SYNCHRONIZE CACHE, and this many are reads.
const SHARES: usize = 32;
const READS: usize = 7;
/// SBC-4 5.24.
const SYNCHRONIZE_CACHE: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Of WRITE (10)'s second byte: FORCE UNIT ACCESS (SBC-4 5.41).
const FUA: u8 = 0x08;
/// Blocks of one READ: 256 KiB.
const READ_BLOCKS: usize = 512;
