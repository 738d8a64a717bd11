//! The listening sockets: who comes is told to the peer's task that it names.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::driver::{Heard, Report, Setting};
use super::greetings::{Greetings, Place};
use super::handshake::{self, HANDSHAKE_MAX};
use crate::ids::NodeName;
use crate::peer::io::Failure;
use crate::wire::datagram::{DATAGRAM_MAX, Datagram};
use crate::wire::handshake::{Caller, Refusal, RefusalCode};

/// How to reach a peer's task.
#[derive(Clone, Debug)]
pub struct Door {
    pub setting: Arc<Setting>,
    pub reports: mpsc::Sender<Report>,
    pub datagrams: mpsc::Sender<Heard>,
}

/// Whoever may come.
#[derive(Debug)]
pub struct Directory {
    doors: HashMap<NodeName, Door>,
    greetings: Mutex<Greetings>,
    strangers: Mutex<Strangers>,
}

/// Those not known, so that each is named in the log once a minute.
#[derive(Debug, Default)]
struct Strangers {
    told: HashMap<IpAddr, Instant>,
    count: u64,
}

impl Directory {
    pub fn new(doors: HashMap<NodeName, Door>) -> Directory {
        let addresses = doors.values().flat_map(|door| &door.setting.config.addresses);
        let peers = addresses.map(|address| address.ip().to_canonical()).collect();
        let greetings = Mutex::new(Greetings::new(peers));
        Directory { doors, greetings, strangers: Mutex::default() }
    }

    pub async fn accept_all(self: Arc<Directory>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => self.admit(stream, from),
                Err(error) => {
                    // The connection's own trouble, or no descriptors left: don't spin on it.
                    tracing::debug!(%error, "accepting a peer's connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Directory>, stream: TcpStream, from: SocketAddr) {
        let mut greetings = self.greetings.lock();
        let Some(place) = greetings.place(from.ip()) else {
            drop(greetings);
            return self.stranger(from, "too many handshakes at once");
        };
        let taken = Taken { directory: Arc::clone(self), place };
        let task = tokio::spawn(async move {
            if timeout(HANDSHAKE_MAX, taken.directory.greet(stream, from)).await.is_err() {
                taken.directory.stranger(from, "its handshake took too long");
            }
        });
        greetings.take(place, task.abort_handle());
    }

    async fn greet(&self, mut stream: TcpStream, from: SocketAddr) {
        let caller = match handshake::hear(&mut stream).await {
            Ok(caller) => caller,
            Err(failure) => return self.stranger(from, &failure.to_string()),
        };
        let door = match self.door_of(&caller) {
            Ok(door) => door,
            Err(refusal) => {
                self.stranger(from, refusal.text());
                return handshake::say(&mut stream, refusal).await;
            }
        };
        match handshake::prove(&door.setting, stream, caller).await {
            // A peer's task ends with the links.
            Ok(arrival) => drop(door.reports.send(Report::Arrived(Box::new(arrival))).await),
            // It is the peer by its own word only: neither the peer's status nor its log are to be written by it.
            Err(failure) => self.stranger(from, &failure.to_string()),
        }
    }

    fn door_of(&self, caller: &Caller) -> Result<&Door, Refusal> {
        let name = &caller.hello().node;
        let Some(door) = self.doors.get(name) else {
            let text = format!("node {name} is not among this node's peers: add it there, or correct the address");
            return Err(Refusal::new(RefusalCode::UNKNOWN_NODE, text));
        };
        if door.setting.is_dialer() {
            let text = format!("{} dials {name}, not the other way round", door.setting.node);
            return Err(Refusal::new(RefusalCode::WRONG_DIRECTION, text));
        }
        Ok(door)
    }

    pub async fn hear_all(self: Arc<Directory>, socket: Arc<UdpSocket>) {
        // One byte more than the longest, which shows those that are longer.
        let mut buffer = [0; DATAGRAM_MAX + 1];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, from)) => self.hear(&buffer[..length], from),
                Err(error) => {
                    tracing::debug!(%error, "receiving a heartbeat failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn hear(&self, datagram: &[u8], from: SocketAddr) {
        let door = match Datagram::claimed_sender(datagram) {
            Ok(name) => self.doors.get(name).ok_or_else(|| format!("a heartbeat of node {name:?}, which is no peer")),
            Err(error) => Err(error.to_string()),
        };
        match door {
            // A flood of them costs heartbeats, no memory.
            Ok(door) => {
                let _ = door.datagrams.try_send(Heard { bytes: Bytes::copy_from_slice(datagram), from });
            }
            Err(cause) => self.stranger(from, &cause),
        }
    }

    fn stranger(&self, from: SocketAddr, cause: &str) {
        if let Some(count) = self.strangers.lock().is_news(from.ip(), Instant::now()) {
            tracing::warn!(%from, refused = count, "refused on the mirror port: {cause}");
        }
    }
}

/// A handshake under way, however it ends.
struct Taken {
    directory: Arc<Directory>,
    place: Place,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.directory.greetings.lock().give_back(self.place);
    }
}

impl Strangers {
    /// Answers how many were refused so far, where it is to be told.
    fn is_news(&mut self, from: IpAddr, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.told.get(&from).is_some_and(|at| now.duration_since(*at) < STRANGER_EVERY) {
            return None;
        }
        if self.told.len() >= STRANGERS_MAX {
            self.told.retain(|_, at| now.duration_since(*at) < STRANGER_EVERY);
        }
        if self.told.len() >= STRANGERS_MAX {
            return None;
        }
        self.told.insert(from, now);
        Some(self.count)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Unreachable(cause) | Failure::Refused(cause) => f.write_str(cause),
            Failure::SessionOver => f.write_str("that session has ended"),
        }
    }
}

/// Remotes remembered as told of; beyond that new ones are only counted.
const STRANGERS_MAX: usize = 1024;

const STRANGER_EVERY: Duration = Duration::from_secs(60);

const ACCEPT_RETRY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stranger_is_told_of_once_a_minute() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let ip = |last: u8| IpAddr::from([127, 0, 0, last]);
        assert_eq!(strangers.is_news(ip(1), now), Some(1));
        assert_eq!(strangers.is_news(ip(1), now), None);
        assert_eq!(strangers.is_news(ip(2), now), Some(3));
        assert_eq!(strangers.is_news(ip(1), now + STRANGER_EVERY), Some(4));
    }

    #[test]
    fn a_flood_of_strangers_costs_no_more_memory() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let ip = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(number));
        let told = (0..5000).filter(|number| strangers.is_news(ip(*number), now).is_some()).count();
        assert_eq!((told, strangers.told.len()), (STRANGERS_MAX, STRANGERS_MAX));
        assert_eq!(strangers.is_news(ip(5000), now + STRANGER_EVERY), Some(5001));
        assert_eq!(strangers.told.len(), 1);
    }
}
