use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::array::{ConnectionArray, ConnectionId, SlotState, Socket};
use super::beats::Beats;
use super::detector::{Detector, Signal, Verdict};
use super::event::{Ended, Event};
use super::io::{Failure, Input, Introduced, Output, Phase, Rules, SlotSnapshot, Snapshot};
use super::paths::{PathIndex, Paths};
use super::probation::Probation;
use super::retry::Retry;
use crate::ids::{Instance, SessionId, Slot};
use crate::wire::datagram::Datagram;
use crate::wire::message::ByeReason;
use crate::wire::replay_guard;

/// One peer. `handle` an input, then `poll_output` until there is none, then sleep until `poll_timeout`.
#[derive(Debug)]
pub struct Peer {
    rules: Rules,
    beats: Beats,
    detector: Detector,
    probation: Probation,
    paths: Paths,
    array: ConnectionArray,
    session: Option<Session>,
    /// What the dialer calls the session that it is about to begin.
    attempt: SessionId,
    attempts: u64,
    connections: u64,
    /// Sessions that ended, newest last, at most [`OVER_MAX`]: a connection that was under way then does not begin them anew.
    over: VecDeque<SessionId>,
    /// Handshakes.
    refusals: Retry,
    /// Sessions that one side ended because of the other.
    dismissals: Retry,
    /// The link was up and has neither died nor been left in good order since: its death counts as a flap.
    armed: bool,
    /// Without heartbeats connections are tried from then on.
    blind_from: Instant,
    /// Heartbeats came until the end of the last session: their silence is the link's, not a firewall's.
    trusts_udp: bool,
    ping_at: Instant,
    /// The last authentic heartbeat, whether or not it shows that ours arrive.
    any_heartbeat: Option<Instant>,
    told: Told,
    last_error: Option<String>,
    shut: bool,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    id: SessionId,
    peer: Instance,
    slots: u8,
    since: Instant,
}

/// What the administrator and the groups know, so that they are told once.
#[derive(Debug, Default)]
struct Told {
    slow: bool,
    filtered: bool,
    unreachable: bool,
    forged: bool,
    refusal: Option<String>,
}

impl Peer {
    pub fn new(rules: Rules, now: Instant) -> Peer {
        let heartbeat = rules.heartbeat;
        let mut peer = Peer {
            beats: Beats::new(rules.node.clone(), rules.instance, heartbeat.interval, rules.addresses, now),
            detector: Detector::new(heartbeat.timeout),
            probation: Probation::new(heartbeat),
            paths: Paths::new(heartbeat, usize::from(rules.addresses)),
            array: ConnectionArray::new(rules.connections),
            session: None,
            attempt: SessionId(0),
            attempts: 0,
            connections: 0,
            over: VecDeque::new(),
            refusals: Retry::new(REFUSED_FIRST, REFUSED_MAX),
            dismissals: Retry::new(REFUSED_FIRST, REFUSED_MAX),
            armed: false,
            blind_from: now + heartbeat.timeout,
            trusts_udp: false,
            ping_at: now,
            any_heartbeat: None,
            told: Told::default(),
            last_error: None,
            shut: false,
            outputs: VecDeque::new(),
            rules,
        };
        peer.draw_session();
        peer.settle(now);
        peer
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Heartbeat { datagram, from } => self.recv_heartbeat(&datagram, from, now),
            Input::Forged { cause } => self.recv_forged(cause),
            Input::Dialed { slot, connection, peer } => self.on_dialed(slot, connection, peer, now),
            Input::Failed { slot, connection, failure } => self.on_failed(slot, connection, failure, now),
            Input::Arrived { slot, connection, peer } => self.on_arrived(slot, connection, peer, now),
            Input::Rejected { failure } => self.on_rejected(failure),
            Input::Closed { slot, connection, cause } => self.on_closed(slot, connection, cause, now),
            Input::Seen { bytes, waiting } => self.on_seen(bytes, waiting, now),
            Input::Bye { connection, reason } => self.on_bye(connection, reason, now),
            Input::Misbehaved { session, cause } => self.on_misbehaved(session, cause, now),
            Input::Shutdown => self.shut_down(now),
            Input::Timer => {}
        }
        self.settle(now);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give the next `Timer`. All that was due at `now` has been done.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.shut {
            return None;
        }
        let dialing =
            [self.probation.passes_at(now), self.backs_off_until(now), self.array.next_retry(), Some(self.blind_from)];
        let dialing = dialing.into_iter().flatten().filter(|_| self.rules.dialer);
        let watching = [Some(self.beats.next_at()), self.detector.dies_at(now), self.session.map(|_| self.ping_at)];
        dialing.chain(watching.into_iter().flatten()).filter(|at| *at > now).min()
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let slot = |slot| {
            let entry = self.array.entry(slot)?;
            let socket = entry.open().or(entry.pending());
            let connection = socket.map(|socket| socket.connection);
            Some(SlotSnapshot { state: entry.state(), connection, heartbeat: entry.heartbeat })
        };
        let waiting = self.session.is_none() && !self.probation.required().is_zero();
        Snapshot {
            phase: self.phase(now),
            verdict: self.detector.verdict(now),
            session: self.session.map(|session| session.id),
            paths: self.paths.indices().map(|path| self.paths.round_trip(path)).collect(),
            best: self.paths.best(),
            slots: self.array.slots().filter_map(slot).collect(),
            probation: if waiting { self.probation.required() } else { self.probation.next(now) },
            flaps: self.probation.flaps(),
            heartbeats_sent: self.beats.sent,
            heartbeats_received: self.beats.received,
            heartbeats_refused: self.beats.refused,
            last_error: self.last_error.clone(),
        }
    }

    fn phase(&self, now: Instant) -> Phase {
        if self.session.is_some() {
            return Phase::Up;
        }
        if self.backs_off_until(now).is_some() {
            return Phase::BackingOff;
        }
        if self.array.pending_count() > 0 || self.probation.is_passed(now) {
            return Phase::Connecting;
        }
        if self.probation.passes_at(now).is_some() { Phase::Probation } else { Phase::Down }
    }

    // Heartbeats.

    fn recv_heartbeat(&mut self, datagram: &Datagram, from: Option<PathIndex>, now: Instant) {
        match self.beats.receive(datagram, from, now) {
            replay_guard::Verdict::Fresh => {}
            replay_guard::Verdict::NewInstance => self.on_new_instance(datagram.instance, now),
            replay_guard::Verdict::Replayed => return,
            replay_guard::Verdict::Unproven(echo) => {
                let session = self.session.map(|session| session.id);
                let datagram = self.beats.challenge(echo, session);
                self.send_heartbeat(from.unwrap_or(self.paths.best()), datagram, now);
                return;
            }
        }
        self.any_heartbeat = Some(now);
        self.told.forged = false;
        let Some(echo) = datagram.echo.filter(|echo| echo.instance == self.rules.instance) else { return };
        if !self.paths.echoed(echo.number, Duration::from_micros(u64::from(echo.held_us)), now) {
            return;
        }
        self.array.stamp(now);
        self.detector.signal(Signal::Heartbeat, now);
        let begins = self.probation.heartbeat(now);
        if begins && self.session.is_none() && !self.probation.required().is_zero() {
            let (length, flaps) = (self.probation.required(), self.probation.flaps());
            self.tell(Event::ProbationStarted { length, flaps });
        }
    }

    fn on_new_instance(&mut self, instance: Instance, now: Instant) {
        // It believes us as soon as it has our answer.
        self.beats.hasten(now);
        if self.session.is_some_and(|session| session.peer != instance) {
            self.end_session(Ended::Restarted, None, now);
        }
    }

    fn recv_forged(&mut self, cause: String) {
        self.beats.refused += 1;
        // Where there is no session, the handshake will say what is wrong.
        if self.session.is_none() {
            self.last_error = Some(cause);
        } else if !std::mem::replace(&mut self.told.forged, true) {
            self.tell(Event::Forged { cause });
        }
    }

    fn send_heartbeat(&mut self, to: PathIndex, datagram: Datagram, now: Instant) {
        self.paths.sent(datagram.number, to, now);
        self.outputs.push_back(Output::Heartbeat { to, datagram });
    }

    fn send_heartbeats(&mut self, now: Instant) {
        let session = self.session.map(|session| session.id);
        for path in self.beats.due(now).unwrap_or_default() {
            let datagram = self.beats.compose(path, session, now);
            self.send_heartbeat(path, datagram, now);
        }
    }

    // Connections.

    fn on_dialed(&mut self, slot: Slot, connection: ConnectionId, peer: Introduced, now: Instant) {
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

    fn on_arrived(&mut self, slot: Slot, connection: ConnectionId, peer: Introduced, now: Instant) {
        let turned = if self.shut {
            Some(Failure::Unreachable("shutting down".into()))
        } else if self.over.contains(&peer.session) {
            Some(Failure::SessionOver)
        } else if slot.0 >= self.rules.connections.min(peer.connections) {
            Some(Failure::Refused(format!("slot {slot} is beyond the {} agreed", self.rules.connections)))
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

    fn begin_session(&mut self, peer: Introduced, socket: Option<Socket>, now: Instant) {
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

    fn on_failed(&mut self, slot: Slot, connection: ConnectionId, failure: Failure, now: Instant) {
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
        self.tell_refusal(cause, Some(pause));
    }

    fn on_rejected(&mut self, failure: Failure) {
        let (Failure::Refused(cause) | Failure::Unreachable(cause)) = failure else { return };
        self.last_error = Some(cause.clone());
        self.tell_refusal(cause, None);
    }

    /// Once, until it is another or a session was up.
    fn tell_refusal(&mut self, cause: String, retry: Option<Duration>) {
        if self.told.refusal.as_ref() != Some(&cause) {
            self.told.refusal = Some(cause.clone());
            self.tell(Event::Refused { cause, retry });
        }
    }

    fn on_closed(&mut self, slot: Slot, connection: ConnectionId, cause: String, now: Instant) {
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

    fn close(&mut self, connection: ConnectionId, farewell: Option<ByeReason>) {
        self.outputs.push_back(Output::Close { connection, farewell });
    }

    // The session's end.

    fn on_bye(&mut self, connection: ConnectionId, reason: ByeReason, now: Instant) {
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

    fn on_misbehaved(&mut self, session: SessionId, cause: String, now: Instant) {
        if self.session.is_none_or(|current| current.id != session) {
            return;
        }
        self.last_error = Some(cause.clone());
        self.tell(Event::PeerMisbehaved { cause });
        self.end_session(Ended::Misbehaved, Some(ByeReason::Misbehaved), now);
        self.dismissals.failed(now);
    }

    fn shut_down(&mut self, now: Instant) {
        self.shut = true;
        self.end_session(Ended::Shutdown, Some(ByeReason::Shutdown), now);
        self.cancel_dials();
    }

    fn end_session(&mut self, why: Ended, farewell: Option<ByeReason>, now: Instant) {
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

    fn cancel_dials(&mut self) {
        for (slot, socket) in self.array.pending_slots() {
            self.array.entry_mut(slot).forget(socket.connection);
            self.close(socket.connection, None);
        }
    }

    /// Names of sessions need only differ: from each other, and from those of other runs.
    fn draw_session(&mut self) {
        self.attempts += 1;
        self.attempt = SessionId(mixed(self.rules.seed ^ mixed(self.attempts)).max(1));
    }

    // What follows from how things stand.

    fn backs_off_until(&self, now: Instant) -> Option<Instant> {
        self.refusals.waits_until(now).max(self.dismissals.waits_until(now))
    }

    fn on_seen(&mut self, bytes: Option<Instant>, waiting: Option<Instant>, now: Instant) {
        if self.session.is_some() {
            bytes.into_iter().for_each(|at| self.detector.signal(Signal::Bytes, at));
            self.detector.signal(Signal::Waiting(waiting), now);
        }
    }

    fn settle(&mut self, now: Instant) {
        if self.shut {
            return;
        }
        self.send_heartbeats(now);
        self.judge(now);
        self.ask_for_life(now);
        if let Some(moved) = self.paths.consider(now).filter(|_| self.rules.dialer && self.session.is_some()) {
            self.tell(Event::Moved { from: moved.from, to: moved.to, why: moved.why });
        }
        if self.rules.dialer {
            self.dial_what_is_due(now);
            self.move_one(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let verdict = self.detector.verdict(now);
        if verdict == Verdict::LinkDead {
            return self.bury(now);
        }
        if self.session.is_none() {
            return;
        }
        let slow = verdict == Verdict::PeerSlow;
        if slow != self.told.slow {
            self.told.slow = slow;
            self.outputs.push_back(Output::PeerSlow(slow));
            let event = if slow { Event::PeerSlow { since: self.rules.heartbeat.timeout } } else { Event::PeerFine };
            self.tell(event);
        }
        let filtered = self.detector.is_filtered(now);
        if filtered != self.told.filtered {
            self.told.filtered = filtered;
            let one_way = self.any_heartbeat.is_some_and(|at| now - at < self.rules.heartbeat.timeout);
            self.tell(if filtered { Event::UdpFiltered { one_way } } else { Event::UdpHeard });
        }
    }

    /// Neither heartbeat nor bytes: slots are marked closed, connections closed, and the next ones must be earned.
    fn bury(&mut self, now: Instant) {
        if !std::mem::take(&mut self.armed) {
            return;
        }
        let (heartbeat_silence, silence) = (self.detector.heartbeat_silence(now), self.detector.silence(now));
        self.tell(Event::LinkDead { heartbeat_silence, silence });
        self.probation.flapped(now);
        self.end_session(Ended::LinkDead, None, now);
        self.cancel_dials();
        self.blind_from = now + self.blind_pause();
    }

    /// Where no heartbeat comes, the connections are asked, so that silence of both is told from silence of one.
    fn ask_for_life(&mut self, now: Instant) {
        if self.session.is_none() || now < self.ping_at {
            return;
        }
        let pause = self.rules.heartbeat.timeout / 3;
        if self.detector.heartbeat_silence(now).is_none_or(|silence| silence >= pause) {
            self.outputs.push_back(Output::Ping);
        }
        self.ping_at = now + pause;
    }

    fn dial_what_is_due(&mut self, now: Instant) {
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
    fn blind_pause(&self) -> Duration {
        if self.trusts_udp { BLIND_RARE } else { self.rules.heartbeat.timeout.max(self.probation.required()) }
    }

    fn dial(&mut self, slot: Slot, session: SessionId) {
        self.connections += 1;
        let (connection, to) = (ConnectionId(self.connections), self.paths.best());
        self.array.entry_mut(slot).begin(Socket { connection, path: Some(to) });
        self.outputs.push_back(Output::Dial { slot, connection, to, session });
    }

    /// A slot that leads to another address than the best is replaced, one at a time: the others carry on meanwhile.
    fn move_one(&mut self, now: Instant) {
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

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// SplitMix64's mixing: every bit of the answer depends on every bit asked.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A refusal mends itself when somebody changes something.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// Somebody may have begun to filter UDP while the link was down.
const BLIND_RARE: Duration = Duration::from_secs(60);

/// A session that lived so long was a good one: what ended those before is forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Sessions whose late connections are told apart: those of the last few flaps.
const OVER_MAX: usize = 16;
