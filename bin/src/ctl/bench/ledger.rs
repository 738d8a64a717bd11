//! What this run wrote where, so that a read can be judged: the generation of each block, and who uses it now.
//!
//! ```text
//!   31               8 7        0
//!  | generation       | users    |   generation 0: not written by this run, or nobody knows
//!                                    users 255: a write is under way; else so many reads
//! ```
//! A block that is being written is neither read nor written beside it: what a read may find then is not one thing.

#[derive(Debug)]
pub struct Ledger {
    blocks: Vec<u32>,
}

impl Ledger {
    pub fn new(blocks: usize) -> Ledger {
        Ledger { blocks: vec![0; blocks] }
    }

    /// May such a command begin now?
    pub fn is_free(&self, block: u64, write: bool) -> bool {
        let users = self.blocks[block as usize] & USERS;
        if write { users == 0 } else { users < READERS_MAX }
    }

    /// The generation that the read must find.
    pub fn begin_read(&mut self, block: u64) -> u32 {
        debug_assert!(self.is_free(block, false), "asked before");
        self.blocks[block as usize] += 1;
        self.generation(block)
    }

    pub fn end_read(&mut self, block: u64) {
        self.blocks[block as usize] -= 1;
    }

    /// The generation to be written.
    pub fn begin_write(&mut self, block: u64) -> u32 {
        debug_assert!(self.is_free(block, true), "asked before");
        let next = match self.generation(block) + 1 {
            GENERATION_END => 1,
            next => next,
        };
        self.blocks[block as usize] |= WRITING;
        next
    }

    /// 0 where it failed, and either may be there.
    pub fn end_write(&mut self, block: u64, generation: u32) {
        self.blocks[block as usize] = generation << USERS_BITS;
    }

    pub fn is_written(&self, block: u64) -> bool {
        self.generation(block) > 0
    }

    fn generation(&self, block: u64) -> u32 {
        self.blocks[block as usize] >> USERS_BITS
    }
}

/// Of one GiB for the ledger: with blocks of 4 KiB, 1 TiB.
pub const BLOCKS_MAX: u64 = 1 << 28;

const USERS_BITS: u32 = 8;
const USERS: u32 = 0xff;
const WRITING: u32 = 0xff;
const READERS_MAX: u32 = 0xfe;
const GENERATION_END: u32 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_written_is_left_alone() {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.begin_read(1), 0, "nobody knows what is there");
        assert!(ledger.is_free(1, false) && !ledger.is_free(1, true) && ledger.is_free(0, true));
        ledger.end_read(1);
        assert_eq!(ledger.begin_write(1), 1);
        assert!(!ledger.is_free(1, false) && !ledger.is_free(1, true));
        ledger.end_write(1, 1);
        assert!(ledger.is_written(1) && !ledger.is_written(0));
        assert_eq!((ledger.begin_read(1), ledger.begin_read(1)), (1, 1));
        ledger.end_read(1);
        ledger.end_read(1);
        assert_eq!(ledger.begin_write(1), 2);
        ledger.end_write(1, 0);
        assert!(!ledger.is_written(1), "a write that failed may have left anything");
    }

    #[test]
    fn users_and_generations_do_not_run_over() {
        let mut ledger = Ledger::new(1);
        ledger.begin_write(0);
        ledger.end_write(0, GENERATION_END - 1);
        let readers = (0..300).take_while(|_| ledger.is_free(0, false) && ledger.begin_read(0) > 0).count();
        assert_eq!(readers, READERS_MAX as usize);
        (0..readers).for_each(|_| ledger.end_read(0));
        assert_eq!(ledger.begin_write(0), 1, "0 is no generation");
    }
}
