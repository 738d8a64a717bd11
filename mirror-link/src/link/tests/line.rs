//! What lies between two nodes: a front for each, which forwards TCP and UDP to it until it is told otherwise.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Connections and datagrams to `address` go to another one.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    passes: Arc<Passes>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Passes {
    udp: AtomicBool,
    /// Off: connections stay, and nothing goes through.
    tcp: watch::Sender<bool>,
    connections: Mutex<Vec<JoinHandle<()>>>,
    accepted: AtomicU64,
}

impl Front {
    pub async fn new(address: SocketAddr, to: SocketAddr) -> Front {
        let passes = Arc::new(Passes {
            udp: AtomicBool::new(true),
            tcp: watch::Sender::new(true),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
        });
        let listener = TcpListener::bind(address).await.expect("a free address");
        let socket = UdpSocket::bind(address).await.expect("a free address");
        let tasks = vec![
            tokio::spawn(accept(listener, to, Arc::clone(&passes))),
            tokio::spawn(datagrams(socket, to, Arc::clone(&passes))),
        ];
        Front { address, passes, tasks }
    }

    pub fn pass_udp(&self, passes: bool) {
        self.passes.udp.store(passes, Ordering::Relaxed);
    }

    pub fn pass_tcp(&self, passes: bool) {
        self.passes.tcp.send_replace(passes);
    }

    pub fn pass(&self, passes: bool) {
        self.pass_udp(passes);
        self.pass_tcp(passes);
    }

    /// Reset the oldest connection that is left. False: there is none.
    pub fn kill_one(&self) -> bool {
        let mut connections = self.passes.connections.lock();
        connections.retain(|connection| !connection.is_finished());
        if connections.is_empty() {
            return false;
        }
        connections.remove(0).abort();
        true
    }

    pub fn accepted(&self) -> u64 {
        self.passes.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.passes.connections.lock().iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, passes: Arc<Passes>) {
    loop {
        let (near, _) = listener.accept().await.expect("a listener accepts");
        passes.accepted.fetch_add(1, Ordering::Relaxed);
        let tcp = passes.tcp.subscribe();
        let task = tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(to).await else { return };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = copy(near_read, far_write, tcp.clone()) => {}
                () = copy(far_read, near_write, tcp) => {}
            }
        });
        passes.connections.lock().push(task);
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut tcp: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length) = from.read(&mut buffer).await else { return };
        if tcp.wait_for(|passes| *passes).await.is_err() || length == 0 {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn datagrams(socket: UdpSocket, to: SocketAddr, passes: Arc<Passes>) {
    let mut buffer = [0; 2048];
    loop {
        if let Ok((length, _)) = socket.recv_from(&mut buffer).await
            && passes.udp.load(Ordering::Relaxed)
        {
            // One that nobody hears is lost, as on any line.
            let _ = socket.send_to(&buffer[..length], to).await;
        }
    }
}
