//! What one slot's reader hands on: the frames of one wake-up, each group's together.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use super::member::Member;
use super::outbox::Outbox;
use super::session::Session;
use crate::ids::{GroupIndex, GroupName};
use crate::wire::message::{ByeReason, Frame, GroupFrame, Message};

#[derive(Debug)]
pub struct Sorter {
    peer: Arc<str>,
    session: Arc<Session>,
    outbox: Arc<Outbox>,
    members: Arc<[Arc<dyn Member>]>,
    /// What the peer calls the groups, as its Hellos on this slot said: a group's first frame on a slot is its Hello.
    /// By that number; at most all 65536 that a frame can name.
    called: Vec<Called>,
    /// By place in `members`.
    batches: Vec<Vec<Message>>,
    touched: SmallVec<[usize; 4]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    /// Nothing was said of it.
    Unheard,
    Ours(u32),
    /// Of that name we share none, or there was no Hello: its frames are not obeyed.
    Nobody,
}

impl Sorter {
    pub fn new(peer: Arc<str>, session: Arc<Session>, outbox: Arc<Outbox>, members: Arc<[Arc<dyn Member>]>) -> Sorter {
        let batches = members.iter().map(|_| Vec::new()).collect();
        Sorter { peer, session, outbox, members, called: Vec::new(), batches, touched: SmallVec::new() }
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
            let called = self.look_up(&hello.group);
            *self.called(frame.group) = called;
        }
        let called = self.called(frame.group);
        let place = match *called {
            Called::Ours(place) => place as usize,
            Called::Nobody => return,
            Called::Unheard => {
                *called = Called::Nobody;
                let (peer, group) = (&self.peer, frame.group);
                return tracing::warn!(%peer, %group, "frames of a group that has not said Hello are not obeyed");
            }
        };
        self.session.received(place, &frame.message);
        if self.batches[place].is_empty() {
            self.touched.push(place);
        }
        self.batches[place].push(frame.message);
    }

    fn called(&mut self, group: GroupIndex) -> &mut Called {
        let place = usize::from(group.0);
        if self.called.len() <= place {
            self.called.resize(place + 1, Called::Unheard);
        }
        &mut self.called[place]
    }

    fn look_up(&self, name: &GroupName) -> Called {
        if let Some(place) = self.members.iter().position(|member| member.name() == name) {
            self.session.met(place);
            return Called::Ours(place as u32);
        }
        if self.session.foreign(name) {
            tracing::warn!(
                peer = %self.peer, group = %name,
                "the peer mirrors a group with us that is not configured here: its volumes are not kept alike; add them to this \
                 node's configuration, or take `mirror` from them there"
            );
        }
        Called::Nobody
    }
}
