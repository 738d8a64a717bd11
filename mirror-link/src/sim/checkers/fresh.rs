//! A node that was left behind does not say for longer than T1 that it is UpToDate.

use super::Checker;
use crate::config::Mode;
use crate::sim::history::Promise;
use crate::sim::node::{Open, Request};
use crate::sim::scenario::NAMES;
use crate::sim::world::World;
use crate::wire::message::{DiskState, Message, Role};

impl World {
    /// A request is answered with GOOD.
    pub(in crate::sim) fn sees_alone(&mut self, node: usize, open: &Open, promise: Promise) {
        let mode = self.process(node).status.mode;
        match (&open.request, promise) {
            _ if mode == Mode::Async => self.nodes[node].alone_since = None,
            (Request::Write(_), Promise::Nothing) => _ = self.nodes[node].alone_since.get_or_insert(self.now),
            (Request::Write(_), _) => self.nodes[node].alone_since = None,
            _ => (),
        }
    }

    /// However late it comes: a line that holds things up is not known to.
    pub(in crate::sim) fn sees_renewed(&mut self, node: usize, message: &Message) {
        let renews = match message {
            Message::Position(position) => position.is_together,
            Message::Hello(hello) => hello.role == Role::Primary && !hello.peer_outdated,
            _ => false,
        };
        if renews {
            self.nodes[node].renewed = self.now;
        }
    }

    pub(super) fn check_fresh(&mut self, node: usize) {
        let other = &mut self.nodes[1 - node];
        let is_outdated = other.store.durable.as_ref().is_some_and(|record| record.peer_outdated);
        let goes_on = other.process.as_ref().is_some_and(|process| process.reign.is_some());
        other.alone_since = other.alone_since.filter(|_| is_outdated && goes_on);
        let Some(since) = other.alone_since else { return };
        let (instant, now, at) = (self.instant(), self.now, &self.nodes[node]);
        let Some(status) = at.process.as_ref().map(|process| process.replica.status(instant)) else { return };
        let says = (status.role, status.disk) == (Role::Secondary, DiskState::UpToDate);
        if says && now > since.max(at.renewed) + self.scenario.detection {
            let (who, silent) = (NAMES[node], (now - since) / 1000);
            let text = format!("{who} says that it is UpToDate, and the owner has gone on alone for {silent} ms");
            self.violate(Checker::Fresh, text);
        }
    }
}
