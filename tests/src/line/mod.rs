//! The line between two nodes, and what can happen to it. Scenarios are written once and run over either kind: through this
//! process, or, where [`routed::PLAN`] is set, over a network that loses and delays packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub mod proxied;
pub mod routed;

use proxied::Proxied;
use routed::Routed;

pub enum Line {
    Proxied(Proxied),
    Routed(Routed),
}

/// Where a node is.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it listens on for its peer.
    pub listen: SocketAddr,
    /// What it takes for its peer.
    pub peer: SocketAddr,
    /// The network namespace it runs in, if not this process's.
    pub namespace: Option<String>,
}

impl Line {
    /// Laid between two nodes that listen on these ports; and the two nodes' places.
    pub fn lay(ports: [u16; 2]) -> (Line, [Place; 2]) {
        match Routed::take() {
            Some(routed) => {
                let [alpha, beta] = [0, 1].map(|end| SocketAddr::new(routed.ends()[end], ports[end]));
                let places = [
                    Place { listen: alpha, peer: beta, namespace: None },
                    Place { listen: beta, peer: alpha, namespace: Some(routed.far_namespace().to_owned()) },
                ];
                (Line::Routed(routed), places)
            }
            None => {
                let [alpha, beta] = ports.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
                let proxied = Proxied::between(alpha, beta);
                let places = [
                    Place { listen: alpha, peer: proxied.near(), namespace: None },
                    Place { listen: beta, peer: proxied.back(), namespace: None },
                ];
                (Line::Proxied(proxied), places)
            }
        }
    }

    /// Nothing gets through, and nobody is told.
    pub fn cut(&self) {
        match self {
            Line::Proxied(line) => line.cut(),
            Line::Routed(line) => line.cut(),
        }
    }

    pub fn heal(&self) {
        match self {
            Line::Proxied(line) => line.heal(),
            Line::Routed(line) => line.heal(),
        }
    }

    pub fn block_udp(&self, blocked: bool) {
        match self {
            Line::Proxied(line) => line.block_udp(blocked),
            Line::Routed(line) => line.block_udp(blocked),
        }
    }

    /// One way, and no packet is lost.
    pub fn delay(&self, delay: Duration) {
        match self {
            Line::Proxied(line) => line.delay(delay),
            Line::Routed(line) => line.delay(delay),
        }
    }

    /// Ends one of the TCP connections that are open, the `nth` if there are so many: both ends are told when they next send.
    pub fn kill(&self, nth: usize) {
        match self {
            Line::Proxied(line) => {
                let open = line.open_connections();
                open[nth % open.len()].kill();
            }
            Line::Routed(line) => line.kill(nth),
        }
    }

    /// What each of a few hosts waits between its writes, so that the line can carry what they write even where nobody
    /// waits for it.
    pub fn pause(&self) -> Duration {
        match self {
            Line::Proxied(_) => Duration::ZERO,
            Line::Routed(_) => Duration::from_millis(50),
        }
    }

    /// Of a line through this process, which knows what went over it.
    pub fn proxied(&self) -> &Proxied {
        match self {
            Line::Proxied(line) => line,
            Line::Routed(_) => panic!("nobody listens to a routed line"),
        }
    }
}
