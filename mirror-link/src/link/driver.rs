//! One peer's task: it owns the pure [`Peer`], gives it what happens, and carries out what it answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Ending, Handle};
use super::flow::Clock;
use super::handshake::{self, Arrival, Established};
use super::log::Log;
use super::member::Member;
use super::outbox::{Outbox, group_index};
use super::session::{Binding, Session};
use super::shown::Shown;
use super::socket;
use super::sorter::Sorter;
use crate::config::PeerConfig;
use crate::ids::{Instance, NodeName, SessionId, Slot};
use crate::peer::Peer;
use crate::peer::array::ConnectionId;
use crate::peer::io::{Failure, Input, Introduced, Output};
use crate::peer::paths::PathIndex;
use crate::wire::datagram::{BEATS_MAX, Datagram, GroupBeat, GroupTag};
use crate::wire::keys::PairKeys;

/// What the peer's task is told, by its own tasks and by the listener.
#[derive(Debug)]
pub enum Report {
    Dialed {
        slot: Slot,
        connection: ConnectionId,
        established: Box<Established>,
    },
    Failed {
        slot: Slot,
        connection: ConnectionId,
        failure: Failure,
    },
    /// A connection that has proven itself, for us to admit.
    Arrived(Box<Arrival>),
    Ended {
        slot: Slot,
        connection: ConnectionId,
        session: SessionId,
        ending: Ending,
    },
    Shutdown,
}

/// A datagram in the peer's name.
#[derive(Debug)]
pub struct Heard {
    pub bytes: Bytes,
    pub from: SocketAddr,
}

/// What does not change while the process runs.
#[derive(Debug)]
pub struct Setting {
    pub node: NodeName,
    pub instance: Instance,
    pub config: PeerConfig,
    pub keys: PairKeys,
    pub members: Arc<[Arc<dyn Member>]>,
    pub listen: Vec<SocketAddr>,
    pub clock: Clock,
}

#[derive(Debug)]
pub struct Driver {
    setting: Arc<Setting>,
    /// In the order of `listen`.
    sockets: Vec<Arc<UdpSocket>>,
    machine: Peer,
    /// Of `setting.members`.
    tags: Box<[GroupTag]>,
    log: Log,
    reports: mpsc::Receiver<Report>,
    /// For the tasks that we start.
    reporter: mpsc::Sender<Report>,
    datagrams: mpsc::Receiver<Heard>,
    shown: watch::Sender<Arc<Shown>>,
    session: Option<Current>,
    connections: HashMap<ConnectionId, Stage>,
    /// Numbers of connections that arrive; those dialed have their own, and a node does only one of the two.
    arrivals: u64,
    alarm: Arc<Notify>,
    tasks: TaskTracker,
    /// Whatever ends this task, its connections end with it.
    owner: CancellationToken,
    _alive: DropGuard,
}

#[derive(Debug)]
struct Current {
    session: Arc<Session>,
    since: Instant,
    /// Groups that the peer did not mention in time have been named in the log.
    complained: bool,
}

/// How far a connection is.
#[derive(Debug)]
enum Stage {
    Dialing(AbortHandle),
    Established(Box<Established>),
    Arrived(Box<Arrival>),
    Running(Handle, Arc<Outbox>),
}

impl Driver {
    pub fn new(
        setting: Arc<Setting>,
        sockets: Vec<Arc<UdpSocket>>,
        machine: Peer,
        (reporter, reports): (mpsc::Sender<Report>, mpsc::Receiver<Report>),
        datagrams: mpsc::Receiver<Heard>,
        shown: watch::Sender<Arc<Shown>>,
    ) -> Driver {
        let log = Log {
            peer: Arc::clone(&setting.config.name),
            addresses: setting.config.addresses.clone(),
            listen: setting.listen.clone(),
        };
        let owner = CancellationToken::new();
        Driver {
            tags: setting.members.iter().map(|member| GroupTag::of(member.name())).collect(),
            setting,
            sockets,
            machine,
            log,
            reports,
            reporter,
            datagrams,
            shown,
            session: None,
            connections: HashMap::new(),
            arrivals: 0,
            alarm: Arc::new(Notify::new()),
            tasks: TaskTracker::new(),
            owner: owner.clone(),
            _alive: owner.drop_guard(),
        }
    }

    /// Until it is told to shut down.
    pub async fn run(mut self) {
        self.carry_out_all();
        loop {
            let timeout = self.machine.poll_timeout(Instant::now());
            let sleep = async {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(report) = self.reports.recv() => {
                    if let Report::Shutdown = report {
                        break;
                    }
                    self.reported(report);
                }
                () = self.alarm.notified() => self.condemn(),
                Some(heard) = self.datagrams.recv() => self.heard(&heard),
                () = sleep => self.turn(Input::Timer),
            }
        }
        self.turn(Input::Shutdown);
        self.tasks.close();
        // Their farewells are bounded; a group that is in the midst of a turn is waited for no longer.
        let _ = tokio::time::timeout(SHUTDOWN_MAX, self.tasks.wait()).await;
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::Dialed { slot, connection, established } => {
                let peer = introduced(&established.opened.peer);
                self.connections.insert(connection, Stage::Established(established));
                self.turn(Input::Dialed { slot, connection, peer });
            }
            Report::Failed { slot, connection, failure } => {
                self.connections.remove(&connection);
                self.turn(Input::Failed { slot, connection, failure });
            }
            Report::Arrived(arrival) => {
                self.arrivals += 1;
                let connection = ConnectionId(self.arrivals);
                let (slot, peer) = (arrival.hello().slot, introduced(arrival.hello()));
                self.connections.insert(connection, Stage::Arrived(arrival));
                self.turn(Input::Arrived { slot, connection, peer });
            }
            Report::Ended { slot, connection, session, ending } => self.ended(slot, connection, session, ending),
            Report::Shutdown => {}
        }
    }

    /// `session` is the connection's own: there may be another by now.
    fn ended(&mut self, slot: Slot, connection: ConnectionId, session: SessionId, ending: Ending) {
        self.connections.remove(&connection);
        let cause = match ending {
            Ending::Lost(cause) => cause,
            Ending::Bye(reason) => {
                self.turn(Input::Bye { connection, reason });
                "closed by the peer".into()
            }
            Ending::Misbehaved(cause) => {
                self.turn(Input::Misbehaved { session, cause: cause.clone() });
                cause
            }
        };
        self.turn(Input::Closed { slot, connection, cause });
    }

    fn condemn(&mut self) {
        let Some(Current { session, .. }) = &self.session else { return };
        if let Some(cause) = session.condemned() {
            self.turn(Input::Misbehaved { session: session.id, cause: cause.into() });
        }
    }

    fn heard(&mut self, heard: &Heard) {
        match Datagram::decode(&heard.bytes, &self.setting.keys) {
            Ok(datagram) => {
                let from = path_of(&self.setting.config.addresses, heard.from);
                self.turn(Input::Heartbeat { datagram, from });
            }
            Err(error) => self.turn(Input::Forged { cause: format!("{error} (from {})", heard.from) }),
        }
    }

    /// One input, all that follows from it.
    fn turn(&mut self, input: Input) {
        let now = Instant::now();
        if let Some(Current { session, .. }) = &self.session {
            let clock = &self.setting.clock;
            let bytes = clock.instant(session.received_at.load(std::sync::atomic::Ordering::Relaxed));
            let waiting = session.waiting_since().and_then(|stamp| clock.instant(stamp));
            self.machine.handle(now, Input::Seen { bytes, waiting });
        }
        self.machine.handle(now, input);
        self.carry_out_all();
    }

    fn carry_out_all(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.carry_out(output);
        }
        self.complain_of_missing_groups();
        self.show();
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Heartbeat { to, datagram, turn } => self.send_heartbeat(to, datagram, turn),
            Output::Told { instance, groups } => self.tell_groups(instance, &groups),
            Output::Dial { slot, connection, to, session } => self.dial(slot, connection, to, session),
            Output::Turn { connection, why } => self.turn_away(connection, &why),
            Output::Close { connection, farewell } => match self.connections.remove(&connection) {
                Some(Stage::Dialing(task)) => task.abort(),
                Some(Stage::Running(handle, _)) => handle.end(farewell),
                Some(Stage::Established(_) | Stage::Arrived(_)) | None => {}
            },
            Output::SessionUp { session, peer, slots } => self.session_up(session, peer, slots),
            Output::SlotUp { slot, connection } => self.slot_up(slot, connection),
            Output::SlotDown { slot } => self.slot_down(slot),
            Output::SessionDown { session } => {
                self.session = None;
                self.setting.members.iter().for_each(|member| member.session_down(session));
            }
            Output::PeerSlow(slow) => self.setting.members.iter().for_each(|member| member.peer_is_slow(slow)),
            Output::Ping => self.session.iter().for_each(|current| current.session.ping()),
            Output::Event(event) => self.log.event(&event),
        }
    }

    fn send_heartbeat(&self, to: PathIndex, mut datagram: Datagram, turn: u64) {
        datagram.groups = in_turn(&self.setting.members, turn).map(|member| member.beat()).collect();
        let address = self.setting.config.addresses[usize::from(to.0)];
        let Some(place) = socket::source_for(&self.setting.listen, address) else { return };
        let mut bytes = BytesMut::new();
        datagram.encode(&self.setting.keys, &mut bytes);
        // A heartbeat that can't leave is one that does not arrive: the peer's detector sees it.
        if let Err(error) = self.sockets[place].try_send_to(&bytes, address) {
            tracing::debug!(peer = %self.setting.config.name, %address, %error, "a heartbeat did not leave");
        }
    }

    /// To each of ours what the peer says of it.
    fn tell_groups(&self, peer: Instance, beats: &[GroupBeat]) {
        let heartbeat = self.setting.config.heartbeat;
        // Where groups take turns, the next word comes so much later.
        let turns = u32::try_from(self.setting.members.len().div_ceil(BEATS_MAX)).unwrap_or(u32::MAX);
        let good_for = heartbeat.timeout + heartbeat.interval.saturating_mul(turns.saturating_sub(1));
        for &beat in beats {
            if let Some(place) = self.tags.iter().position(|tag| *tag == beat.group) {
                self.setting.members[place].told(peer, beat, good_for);
            }
        }
    }

    fn dial(&mut self, slot: Slot, connection: ConnectionId, to: PathIndex, session: SessionId) {
        let address = self.setting.config.addresses[usize::from(to.0)];
        let (setting, reporter) = (Arc::clone(&self.setting), self.reporter.clone());
        let task = self.tasks.spawn(async move {
            let report = match handshake::dial(&setting, address, slot, session).await {
                Ok(established) => Report::Dialed { slot, connection, established: Box::new(established) },
                Err(failure) => Report::Failed { slot, connection, failure },
            };
            // Nobody listens after a shutdown.
            let _ = reporter.send(report).await;
        });
        self.connections.insert(connection, Stage::Dialing(task.abort_handle()));
    }

    fn turn_away(&mut self, connection: ConnectionId, why: &Failure) {
        if let Some(Stage::Arrived(arrival)) = self.connections.remove(&connection) {
            self.tasks.spawn(handshake::turn_away(*arrival, why.clone()));
        }
    }

    fn session_up(&mut self, id: SessionId, peer: Instance, slots: u8) {
        let members = Arc::clone(&self.setting.members);
        let (clock, alarm) = (self.setting.clock, Arc::clone(&self.alarm));
        let session = Arc::new(Session::new(id, usize::from(slots), members.len(), clock, alarm));
        self.session = Some(Current { session: Arc::clone(&session), since: Instant::now(), complained: false });
        for (place, member) in members.iter().enumerate() {
            let binding = Binding { session: Arc::clone(&session), group: group_index(place) };
            member.session_up(Arc::new(binding), peer);
        }
    }

    fn slot_up(&mut self, slot: Slot, id: ConnectionId) {
        let Some(Current { session, .. }) = &self.session else { return };
        let established = match self.connections.remove(&id) {
            Some(Stage::Established(established)) => *established,
            Some(Stage::Arrived(arrival)) => arrival.admit(),
            _ => return,
        };
        let members = Arc::clone(&self.setting.members);
        let outbox = Arc::new(Outbox::new(members.len(), established.addresses()));
        session.open(slot, Arc::clone(&outbox));
        members.iter().for_each(|member| member.slot_up(session.id, slot));
        let handle = Handle::new(&self.owner);
        let connection = Connection {
            established,
            sorter: Sorter::new(
                Arc::clone(&self.setting.config.name),
                Arc::clone(session),
                Arc::clone(&outbox),
                members,
            ),
            session: Arc::clone(session),
            outbox: Arc::clone(&outbox),
            idle_timeout: self.setting.config.idle_timeout,
            compression: self.setting.config.compression,
            handle: handle.clone(),
        };
        self.connections.insert(id, Stage::Running(handle, outbox));
        let (reporter, session) = (self.reporter.clone(), session.id);
        self.tasks.spawn(async move {
            let ending = connection.run().await;
            let _ = reporter.send(Report::Ended { slot, connection: id, session, ending }).await;
        });
    }

    fn slot_down(&self, slot: Slot) {
        let Some(Current { session, .. }) = &self.session else { return };
        session.close(slot);
        self.setting.members.iter().for_each(|member| member.slot_down(session.id, slot));
    }

    fn complain_of_missing_groups(&mut self) {
        let Some(current) = &mut self.session else { return };
        if current.complained || current.since.elapsed() < MEET_MAX {
            return;
        }
        current.complained = true;
        for (place, member) in self.setting.members.iter().enumerate() {
            if !current.session.has_met(place) {
                tracing::warn!(
                    peer = %self.setting.config.name, group = %member.name(),
                    "the peer does not know this group: its volumes are not kept alike; add them, with `mirror`, to the peer's \
                     configuration"
                );
            }
        }
    }

    fn show(&self) {
        let snapshot = self.machine.snapshot(Instant::now());
        let outbox = |slot: &crate::peer::io::SlotSnapshot| match self.connections.get(&slot.connection?) {
            Some(Stage::Running(_, outbox)) => Some(Arc::clone(outbox)),
            _ => None,
        };
        let outboxes = snapshot.slots.iter().map(outbox).collect();
        let session = self.session.as_ref().map(|current| Arc::clone(&current.session));
        self.shown.send_replace(Arc::new(Shown { snapshot, outboxes, session }));
    }
}

fn introduced(hello: &crate::wire::handshake::SlotHello) -> Introduced {
    Introduced { instance: hello.instance, session: hello.session, connections: hello.connections }
}

/// Those whose turn it is to be told of in a heartbeat.
fn in_turn(members: &[Arc<dyn Member>], turn: u64) -> impl Iterator<Item = &Arc<dyn Member>> {
    let windows = members.len().div_ceil(BEATS_MAX).max(1) as u64;
    members.iter().skip((turn % windows) as usize * BEATS_MAX).take(BEATS_MAX)
}

/// Which of the peer's addresses it came from: the very one, or else one of the same host.
fn path_of(addresses: &[SocketAddr], from: SocketAddr) -> Option<PathIndex> {
    let exact = addresses.iter().position(|address| *address == from);
    let place = exact.or_else(|| addresses.iter().position(|address| address.ip() == from.ip()))?;
    u8::try_from(place).ok().map(PathIndex)
}

/// A group that the peer shares says Hello at once.
const MEET_MAX: Duration = Duration::from_secs(5);

const SHUTDOWN_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compression, Encryption, Heartbeat, PairSecret};
    use crate::peer::io::Rules;

    fn driver() -> Driver {
        let second = Duration::from_secs(1);
        let heartbeat = Heartbeat { interval: second, timeout: second, probation: second, probation_max: second };
        let config = PeerConfig {
            name: "alpha".into(),
            addresses: vec!["127.0.0.1:1".parse().expect("an address")],
            connections: 2,
            secret: PairSecret([7; 32].into()),
            heartbeat,
            idle_timeout: second,
            encryption: Encryption::None,
            compression: Compression::None,
        };
        let node = NodeName::from("beta");
        let setting = Setting {
            node: node.clone(),
            instance: Instance(1),
            keys: PairKeys::derive(&config.secret, &node, &config.name),
            config,
            members: Arc::new([]),
            listen: Vec::new(),
            clock: Clock::new(),
        };
        let rules =
            Rules { node, instance: Instance(1), dialer: false, addresses: 1, connections: 2, heartbeat, seed: 1 };
        let machine = Peer::new(rules, Instant::now());
        let first = Shown { snapshot: machine.snapshot(Instant::now()), outboxes: Vec::new(), session: None };
        let (datagrams, shown) = (mpsc::channel(1).1, watch::Sender::new(Arc::new(first)));
        Driver::new(Arc::new(setting), Vec::new(), machine, mpsc::channel(1), datagrams, shown)
    }

    #[tokio::test]
    async fn what_a_connection_of_a_former_session_did_is_not_the_current_ones_fault() {
        let mut driver = driver();
        let session = |driver: &Driver| driver.session.as_ref().map(|current| current.session.id);
        for number in [1, 2] {
            let peer = Introduced { instance: Instance(9), session: SessionId(number), connections: 2 };
            driver.turn(Input::Arrived { slot: Slot(0), connection: ConnectionId(number), peer });
        }
        assert_eq!(session(&driver), Some(SessionId(2)));
        driver.ended(Slot(0), ConnectionId(1), SessionId(1), Ending::Misbehaved("it lied".into()));
        assert_eq!(session(&driver), Some(SessionId(2)));
        driver.ended(Slot(0), ConnectionId(2), SessionId(2), Ending::Misbehaved("it lied".into()));
        assert_eq!(session(&driver), None);
    }
}
