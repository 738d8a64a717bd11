//! I7: who greeted each other with the same two Hellos come to one decision, and do not go on greeting without anything new.

use super::Checker;
use crate::replica::status::Decision;
use crate::sim::net::SessionIndex;
use crate::sim::scenario::NAMES;
use crate::sim::world::World;
use crate::wire::message::Message;

/// Of one session, by node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchange {
    /// The number of its last Hello.
    said: [Option<u64>; 2],
    /// Of the last Hello of the other that came to it.
    heard: [Option<u64>; 2],
    /// Somebody's stream has begun: acknowledgements and Begins say from then on what Hellos did not, to the one before the other.
    begun: bool,
    /// Its Hellos since something happened to either that does not follow from what the other said.
    restless: [u32; 2],
}

impl Exchange {
    /// Each decided on the other's last Hello, and has said nothing since that the other has not heard.
    fn is_complete(&self) -> bool {
        let has = |from: usize| self.said[from].is_some() && self.said[from] == self.heard[1 - from];
        has(0) && has(1)
    }
}

impl World {
    /// Before it is sent.
    pub(in crate::sim) fn says(&mut self, node: usize, message: &Message) {
        let Some(session) = self.process(node).session else { return };
        match message {
            Message::Hello(hello) => self.says_hello(session, node, hello.number),
            Message::Begin(_) => self.net.sessions[session].exchange.begun = true,
            _ => (),
        }
    }

    fn says_hello(&mut self, session: SessionIndex, node: usize, number: u64) {
        let exchange = &mut self.net.sessions[session].exchange;
        if exchange.said[node].is_some_and(|said| said >= number) {
            return;
        }
        exchange.said[node] = Some(number);
        exchange.restless[node] += 1;
        let times = exchange.restless[node];
        if times > HELLOS_MAX {
            let text = format!("{} greets for the {times}th time, and nothing has happened", NAMES[node]);
            self.violate(Checker::OneDecision, text);
        }
    }

    pub(in crate::sim) fn hears_hello(&mut self, session: SessionIndex, node: usize, number: u64) {
        let heard = &mut self.net.sessions[session].exchange.heard[node];
        *heard = (*heard).max(Some(number));
    }

    /// What is decided from now on may be new.
    pub(in crate::sim) fn something_happens(&mut self) {
        if let Some(session) = self.net.sessions.last_mut() {
            session.exchange.restless = [0; 2];
        }
    }

    /// A turn has ended.
    pub(in crate::sim) fn check_one_decision(&mut self, node: usize) {
        let session = self.process(node).session;
        let other = self.nodes[1 - node].process.as_ref().and_then(|process| process.session);
        let Some(session) = session.filter(|_| other == session) else { return };
        let exchange = self.net.sessions[session].exchange;
        // What is on its way to a record is said once it is there; what can't be said, when that is possible again.
        let has_said = |node: usize| self.nodes[node].store.is_settled() && self.net.sessions[session].can_speak(node);
        if !exchange.is_complete() || !has_said(0) || !has_said(1) {
            return;
        }
        let decided = |node: usize| self.nodes[node].status().and_then(|status| status.decision.as_ref());
        let [a, b] = [decided(0), decided(1)];
        let mirrored = a.zip(b).is_some_and(|(a, b)| are_mirrored(a, b, exchange.begun));
        if !mirrored {
            let said = exchange.said;
            let text = format!("of Hellos {said:?} {} makes {a:?}, {} makes {b:?}", NAMES[0], NAMES[1]);
            self.violate(Checker::OneDecision, text);
        }
    }
}

/// The words name the nodes, whoever says them. Once a stream has begun what it is to carry is the source's alone to say.
fn are_mirrored(a: &Decision, b: &Decision, begun: bool) -> bool {
    let [who_a, who_b] = [a, b].map(|decision| decision.text.split(':').next());
    if begun {
        return who_a == who_b;
    }
    let row = match b.row {
        6 => 7,
        7 => 6,
        row => row,
    };
    a.row == row && a.text == b.text
}

/// Each change that a Hello brings about comes once.
const HELLOS_MAX: u32 = 12;
