//! What the group's lock guards, and what one round under it leaves to be carried out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::ops::{CommandAnswer, Commands, FetchAnswer, Fetches, HostAnswer, HostOps};
use super::{PeerSession, aside, keepers};
use crate::ids::{SessionId, Slot, VolumeIndex};
use crate::replica::Replica;
use crate::replica::io::{Event, Input, LocalAction, LocalIo, Misbehaviour, Output, Standing};
use crate::wire::message::{MarkKind, Message};

#[derive(Debug)]
pub(super) struct Core {
    pub replica: Replica,
    session: Option<(SessionId, Arc<dyn PeerSession>)>,
    pub hosts: HostOps,
    pub fetches: Fetches,
    pub commands: Commands,
    pub records: keepers::RecordsDue,
    /// In the order in which they are to become durable.
    pub maps: Vec<keepers::MapDue>,
    /// In the order in which they are to be carried out. Payloads among them are those of the replica's queue and bounded
    /// with it.
    pub spills: Vec<keepers::JournalOrder>,
    /// In the order in which they are to be carried out. A resync has begun for each: the next waits for it.
    pub asides: Vec<aside::Order>,
    /// In the order in which the observer is to see them; each turn empties it.
    pub notices: VecDeque<Notice>,
    /// The time as last seen. Threads read the clock before they take turns: it must not run backwards for that.
    pub now: Instant,
    /// When the timekeeper wakes by itself.
    pub armed: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum Notice {
    Standing(Standing),
    Marked { volume: VolumeIndex, kind: MarkKind, data: Bytes },
}

/// Collected under the lock, carried out without it.
#[derive(Default)]
pub(super) struct Batch {
    /// There where it may be needed.
    pub session: Option<Arc<dyn PeerSession>>,
    pub sends: SmallVec<[(Slot, Message); 2]>,
    pub local: SmallVec<[(LocalIo, LocalAction); 2]>,
    pub hosts: SmallVec<[HostAnswer; 2]>,
    pub rare: Option<Box<Rare>>,
}

/// What no write in good order leads to.
#[derive(Default)]
pub(super) struct Rare {
    pub fetched: Vec<FetchAnswer>,
    pub commands: Vec<CommandAnswer>,
    pub events: Vec<Event>,
    pub misbehaved: Vec<Misbehaviour>,
    pub notices: bool,
    pub begins_anew: bool,
    pub wakes: Wakes,
}

/// Which tasks have something to do.
#[derive(Clone, Copy, Default)]
pub(super) struct Wakes {
    pub records: bool,
    pub maps: bool,
    pub spills: bool,
    pub asides: bool,
    pub timer: bool,
}

impl Batch {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl Core {
    pub fn new(replica: Replica, now: Instant) -> Core {
        Core {
            replica,
            session: None,
            hosts: HostOps::default(),
            fetches: Fetches::default(),
            commands: Commands::default(),
            records: keepers::RecordsDue::default(),
            maps: Vec::new(),
            spills: Vec::new(),
            asides: Vec::new(),
            notices: VecDeque::new(),
            now,
            armed: None,
        }
    }

    pub fn handle(&mut self, input: Input) {
        self.replica.handle(self.now, input);
    }

    pub fn is_current(&self, session: SessionId) -> bool {
        self.session.as_ref().is_some_and(|(current, _)| *current == session)
    }

    /// The former session, if any, has ended.
    pub fn replace_session(&mut self, session: Option<Arc<dyn PeerSession>>) {
        if self.session.take().is_some() {
            self.handle(Input::SessionDown);
        }
        self.session = session.map(|session| (session.id(), session));
    }

    /// Collect what the inputs led to. False: local work of this round may yet be answered within the turn. True: the turn
    /// is over.
    pub fn end_round(&mut self, batch: &mut Batch) -> bool {
        self.collect(batch);
        if batch.local.is_empty() {
            self.replica.end_turn(self.now);
            self.collect(batch);
        }
        if !batch.sends.is_empty() || batch.rare.is_some() {
            batch.session = self.session.as_ref().map(|(_, session)| session.clone());
        }
        let due = self.replica.poll_timeout();
        if due.is_some_and(|due| self.armed.is_none_or(|armed| due < armed)) {
            self.armed = due;
            batch.rare().wakes.timer = true;
        }
        batch.local.is_empty()
    }

    fn collect(&mut self, batch: &mut Batch) {
        while let Some(output) = self.replica.poll_output() {
            self.collect_one(output, batch);
        }
    }

    fn collect_one(&mut self, output: Output, batch: &mut Batch) {
        match output {
            Output::Send { slot, message } => batch.sends.push((slot, message)),
            Output::Local { io, action } => batch.local.push((io, action)),
            Output::Complete { op, result } => batch.hosts.extend(self.hosts.answer(op, result)),
            Output::Fetched { op, result } => batch.rare().fetched.extend(self.fetches.answer(op, result)),
            Output::Answer { id, result } => batch.rare().commands.extend(self.commands.answer(id, result)),
            Output::Store { write, record } => {
                self.records.push(write, record);
                batch.rare().wakes.records = true;
            }
            Output::Map { write, change } => {
                self.maps.push((write, change));
                batch.rare().wakes.maps = true;
            }
            Output::Spill { run, frame } => self.spill(keepers::JournalOrder::Put(run, frame), batch),
            Output::Unspill { run, seq } => self.spill(keepers::JournalOrder::Get(run, seq), batch),
            Output::TrimSpill { upto } => self.spill(keepers::JournalOrder::Trim(upto), batch),
            Output::KeepAside(keep) => self.put_aside(aside::Order::Keep(keep), batch),
            Output::Resynced => self.put_aside(aside::Order::Settle, batch),
            Output::BeginAnew => batch.rare().begins_anew = true,
            Output::Standing(standing) => self.notify(Notice::Standing(standing), batch),
            Output::Marked { volume, kind, data } => self.notify(Notice::Marked { volume, kind, data }, batch),
            Output::Event(event) => batch.rare().events.push(event),
            Output::Misbehaved(how) => batch.rare().misbehaved.push(how),
        }
    }

    fn spill(&mut self, order: keepers::JournalOrder, batch: &mut Batch) {
        self.spills.push(order);
        batch.rare().wakes.spills = true;
    }

    fn put_aside(&mut self, order: aside::Order, batch: &mut Batch) {
        self.asides.push(order);
        batch.rare().wakes.asides = true;
    }

    fn notify(&mut self, notice: Notice, batch: &mut Batch) {
        self.notices.push_back(notice);
        batch.rare().notices = true;
    }
}
