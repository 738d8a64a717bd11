//! The group's own tasks: one keeps time, one writes records, one keeps the journal. None of them keeps the group alive.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use super::Group;
use super::core::Wakes;
use crate::ids::{GroupName, WriteSeq};
use crate::replica::io::{Input, MapChange, MapWrite, Record, StoreFailed, StoreWrite};
use crate::store::{Journal, JournalError, MapFile, RecordStore};
use crate::wire::message::OpFrame;

#[derive(Debug, Default)]
pub(super) struct Signals {
    timer: Notify,
    records: Notify,
    maps: Notify,
    spills: Notify,
    pub asides: Notify,
}

impl Signals {
    pub fn wake(&self, wakes: Wakes) {
        if wakes.timer {
            self.timer.notify_one();
        }
        if wakes.records {
            self.records.notify_one();
        }
        if wakes.maps {
            self.maps.notify_one();
        }
        if wakes.spills {
            self.spills.notify_one();
        }
        if wakes.asides {
            self.asides.notify_one();
        }
    }

    /// The group is gone.
    pub fn end(&self) {
        self.wake(Wakes { records: true, maps: true, spills: true, asides: true, timer: true });
    }
}

/// Records to be written. The newest says all that those before it said, so that it alone is written for all of them.
#[derive(Debug, Default)]
pub(super) struct RecordsDue {
    pub writes: SmallVec<[StoreWrite; 4]>,
    pub newest: Option<Box<Record>>,
}

impl RecordsDue {
    pub fn push(&mut self, write: StoreWrite, record: Box<Record>) {
        self.writes.push(write);
        self.newest = Some(record);
    }
}

#[derive(Debug)]
pub(super) enum JournalOrder {
    Put(u16, Box<OpFrame>),
    Get(u16, WriteSeq),
    Trim(WriteSeq),
}

/// Sleep until the replica's next timeout, or until an earlier one is set.
pub(super) async fn keep_time(group: Weak<Group>, signals: Arc<Signals>) {
    loop {
        let Some(due) = group.upgrade().map(|group| group.time_passes()) else { return };
        let Some(due) = due else {
            signals.timer.notified().await;
            continue;
        };
        // A timeout that stays due is the replica's fault; it must not cost a processor.
        let due = due.max(Instant::now() + TICK);
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => (),
            () = signals.timer.notified() => (),
        }
    }
}

pub(super) async fn keep_records(group: Weak<Group>, signals: Arc<Signals>, store: RecordStore) {
    // The failure is in the log; it is not repeated until a record is written again.
    let mut failing = false;
    loop {
        let Some(due) = group.upgrade().map(|group| std::mem::take(&mut group.core.lock().records)) else { return };
        let Some(record) = due.newest else {
            signals.records.notified().await;
            continue;
        };
        let writer = store.clone();
        let saved = spawn_blocking(move || writer.save(&record)).await;
        let Some(group) = group.upgrade() else { return };
        let result = match saved {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &result
            && !failing
        {
            tracing::error!(
                group = %group.config.name, %error,
                "the group's record could not be written; it is tried again, and what depends on it waits"
            );
        }
        failing = result.is_err();
        let result = result.map_err(|_| StoreFailed);
        group.turn(
            |core| due.writes.into_iter().for_each(|write| core.handle(Input::Stored { write, result })),
            |_, ()| (),
        );
    }
}

/// Changes that came meanwhile become durable together.
pub(super) async fn keep_map(group: Weak<Group>, signals: Arc<Signals>, mut file: MapFile) {
    let mut failing = false;
    loop {
        let Some(due) = group.upgrade().map(|group| std::mem::take(&mut group.core.lock().maps)) else { return };
        if due.is_empty() {
            signals.maps.notified().await;
            continue;
        }
        let done = spawn_blocking(move || {
            let result = file.change(due.iter().map(|(_, change)| &**change));
            (file, due, result)
        });
        // It ends early only with the runtime.
        let Ok((back, due, result)) = done.await else { return };
        file = back;
        let Some(group) = group.upgrade() else { return };
        if let Err(error) = &result
            && !failing
        {
            tracing::error!(
                group = %group.config.name, %error,
                "the group's map could not be written: hosts are told BUSY where they write anew, until it can be"
            );
        }
        failing = result.is_err();
        let result = result.map_err(|_| StoreFailed);
        group.turn(
            |core| due.into_iter().for_each(|(write, _)| core.handle(Input::Mapped { write, result })),
            |_, ()| (),
        );
    }
}

/// A change of the map, and who waits for it.
pub(super) type MapDue = (MapWrite, Box<MapChange>);

pub(super) async fn keep_journal(group: Weak<Group>, signals: Arc<Signals>, file: Journal) {
    let Some(name) = group.upgrade().map(|group| group.config.name.clone()) else { return };
    let mut keeper = JournalKeeper::new(name, file);
    loop {
        let Some(orders) = group.upgrade().map(|group| std::mem::take(&mut group.core.lock().spills)) else { return };
        if orders.is_empty() {
            signals.spills.notified().await;
            continue;
        }
        let done = spawn_blocking(move || {
            let answers: Vec<Input> = orders.into_iter().filter_map(|order| keeper.obey(order)).collect();
            (keeper, answers)
        });
        // It ends early only with the runtime.
        let Ok((back, answers)) = done.await else { return };
        keeper = back;
        let Some(group) = group.upgrade() else { return };
        group.turn(|core| answers.into_iter().for_each(|answer| core.handle(answer)), |_, ()| ());
        drop(group);
        // What comes meanwhile is committed together. Nobody waits for it: the map on disk speaks of these writes as well.
        let done = spawn_blocking(move || {
            keeper.commit();
            keeper
        });
        let Ok(back) = done.await else { return };
        keeper = back;
    }
}

pub(super) struct JournalKeeper {
    file: Journal,
    group: GroupName,
    /// The failure is in the log; it is not repeated for each write until one succeeds.
    pub failing: bool,
}

impl JournalKeeper {
    pub fn new(group: GroupName, file: Journal) -> JournalKeeper {
        JournalKeeper { file, group, failing: false }
    }

    pub fn obey(&mut self, order: JournalOrder) -> Option<Input> {
        match order {
            JournalOrder::Put(run, frame) => {
                let result = self.file.append(&frame);
                let result = self.told(result, "a write could not be put into the journal");
                Some(Input::Spilled { run, seq: frame.seq, result })
            }
            JournalOrder::Get(run, seq) => {
                let result = self.file.read(seq);
                Some(Input::Unspilled {
                    run,
                    seq,
                    result: self.told(result, "a write could not be read back from the journal"),
                })
            }
            JournalOrder::Trim(upto) => {
                let result = self.file.trim(upto);
                // What could not be removed is only space.
                self.told(result, "writes could not be removed from the journal").ok();
                None
            }
        }
    }

    pub fn commit(&mut self) {
        let result = self.file.commit();
        self.told(result, "the journal could not be committed").ok();
    }

    fn told<T>(&mut self, result: Result<T, JournalError>, what: &str) -> Result<T, StoreFailed> {
        let failed = result.is_err();
        if let Err(error) = &result
            && !self.failing
        {
            tracing::error!(group = %self.group, %error, "{what}; what the queue can't hold will be resynchronized");
        }
        self.failing = failed;
        result.map_err(|_| StoreFailed)
    }
}

const TICK: Duration = Duration::from_millis(1);
