//! Two targets and their operator: the whole life of a mirror, as `lunmirrorctl` tells and commands it.

mod common;

use std::net::{TcpListener, UdpSocket};
use std::process::Output;
use std::time::{Duration, Instant};

use common::{Target, ctl, json, text};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

struct Pair {
    directory: TempDir,
    /// Of a and b.
    ports: [u16; 2],
}

impl Pair {
    fn new() -> Pair {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(ctl(directory.path(), &["secret", "new", "pair.secret"]).status.success());
        Pair { directory, ports: [free_port(), free_port()] }
    }

    /// Node a is the Primary at first.
    fn start(&self, node: &str) -> Target {
        let ([own, other], peer, role) = match node {
            "a" => (self.ports, "b", "primary"),
            _ => ([self.ports[1], self.ports[0]], "a", "secondary"),
        };
        let config = format!(
            "\
node: {node}
state_dir: {node}
portals: [127.0.0.1:0]
admin: {{ socket: {node}.sock }}
limits: {{ shutdown_grace: 200ms }}
link: {{ listen: 127.0.0.1:{own} }}
peers:
  {peer}:
    address: 127.0.0.1:{other}
    secret_file: pair.secret
    heartbeat: {{ interval: 50ms, timeout: 1s, probation: 100ms }}
volumes:
  disk: {{ file: {node}/disk.img, size: 4MiB, mirror: {{ peer: {peer}, role: {role}, group: disks }} }}
targets:
  iqn.2026-11.net.example:pair: {{ initiators: [\"*\"], luns: {{ 0: disk }} }}
"
        );
        Target::start(self.directory.path(), &format!("{node}.yaml"), &config)
    }

    fn ctl(&self, node: &str, arguments: &[&str]) -> Output {
        ctl(self.directory.path(), &[&["-c", &format!("{node}.yaml")], arguments].concat())
    }

    fn group(&self, node: &str) -> Value {
        json(&self.ctl(node, &["--json", "status"]))["groups"][0].take()
    }

    /// Until the node tells so.
    #[track_caller]
    fn wait(&self, node: &str, role: &str, disk: &str, link: &str) {
        let since = Instant::now();
        loop {
            let group = self.group(node);
            if (&group["role"], &group["disk"], &group["link"]) == (&role.into(), &disk.into(), &link.into()) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{node} is not {role}, {disk}, {link}: {group}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn obeys(&self, node: &str, arguments: &[&str]) -> String {
        let output = self.ctl(node, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }
}

/// For TCP and UDP alike.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = tcp.local_addr().expect("it is bound").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn an_operator_moves_a_volume_and_survives_the_loss_of_a_node() {
    let pair = Pair::new();
    let (a, _b) = (pair.start("a"), pair.start("b"));
    pair.wait("a", "primary", "up-to-date", "established");
    pair.wait("b", "secondary", "up-to-date", "established");

    let status = pair.obeys("a", &["status"]);
    assert!(status.contains("\ndisks (disk)  Primary  UpToDate  b "), "{status}");
    assert!(pair.obeys("a", &["peers"]).starts_with("b: up, healthy, this node dials, session "));
    assert!(pair.obeys("b", &["volumes"]).contains("Secondary, from a, group disks"));
    assert!(pair.obeys("b", &["explain", "disk"]).starts_with("b is Secondary of disks: "));

    let refused = pair.ctl("b", &["promote", "disk", "--force"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("remedy: on a: lunmirrorctl demote disks"), "{refused:?}");

    assert!(pair.obeys("a", &["demote", "disk"]).starts_with("disks is Secondary on a: "));
    assert!(pair.obeys("b", &["promote", "disks"]).starts_with("disks is Primary on b: "));
    pair.wait("a", "secondary", "up-to-date", "established");

    pair.obeys("b", &["mode", "disk", "async"]);
    pair.obeys("b", &["on-link-loss", "disk", "hold"]);
    pair.obeys("b", &["max-stall", "disk", "2s"]);
    let group = pair.group("b");
    assert_eq!((&group["mode"], &group["on_link_loss"]), (&"async".into(), &"hold".into()));

    pair.obeys("b", &["pause", "disk"]);
    pair.wait("b", "primary", "up-to-date", "paused");
    pair.obeys("b", &["resume", "disk"]);
    pair.wait("b", "primary", "up-to-date", "established");
    pair.wait("a", "secondary", "up-to-date", "established");

    pair.obeys("b", &["demote", "disk"]);
    pair.obeys("a", &["promote", "disk"]);
    pair.wait("b", "secondary", "up-to-date", "established");
    a.signal(Signal::KILL);
    pair.wait("b", "secondary", "consistent", "down");
    let gone = pair.ctl("a", &["status"]);
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    let told = pair.obeys("b", &["promote", "disk"]);
    assert!(told.starts_with("this copy was up to date ") && told.contains("\ndisks is Primary on b: "), "{told}");

    let _a = pair.start("a");
    pair.wait("a", "secondary", "up-to-date", "established");
    pair.wait("b", "primary", "up-to-date", "established");
}

#[test]
fn an_operator_ends_a_split_brain() {
    let pair = Pair::new();
    let (a, b) = (pair.start("a"), pair.start("b"));
    pair.wait("a", "primary", "up-to-date", "established");
    pair.wait("b", "secondary", "up-to-date", "established");
    let text_of = |node, event| pair.obeys(node, &["explain", "disk", "--what-if", event]);
    let cut = text_of("a", "cut");
    assert!(cut.contains("at most max_stall") || cut.contains("mode async waits for nobody"), "{cut}");
    assert!(text_of("b", "promote").starts_with("It would be refused: a is Primary and reachable"));
    assert!(text_of("b", "rejoin").contains("of the table: a is the source"));
    let refused = pair.ctl("a", &["resolve", "disk", "--keep", "b"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused.stderr).starts_with("there is no split brain of disks: the link to b is established\n"));
    let refused = pair.ctl("a", &["resolve", "disk", "--keep", "c"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");

    // Each goes alone while the other is away.
    drop(a);
    pair.wait("b", "secondary", "consistent", "down");
    pair.obeys("b", &["promote", "disk"]);
    drop(b);
    let a = pair.start("a");
    pair.obeys("a", &["promote", "disk"]);
    let record = pair.ctl("a", &["metadata", "show", "disks", "--json"]);
    assert_eq!(json(&record)[0]["record"]["peer_outdated"], true, "beside a target at work: {record:?}");
    let _b = pair.start("b");
    pair.wait("a", "primary", "up-to-date", "refused");
    pair.wait("b", "primary", "up-to-date", "refused");
    assert!(pair.obeys("b", &["explain", "disk"]).contains("here: lunmirrorctl resolve disks --keep a."));

    let kept = pair.obeys("a", &["resolve", "disk", "--keep", "a"]);
    assert!(kept.starts_with("a is kept") && kept.contains("On b,"), "{kept}");
    pair.wait("a", "primary", "up-to-date", "refused");
    let gives_way = pair.obeys("b", &["resolve", "disk", "--keep", "a"]);
    assert!(gives_way.starts_with("a is kept. What hosts wrote on b "), "{gives_way}");
    pair.wait("b", "secondary", "up-to-date", "established");
    pair.wait("a", "primary", "up-to-date", "established");
    drop(a);
    let offline = pair.ctl("a", &["metadata", "show"]);
    assert_eq!(offline.status.code(), Some(0), "{offline:?}");
    assert!(text(&offline.stdout).contains("\n  disk    4 MiB  1 "), "{offline:?}");
}
