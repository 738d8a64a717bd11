//! A node's record, map and journal: what is due is done together, after a while; of records the newest stands for all.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::Stamp;
use super::history::Moment;
use super::rng::Rng;
use crate::block::Payload;
use crate::ids::{Generation, OwnerEpoch, WriteSeq};
use crate::replica::io::{Input, Map, MapChange, MapOfVolume, MapWrite, Record, StoreFailed, StoreWrite};
use crate::replica::journal::{JournalLeft, Journalled};
use crate::wire::message::{Op, OpFrame};

#[derive(Debug, Default)]
pub struct Store {
    /// What a restart finds.
    pub durable: Option<Record>,
    due: Vec<StoreWrite>,
    newest: Option<Box<Record>>,
    under_way: Option<(Vec<StoreWrite>, Box<Record>)>,
    /// The last one could not be written.
    has_failed: bool,
    /// The record is from before the last power cut.
    pub is_of_former_boot: bool,
}

impl Store {
    pub fn push(&mut self, write: StoreWrite, record: Box<Record>) {
        self.due.push(write);
        self.newest = Some(record);
    }

    /// True: what is due is under way from now on, and ends some time.
    pub fn begin(&mut self) -> bool {
        if self.under_way.is_some() {
            return false;
        }
        let Some(record) = self.newest.take() else { return false };
        self.under_way = Some((std::mem::take(&mut self.due), record));
        true
    }

    pub fn end(&mut self, result: Result<(), StoreFailed>) -> Vec<Input> {
        let Some((writes, record)) = self.under_way.take() else { return Vec::new() };
        self.has_failed = result.is_err();
        if result.is_ok() {
            self.durable = Some(*record);
            self.is_of_former_boot = false;
        }
        writes.into_iter().map(|write| Input::Stored { write, result }).collect()
    }

    /// All that its node wanted on record is.
    pub fn is_settled(&self) -> bool {
        self.under_way.is_none() && self.newest.is_none() && !self.has_failed
    }

    /// The file is replaced whole or not at all.
    pub fn dies(&mut self, replaced: bool) {
        if let Some((_, record)) = self.under_way.take()
            && replaced
        {
            self.durable = Some(*record);
        }
        (self.due, self.newest, self.has_failed) = (Vec::new(), None, false);
    }
}

/// A node's map: what is due is written together, first its dirty words, then its hot bits; any part of either may be there
/// after a crash or a failure, and goes with what is written next.
#[derive(Debug)]
pub struct Maps {
    /// What a restart finds.
    pub durable: Map,
    /// With all that was ever due.
    image: Map,
    due: Vec<(MapWrite, Box<MapChange>)>,
    under_way: Option<(Vec<MapWrite>, Map)>,
}

impl Maps {
    /// Blocks, and blocks in a region.
    pub fn new(volumes: &[u64], region: u64) -> Maps {
        let volumes = volumes.iter().map(|blocks| {
            let regions = blocks.div_ceil(region);
            MapOfVolume { hot: vec![0; regions.div_ceil(64) as usize], dirty: vec![0; regions as usize] }
        });
        let map = Map { volumes: volumes.collect() };
        Maps { durable: map.clone(), image: map, due: Vec::new(), under_way: None }
    }

    pub fn push(&mut self, write: MapWrite, change: Box<MapChange>) {
        self.due.push((write, change));
    }

    /// True: what is due is under way from now on, and ends some time.
    pub fn begin(&mut self) -> bool {
        if self.under_way.is_some() || self.due.is_empty() {
            return false;
        }
        let (writes, changes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.due).into_iter().unzip();
        changes.iter().for_each(|change| apply(&mut self.image, change));
        self.under_way = Some((writes, self.image.clone()));
        true
    }

    pub fn end(&mut self, result: Result<(), StoreFailed>, rng: &mut Rng) -> Vec<Input> {
        let Some((writes, image)) = self.under_way.take() else { return Vec::new() };
        match result {
            Ok(()) => self.durable = image,
            Err(StoreFailed) => self.lands_in_part(&image, rng),
        }
        writes.into_iter().map(|write| Input::Mapped { write, result }).collect()
    }

    pub fn dies(&mut self, rng: &mut Rng) {
        if let Some((_, image)) = self.under_way.take() {
            self.lands_in_part(&image, rng);
        }
        self.due.clear();
        self.image = self.durable.clone();
    }

    fn lands_in_part(&mut self, image: &Map, rng: &mut Rng) {
        let all_dirty = rng.coin();
        for (durable, new) in self.durable.volumes.iter_mut().zip(&image.volumes) {
            for (word, new) in durable.dirty.iter_mut().zip(&new.dirty) {
                if all_dirty || rng.coin() {
                    *word = *new;
                }
            }
            for (word, new) in durable.hot.iter_mut().zip(&new.hot).filter(|_| all_dirty) {
                let mask = rng.draw();
                *word = *word & !mask | *new & mask;
            }
        }
    }
}

fn apply(map: &mut Map, change: &MapChange) {
    if change.clear {
        for volume in &mut map.volumes {
            volume.hot.fill(0);
            volume.dirty.fill(0);
        }
    }
    if change.all_dirty {
        map.volumes.iter_mut().for_each(|volume| volume.dirty.fill(u64::MAX));
    }
    for &(region, word) in &change.dirty {
        map.volumes[usize::from(region.volume.0)].dirty[region.index as usize] = word;
    }
    for &(region, hot) in &change.hot {
        let word = &mut map.volumes[usize::from(region.volume.0)].hot[(region.index / 64) as usize];
        let bit = 1 << (region.index % 64);
        *word = if hot { *word | bit } else { *word & !bit };
    }
}

/// The undo stores, all in one.
#[derive(Debug, Default)]
pub struct Aside {
    /// Of which something was put there last.
    pub resync: Option<Generation>,
    /// What was in which block of which volume.
    pub blocks: BTreeSet<(usize, usize, Stamp)>,
    /// When something could not be put there.
    pub failed: Option<Moment>,
}

#[derive(Debug)]
pub enum Order {
    Put(u16, Box<OpFrame>),
    Get(u16, WriteSeq),
    Trim(WriteSeq),
}

/// The journal: as its keeper does, all that is due is obeyed together, in its order, and the medium waited for once.
#[derive(Debug, Default)]
pub struct Journal {
    /// As appended; those that are trimmed may be there all the same, as long as others of their segment are not.
    log: Vec<OpFrame>,
    writes: BTreeMap<WriteSeq, Payload>,
    due: Vec<Order>,
    under_way: Vec<Order>,
}

impl Journal {
    pub fn push(&mut self, order: Order) {
        self.due.push(order);
    }

    /// True: what is due is under way from now on, and ends some time.
    pub fn begin(&mut self) -> bool {
        if !self.under_way.is_empty() {
            return false;
        }
        self.under_way = std::mem::take(&mut self.due);
        !self.under_way.is_empty()
    }

    /// How many orders are.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// `failed`: of each of them.
    pub fn end(&mut self, failed: &[bool]) -> Vec<Input> {
        let orders = std::mem::take(&mut self.under_way);
        orders.into_iter().zip(failed).filter_map(|(order, &failed)| self.obey(order, failed)).collect()
    }

    fn obey(&mut self, order: Order, failed: bool) -> Option<Input> {
        let failure = failed.then_some(StoreFailed);
        match order {
            Order::Put(run, frame) => {
                let seq = frame.seq;
                if failure.is_none() {
                    self.append(*frame);
                }
                Some(Input::Spilled { run, seq, result: failure.map_or(Ok(()), Err) })
            }
            Order::Get(run, seq) => {
                let found = self.writes.get(&seq).cloned().ok_or(StoreFailed);
                Some(Input::Unspilled { run, seq, result: failure.map_or(found, Err) })
            }
            Order::Trim(upto) => {
                self.writes.retain(|seq, _| *seq > upto);
                if self.writes.is_empty() {
                    self.log.clear();
                }
                None
            }
        }
    }

    fn append(&mut self, frame: OpFrame) {
        if let Op::Write { data, .. } = &frame.op {
            self.writes.insert(frame.seq, data.clone());
        }
        self.log.push(frame);
    }

    /// Of what is under way a part may be done, from its beginning; with the machine goes what was not committed.
    pub fn dies(&mut self, power: bool, rng: &mut Rng) {
        let orders = std::mem::take(&mut self.under_way);
        let done = rng.below(orders.len() as u64 + 1) as usize;
        for order in orders.into_iter().take(done) {
            self.obey(order, false);
        }
        if power {
            self.log.truncate(rng.below(self.log.len() as u64 + 1) as usize);
        }
        self.due.clear();
    }

    /// As a process that starts finds it.
    pub fn open(&mut self, epoch: Option<OwnerEpoch>, writes_max: usize) -> Option<JournalLeft> {
        let log = std::mem::take(&mut self.log);
        self.writes.clear();
        let of_epoch = log.iter().filter(|frame| Some(frame.epoch) == epoch);
        let found = of_epoch.map(|frame| (frame.seq, Journalled::of(frame))).collect();
        let former = JournalLeft::longest_run(epoch?, found, writes_max)?;
        for frame in log {
            if let (Some(seq), Op::Write { data, .. }) = (former.renumbered(frame.seq), frame.op) {
                self.writes.insert(seq, data);
            }
        }
        Some(former)
    }
}
