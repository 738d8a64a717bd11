//! Local work that its device did not answer at once.
//!
//! One task waits for all of it, and hands over what is done together as one turn: under load many writes then share one
//! acknowledgement to the peer and one round under the lock.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Group;
use crate::block::BlockError;
use crate::replica::io::{Input, LocalIo};

type Result = std::result::Result<(), BlockError>;
type Work = Pin<Box<dyn Future<Output = Result> + Send>>;

/// Handed over to the task. Bounded by what a replica has under way at a time.
#[derive(Default)]
pub(super) struct Unfinished {
    begun: Mutex<Vec<(LocalIo, Work)>>,
    news: Notify,
}

impl Unfinished {
    pub fn push(&self, io: LocalIo, work: Work) {
        self.begun.lock().push((io, work));
        self.news.notify_one();
    }

    /// The group is gone.
    pub fn end(&self) {
        self.news.notify_one();
    }
}

impl std::fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unfinished({} begun)", self.begun.lock().len())
    }
}

/// What was begun is waited for even when the group is gone: the device finishes it.
pub(super) async fn finish(group: Weak<Group>, unfinished: Arc<Unfinished>) {
    let (mut open, mut done) = (FuturesUnordered::new(), Vec::new());
    while group.strong_count() > 0 || !open.is_empty() {
        tokio::select! {
            () = poll_fn(|context| poll_done(&mut open, &mut done, context)) => (),
            () = unfinished.news.notified() => (),
        }
        open.extend(unfinished.begun.lock().drain(..).map(|(io, work)| async move { (io, work.await) }));
        if !done.is_empty()
            && let Some(group) = group.upgrade()
        {
            let inputs = done.drain(..).map(|(io, result)| Input::LocalDone { io, result });
            group.turn(|core| inputs.for_each(|input| core.handle(input)), |_, ()| ());
        }
    }
}

/// Ready as soon as something is done, with all that is.
fn poll_done<F: Future<Output = (LocalIo, Result)>>(
    open: &mut FuturesUnordered<F>,
    done: &mut Vec<(LocalIo, Result)>,
    context: &mut Context<'_>,
) -> Poll<()> {
    loop {
        match open.poll_next_unpin(context) {
            Poll::Ready(Some(one)) => done.push(one),
            Poll::Ready(None) | Poll::Pending if done.is_empty() => return Poll::Pending,
            Poll::Ready(None) | Poll::Pending => return Poll::Ready(()),
        }
    }
}
