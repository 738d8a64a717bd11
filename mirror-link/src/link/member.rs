use std::sync::Arc;
use std::time::Duration;

use crate::group::{Group, PeerSession};
use crate::ids::{GroupName, Instance, SessionId, Slot};
use crate::wire::datagram::GroupBeat;
use crate::wire::message::Message;

/// What a link needs of a group.
pub trait Member: Send + Sync + std::fmt::Debug {
    fn name(&self) -> &GroupName;
    fn session_up(&self, session: Arc<dyn PeerSession>, peer: Instance);
    fn session_down(&self, session: SessionId);
    fn slot_up(&self, session: SessionId, slot: Slot);
    fn slot_down(&self, session: SessionId, slot: Slot);
    /// Takes what is in `messages`, all of one wake-up of a slot.
    fn received(&self, session: SessionId, messages: &mut Vec<Message>);
    fn peer_is_slow(&self, slow: bool);
    /// How it stands, for the peer's eyes.
    fn beat(&self) -> GroupBeat;
    /// How the peer says that it stands there, which holds for so long.
    fn told(&self, peer: Instance, beat: GroupBeat, good_for: Duration);
}

impl Member for Arc<Group> {
    fn name(&self) -> &GroupName {
        &self.config().name
    }

    fn session_up(&self, session: Arc<dyn PeerSession>, peer: Instance) {
        Group::session_up(self, session, peer);
    }

    fn session_down(&self, session: SessionId) {
        Group::session_down(self, session);
    }

    fn slot_up(&self, session: SessionId, slot: Slot) {
        Group::slot_up(self, session, slot);
    }

    fn slot_down(&self, session: SessionId, slot: Slot) {
        Group::slot_down(self, session, slot);
    }

    fn received(&self, session: SessionId, messages: &mut Vec<Message>) {
        Group::received(self, session, messages);
    }

    fn peer_is_slow(&self, slow: bool) {
        Group::peer_is_slow(self, slow);
    }

    fn beat(&self) -> GroupBeat {
        Group::beat(self)
    }

    fn told(&self, peer: Instance, beat: GroupBeat, good_for: Duration) {
        Group::told(self, peer, beat, good_for);
    }
}
