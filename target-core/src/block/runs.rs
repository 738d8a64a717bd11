//! Building an allocation map run by run.

use super::{AllocationRun, BlockCount};

/// Adjacent runs of one kind become one.
pub struct Runs {
    runs: Vec<AllocationRun>,
    runs_max: usize,
}

impl Runs {
    pub fn new(runs_max: usize) -> Runs {
        Runs { runs: Vec::new(), runs_max }
    }

    /// `false` when the run found no room: the map ends here.
    pub fn push(&mut self, blocks: u64, mapped: bool) -> bool {
        if blocks == 0 {
            return true;
        }
        let full = self.runs.len() >= self.runs_max;
        match self.runs.last_mut() {
            Some(last) if last.mapped == mapped => last.blocks.0 += blocks,
            _ if full => return false,
            _ => self.runs.push(AllocationRun { blocks: BlockCount(blocks), mapped }),
        }
        true
    }

    pub fn into_vec(self) -> Vec<AllocationRun> {
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_runs_merge_and_the_last_one_allowed_still_grows() {
        let mut runs = Runs::new(2);
        assert!(runs.push(1, true) && runs.push(0, false) && runs.push(2, true) && runs.push(3, false));
        assert!(runs.push(4, false), "the run is extended");
        assert!(!runs.push(1, true), "no third run");
        let run = |blocks, mapped| AllocationRun { blocks: BlockCount(blocks), mapped };
        assert_eq!(runs.into_vec(), [run(3, true), run(7, false)]);
    }
}
