//! What the link does: dials, tells both nodes of sessions and connections (at different times), carries messages, finds
//! dead lines.

use std::time::Duration;

use super::Time;
use super::checkers::Checker;
use super::net::{End, SessionIndex};
use super::scenario::NAMES;
use super::turn::message_text;
use super::world::{Event, World};
use crate::ids::{Instance, SessionId, Slot};
use crate::replica::io::Input;
use crate::wire::datagram::{GroupBeat, GroupTag};
use crate::wire::message::{Message, Role};

impl World {
    /// Dial, if there is somebody to be reached and nobody does already.
    pub(super) fn connect(&mut self) {
        if self.can_connect() && !self.net.dialing {
            self.net.dialing = true;
            let delay = self.scenario.reconnect.draw(&mut self.rng);
            self.after(delay, Event::Dial);
        }
    }

    fn can_connect(&self) -> bool {
        let alive = self.nodes.iter().all(|node| node.process.is_some());
        alive && !self.net.is_cut() && self.net.current().is_none()
    }

    pub(super) fn dial(&mut self) {
        self.net.dialing = false;
        if !self.can_connect() {
            return;
        }
        let id = SessionId(self.rng.draw());
        let incarnations = self.nodes.each_ref().map(|node| node.incarnation);
        let session = self.net.open(id, incarnations, self.scenario.slots);
        self.note(&[3, id.0], |_| format!("session {id:?} is made"));
        for side in 0..2 {
            let up = self.now + self.rng.skewed(10, 20_000);
            self.at(up, Event::SessionUp { session, side });
            for slot in 0..self.scenario.slots {
                let late = self.rng.skewed(0, if slot == 0 { 10 } else { 100_000 });
                self.at(up + late, Event::SlotUp { session, slot: Slot(slot), number: 0, side });
            }
        }
    }

    fn end(&self, session: SessionIndex, side: usize) -> End {
        self.net.sessions[session].ends[side]
    }

    pub(super) fn session_up(&mut self, session: SessionIndex, side: usize) {
        if self.end(session, side) != End::Coming || self.nodes[side].process.is_none() {
            return;
        }
        if let Some(former) = self.process(side).session {
            self.give_up(former, side);
        }
        if self.nodes[side].process.is_none() {
            return;
        }
        let Some(peer) = self.instance(session, 1 - side) else { return self.session_down(session, side) };
        self.net.sessions[session].ends[side] = End::Up;
        self.process(side).session = Some(session);
        let id = self.net.sessions[session].id;
        self.turn(side, vec![Input::SessionUp { session: id, peer }]);
        for former in 0..session {
            for slot in 0..self.scenario.slots {
                let held = std::mem::take(&mut self.net.sessions[former].slot(Slot(slot)).held[side]);
                held.into_iter().for_each(|message| self.deliver_late(former, side, message));
            }
        }
    }

    /// As the handshake told it; `None`: that process is gone.
    fn instance(&self, session: SessionIndex, side: usize) -> Option<Instance> {
        let process = self.nodes[side].process.as_ref()?;
        (self.end(session, side) != End::Down).then_some(process.instance)
    }

    pub(super) fn session_down(&mut self, session: SessionIndex, side: usize) {
        match self.end(session, side) {
            End::Down => (),
            End::Coming => self.net.sessions[session].end(side),
            End::Up => {
                self.give_up(session, side);
                self.tell_end(session, 1 - side);
            }
        }
        self.connect();
    }

    /// One side closes its ends of all connections.
    fn give_up(&mut self, session: SessionIndex, side: usize) {
        self.net.sessions[session].end(side);
        let Some(process) = self.nodes[side].process.as_mut() else { return };
        if process.session == Some(session) {
            process.session = None;
            self.turn(side, vec![Input::SessionDown]);
        }
    }

    /// The other side sees the connections closed, if anything reaches it.
    fn tell_end(&mut self, session: SessionIndex, side: usize) {
        if self.net.cut_since[side].is_none() && self.end(session, side) != End::Down {
            let delay = self.rng.skewed(10, 20_000);
            self.after(delay, Event::SessionDown { session, side });
        }
    }

    /// A node's process is gone, and its ends of connections; of a machine that lost power nothing is heard.
    pub(super) fn peer_died(&mut self, node: usize, power: bool) {
        let peer = 1 - node;
        for session in 0..self.net.sessions.len() {
            if self.net.sessions[session].ends[node] == End::Down {
                continue;
            }
            self.net.sessions[session].end(node);
            self.net.sessions[session].forget(node);
            if power {
                self.net.sessions[session].forget(peer);
            }
            // Nobody sends again what was lost on the way; a reset overtakes what one connection brings, and not another's.
            for slot in 0..self.scenario.slots {
                let passes = self.now + if power { 0 } else { self.rng.skewed(0, 20_000) };
                self.net.sessions[session].slot(Slot(slot)).passes_until[peer] = passes;
            }
            let delay = if power { self.scenario.detection } else { self.rng.skewed(10, 20_000) };
            self.after(delay, Event::SessionDown { session, side: peer });
        }
    }

    pub(super) fn slot_up(&mut self, session: SessionIndex, slot: Slot, number: u32, side: usize) {
        let up = self.end(session, side) == End::Up;
        let connection = self.net.sessions[session].slot(slot);
        if !up || connection.number != number || connection.ends[side] != End::Coming {
            return;
        }
        connection.ends[side] = End::Up;
        self.something_happens();
        self.turn(side, vec![Input::SlotUp(slot)]);
        self.release(session, slot, side);
    }

    pub(super) fn slot_down(&mut self, session: SessionIndex, slot: Slot, number: u32, side: usize) {
        let connection = self.net.sessions[session].slot(slot);
        if connection.number != number || connection.ends[side] == End::Down {
            return;
        }
        let was_up = connection.ends[side] == End::Up;
        connection.ends[side] = End::Down;
        connection.held[side].clear();
        if was_up {
            self.something_happens();
            self.turn(side, vec![Input::SlotDown(slot)]);
        }
        if !self.net.sessions[session].has_slots(side) {
            self.session_down(session, side);
        }
    }

    pub(super) fn slot_again(&mut self, session: SessionIndex, slot: Slot, number: u32) {
        let whole = self.net.sessions[session].is_whole();
        let connection = self.net.sessions[session].slot(slot);
        if !whole || connection.number != number || connection.ends != [End::Down; 2] {
            return;
        }
        let number = self.net.sessions[session].renew(slot);
        for side in 0..2 {
            let delay = self.rng.skewed(10, 20_000);
            self.after(delay, Event::SlotUp { session, slot, number, side });
        }
    }

    pub(super) fn send(&mut self, from: usize, slot: Slot, message: Message) {
        let to = 1 - from;
        let Some(session) = self.process(from).session else {
            return self.violate(Checker::Protocol, format!("{} sends without a session", NAMES[from]));
        };
        let delay = self.scenario.line.draw(&mut self.rng);
        let at = self.now + delay;
        let sessions = &mut self.net.sessions[session];
        let Some(connection) = sessions.slots.get_mut(usize::from(slot.0)).filter(|c| c.ends[from] == End::Up) else {
            return self.violate(Checker::Protocol, format!("{} sends on slot {slot}, which is not up", NAMES[from]));
        };
        let (arrival, number) = (connection.arrival(to, at), connection.number);
        self.at(arrival, Event::Deliver { session, slot, number, to, message: Box::new(message) });
    }

    pub(super) fn deliver(&mut self, session: SessionIndex, slot: Slot, number: u32, to: usize, message: Message) {
        let (now, cut) = (self.now, self.net.cut_since[to].is_some());
        let ended = self.end(session, to) == End::Down;
        let connection = self.net.sessions[session].slot(slot);
        if ended {
            return self.deliver_late(session, to, message);
        }
        if connection.number != number || connection.ends[to] == End::Down || now > connection.passes_until[to] {
            return self.note(&[], |_| format!("lost on slot {slot}: {}", message_text(&message)));
        }
        if cut || connection.ends[to] == End::Coming || !connection.held[to].is_empty() {
            return connection.held[to].push(message);
        }
        self.receive(session, to, message);
    }

    /// The group drops it before the replica sees it; the replica is to be right without that.
    fn deliver_late(&mut self, session: SessionIndex, to: usize, message: Message) {
        let current = self.nodes[to].process.as_ref().and_then(|process| process.session);
        if current.is_some_and(|current| current != session) && self.rng.permille(200) {
            self.receive(session, to, message);
        }
    }

    fn receive(&mut self, session: SessionIndex, to: usize, message: Message) {
        let id = self.net.sessions[session].id;
        if let Message::Hello(hello) = &message
            && hello.role == Role::Secondary
        {
            // Newer than what heartbeats said.
            self.nodes[to].rival = None;
        }
        self.sees_renewed(to, &message);
        if let Message::Hello(hello) = &message {
            self.hears_hello(session, to, hello.number);
        }
        self.turn(to, vec![Input::Received { session: id, message }]);
    }

    fn release(&mut self, session: SessionIndex, slot: Slot, side: usize) {
        if self.net.cut_since[side].is_some() || self.net.sessions[session].slot(slot).ends[side] != End::Up {
            return;
        }
        let held = std::mem::take(&mut self.net.sessions[session].slot(slot).held[side]);
        for message in held {
            if self.net.sessions[session].slot(slot).ends[side] == End::Up {
                self.receive(session, side, message);
            }
        }
    }

    /// Nothing reaches these sides until the line heals.
    pub(super) fn cut(&mut self, sides: &[usize]) {
        for &side in sides {
            if self.net.cut_since[side].is_none() {
                self.note(&[4, side as u64], |_| format!("the line to {} is cut", NAMES[side]));
                let cut_since = self.now;
                self.net.cut_since[side] = Some(cut_since);
                let delay = self.scenario.detection + self.rng.skewed(0, 50_000);
                self.after(delay, Event::Detect { side, cut_since });
            }
        }
    }

    pub(super) fn detect(&mut self, side: usize, cut_since: Time) {
        let process = self.nodes[side].process.as_ref();
        if let Some(session) = process.and_then(|process| process.session)
            && self.net.cut_since[side] == Some(cut_since)
        {
            self.session_down(session, side);
        }
    }

    /// What TCP kept sending arrives; where the other end is closed, that is seen now.
    pub(super) fn heal(&mut self) {
        if !self.net.is_cut() {
            return;
        }
        self.note(&[5], |_| "the line heals".into());
        self.net.cut_since = [None; 2];
        for session in 0..self.net.sessions.len() {
            for side in 0..2 {
                if self.end(session, side) == End::Down {
                    self.tell_end(session, 1 - side);
                    continue;
                }
                for slot in 0..self.scenario.slots {
                    self.release(session, Slot(slot), side);
                }
            }
        }
        self.connect();
    }

    /// Every T2, as of a detector that allows for six to be lost; on a line of their own that only a cut concerns.
    pub(super) fn beat(&mut self, node: usize) {
        self.after(self.scenario.detection / BEATS, Event::Beat(node));
        let to = 1 - node;
        let Some(process) = &self.nodes[node].process else { return };
        let (peer, incarnation, (role, marks)) =
            (process.instance, self.nodes[node].incarnation, process.replica.beat());
        let (line, is_lost) = (self.scenario.line, self.beats.permille(BEATS_LOST));
        if is_lost || self.net.cut_since[to].is_some() {
            return;
        }
        let at = (self.now + line.draw(&mut self.beats)).max(self.net.beats[to] + 1);
        self.net.beats[to] = at;
        let beat = GroupBeat { group: GroupTag::of("group"), role, marks };
        self.at(at, Event::Heard { to, incarnation, peer, beat });
    }

    /// Where the peer's process is a newer one than the session is with, that session ends before groups hear what it says, as
    /// a peer's machine has it; what a former one said was under way, and counts for nothing.
    pub(super) fn heard(&mut self, to: usize, incarnation: u32, peer: Instance, beat: GroupBeat) {
        let Some(process) = self.nodes[to].process.as_ref().filter(|_| self.net.cut_since[to].is_none()) else {
            return;
        };
        let met = process.session.map(|session| (session, self.net.sessions[session].incarnations[1 - to]));
        if let Some((session, _)) = met.filter(|(_, met)| *met < incarnation) {
            self.session_down(session, to);
        }
        if self.nodes[to].process.is_none() {
            return;
        }
        let (now, good_for) = (self.now, self.scenario.detection);
        if met.is_none_or(|(_, met)| met <= incarnation) {
            let rival = &mut self.nodes[to].rival;
            let since = rival.filter(|(_, last)| now < last + good_for).map_or(now, |(since, _)| since);
            *rival = (beat.role == Role::Primary).then_some((since, now));
        }
        let good_for = Duration::from_micros(good_for);
        self.turn(to, vec![Input::Beat { peer, beat, good_for }]);
    }

    pub(super) fn peer_is_slow(&mut self, session: SessionIndex, side: usize, slow: bool) {
        let process = self.nodes[side].process.as_ref();
        if process.is_some_and(|process| process.session == Some(session)) {
            self.turn(side, vec![Input::PeerIsSlow(slow)]);
        }
    }
}

/// In T1.
const BEATS: Time = 6;
/// Per mille.
const BEATS_LOST: u64 = 100;
