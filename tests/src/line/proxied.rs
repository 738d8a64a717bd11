//! A line through this process, which can also listen to it: TCP and UDP over loopback.
//!
//! ```text
//!   the dialer ── near port ──►│ Proxied │──► far address     TCP: one connection there for one here
//!   the dialer ── near port ──►│         │──► far address     UDP
//!   the other ─── back port ──►│         │──► back address    UDP of the other direction
//! ```

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the dialer.
    There,
    /// To the dialer.
    Back,
}

/// Bytes kept of a connection's direction while it is recorded.
const RECORD_MAX: usize = 16 << 20;

/// Pieces under way on a delayed line: a round trip's worth of large writes.
const UNDER_WAY_MAX: usize = 1024;

pub struct Proxied {
    shared: Arc<Shared>,
    near: SocketAddr,
    back: SocketAddr,
    _runtime: Runtime,
}

struct Shared {
    /// Neither TCP nor UDP gets through; connections stay open and silent, as when a switch loses its power.
    cut: watch::Sender<bool>,
    udp_blocked: AtomicBool,
    /// Connections stay silent, those there are and those that are made, while heartbeats pass.
    tcp_blocked: watch::Sender<bool>,
    /// One way, nanoseconds.
    delay: AtomicU64,
    recording: AtomicBool,
    connections: Mutex<Vec<Arc<Connection>>>,
    datagrams: [AtomicU64; 2],
}

/// One TCP connection through the line.
pub struct Connection {
    pub number: usize,
    bytes: [AtomicU64; 2],
    recorded: [Mutex<Vec<u8>>; 2],
    /// Set: both halves are closed.
    killed: watch::Sender<bool>,
}

impl Connection {
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.bytes[direction as usize].load(Ordering::Relaxed)
    }

    /// From its beginning, if `Proxied::record` was called before it was made.
    pub fn recorded(&self, direction: Direction) -> Vec<u8> {
        self.recorded[direction as usize].lock().expect("nobody panics with it").clone()
    }

    /// Closes it at both ends.
    pub fn kill(&self) {
        self.killed.send_replace(true);
    }

    pub fn is_open(&self) -> bool {
        !*self.killed.borrow()
    }
}

impl Proxied {
    /// To `far`, over ports that the system chooses; datagrams that come to `back()` go to `back_to`.
    pub fn between(back_to: SocketAddr, far: SocketAddr) -> Proxied {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads for the line");
        let shared = Arc::new(Shared {
            cut: watch::channel(false).0,
            udp_blocked: AtomicBool::new(false),
            tcp_blocked: watch::channel(false).0,
            delay: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            connections: Mutex::default(),
            datagrams: Default::default(),
        });
        let (near, back) = runtime.block_on(async {
            let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            let (listener, udp) = loop {
                let listener = TcpListener::bind(any).await.expect("a port");
                // The same port for both, as a peer has.
                if let Ok(udp) = UdpSocket::bind(listener.local_addr().expect("bound")).await {
                    break (listener, udp);
                }
            };
            let back = UdpSocket::bind(any).await.expect("a port");
            let addresses = (listener.local_addr().expect("bound"), back.local_addr().expect("bound"));
            tokio::spawn(accept(listener, far, Arc::clone(&shared)));
            tokio::spawn(datagrams(udp, far, Direction::There, Arc::clone(&shared)));
            tokio::spawn(datagrams(back, back_to, Direction::Back, Arc::clone(&shared)));
            addresses
        });
        Proxied { shared, near, back, _runtime: runtime }
    }

    /// What the dialer takes for its peer.
    pub fn near(&self) -> SocketAddr {
        self.near
    }

    /// What the other takes for its peer.
    pub fn back(&self) -> SocketAddr {
        self.back
    }

    pub fn cut(&self) {
        self.shared.cut.send_replace(true);
    }

    pub fn heal(&self) {
        self.shared.cut.send_replace(false);
    }

    pub fn block_udp(&self, blocked: bool) {
        self.shared.udp_blocked.store(blocked, Ordering::Relaxed);
    }

    pub fn block_tcp(&self, blocked: bool) {
        self.shared.tcp_blocked.send_replace(blocked);
    }

    /// One way.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay.store(delay.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Keep what goes over connections from now on.
    pub fn record(&self) {
        self.shared.recording.store(true, Ordering::Relaxed);
    }

    /// All there ever were, in the order they were made.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.shared.connections.lock().expect("nobody panics with it").clone()
    }

    pub fn open_connections(&self) -> Vec<Arc<Connection>> {
        self.connections().into_iter().filter(|connection| connection.is_open()).collect()
    }

    /// That got through.
    pub fn datagrams(&self, direction: Direction) -> u64 {
        self.shared.datagrams[direction as usize].load(Ordering::Relaxed)
    }
}

impl Shared {
    fn due(&self) -> Instant {
        Instant::now() + Duration::from_nanos(self.delay.load(Ordering::Relaxed))
    }

    async fn whole(&self) {
        let (mut cut, mut blocked) = (self.cut.subscribe(), self.tcp_blocked.subscribe());
        while *cut.borrow() || *blocked.borrow() {
            let _ = blocked.wait_for(|blocked| !blocked).await;
            let _ = cut.wait_for(|cut| !cut).await;
        }
    }
}

async fn accept(listener: TcpListener, far: SocketAddr, shared: Arc<Shared>) {
    while let Ok((near, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A line that is cut does not refuse: it says nothing.
            shared.whole().await;
            let Ok(far) = TcpStream::connect(far).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let connection = {
                let mut all = shared.connections.lock().expect("nobody panics with it");
                let connection = Arc::new(Connection {
                    number: all.len(),
                    bytes: Default::default(),
                    recorded: Default::default(),
                    killed: watch::channel(false).0,
                });
                all.push(Arc::clone(&connection));
                connection
            };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let there = pump(near_in, far_out, Direction::There, Arc::clone(&connection), Arc::clone(&shared));
            let back = pump(far_in, near_out, Direction::Back, Arc::clone(&connection), shared);
            let mut killed = connection.killed.subscribe();
            tokio::select! {
                _ = there => (),
                _ = back => (),
                _ = killed.wait_for(|killed| *killed) => (),
            }
            connection.kill();
        });
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX);
    let writing = async {
        while let Some((due, piece)) = under_way.recv().await {
            sleep_until(due).await;
            shared.whole().await;
            connection.bytes[direction as usize].fetch_add(piece.len() as u64, Ordering::Relaxed);
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        let mut buffer = vec![0; 256 << 10];
        loop {
            shared.whole().await;
            let Ok(length @ 1..) = from.read(&mut buffer).await else { break };
            if shared.recording.load(Ordering::Relaxed) {
                let mut recorded = connection.recorded[direction as usize].lock().expect("nobody panics with it");
                let room = RECORD_MAX - recorded.len().min(RECORD_MAX);
                recorded.extend_from_slice(&buffer[..length.min(room)]);
            }
            if sender.send((shared.due(), buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
        drop(sender);
    };
    tokio::join!(reading, writing);
}

async fn datagrams(from: UdpSocket, to: SocketAddr, direction: Direction, shared: Arc<Shared>) {
    let out = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
    let mut buffer = vec![0; 64 << 10];
    while let Ok((length, _)) = from.recv_from(&mut buffer).await {
        if *shared.cut.borrow() || shared.udp_blocked.load(Ordering::Relaxed) {
            continue;
        }
        let (due, datagram) = (shared.due(), buffer[..length].to_vec());
        let (out, shared) = (Arc::clone(&out), Arc::clone(&shared));
        tokio::spawn(async move {
            sleep_until(due).await;
            if out.send_to(&datagram, to).await.is_ok() {
                shared.datagrams[direction as usize].fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}
