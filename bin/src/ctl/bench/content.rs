//! What a block holds that was written to be verified: 64-bit words, each of which depends on the seed, the block, its
//! generation and its own place in the block.

/// The words of one block: an arithmetic progression from a scrambled start, which costs an addition a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    first: u64,
}

impl Content {
    pub fn new(seed: u64, block: u64, generation: u32) -> Content {
        Content { first: scramble(seed ^ scramble(block ^ scramble(u64::from(generation)))) }
    }

    fn word(self, index: u64) -> [u8; WORD] {
        self.first.wrapping_add(index.wrapping_mul(STEP)).to_le_bytes()
    }

    /// All of a block.
    pub fn fill(self, block: &mut [u8]) {
        for (index, word) in (0..).zip(block.chunks_exact_mut(WORD)) {
            word.copy_from_slice(&self.word(index));
        }
    }

    /// Of these bytes from `offset` on in the block, the first that is another: its place in the block.
    pub fn differs(self, offset: usize, bytes: &[u8]) -> Option<usize> {
        let is_whole = offset.is_multiple_of(WORD) && bytes.len().is_multiple_of(WORD);
        let first = (offset / WORD) as u64;
        if is_whole && (first..).zip(bytes.chunks_exact(WORD)).all(|(index, word)| *word == self.word(index)) {
            return None;
        }
        let expected = |at: usize| self.word((at / WORD) as u64)[at % WORD];
        (offset..).zip(bytes).find(|&(at, &byte)| byte != expected(at)).map(|(at, _)| at)
    }
}

/// The next of a sequence that visits every number once: the finalizer of SplitMix64 over a counter.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        scramble(self.0)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

const WORD: usize = 8;

/// Odd, so that the words of a block are all different: 2⁶⁴ by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_itself_and_nothing_else() {
        let mut block = vec![0; 4096];
        let content = Content::new(7, 1000, 3);
        content.fill(&mut block);
        for (from, to) in [(0, 4096), (512, 1024), (1, 4095), (13, 14), (4096, 4096)] {
            assert_eq!(content.differs(from, &block[from..to]), None, "{from}..{to}");
        }
        for other in [Content::new(8, 1000, 3), Content::new(7, 1001, 3), Content::new(7, 1000, 4)] {
            assert!(other.differs(0, &block).is_some_and(|at| at < 8), "{other:?}");
        }
        assert!(content.differs(0, &block[512..1024]).is_some(), "at another place in the block");
        for at in [0, 511, 4095] {
            block[at] ^= 1;
            assert_eq!(content.differs(0, &block), Some(at));
            block[at] ^= 1;
        }
    }

    #[test]
    fn every_number_below_the_bound_comes() {
        let mut random = Random::new(1);
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[random.below(7) as usize] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
