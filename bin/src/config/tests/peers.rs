//! Faults of peers. Their secrets are files, so each test has a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use target_core::target::config::{Compression, Encryption, NodeName, PeerConfig};
use tempfile::TempDir;

use super::{PAIR_SECRET, load, render};

/// One mirrored volume: each test puts one thing in its place.
const SOUND: &str = "\
node: alpha
state_dir: .
portals: [127.0.0.1:3260]
admin: { socket: admin.sock }
link: { listen: [127.0.0.1:3262] }
peers:
  beta: { address: 127.0.0.1:3263, secret_file: pair.secret }
volumes:
  db:
    file: db.img
    size: 1MiB
    mirror: { peer: beta, role: primary }
targets:
  iqn.2026-11.net.example:store: { initiators: [\"*\"], luns: { 0: db } }
";

/// A directory with that file and its secret.
pub struct Pair {
    directory: TempDir,
}

impl Pair {
    /// `SOUND` with each `old` replaced by its `new`.
    pub fn altered(changes: &[(&str, &str)]) -> Pair {
        let directory = tempfile::tempdir().expect("a directory");
        let mut text = SOUND.to_owned();
        for (old, new) in changes {
            assert!(text.contains(old), "{old} is in the file");
            text = text.replacen(old, new, 1);
        }
        fs::write(directory.path().join("c.yaml"), text).expect("written");
        let pair = Pair { directory };
        pair.write("pair.secret", PAIR_SECRET.as_bytes(), 0o600);
        pair
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("c.yaml")
    }

    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode is set");
    }

    /// With `DIR` for the directory.
    fn shown(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "DIR")
    }

    #[track_caller]
    pub fn assert_faults(&self, expected: &str) {
        let errors = load(&self.file()).expect_err("it is at fault");
        let faults = self.shown(&render(&errors.faults));
        assert!(faults == expected, "expected:\n{expected}\ngot:\n{faults}");
    }

    #[track_caller]
    pub fn assert_warnings(&self, expected: &str) -> super::Config {
        let loaded = load(&self.file()).unwrap_or_else(|errors| panic!("{errors}"));
        let warnings = self.shown(&render(&loaded.warnings));
        assert!(warnings == expected, "expected:\n{expected}\ngot:\n{warnings}");
        loaded.config
    }
}

#[track_caller]
pub fn assert_pair_fault(old: &str, new: &str, expected: &str) {
    Pair::altered(&[(old, new)]).assert_faults(expected);
}

#[test]
fn a_peer_has_sound_defaults() {
    let config = Pair::altered(&[("link: { listen: [127.0.0.1:3262] }\n", "")]).assert_warnings("");
    assert_eq!(config.mirror_listen, ["0.0.0.0:3262".parse().expect("an address")]);
    let peer = &config.peers["beta"];
    assert_eq!(peer.name, NodeName::from("beta"));
    assert_eq!((peer.connections, peer.idle_timeout), (4, Duration::from_secs(30)));
    assert_eq!((peer.encryption, peer.compression), (Encryption::None, Compression::None));
    assert_eq!(peer.secret.0[..], PAIR_SECRET.trim_end().as_bytes()[..], "without the line end");
    assert!(peer.heartbeat.timeout > 2 * peer.heartbeat.interval);
}

#[test]
fn a_node_listens_by_the_kinds_of_address_that_its_peers_have() {
    for (address, expected) in [
        ("10.0.0.2", &["0.0.0.0:3262"][..]),
        ("\"[2001:db8::2]:3262\"", &["[::]:3262"]),
        ("[\"2001:db8::2\", 10.0.0.2]", &["0.0.0.0:3262", "[::]:3262"]),
    ] {
        let pair = Pair::altered(&[("link: { listen: [127.0.0.1:3262] }\n", ""), ("127.0.0.1:3263", address)]);
        let listen: Vec<String> = pair.assert_warnings("").mirror_listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, expected, "{address}");
    }
}

#[test]
fn every_setting_of_a_peer_arrives() {
    let new =
        "{ address: [10.0.0.2, \"[2001:db8::2]:4000\"], connections: 64, secret_file: pair.secret, idle_timeout: 1m,
          heartbeat: { interval: 100ms, timeout: 1s, probation: 2s, probation_max: 3s },
          encryption: noise, compression: zstd }";
    let old = "{ address: 127.0.0.1:3263, secret_file: pair.secret }";
    let config = Pair::altered(&[(old, new)]).assert_warnings("");
    let PeerConfig { addresses, connections, heartbeat, idle_timeout, encryption, compression, .. } =
        config.peers["beta"].clone();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.2:3262", "[2001:db8::2]:4000"]);
    assert_eq!((connections, idle_timeout), (64, Duration::from_secs(60)));
    let milliseconds = [heartbeat.interval, heartbeat.timeout, heartbeat.probation, heartbeat.probation_max];
    assert_eq!(milliseconds.map(|time| time.as_millis()), [100, 1000, 2000, 3000]);
    assert_eq!((encryption, compression), (Encryption::Noise, Compression::Zstd));
}

#[test]
fn a_peer_is_complete() {
    assert_pair_fault(
        "{ address: 127.0.0.1:3263, secret_file: pair.secret }",
        "{ connections: 65, encryption: tls, compression: lz5, adress: 127.0.0.1 }",
        "7: peers.beta.adress: there is no such setting
    remedy: did you mean address?
7: peers.beta.compression: there is no compression lz5
    remedy: did you mean lz4?
7: peers.beta.connections: 65 is out of range
    remedy: use 1 to 64
7: peers.beta.encryption: there is no encryption tls
    remedy: write none or noise
7: peers.beta.secret_file: is missing
    remedy: make one with lunmirrorctl secret new FILE, and copy the file to the peer (mode 0600)",
    );
    assert_pair_fault(
        "  beta: { address: 127.0.0.1:3263, secret_file: pair.secret }",
        "  beta:",
        "7: peers.beta.address: is missing
    remedy: write address: IP:3262, where the peer listens for us, or a list of such
7: peers.beta.secret_file: is missing
    remedy: make one with lunmirrorctl secret new FILE, and copy the file to the peer (mode 0600)",
    );
}

#[test]
fn a_peer_is_another_node() {
    Pair::altered(&[("  beta: {", "  alpha: {"), ("peer: beta", "peer: alpha")]).assert_faults(
        "7: peers.alpha: is this node's own name
    remedy: name the other node here, and this one in the other node's file",
    );
    assert_pair_fault(
        "127.0.0.1:3263",
        "127.0.0.1:3262",
        "7: peers.beta.address: 127.0.0.1:3262 is where this node itself listens (link.listen)
    remedy: write where the other node listens",
    );
    Pair::altered(&[("link: { listen: [127.0.0.1:3262] }\n", ""), ("127.0.0.1:3263", "127.0.0.1:3262")]).assert_faults(
        "6: peers.beta.address: 127.0.0.1:3262 is where this node itself listens (link.listen)
    remedy: write where the other node listens",
    );
}

#[test]
fn names_fit_the_wire() {
    let long = "x".repeat(224);
    Pair::altered(&[("node: alpha", &format!("node: {long}"))]).assert_faults(
        "1: node: 224 bytes, cannot be the name of a node that mirrors
    remedy: use 1 to 223 bytes, none of them a control character",
    );
}

#[test]
fn addresses_are_those_of_one_host() {
    assert_pair_fault(
        "127.0.0.1:3263",
        "[127.0.0.1:0, 0.0.0.0, 224.0.0.1, beta.example, ~, 10.0.0.2]",
        "7: peers.beta.address.0: 127.0.0.1:0 is not where one host can be reached
    remedy: write address: IP:3262, where the peer listens for us, or a list of such
7: peers.beta.address.1: 0.0.0.0:3262 is not where one host can be reached
    remedy: write address: IP:3262, where the peer listens for us, or a list of such
7: peers.beta.address.2: 224.0.0.1:3262 is not where one host can be reached
    remedy: write address: IP:3262, where the peer listens for us, or a list of such
7: peers.beta.address.3: \"beta.example\" is not an address
    remedy: write IP:PORT, as in 0.0.0.0:3262 or \"[::]:3262\"; names are not looked up
7: peers.beta.address.4: is empty
    remedy: remove it",
    );
    assert_pair_fault(
        "127.0.0.1:3263",
        "[]",
        "7: peers.beta.address: is empty
    remedy: write address: IP:3262, where the peer listens for us, or a list of such",
    );
    Pair::altered(&[(
        "  beta: { address: 127.0.0.1:3263, secret_file: pair.secret }",
        "  beta: { address: [127.0.0.1:3263, 127.0.0.1:3263], secret_file: pair.secret }
  gamma: { address: 127.0.0.1:3263, secret_file: pair.secret }",
    )])
    .assert_faults(
        "7: peers.beta.address: 127.0.0.1:3263 is here twice
    remedy: keep one of them
8: peers.gamma.address: 127.0.0.1:3263 is also peers.beta.address
    remedy: keep one of them",
    );
}

#[test]
fn where_peers_reach_us_is_known_to_them() {
    assert_pair_fault(
        "[127.0.0.1:3262]",
        "[127.0.0.1:0, 127.0.0.1:3260]",
        "5: link.listen.0: port 0 is another one each time, and peers must know it
    remedy: write link: {listen: [0.0.0.0:3262, \"[::]:3262\"]}
5: link.listen.1: 127.0.0.1:3260 is also portals.0
    remedy: keep one of them",
    );
    assert_pair_fault(
        "[127.0.0.1:3262]",
        "[]",
        "5: link.listen: has no address
    remedy: write link: {listen: [0.0.0.0:3262, \"[::]:3262\"]}",
    );
}

#[test]
fn a_pairs_secret_is_one() {
    assert_pair_fault(
        "pair.secret",
        "other.secret",
        "7: peers.beta.secret_file: DIR/other.secret cannot be read: No such file or directory (os error 2)
    remedy: make one with lunmirrorctl secret new FILE, and copy the file to the peer (mode 0600)",
    );
    for (secret, told) in [
        (&[b'x'; 31][..], "is 31 bytes long, which can be guessed; a pair's secret has 32 to 512"),
        (&[b'x'; 600][..], "is 600 bytes long; a pair's secret has 32 to 512"),
    ] {
        let pair = Pair::altered(&[]);
        pair.write("pair.secret", secret, 0o600);
        pair.assert_faults(&format!(
            "7: peers.beta.secret_file: {told}\n    remedy: make one with lunmirrorctl secret new FILE, and copy the \
             file to the peer (mode 0600)"
        ));
    }
}

#[test]
fn unwise_secrets() {
    let pair = Pair::altered(&[]);
    pair.write("pair.secret", PAIR_SECRET.as_bytes(), 0o644);
    pair.assert_warnings(
        "7: peers.beta.secret_file: DIR/pair.secret can be read by everybody on this host
    remedy: chmod 600 DIR/pair.secret",
    );
    pair.write("pair.secret", &[b'x'; 32], 0o600);
    pair.assert_warnings(
        "7: peers.beta.secret_file: is made of 1 different bytes: it is not random
    remedy: make one with lunmirrorctl secret new FILE, and copy the file to the peer (mode 0600)",
    );
    let gamma = "peers:\n  gamma: { address: 10.0.0.3, secret_file: pair.secret }";
    Pair::altered(&[("peers:", gamma)]).assert_warnings(
        "7: peers.gamma: is the peer of no volume
    remedy: write mirror: {peer: gamma, role: …} under a volume, or remove it
7: peers.gamma.secret_file: holds the same secret as that of beta
    remedy: give each pair a secret of its own: each peer could pass for the other",
    );
}

#[test]
fn one_lost_heartbeat_does_not_cut_a_link() {
    assert_pair_fault(
        "pair.secret }",
        "pair.secret, heartbeat: { interval: 2s } }",
        "7: peers.beta.heartbeat.timeout: 3s is not more than twice the interval, 2s
    remedy: raise it to some six intervals, or shorten the interval: one lost heartbeat must not cut the link",
    );
    assert_pair_fault(
        "pair.secret }",
        "pair.secret, heartbeat: { interval: 1ms, timeout: 1h, probation: 5s, probation_max: 2s } }",
        "7: peers.beta.heartbeat.interval: 1ms is out of range
    remedy: use 10ms to 1m
7: peers.beta.heartbeat.probation_max: 2s is less than probation, 5s
    remedy: raise it: it is what probation doubles up to
7: peers.beta.heartbeat.timeout: 1h is out of range
    remedy: use 20ms to 10m",
    );
    let config = Pair::altered(&[("pair.secret }", "pair.secret, heartbeat: { probation: 2m } }")]).assert_warnings("");
    assert_eq!(config.peers["beta"].heartbeat.probation_max, Duration::from_secs(120), "never less than probation");
}

#[test]
fn connections_outlive_the_doubt() {
    Pair::altered(&[("pair.secret }", "pair.secret, idle_timeout: 2s }")]).assert_warnings(
        "7: peers.beta.idle_timeout: 2s is less than heartbeat.timeout, 3s: connections are given up before the link is \
         found dead
    remedy: raise it",
    );
}
