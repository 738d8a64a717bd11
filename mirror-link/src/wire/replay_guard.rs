//! Which authentic heartbeats are of now, and not recordings.

use std::time::Instant;

use super::datagram::{Datagram, Echo};
use crate::ids::Instance;

/// One peer's heartbeats, and the numbers of ours.
///
/// Within an instance the number grows. Another instance is believed once it echoes a number of ours that is greater than
/// all that were echoed before: no recording does.
#[derive(Debug)]
pub struct ReplayGuard {
    ours: Instance,
    /// The last number that we sent.
    sent: u64,
    /// The greatest of ours that was echoed.
    echoed: u64,
    believed: Option<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    instance: Instance,
    number: u64,
    at: Instant,
}

/// What to do with an authentic datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A sign of life.
    Fresh,
    /// A sign of life of another run of the peer than before: everything known of the former is gone.
    NewInstance,
    /// Perhaps a recording, perhaps a peer that does not know us yet: no sign of life. Answer at once with this echo, so that
    /// it can prove itself; one answer for each, so no answer calls forth another.
    Unproven(Echo),
    /// Not newer than what came before.
    Replayed,
}

impl ReplayGuard {
    pub fn new(ours: Instance) -> ReplayGuard {
        ReplayGuard { ours, sent: 0, echoed: 0, believed: None }
    }

    /// The number of our next datagram to this peer.
    pub fn next_number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// What our next datagram echoes: the last that we believe.
    pub fn echo(&self, now: Instant) -> Option<Echo> {
        self.believed.map(|heard| heard.echo(now))
    }

    pub fn receive(&mut self, now: Instant, datagram: &Datagram) -> Verdict {
        let heard = Heard { instance: datagram.instance, number: datagram.number, at: now };
        match self.believed {
            Some(before) if before.instance == heard.instance => {
                if heard.number <= before.number {
                    return Verdict::Replayed;
                }
                self.believe(heard, datagram);
                Verdict::Fresh
            }
            _ if self.proves_itself(datagram) => {
                self.believe(heard, datagram);
                Verdict::NewInstance
            }
            _ => Verdict::Unproven(heard.echo(now)),
        }
    }

    fn believe(&mut self, heard: Heard, datagram: &Datagram) {
        self.believed = Some(heard);
        if let Some(number) = self.ours_echoed(datagram) {
            self.echoed = self.echoed.max(number);
        }
    }

    /// A recording echoes what was echoed before; another's echo is of a former instance of ours.
    fn proves_itself(&self, datagram: &Datagram) -> bool {
        self.ours_echoed(datagram).is_some_and(|number| number > self.echoed)
    }

    /// Which of the numbers that we did send it echoes.
    fn ours_echoed(&self, datagram: &Datagram) -> Option<u64> {
        datagram.echo.filter(|echo| echo.instance == self.ours && echo.number <= self.sent).map(|echo| echo.number)
    }
}

impl Heard {
    fn echo(&self, now: Instant) -> Echo {
        let held = now.saturating_duration_since(self.at).as_micros();
        let held_us = u32::try_from(held).unwrap_or(u32::MAX);
        Echo { instance: self.instance, number: self.number, held_us }
    }
}
