//! Where hosts write: regions that are on record as hot before the first write to them, so that whoever finds the map after a
//! crash knows where the copies may differ. Pure.
//!
//! ```text
//!   write ─► region hot? ─ yes ─► numbered                       ┌──────────── written again ────────────┐
//!               └ no ─► waits ─► map: hot ─► numbered            ▼                                       │
//!   hot ─ not written for a while ─► flush here ─► what the peer lacks of it becomes dirty bits ─► map: cool
//! ```
//!
//! A region cools only when every write to it is on the medium here, and either on the peer's too or among the dirty bits.
//! So at any moment {blocks that differ} lie in hot regions or under dirty bits of one map or the other.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::dirty::DirtyMap;
use super::io::{Event, HostChange, HostOp, LocalAction, Map, MapChange, MapWrite, Output, Region, StoreFailed};
use super::local_work::LocalWork;
use super::machine::Replica;
use super::owner::Owner;
use super::planted::Fault;
use super::records::Then;
use super::status::MapStatus;
use crate::block::BlockError;
use crate::config::VolumeSpec;
use crate::extent::Extent;
use crate::ids::VolumeIndex;

/// What the map has on disk, as far as it matters here, and what waits for it.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    volumes: Vec<Regions>,
    hot: u64,
    /// More hot regions than this are cooled even when they are in use.
    hot_max: u64,
    /// Regions with dirty bits in the map.
    recorded: u64,
    /// In the order in which they came. As many as hosts have under way.
    waiting: VecDeque<(HostOp, HostChange, Instant)>,
    heating: Option<(MapWrite, Vec<Region>)>,
    sweep: Sweep,
    due: Option<Instant>,
    writes: u64,
}

/// Of one volume, one bit a region.
#[derive(Clone, Debug)]
struct Regions {
    hot: Vec<u64>,
    /// Written since the last sweep began.
    used: Vec<u64>,
    recorded: Vec<u64>,
    count: u64,
    /// Blocks in a region, as a shift.
    shift: u32,
}

#[derive(Clone, Debug)]
enum Sweep {
    No,
    /// These are to be cooled once all that was written there is on the medium.
    Flushing(Vec<Region>),
    Recording(MapWrite),
}

impl Activity {
    pub fn new(volumes: &[VolumeSpec], piece_bytes: u64, hot_max: u64) -> Activity {
        let volumes = volumes.iter().map(|volume| {
            let shift = piece_bytes.trailing_zeros() + 6 - volume.block_length.shift();
            let count = volume.capacity.0.div_ceil(1 << shift);
            let empty = vec![0; count.div_ceil(64) as usize];
            Regions { hot: empty.clone(), used: empty.clone(), recorded: empty, count, shift }
        });
        Activity {
            volumes: volumes.collect(),
            hot: 0,
            hot_max,
            recorded: 0,
            waiting: VecDeque::new(),
            heating: None,
            sweep: Sweep::No,
            due: None,
            writes: 0,
        }
    }

    /// What the last run left. Where its copy may differ from the peer's goes into `suspects`.
    pub fn restore(&mut self, map: &Map, suspects: &mut DirtyMap) {
        for (volume, (regions, left)) in self.volumes.iter_mut().zip(&map.volumes).enumerate() {
            let volume = VolumeIndex(volume as u16);
            for index in 0..regions.count {
                let region = Region { volume, index };
                let is_hot = left.hot.get((index / 64) as usize).is_some_and(|word| word & (1 << (index % 64)) != 0);
                let dirty = left.dirty.get(index as usize).copied().unwrap_or_default();
                if is_hot {
                    set(&mut regions.hot, index);
                    self.hot += 1;
                    suspects.add_word(region, u64::MAX);
                }
                if dirty != 0 {
                    set(&mut regions.recorded, index);
                    self.recorded += 1;
                    suspects.add_word(region, dirty);
                }
            }
        }
    }

    pub fn told(&self) -> MapStatus {
        MapStatus { hot_regions: self.hot, dirty_regions: self.recorded }
    }

    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Since when the oldest host has waited for the map.
    pub fn waits_since(&self) -> Option<Instant> {
        self.waiting.front().map(|(.., since)| *since)
    }

    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hosts may write there now. Remembered as use.
    fn admits(&mut self, change: &HostChange) -> bool {
        let Some((volume, extent)) = change.place().filter(|(_, extent)| !extent.is_empty()) else { return true };
        let regions = &mut self.volumes[usize::from(volume.0)];
        let (first, last) = regions.of(extent);
        let mut is_hot = true;
        for index in first..=last {
            is_hot &= has(&regions.hot, index);
            set(&mut regions.used, index);
        }
        is_hot
    }

    fn regions_of(&self, change: &HostChange) -> impl Iterator<Item = Region> + use<'_> {
        let place = change.place().filter(|(_, extent)| !extent.is_empty());
        place.into_iter().flat_map(|(volume, extent)| {
            let (first, last) = self.volumes[usize::from(volume.0)].of(extent);
            (first..=last).map(move |index| Region { volume, index })
        })
    }

    fn is_hot(&self, region: Region) -> bool {
        has(&self.volumes[usize::from(region.volume.0)].hot, region.index)
    }

    fn is_used(&self, region: Region) -> bool {
        has(&self.volumes[usize::from(region.volume.0)].used, region.index)
    }

    fn set_hot(&mut self, region: Region, hot: bool) {
        let bits = &mut self.volumes[usize::from(region.volume.0)].hot;
        if has(bits, region.index) != hot {
            if hot {
                set(bits, region.index);
                self.hot += 1;
            } else {
                unset(bits, region.index);
                self.hot -= 1;
            }
        }
    }

    fn set_recorded(&mut self, region: Region, dirty: bool) {
        let bits = &mut self.volumes[usize::from(region.volume.0)].recorded;
        if has(bits, region.index) != dirty {
            if dirty {
                set(bits, region.index);
                self.recorded += 1;
            } else {
                unset(bits, region.index);
                self.recorded -= 1;
            }
        }
    }

    fn write(&mut self, change: MapChange) -> (MapWrite, Output) {
        self.writes += 1;
        let write = MapWrite(self.writes);
        (write, Output::Map { write, change: Box::new(change) })
    }

    /// Everything hot, as dirty pieces.
    pub fn add_hot_to(&self, dirty: &mut DirtyMap) {
        self.all(|regions| &regions.hot).for_each(|region| dirty.add_word(region, u64::MAX));
    }

    fn all(&self, bits: impl Fn(&Regions) -> &Vec<u64>) -> impl Iterator<Item = Region> {
        self.volumes.iter().enumerate().flat_map(move |(volume, regions)| {
            let volume = VolumeIndex(volume as u16);
            ones(bits(regions)).map(move |index| Region { volume, index })
        })
    }

    /// Hot, and not written since the last sweep; all the hot where there are too many. Use counts anew from now on.
    fn idle(&mut self) -> Vec<Region> {
        let mut idle: Vec<Region> =
            self.all(|regions| &regions.hot).filter(|region| !self.is_used(*region)).take(SWEEP_MAX).collect();
        let wanted = self.hot.saturating_sub(self.hot_max / 4 * 3) as usize;
        if self.hot > self.hot_max && idle.len() < wanted {
            let used = self.all(|regions| &regions.hot).filter(|region| self.is_used(*region));
            idle.extend(used.take(wanted - idle.len()).collect::<Vec<_>>());
        }
        self.volumes.iter_mut().for_each(|regions| regions.used.fill(0));
        idle
    }

    /// Sweep again then.
    fn rest(&mut self, now: Instant, pause: Duration) {
        self.sweep = Sweep::No;
        self.due = (self.hot + self.recorded > 0).then_some(now + pause);
    }
}

impl Regions {
    /// The first and the last that the extent touches.
    fn of(&self, extent: Extent) -> (u64, u64) {
        (extent.lba().0 >> self.shift, (extent.end().0 - 1) >> self.shift)
    }
}

impl Replica {
    pub(super) fn submit(&mut self, now: Instant, op: HostOp, change: HostChange) {
        if self.activity.admits(&change) || self.is_through_on_record() || self.planted.has(Fault::SkipActivity) {
            self.with_owner(now, |owner, cx| owner.submit(cx, op, change));
        } else {
            self.activity.waiting.push_back((op, change, now));
            self.heat(now);
        }
    }

    /// One change at a time is on its way; what comes meanwhile goes with the next, all together.
    fn heat(&mut self, now: Instant) {
        let activity = &mut self.activity;
        if activity.heating.is_some() || activity.waiting.is_empty() {
            return;
        }
        let wanted = activity.waiting.iter().flat_map(|(_, change, _)| activity.regions_of(change));
        let mut cold: Vec<Region> = wanted.filter(|region| !activity.is_hot(*region)).collect();
        cold.sort_unstable();
        cold.dedup();
        let hot = cold.iter().map(|region| (*region, true)).collect();
        let (write, output) = activity.write(MapChange { hot, ..MapChange::default() });
        activity.heating = Some((write, cold));
        self.outputs.push_back(output);
        self.sweep_soon(now);
    }

    pub(super) fn mapped(&mut self, now: Instant, write: MapWrite, result: Result<(), StoreFailed>) {
        if let Some((_, regions)) = self.activity.heating.take_if(|(heating, _)| *heating == write) {
            match result {
                Ok(()) => regions.into_iter().for_each(|region| self.activity.set_hot(region, true)),
                // Hosts come again; what is theirs is not written where nobody would look for it.
                Err(StoreFailed) => self.refuse_waiting(BlockError::Stalled),
            }
            self.admit_waiting(now);
            self.heat(now);
        }
        if matches!(self.activity.sweep, Sweep::Recording(recording) if recording == write) {
            let more = self.activity.hot > self.activity.hot_max;
            self.activity.rest(now, if more { SWEEP_SOON } else { SWEEP_EVERY });
        }
        if self.everything_due == Some(write) && result.is_ok() {
            self.everything_due = None;
            self.store(Then::Nothing);
        }
        if let Some((_, id)) = self.last_record.take_if(|(clearing, _)| *clearing == write) {
            // Written or not: a map that says too much costs a resync, and nothing else.
            self.store_as(true, Then::Answer(id));
        }
        if result.is_err() {
            // Whether it is there or not: what is dirty in memory is recorded again some day.
            self.sweep_soon(now);
        }
    }

    pub(super) fn admit_waiting(&mut self, now: Instant) {
        for (op, change, since) in std::mem::take(&mut self.activity.waiting) {
            if self.activity.admits(&change) || self.is_through_on_record() {
                self.with_owner(now, |owner, cx| owner.submit(cx, op, change));
            } else {
                self.activity.waiting.push_back((op, change, since));
            }
        }
    }

    /// A map that is not written in time, or hangs: hosts are told BUSY, and come again.
    pub(super) fn see_to_those_who_wait_for_the_map(&mut self, now: Instant) {
        let max_stall = self.policy.max_stall;
        while self.activity.waits_since().is_some_and(|since| since + max_stall <= now) {
            let late = self.activity.waiting.pop_front();
            let busy = |(op, ..): (HostOp, _, _)| Output::Complete { op, result: Err(BlockError::Stalled) };
            self.outputs.extend(late.map(busy));
        }
    }

    /// Hosts whose writes wait for the map are told so.
    pub(super) fn refuse_waiting(&mut self, error: BlockError) {
        let waiting = self.activity.waiting.drain(..);
        self.outputs.extend(waiting.map(|(op, ..)| Output::Complete { op, result: Err(error) }));
    }

    /// The peer has all it lacked, and a moment later on its medium: the map says so before long.
    pub(super) fn sweep_after_resync(&mut self, now: Instant) {
        let due = now + SWEEP_AFTER_RESYNC;
        self.activity.due = Some(self.activity.due.map_or(due, |former| former.min(due)));
    }

    fn sweep_soon(&mut self, now: Instant) {
        let activity = &mut self.activity;
        let due = now + if activity.hot > activity.hot_max { SWEEP_SOON } else { SWEEP_EVERY };
        activity.due = Some(activity.due.map_or(due, |former| former.min(due)));
    }

    // Cooling.

    pub(super) fn sweep(&mut self, now: Instant) {
        if self.activity.due.is_none_or(|due| due > now) {
            return;
        }
        self.activity.due = None;
        if !matches!(self.activity.sweep, Sweep::No) {
            return;
        }
        let Some(owner) = self.owner.as_ref().filter(|owner| !owner.is_unflushed) else { return };
        let mut chosen = self.activity.idle();
        chosen.retain(|region| !owner.is_active_in(*region));
        let is_clean = |region: &Region| owner.dirty.word(*region) | owner.undurable.word(*region) == 0;
        let recorded = self.activity.all(|regions| &regions.recorded);
        let stale = recorded.filter(|region| !self.activity.is_hot(*region) && is_clean(region));
        chosen.extend(stale.take(SWEEP_MAX).collect::<Vec<_>>());
        if chosen.is_empty() {
            return self.activity.rest(now, SWEEP_EVERY);
        }
        self.activity.sweep = Sweep::Flushing(chosen);
        let io = LocalWork::Sweep.io(self.run, 0);
        if self.planted.has(Fault::CoolUnflushed) {
            return self.swept(now, Ok(()));
        }
        self.outputs.push_back(Output::Local { io, action: LocalAction::Flush { volume: None } });
    }

    /// All that had been written when the sweep began is on the medium.
    pub(super) fn swept(&mut self, now: Instant, result: Result<(), BlockError>) {
        let Sweep::Flushing(mut chosen) = std::mem::replace(&mut self.activity.sweep, Sweep::No) else { return };
        let Some(owner) = self.owner.as_mut() else { return };
        if let Err(error) = result {
            owner.is_unflushed = true;
            self.outputs.push_back(Output::Event(Event::LocalFailed { error }));
            // Nobody knows which of what hosts wrote the medium lacks; the peer's has it, or will.
            return self.with_owner(now, |owner, cx| _ = owner.try_through(cx, error));
        }
        if owner.is_through() {
            return;
        }
        chosen.retain(|region| !self.activity.is_used(*region) && !owner.is_active_in(*region));
        let dirty = match self.planted.has(Fault::CoolForgetful) {
            true => chosen.iter().map(|region| (*region, 0)).collect(),
            false => owner.lacking(&chosen),
        };
        let hot = chosen.iter().filter(|region| self.activity.is_hot(**region)).map(|region| (*region, false));
        let change = MapChange { hot: hot.collect(), dirty: dirty.into_iter().collect(), ..MapChange::default() };
        for (region, word) in &change.dirty {
            self.activity.set_recorded(*region, *word != 0);
            self.activity.set_hot(*region, false);
        }
        let (write, output) = self.activity.write(change);
        self.activity.sweep = Sweep::Recording(write);
        self.outputs.push_back(output);
    }

    /// Both copies are alike, and on both media. `None`: the map says so already.
    pub(super) fn clear_map(&mut self) -> Option<MapWrite> {
        self.suspects.clear();
        let activity = &mut self.activity;
        activity.sweep = Sweep::No;
        activity.due = None;
        // What is on its way to be hot is cleared right behind.
        activity.heating = None;
        if activity.hot + activity.recorded == 0 {
            return None;
        }
        for regions in &mut activity.volumes {
            regions.hot.fill(0);
            regions.recorded.fill(0);
        }
        (activity.hot, activity.recorded) = (0, 0);
        let (write, output) = activity.write(MapChange { clear: true, ..MapChange::default() });
        self.outputs.push_back(output);
        Some(write)
    }

    /// The peer gets every block: so the map says, before the record says that the map counts.
    pub(super) fn record_everything(&mut self) {
        let activity = &mut self.activity;
        activity.recorded = 0;
        for regions in &mut activity.volumes {
            regions.recorded.fill(0);
            (0..regions.count).for_each(|index| set(&mut regions.recorded, index));
            activity.recorded += regions.count;
        }
        let (write, output) = activity.write(MapChange { all_dirty: true, ..MapChange::default() });
        self.everything_due = Some(write);
        self.outputs.push_back(output);
    }

    /// The reign ends, and not everything is with the peer: where the copies may differ is remembered.
    pub(super) fn suspect_all_that_lacks(&mut self) {
        self.activity.sweep = Sweep::No;
        if let Some(owner) = &self.owner {
            owner.add_lacking_to(&mut self.suspects);
        }
        self.activity.add_hot_to(&mut self.suspects);
    }

    /// The map counts from the beginning of this reign on.
    pub(super) fn sweep_begins(&mut self, now: Instant) {
        self.activity.rest(now, SWEEP_EVERY);
    }
}

impl Owner {
    fn is_active_in(&self, region: Region) -> bool {
        let shift = self.dirty.region_shift(region.volume);
        let (start, end) = (region.index << shift, (region.index + 1) << shift);
        self.is_any_active(region.volume, start, end)
    }

    /// What the peer lacks of these, or has not on its medium.
    fn lacking(&self, regions: &[Region]) -> BTreeMap<Region, u64> {
        let word = |region: &Region| (*region, self.dirty.word(*region) | self.undurable.word(*region));
        let mut words: BTreeMap<Region, u64> = regions.iter().map(word).collect();
        self.for_each_queued(|volume, extent| {
            for (region, mask) in self.dirty.masks(volume, extent) {
                words.entry(region).and_modify(|word| *word |= mask);
            }
        });
        words
    }

    fn add_lacking_to(&self, dirty: &mut DirtyMap) {
        dirty.add(&self.dirty);
        self.undurable.add_to(dirty);
        self.for_each_queued(|volume, extent| dirty.set(volume, extent));
    }

    /// What is in the ring and not applied by the peer.
    fn for_each_queued(&self, mut found: impl FnMut(VolumeIndex, Extent)) {
        for seq in self.ring.base() + 1..self.ring.next() {
            let place = self.ring.get(seq).filter(|entry| !entry.applied).and_then(|entry| entry.op.place());
            if let Some((volume, range)) = place
                && let Ok(extent) = Extent::new(range.lba, range.blocks, self.volumes[usize::from(volume.0)].capacity)
            {
                found(volume, extent);
            }
        }
    }
}

fn has(bits: &[u64], index: u64) -> bool {
    bits[(index / 64) as usize] & (1 << (index % 64)) != 0
}

fn set(bits: &mut [u64], index: u64) {
    bits[(index / 64) as usize] |= 1 << (index % 64);
}

fn unset(bits: &mut [u64], index: u64) {
    bits[(index / 64) as usize] &= !(1 << (index % 64));
}

fn ones(bits: &[u64]) -> impl Iterator<Item = u64> {
    bits.iter()
        .zip(0..)
        .filter(|(word, _)| **word != 0)
        .flat_map(|(&word, at)| (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| 64 * at + bit))
}

/// Between two sweeps, and so how long a region stays hot without being written.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A receiver flushes within a second.
const SWEEP_AFTER_RESYNC: Duration = Duration::from_millis(1500);
/// Where more are hot than should be.
const SWEEP_SOON: Duration = Duration::from_millis(50);
/// Regions taken up by one sweep for being idle, or for being clean.
const SWEEP_MAX: usize = 4096;
