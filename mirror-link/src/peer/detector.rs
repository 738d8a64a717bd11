//! Failure detection is arithmetic: when something was last heard, against how long it may be silent.
//!
//! ```text
//!   heartbeats (UDP)   bytes (TCP)   acknowledgements      verdict
//!   ─────────────────────────────────────────────────────────────────────
//!   come               any           come, or none due     Healthy
//!   come               any           due, none for T1      PeerSlow
//!   none for T1        come for T1   come, or none due     UdpFiltered
//!   none for T1        come          due, none for T1      PeerSlow
//!   none for T1        none for T1   any                   LinkDead
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The failure detector's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Healthy,
    /// Neither heartbeat nor progress on any connection for T1.
    LinkDead,
    /// Signs of life come, acknowledgements stall.
    PeerSlow,
    /// The connections make progress, no heartbeat comes.
    UdpFiltered,
}

/// What is heard of the peer. None of them comes late: a caller that learns of a sign afterwards gives the time it was seen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A heartbeat that shows that ours arrive too.
    Heartbeat,
    /// Bytes on any connection.
    Bytes,
    /// Since when writes that were sent wait without any acknowledgement coming; `None`: nothing is due.
    Waiting(Option<Instant>),
}

#[derive(Debug)]
pub struct Detector {
    /// T1.
    timeout: Duration,
    heartbeat: Option<Instant>,
    bytes: Option<Instant>,
    waiting: Option<Instant>,
    /// The first heartbeat has T1 from then on to come.
    connected: Option<Instant>,
}

impl Detector {
    pub fn new(timeout: Duration) -> Detector {
        Detector { timeout, heartbeat: None, bytes: None, waiting: None, connected: None }
    }

    /// `at` may lie before that of an earlier signal of the same kind; the latest stands.
    pub fn signal(&mut self, signal: Signal, at: Instant) {
        match signal {
            Signal::Heartbeat => self.heartbeat = self.heartbeat.max(Some(at)),
            Signal::Bytes => self.bytes = self.bytes.max(Some(at)),
            Signal::Waiting(since) => self.waiting = since,
        }
    }

    pub fn connected(&mut self, at: Instant) {
        self.connected = Some(at);
        self.signal(Signal::Bytes, at);
    }

    /// The connections are gone: bytes that came on them say nothing of what comes now.
    pub fn disconnected(&mut self) {
        self.bytes = None;
        self.waiting = None;
        self.connected = None;
    }

    pub fn verdict(&self, now: Instant) -> Verdict {
        let (beats, flows) = (self.within(self.beat(), now), self.within(self.bytes, now));
        let stalls = self.waiting.is_some_and(|since| now.duration_since(since) >= self.timeout);
        match (beats, flows) {
            (false, false) => Verdict::LinkDead,
            _ if stalls => Verdict::PeerSlow,
            _ if self.is_filtered(now) => Verdict::UdpFiltered,
            _ => Verdict::Healthy,
        }
    }

    /// Do the connections live without heartbeats, whatever else the verdict says? Bytes must have come for T1 without one:
    /// where a cut line ends both, the last bytes may be a little newer than the last heartbeat.
    pub fn is_filtered(&self, now: Instant) -> bool {
        let outlived =
            |bytes: Instant| self.beat().is_none_or(|beat| bytes.saturating_duration_since(beat) >= self.timeout);
        self.within(self.bytes, now) && self.bytes.is_some_and(outlived)
    }

    fn beat(&self) -> Option<Instant> {
        self.heartbeat.max(self.connected)
    }

    /// How long the peer has been silent, in either way; `None`: it was never heard.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        self.heartbeat.max(self.bytes).map(|at| now.duration_since(at))
    }

    /// How long no heartbeat has come; `None`: there never was one.
    pub fn heartbeat_silence(&self, now: Instant) -> Option<Duration> {
        self.heartbeat.map(|at| now.duration_since(at))
    }

    /// When the verdict becomes LinkDead unless something is heard; `None`: it is.
    pub fn dies_at(&self, now: Instant) -> Option<Instant> {
        self.heartbeat.max(self.bytes).map(|at| at + self.timeout).filter(|at| *at > now)
    }

    fn within(&self, at: Option<Instant>, now: Instant) -> bool {
        at.is_some_and(|at| now.duration_since(at) < self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Duration = Duration::from_secs(3);

    /// Ages in milliseconds of the last heartbeat, bytes, and since when an acknowledgement is due; then the verdict.
    type Row = (Option<u64>, Option<u64>, Option<u64>, Verdict);

    #[test]
    fn the_table() {
        let rows: &[Row] = &[
            (None, None, None, Verdict::LinkDead),
            (Some(0), None, None, Verdict::Healthy),
            (Some(2999), None, None, Verdict::Healthy),
            (Some(3000), None, None, Verdict::LinkDead),
            (Some(3000), Some(2999), None, Verdict::Healthy),
            (Some(3100), Some(101), None, Verdict::Healthy),
            (Some(3100), Some(100), None, Verdict::UdpFiltered),
            (Some(3000), Some(3000), None, Verdict::LinkDead),
            (None, Some(100), None, Verdict::UdpFiltered),
            (None, Some(100), Some(3000), Verdict::PeerSlow),
            (Some(100), Some(100), Some(2999), Verdict::Healthy),
            (Some(100), Some(100), Some(3000), Verdict::PeerSlow),
            (Some(100), Some(9000), Some(9000), Verdict::PeerSlow),
            (Some(9000), Some(9000), Some(9000), Verdict::LinkDead),
        ];
        let start = Instant::now();
        let now = start + Duration::from_secs(60);
        let ago = |age: u64| now - Duration::from_millis(age);
        for (heartbeat, bytes, waiting, expected) in rows {
            let mut detector = Detector::new(T1);
            heartbeat.iter().for_each(|age| detector.signal(Signal::Heartbeat, ago(*age)));
            bytes.iter().for_each(|age| detector.signal(Signal::Bytes, ago(*age)));
            detector.signal(Signal::Waiting(waiting.map(ago)), now);
            assert_eq!(detector.verdict(now), *expected, "{heartbeat:?} {bytes:?} {waiting:?}");
            assert_eq!(detector.dies_at(now).is_none(), *expected == Verdict::LinkDead, "{heartbeat:?} {bytes:?}");
        }
    }

    #[test]
    fn the_first_heartbeat_may_come_after_the_connection() {
        let now = Instant::now();
        let mut detector = Detector::new(T1);
        detector.connected(now);
        for (age, expected) in [(2999, Verdict::Healthy), (3000, Verdict::UdpFiltered)] {
            let later = now + Duration::from_millis(age);
            detector.signal(Signal::Bytes, later);
            assert_eq!(detector.verdict(later), expected, "{age} ms");
            assert_eq!(detector.is_filtered(later), expected == Verdict::UdpFiltered, "{age} ms");
        }
    }

    #[test]
    fn an_acknowledgement_ends_slowness_at_once() {
        let now = Instant::now() + Duration::from_secs(60);
        let mut detector = Detector::new(T1);
        detector.signal(Signal::Heartbeat, now);
        detector.signal(Signal::Waiting(Some(now - T1)), now);
        assert_eq!(detector.verdict(now), Verdict::PeerSlow);
        detector.signal(Signal::Waiting(Some(now)), now);
        assert_eq!(detector.verdict(now), Verdict::Healthy);
    }

    #[test]
    fn a_late_report_does_not_turn_time_back() {
        let now = Instant::now() + Duration::from_secs(60);
        let mut detector = Detector::new(T1);
        detector.signal(Signal::Bytes, now);
        detector.signal(Signal::Bytes, now - T1);
        assert_eq!(detector.silence(now), Some(Duration::ZERO));
    }

    #[test]
    fn what_came_on_closed_connections_is_no_sign_of_life() {
        let now = Instant::now();
        let mut detector = Detector::new(T1);
        detector.signal(Signal::Bytes, now);
        detector.disconnected();
        assert_eq!(detector.verdict(now), Verdict::LinkDead);
    }
}
