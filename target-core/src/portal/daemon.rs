//! The running target: started from a configuration, changed by another, shut down.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use mirror_link::group::Group;
use mirror_link::ids::Instance;
use mirror_link::link::status::PeerStatus;
use mirror_link::link::{Links, LinksError};
use mirror_link::replica::io::Command;
use tokio::sync::Mutex;

use super::listener::Listener;
use super::sessions::{EndReason, SessionOrder, Sessions};
use crate::target::catalog::{Catalog, CatalogFaults, Changes};
use crate::target::config::{Config, DaemonLimits, GroupName};

/// What every connection's task can see.
#[derive(Debug)]
pub struct Shared {
    pub catalog: ArcSwap<Catalog>,
    pub sessions: Arc<Sessions>,
    pub limits: Places,
    /// Portals as bound, for discovery: (tag, address).
    pub portals: ArcSwap<Vec<(u16, SocketAddr)>>,
}

/// Counts connections against [`DaemonLimits`].
#[derive(Debug)]
pub struct Places {
    limits: ArcSwap<DaemonLimits>,
    connections: Arc<AtomicUsize>,
    pending_logins: Arc<AtomicUsize>,
}

/// A connection's place; given back on drop.
#[derive(Debug)]
pub struct Place {
    connections: Arc<AtomicUsize>,
    /// Until login is done.
    pending_login: Option<Arc<AtomicUsize>>,
}

/// Which limit a connection was refused by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    Connections(usize),
    PendingLogins(usize),
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TooMany::Connections(max) => write!(f, "{max} connections are open, which is limits.max_connections"),
            TooMany::PendingLogins(max) => {
                write!(f, "{max} connections have not finished login, which is limits.max_pending_logins")
            }
        }
    }
}

impl Places {
    fn new(limits: DaemonLimits) -> Places {
        Places { limits: ArcSwap::from_pointee(limits), connections: Arc::default(), pending_logins: Arc::default() }
    }

    pub fn current(&self) -> Arc<DaemonLimits> {
        self.limits.load_full()
    }

    pub fn admit(&self) -> Result<Place, TooMany> {
        let limits = self.limits.load();
        let connections =
            take(&self.connections, limits.max_connections).ok_or(TooMany::Connections(limits.max_connections))?;
        let mut place = Place { connections, pending_login: None };
        let pending = take(&self.pending_logins, limits.max_pending_logins)
            .ok_or(TooMany::PendingLogins(limits.max_pending_logins))?;
        place.pending_login = Some(pending);
        Ok(place)
    }
}

fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Arc<AtomicUsize>> {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < max).then_some(now + 1)).ok()?;
    Some(Arc::clone(count))
}

impl Place {
    pub fn login_is_done(&mut self) {
        if let Some(pending) = self.pending_login.take() {
            pending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.login_is_done();
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why the target can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Volumes(#[from] CatalogFaults),
    #[error("portal {address} can't be listened on: {source}; free the port or change `portals`")]
    Portal { address: SocketAddr, source: io::Error },
    #[error("{0}; free the port or change `link.listen`")]
    Links(#[from] LinksError),
}

/// Why a changed configuration was not taken: the old one goes on whole.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ApplyRefused(#[from] pub StartError);

/// What a changed configuration changed.
#[derive(Debug)]
pub struct Applied(pub Changes);

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Daemon {
    shared: Arc<Shared>,
    /// One change at a time.
    listeners: Mutex<Vec<Listener>>,
    /// To all peers, where there are any.
    links: Option<Links>,
}

impl Daemon {
    /// Open every volume, look for peers, then listen. Within a tokio runtime.
    pub async fn start(config: Config) -> Result<Daemon, StartError> {
        let limits = Places::new(config.limits.clone());
        let instance = Instance(getrandom::u64().expect("the kernel gives random bytes"));
        let catalog = Catalog::open(config, instance).await?;
        let groups = catalog.groups().clone();
        let links = match look_for_peers(&catalog, instance).await {
            Ok(links) => links,
            Err(error) => {
                end_groups(&groups).await;
                return Err(error.into());
            }
        };
        let portals = wanted_portals(&catalog.config);
        let shared = Arc::new(Shared {
            catalog: ArcSwap::from_pointee(catalog),
            sessions: Arc::default(),
            limits,
            portals: ArcSwap::default(),
        });
        let listeners = match bind(portals, &shared).await {
            Ok(listeners) => listeners,
            Err(error) => {
                end_groups(&groups).await;
                part(&links).await;
                return Err(error);
            }
        };
        publish(&shared, &listeners);
        Ok(Daemon { shared, listeners: Mutex::new(listeners), links })
    }

    /// Of the mirrored volumes, by name.
    pub fn groups(&self) -> BTreeMap<GroupName, Arc<Group>> {
        self.shared.catalog.load().groups().clone()
    }

    /// Each peer's, in order of name.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.links.as_ref().map(Links::status).unwrap_or_default()
    }

    /// What is served now: configuration, volumes, targets.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.shared.catalog.load_full()
    }

    /// Addresses listened on; a configured port 0 has become a real one.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.shared.portals.load().iter().map(|(_, address)| *address).collect()
    }

    /// Move to another configuration, whole or not at all. Sessions stay; those that may no longer be end.
    pub async fn apply(&self, config: Config) -> Result<Applied, ApplyRefused> {
        let mut listeners = self.listeners.lock().await;
        let wanted = wanted_portals(&config);
        let old = self.shared.catalog.load_full();
        let limits = config.limits.clone();
        // New sockets first: they are the part that fails most and is undone by dropping it.
        let closed = make_way(&mut listeners, &wanted).await;
        let opened = match bind(missing(&listeners, &wanted), &self.shared).await {
            Ok(opened) => opened,
            Err(error) => {
                listeners.extend(self.bind_again(closed).await);
                return Err(error.into());
            }
        };
        let (catalog, changes) = match old.reopen(config).await {
            Ok(reopened) => reopened,
            Err(faults) => {
                close(opened).await;
                listeners.extend(self.bind_again(closed).await);
                return Err(StartError::Volumes(faults).into());
            }
        };
        listeners.retain(|open| wanted.iter().any(|wanted| is_open(wanted, open)));
        listeners.extend(opened);
        publish(&self.shared, &listeners);
        self.shared.limits.limits.store(Arc::new(limits));
        let catalog = Arc::new(catalog);
        self.shared.catalog.store(Arc::clone(&catalog));
        for session in self.shared.sessions.all() {
            session.order(SessionOrder::Reconfigured(Arc::clone(&catalog))).await;
        }
        for name in &changes.removed {
            if let Some(volume) = old.volumes().find(|volume| volume.name == *name)
                && let Err(error) = volume.device.flush().await
            {
                tracing::error!(volume = %name, %error, "flushing a volume that is no longer served failed");
            }
        }
        Ok(Applied(changes))
    }

    /// What was closed for a change that is not taken after all.
    async fn bind_again(&self, closed: Vec<(u16, SocketAddr)>) -> Vec<Listener> {
        let mut opened = Vec::new();
        for portal in closed {
            match bind(vec![portal], &self.shared).await {
                Ok(listeners) => opened.extend(listeners),
                Err(error) => tracing::error!(%error, "a portal of the old configuration is lost"),
            }
        }
        opened
    }

    /// Stop listening, ask initiators to log out, finish what is in flight, flush. What is not gone by `grace` is cut off.
    pub async fn shutdown(&self, grace: Duration) {
        self.listeners.lock().await.clear();
        let sessions = self.shared.sessions.all();
        for session in &sessions {
            session.order(SessionOrder::RequestLogout).await;
        }
        let all_ended = async {
            for session in &sessions {
                session.ended().await;
            }
        };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            let left = self.shared.sessions.all();
            tracing::info!(sessions = left.len(), "initiators did not log out in time; their connections are closed");
            for session in &left {
                session.order(SessionOrder::End(EndReason::Shutdown)).await;
            }
            for session in &left {
                session.ended().await;
            }
        }
        // No host writes any more: what is left goes to the peer, and then it hears that this is not a crash.
        let catalog = self.shared.catalog.load_full();
        end_groups(catalog.groups()).await;
        part(&self.links).await;
        for volume in catalog.volumes() {
            if let Err(error) = volume.local.flush().await {
                tracing::error!(volume = %volume.name, %error, "flushing at shutdown failed");
            }
        }
    }
}

/// Each peer with the groups shared with it.
async fn look_for_peers(catalog: &Catalog, instance: Instance) -> Result<Option<Links>, LinksError> {
    let config = &catalog.config;
    if config.peers.is_empty() {
        return Ok(None);
    }
    let shared_with = |name| catalog.groups().values().filter(|group| group.config().peer == name).cloned().collect();
    let peers = config.peers.values().map(|peer| (peer.clone(), shared_with(peer.name.clone()))).collect();
    Links::start(config.node.as_str().into(), instance, &config.mirror_listen, peers).await.map(Some)
}

async fn part(links: &Option<Links>) {
    if let Some(links) = links {
        links.shutdown().await;
    }
}

async fn end_groups(groups: &BTreeMap<GroupName, Arc<Group>>) {
    let ends = groups.iter().map(|(name, group)| async move {
        let why = match tokio::time::timeout(GROUP_END_MAX, group.command(Command::Shutdown)).await {
            Ok(Ok(_)) => return,
            Ok(Err(refusal)) => refusal.to_string(),
            Err(_) => "it took too long".into(),
        };
        tracing::error!(group = %name, why, "a group did not end in good order: it will be resynced");
    });
    futures_util::future::join_all(ends).await;
}

/// For writes on their way to a medium, here and at the peer, and one record; a device or a line that hangs must not keep
/// the program from its end.
const GROUP_END_MAX: Duration = Duration::from_secs(10);

fn wanted_portals(config: &Config) -> Vec<(u16, SocketAddr)> {
    config.portal_groups.iter().flat_map(|group| group.portals.iter().map(|address| (group.tag, *address))).collect()
}

/// A configured port 0 is whichever was free.
fn is_open(wanted: &(u16, SocketAddr), listener: &Listener) -> bool {
    (listener.portal_group, listener.address) == *wanted
        || (wanted.1.port() == 0 && listener.portal_group == wanted.0 && listener.address.ip() == wanted.1.ip())
}

fn missing(listeners: &[Listener], wanted: &[(u16, SocketAddr)]) -> Vec<(u16, SocketAddr)> {
    wanted.iter().filter(|wanted| !listeners.iter().any(|open| is_open(wanted, open))).copied().collect()
}

/// Close those that are to go and hold what one that is to come needs: the same address for another group, or a wildcard
/// in place of an address. Returns what they were.
async fn make_way(listeners: &mut Vec<Listener>, wanted: &[(u16, SocketAddr)]) -> Vec<(u16, SocketAddr)> {
    let new = missing(listeners, wanted);
    let (stay, in_the_way): (Vec<_>, Vec<_>) = std::mem::take(listeners).into_iter().partition(|open: &Listener| {
        wanted.iter().any(|wanted| is_open(wanted, open)) || !new.iter().any(|(_, new)| collide(*new, open.address))
    });
    *listeners = stay;
    let closed = in_the_way.iter().map(|open| (open.portal_group, open.address)).collect();
    close(in_the_way).await;
    closed
}

/// Whether both can't be listened on at once.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && same_address
}

/// All, or none.
async fn bind(portals: Vec<(u16, SocketAddr)>, shared: &Arc<Shared>) -> Result<Vec<Listener>, StartError> {
    let mut opened = Vec::new();
    for (tag, address) in portals {
        match Listener::bind(address, tag, Arc::clone(shared)) {
            Ok(listener) => opened.push(listener),
            Err(source) => {
                close(opened).await;
                return Err(StartError::Portal { address, source });
            }
        }
    }
    Ok(opened)
}

async fn close(listeners: Vec<Listener>) {
    for listener in listeners {
        listener.close().await;
    }
}

fn publish(shared: &Shared, listeners: &[Listener]) {
    shared.portals.store(Arc::new(listeners.iter().map(|open| (open.portal_group, open.address)).collect()));
}

#[cfg(test)]
mod tests {
    #[test]
    fn which_addresses_collide() {
        let collide = |a: &str, b: &str| super::collide(a.parse().expect("an address"), b.parse().expect("an address"));
        assert!(collide("127.0.0.1:1", "127.0.0.1:1"));
        assert!(collide("0.0.0.0:1", "127.0.0.1:1"));
        assert!(collide("[::1]:1", "[::]:1"));
        assert!(!collide("0.0.0.0:1", "127.0.0.1:2"));
        assert!(!collide("127.0.0.2:1", "127.0.0.1:1"));
        // IPv6 sockets of ours take no IPv4.
        assert!(!collide("[::]:1", "127.0.0.1:1"));
    }
}
