//! Handshakes under way: who may have how many.
//!
//! Nobody has proven anything yet but where they call from. Peers' addresses have places of their own, and there the one
//! that took longest gives way: it is a peer's handshake in a moment, or somebody who says nothing. Others share the rest, few
//! for each address, so that none of them keeps the others out, a peer behind an address that we don't know among them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use tokio::task::AbortHandle;

use crate::ids::SLOTS_MAX;

#[derive(Debug)]
pub struct Greetings {
    peers: HashSet<IpAddr>,
    /// In the order in which they began; no empty ones.
    under_way: HashMap<IpAddr, VecDeque<(u64, AbortHandle)>>,
    strangers: usize,
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    from: IpAddr,
    number: u64,
}

impl Greetings {
    /// `peers`: addresses, canonical.
    pub fn new(peers: HashSet<IpAddr>) -> Greetings {
        Greetings { peers, under_way: HashMap::new(), strangers: 0, count: 0 }
    }

    /// `None`: too many. To be taken at once.
    pub fn place(&mut self, from: IpAddr) -> Option<Place> {
        let from = from.to_canonical();
        let has = self.under_way.get(&from).map_or(0, VecDeque::len);
        if self.peers.contains(&from) {
            if has >= PEER_MAX {
                self.under_way.get_mut(&from)?.pop_front()?.1.abort();
            }
        } else if has >= STRANGER_MAX || self.strangers >= STRANGERS_MAX {
            return None;
        }
        self.count += 1;
        Some(Place { from, number: self.count })
    }

    pub fn take(&mut self, place: Place, task: AbortHandle) {
        self.strangers += usize::from(!self.peers.contains(&place.from));
        self.under_way.entry(place.from).or_default().push_back((place.number, task));
    }

    pub fn give_back(&mut self, place: Place) {
        let Some(greetings) = self.under_way.get_mut(&place.from) else { return };
        // One that gave way is no longer among them.
        let Some(at) = greetings.iter().position(|(number, _)| *number == place.number) else { return };
        greetings.remove(at);
        if greetings.is_empty() {
            self.under_way.remove(&place.from);
        }
        self.strangers -= usize::from(!self.peers.contains(&place.from));
    }
}

/// From a peer's address: all of its slots dialed at once, twice over, as when a session is replaced.
const PEER_MAX: usize = 2 * SLOTS_MAX;

/// From any other address.
const STRANGER_MAX: usize = 8;

/// From all other addresses together: each holds a descriptor and some hundred bytes.
const STRANGERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn greetings() -> Greetings {
        Greetings::new(HashSet::from([ip(1)]))
    }

    /// Answers the handshake that is under way for ever, and its place.
    fn taken(greetings: &mut Greetings, from: IpAddr) -> Option<(Place, tokio::task::JoinHandle<()>)> {
        let place = greetings.place(from)?;
        let task = tokio::spawn(std::future::pending());
        greetings.take(place, task.abort_handle());
        Some((place, task))
    }

    #[tokio::test]
    async fn one_address_or_all_together_have_so_many_and_a_peer_its_own() {
        let mut greetings = greetings();
        for _ in 0..STRANGER_MAX {
            taken(&mut greetings, ip(2)).expect("a place");
        }
        assert!(taken(&mut greetings, ip(2)).is_none());
        assert!(taken(&mut greetings, IpAddr::from(std::net::Ipv4Addr::new(192, 0, 2, 2).to_ipv6_mapped())).is_none());
        let others = (3..=255).flat_map(|last| [last; 8]).filter(|last| taken(&mut greetings, ip(*last)).is_some());
        assert_eq!(others.count(), STRANGERS_MAX - STRANGER_MAX);
        taken(&mut greetings, ip(1)).expect("a peer's place");
    }

    #[tokio::test]
    async fn at_a_peers_address_the_longest_gives_way() {
        let mut greetings = greetings();
        let (_, first) = taken(&mut greetings, ip(1)).expect("a place");
        let second = taken(&mut greetings, ip(1)).map(|(_, task)| task);
        (2..PEER_MAX).for_each(|_| drop(taken(&mut greetings, ip(1))));
        taken(&mut greetings, ip(1)).expect("a place");
        assert!(first.await.expect_err("it ended").is_cancelled());
        assert!(!second.expect("there was one").is_finished());
    }

    #[tokio::test]
    async fn places_are_given_back_once() {
        let mut greetings = greetings();
        let (place, _) = taken(&mut greetings, ip(2)).expect("a place");
        greetings.give_back(place);
        greetings.give_back(place);
        assert_eq!((greetings.strangers, greetings.under_way.len()), (0, 0));
    }
}
