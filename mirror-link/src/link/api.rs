use std::net::SocketAddr;
use std::sync::Arc;

use super::status::PeerStatus;
use crate::config::PeerConfig;
use crate::group::Group;
use crate::ids::{Instance, NodeName};

/// Everything that leads to peers: the listening sockets, and each peer's connections and heartbeats.
#[derive(Debug)]
pub struct Links {}

/// Why the links could not start.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    #[error("the mirror address {address} cannot be listened on: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

#[expect(unused_variables, reason = "signatures first")]
impl Links {
    /// Listen, heartbeat and connect. Each peer with the groups it shares with us. Runs on the calling runtime.
    pub async fn start(
        node: NodeName,
        instance: Instance,
        listen: &[SocketAddr],
        peers: Vec<(PeerConfig, Vec<Arc<Group>>)>,
    ) -> Result<Links, LinksError> {
        todo!()
    }

    pub fn status(&self) -> Vec<PeerStatus> {
        todo!()
    }

    /// Say Bye and close.
    pub async fn shutdown(&self) {
        todo!()
    }
}
