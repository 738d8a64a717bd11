//! Heartbeats both ways: which number goes out, what it echoes, and whether one that came is of now.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::paths::PathIndex;
use crate::ids::{Instance, NodeName, SessionId};
use crate::wire::datagram::{Datagram, Echo};
use crate::wire::replay_guard::{ReplayGuard, Verdict};

#[derive(Debug)]
pub struct Beats {
    node: NodeName,
    instance: Instance,
    /// T2.
    interval: Duration,
    guard: ReplayGuard,
    next_at: Instant,
    turn: u64,
    /// The last one heard of each of the peer's addresses, and of anywhere else.
    heard: Vec<Option<Heard>>,
    pub sent: u64,
    pub received: u64,
    /// Forged, replayed or malformed.
    pub refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    instance: Instance,
    number: u64,
    at: Instant,
    echoed: bool,
}

impl Beats {
    pub fn new(node: NodeName, instance: Instance, interval: Duration, addresses: u8, now: Instant) -> Beats {
        let guard = ReplayGuard::new(instance);
        let heard = vec![None; usize::from(addresses) + 1];
        Beats { node, instance, interval, guard, next_at: now, turn: 0, heard, sent: 0, received: 0, refused: 0 }
    }

    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Every interval, to every address; each is the last one in turn, as the peer echoes the newest where it can't tell
    /// addresses apart.
    pub fn due(&mut self, now: Instant) -> Option<Vec<PathIndex>> {
        if now < self.next_at {
            return None;
        }
        // Not the multiple of the interval: a process that was stopped does not make up for it.
        self.next_at = now + self.interval;
        self.turn += 1;
        let addresses = self.heard.len() as u64 - 1;
        Some((0..addresses).map(|place| PathIndex(((self.turn + place) % addresses) as u8)).collect())
    }

    /// Sooner than the interval asks.
    pub fn hasten(&mut self, now: Instant) {
        self.next_at = now;
    }

    /// Counts the intervals: all that goes out in one of them tells of the same groups.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    pub fn compose(&mut self, to: PathIndex, session: Option<SessionId>, now: Instant) -> Datagram {
        let echo = self.echo(to, now);
        self.with_echo(session, echo)
    }

    /// What answers a peer that has yet to prove itself.
    pub fn challenge(&mut self, echo: Echo, session: Option<SessionId>) -> Datagram {
        self.with_echo(session, Some(echo))
    }

    pub fn receive(&mut self, datagram: &Datagram, from: Option<PathIndex>, now: Instant) -> Verdict {
        let verdict = self.guard.receive(now, datagram);
        match verdict {
            Verdict::Fresh | Verdict::NewInstance => {
                self.received += 1;
                let place = from.map_or(self.heard.len() - 1, |path| usize::from(path.0));
                let heard = Heard { instance: datagram.instance, number: datagram.number, at: now, echoed: false };
                self.heard[place] = Some(heard);
            }
            Verdict::Replayed => self.refused += 1,
            Verdict::Unproven(_) => {}
        }
        verdict
    }

    fn with_echo(&mut self, session: Option<SessionId>, echo: Option<Echo>) -> Datagram {
        self.sent += 1;
        Datagram {
            node: self.node.clone(),
            instance: self.instance,
            session,
            number: self.guard.next_number(),
            echo,
            groups: SmallVec::new(),
        }
    }

    /// What came from there; else what is not told yet; else the newest.
    fn echo(&mut self, to: PathIndex, now: Instant) -> Option<Echo> {
        let there = usize::from(to.0);
        let newest = |places: &mut dyn Iterator<Item = (usize, &Option<Heard>)>| {
            places.filter_map(|(place, heard)| Some((heard.as_ref()?.at, place))).max().map(|(_, place)| place)
        };
        let untold = |heard: &Option<Heard>| heard.is_some_and(|heard| !heard.echoed);
        let place = if untold(&self.heard[there]) {
            there
        } else {
            newest(&mut self.heard.iter().enumerate().filter(|(_, heard)| untold(heard)))
                .or_else(|| newest(&mut self.heard.iter().enumerate()))?
        };
        let heard = self.heard[place].as_mut()?;
        heard.echoed = true;
        let held_us = u32::try_from(now.duration_since(heard.at).as_micros()).unwrap_or(u32::MAX);
        Some(Echo { instance: heard.instance, number: heard.number, held_us })
    }
}
