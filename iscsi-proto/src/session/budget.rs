//! How much Data-Out a connection may have asked for at once, and who waits for a share of it.

use std::collections::VecDeque;

use crate::types::InitiatorTaskTag;

/// Shares are taken before the first R2T and given back when the command ends.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    bytes: u64,
    /// Bounded by the command window.
    starved: VecDeque<InitiatorTaskTag>,
}

impl Budget {
    pub fn new(bytes_max: u64) -> Budget {
        Budget { bytes_max, bytes: 0, starved: VecDeque::new() }
    }

    /// True: the share is taken. One command alone may exceed the budget, so that there is always progress.
    pub fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes == 0 || self.bytes == 0 || self.bytes + bytes <= self.bytes_max;
        if fits {
            self.bytes += bytes;
        }
        fits
    }

    /// The command ended: its share is free, and its tag, which another command may soon have, waits no more.
    pub fn leave(&mut self, task: InitiatorTaskTag, bytes: u64) {
        self.bytes -= bytes;
        self.starved.retain(|starved| *starved != task);
    }

    pub fn wait(&mut self, task: InitiatorTaskTag) {
        self.starved.push_back(task);
    }

    pub fn wait_again(&mut self, task: InitiatorTaskTag) {
        self.starved.push_front(task);
    }

    /// The one that has waited longest.
    pub fn next_starved(&mut self) -> Option<InitiatorTaskTag> {
        self.starved.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_run_out_but_one_is_always_there() {
        let mut budget = Budget::new(100);
        assert!(budget.take(60));
        assert!(!budget.take(50));
        assert!(budget.take(40));
        assert!(budget.take(0));
        budget.leave(InitiatorTaskTag(1), 100);
        assert!(budget.take(1000), "alone, it may exceed the budget");
        assert!(!budget.take(1));
    }
}
