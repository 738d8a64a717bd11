//! One session's commands on their way between the iSCSI session and the logical units: which LUN, may it run yet
//! (task attributes), what became of it.
//!
//! ```text
//!  Event::Command ─► slot by LUN ─► task set ─► prepare ─┬─► answered ────────────────► respond
//!                        │            (dormant)          ├─► wants data ─► solicit ─┐
//!                        └ none: the missing LU          ├─► reads much ─► starved ─┤
//!                                                        └──────────────────────────┴─► execute ─► now, or running
//! ```

mod management;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use iscsi_proto::pdu;
use iscsi_proto::session::transfer::TransferFault;
use iscsi_proto::session::{Answer, CommandArrived, Connection};
use iscsi_proto::types::{InitiatorTaskTag, Lun};

use crate::block::{Eventually, Payload};
use crate::lu::command::CommandComplete;
use crate::lu::inventory::LunInventory;
use crate::lu::nexus::Nexus;
use crate::lu::orders::{Order, OrderSender};
use crate::lu::task_set::{Refused, TaskSet};
use crate::lu::{Admission, ItlNexus, LogicalUnit, Prepared, missing};
use crate::scsi::sense::{Asc, Sense, SenseKey};
use crate::scsi::status::{Status, TaskAttribute};
use tokio::sync::{mpsc, oneshot};

use super::spares::Spares;

/// The one task name inside a session, never reused; an ITT may be.
type TaskId = u64;

/// One LUN of the session.
struct Slot {
    lun: u16,
    itl: ItlNexus,
    set: TaskSet<InitiatorTaskTag>,
}

/// A command that could not be answered at once.
enum Routed {
    /// Held back by the task set.
    Dormant { cdb: pdu::Cdb, expected_data_out: u64 },
    /// Its data is on the way.
    AwaitingData { prepared: Prepared },
    /// Until other reads have ended.
    Starved { prepared: Prepared },
    Running {
        id: TaskId,
        transfer_length: u64,
        /// Ends the waiting where what is waited for goes on by itself.
        let_go: Option<AbortHandle>,
    },
}

struct Task {
    lun: u16,
    state: Routed,
}

type RunningTask = Pin<Box<dyn Future<Output = FinishedTask> + Send>>;

/// A command that was executed.
struct Begun {
    lun: u16,
    task: InitiatorTaskTag,
    execution: Eventually<CommandComplete>,
    is_watch: bool,
    /// Bytes it takes from the initiator, or nothing for those that take none.
    transfer_length: Option<u64>,
    data_in_length: u64,
}

/// Someone who waits until certain running tasks have ended.
#[derive(Debug)]
struct Waiting {
    tasks: Vec<TaskId>,
    /// Ends what is waited for of other sessions.
    let_go: Option<AbortHandle>,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Respond { request: pdu::TaskManagementRequest, then_end: bool },
    Release(oneshot::Sender<()>),
}

/// What the connection must do after a task management function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    Nothing,
    /// TARGET COLD RESET: "the target MUST … terminate all of its TCP connections to all initiators" (RFC 7143 §11.5.1).
    EndSessionsOfTarget,
}

/// See the module.
pub struct TaskRouter {
    nexus: Arc<Nexus>,
    inventory: Arc<LunInventory>,
    /// In LUN order.
    slots: Vec<Slot>,
    /// Bounded by the session's command window.
    tasks: HashMap<InitiatorTaskTag, Task>,
    running: FuturesUnordered<RunningTask>,
    next_id: TaskId,
    /// Bytes that running reads may bring.
    reading_bytes: u64,
    /// Reads that wait for others to end, in order.
    starved: VecDeque<InitiatorTaskTag>,
    /// Somewhere up the stack `start_runnable` takes up what became runnable.
    is_starting: bool,
    /// Runnable commands were left where they are, for want of room for their answers.
    is_held_back: bool,
    spares: Spares,
    waiting: Vec<Waiting>,
    orders: mpsc::Sender<Order>,
    protocol_level: u8,
}

impl TaskRouter {
    pub fn new(
        nexus: Arc<Nexus>,
        inventory: LunInventory,
        orders: mpsc::Sender<Order>,
        protocol_level: u8,
    ) -> TaskRouter {
        let mut router = TaskRouter {
            nexus,
            inventory: Arc::new(LunInventory::default()),
            slots: Vec::new(),
            tasks: HashMap::new(),
            running: FuturesUnordered::new(),
            next_id: 0,
            reading_bytes: 0,
            starved: VecDeque::new(),
            is_starting: false,
            is_held_back: false,
            spares: Spares::default(),
            waiting: Vec::new(),
            orders,
            protocol_level,
        };
        router.slots = inventory.entries.iter().map(|(lun, unit)| router.slot(number_of(*lun), unit)).collect();
        router.inventory = Arc::new(inventory);
        router
    }

    fn slot(&self, lun: u16, unit: &Arc<LogicalUnit>) -> Slot {
        let orders = OrderSender::new(u64::from(lun), self.orders.clone());
        let itl = unit.attach(Arc::clone(&self.nexus), orders);
        Slot { lun, itl, set: TaskSet::default() }
    }

    /// Other LUNs from now on. Those that stay keep their nexus and their tasks; every initiator hears of the change
    /// (REPORTED LUNS DATA HAS CHANGED) by the LUNs it keeps and gains.
    pub fn replace_inventory(&mut self, inventory: LunInventory, session: &mut Connection) {
        if inventory.is_same(&self.inventory) {
            return;
        }
        let mut old: Vec<Slot> = std::mem::take(&mut self.slots);
        for (lun, unit) in &inventory.entries {
            let lun = number_of(*lun);
            let stays = old.iter().position(|slot| slot.lun == lun && Arc::ptr_eq(slot.itl.unit(), unit));
            let slot = match stays {
                Some(at) => old.swap_remove(at),
                None => self.slot(lun, unit),
            };
            slot.itl.luns_changed();
            self.slots.push(slot);
        }
        for gone in old {
            self.end_lun(gone.lun, session);
        }
        self.inventory = Arc::new(inventory);
    }

    /// No more than what changes or reads the medium already goes on; it is answered as it ends.
    pub fn abandon_what_waits(&mut self) {
        let waits = |task: &Task| !matches!(task.state, Routed::Running { let_go: None, .. });
        let waiting: Vec<_> = self.tasks.iter().filter(|(_, task)| waits(task)).map(|(tag, _)| *tag).collect();
        for tag in waiting {
            if let Some(Task { state: Routed::Running { let_go: Some(handle), .. }, .. }) = self.take_out(tag) {
                handle.abort();
            }
        }
    }

    fn find(&self, lun: Lun) -> Option<usize> {
        let number = lun.to_u16()?;
        self.slots.binary_search_by_key(&number, |slot| slot.lun).ok()
    }

    /// Commands begun and not answered.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.running.is_empty()
    }

    // ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────

    pub fn command(&mut self, arrived: CommandArrived, session: &mut Connection) {
        let CommandArrived { task, request } = arrived;
        let Some(at) = self.find(request.lun) else {
            let complete = missing::respond(&request.cdb, &self.inventory);
            return respond(session, task, complete, None);
        };
        let expected_data_out = if request.write { u64::from(request.expected_data_transfer_length) } else { 0 };
        let slot = &mut self.slots[at];
        // Nothing is ordered before or after a SIMPLE command in a set of SIMPLE commands, so one that ends at once need
        // not enter it.
        let attribute = task_attribute(request.attribute);
        if attribute == TaskAttribute::Simple && slot.set.is_unordered() {
            return self.begin(at, task, &request.cdb, expected_data_out, session, false);
        }
        match slot.set.admit(task, attribute) {
            Err(refused) => respond(session, task, refusal(refused), None),
            Ok(()) => {
                let state = Routed::Dormant { cdb: request.cdb, expected_data_out };
                let lun = slot.lun;
                self.tasks.insert(task, Task { lun, state });
                self.start_runnable(at, session);
            }
        }
    }

    /// All the data a command wanted.
    pub fn data(&mut self, task: InitiatorTaskTag, pieces: impl IntoIterator<Item = Bytes>, session: &mut Connection) {
        let Some(entry) = self.tasks.remove(&task) else { return };
        let Routed::AwaitingData { prepared } = entry.state else {
            self.tasks.insert(task, entry);
            return;
        };
        self.take_data(entry.lun, task, prepared, pieces, session);
    }

    fn take_data(
        &mut self,
        lun: u16,
        task: InitiatorTaskTag,
        prepared: Prepared,
        pieces: impl IntoIterator<Item = Bytes>,
        session: &mut Connection,
    ) {
        let mut payload = Payload::default();
        for piece in pieces {
            payload.push(piece);
        }
        let (is_watch, transfer_length) = (prepared.is_watch(), Some(prepared.data_out_length()));
        let execution = prepared.execute(payload, BytesMut::new());
        self.follow(Begun { lun, task, execution, is_watch, transfer_length, data_in_length: 0 }, session);
    }

    /// The data will not come: RFC 7143 §11.4.7.2 says with which sense the command ends.
    pub fn data_fault(&mut self, task: InitiatorTaskTag, fault: TransferFault, session: &mut Connection) {
        let Some(entry) = self.take_out(task) else { return };
        let sense = Sense {
            key: SenseKey::AbortedCommand,
            asc: match fault {
                TransferFault::UnexpectedUnsolicited => Asc { code: 0x0C, qualifier: 0x0C },
                TransferFault::IncorrectAmount => Asc { code: 0x0C, qualifier: 0x0D },
                TransferFault::Lost => Asc { code: 0x47, qualifier: 0x05 },
            },
            information: None,
            specific: None,
        };
        respond(session, task, CommandComplete::check_condition(sense), None);
        self.finished(entry.lun, task, session);
    }

    /// `is_in_set`: the task set has it already.
    fn begin(
        &mut self,
        at: usize,
        task: InitiatorTaskTag,
        cdb: &[u8],
        expected_data_out: u64,
        session: &mut Connection,
        is_in_set: bool,
    ) {
        let slot = &mut self.slots[at];
        let lun = slot.lun;
        let prepared = match slot.itl.prepare(cdb, expected_data_out, &self.inventory) {
            Admission::Complete(complete) => {
                respond(session, task, complete, None);
                if is_in_set {
                    self.finished(lun, task, session);
                }
                return;
            }
            Admission::Ready(prepared) => prepared,
        };
        let transfer_length = prepared.data_out_length();
        if transfer_length > 0 {
            if !is_in_set && let Err(refused) = slot.set.admit_running(task) {
                return respond(session, task, refusal(refused), None);
            }
            match session.solicit(task, transfer_length) {
                Some(data) => self.take_data(lun, task, prepared, data, session),
                None => drop(self.tasks.insert(task, Task { lun, state: Routed::AwaitingData { prepared } })),
            }
            return;
        }
        let data_in_length = prepared.data_in_length();
        if data_in_length > 0 && (!self.starved.is_empty() || !self.has_room_for(data_in_length)) {
            if !is_in_set && let Err(refused) = self.slots[at].set.admit_running(task) {
                return respond(session, task, refusal(refused), None);
            }
            self.tasks.insert(task, Task { lun, state: Routed::Starved { prepared } });
            return self.starved.push_back(task);
        }
        let begun = self.read_or_run(lun, task, prepared);
        if let (Eventually::Later(_), false) = (&begun.execution, is_in_set)
            && let Err(refused) = self.slots[at].set.admit_running(task)
        {
            return respond(session, task, refusal(refused), None);
        }
        self.follow(begun, session);
    }

    /// One read alone may exceed the bound, so that there is always progress.
    fn has_room_for(&self, data_in_length: u64) -> bool {
        self.reading_bytes == 0 || self.reading_bytes + data_in_length <= READING_BYTES_MAX
    }

    /// Begin what was held back for want of room: runnable commands, and reads that waited for others to end. False where
    /// there is nothing to begin, or still no room.
    pub fn start_held_back(&mut self, session: &mut Connection) -> bool {
        if self.is_held_back && session.backlog_bytes() < ANSWERS_BYTES_MAX {
            self.is_held_back = false;
            (0..self.slots.len()).for_each(|at| self.start_runnable(at, session));
            return true;
        }
        self.start_starved(session)
    }

    fn start_starved(&mut self, session: &mut Connection) -> bool {
        let Some(task) = self.starved.front().copied() else { return false };
        let Some(Task { lun, state: Routed::Starved { prepared } }) = self.tasks.remove(&task) else {
            unreachable!("a task that ends otherwise leaves the queue");
        };
        if !self.has_room_for(prepared.data_in_length()) {
            self.tasks.insert(task, Task { lun, state: Routed::Starved { prepared } });
            return false;
        }
        self.starved.pop_front();
        let begun = self.read_or_run(lun, task, prepared);
        self.follow(begun, session);
        true
    }

    fn read_or_run(&mut self, lun: u16, task: InitiatorTaskTag, prepared: Prepared) -> Begun {
        let data_in_length = prepared.data_in_length();
        let is_watch = prepared.is_watch();
        let buffer = self.spares.take(data_in_length as usize);
        let execution = prepared.execute(Payload::default(), buffer);
        Begun { lun, task, execution, is_watch, transfer_length: None, data_in_length }
    }

    /// A buffer that has been sent, for a read to come.
    pub fn give_buffer(&mut self, buffer: BytesMut) {
        self.spares.give(buffer);
    }

    /// Answer what has ended; keep what runs on.
    fn follow(&mut self, begun: Begun, session: &mut Connection) {
        let Begun { lun, task, execution, is_watch, transfer_length, data_in_length } = begun;
        match execution {
            Eventually::Now(complete) => {
                respond(session, task, complete, transfer_length);
                self.finished(lun, task, session);
            }
            Eventually::Later(future) => {
                self.next_id += 1;
                let id = self.next_id;
                let transfer_length = transfer_length.unwrap_or(0);
                let (future, handle) = abortable(future);
                let let_go = is_watch.then_some(handle);
                self.tasks.insert(task, Task { lun, state: Routed::Running { id, transfer_length, let_go } });
                self.reading_bytes += data_in_length;
                self.running.push(Box::pin(async move {
                    FinishedTask { id, task, complete: future.await.ok(), data_in_length }
                }));
            }
        }
    }

    fn finished(&mut self, lun: u16, task: InitiatorTaskTag, session: &mut Connection) {
        let Some(at) = self.slots.binary_search_by_key(&lun, |slot| slot.lun).ok() else { return };
        if self.slots[at].set.finished(task) {
            self.start_runnable(at, session);
        }
    }

    fn start_runnable(&mut self, at: usize, session: &mut Connection) {
        // A task that ends as it begins makes others runnable: they are taken up here, not ever deeper on the stack.
        if std::mem::replace(&mut self.is_starting, true) {
            return;
        }
        // A whole window may become runnable at once; its answers go out as the socket takes them.
        while session.backlog_bytes() < ANSWERS_BYTES_MAX {
            let Some(task) = self.slots[at].set.runnable() else { break };
            if let Some(Task { state: Routed::Dormant { cdb, expected_data_out }, .. }) = self.tasks.remove(&task) {
                self.begin(at, task, &cdb, expected_data_out, session, true);
            }
        }
        self.is_held_back |= self.slots[at].set.has_runnable();
        self.is_starting = false;
    }

    /// Stop everything; nothing is answered any more. For the end of the session.
    pub fn abort_everything(&mut self, session: &mut Connection) {
        self.abort_all(session);
    }

    /// Until the last command that runs has let go of its device.
    pub async fn drain(&mut self) {
        for task in self.tasks.values() {
            if let Routed::Running { let_go: Some(handle), .. } = &task.state {
                handle.abort();
            }
        }
        // Two sessions that reset each other's tasks must not wait for one another here.
        self.waiting.iter().filter_map(|waiting| waiting.let_go.as_ref()).for_each(AbortHandle::abort);
        while self.running.next().await.is_some() {}
    }

    /// Wait for a running command; pending for ever while there is none.
    pub fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<FinishedTask> {
        match self.running.poll_next_unpin(context) {
            Poll::Ready(Some(finished)) => Poll::Ready(finished),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// What [`poll_finished`](Self::poll_finished) brought.
    pub fn finish(&mut self, finished: FinishedTask, session: &mut Connection) -> Afterwards {
        let FinishedTask { id, task, complete, data_in_length } = finished;
        self.reading_bytes -= data_in_length;
        if let Some(Task { lun, state: Routed::Running { id: current, transfer_length, .. } }) = self.tasks.get(&task)
            && let (true, Some(complete)) = (*current == id, complete)
        {
            let (lun, transfer_length) = (*lun, *transfer_length);
            self.tasks.remove(&task);
            respond(session, task, complete, (transfer_length > 0).then_some(transfer_length));
            self.finished(lun, task, session);
        }
        for waiting in &mut self.waiting {
            waiting.tasks.retain(|waited| *waited != id);
        }
        self.settle_waiting(session)
    }
}

/// A running command that has ended.
#[derive(Debug)]
pub struct FinishedTask {
    id: TaskId,
    /// Reserved where it was no command.
    task: InitiatorTaskTag,
    /// Nothing: it was let go.
    complete: Option<CommandComplete>,
    data_in_length: u64,
}

/// Bytes that the reads of a session that wait for their device may bring: as many as one command may ask for at most. What
/// has been read waits elsewhere for its way out, and holds back what is not begun.
const READING_BYTES_MAX: u64 = 32 << 20;

/// Bytes of answers waiting for the socket at which a connection takes up no more commands: what a slow initiator can make it
/// hold. Reads run ahead of the socket only as far as their data is still in the processor's cache when it is sent; a line
/// is kept full by what the socket holds itself.
pub const ANSWERS_BYTES_MAX: usize = 1 << 20;

/// `data_out`: bytes the command takes from the initiator, where it got as far as taking them.
fn respond(session: &mut Connection, task: InitiatorTaskTag, complete: CommandComplete, data_out: Option<u64>) {
    let sense = complete.sense.map_or_else(Bytes::new, |sense| sense.encode(complete.descriptor_sense).into());
    let transfer_length = data_out.unwrap_or(complete.data_in.len());
    let data_in = complete.data_in.contiguous();
    session.respond(task, Answer { status: complete.status as u8, sense, data_in, transfer_length });
}

fn refusal(refused: Refused) -> CommandComplete {
    let aborted = |key, code, qualifier| {
        CommandComplete::check_condition(Sense { key, asc: Asc { code, qualifier }, information: None, specific: None })
    };
    match refused {
        Refused::Full => CommandComplete::with_status(Status::TaskSetFull),
        Refused::Overlapped => aborted(SenseKey::AbortedCommand, 0x4E, 0x00),
        Refused::AutoContingentAllegiance => aborted(SenseKey::IllegalRequest, 0x49, 0x00),
    }
}

/// RFC 7143 §11.3.1.1: "Untagged" is for the target to choose; reserved values did not pass the decoder.
fn task_attribute(attribute: pdu::TaskAttribute) -> TaskAttribute {
    match attribute {
        pdu::TaskAttribute::ORDERED => TaskAttribute::Ordered,
        pdu::TaskAttribute::HEAD_OF_QUEUE => TaskAttribute::HeadOfQueue,
        pdu::TaskAttribute::ACA => TaskAttribute::Aca,
        _ => TaskAttribute::Simple,
    }
}

/// The LUN of an inventory entry, all of which are single-level.
fn number_of(lun: u64) -> u16 {
    Lun(lun.to_be_bytes()).to_u16().expect("the configuration makes single-level LUNs only")
}
