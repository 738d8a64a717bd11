//! What goes wrong, and what an operator does meanwhile.

use std::time::Duration;

use super::net::{End, SessionIndex};
use super::scenario::Trouble;
use super::world::{Event, Phase, World};
use crate::config::{Mode, OnLinkLoss};
use crate::ids::Slot;
use crate::replica::io::Command;
use crate::replica::status::LinkState;
use crate::wire::message::Role;

impl World {
    pub(super) fn next_trouble(&mut self) {
        let delay = self.scenario.trouble_every.draw(&mut self.rng);
        self.after(delay, Event::Trouble);
    }

    pub(super) fn trouble(&mut self) {
        if !self.in_trouble() || self.scenario.troubles.is_empty() {
            return;
        }
        let trouble = self.rng.pick(&self.scenario.troubles);
        if self.phase == Phase::Trouble {
            self.note(&[9, trouble as u64], |_| format!("trouble: {trouble:?}"));
            self.make(trouble);
        }
        self.next_trouble();
    }

    /// It comes of another.
    pub(super) fn follows(&mut self, trouble: Trouble) {
        if self.phase == Phase::Trouble {
            self.make(trouble);
        }
    }

    pub(super) fn next_comparison(&mut self) {
        if let Some(every) = self.scenario.compare_every {
            let delay = every.draw(&mut self.compares);
            self.after(delay, Event::Compare);
        }
    }

    /// An operator compares the copies, or has a resync do it, whatever else goes on.
    pub(super) fn compare(&mut self) {
        if !matches!(self.phase, Phase::Trouble | Phase::Rest { .. } | Phase::Healing { .. }) {
            return;
        }
        let role = |node: &usize| self.nodes[*node].status().map(|status| status.role);
        let owner = (0..2).find(|node| role(node) == Some(Role::Primary));
        let rate = self.compares.pick(&[None, None, Some(200 << 10), Some(4 << 20)]);
        let command = match self.compares.below(10) {
            0 => Command::StopVerify,
            1..=3 => Command::Resync { compare: true },
            _ => Command::Verify { repair: self.compares.coin(), rate },
        };
        if let Some(node) = owner {
            self.command(node, command);
        }
        self.next_comparison();
    }

    fn make(&mut self, trouble: Trouble) {
        let (owner, replica) = (self.with_role(Role::Primary), self.with_role(Role::Secondary));
        match trouble {
            Trouble::KillSlot => self.kill_slot(),
            Trouble::StallSlot => self.stall_slot(),
            Trouble::CutLine => self.cut_some(),
            Trouble::Reset => self.reset(),
            Trouble::SlowPeer => self.slow_down(),
            Trouble::RestartOwner => owner.into_iter().for_each(|node| self.restart(node)),
            Trouble::RestartReplica => replica.into_iter().for_each(|node| self.restart(node)),
            Trouble::PowerLoss => self.lose_power(owner, replica),
            Trouble::Failover => self.fail_over(owner),
            Trouble::Fading => self.fade(owner),
            Trouble::MistakenPromotion => self.promote_by_mistake(replica),
            Trouble::Switchover => owner.into_iter().for_each(|node| self.switch_over(node)),
            Trouble::ChangeMode => self.change_mode(owner),
            Trouble::ChangePolicy => self.change_policy(owner),
            Trouble::Pause => self.pause(owner),
            Trouble::Rest => self.rest(),
            Trouble::BreakDisk => self.break_disk(owner, replica),
            Trouble::CutAndRestart => self.cut_and_restart(),
        }
    }

    fn with_role(&mut self, role: Role) -> Option<usize> {
        let first = self.rng.below(2) as usize;
        [first, 1 - first].into_iter().find(|&node| self.nodes[node].status().is_some_and(|status| status.role == role))
    }

    fn some_slot(&mut self) -> Option<(SessionIndex, Slot)> {
        let session = self.net.current()?;
        let slot = Slot(self.rng.below(self.scenario.slots.into()) as u8);
        let up = self.net.sessions[session].slot(slot).ends == [End::Up; 2];
        up.then_some((session, slot))
    }

    /// One direction may go on being silent for as long as an idle connection is suffered.
    fn kill_slot(&mut self) {
        let Some((session, slot)) = self.some_slot() else { return };
        let (now, longest) = (self.now, self.scenario.line.high);
        let passes = [(), ()].map(|()| now + self.rng.skewed(0, longest));
        let half_open = self.rng.permille(300);
        let connection = self.net.sessions[session].slot(slot);
        connection.passes_until = passes;
        let number = connection.number;
        let mut last = now;
        for side in 0..2 {
            let late = if half_open { self.scenario.detection } else { 30_000 };
            let at = now + self.rng.skewed(0, late);
            last = last.max(at);
            self.at(at, Event::SlotDown { session, slot, number, side });
        }
        let again = last + 1 + self.scenario.reconnect.draw(&mut self.rng);
        self.at(again, Event::SlotAgain { session, slot, number });
    }

    fn stall_slot(&mut self) {
        let Some((session, slot)) = self.some_slot() else { return };
        let until = self.now + self.rng.skewed(10_000, self.scenario.detection);
        let both = self.rng.coin();
        let side = self.rng.below(2) as usize;
        let connection = self.net.sessions[session].slot(slot);
        connection.stall(side, until);
        if both {
            connection.stall(1 - side, until);
        }
    }

    fn cut_some(&mut self) {
        let sides: &[usize] = self.rng.pick(&[&[0], &[1], &[0, 1]]);
        self.cut(sides);
        let length = self.rng.skewed(10_000, 4 * self.scenario.detection);
        self.after(length, Event::Heal);
    }

    fn cut_and_restart(&mut self) {
        let noticed = self.scenario.detection;
        let lost = noticed + self.rng.between(50_000, 300_000);
        self.cut(&[0, 1]);
        self.after(lost, Event::Follows(Trouble::RestartOwner));
        let heals = lost + self.rng.between(0, 200_000);
        self.after(heals, Event::Heal);
    }

    fn reset(&mut self) {
        let Some(session) = self.net.current() else { return };
        for side in 0..2 {
            let delay = self.rng.skewed(0, 50_000);
            self.after(delay, Event::SessionDown { session, side });
        }
    }

    fn slow_down(&mut self) {
        let Some(session) = self.net.current() else { return };
        let length = self.rng.between(self.scenario.detection, 5 * self.scenario.detection);
        let until = self.now + length;
        for connection in &mut self.net.sessions[session].slots {
            (0..2).for_each(|side| connection.stall(side, until));
        }
        for side in 0..2 {
            self.after(self.scenario.detection, Event::PeerIsSlow { session, side, slow: true });
            let ends = length + self.rng.skewed(0, 50_000);
            self.after(ends, Event::PeerIsSlow { session, side, slow: false });
        }
    }

    fn restart(&mut self, node: usize) {
        if self.rng.permille(300) {
            return self.command(node, Command::Shutdown);
        }
        self.lose(node, false);
    }

    fn lose(&mut self, node: usize, power: bool) {
        self.die(node, power);
        let back = self.rng.skewed(1000, 3_000_000);
        self.after(back, Event::Start(node));
    }

    /// Of either machine, or of both.
    fn lose_power(&mut self, owner: Option<usize>, replica: Option<usize>) {
        let which = self.rng.between(0, 3);
        for node in owner.filter(|_| which >= 2).into_iter().chain(replica.filter(|_| which != 2)) {
            self.lose(node, true);
        }
    }

    fn fail_over(&mut self, owner: Option<usize>) {
        let Some(owner) = owner else { return };
        let back = self.rng.skewed(100_000, 6_000_000);
        if self.rng.coin() {
            let power = self.rng.permille(300);
            self.die(owner, power);
            self.after(back, Event::Start(owner));
        } else {
            self.cut(&[0, 1]);
            self.after(back, Event::Heal);
        }
        let force = self.rng.coin();
        let decides = self.rng.skewed(1000, self.scenario.detection + 500_000);
        self.after(decides, Event::Command { node: 1 - owner, command: Command::Promote { force } });
        self.after(decides + 500_000, Event::Command { node: 1 - owner, command: Command::Promote { force: true } });
    }

    /// What half of the connections carry from now on is lost, and with them the owner before it notices.
    fn fade(&mut self, owner: Option<usize>) {
        let (Some(owner), Some(session)) = (owner, self.net.current()) else { return };
        let silent = self.now + 2 * self.scenario.detection;
        for slot in 0..self.scenario.slots {
            if self.rng.coin() {
                self.net.sessions[session].slot(Slot(slot)).stall(1 - owner, silent);
            }
        }
        let gone = self.rng.between(20_000, self.scenario.detection);
        self.after(gone, Event::Follows(Trouble::Failover));
    }

    fn promote_by_mistake(&mut self, replica: Option<usize>) {
        let Some(replica) = replica else { return };
        self.cut_some();
        let decides = self.rng.between(0, 2 * self.scenario.detection);
        self.after(decides, Event::Command { node: replica, command: Command::Promote { force: true } });
    }

    fn switch_over(&mut self, owner: usize) {
        self.operator.switching = Some(owner);
        let force = self.rng.permille(100);
        self.command(owner, Command::Demote { force });
    }

    fn change_mode(&mut self, owner: Option<usize>) {
        let mode = self.rng.pick(&[Mode::Async, Mode::Memsync, Mode::Sync]);
        owner.into_iter().for_each(|node| self.command(node, Command::Mode(mode)));
    }

    fn change_policy(&mut self, owner: Option<usize>) {
        let stall = Duration::from_millis(self.rng.between(100, 3000));
        let loss = self.rng.pick(&[OnLinkLoss::Degrade, OnLinkLoss::Hold]);
        let command = if self.rng.coin() { Command::MaxStall(stall) } else { Command::OnLinkLoss(loss) };
        owner.into_iter().for_each(|node| self.command(node, command));
    }

    fn pause(&mut self, owner: Option<usize>) {
        let Some(node) = owner else { return };
        self.command(node, Command::Pause);
        let length = self.rng.skewed(1000, 3_000_000);
        self.after(length, Event::Command { node, command: Command::Resume });
    }

    /// Of the owner mostly: a few actions fail, or all from now on.
    fn break_disk(&mut self, owner: Option<usize>, replica: Option<usize>) {
        let node = if self.rng.permille(700) { owner } else { replica };
        let is_one = owner.and_then(|owner| self.nodes[owner].status()).map(|status| status.link);
        if is_one != Some(LinkState::Established) && self.rng.permille(800) {
            return;
        }
        let actions = self.rng.pick(&[1, 1, 3, u32::MAX]);
        node.into_iter().for_each(|node| self.nodes[node].disk.broken = actions);
        let is_all_there_is = self.scenario.troubles == [Trouble::BreakDisk];
        if node == owner && (is_all_there_is || self.rng.coin()) {
            // Before that is on record, as often as not.
            let gone = self.rng.between(2_000, self.scenario.store.low + self.scenario.store.high);
            self.after(gone, Event::Follows(Trouble::RestartOwner));
        }
    }

    fn rest(&mut self) {
        self.phase = Phase::Rest { since: self.now };
        self.after(3_000_000, Event::RestIsOver);
    }

    pub(super) fn rest_is_over(&mut self) {
        if let Phase::Rest { since } = self.phase
            && self.now >= since + 3_000_000
        {
            self.phase = Phase::Trouble;
        }
    }
}
