//! Connections as they are dialed, arrive, fail and move.

use std::time::{Duration, Instant};

use super::Peer;
use super::array::{ConnectionId, SlotState, Socket};
use super::detector::{Signal, Verdict};
use super::event::{Ended, Event};
use super::io::{Failure, Introduced, Output};
use super::paths::PathIndex;
use crate::ids::{SessionId, Slot};
use crate::wire::message::ByeReason;

impl Peer {
    pub(super) fn on_dialed(&mut self, slot: Slot, connection: ConnectionId, peer: Introduced, now: Instant) {
        let pending = self.array.entry(slot).and_then(|entry| entry.pending());
        let Some(socket) = pending.filter(|pending| pending.connection == connection) else {
            return self.close(connection, None);
        };
        socket.path.into_iter().for_each(|path| self.paths.succeeded(path));
        match self.session {
            None => self.begin_session(peer, Some(socket), now),
            Some(session) if session.peer != peer.instance => {
                self.array.entry_mut(slot).forget(connection);
                self.close(connection, None);
                return self.end_session(Ended::Restarted, None, now);
            }
            Some(_) => {}
        }
        self.open(slot, socket, now);
    }

    pub(super) fn on_arrived(&mut self, slot: Slot, connection: ConnectionId, peer: Introduced, now: Instant) {
        let agreed = match self.session {
            Some(session) if session.id == peer.session => session.slots,
            _ => self.rules.connections.min(peer.connections),
        };
        let turned = if self.shut {
            Some(Failure::Unreachable("shutting down".into()))
        } else if self.over.contains(&peer.session) {
            Some(Failure::SessionOver)
        } else if slot.0 >= agreed {
            Some(Failure::Refused(format!("slot {slot} is beyond the {agreed} connections agreed for the session")))
        } else {
            None
        };
        if let Some(why) = turned {
            return self.outputs.push_back(Output::Turn { connection, why });
        }
        match self.session {
            Some(session) if session.id != peer.session => {
                let why = if session.peer == peer.instance { Ended::Replaced } else { Ended::Restarted };
                self.end_session(why, None, now);
            }
            _ => {}
        }
        let socket = Socket { connection, path: None };
        if self.session.is_none() {
            self.begin_session(peer, None, now);
        }
        self.open(slot, socket, now);
    }

    fn open(&mut self, slot: Slot, socket: Socket, now: Instant) {
        if let Some(former) = self.array.entry_mut(slot).opened(socket, now) {
            self.outputs.push_back(Output::SlotDown { slot });
            self.close(former.connection, None);
        }
        self.detector.signal(Signal::Bytes, now);
        self.outputs.push_back(Output::SlotUp { slot, connection: socket.connection });
        let slots = self.session.map_or(0, |session| session.slots);
        self.tell(Event::SlotUp { slot, open: self.array.open_count(), slots });
    }

    pub(super) fn on_failed(&mut self, slot: Slot, connection: ConnectionId, failure: Failure, now: Instant) {
        let pending = self.array.entry(slot).and_then(|entry| entry.pending());
        let Some(socket) = pending.filter(|pending| pending.connection == connection) else { return };
        let entry = self.array.entry_mut(slot);
        entry.forget(connection);
        entry.retry(now);
        self.blind_from = now + self.blind_pause();
        match failure {
            Failure::Unreachable(cause) => self.on_unreachable(socket.path, cause, now),
            Failure::SessionOver if self.session.is_some() => self.end_session(Ended::Replaced, None, now),
            Failure::SessionOver => self.draw_session(),
            Failure::Refused(cause) => self.on_refused(cause, now),
        }
    }

    fn on_unreachable(&mut self, path: Option<PathIndex>, cause: String, now: Instant) {
        path.into_iter().for_each(|path| self.paths.failed(path, now));
        self.last_error = Some(cause.clone());
        // Where nothing is heard either, there is simply nobody.
        let heard = self.detector.verdict(now) != Verdict::LinkDead;
        if heard && !std::mem::replace(&mut self.told.unreachable, true) {
            self.tell(Event::Unreachable { path, cause });
        }
    }

    fn on_refused(&mut self, cause: String, now: Instant) {
        let pause = self.refusals.failed(now);
        self.last_error = Some(cause.clone());
        // Once, until it is another or a session was up.
        if self.told.refusal.as_ref() != Some(&cause) {
            self.told.refusal = Some(cause.clone());
            self.tell(Event::Refused { cause, retry: pause });
        }
    }

    pub(super) fn on_closed(&mut self, slot: Slot, connection: ConnectionId, cause: String, now: Instant) {
        if !self.array.holds(slot) || self.array.entry_mut(slot).forget(connection) != Some(SlotState::Open) {
            return;
        }
        self.array.entry_mut(slot).retry(now);
        self.outputs.push_back(Output::SlotDown { slot });
        let open = self.array.open_count();
        self.last_error = Some(cause.clone());
        self.tell(Event::SlotLost { slot, cause, open });
        if open == 0 {
            self.end_session(Ended::SlotsLost, None, now);
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId, farewell: Option<ByeReason>) {
        self.outputs.push_back(Output::Close { connection, farewell });
    }

    pub(super) fn dial_what_is_due(&mut self, now: Instant) {
        if self.backs_off_until(now).is_some() {
            return;
        }
        let Some(session) = self.session else { return self.dial_first(now) };
        for slot in self.array.slots().take(usize::from(session.slots)) {
            if self.array.is_due(slot, now) {
                self.dial(slot, session.id);
            }
        }
    }

    /// One connection: what it learns holds for the others.
    fn dial_first(&mut self, now: Instant) {
        let passed = self.probation.is_passed(now);
        let silent = self.detector.verdict(now) == Verdict::LinkDead;
        let blind = silent && now >= self.blind_from;
        if !(passed || blind) {
            return self.cancel_dials();
        }
        let first = Slot(0);
        if self.array.is_due(first, now) {
            if passed && !self.probation.required().is_zero() {
                self.tell(Event::ProbationPassed);
            }
            self.dial(first, self.attempt);
        }
    }

    /// Before connections are tried though no heartbeat comes. Where heartbeats used to come that is a last resort: a line that
    /// heals must not be connected over before its probation.
    pub(super) fn blind_pause(&self) -> Duration {
        if self.trusts_udp { BLIND_RARE } else { self.rules.heartbeat.timeout.max(self.probation.required()) }
    }

    fn dial(&mut self, slot: Slot, session: SessionId) {
        self.connections += 1;
        let (connection, to) = (ConnectionId(self.connections), self.paths.best());
        self.array.entry_mut(slot).begin(Socket { connection, path: Some(to) });
        self.outputs.push_back(Output::Dial { slot, connection, to, session });
    }

    /// A slot that leads to another address than the best is replaced, one at a time: the others carry on meanwhile.
    pub(super) fn move_one(&mut self, now: Instant) {
        let Some(session) = self.session else { return };
        if self.array.pending_count() > 0 {
            return;
        }
        let best = self.paths.best();
        let astray = |(_, socket): &(Slot, Socket)| socket.path.is_some_and(|path| path != best);
        let due = |slot: Slot| self.array.entry(slot).is_some_and(|entry| entry.retry_at.is_none_or(|at| at <= now));
        let slots = self.array.open_slots();
        if let Some((slot, _)) = slots.into_iter().filter(astray).find(|(slot, _)| due(*slot)) {
            self.dial(slot, session.id);
        }
    }
}

/// Somebody may have begun to filter UDP while the link was down.
const BLIND_RARE: Duration = Duration::from_secs(60);
