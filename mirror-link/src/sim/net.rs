//! The line between the nodes: sessions of n connections. Each direction of a connection keeps its order; nothing else does.

use super::Time;
use super::checkers::Exchange;
use crate::ids::{SessionId, Slot};
use crate::wire::message::Message;

/// A session's place in [`Net::sessions`].
pub type SessionIndex = usize;

/// How one side sees a session or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It will be told that it is there.
    Coming,
    Up,
    Down,
}

/// One connection of a session. Both arrays are indexed by the side that receives.
#[derive(Debug)]
pub struct Connection {
    /// Which one it is in its slot: what is under way on a former one is lost.
    pub number: u32,
    pub ends: [End; 2],
    /// When the last message under way arrives.
    last: [Time; 2],
    /// Nothing arrives before.
    stalled_until: [Time; 2],
    /// What arrives later than this is lost.
    pub passes_until: [Time; 2],
    /// Arrived before the receiver was told of the connection, or while the line was cut.
    pub held: [Vec<Message>; 2],
}

impl Connection {
    fn new(number: u32) -> Connection {
        Connection {
            number,
            ends: [End::Coming; 2],
            last: [0; 2],
            stalled_until: [0; 2],
            passes_until: [Time::MAX; 2],
            held: [Vec::new(), Vec::new()],
        }
    }

    /// When a message arrives that would take until `at` were it alone.
    pub fn arrival(&mut self, to: usize, at: Time) -> Time {
        let at = at.max(self.last[to]).max(self.stalled_until[to]);
        self.last[to] = at;
        at
    }

    pub fn stall(&mut self, to: usize, until: Time) {
        self.stalled_until[to] = self.stalled_until[to].max(until);
    }
}

#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    /// Which process of each node it is with.
    pub incarnations: [u32; 2],
    pub ends: [End; 2],
    pub slots: Vec<Connection>,
    pub exchange: Exchange,
}

impl Session {
    pub fn is_whole(&self) -> bool {
        !self.ends.contains(&End::Down)
    }

    pub fn slot(&mut self, slot: Slot) -> &mut Connection {
        &mut self.slots[usize::from(slot.0)]
    }

    /// The connection in that slot is another one from now on; neither side knows of it yet.
    pub fn renew(&mut self, slot: Slot) -> u32 {
        let connection = self.slot(slot);
        *connection = Connection::new(connection.number + 1);
        connection.number
    }

    pub fn has_slots(&self, side: usize) -> bool {
        self.slots.iter().any(|connection| connection.ends[side] != End::Down)
    }

    /// It has a connection to say something on.
    pub fn can_speak(&self, side: usize) -> bool {
        self.slots.iter().any(|connection| connection.ends[side] == End::Up)
    }

    /// One side has given it up. What had arrived and not come through may do so yet, too late.
    pub fn end(&mut self, side: usize) {
        self.ends[side] = End::Down;
        self.slots.iter_mut().for_each(|connection| connection.ends[side] = End::Down);
    }

    /// Nobody is there any more who could hear it.
    pub fn forget(&mut self, side: usize) {
        self.slots.iter_mut().for_each(|connection| connection.held[side].clear());
    }
}

#[derive(Debug, Default)]
pub struct Net {
    pub sessions: Vec<Session>,
    /// By the side that receives: since when nothing reaches it.
    pub cut_since: [Option<Time>; 2],
    /// Somebody is dialing.
    pub dialing: bool,
    /// By the side that receives: when the last heartbeat under way arrives. Older ones are not believed.
    pub beats: [Time; 2],
}

impl Net {
    pub fn open(&mut self, id: SessionId, incarnations: [u32; 2], slots: u8) -> SessionIndex {
        let slots = (0..slots).map(|_| Connection::new(0)).collect();
        self.sessions.push(Session { id, incarnations, ends: [End::Coming; 2], slots, exchange: Exchange::default() });
        self.sessions.len() - 1
    }

    pub fn current(&self) -> Option<SessionIndex> {
        let newest = self.sessions.len().checked_sub(1)?;
        self.sessions[newest].is_whole().then_some(newest)
    }

    pub fn is_cut(&self) -> bool {
        self.cut_since.iter().any(Option::is_some)
    }
}
