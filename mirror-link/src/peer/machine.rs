use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::array::ConnectionArray;
use super::beats::Beats;
use super::detector::{Detector, Signal, Verdict};
use super::event::{Ended, Event};
use super::io::{Input, Output, Phase, Rules, SlotSnapshot, Snapshot};
use super::paths::{PathIndex, Paths};
use super::probation::Probation;
use super::retry::Retry;
use crate::ids::{Instance, SessionId};
use crate::wire::datagram::Datagram;
use crate::wire::replay_guard;

/// One peer. `handle` an input, then `poll_output` until there is none, then sleep until `poll_timeout`.
#[derive(Debug)]
pub struct Peer {
    pub(super) rules: Rules,
    pub(super) beats: Beats,
    pub(super) detector: Detector,
    pub(super) probation: Probation,
    pub(super) paths: Paths,
    pub(super) array: ConnectionArray,
    pub(super) session: Option<Session>,
    /// What the dialer calls the session that it is about to begin.
    pub(super) attempt: SessionId,
    pub(super) attempts: u64,
    pub(super) connections: u64,
    /// Sessions that ended, newest last, at most [`OVER_MAX`]: a connection that was under way then does not begin them anew.
    pub(super) over: VecDeque<SessionId>,
    /// Handshakes.
    pub(super) refusals: Retry,
    /// Sessions that one side ended because of the other.
    pub(super) dismissals: Retry,
    /// The link was up and has neither died nor been left in good order since: its death counts as a flap.
    pub(super) armed: bool,
    /// Without heartbeats connections are tried from then on.
    pub(super) blind_from: Instant,
    /// Heartbeats came until the end of the last session: their silence is the link's, not a firewall's.
    pub(super) trusts_udp: bool,
    pub(super) ping_at: Instant,
    /// The last authentic heartbeat, whether or not it shows that ours arrive.
    pub(super) any_heartbeat: Option<Instant>,
    pub(super) told: Told,
    pub(super) last_error: Option<String>,
    pub(super) started: Instant,
    pub(super) shut: bool,
    pub(super) outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub id: SessionId,
    pub peer: Instance,
    pub slots: u8,
    pub since: Instant,
}

/// What the administrator and the groups know, so that they are told once.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub slow: bool,
    pub filtered: bool,
    pub unreachable: bool,
    pub alone: bool,
    pub forged: bool,
    pub refusal: Option<String>,
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
            started: now,
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
            Input::Heartbeat { datagram, from } => self.recv_heartbeat(datagram, from, now),
            Input::Forged { cause } => self.recv_forged(cause),
            Input::Dialed { slot, connection, peer } => self.on_dialed(slot, connection, peer, now),
            Input::Failed { slot, connection, failure } => self.on_failed(slot, connection, failure, now),
            Input::Arrived { slot, connection, peer } => self.on_arrived(slot, connection, peer, now),
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

    fn recv_heartbeat(&mut self, datagram: Datagram, from: Option<PathIndex>, now: Instant) {
        match self.beats.receive(&datagram, from, now) {
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
        if !datagram.groups.is_empty() {
            self.outputs.push_back(Output::Told { instance: datagram.instance, groups: datagram.groups });
        }
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
        // Anybody may have sent it: the peer's status is not theirs to write.
        if !std::mem::replace(&mut self.told.forged, true) {
            self.tell(Event::Forged { cause });
        }
    }

    fn send_heartbeat(&mut self, to: PathIndex, datagram: Datagram, now: Instant) {
        self.paths.sent(datagram.number, to, now);
        self.outputs.push_back(Output::Heartbeat { to, datagram, turn: self.beats.turn() });
    }

    fn send_heartbeats(&mut self, now: Instant) {
        let session = self.session.map(|session| session.id);
        for path in self.beats.due(now).unwrap_or_default() {
            let datagram = self.beats.compose(path, session, now);
            self.send_heartbeat(path, datagram, now);
        }
    }

    // What follows from how things stand.

    pub(super) fn backs_off_until(&self, now: Instant) -> Option<Instant> {
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
            self.bury(now);
        }
        if self.session.is_none() {
            return self.tell_of_being_alone(verdict, now);
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
        self.array.slots().for_each(|slot| self.array.entry_mut(slot).forgive());
        self.blind_from = now + self.blind_pause();
    }

    fn tell_of_being_alone(&mut self, verdict: Verdict, now: Instant) {
        let connected_before = !self.over.is_empty();
        let nobody = verdict == Verdict::LinkDead && !connected_before && now >= self.started + ALONE_MAX;
        let heard = self.probation.passes_at(now).is_some_and(|at| now >= at + ALONE_MAX);
        // The dialer knows what became of its attempts.
        let ignored = heard && !self.rules.dialer;
        if (nobody || ignored) && !std::mem::replace(&mut self.told.alone, true) {
            self.tell(if nobody { Event::NobodyHeard } else { Event::NotDialed });
        }
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

    pub(super) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// A refusal mends itself when somebody changes something.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// Two nodes that are started together have met by then.
const ALONE_MAX: Duration = Duration::from_secs(10);
