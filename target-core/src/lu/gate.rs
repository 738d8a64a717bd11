//! Who may change blocks at the same time. Plain writes pass together; COMPARE AND WRITE, ORWRITE and WRITE ATOMIC pass
//! alone, so that nothing changes a block between their read and their write.
//!
//! ```text
//!   state = passes inside × 2 + (someone wants it alone: 1)
//! ```
//! A pass costs one atomic addition while nobody wants the gate alone. Those who must wait queue in order of arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

#[derive(Debug, Default)]
pub struct Gate {
    state: AtomicUsize,
    /// First come, first served: held by the one inside alone, and for a moment by each who waits for it to leave.
    queue: Arc<Mutex<()>>,
    emptied: Notify,
}

const ALONE: usize = 1;
const PASS: usize = 2;

/// Inside together with others.
#[derive(Debug)]
pub struct Shared {
    gate: Arc<Gate>,
}

/// Inside alone.
#[derive(Debug)]
pub struct Alone {
    gate: Arc<Gate>,
    _turn: OwnedMutexGuard<()>,
}

impl Gate {
    /// `None` while someone is, or waits to be, inside alone: then `share`.
    pub fn try_share(self: &Arc<Gate>) -> Option<Shared> {
        if self.state.fetch_add(PASS, Ordering::AcqRel) & ALONE == 0 {
            return Some(Shared { gate: self.clone() });
        }
        self.leave();
        None
    }

    pub async fn share(self: &Arc<Gate>) -> Shared {
        loop {
            let _turn = self.queue.lock().await;
            // Whoever was inside alone has given up its turn, and with it the mark.
            if let Some(shared) = self.try_share() {
                return shared;
            }
        }
    }

    pub async fn alone(self: &Arc<Gate>) -> Alone {
        let turn = self.queue.clone().lock_owned().await;
        self.state.fetch_or(ALONE, Ordering::AcqRel);
        // Made before the wait: a caller that goes away while waiting takes the mark off again.
        let alone = Alone { gate: self.clone(), _turn: turn };
        loop {
            let emptied = self.emptied.notified();
            if self.state.load(Ordering::Acquire) == ALONE {
                return alone;
            }
            emptied.await;
        }
    }

    fn leave(&self) {
        if self.state.fetch_sub(PASS, Ordering::AcqRel) == PASS | ALONE {
            self.emptied.notify_one();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.gate.state.fetch_and(!ALONE, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn alone_waits_for_the_passes_and_holds_new_ones() {
        let gate = Arc::new(Gate::default());
        let inside = gate.try_share().expect("open");
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.alone().await }
        });
        tokio::task::yield_now().await;
        assert!(gate.try_share().is_none());
        assert!(!waiting.is_finished());
        drop(inside);
        let alone = waiting.await.expect("no panic");
        assert!(gate.try_share().is_none());
        drop(alone);
        assert!(gate.try_share().is_some());
    }

    #[tokio::test]
    async fn a_wait_given_up_leaves_the_gate_open() {
        let gate = Arc::new(Gate::default());
        let inside = gate.try_share().expect("open");
        tokio::time::timeout(Duration::from_millis(5), gate.alone()).await.expect_err("someone is inside");
        drop(inside);
        assert!(gate.try_share().is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_is_inside_together_with_the_one_alone() {
        let gate = Arc::new(Gate::default());
        let (inside, tasks) = (Arc::new(AtomicUsize::new(0)), 8);
        let work = (0..tasks).map(|task| {
            let (gate, inside) = (gate.clone(), inside.clone());
            tokio::spawn(async move {
                for round in 0..200 {
                    if (round + task) % 5 == 0 {
                        let _alone = gate.alone().await;
                        assert_eq!(inside.fetch_add(100, Ordering::SeqCst), 0);
                        tokio::task::yield_now().await;
                        assert_eq!(inside.fetch_sub(100, Ordering::SeqCst), 100);
                    } else {
                        let _shared = match gate.try_share() {
                            Some(shared) => shared,
                            None => gate.share().await,
                        };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 100);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            })
        });
        for task in work.collect::<Vec<_>>() {
            task.await.expect("no panic");
        }
        assert_eq!(gate.state.load(Ordering::SeqCst), 0);
    }
}
