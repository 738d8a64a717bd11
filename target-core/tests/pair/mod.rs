//! Two nodes in one process, each with its catalog; their groups are joined by a line in memory that reorders across slots.

#![allow(dead_code, reason = "each test takes what it needs of it")]

pub mod cdb;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mirror_link::group::{Group, PeerSession};
use mirror_link::ids::{Instance, SessionId, Slot};
use mirror_link::replica::status::LinkState;
use mirror_link::wire::message::Message;
use target_core::block::{BlockCount, BlockDevice, Extent, Lba, Payload};
use target_core::lu::inventory::LunInventory;
use target_core::lu::nexus::{InitiatorPort, Nexus, NexusName, RelativeTargetPort};
use target_core::lu::orders::{ORDERS_PENDING_MAX, Order, OrderSender};
use target_core::lu::{Admission, ItlNexus};
use target_core::scsi::status::Status;
use target_core::target::catalog::Catalog;
use target_core::target::config::*;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub const BLOCK: usize = 512;
/// Bytes of each volume.
pub const CAPACITY: u64 = 4 << 20;
pub const GROUP: &str = "g";
const TARGET: &str = "iqn.2026-11.net.example:store";

/// A node of the pair: alpha is Primary first.
pub struct Node {
    pub catalog: Catalog,
    instance: Instance,
    state_dir: Arc<tempfile::TempDir>,
}

/// What one node is configured to be.
pub fn config(node: &str, state_dir: &std::path::Path) -> Config {
    let (peer, role) = match node {
        "alpha" => ("beta", Role::Primary),
        _ => ("alpha", Role::Secondary),
    };
    let mut mirror = VolumeMirror::new(peer.into(), GROUP.into(), role);
    mirror.policy.wait_for_peer = Duration::from_millis(200);
    let volume = VolumeConfig { mirror: Some(mirror), ..VolumeConfig::new(Store::Memory, Some(CAPACITY)) };
    let names = ["a", "b"].map(VolumeName::from);
    let any = AclRule { initiators: vec![NamePattern("*".into())], networks: vec![], users: None, luns: None };
    let target = TargetConfig {
        alias: None,
        auth: None,
        acl: vec![any],
        luns: (0..).zip(names.clone()).collect(),
        portal_groups: vec![1],
        redirect: None,
        limits: SessionLimits::default(),
    };
    let peer_config = PeerConfig {
        name: peer.into(),
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], MIRROR_PORT))],
        connections: MIRROR_CONNECTIONS,
        secret: PairSecret(Arc::from([7; PAIR_SECRET_LENGTH_MIN])),
        heartbeat: DEFAULT_HEARTBEAT,
        idle_timeout: MIRROR_IDLE_TIMEOUT,
        encryption: Encryption::None,
        compression: Compression::None,
    };
    Config {
        node: node.into(),
        state_dir: state_dir.into(),
        admin: Admin::default(),
        mirror_listen: vec![],
        peers: BTreeMap::from([(peer.into(), peer_config)]),
        portal_groups: vec![PortalGroup { tag: 1, portals: vec![] }],
        discovery_auth: None,
        volumes: names.map(|name| (name, volume.clone())).into(),
        targets: BTreeMap::from([(TARGET.parse().expect("a name"), target)]),
        limits: DaemonLimits::default(),
        session_limits: SessionLimits::default(),
    }
}

impl Node {
    pub async fn start(name: &str) -> Node {
        Node::start_with(name, |_| ()).await
    }

    pub async fn start_with(name: &str, change: impl FnOnce(&mut Config)) -> Node {
        static INSTANCES: AtomicU64 = AtomicU64::new(1);
        let state_dir = Arc::new(tempfile::tempdir().expect("a directory"));
        let mut config = config(name, state_dir.path());
        change(&mut config);
        let instance = Instance(INSTANCES.fetch_add(1, Ordering::Relaxed));
        let catalog = Catalog::open(config, instance).await.expect("it can be opened");
        Node { catalog, instance, state_dir }
    }

    pub fn config(&self) -> Config {
        self.catalog.config.clone()
    }

    pub fn state_dir(&self) -> &std::path::Path {
        self.state_dir.path()
    }

    pub fn group(&self) -> &Arc<Group> {
        &self.catalog.groups()[GROUP]
    }

    /// The peer's role, as this node knows it.
    pub async fn hears_of(&self, role: Role) {
        eventually(|| self.group().status().peer_role == Some(role), || format!("{:?}", self.group().status())).await;
    }

    fn local(&self, volume: &str) -> &Arc<dyn BlockDevice> {
        &self.catalog.volumes().find(|each| &*each.name == volume).expect("it is there").local
    }

    /// All the bytes of this node's copy.
    pub async fn contents(&self, volume: &str) -> Bytes {
        let device = self.local(volume);
        let whole = Extent::new(Lba(0), device.capacity(), device.capacity()).expect("fits");
        let buffer = BytesMut::with_capacity(CAPACITY as usize);
        device.read(whole, buffer).await.expect("memory reads").freeze()
    }

    /// Change this node's copy and no other, behind everybody's back.
    pub async fn spoil(&self, volume: &str) {
        let device = self.local(volume);
        let first = Extent::new(Lba(0), BlockCount(1), device.capacity()).expect("fits");
        let data = Payload::from(Bytes::from_static(&[0xEE; BLOCK]));
        device.write(first, data, target_core::block::Durability::Cached).await.expect("memory writes");
    }

    /// A session to LUN 0, volume a; LUN 1 is volume b.
    pub fn session(&self, initiator: &str) -> Session {
        let target = self.catalog.target(&TARGET.parse().expect("a name")).expect("it is there");
        let inventory = Arc::new(self.catalog.inventory(&target.luns));
        let (_, unit) = inventory.entries.first().expect("LUN 0");
        let initiator = InitiatorPort { name: initiator.into(), isid: [0; 6] };
        let nexus = Nexus {
            name: NexusName { initiator, target_port: RelativeTargetPort(1) },
            session: 0,
            target_name: TARGET.into(),
            portal_group: 1,
        };
        let (sender, orders) = mpsc::channel(ORDERS_PENDING_MAX);
        let itl = unit.attach(Arc::new(nexus), OrderSender::new(0, sender));
        Session { itl, inventory, _orders: orders }
    }
}

pub struct Session {
    itl: ItlNexus,
    inventory: Arc<LunInventory>,
    _orders: mpsc::Receiver<Order>,
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Good(Bytes),
    /// Sense key, additional sense code, its qualifier.
    Check(u8, u8, u8),
    Other(Status),
}

pub const GOOD: Answer = Answer::Good(Bytes::new());

impl Session {
    pub async fn send(&self, cdb: &[u8], data: &[u8]) -> Answer {
        let complete = match self.itl.prepare(cdb, data.len() as u64, &self.inventory) {
            Admission::Complete(complete) => complete,
            Admission::Ready(prepared) => {
                let length = (prepared.data_out_length() as usize).min(data.len());
                let buffer = BytesMut::with_capacity(prepared.data_in_length() as usize);
                prepared.execute(Payload::from(Bytes::copy_from_slice(&data[..length])), buffer).await
            }
        };
        match (complete.status, complete.sense) {
            (Status::Good, None) => Answer::Good(complete.data_in.contiguous()),
            (_, Some(sense)) => Answer::Check(sense.key as u8, sense.asc.code, sense.asc.qualifier),
            (status, None) => Answer::Other(status),
        }
    }

    /// Past unit attentions.
    pub async fn ready(&self) -> Answer {
        loop {
            match self.send(&[0; 6], &[]).await {
                Answer::Check(6, ..) => {}
                other => return other,
            }
        }
    }
}

/// A session of the pair; its end is the loss of the line.
pub struct Line {
    id: SessionId,
    ends: [Arc<Group>; 2],
    carriers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct End {
    id: SessionId,
    slots: Vec<mpsc::UnboundedSender<Message>>,
}

impl PeerSession for End {
    fn id(&self) -> SessionId {
        self.id
    }

    fn send(&self, slot: Slot, message: Message) {
        // A carrier that is gone is a slot that is gone.
        self.slots[usize::from(slot.0)].send(message).ok();
    }

    fn misbehaved(&self, cause: &str) {
        panic!("the peer broke the protocol: {cause}");
    }
}

impl Line {
    pub fn join(a: &Node, b: &Node) -> Line {
        static SESSIONS: AtomicU64 = AtomicU64::new(1);
        let id = SessionId(SESSIONS.fetch_add(1, Ordering::Relaxed));
        let ends = [a.group().clone(), b.group().clone()];
        let mut carried = Vec::new();
        let mut end = |to: &Arc<Group>| {
            let slots = (0..SLOTS).map(|_| {
                let (sender, messages) = mpsc::unbounded_channel();
                carried.push(carry(messages, to.clone(), id));
                sender
            });
            Arc::new(End { id, slots: slots.collect() })
        };
        let (towards_b, towards_a) = (end(&ends[1]), end(&ends[0]));
        ends[0].session_up(towards_b, b.instance);
        ends[1].session_up(towards_a, a.instance);
        for slot in (0..SLOTS).map(Slot) {
            ends.iter().for_each(|end| end.slot_up(id, slot));
        }
        // As with sockets, nothing is read before both are there.
        let carriers = carried.into_iter().map(tokio::spawn).collect();
        Line { id, ends, carriers }
    }

    pub fn cut(&self) {
        self.carriers.iter().for_each(JoinHandle::abort);
        self.ends.iter().for_each(|end| end.session_down(self.id));
    }

    /// Both have the same, and know it.
    pub async fn settled(&self) {
        let is_settled = || {
            let [a, b] = [&self.ends[0], &self.ends[1]].map(|end| end.status());
            let owner = if a.role == Role::Primary { &a } else { &b };
            [&a, &b].iter().all(|end| end.link == LinkState::Established) && owner.applied_upto >= owner.seq
        };
        eventually(is_settled, || format!("{:?} {:?}", self.ends[0].status(), self.ends[1].status())).await;
    }
}

pub async fn alike(alpha: &Node, beta: &Node, line: &Line, after: &str) {
    line.settled().await;
    for volume in ["a", "b"] {
        assert!(alpha.contents(volume).await == beta.contents(volume).await, "volume {volume} differs after {after}");
    }
}

async fn eventually(holds: impl Fn() -> bool, found: impl Fn() -> String) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within 10 s; at last: {}", found());
}

async fn carry(mut messages: mpsc::UnboundedReceiver<Message>, to: Arc<Group>, id: SessionId) {
    let mut batch = Vec::new();
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        // Another slot's may go first.
        tokio::task::yield_now().await;
        to.received(id, &mut batch);
    }
}

const SLOTS: u8 = 3;
const BATCH: usize = 16;
