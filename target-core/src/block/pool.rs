//! Where a store's blocking system calls run.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{BlockError, Eventually};

/// One store's share of the runtime's blocking threads, so that a store that hangs leaves the others theirs.
#[derive(Clone, Debug)]
pub struct Pool {
    permits: Arc<Semaphore>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool { permits: Arc::new(Semaphore::new(OPERATIONS_MAX)) }
    }
}

impl Pool {
    /// Starts at once where there is room; else when polled, in order of asking.
    pub fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Eventually<Result<T, E>>
    where
        T: Send + 'static,
        E: From<BlockError> + Send + 'static,
    {
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                let task = tokio::task::spawn_blocking(move || with(permit, work));
                Eventually::later(result(task))
            }
            Err(_) => {
                let permits = self.permits.clone();
                Eventually::later(async move {
                    let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
                    result(tokio::task::spawn_blocking(move || with(permit, work))).await
                })
            }
        }
    }

    /// For work that nobody waits for: dropped where the pool is full.
    pub fn run_if_idle(&self, work: impl FnOnce() + Send + 'static) {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            drop(tokio::task::spawn_blocking(move || with(permit, work)));
        }
    }
}

fn with<P, T>(permit: P, work: impl FnOnce() -> T) -> T {
    let result = work();
    drop(permit);
    result
}

async fn result<T, E: From<BlockError>>(task: JoinHandle<Result<T, E>>) -> Result<T, E> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down; the operation never began.
            Err(_) => Err(BlockError::Io(libc::ECANCELED).into()),
        },
    }
}

/// Blocking operations of one store at a time: enough to keep an SSD's queue busy, few beside the runtime's 512 threads.
const OPERATIONS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_than_its_share_runs_at_once_and_all_of_it_runs() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let pool = Pool::default();
        let work = || {
            MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(2));
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, BlockError>(1)
        };
        let all: Vec<_> = (0..4 * OPERATIONS_MAX).map(|_| pool.run(work)).collect();
        let mut done = 0;
        for one in all {
            done += one.await.expect("runs");
        }
        assert_eq!(done, 4 * OPERATIONS_MAX);
        assert!(MOST.load(Ordering::SeqCst) <= OPERATIONS_MAX);
    }
}
