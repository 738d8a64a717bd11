//! What a peer's outputs must keep to, whatever goes in; knows nothing of how they come about.

use std::collections::{HashMap, HashSet};

use crate::ids::{SessionId, Slot};
use crate::peer::array::ConnectionId;
use crate::peer::io::Output;

#[derive(Debug, Default)]
pub struct Checker {
    session: Option<SessionId>,
    former: HashSet<SessionId>,
    slots: HashMap<Slot, ConnectionId>,
    /// Dialed or arrived, and neither up, turned nor closed.
    pending: HashSet<ConnectionId>,
    /// Down as slots, to be closed yet.
    dangling: HashSet<ConnectionId>,
    /// Closed, or ended by themselves: to close them again does no harm.
    gone: HashSet<ConnectionId>,
    most: u8,
}

impl Checker {
    pub fn arrived(&mut self, connection: ConnectionId) {
        assert!(self.pending.insert(connection), "{connection:?} arrives once");
    }

    /// The socket is gone: nobody need close it.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.gone.insert(connection);
    }

    pub fn output(&mut self, output: &Output) {
        match *output {
            Output::Dial { connection, .. } => assert!(self.pending.insert(connection), "numbers are used once"),
            Output::Turn { connection, .. } => assert!(self.pending.remove(&connection), "it arrived"),
            Output::Close { connection, .. } => {
                let known = self.pending.remove(&connection) | self.dangling.remove(&connection);
                let before = !self.gone.insert(connection);
                assert!(known || before, "{connection:?} is pending, or its slot is down");
            }
            Output::SessionUp { session, slots, .. } => {
                assert!(self.session.is_none(), "one session at a time");
                assert!(self.former.insert(session), "a session does not return");
                assert!(self.slots.is_empty(), "slots are of a session");
                (self.session, self.most) = (Some(session), slots);
            }
            Output::SlotUp { slot, connection } => {
                assert!(self.session.is_some(), "a slot is of a session");
                assert!(slot.0 < self.most, "slot {slot} of {}", self.most);
                assert!(self.pending.remove(&connection), "{connection:?} was made");
                assert_eq!(self.slots.insert(slot, connection), None, "slot {slot} was free");
            }
            Output::SlotDown { slot } => {
                let connection = self.slots.remove(&slot).expect("the slot was up");
                if !self.gone.contains(&connection) {
                    self.dangling.insert(connection);
                }
            }
            Output::SessionDown { session } => {
                assert_eq!(self.session.take(), Some(session), "it was up");
                assert!(self.slots.is_empty(), "its slots are down before: {:?}", self.slots);
            }
            Output::PeerSlow(_) | Output::Ping => assert!(self.session.is_some(), "there is somebody to ask"),
            Output::Heartbeat { .. } | Output::Told { .. } | Output::Event(_) => {}
        }
    }

    /// After all outputs of one input.
    pub fn settled(&self) {
        assert!(self.dangling.is_empty(), "connections without a slot are closed: {:?}", self.dangling);
        assert_eq!(self.session.is_none(), self.slots.is_empty(), "a session lives as long as a slot does");
    }

    pub fn is_up(&self, connection: ConnectionId) -> bool {
        self.slots.values().any(|open| *open == connection)
    }

    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    pub fn open(&self) -> usize {
        self.slots.len()
    }
}
