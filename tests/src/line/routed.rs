//! A line of a network that somebody has made: this process is in the namespace at its near end, and a router that
//! takes orders over a socket passes packets on, or delays or loses them (`tests/mirror/wan.py`).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::wait_until;

/// The file that says what network there is.
pub const PLAN: &str = "LUNMIRROR_LINES";

/// What a plan says.
#[derive(Debug)]
struct Network {
    /// The router's socket.
    orders: PathBuf,
    /// What the router does to every packet of a line that nobody treats badly, in the words of tc-netem(8).
    netem: String,
    far_namespace: String,
    /// Near and far, of each line.
    ends: Vec<[IpAddr; 2]>,
}

/// Whoever sends seldom is told late.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lines that no scenario has.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static FREED: Condvar = Condvar::new();

/// Nobody else's while it is held; whole again afterwards.
#[derive(Debug)]
pub struct Routed {
    network: &'static Network,
    number: usize,
}

impl Routed {
    /// The next line that is free, once there is one; `None`: there is no network but this host's own.
    pub fn take() -> Option<Routed> {
        let network = Network::get()?;
        let mut free = FREE.lock().expect("nobody panics with it");
        loop {
            match free.pop() {
                Some(number) => return Some(Routed { network, number }),
                None => free = FREED.wait(free).expect("nobody panics with it"),
            }
        }
    }

    pub fn ends(&self) -> [IpAddr; 2] {
        self.network.ends[self.number]
    }

    pub fn far_namespace(&self) -> &str {
        &self.network.far_namespace
    }

    pub fn cut(&self) {
        self.netem("loss 100%");
    }

    pub fn heal(&self) {
        self.netem(&self.network.netem);
    }

    pub fn delay(&self, delay: Duration) {
        self.netem(&format!("delay {}us", delay.as_micros()));
    }

    pub fn block_udp(&self, blocked: bool) {
        let filtered = if blocked { "udp" } else { "nothing" };
        self.network.order(&format!("filter {} {filtered}", self.number));
    }

    /// The router answers both ends of that connection as if it had never been.
    pub fn kill(&self, nth: usize) {
        let [near, far] = self.ends();
        let open = established(near, far);
        let port = open[nth % open.len()];
        self.network.order(&format!("reset {} {near} {port}", self.number));
        wait_until("the connection is gone", PATIENCE, || !established(near, far).contains(&port));
    }

    fn netem(&self, words: &str) {
        self.network.order(&format!("netem {} {words}", self.number));
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        self.heal();
        self.block_udp(false);
        FREE.lock().expect("nobody panics with it").push(self.number);
        FREED.notify_one();
    }
}

impl Network {
    fn get() -> Option<&'static Network> {
        static NETWORK: OnceLock<Option<Network>> = OnceLock::new();
        let network = NETWORK.get_or_init(|| {
            let plan = fs::read(std::env::var_os(PLAN)?).expect("the plan can be read");
            let network = Network::of(&serde_json::from_slice(&plan).expect("a plan is JSON"));
            FREE.lock().expect("nobody panics with it").extend(0..network.ends.len());
            Some(network)
        });
        network.as_ref()
    }

    fn of(plan: &Value) -> Network {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let ends = |line: &Value| [0, 1].map(|end| text(&line[end]).parse().expect("an address"));
        Network {
            orders: text(&plan["orders"]).into(),
            netem: text(&plan["netem"]),
            far_namespace: text(&plan["far_namespace"]),
            ends: plan["lines"].as_array().expect("a list of lines").iter().map(ends).collect(),
        }
    }

    /// Returns once it is carried out.
    fn order(&self, words: &str) {
        let mut router = UnixStream::connect(&self.orders).expect("the router is there");
        writeln!(router, "{words}").expect("it listens");
        let mut answer = String::new();
        BufReader::new(router).read_line(&mut answer).expect("it answers");
        assert_eq!(answer.trim_end(), "did", "the router was told: {words}");
    }
}

/// Ports at this end of TCP connections from here to there.
fn established(here: IpAddr, there: IpAddr) -> Vec<u16> {
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel tells its connections");
    let connections = table.lines().skip(1).filter_map(|line| {
        // proc(5): number, local address, remote address, state; 01 is ESTABLISHED.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = (address(fields[1])?, address(fields[2])?);
        (fields[3] == "01" && local.0 == here && remote.0 == there).then_some(local.1)
    });
    connections.collect()
}

/// `0100007F:0CBC`: the address as this host keeps the four bytes, the port as a number.
fn address(field: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = field.split_once(':')?;
    let bytes = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    Some((IpAddr::V4(Ipv4Addr::from(bytes)), u16::from_str_radix(port, 16).ok()?))
}
