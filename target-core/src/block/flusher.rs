//! Flushes of one store, grouped: one `fdatasync` serves all that were asked for before it began.
//!
//! ```text
//!   flush ─► ticket = the next round to begin ─► wait until it is completed, or any round failed
//!   round:   begin ─ dirty? ─ fdatasync ─ completed        (one at a time, on a blocking thread, while any is wanted)
//! ```
//! A failed `fdatasync` is remembered until every block is to be written again: the kernel forgets the pages it could not
//! write, so that the next call would succeed and lie.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{BlockError, Eventually, Io};

#[derive(Clone)]
pub struct Flusher {
    shared: Arc<Shared>,
}

struct Shared {
    sync: Box<dyn Fn() -> Result<(), BlockError> + Send + Sync>,
    rounds: Mutex<Rounds>,
    progress: watch::Sender<Progress>,
    dirty: AtomicBool,
}

#[derive(Default)]
struct Rounds {
    begun: u64,
    wanted: u64,
    running: bool,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    completed: u64,
    /// Rounds up to this one failed, or never begin.
    failed: Option<(u64, BlockError)>,
}

impl Progress {
    fn fail(&mut self, error: BlockError) {
        let first = self.failed.filter(|(last, _)| *last == u64::MAX).map_or(error, |(_, first)| first);
        self.failed = Some((u64::MAX, first));
    }

    fn failure(&self, round: u64) -> Option<BlockError> {
        self.failed.filter(|(last, _)| round <= *last).map(|(_, error)| error)
    }
}

impl Flusher {
    pub fn new(sync: impl Fn() -> Result<(), BlockError> + Send + Sync + 'static) -> Flusher {
        let shared = Shared {
            sync: Box::new(sync),
            rounds: Mutex::default(),
            progress: watch::Sender::default(),
            // Somebody before us may have left something unwritten.
            dirty: AtomicBool::new(true),
        };
        Flusher { shared: Arc::new(shared) }
    }

    /// There is something to flush. To be called when a write is done and before it is reported done.
    pub fn wrote(&self) {
        self.shared.dirty.store(true, Ordering::Release);
    }

    /// Something written was lost: no flush succeeds from now on, until `begin_anew`.
    pub fn fail(&self, error: BlockError) {
        self.shared.progress.send_modify(|progress| progress.fail(error));
    }

    /// Every block will be written again, so that what was lost is no loss any more.
    pub fn begin_anew(&self) {
        self.wrote();
        let begun = self.shared.rounds.lock().begun;
        self.shared.progress.send_modify(|progress| {
            if let Some((last, _)) = &mut progress.failed {
                *last = (*last).min(begun);
            }
        });
    }

    pub fn flush(&self) -> Io<()> {
        let mut rounds = self.shared.rounds.lock();
        if let Some(error) = self.shared.progress.borrow().failure(rounds.begun + 1) {
            return Eventually::Now(Err(error));
        }
        if !rounds.running && !self.shared.dirty.load(Ordering::Acquire) {
            return Eventually::Now(Ok(()));
        }
        let ticket = rounds.begun + 1;
        rounds.wanted = ticket;
        if !rounds.running {
            rounds.running = true;
            let shared = self.shared.clone();
            // Nobody's future: were it dropped, the others would wait for ever.
            drop(tokio::task::spawn_blocking(move || shared.run()));
        }
        drop(rounds);
        let shared = self.shared.clone();
        Eventually::later(async move {
            let mut progress = shared.progress.subscribe();
            let reached = progress
                .wait_for(|progress| progress.completed >= ticket || progress.failure(ticket).is_some())
                .await
                .expect("the sender lives in `shared`");
            reached.failure(ticket).map_or(Ok(()), Err)
        })
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let round = {
                let mut rounds = self.rounds.lock();
                if rounds.begun == rounds.wanted {
                    rounds.running = false;
                    return;
                }
                rounds.begun += 1;
                rounds.begun
            };
            let result = if self.dirty.swap(false, Ordering::AcqRel) { (self.sync)() } else { Ok(()) };
            self.progress.send_modify(|progress| {
                progress.completed = round;
                if let Err(error) = result {
                    progress.fail(error);
                }
            });
        }
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flusher({} rounds)", self.shared.progress.borrow().completed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc;

    use super::*;

    /// A flusher whose every sync waits for a result on the channel, and the count of those begun.
    fn flusher() -> (Flusher, mpsc::Sender<Result<(), BlockError>>, Arc<AtomicU64>) {
        let (results, take) = mpsc::channel();
        let (take, syncs) = (Mutex::new(take), Arc::new(AtomicU64::new(0)));
        let count = syncs.clone();
        let flusher = Flusher::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            take.lock().recv().expect("the test gives a result")
        });
        (flusher, results, syncs)
    }

    async fn until(syncs: &AtomicU64, count: u64) {
        while syncs.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_sync_serves_all_that_came_before_it_began() {
        let (flusher, results, syncs) = flusher();
        let first = flusher.flush();
        until(&syncs, 1).await;
        flusher.wrote();
        let group: Vec<_> = (0..100).map(|_| flusher.flush()).collect();
        results.send(Ok(())).expect("taken");
        assert_eq!(first.await, Ok(()));
        results.send(Ok(())).expect("taken");
        for flush in group {
            assert_eq!(flush.await, Ok(()));
        }
        assert_eq!(syncs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_one_who_came_first_may_leave() {
        let (flusher, results, syncs) = flusher();
        drop(flusher.flush());
        until(&syncs, 1).await;
        let second = flusher.flush();
        results.send(Ok(())).expect("taken");
        assert_eq!(second.await, Ok(()));
        assert_eq!(syncs.load(Ordering::SeqCst), 1, "nothing was written since the first began");
    }

    #[tokio::test]
    async fn nothing_written_nothing_synced() {
        let (flusher, results, syncs) = flusher();
        results.send(Ok(())).expect("taken");
        assert_eq!(flusher.flush().await, Ok(()));
        assert_eq!(flusher.flush().await, Ok(()));
        assert_eq!(syncs.load(Ordering::SeqCst), 1);
        flusher.wrote();
        results.send(Ok(())).expect("taken");
        assert_eq!(flusher.flush().await, Ok(()));
        assert_eq!(syncs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failure_is_for_good() {
        let (flusher, results, _syncs) = flusher();
        results.send(Err(BlockError::Medium)).expect("taken");
        results.send(Ok(())).expect("taken");
        assert_eq!(flusher.flush().await, Err(BlockError::Medium));
        flusher.wrote();
        assert_eq!(flusher.flush().await, Err(BlockError::Medium));
    }

    #[tokio::test]
    async fn what_was_lost_is_forgotten_where_all_is_written_anew_but_not_for_who_waits() {
        let (flusher, results, syncs) = flusher();
        let before = flusher.flush();
        until(&syncs, 1).await;
        results.send(Err(BlockError::Medium)).expect("taken");
        while flusher.shared.progress.borrow().completed == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(flusher.flush(), Eventually::Now(Err(BlockError::Medium))));
        flusher.begin_anew();
        assert_eq!(before.await, Err(BlockError::Medium), "it waited for what was lost");
        let after = flusher.flush();
        until(&syncs, 2).await;
        results.send(Ok(())).expect("taken");
        assert_eq!(after.await, Ok(()));
    }
}
