//! One listening socket: accepts, within the daemon's limits, and gives each connection a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::connection;
use super::daemon::Shared;

/// Connections the kernel holds for us between two turns of the loop; a cluster that reboots comes all at once.
const BACKLOG: i32 = 1024;

/// What it waits after an accept that failed for want of descriptors or memory, so as not to spin on it.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// An open portal. Dropping it closes the socket; connections live on.
#[derive(Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub portal_group: u16,
    task: JoinHandle<()>,
}

impl Listener {
    /// Bind `address`; port 0 takes any.
    pub fn bind(address: SocketAddr, portal_group: u16, shared: Arc<Shared>) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // So that `0.0.0.0:3260` and `[::]:3260` can both be portals.
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, portal_group, shared));
        Ok(Listener { address, portal_group, task })
    }

    /// Returns once the address is free again.
    pub async fn close(mut self) {
        self.task.abort();
        // Ended by the abort, which is no fault.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, portal_group: u16, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, portal_group, &shared),
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// The connection's own trouble, not ours.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn admit(stream: TcpStream, peer: SocketAddr, portal_group: u16, shared: &Arc<Shared>) {
    match shared.limits.admit() {
        Ok(place) => {
            // Latency: a response must not wait for the acknowledgement of the one before it.
            if let Err(error) = stream.set_nodelay(true) {
                return tracing::debug!(%peer, %error, "the connection was gone at once");
            }
            tokio::spawn(connection::serve(stream, peer, portal_group, place, Arc::clone(shared)));
        }
        Err(full) => tracing::warn!(%peer, %full, "connection refused"),
    }
}
