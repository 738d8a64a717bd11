use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::driver::{Driver, Report, Setting};
use super::flow::Clock;
use super::listener::{Directory, Door};
use super::member::Member;
use super::shown::Shown;
use super::socket;
use super::status::PeerStatus;
use crate::config::{Encryption, PeerConfig};
use crate::group::Group;
use crate::ids::{Instance, NodeName};
use crate::peer::Peer;
use crate::peer::io::Rules;
use crate::wire::keys::PairKeys;

/// Everything that leads to peers: the listening sockets, and each peer's connections and heartbeats.
#[derive(Debug)]
pub struct Links {
    peers: Vec<PeerTask>,
    listening: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct PeerTask {
    setting: Arc<Setting>,
    reports: mpsc::Sender<Report>,
    shown: watch::Receiver<Arc<Shown>>,
    task: JoinHandle<()>,
}

/// Why the links could not start.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    #[error("the mirror address {address} cannot be listened on: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

impl Links {
    /// Listen, heartbeat and connect. Each peer with the groups it shares with us. Runs on the calling runtime.
    pub async fn start(
        node: NodeName,
        instance: Instance,
        listen: &[SocketAddr],
        peers: Vec<(PeerConfig, Vec<Arc<Group>>)>,
    ) -> Result<Links, LinksError> {
        let member = |group| Arc::new(group) as Arc<dyn Member>;
        let peers = peers.into_iter().map(|(config, groups)| (config, groups.into_iter().map(member).collect()));
        Links::begin(node, instance, listen, peers.collect())
    }

    pub(super) fn begin(
        node: NodeName,
        instance: Instance,
        listen: &[SocketAddr],
        peers: Vec<(PeerConfig, Vec<Arc<dyn Member>>)>,
    ) -> Result<Links, LinksError> {
        let (listeners, sockets) = bind(listen)?;
        let mut begun = Vec::new();
        let mut doors = HashMap::new();
        for (config, members) in peers {
            let name = config.name.clone();
            if let Some(open) = in_the_open(&config) {
                tracing::warn!(peer = %name, "{open}");
            }
            let setting = Arc::new(Setting {
                node: node.clone(),
                instance,
                keys: PairKeys::derive(&config.secret, &node, &name),
                config,
                members: members.into(),
                listen: listen.to_vec(),
                clock: Clock::new(),
            });
            let (task, door) = begin_peer(setting, sockets.clone());
            begun.push(task);
            doors.insert(name, door);
        }
        let directory = Arc::new(Directory::new(doors));
        let accepting = listeners.into_iter().map(|listener| tokio::spawn(Arc::clone(&directory).accept_all(listener)));
        let hearing = sockets.into_iter().map(|socket| tokio::spawn(Arc::clone(&directory).hear_all(socket)));
        Ok(Links { peers: begun, listening: Mutex::new(accepting.chain(hearing).collect()) })
    }

    pub fn status(&self) -> Vec<PeerStatus> {
        self.peers.iter().map(|peer| peer.shown.borrow().status(&peer.setting)).collect()
    }

    /// Say Bye and close. The addresses are free afterwards.
    pub async fn shutdown(&self) {
        let listening = std::mem::take(&mut *self.listening.lock());
        listening.iter().for_each(JoinHandle::abort);
        for task in listening {
            // Ended by the abort, which is no fault.
            let _ = task.await;
        }
        for peer in &self.peers {
            // Ended already where nobody listens.
            let _ = peer.reports.send(Report::Shutdown).await;
        }
        for peer in &self.peers {
            peer.reports.closed().await;
        }
    }
}

/// Without a farewell.
impl Drop for Links {
    fn drop(&mut self) {
        self.listening.lock().iter().for_each(JoinHandle::abort);
        self.peers.iter().for_each(|peer| peer.task.abort());
    }
}

impl Setting {
    /// The node whose name is the lesser makes the connections.
    pub fn is_dialer(&self) -> bool {
        self.node < self.config.name
    }
}

/// What whoever is on the way to the peer may do.
fn in_the_open(config: &PeerConfig) -> Option<String> {
    let far = config.addresses.iter().find(|address| !address.ip().to_canonical().is_loopback())?;
    (config.encryption == Encryption::None).then(|| {
        format!(
            "the connections to {far} are not encrypted: whoever is on the way there can read and change what is mirrored. Set \
             `encryption: noise` on both nodes, unless the line is theirs alone"
        )
    })
}

type Bound = (Vec<TcpListener>, Vec<Arc<UdpSocket>>);

fn bind(listen: &[SocketAddr]) -> Result<Bound, LinksError> {
    let failed = |address: SocketAddr| move |source| LinksError::Listen { address, source };
    let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
    for &address in listen {
        listeners.push(socket::listen_tcp(address).map_err(failed(address))?);
        sockets.push(Arc::new(socket::listen_udp(address).map_err(failed(address))?));
    }
    Ok((listeners, sockets))
}

fn begin_peer(setting: Arc<Setting>, sockets: Vec<Arc<UdpSocket>>) -> (PeerTask, Door) {
    let now = Instant::now();
    let config = &setting.config;
    let rules = Rules {
        node: setting.node.clone(),
        instance: setting.instance,
        dialer: setting.is_dialer(),
        addresses: u8::try_from(config.addresses.len()).expect("a peer has at most 255 addresses"),
        connections: config.connections,
        heartbeat: config.heartbeat,
        seed: seed(),
    };
    let machine = Peer::new(rules, now);
    let (reports, received) = mpsc::channel(REPORTS_MAX);
    let (datagrams, heard) = mpsc::channel(DATAGRAMS_MAX);
    let first = Shown { snapshot: machine.snapshot(now), outboxes: Vec::new(), session: None };
    let (show, shown) = watch::channel(Arc::new(first));
    let driver = Driver::new(Arc::clone(&setting), sockets, machine, (reports.clone(), received), heard, show);
    let task = tokio::spawn(driver.run());
    let peer = PeerTask { setting: Arc::clone(&setting), reports: reports.clone(), shown, task };
    (peer, Door { setting, reports, datagrams })
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    u64::from_le_bytes(bytes)
}

/// What a peer's slots, dials and handshakes have to tell: a few for each of 64 slots; they wait where it is full.
const REPORTS_MAX: usize = 256;

/// Heartbeats come a few a second; what is beyond is a flood, and dropped.
const DATAGRAMS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compression, Heartbeat, PairSecret};

    #[test]
    fn a_line_in_the_open_is_warned_of() {
        let told = |address: &str, encryption| {
            let second = std::time::Duration::from_secs(1);
            in_the_open(&PeerConfig {
                name: "beta".into(),
                addresses: vec!["[::1]:3262".parse().expect("an address"), address.parse().expect("an address")],
                connections: 1,
                secret: PairSecret([7; 32].into()),
                heartbeat: Heartbeat { interval: second, timeout: second, probation: second, probation_max: second },
                idle_timeout: second,
                encryption,
                compression: Compression::None,
            })
        };
        let text = told("10.0.0.2:3262", Encryption::None).expect("told");
        assert!(text.contains("10.0.0.2:3262 are not encrypted") && text.contains("`encryption: noise`"), "{text}");
        assert_eq!(told("10.0.0.2:3262", Encryption::Noise), None);
        assert_eq!(told("127.0.0.2:3262", Encryption::None), None);
    }
}
