//! Two daemons that mirror to each other over a [`Line`], as an administrator would set them up.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi_proto::initiator::Options;
use iscsi_proto::pdu::ScsiStatus;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, comes_true, free_ports, program, wait_until};
use crate::initiator::{Error, Session};
use crate::line::{Line, Place};

/// More than any recovery takes with the times of [`Setup::default`], on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One volume on both nodes.
#[derive(Clone, Debug)]
pub struct Volume {
    pub name: &'static str,
    /// `alpha` or `beta`.
    pub owner: &'static str,
    /// In `mirror:`, beside peer and role; empty: the volume is not mirrored.
    pub mirror: &'static str,
    pub size: &'static str,
}

impl Volume {
    pub fn new(name: &'static str, owner: &'static str, mirror: &'static str) -> Volume {
        Volume { name, owner, mirror, size: "16MiB" }
    }
}

/// What differs from scenario to scenario.
#[derive(Clone, Debug)]
pub struct Setup {
    pub volumes: Vec<Volume>,
    pub connections: u8,
    /// T2.
    pub interval: &'static str,
    /// T1.
    pub timeout: &'static str,
    pub probation: &'static str,
    /// T3.
    pub idle_timeout: &'static str,
    /// More keys of the peer, each with a comma before it.
    pub peer: &'static str,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            volumes: vec![Volume::new("db", "alpha", "mode: sync")],
            connections: 4,
            interval: "50ms",
            timeout: "600ms",
            probation: "200ms",
            idle_timeout: "2s",
            peer: "",
        }
    }
}

impl Setup {
    /// One volume `db`, owned by alpha.
    pub fn mode(mirror: &'static str) -> Setup {
        Setup { volumes: vec![Volume::new("db", "alpha", mirror)], ..Setup::default() }
    }
}

/// One of the two; `daemon` is absent while it is down.
pub struct Node {
    pub name: &'static str,
    pub daemon: Option<Daemon>,
    dir: Arc<TempDir>,
    ports: Vec<u16>,
    yaml: String,
    namespace: Option<String>,
}

pub struct Pair {
    pub alpha: Node,
    pub beta: Node,
    pub line: Line,
}

/// As many as any scenario's volumes.
const LUNS: u16 = 3;
/// Unit attentions that a nexus may find waiting for it.
const ATTENTIONS_MAX: usize = 8;

pub const TARGET: &str = "iqn.2026-11.net.example:pair";
pub const INITIATOR: &str = "iqn.1993-08.org.debian:01:pair";

impl Pair {
    /// Both started; not necessarily connected yet.
    pub fn start(setup: &Setup) -> Pair {
        let mut pair = Pair::prepare(setup);
        // An owner that starts first waits for its peer; either order must do.
        pair.alpha.start();
        pair.beta.start();
        pair
    }

    /// Both started, connected, and alike.
    pub fn established(setup: &Setup) -> Pair {
        let pair = Pair::start(setup);
        for volume in setup.volumes.iter().filter(|volume| !volume.mirror.is_empty()) {
            pair.wait_established(volume.name);
        }
        pair
    }

    /// Configured, nothing started.
    pub fn prepare(setup: &Setup) -> Pair {
        let ports = free_ports(4);
        let (line, [alpha, beta]) = Line::lay([ports[2], ports[3]]);
        let secret: [u8; 32] = std::array::from_fn(|n| (n * 37 + 11) as u8);
        let alpha = Node::prepare("alpha", "beta", ports[0], alpha, setup, &secret);
        let beta = Node::prepare("beta", "alpha", ports[1], beta, setup, &secret);
        Pair { alpha, beta, line }
    }

    pub fn nodes(&self) -> [&Node; 2] {
        [&self.alpha, &self.beta]
    }

    /// Both nodes say that writes go to the peer as they come, and that both copies are UpToDate.
    pub fn wait_established(&self, volume: &str) {
        for node in self.nodes() {
            wait_until(
                &format!("{volume} is established on {}, at first {}", node.name, node.group(volume)),
                PATIENCE,
                || node.is_established(volume),
            );
        }
    }

    /// Waits until the replica lacks nothing, then compares the images.
    pub fn assert_alike(&self, volume: &str) {
        self.wait_established(volume);
        let since = Instant::now();
        loop {
            let (ours, theirs) = (self.alpha.image(volume), self.beta.image(volume));
            if ours == theirs {
                return;
            }
            // An async or memsync write may still be on its way.
            if since.elapsed() > PATIENCE {
                let at = ours.iter().zip(&theirs).position(|(a, b)| a != b);
                panic!("the images of {volume} differ from byte {at:?} on, {} and {} bytes", ours.len(), theirs.len());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Node {
    fn prepare(name: &'static str, peer: &str, portal: u16, place: Place, setup: &Setup, secret: &[u8]) -> Node {
        let dir = Arc::new(TempDir::with_prefix(format!("lunmirror-{name}-")).expect("a folder for the node"));
        let secret_file = dir.path().join("pair.secret");
        fs::write(&secret_file, secret).expect("the pair's secret");
        fs::set_permissions(&secret_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("kept private");
        let Place { listen, peer: address, namespace } = place;
        let Setup { connections, interval, timeout, probation, idle_timeout, peer: more, .. } = setup;
        let mut yaml = format!(
            "node: {name}\nstate_dir: DIR/state\nportals: [127.0.0.1:PORT]\nlimits: {{ shutdown_grace: 200ms }}\n\
             link: {{ listen: [{listen}] }}\nadmin: {{ socket: DIR/admin.sock }}\npeers:\n  {peer}: {{ address: \
             {address}, connections: {connections}, secret_file: DIR/pair.secret, heartbeat: {{ interval: {interval}, \
             timeout: {timeout}, probation: {probation} }}, idle_timeout: {idle_timeout}{more} }}\nvolumes:\n"
        );
        let mut luns = Vec::new();
        for (lun, volume) in setup.volumes.iter().enumerate() {
            let role = if volume.owner == name { "primary" } else { "secondary" };
            let mirror = match volume.mirror {
                "" => String::new(),
                keys => format!(", mirror: {{ peer: {peer}, role: {role}, {keys} }}"),
            };
            yaml += &format!("  {0}: {{ file: DIR/{0}.img, size: {1}{mirror} }}\n", volume.name, volume.size);
            luns.push(format!("{lun}: {}", volume.name));
        }
        yaml += &format!("targets:\n  {TARGET}: {{ initiators: [\"*\"], luns: {{ {} }} }}\n", luns.join(", "));
        Node { name, daemon: None, dir, ports: vec![portal], yaml, namespace }
    }

    pub fn start(&mut self) {
        assert!(self.daemon.is_none(), "{} runs", self.name);
        self.daemon =
            Some(Daemon::start_within(self.namespace.as_deref(), Arc::clone(&self.dir), &self.ports, &self.yaml));
    }

    /// Change the configuration; in force from the next start on.
    pub fn configure(&mut self, change: impl FnOnce(&str) -> String) {
        self.yaml = change(&self.yaml);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.take().expect("it runs").kill();
    }

    /// Whoever was killed is gone; everything it has ever logged.
    pub fn bury(&mut self) -> String {
        self.daemon.take().expect("it ran").bury()
    }

    /// SIGTERM.
    pub fn stop(&mut self) {
        let status = self.daemon.take().expect("it runs").stop(PATIENCE);
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it runs")
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn image(&self, volume: &str) -> Vec<u8> {
        fs::read(self.path(&format!("{volume}.img"))).expect("the image is there")
    }

    pub fn log_in(&self) -> Result<Session, Error> {
        self.log_in_as(INITIATOR)
    }

    /// Past the unit attentions that a new nexus has.
    pub fn log_in_as(&self, initiator: &str) -> Result<Session, Error> {
        let mut session = Session::login(self.daemon().address(), Options::normal(initiator, TARGET))?;
        for lun in 0..LUNS {
            for _ in 0..ATTENTIONS_MAX {
                let test_unit_ready = session.command(lun, &[0; 6], bytes::Bytes::new(), 0)?;
                if test_unit_ready.status == ScsiStatus::GOOD {
                    break;
                }
            }
        }
        Ok(session)
    }

    /// `lunmirrorctl`, whatever it answers.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        Command::new(program().with_file_name("lunmirrorctl"))
            .arg("--json")
            .arg("--socket")
            .arg(self.path("admin.sock"))
            .args(arguments)
            .output()
            .expect("lunmirrorctl runs")
    }

    /// What it answers where it succeeds.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.ctl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "lunmirrorctl {arguments:?} on {}: {said}\n{}",
            self.name,
            self.daemon().log()
        );
        serde_json::from_slice(&output.stdout).expect("--json prints JSON")
    }

    /// `status` of the node as it is now.
    pub fn status(&self) -> Value {
        self.ask(&["status"])
    }

    /// The group of that volume in the node's status.
    pub fn group(&self, volume: &str) -> Value {
        let status = self.status();
        let groups = status["groups"].as_array().expect("a list of groups").clone();
        let named = |group: &Value| group["volumes"].as_array().is_some_and(|names| names.contains(&volume.into()));
        groups.into_iter().find(named).unwrap_or_else(|| panic!("{volume} is in no group of {}: {status}", self.name))
    }

    /// The only peer in the node's status.
    pub fn peer(&self) -> Value {
        self.status()["peers"][0].clone()
    }

    /// Slots of the connection array that are open.
    pub fn open_slots(&self) -> usize {
        let peer = self.peer();
        let slots = peer["slots"].as_array().expect("an array of slots");
        slots.iter().filter(|slot| slot["state"] == "open").count()
    }

    pub fn is_established(&self, volume: &str) -> bool {
        let group = self.group(volume);
        group["link"] == "established" && group["disk"] == "up-to-date"
    }

    pub fn wait_for(&self, volume: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        if !comes_true(PATIENCE, || holds(&self.group(volume))) {
            let (name, group, log) = (self.name, self.group(volume), self.daemon().log());
            panic!("{volume} on {name}: {what}: not within {PATIENCE:?}; it is {group:#}\n{log}");
        }
    }
}
