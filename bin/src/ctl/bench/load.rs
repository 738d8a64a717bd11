//! What all sessions share: which command comes next, what a read must find, and what came of them.

use hdrhistogram::Histogram;

use super::arguments::Pattern;
use super::content::{Content, Random};
use super::ledger::Ledger;

/// One run's commands and their outcome. Times are nanoseconds since its start.
#[derive(Debug)]
pub struct Load {
    pub phase: Phase,
    pub block_bytes: u32,
    /// Of `block_bytes` each.
    pub blocks: u64,
    pub tally: Tally,
    pattern: Pattern,
    read_percent: u8,
    random: Random,
    seed: u64,
    ledger: Option<Ledger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is counted but faults.
    WarmUp,
    Measured,
    /// Nothing more is begun.
    Ending,
    /// From this block on, what was written is read.
    ReadBack(u64),
}

/// A command that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    pub block: u64,
    pub write: bool,
    /// What is written, or what must be read: 0 where nobody knows.
    pub generation: u32,
}

#[derive(Debug)]
pub struct Tally {
    pub latencies: Histogram<u64>,
    pub ios: u64,
    pub errors: u64,
    pub mismatches: u64,
    /// In words.
    pub first_error: Option<String>,
    pub first_mismatch: Option<String>,
    /// Blocks of this run that were read and compared.
    pub compared: u64,
}

impl Load {
    pub fn new(
        pattern: Pattern,
        read_percent: u8,
        block_bytes: u32,
        blocks: u64,
        seed: u64,
        ledger: Option<Ledger>,
    ) -> Load {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are sound");
        let tally =
            Tally { latencies, ios: 0, errors: 0, mismatches: 0, first_error: None, first_mismatch: None, compared: 0 };
        let (phase, random) = (Phase::WarmUp, Random::new(seed));
        Load { phase, block_bytes, blocks, tally, pattern, read_percent, random, seed, ledger }
    }

    pub fn verifies(&self) -> bool {
        self.ledger.is_some()
    }

    /// `cursor` is the session's own place in a sequence. `None`: nothing is to be begun now.
    pub fn next(&mut self, cursor: &mut u64) -> Option<Io> {
        match self.phase {
            Phase::WarmUp | Phase::Measured => {
                let write = match self.read_percent {
                    100 => false,
                    0 => true,
                    percent => self.random.below(100) >= u64::from(percent),
                };
                for _ in 0..ATTEMPTS {
                    let block = self.place(cursor);
                    if self.is_free(block, write) {
                        return Some(self.begin(block, write));
                    }
                }
                None
            }
            Phase::Ending => None,
            Phase::ReadBack(from) => {
                let ledger = self.ledger.as_ref()?;
                let block = (from..self.blocks).find(|&block| ledger.is_written(block));
                self.phase = Phase::ReadBack(block.map_or(self.blocks, |block| block + 1));
                block.map(|block| self.begin(block, false))
            }
        }
    }

    fn place(&mut self, cursor: &mut u64) -> u64 {
        match self.pattern {
            Pattern::Random => self.random.below(self.blocks),
            Pattern::Sequential => {
                let block = *cursor;
                *cursor = if block + 1 == self.blocks { 0 } else { block + 1 };
                block
            }
        }
    }

    fn is_free(&self, block: u64, write: bool) -> bool {
        self.ledger.as_ref().is_none_or(|ledger| ledger.is_free(block, write))
    }

    fn begin(&mut self, block: u64, write: bool) -> Io {
        let generation = match &mut self.ledger {
            None => 0,
            Some(ledger) if write => ledger.begin_write(block),
            Some(ledger) => ledger.begin_read(block),
        };
        Io { block, write, generation }
    }

    pub fn content(&self, io: &Io) -> Content {
        Content::new(self.seed, io.block, io.generation)
    }

    /// What a read brought, from `offset` on in its block. False: it is not what was written.
    pub fn check(&mut self, io: &Io, offset: u32, data: &[u8]) -> bool {
        if io.generation == 0 {
            return true;
        }
        let differs = self.content(io).differs(offset as usize, data);
        if let Some(at) = differs {
            let (block, bytes) = (io.block, self.block_bytes);
            let place = block * u64::from(bytes) + at as u64;
            self.tally.first_mismatch.get_or_insert_with(|| {
                format!("byte {place} of the LUN (block {block} of {bytes} bytes, at {at}) is not what this run wrote")
            });
        }
        differs.is_none()
    }

    /// It took `nanoseconds`.
    pub fn done(&mut self, io: &Io, nanoseconds: u64) {
        self.end(io, true);
        if self.phase == Phase::Measured {
            self.tally.latencies.saturating_record(nanoseconds);
            self.tally.ios += 1;
        }
    }

    pub fn mismatched(&mut self, io: &Io) {
        self.end(io, true);
        self.tally.mismatches += 1;
    }

    pub fn failed(&mut self, io: &Io, words: impl FnOnce() -> String) {
        self.end(io, false);
        self.tally.errors += 1;
        if self.tally.first_error.is_none() {
            let what = if io.write { "write" } else { "read" };
            self.tally.first_error = Some(format!("{what} of block {}: {}", io.block, words()));
        }
    }

    fn end(&mut self, io: &Io, well: bool) {
        let Some(ledger) = &mut self.ledger else { return };
        if io.write {
            ledger.end_write(io.block, if well { io.generation } else { 0 });
        } else {
            ledger.end_read(io.block);
            self.tally.compared += u64::from(well && io.generation > 0);
        }
    }
}

/// What takes longer is counted as that: longer than a stall that ends the run.
const LATENCY_MAX: u64 = 60_000_000_000;

/// To find a block that nobody uses, where what is written is verified. After that the task waits for another answer.
const ATTEMPTS: u32 = 8;
