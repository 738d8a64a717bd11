//! When to ask an idle initiator whether it still lives (NOP-In with a TTT, RFC 7143 §11.19), and when to give it up.
//!
//! Arithmetic on times told to it; any received byte counts as life.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveTimes {
    /// Silence after which a NOP-In asks.
    pub interval: Duration,
    /// Silence after the question at which the connection is given up.
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Alive,
    /// Ask now.
    Ask,
    Dead,
}

#[derive(Debug)]
pub struct Keepalive {
    times: KeepaliveTimes,
    heard: Instant,
    asked: Option<Instant>,
}

impl Keepalive {
    pub fn new(times: KeepaliveTimes, now: Instant) -> Keepalive {
        Keepalive { times, heard: now, asked: None }
    }

    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    pub fn next_timeout(&self) -> Instant {
        match self.asked {
            Some(asked) => asked + self.times.timeout,
            None => self.heard + self.times.interval,
        }
    }

    pub fn verdict(&mut self, now: Instant) -> Verdict {
        if now < self.next_timeout() {
            return Verdict::Alive;
        }
        if self.asked.is_some() {
            return Verdict::Dead;
        }
        self.asked = Some(now);
        Verdict::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_asked_about_once_and_then_is_death() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let times = KeepaliveTimes { interval: Duration::from_secs(10), timeout: Duration::from_secs(5) };
        let mut k = Keepalive::new(times, start);
        assert_eq!(k.verdict(at(9)), Verdict::Alive);
        assert_eq!(k.verdict(at(10)), Verdict::Ask);
        assert_eq!(k.verdict(at(14)), Verdict::Alive);
        k.heard(at(14));
        assert_eq!(k.next_timeout(), at(24));
        assert_eq!(k.verdict(at(24)), Verdict::Ask);
        assert_eq!(k.verdict(at(29)), Verdict::Dead);
    }
}
