//! Hosts: each has requests under way on the node that serves, writes over its own and the others' blocks, and believes what
//! it is told.

use super::disk::{Place, stamped};
use super::node::{Open, Request};
use super::scenario::{Habits, NAMES};
use super::world::{Event, Phase, World};
use crate::block::{Allocation, BlockError, Durability};
use crate::extent::Extent;
use crate::ids::VolumeIndex;
use crate::replica::io::{HostChange, HostOp, Input};
use crate::wire::message::MarkKind;

#[derive(Debug)]
pub struct Host {
    habits: Habits,
    /// Which node it asks while that one serves.
    path: usize,
    under_way: usize,
    /// A batch is being handed over.
    asking: bool,
}

impl Host {
    pub fn new(habits: Habits) -> Host {
        Host { habits, path: 0, under_way: 0, asking: false }
    }
}

impl World {
    pub(super) fn set_out_hosts(&mut self) {
        for host in 0..self.hosts.len() {
            let habits = self.hosts[host].habits;
            for _ in 0..if habits.batches { 1 } else { habits.depth } {
                self.host_goes_on(host, 0);
            }
        }
    }

    fn host_goes_on(&mut self, host: usize, pause: u64) {
        let think = self.hosts[host].habits.think.draw(&mut self.rng);
        self.after(pause + think, Event::Host(host));
    }

    pub(super) fn host_works(&mut self, host: usize) {
        let works = matches!(self.phase, Phase::Trouble | Phase::Healing { .. });
        let Some(node) = self.path(host).filter(|_| works) else {
            return self.host_goes_on(host, RETRY);
        };
        let habits = self.hosts[host].habits;
        if !habits.batches {
            return self.host_asks(host, node);
        }
        self.hosts[host].asking = true;
        for _ in 0..habits.depth {
            // What came first may have ended the node's reign.
            if self.reigns(node) {
                self.host_asks(host, node);
            }
        }
        self.hosts[host].asking = false;
        if self.hosts[host].under_way == 0 {
            self.host_goes_on(host, 0);
        }
    }

    fn reigns(&self, node: usize) -> bool {
        self.nodes[node].is_active() && self.nodes[node].process.as_ref().is_some_and(|p| p.reign.is_some())
    }

    /// The node that serves this host.
    fn path(&mut self, host: usize) -> Option<usize> {
        let path = self.hosts[host].path;
        let found = [path, 1 - path].into_iter().find(|&node| self.reigns(node))?;
        self.hosts[host].path = found;
        Some(found)
    }

    fn host_asks(&mut self, host: usize, node: usize) {
        let habits = self.hosts[host].habits;
        let volume = self.rng.below(self.scenario.volumes.len() as u64) as usize;
        let capacity = self.scenario.volumes[volume];
        let span = if self.rng.permille(900) { habits.hot.min(capacity) } else { capacity };
        let lba = self.rng.below(span);
        let blocks = self.rng.between(1, habits.longest).min(capacity - lba);
        let place = Place { volume, lba: lba as usize, blocks: blocks as usize };
        self.hosts[host].under_way += 1;
        let dice = self.rng.below(1000);
        let (reads, flushes, marks) = (habits.reads, habits.flushes, habits.marks);
        match dice {
            _ if dice < reads => self.host_reads(host, node, place),
            _ if dice < reads + flushes => self.host_flushes(host, node, volume),
            _ if dice < reads + flushes + marks => self.host_marks(host, node, volume),
            _ => self.host_writes(host, node, place),
        }
    }

    fn reign(&mut self, node: usize) -> usize {
        self.process(node).reign.expect("hosts ask only who reigns")
    }

    fn host_writes(&mut self, host: usize, node: usize, at: Place) {
        let habits = self.hosts[host].habits;
        let zeroes = self.rng.permille(habits.zeroes);
        let durable = self.rng.permille(habits.durable);
        let reign = self.reign(node);
        let unmap = zeroes && !durable && self.rng.coin();
        let stamp = self.history.issue(reign, at, zeroes, durable);
        let (volume, extent) = (VolumeIndex(at.volume as u16), self.extent(at));
        let durability = if durable { Durability::Durable } else { Durability::Cached };
        let change = match (zeroes, unmap) {
            (true, true) => HostChange::Unmap { volume, extent },
            (true, false) => HostChange::WriteZeroes { volume, extent, allocation: Allocation::Keep, durability },
            (false, _) => HostChange::Write { volume, extent, data: stamped(&vec![stamp; at.blocks]), durability },
        };
        self.submit(host, node, Request::Write(stamp), change);
    }

    fn host_flushes(&mut self, host: usize, node: usize, volume: usize) {
        let (reign, issued) = (self.reign(node), self.history.moment());
        let change = HostChange::Flush { volume: VolumeIndex(volume as u16) };
        self.submit(host, node, Request::Flush { reign, volume, issued }, change);
    }

    fn host_marks(&mut self, host: usize, node: usize, volume: usize) {
        let (volume, kind) = (VolumeIndex(volume as u16), MarkKind(self.rng.below(2) as u8));
        let reign = self.reign(node);
        let id = self.history.issue_mark(reign, (volume, kind));
        self.process(node).marks.insert((volume, kind), id);
        let data = id.to_be_bytes().to_vec().into();
        self.submit(host, node, Request::Mark(id), HostChange::Mark { volume, kind, data });
    }

    /// The device first, then the replica is asked whether the host may see it.
    fn host_reads(&mut self, host: usize, node: usize, at: Place) {
        let (reign, issued) = (self.reign(node), self.history.now());
        let request = Request::Read { reign, at, stamps: Vec::new(), issued, is_fetched: false };
        let op = self.open(host, node, request);
        if self.process(node).replica.reads_at_peer() {
            return self.host_fetches(node, op);
        }
        let delay = self.scenario.disk[node].draw(&mut self.rng);
        let incarnation = self.nodes[node].incarnation;
        self.after(delay, Event::HostRead { node, incarnation, op });
    }

    pub(super) fn host_has_read(&mut self, node: usize, op: HostOp) {
        if self.in_trouble() && self.nodes[node].disk.strikes() {
            return self.host_fetches(node, op);
        }
        let Some(mut open) = self.process(node).open.remove(&op) else { return };
        let Request::Read { at, stamps, .. } = &mut open.request else { return };
        let at = *at;
        *stamps = self.nodes[node].disk.stamps(at).to_vec();
        let (volume, extent) = (VolumeIndex(at.volume as u16), self.extent(at));
        if !self.process(node).replica.may_read_now(volume, extent) {
            self.process(node).open.insert(op, open);
            return self.turn(node, vec![Input::Read { op, volume, extent }]);
        }
        self.answered += 1;
        self.note(&[6, op.0], |_| format!("{} lets {op:?} read at once", NAMES[node]));
        let promise = self.promise(node);
        self.close(&open, super::history::Outcome::Good, promise);
        self.check_read(node, &open);
        self.host_answered(open.host, Ok(()));
    }

    /// The device failed, or is known to have.
    pub(super) fn host_fetches(&mut self, node: usize, op: HostOp) {
        let Some(Open { request: Request::Read { at, is_fetched, .. }, .. }) = self.process(node).open.get_mut(&op)
        else {
            return;
        };
        *is_fetched = true;
        let at = *at;
        let (volume, extent) = (VolumeIndex(at.volume as u16), self.extent(at));
        self.turn(node, vec![Input::Fetch { op, volume, extent, error: BlockError::Medium }]);
    }

    fn open(&mut self, host: usize, node: usize, request: Request) -> HostOp {
        self.operator.last_op += 1;
        let op = HostOp(self.operator.last_op);
        let since = self.now;
        self.note(&[7, op.0], |_| format!("host {host} asks {} {op:?}: {request:?}", NAMES[node]));
        self.process(node).open.insert(op, Open { host, since, request });
        op
    }

    fn submit(&mut self, host: usize, node: usize, request: Request, change: HostChange) {
        let op = self.open(host, node, request);
        self.turn(node, vec![Input::Submit { op, change }]);
    }

    fn extent(&self, at: Place) -> Extent {
        at.extent(self.scenario.volumes[at.volume] as usize)
    }

    pub(super) fn host_answered(&mut self, host: usize, result: Result<(), BlockError>) {
        self.host_resumes(host, if result.is_ok() { 0 } else { RETRY });
    }

    /// Its node died: it looks for another.
    pub(super) fn host_lost(&mut self, host: usize) {
        self.host_resumes(host, RETRY);
    }

    fn host_resumes(&mut self, host: usize, pause: u64) {
        let at = &mut self.hosts[host];
        at.under_way -= 1;
        if !at.habits.batches || (at.under_way == 0 && !at.asking) {
            self.host_goes_on(host, pause);
        }
    }

    pub(super) fn hosts_are_idle(&self) -> bool {
        self.hosts.iter().all(|host| host.under_way == 0)
    }

    /// Bytes that hosts may have under way at a time, with what it costs to remember each request.
    pub(super) fn most_under_way(&self) -> u64 {
        self.hosts.iter().map(|host| host.habits.depth as u64 * (host.habits.longest * 512 + 256)).sum()
    }
}

/// After an error, or when nobody serves.
const RETRY: u64 = 20_000;
