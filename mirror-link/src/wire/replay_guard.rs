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

    /// What our next datagram echoes.
    pub fn echo(&self, now: Instant) -> Option<Echo> {
        let _ = (now, self.believed.map(|heard| (heard.instance, heard.number, heard.at)));
        todo!()
    }

    pub fn receive(&mut self, now: Instant, datagram: &Datagram) -> Verdict {
        let _ = (now, datagram, self.ours, self.echoed);
        todo!()
    }
}
