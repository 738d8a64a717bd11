//! A session's beginning and its ends.

use std::time::{Duration, Instant};

use super::Peer;
use super::array::{ConnectionId, Socket};
use super::event::{Ended, Event};
use super::io::{Introduced, Output};
use super::machine::Session;
use crate::ids::SessionId;
use crate::wire::message::ByeReason;

impl Peer {
    pub(super) fn begin_session(&mut self, peer: Introduced, socket: Option<Socket>, now: Instant) {
        let slots = self.rules.connections.min(peer.connections);
        self.session = Some(Session { id: peer.session, peer: peer.instance, slots, since: now });
        self.detector.connected(now);
        self.probation.up(now);
        self.armed = true;
        self.ping_at = now;
        self.last_error = None;
        self.refusals.succeeded();
        let accepted_again = std::mem::take(&mut self.told).refusal.is_some();
        self.outputs.push_back(Output::SessionUp { session: peer.session, peer: peer.instance, slots });
        let path = socket.and_then(|socket| socket.path);
        let round_trip = self.paths.round_trip(path.unwrap_or(self.paths.best()));
        self.tell(Event::SessionUp { slots, path, round_trip, accepted_again });
    }

    pub(super) fn on_bye(&mut self, connection: ConnectionId, reason: ByeReason, now: Instant) {
        let current = self.array.open_slots().iter().any(|(_, socket)| socket.connection == connection);
        if !current {
            return;
        }
        match reason {
            ByeReason::Shutdown => {
                self.end_session(Ended::PeerShutdown, None, now);
                self.probation.farewell();
                self.armed = false;
            }
            ByeReason::Removed => self.on_dismissed("it has no group in common with us any more", now),
            ByeReason::Misbehaved => self.on_dismissed("it says that we broke the protocol; its log says how", now),
        }
    }

    fn on_dismissed(&mut self, why: &str, now: Instant) {
        self.end_session(Ended::PeerLeft(why.into()), None, now);
        self.dismissals.failed(now);
        self.last_error = Some(why.into());
    }

    pub(super) fn on_misbehaved(&mut self, session: SessionId, cause: String, now: Instant) {
        if self.session.is_none_or(|current| current.id != session) {
            return;
        }
        self.last_error = Some(cause.clone());
        self.tell(Event::PeerMisbehaved { cause });
        self.end_session(Ended::Misbehaved, Some(ByeReason::Misbehaved), now);
        self.dismissals.failed(now);
    }

    pub(super) fn shut_down(&mut self, now: Instant) {
        self.shut = true;
        self.end_session(Ended::Shutdown, Some(ByeReason::Shutdown), now);
        self.cancel_dials();
    }

    pub(super) fn end_session(&mut self, why: Ended, farewell: Option<ByeReason>, now: Instant) {
        let Some(session) = self.session.take() else { return };
        for (slot, socket) in self.array.open_slots() {
            let entry = self.array.entry_mut(slot);
            entry.forget(socket.connection);
            entry.retry(now);
            self.outputs.push_back(Output::SlotDown { slot });
            self.close(socket.connection, farewell);
        }
        self.cancel_dials();
        if now.duration_since(session.since) >= STABLE_AFTER {
            self.dismissals.succeeded();
        }
        if self.over.len() == OVER_MAX {
            self.over.pop_front();
        }
        self.over.push_back(session.id);
        self.outputs.push_back(Output::SessionDown { session: session.id });
        self.tell(Event::SessionDown { why });
        self.trusts_udp = self.detector.heartbeat_silence(now).is_some() && !self.told.filtered;
        self.told.slow = false;
        self.told.filtered = false;
        self.detector.disconnected();
        self.blind_from = now + self.blind_pause();
        self.draw_session();
    }

    pub(super) fn cancel_dials(&mut self) {
        for (slot, socket) in self.array.pending_slots() {
            self.array.entry_mut(slot).forget(socket.connection);
            self.close(socket.connection, None);
        }
    }

    /// Names of sessions need only differ: from each other, and from those of other runs.
    pub(super) fn draw_session(&mut self) {
        self.attempts += 1;
        self.attempt = SessionId(mixed(self.rules.seed ^ mixed(self.attempts)).max(1));
    }
}

/// SplitMix64's mixing: every bit of the answer depends on every bit asked.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A session that lived so long was a good one: what ended those before is forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Sessions whose late connections are told apart: those of the last few flaps.
const OVER_MAX: usize = 16;
