//! I6: bounded memory, bounded waiting, and an end to all commotion.

use super::Checker;
use crate::replica::status::{GroupStatus, LinkState};
use crate::sim::Time;
use crate::sim::scenario::NAMES;
use crate::sim::world::{Pace, Phase, WATCH, World};
use crate::wire::message::{DiskState, Role};

impl World {
    /// The world's heartbeat: everything that time alone brings about.
    pub(in crate::sim) fn watch(&mut self) {
        self.after(WATCH, crate::sim::world::Event::Watch);
        if !matches!(self.phase, Phase::Silent { .. }) {
            (0..2).for_each(|node| self.check_closed(node));
        }
        (0..2).for_each(|node| self.check_waiting(node));
        (0..2).for_each(|node| self.check_fresh(node));
        self.check_pace();
        self.oversee();
        self.go_on();
    }

    /// What queues say they hold: as configured, and besides what hosts had under way when they were told not to wait any
    /// more, and what they have under way to the spill file.
    pub(super) fn check_memory(&mut self, node: usize) {
        let Some(status) = self.nodes[node].status() else { return };
        let (held, most) = (status.queue.memory_bytes, self.scenario.queue.memory + 2 * self.most_under_way() + PIECE);
        if held > most {
            self.violate(
                Checker::Memory,
                format!("{} holds {held} bytes, {most} at most were configured", NAMES[node]),
            );
        }
    }

    fn check_waiting(&mut self, node: usize) {
        let longest = self.longest_wait();
        let Some(process) = &self.nodes[node].process else { return };
        let late = process.open.iter().find(|(_, open)| self.now > open.since + longest);
        let text = late.map(|(op, open)| format!("{op:?} {:?} waits since {} ms", open.request, open.since / 1000));
        if let Some(text) = text {
            return self.violate(Checker::Answers, format!("at {}: {text}", NAMES[node]));
        }
        let late = process.commands.iter().find(|(_, (_, since))| self.now > since + COMMAND_MAX);
        let text = late.map(|(id, (command, since))| format!("{id:?} {command:?} waits since {} ms", since / 1000));
        if let Some(text) = text {
            self.violate(Checker::Answers, format!("at {}: {text}", NAMES[node]));
        }
    }

    /// `max_stall` (as long as it ever is), the detector's patience, and what devices and files take.
    fn longest_wait(&self) -> Time {
        let scenario = &self.scenario;
        let slowest = scenario.disk.iter().chain([&scenario.store, &scenario.line]).map(|delay| delay.high).max();
        let most: u64 = scenario.hosts.iter().map(|habits| habits.depth as u64).sum();
        STALL_MAX + scenario.detection + (10 + 3 * most) * slowest.unwrap_or(0) + 3_000_000
    }

    fn check_pace(&mut self) {
        let Pace { turns, answered, since } = self.pace;
        if self.now < since + 1_000_000 {
            return;
        }
        self.pace = Pace { turns: self.turns, answered: self.answered, since: self.now };
        let (turns, answered) = (self.turns - turns, self.answered - answered);
        if turns > TURNS_PER_SECOND_MAX + answered * TURNS_PER_REQUEST_MAX {
            self.violate(
                Checker::Pace,
                format!("{turns} turns in a second, in which {answered} requests were answered"),
            );
        }
    }

    fn go_on(&mut self) {
        match self.phase {
            Phase::Trouble if self.now > self.scenario.length => {
                self.phase = Phase::Healing { since: self.now };
                self.note(&[11], |_| "no more trouble".into());
            }
            Phase::Rest { .. } if self.is_quiet() => {
                self.check_alike();
                self.phase = Phase::Trouble;
            }
            Phase::Healing { since } => {
                self.mend();
                if self.now > since + self.scenario.life {
                    self.phase = Phase::Settling { since: self.now, least: u64::MAX };
                    self.note(&[12], |_| "hosts rest".into());
                }
            }
            Phase::Settling { since, least } => {
                self.mend();
                let told = self.nodes.iter().filter_map(|node| node.status()?.rpo);
                let lacks = told.map(|rpo| rpo.bytes).max();
                if let Some(lacks) = lacks.filter(|&lacks| lacks < least) {
                    self.phase = Phase::Settling { since: self.now, least: lacks };
                }
                if self.is_quiet() {
                    self.check_alike();
                    self.check_last_marks();
                    self.phase = Phase::Over;
                    if self.scenario.silent {
                        self.make_differ();
                    }
                }
                self.give_up_after(since);
            }
            Phase::Silent { since } => self.give_up_after(since),
            Phase::Trouble | Phase::Rest { .. } | Phase::Over => (),
        }
    }

    fn give_up_after(&mut self, since: Time) {
        if self.now > since + SETTLE_MAX && self.phase != Phase::Over {
            let [a, b] = [0, 1].map(|node| self.nodes[node].status().map_or("down".into(), told));
            let idle = (self.hosts_are_idle(), self.nodes.each_ref().map(|node| node.disk.is_idle()));
            let text = format!("after {} s: {a}; {b}; idle {idle:?}", SETTLE_MAX / 1_000_000);
            self.violate(Checker::Settles, text);
        }
    }

    /// The owner, where the pair says that it is one.
    pub(super) fn together(&self) -> Option<usize> {
        let [a, b] = self.nodes.each_ref().map(|node| node.process.as_ref().map(|process| process.session));
        if a != b || !matches!(a, Some(Some(_))) {
            return None;
        }
        let established = |node: &usize| {
            let Some(status) = self.nodes[*node].status() else { return false };
            let is_good = status.disk != DiskState::Failed;
            let is_established = status.role == Role::Primary && status.link == LinkState::Established;
            is_good && is_established && self.nodes[*node].is_active()
        };
        (0..2).find(established)
    }

    /// Nothing is under way, and the owner says that everything is with its peer.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(status) = self.together().and_then(|owner| self.nodes[owner].status()) else { return false };
        let done = status.applied_upto >= status.seq
            && status.queue.dirty_bytes == 0
            && status.rpo.is_some_and(|rpo| rpo.bytes == 0);
        done && self.hosts_are_idle() && self.nodes.iter().all(|node| node.disk.is_idle())
    }
}

fn told(status: &GroupStatus) -> String {
    let GroupStatus { role, disk, standing, link, paused, seq, received_upto, applied_upto, rpo, queue, .. } = status;
    let paused = if *paused { " paused" } else { "" };
    let row = status.decision.as_ref().map_or(0, |decision| decision.row);
    let rpo = rpo.map_or_else(|| "unknown".to_owned(), |rpo| rpo.bytes.to_string());
    let (dirty, memory) = (queue.dirty_bytes, queue.memory_bytes);
    format!(
        "{role:?} {disk:?} {standing:?} {link:?}{paused} row {row} {seq}/{received_upto}/{applied_upto} rpo {rpo} dirty \
         {dirty} memory {memory}"
    )
}

/// One piece of a resync, however small the queue: 256 KiB, and what an entry costs.
const PIECE: u64 = (256 << 10) + 256;
/// The greatest `max_stall` that a scenario sets.
const STALL_MAX: Time = 3_000_000;
/// For an operator's command.
const COMMAND_MAX: Time = 60_000_000;
/// Far more than timers, troubles and a resync can cause.
const TURNS_PER_SECOND_MAX: u64 = 10_000;
/// Local work on both nodes, the frame, and an acknowledgement of each step, with as much again to spare.
const TURNS_PER_REQUEST_MAX: u64 = 10;
/// For coming together, and for each step towards being quiet.
const SETTLE_MAX: Time = 20_000_000;
