//! What one nexus's doing asks of another: a logical unit reset, a preemption. Sent to whoever drives that nexus's tasks.

use tokio::sync::{mpsc, oneshot};

/// Orders waiting at one session. Each stands for a task management function or PREEMPT AND ABORT of someone else, of
/// which there are few at a time; more of them wait their turn outside.
pub const ORDERS_PENDING_MAX: usize = 64;

/// An order about one logical unit, by the LUN that the receiving nexus knows it by.
#[derive(Debug)]
pub struct Order {
    pub lun: u64,
    pub order: NexusOrder,
}

#[derive(Debug)]
pub enum NexusOrder {
    /// Abort every task of this nexus on that logical unit, without status (TAS = 0). `done` is sent once none of them
    /// will change the medium any more; whoever ordered waits for it.
    AbortTasks { done: oneshot::Sender<()> },
}

/// Where orders to one I_T_L nexus go.
#[derive(Clone, Debug)]
pub struct OrderSender {
    lun: u64,
    queue: mpsc::Sender<Order>,
}

impl OrderSender {
    pub fn new(lun: u64, queue: mpsc::Sender<Order>) -> OrderSender {
        OrderSender { lun, queue }
    }

    /// Order all tasks aborted. The answer comes, or its sender is dropped: a session that is gone has no tasks.
    pub(super) fn abort_tasks(&self) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        let order = Order { lun: self.lun, order: NexusOrder::AbortTasks { done } };
        if let Err(mpsc::error::TrySendError::Full(order)) = self.queue.try_send(order) {
            let queue = self.queue.clone();
            // The session being gone is an answer too: `done` is dropped with the order.
            tokio::spawn(async move { drop(queue.send(order).await) });
        }
        answer
    }
}
