//! Groups that hear of each other by heartbeats alone.

use std::time::Duration;

use super::node::{Node, config, eventually};
use crate::config::Mode;
use crate::ids::{Instance, OwnerEpoch, WriteSeq};
use crate::replica::io::{Command, Refusal, Standing};
use crate::replica::status::HeldBack;
use crate::wire::datagram::{GroupBeat, GroupTag};
use crate::wire::message::{Marks, Role};

const PEER: Instance = Instance(0xbea7);
/// Of the tests' heartbeats, as T1.
pub const GOOD_FOR: Duration = Duration::from_millis(400);
/// Longer than a group of these tests waits for its peer at start.
const LONG: Duration = Duration::from_millis(900);

impl Node {
    fn hears(&self, role: Role, epoch: u64) {
        self.hears_of(PEER, role, epoch);
    }

    pub fn hears_of(&self, peer: Instance, role: Role, epoch: u64) {
        let marks =
            Marks { epoch: OwnerEpoch(epoch), applied_upto: WriteSeq::default(), durable_upto: WriteSeq::default() };
        self.group.told(peer, GroupBeat { group: GroupTag::of("db"), role, marks }, GOOD_FOR);
    }

    async fn hears_for(&self, role: Role, long: Duration) {
        for _ in 0..long.as_millis() / 50 {
            self.hears(role, 6);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn is_waiting(&self) -> bool {
        self.observer.standing_now() == Some(Standing::Waiting)
    }
}

async fn primary() -> Node {
    Node::start("alpha", config("beta", Role::Primary, Mode::Sync)).await
}

#[tokio::test]
async fn a_primary_that_starts_does_not_go_alone_beside_a_peer_that_lives() {
    let node = primary().await;
    node.hears_for(Role::Secondary, LONG).await;
    let status = node.status();
    assert_eq!((status.held_back, status.peer_role), (Some(HeldBack::PeerLives), Some(Role::Secondary)));
    assert!(node.is_waiting());
    eventually("it goes alone when nothing is heard any more", || {
        node.observer.standing_now() == Some(Standing::Active)
    })
    .await;
    assert_eq!((node.status().held_back, node.status().peer_role), (None, None));
}

#[tokio::test]
async fn beside_a_peer_that_lives_the_operator_decides() {
    let node = primary().await;
    node.hears_for(Role::Secondary, LONG).await;
    node.command(Command::Promote { force: false }).await.unwrap();
    assert_eq!(node.observer.standing_now(), Some(Standing::Active));
}

#[tokio::test]
async fn a_primary_that_starts_never_goes_alone_after_its_peer_said_that_it_is_primary() {
    let node = primary().await;
    node.hears(Role::Primary, 6);
    tokio::time::sleep(GOOD_FOR + LONG).await;
    assert_eq!(node.status().held_back, Some(HeldBack::PeerIsPrimary));
    assert!(node.is_waiting());
    node.hears(Role::Primary, 6);
    let refused = node.command(Command::Promote { force: false }).await;
    assert_eq!(refused, Err(Refusal::PeerClaimsPrimary("beta".into())));
    node.command(Command::Promote { force: true }).await.unwrap();
    assert!(node.status().epoch > OwnerEpoch(6), "above what the peer reigns in: {}", node.status().epoch);
}

#[tokio::test]
async fn a_peer_that_gave_way_and_fell_silent_is_waited_for_no_longer() {
    let node = primary().await;
    node.hears_for(Role::Primary, LONG).await;
    node.hears_for(Role::Secondary, GOOD_FOR).await;
    assert!(node.is_waiting());
    eventually("it goes alone", || node.observer.standing_now() == Some(Standing::Active)).await;
}

/// Whose copy would do.
async fn secondary() -> Node {
    let node = primary().await;
    node.command(Command::Demote { force: false }).await.unwrap();
    node
}

#[tokio::test]
async fn a_secondary_is_not_promoted_beside_a_primary_that_is_heard() {
    let node = secondary().await;
    node.hears(Role::Primary, 6);
    let (refused, ()) =
        tokio::join!(node.command(Command::Promote { force: false }), node.hears_for(Role::Primary, GOOD_FOR));
    assert_eq!(refused, Err(Refusal::PeerClaimsPrimary("beta".into())));
    assert_eq!(node.status().role, Role::Secondary);
    node.command(Command::Promote { force: true }).await.unwrap();
    assert!(node.status().epoch > OwnerEpoch(6), "above what the peer reigns in: {}", node.status().epoch);
}

#[tokio::test]
async fn a_primary_that_falls_silent_is_outwaited() {
    let node = secondary().await;
    node.hears(Role::Primary, 6);
    let asked = std::time::Instant::now();
    node.command(Command::Promote { force: false }).await.unwrap();
    let took = asked.elapsed();
    assert!(took >= GOOD_FOR / 2 && took < GOOD_FOR * 5, "{took:?}");
    assert_eq!(node.observer.standing_now(), Some(Standing::Active));
}
