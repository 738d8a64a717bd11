//! One thread at a time for jobs that would only get in each other's way.
//!
//! The kernel lets one buffered write at a time into a file. Handing each to a thread of its own wakes many to wait for one
//! another; here the first job wakes a thread, and those that come meanwhile find it at work.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{BlockError, Eventually, Io};

pub struct Lane<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    run: Box<dyn Fn(J) -> Result<(), BlockError> + Send + Sync>,
    queue: Mutex<Queue<J>>,
}

struct Queue<J> {
    jobs: VecDeque<(J, oneshot::Sender<Result<(), BlockError>>)>,
    running: bool,
}

impl<J: Send + 'static> Lane<J> {
    pub fn new(run: impl Fn(J) -> Result<(), BlockError> + Send + Sync + 'static) -> Lane<J> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), running: false });
        Lane { shared: Arc::new(Shared { run: Box::new(run), queue }) }
    }

    /// In order of asking. A job whose asker is gone before its turn is not done at all. Gives it back where the lane is full.
    pub fn run(&self, job: J) -> Result<Io<()>, J> {
        let (done, result) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if queue.jobs.len() >= JOBS_MAX {
            return Err(job);
        }
        queue.jobs.push_back((job, done));
        if !queue.running {
            queue.running = true;
            let shared = self.shared.clone();
            drop(tokio::task::spawn_blocking(move || shared.work()));
        }
        drop(queue);
        // The sender is dropped unused only when the runtime shuts down.
        Ok(Eventually::later(async move { result.await.unwrap_or(Err(BlockError::Io(libc::ECANCELED))) }))
    }
}

impl<J> Shared<J> {
    fn work(&self) {
        while let Some((job, done)) = self.next() {
            if !done.is_closed() {
                let _ = done.send((self.run)(job));
            }
        }
    }

    fn next(&self) -> Option<(J, oneshot::Sender<Result<(), BlockError>>)> {
        let mut queue = self.queue.lock();
        let next = queue.jobs.pop_front();
        queue.running = next.is_some();
        next
    }
}

impl<J> fmt::Debug for Lane<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({} jobs wait)", self.shared.queue.lock().jobs.len())
    }
}

/// Jobs waiting: several sessions' full command windows. What comes on top waits for a place in the pool.
const JOBS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn jobs_run_in_order_and_those_abandoned_do_not() {
        let (go, wait) = mpsc::channel::<()>();
        let (wait, ran) = (Mutex::new(wait), Arc::new(Mutex::new(Vec::new())));
        let seen = ran.clone();
        let lane = Lane::new(move |job: u32| {
            wait.lock().recv().expect("the test lets it go");
            seen.lock().push(job);
            if job == 3 { Err(BlockError::Medium) } else { Ok(()) }
        });
        let first = lane.run(1).expect("room");
        while !lane.shared.queue.lock().jobs.is_empty() {
            tokio::task::yield_now().await;
        }
        drop(lane.run(2).expect("room"));
        let third = lane.run(3).expect("room");
        let fourth = lane.run(4).expect("room");
        (0..4).for_each(|_| go.send(()).expect("taken"));
        assert_eq!((first.await, third.await, fourth.await), (Ok(()), Err(BlockError::Medium), Ok(())));
        assert_eq!(*ran.lock(), [1, 3, 4]);
        assert_eq!(lane.run(5).expect("room").await, Ok(()), "a new thread is found when the first is gone");
    }

    #[tokio::test]
    async fn a_full_lane_gives_the_job_back() {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let lane = Lane::new(move |_: usize| {
            let _ = wait.lock().recv();
            Ok(())
        });
        let jobs: Vec<_> = (0..=JOBS_MAX + 1).map(|job| lane.run(job)).collect();
        assert!(jobs[..JOBS_MAX].iter().all(Result::is_ok));
        assert!(matches!(jobs.last(), Some(Err(job)) if *job == JOBS_MAX + 1));
        drop(go);
        for job in jobs.into_iter().flatten() {
            assert_eq!(job.await, Ok(()));
        }
    }
}
