//! The operator: gives commands, sees to it that somebody serves and that only one does, and mends what is broken at the end.

use super::Time;
use super::checkers::Checker;
use super::scenario::NAMES;
use super::world::{Event, Phase, World};
use crate::replica::io::{Command, CommandId, Done, Input, Record, Refusal};
use crate::replica::status::LinkState;
use crate::wire::message::{DiskState, Role};

#[derive(Debug, Default)]
pub struct Operator {
    last_command: u64,
    pub last_op: u64,
    /// This node was told to demote itself so that the other can be promoted.
    pub switching: Option<usize>,
    /// Nobody is Primary, or both are and don't speak, since.
    wrong_since: Option<Time>,
    /// What was tried against it.
    wrong_times: u32,
    /// Promotions refused since somebody was Primary.
    refused: u32,
}

impl World {
    pub(super) fn command(&mut self, node: usize, command: Command) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.operator.last_command += 1;
        self.nodes[node].is_overruled |= matches!(command, Command::Promote { force: true });
        let id = CommandId(self.operator.last_command);
        let since = self.now;
        self.note(&[8, id.0], |_| format!("the operator tells {} {id:?}: {command:?}", NAMES[node]));
        self.process(node).commands.insert(id, (command, since));
        self.something_happens();
        self.turn(node, vec![Input::Command { id, command }]);
    }

    pub(super) fn answered_command(&mut self, node: usize, id: CommandId, result: Result<Done, Refusal>) {
        let Some((command, _)) = self.process(node).commands.remove(&id) else {
            return self.violate(Checker::Answers, format!("{} answers {id:?}, which it was not asked", NAMES[node]));
        };
        let incarnation = self.nodes[node].incarnation;
        let soon = self.rng.skewed(0, 100_000);
        match (command, result) {
            (Command::Demote { .. }, result) if self.operator.switching == Some(node) => {
                self.operator.switching = None;
                let to = if result.is_ok() { 1 - node } else { node };
                self.after(soon, Event::Command { node: to, command: Command::Promote { force: false } });
            }
            // Refused, it ends all the same.
            (Command::Shutdown, _) => {
                self.after(0, Event::Exit { node, incarnation });
                self.after(soon, Event::Start(node));
            }
            (Command::Promote { .. }, Err(_)) => self.operator.refused += 1,
            _ => (),
        }
    }

    /// Nobody serves, or both do: wait a little, then do something about it.
    pub(super) fn oversee(&mut self) {
        let patience = if self.in_trouble() { 2_000_000 } else { 300_000 };
        let Some(wrong) = self.wrong() else {
            (self.operator.wrong_since, self.operator.wrong_times) = (None, 0);
            return;
        };
        if self.nodes.iter().filter_map(|node| node.process.as_ref()).any(|process| !process.commands.is_empty()) {
            return;
        }
        let since = *self.operator.wrong_since.get_or_insert(self.now);
        if self.now < since + patience {
            return;
        }
        self.operator.wrong_since = None;
        self.operator.wrong_times += 1;
        match wrong {
            Wrong::NobodyServes => self.promote_somebody(),
            Wrong::Refused if self.operator.wrong_times < 4 => {
                let loser = self.loser();
                self.command(loser, Command::Demote { force: true });
            }
            // Not even the loser's giving way helped: its record goes, as its log says.
            Wrong::Refused => {
                let loser = self.loser();
                self.die(loser, false);
                self.nodes[loser].store.durable = None;
                self.nodes[loser].removed = self.history.moment();
                self.after(100_000, Event::Start(loser));
                self.operator.wrong_times = 0;
            }
        }
    }

    fn wrong(&mut self) -> Option<Wrong> {
        let roles: Vec<(Role, LinkState)> =
            self.nodes.iter().filter_map(|node| node.status()).map(|status| (status.role, status.link)).collect();
        let primaries = roles.iter().filter(|(role, _)| *role == Role::Primary).count();
        if primaries == 0 && !roles.is_empty() {
            return Some(Wrong::NobodyServes);
        }
        self.operator.refused = 0;
        let refused = roles.iter().all(|(_, link)| *link == LinkState::Refused);
        refused.then_some(Wrong::Refused)
    }

    /// Of two that don't come together: the one that does not serve.
    fn loser(&mut self) -> usize {
        let either = self.rng.below(2) as usize;
        let secondary = |node: &usize| self.nodes[*node].status().is_some_and(|status| status.role == Role::Secondary);
        (0..2).find(secondary).unwrap_or(either)
    }

    fn promote_somebody(&mut self) {
        let force = self.operator.refused > 0;
        let goodness = |disk| match disk {
            DiskState::UpToDate => 4,
            DiskState::Consistent => 3,
            DiskState::Outdated => 2,
            DiskState::Inconsistent => 1,
            DiskState::Failed => 0,
        };
        let found = (0..2).filter_map(|node| Some((goodness(self.nodes[node].status()?.disk), node))).max();
        if let Some((_, node)) = found {
            self.command(node, Command::Promote { force });
        }
    }

    /// Everything that an operator mends: processes run, nothing is paused, the line is whole.
    pub(super) fn mend(&mut self) {
        self.heal();
        for node in 0..2 {
            self.nodes[node].disk.broken = 0;
            match self.nodes[node].status().map(|status| (status.paused, status.disk)) {
                None => self.start(node),
                Some((true, _)) => self.command(node, Command::Resume),
                Some((_, DiskState::Failed)) if self.nodes[node].disk.is_idle() => self.replace_failed(node),
                Some(_) => (),
            }
        }
    }

    /// The device works again: the process starts anew on it.
    fn replace_failed(&mut self, node: usize) {
        match self.nodes[node].status().map(|status| status.role) {
            Some(Role::Secondary) if self.rng.coin() => {
                // Once that the device failed is on record, whatever is in its place is known to be another.
                let failed = |record: &Record| record.disk == DiskState::Failed;
                if self.nodes[node].store.durable.as_ref().is_some_and(failed) {
                    self.nodes[node].disk.replace();
                }
                self.command(node, Command::Reattach);
            }
            Some(Role::Secondary) => {
                self.die(node, false);
                self.after(100_000, Event::Start(node));
            }
            // Its hosts are served through the other.
            Some(Role::Primary) if self.process(node).commands.is_empty() => {
                self.command(node, Command::Demote { force: false });
            }
            Some(Role::Primary) | None => (),
        }
    }

    pub(super) fn in_trouble(&self) -> bool {
        matches!(self.phase, Phase::Trouble | Phase::Rest { .. })
    }
}

enum Wrong {
    NobodyServes,
    Refused,
}
