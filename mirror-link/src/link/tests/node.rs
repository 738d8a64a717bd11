//! A pair of nodes, quick enough for tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::fake::{Fake, Told, until};
use super::line::Front;
use crate::config::{Compression, Encryption, Heartbeat, PairSecret, PeerConfig};
use crate::group::Group;
use crate::ids::Instance;
use crate::link::Links;
use crate::link::member::Member;
use crate::link::status::{PeerStatus, Phase};

pub const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(40),
    timeout: Duration::from_millis(400),
    probation: Duration::from_millis(300),
    probation_max: Duration::from_secs(2),
};

#[derive(Debug)]
pub struct Node {
    pub links: Links,
    pub groups: Vec<Arc<Fake>>,
}

/// How one node sees the pair.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: &'static str,
    pub listen: Vec<SocketAddr>,
    pub config: PeerConfig,
    pub groups: Vec<&'static str>,
}

/// alpha dials, beta accepts; between them a front for each.
#[derive(Debug)]
pub struct Pair {
    pub alpha: Side,
    pub beta: Side,
    pub to_alpha: Front,
    pub to_beta: Front,
}

impl Pair {
    pub async fn new() -> Pair {
        let [alpha, beta, front_of_alpha, front_of_beta] = addresses();
        let side = |name, peer: &str, listen, front| Side {
            name,
            listen: vec![listen],
            config: config(peer, vec![front]),
            groups: vec!["db"],
        };
        Pair {
            alpha: side("alpha", "beta", alpha, front_of_beta),
            beta: side("beta", "alpha", beta, front_of_alpha),
            to_alpha: Front::new(front_of_alpha, alpha).await,
            to_beta: Front::new(front_of_beta, beta).await,
        }
    }

    pub fn both(mut self, change: impl Fn(&mut PeerConfig)) -> Pair {
        change(&mut self.alpha.config);
        change(&mut self.beta.config);
        self
    }

    pub fn pass_udp(&self, passes: bool) {
        self.to_alpha.pass_udp(passes);
        self.to_beta.pass_udp(passes);
    }

    pub fn pass(&self, passes: bool) {
        self.to_alpha.pass(passes);
        self.to_beta.pass(passes);
    }
}

impl Side {
    /// With groups that are at work.
    pub async fn start_with(&self, instance: Instance, group: Arc<Group>) -> Links {
        let peers = vec![(self.config.clone(), vec![group])];
        Links::start(self.name.into(), instance, &self.listen, peers).await.expect("free addresses")
    }

    pub fn start(&self) -> Node {
        static INSTANCES: AtomicU64 = AtomicU64::new(1);
        let instance = Instance(INSTANCES.fetch_add(1, Ordering::Relaxed));
        let groups: Vec<_> = self.groups.iter().map(|name| Fake::new(name)).collect();
        let members = groups.iter().map(|group| Arc::new(Arc::clone(group)) as Arc<dyn Member>).collect();
        let peers = vec![(self.config.clone(), members)];
        let links = Links::begin(self.name.into(), instance, &self.listen, peers).expect("free addresses");
        Node { links, groups }
    }
}

impl Node {
    pub fn group(&self) -> &Fake {
        &self.groups[0]
    }

    pub fn status(&self) -> PeerStatus {
        self.links.status().remove(0)
    }

    /// All slots are open, and the peer's group has said Hello.
    pub async fn is_up(&self, slots: usize) {
        until("all slots are up", || {
            let met = self.group().count(|told| matches!(told, Told::Hello(_))) > 0;
            self.group().open_slots() == slots && met
        })
        .await;
        until("the status says so", || self.status().phase == Phase::Up).await;
    }

    pub fn sessions(&self) -> usize {
        self.group().count(|told| matches!(told, Told::SessionUp(..)))
    }
}

fn config(peer: &str, addresses: Vec<SocketAddr>) -> PeerConfig {
    PeerConfig {
        name: peer.into(),
        addresses,
        connections: 3,
        secret: PairSecret([7; 32].into()),
        heartbeat: HEARTBEAT,
        idle_timeout: Duration::from_secs(5),
        encryption: Encryption::None,
        compression: Compression::None,
    }
}

/// Of this test alone: loopback has 16 million, and a port of ours on each.
pub fn addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    std::array::from_fn(|_| {
        let host = NEXT.fetch_add(1, Ordering::Relaxed);
        let ip = Ipv4Addr::new(127, 64 + (process >> 8) as u8 % 128, process as u8, host);
        SocketAddr::new(ip.into(), 36_262)
    })
}
