//! Two nodes and what lies between them: paths that delay, lose and cut, sockets that reset or hang.

use std::time::{Duration, Instant};

use super::checker::Checker;
use crate::config::Heartbeat;
use crate::ids::{Instance, SessionId, Slot};
use crate::peer::Peer;
use crate::peer::array::ConnectionId;
use crate::peer::event::Event;
use crate::peer::io::{Failure, Input, Introduced, Output, Phase, Rules};
use crate::peer::paths::PathIndex;
use crate::wire::datagram::Datagram;

pub const ALPHA: usize = 0;
pub const BETA: usize = 1;

pub const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_millis(500),
    timeout: Duration::from_secs(3),
    probation: Duration::from_secs(3),
    probation_max: Duration::from_secs(60),
};

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub nodes: [Node; 2],
    pub paths: Vec<Path>,
    sockets: Vec<Socket>,
    /// In order of nothing; the earliest is next.
    flying: Vec<(Instant, u64, Flight)>,
    sent: u64,
    instances: u64,
}

pub struct Node {
    pub peer: Peer,
    pub checker: Checker,
    pub events: Vec<(Duration, Event)>,
    pub alive: bool,
    pub instance: Instance,
    /// Where bytes that came are reported from.
    bytes: Option<Instant>,
    pub waiting: Option<Instant>,
    arrivals: u64,
}

#[derive(Clone, Copy)]
pub struct Path {
    pub udp: [bool; 2],
    pub tcp: bool,
    pub delay: Duration,
}

/// A TCP connection, and what each side calls it.
struct Socket {
    path: usize,
    slot: Slot,
    session: SessionId,
    alpha: ConnectionId,
    beta: Option<ConnectionId>,
    dialer: Instance,
    acceptor: Option<Instance>,
    open: [bool; 2],
}

enum Flight {
    Datagram {
        to: usize,
        from: usize,
        datagram: Datagram,
    },
    Dial {
        socket: usize,
    },
    Admitted {
        socket: usize,
    },
    Turned {
        socket: usize,
        why: Failure,
    },
    Closed {
        socket: usize,
        to: usize,
    },
    /// As a kernel tells it that has given up.
    Reset {
        socket: usize,
        to: usize,
    },
    Pong {
        to: usize,
    },
}

impl World {
    pub fn new(paths: usize) -> World {
        let now = Instant::now();
        let path = Path { udp: [true; 2], tcp: true, delay: Duration::from_micros(300) };
        let nodes = [ALPHA, BETA].map(|side| Node::new(side, Instance(side as u64 + 1), paths, now));
        World {
            now,
            start: now,
            nodes,
            paths: vec![path; paths],
            sockets: Vec::new(),
            flying: Vec::new(),
            sent: 0,
            instances: 2,
        }
    }

    pub fn cut(&mut self, cut: bool) {
        for path in &mut self.paths {
            (path.udp, path.tcp) = ([!cut; 2], !cut);
        }
    }

    pub fn cut_udp(&mut self, cut: bool) {
        self.paths.iter_mut().for_each(|path| path.udp = [!cut; 2]);
    }

    pub fn run(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        loop {
            self.drain(ALPHA);
            self.drain(BETA);
            let timer = |side: usize| self.nodes[side].peer.poll_timeout(self.now).filter(|_| self.nodes[side].alive);
            let timers = [timer(ALPHA), timer(BETA)];
            let flight = self.flying.iter().map(|(at, order, _)| (*at, *order)).min();
            let Some(next) = timers.into_iter().flatten().chain(flight.map(|(at, _)| at)).min() else { break };
            if next > end {
                break;
            }
            self.now = next;
            match flight {
                Some((at, order)) if at == next => self.land(order),
                _ => (0..2).filter(|side| timers[*side] == Some(next)).for_each(|side| self.give(side, Input::Timer)),
            }
        }
        self.now = end;
    }

    /// Until both have `slots` slots of one session; how long that took.
    pub fn until_up(&mut self, slots: usize, longest: Duration) -> Duration {
        let begun = self.now;
        while self.now - begun <= longest {
            if self.are_up(slots) {
                return self.now - begun;
            }
            self.run(Duration::from_millis(10));
        }
        panic!("not up after {longest:?}: {:#?} {:#?}", self.nodes[ALPHA].peer, self.nodes[BETA].peer);
    }

    pub fn are_up(&self, slots: usize) -> bool {
        let [alpha, beta] = &self.nodes;
        let session = alpha.checker.session();
        session.is_some()
            && session == beta.checker.session()
            && (alpha.checker.open(), beta.checker.open()) == (slots, slots)
    }

    pub fn phase(&self, side: usize) -> Phase {
        self.nodes[side].peer.snapshot(self.now).phase
    }

    /// The process ends and another begins: its sockets are reset.
    pub fn restart(&mut self, side: usize, away: Duration) {
        self.nodes[side].alive = false;
        (0..self.sockets.len()).for_each(|socket| self.end(socket, side));
        self.run(away);
        self.instances += 1;
        let mut node = Node::new(side, Instance(self.instances), self.paths.len(), self.now);
        std::mem::swap(&mut node.events, &mut self.nodes[side].events);
        self.nodes[side] = node;
    }

    /// Both ends of the `place`th connection that is open learn that it is reset.
    pub fn reset(&mut self, place: usize) -> bool {
        let open: Vec<usize> = (0..self.sockets.len()).filter(|at| self.sockets[*at].open == [true; 2]).collect();
        let Some(socket) = open.get(place % open.len().max(1)) else { return false };
        for side in [ALPHA, BETA] {
            self.fly(Duration::ZERO, Flight::Reset { socket: *socket, to: side });
        }
        true
    }

    /// Bytes come to both on the open connections.
    pub fn traffic(&mut self) {
        let flows = self.sockets.iter().any(|socket| socket.open == [true; 2] && self.paths[socket.path].tcp);
        self.nodes.iter_mut().filter(|_| flows).for_each(|node| node.bytes = Some(self.now));
    }

    pub fn give(&mut self, side: usize, input: Input) {
        if !self.nodes[side].alive {
            return;
        }
        let (bytes, waiting) = (self.nodes[side].bytes, self.nodes[side].waiting);
        self.nodes[side].peer.handle(self.now, Input::Seen { bytes, waiting });
        self.drain(side);
        self.nodes[side].peer.handle(self.now, input);
        self.drain(side);
    }

    fn drain(&mut self, side: usize) {
        while let Some(output) = self.nodes[side].peer.poll_output() {
            self.nodes[side].checker.output(&output);
            self.carry_out(side, output);
        }
        self.nodes[side].checker.settled();
    }

    fn carry_out(&mut self, side: usize, output: Output) {
        match output {
            Output::Heartbeat { to, datagram, .. } => {
                let path = usize::from(to.0);
                if self.paths[path].udp[side] {
                    self.fly(self.paths[path].delay, Flight::Datagram { to: 1 - side, from: path, datagram });
                }
            }
            Output::Dial { slot, connection, to, session } => {
                let (path, dialer) = (usize::from(to.0), self.nodes[side].instance);
                let socket = self.sockets.len();
                let open = [true, false];
                let (beta, acceptor) = (None, None);
                self.sockets.push(Socket { path, slot, session, alpha: connection, beta, dialer, acceptor, open });
                self.fly(self.paths[path].delay, Flight::Dial { socket });
            }
            Output::Turn { connection, why } => {
                let socket = self.socket_of(side, connection).expect("it arrived");
                self.fly(self.paths[self.sockets[socket].path].delay, Flight::Turned { socket, why });
            }
            Output::SlotUp { connection, .. } if side == BETA => {
                let socket = self.socket_of(side, connection).expect("it arrived");
                self.sockets[socket].open[BETA] = true;
                self.fly(self.paths[self.sockets[socket].path].delay, Flight::Admitted { socket });
            }
            Output::Close { connection, .. } => {
                let socket = self.socket_of(side, connection).expect("it is known");
                self.end(socket, side);
            }
            Output::Ping => {
                for socket in 0..self.sockets.len() {
                    let Socket { path, open, .. } = self.sockets[socket];
                    if open == [true; 2] && self.paths[path].tcp {
                        self.fly(self.paths[path].delay * 2, Flight::Pong { to: side });
                    }
                }
            }
            Output::Event(event) => {
                let at = self.now - self.start;
                self.nodes[side].events.push((at, event));
            }
            _ => {}
        }
    }

    /// Our end is closed; the other learns of it.
    fn end(&mut self, socket: usize, side: usize) {
        if std::mem::take(&mut self.sockets[socket].open[side]) {
            let delay = self.paths[self.sockets[socket].path].delay;
            self.fly(delay, Flight::Closed { socket, to: 1 - side });
        }
    }

    fn socket_of(&self, side: usize, connection: ConnectionId) -> Option<usize> {
        let instance = self.nodes[side].instance;
        self.sockets.iter().rposition(|socket| match side {
            ALPHA => socket.alpha == connection && socket.dialer == instance,
            _ => socket.beta == Some(connection) && socket.acceptor == Some(instance),
        })
    }

    fn fly(&mut self, delay: Duration, flight: Flight) {
        self.sent += 1;
        self.flying.push((self.now + delay, self.sent, flight));
    }

    fn land(&mut self, order: u64) {
        let place = self.flying.iter().position(|(_, other, _)| *other == order).expect("it flies");
        match self.flying.swap_remove(place).2 {
            Flight::Datagram { to, from, datagram } => {
                let from = Some(PathIndex(from as u8));
                self.give(to, Input::Heartbeat { datagram, from });
            }
            Flight::Pong { to } => self.nodes[to].bytes = Some(self.now),
            Flight::Dial { socket } => self.dial(socket),
            Flight::Admitted { socket } => self.admitted(socket),
            Flight::Turned { socket, why } => self.failed(socket, why),
            // TCP says it again.
            Flight::Closed { socket, to } if !self.paths[self.sockets[socket].path].tcp => {
                self.fly(Duration::from_secs(1), Flight::Closed { socket, to });
            }
            Flight::Closed { socket, to } | Flight::Reset { socket, to } => self.closed(socket, to),
        }
    }

    fn dial(&mut self, socket: usize) {
        let Socket { path, slot, session, dialer, .. } = self.sockets[socket];
        if !self.paths[path].tcp {
            // SYNs are lost until somebody's patience is.
            return self.fly(Duration::from_secs(3), Flight::Turned { socket, why: unreachable() });
        }
        if !self.nodes[BETA].alive {
            return self.fly(self.paths[path].delay, Flight::Turned { socket, why: unreachable() });
        }
        let beta = &mut self.nodes[BETA];
        beta.arrivals += 1;
        let connection = ConnectionId(beta.arrivals);
        beta.checker.arrived(connection);
        (self.sockets[socket].beta, self.sockets[socket].acceptor) = (Some(connection), Some(beta.instance));
        let peer = Introduced { instance: dialer, session, connections: 4 };
        self.give(BETA, Input::Arrived { slot, connection, peer });
    }

    fn admitted(&mut self, socket: usize) {
        let Socket { path, slot, session, alpha: connection, dialer, acceptor, open, .. } = self.sockets[socket];
        if !self.paths[path].tcp {
            return self.fly(Duration::from_secs(3), Flight::Turned { socket, why: unreachable() });
        }
        if dialer != self.nodes[ALPHA].instance || !open[ALPHA] {
            return;
        }
        let instance = acceptor.expect("it answered");
        self.give(ALPHA, Input::Dialed { slot, connection, peer: Introduced { instance, session, connections: 4 } });
    }

    fn failed(&mut self, socket: usize, failure: Failure) {
        let Socket { slot, alpha: connection, dialer, .. } = self.sockets[socket];
        if dialer == self.nodes[ALPHA].instance && std::mem::take(&mut self.sockets[socket].open[ALPHA]) {
            self.nodes[ALPHA].checker.closed(connection);
            self.give(ALPHA, Input::Failed { slot, connection, failure });
        }
    }

    fn closed(&mut self, socket: usize, to: usize) {
        let Socket { slot, alpha, beta, dialer, acceptor, .. } = self.sockets[socket];
        let (connection, instance) = if to == ALPHA { (Some(alpha), Some(dialer)) } else { (beta, acceptor) };
        let open = std::mem::take(&mut self.sockets[socket].open[to]);
        let Some(connection) = connection.filter(|_| open && instance == Some(self.nodes[to].instance)) else { return };
        self.nodes[to].checker.closed(connection);
        // Before its handshake is over it is an attempt that came to nothing.
        let input = match self.nodes[to].checker.is_up(connection) {
            true => Input::Closed { slot, connection, cause: "reset".into() },
            false => Input::Failed { slot, connection, failure: unreachable() },
        };
        self.give(to, input);
    }
}

fn unreachable() -> Failure {
    Failure::Unreachable("nobody there".into())
}

impl Node {
    fn new(side: usize, instance: Instance, paths: usize, now: Instant) -> Node {
        let rules = Rules {
            node: ["alpha", "beta"][side].into(),
            instance,
            dialer: side == ALPHA,
            addresses: paths as u8,
            connections: 4,
            heartbeat: HEARTBEAT,
            seed: instance.0,
        };
        Node {
            peer: Peer::new(rules, now),
            checker: Checker::default(),
            events: Vec::new(),
            alive: true,
            instance,
            bytes: None,
            waiting: None,
            arrivals: 0,
        }
    }

    pub fn told(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| of(event)).count()
    }
}
