//! What one slot's reader hands on: the frames of one wake-up, each group's together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use super::member::Member;
use super::outbox::Outbox;
use super::session::Session;
use crate::ids::GroupIndex;
use crate::wire::message::{ByeReason, Frame, GroupFrame, Message};

#[derive(Debug)]
pub struct Sorter {
    peer: Arc<str>,
    session: Arc<Session>,
    outbox: Arc<Outbox>,
    members: Arc<[Arc<dyn Member>]>,
    /// What the peer calls the groups, as its Hellos on this slot said: a group's first frame on a slot is its Hello.
    /// At most an entry for each of the 65536 numbers that a frame can name.
    called: HashMap<GroupIndex, Called>,
    /// By place in `members`.
    batches: Vec<Vec<Message>>,
    touched: SmallVec<[usize; 4]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    Ours(usize),
    /// Of that name we share none, or there was no Hello: its frames are not obeyed.
    Nobody,
}

impl Sorter {
    pub fn new(peer: Arc<str>, session: Arc<Session>, outbox: Arc<Outbox>, members: Arc<[Arc<dyn Member>]>) -> Sorter {
        let batches = members.iter().map(|_| Vec::new()).collect();
        Sorter { peer, session, outbox, members, called: HashMap::new(), batches, touched: SmallVec::new() }
    }

    /// Answers the reason if it is a Bye.
    pub fn take(&mut self, frame: Frame) -> Option<ByeReason> {
        self.outbox.counters.frames_received.fetch_add(1, Relaxed);
        match frame {
            Frame::Group(frame) => self.take_group(frame),
            Frame::Ping(number) => self.outbox.pong(number),
            Frame::Pong(_) => {}
            Frame::Bye(reason) => return Some(reason),
        }
        None
    }

    /// Every group gets what is its.
    pub fn deliver(&mut self) {
        for place in self.touched.drain(..) {
            let batch = &mut self.batches[place];
            self.members[place].received(self.session.id, batch);
            batch.clear();
        }
    }

    fn take_group(&mut self, frame: GroupFrame) {
        if frame.session != self.session.id {
            tracing::debug!(peer = %self.peer, session = %frame.session, "a frame of another session is not obeyed");
            return;
        }
        if let Message::Hello(hello) = &frame.message {
            let place = self.members.iter().position(|member| *member.name() == hello.group);
            self.called.insert(frame.group, place.map_or(Called::Nobody, Called::Ours));
            match place {
                Some(place) => self.session.met(place),
                None if self.session.foreign(&hello.group) => tracing::warn!(
                    peer = %self.peer, group = %hello.group,
                    "the peer mirrors a group with us that is not configured here: its volumes are not kept alike; \
                     add them to this node's configuration, or take `mirror` from them there"
                ),
                None => {}
            }
        }
        let called = self.called.entry(frame.group).or_insert_with(|| {
            tracing::warn!(peer = %self.peer, group = %frame.group, "frames of a group that has not said Hello are not obeyed");
            Called::Nobody
        });
        let Called::Ours(place) = *called else { return };
        self.session.received(place, &frame.message);
        if self.batches[place].is_empty() {
            self.touched.push(place);
        }
        self.batches[place].push(frame.message);
    }
}
