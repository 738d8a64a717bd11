//! What a logical unit did since it was made.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Statistics {
    pub reads: Counter,
    /// Bytes.
    pub read: Counter,
    pub writes: Counter,
    /// Bytes.
    pub written: Counter,
    /// Commands that were neither.
    pub others: Counter,
    /// Commands that ended in CHECK CONDITION, unit attentions apart.
    pub errors: Counter,
    pub conflicts: Counter,
}

/// Goes up; nothing is ordered by it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
