//! One fault at a time, with the whole text an operator sees; then many at once, and the samples.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use target_core::block::BlockLength;
use target_core::target::config::{ChapAlgorithm, NamePattern, Role, Rotation, ScsiVersion, Store, VolumeConfig};

use super::*;

mod admin;
mod keys;
mod mirror;
mod peers;
mod portals;
mod secrets;
mod targets;
mod volumes;

/// A file with nothing wrong: each test puts one thing in its place.
const SOUND: &str = "\
node: alpha
state_dir: .
portals: [127.0.0.1:3260]
volumes:
  db: { file: db.img, size: 1MiB }
targets:
  iqn.2026-11.net.example:store:
    initiators: [\"*\"]
    luns: { 0: db }
";

/// What `lunmirrorctl secret new` might write.
const PAIR_SECRET: &str = "8d1f0c3b5a7e92644f1b0e6d3c2a59788d1f0c3b5a7e92644f1b0e6d3c2a5978\n";

fn findings(text: &str) -> (Option<Config>, Findings) {
    let mut findings = Findings::default();
    let config = parse(text, Path::new("."), &mut findings);
    (config, findings)
}

fn render(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<String>().trim_end().to_owned()
}

/// `SOUND` with `old` replaced by `new`.
fn altered(old: &str, new: &str) -> String {
    assert!(SOUND.contains(old), "{old} is in the sound file");
    SOUND.replacen(old, new, 1)
}

#[track_caller]
fn assert_faults(text: &str, expected: &str) {
    let faults = render(&findings(text).1.faults);
    assert!(faults == expected, "expected:\n{expected}\ngot:\n{faults}");
}

#[track_caller]
fn assert_fault(old: &str, new: &str, expected: &str) {
    assert_faults(&altered(old, new), expected);
}

#[track_caller]
fn assert_warning(old: &str, new: &str, expected: &str) {
    let (config, findings) = findings(&altered(old, new));
    assert_eq!(render(&findings.faults), "");
    assert!(config.is_some());
    assert_eq!(render(&findings.warnings), expected);
}

#[test]
fn a_sound_file_has_nothing_to_complain_of() {
    let (config, findings) = findings(SOUND);
    assert_eq!((findings.faults, findings.warnings), (vec![], vec![]));
    let config = config.expect("it is sound");
    assert_eq!(config.portal_groups[0].portals, ["127.0.0.1:3260".parse().expect("an address")]);
    let volume = &config.volumes["db"];
    assert_eq!(volume.size, Some(1 << 20));
    assert_eq!(volume.store, Store::File { path: "./db.img".into(), direct_io: false });
    assert_eq!(volume.block_size, BlockLength::B512);
    let target = config.targets.values().next().expect("one target");
    assert_eq!(target.luns[&0].as_ref(), "db");
    assert_eq!(target.portal_groups, [1]);
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
node: 5
portals: [localhost:3260]
volumes:
  db: { file: db.img, sise: 1MiB, thin: maybe }
targets:
  disk:
    luns: { 0: bd }
";
    let expected = r#"1: node: expected text, found `5`
    remedy: put it in quotes
1: state_dir: is missing
    remedy: write state_dir: /var/lib/lunmirror
2: portals.0: "localhost:3260" is not an address
    remedy: write IP:PORT, as in 0.0.0.0:3260 or "[::]:3260"; names are not looked up
4: volumes.db.sise: there is no such setting
    remedy: did you mean size?
4: volumes.db.thin: found "maybe"
    remedy: write true or false
6: targets.disk: is not an iSCSI name: does not begin with iqn., eui. or naa.
    remedy: write iqn.YYYY-MM.REVERSED.DOMAIN:ANYTHING, as in iqn.2026-11.net.example:disk
6: targets.disk.initiators: is missing, and there is no auth: anybody could log in
    remedy: write initiators: [NAME, …], or initiators: ["*"] if anybody may
7: targets.disk.luns.0: there is no volume bd
    remedy: did you mean db?"#;
    assert_faults(text, expected);
}

#[test]
fn an_empty_file_lacks_everything() {
    let (config, findings) = findings("");
    assert!(config.is_none());
    let places: Vec<String> = findings.faults.iter().map(|fault| fault.place.to_string()).collect();
    assert_eq!(places, ["node", "portals", "state_dir", "targets"]);
}

#[test]
fn a_file_that_is_not_there() {
    let errors = load(Path::new("/nonexistent.yaml")).expect_err("it is not there");
    assert_eq!(
        errors.to_string(),
        "/nonexistent.yaml: cannot be read: No such file or directory (os error 2)\n    \
         remedy: name a readable file with -c\n1 fault in /nonexistent.yaml"
    );
}

#[test]
fn two_targets_whose_names_differ_in_case() {
    let twice = altered("targets:\n", "targets:\n  IQN.2026-11.net.example:store: { initiators: [\"*\"], luns: {} }\n");
    assert_faults(
        &twice,
        "8: targets.iqn.2026-11.net.example:store: is here twice: upper and lower case are the same\n    \
         remedy: keep one of them",
    );
}

#[test]
fn a_secret_file_loses_its_line_end_and_is_watched() {
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("host.secret");
    fs::write(&secret, "0123456789abc\r\n").expect("written");
    let file = directory.path().join("c.yaml");
    let auth = "    auth: { chap: { user: ann, secret_file: host.secret }, algorithms: [sha256] }\n    luns";
    fs::write(&file, altered("    luns", auth)).expect("written");

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("its mode is set");
    let loaded = load(&file).expect("it is sound");
    let path = secret.display();
    assert_eq!(
        render(&loaded.warnings),
        format!(
            "9: targets.iqn.2026-11.net.example:store.auth.chap.secret_file: {path} can be read by everybody on this \
             host\n    remedy: chmod 600 {path}"
        )
    );

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    let loaded = load(&file).expect("it is sound");
    assert_eq!(render(&loaded.warnings), "");
    let target = loaded.config.targets.values().next().expect("one target");
    let auth = target.auth.as_ref().expect("it has auth");
    assert_eq!(auth.users[0].secret.0, b"0123456789abc");
    assert_eq!(auth.algorithms, [ChapAlgorithm::Sha256]);
    assert!(!format!("{auth:?}").contains("0123456789abc"), "a secret is never printed");
}

#[test]
fn every_setting_arrives() {
    let text = r#"
node: alpha
state_dir: .
portals:
  1: [10.0.0.1, "[2001:db8::1]:3261"]
  7: ["[::1]"]
discovery: { auth: { chap: { user: browse, secret: browse-secret-1 } } }
limits:
  login_timeout: 5s
  max_connections: 10
  target: { queue_depth: 64, max_burst_length: 64KiB }
volumes:
  1: { memory: {}, size: 8KiB, block_size: 4096, thin: false, removable: true, write_cache: false, serial: S1,
       scsi_version: spc3, rotation: 7200, vendor: ACME, naa: "60014050000000000000000000000001" }
  void: { null: {}, size: 1TiB, uuid: 6f1c6f9e-1f0e-4a53-8f3c-5d8f0c3f6c11 }
targets:
  iqn.2026-11.net.example:a:
    alias: the store
    auth:
      chap: [{ user: ann, secret: secret-of-ann-1 }, { user: bob, secret: secret-of-bob-1 }]
      mutual: { user: store, secret: secret-of-store }
    initiators:
      - IQN.1993-08.org.debian:01:*
      - { name: [iqn.a, iqn.b], networks: [10.1.2.3/8, "2001:db8::/32"], users: bob, luns: { 0: void } }
    luns: { 0: 1, 1: void }
    portal_groups: [7]
    limits: { queue_depth: 8 }
  iqn.2026-11.net.example:gone: { initiators: "*", redirect: { address: "10.0.0.9:3260", permanent: true } }
"#;
    // LUN 0's volume is called 1, which YAML takes for a number.
    let (config, found) = findings(&text.replace("{ 0: 1,", "{ 0: \"1\","));
    assert_eq!(render(&found.faults), "");
    assert_eq!(render(&found.warnings), "");
    let config = config.expect("it is sound");
    assert_eq!(config.portal_groups.iter().map(|group| group.tag).collect::<Vec<_>>(), [1, 7]);
    assert_eq!(config.portal_groups[0].portals[0].to_string(), "10.0.0.1:3260");
    assert_eq!(config.portal_groups[1].portals[0].to_string(), "[::1]:3260");
    assert_eq!(config.limits.login_timeout, Duration::from_secs(5));
    assert_eq!(config.limits.max_connections, 10);
    assert_eq!(config.session_limits.first_burst_length, 64 * 1024, "never larger than the other");
    assert_eq!(config.discovery_auth.expect("discovery asks").users[0].name, "browse");

    let volume = &config.volumes["1"];
    assert_eq!(volume.store, Store::Memory);
    assert_eq!((volume.block_size, volume.thin), (BlockLength::B4096, Some(false)));
    assert_eq!((volume.removable, volume.write_cache, volume.read_only), (true, false, false));
    assert_eq!((volume.scsi_version, volume.rotation), (ScsiVersion::Spc3, Rotation::Rpm(7200)));
    assert_eq!(volume.identity.naa.expect("it is set").as_bytes()[..3], [0x60, 0x01, 0x40]);
    assert_eq!(config.volumes["void"].store, Store::Null);

    let mut targets = config.targets.values();
    let store = targets.next().expect("the first target");
    assert_eq!(store.acl[0].initiators, [NamePattern("iqn.1993-08.org.debian:01:*".into())]);
    assert_eq!(store.acl[1].initiators.len(), 2);
    assert_eq!(store.acl[1].networks[0].to_string(), "10.0.0.0/8");
    assert_eq!(store.acl[1].users.as_deref(), Some(&["bob".to_owned()][..]));
    assert_eq!(store.acl[1].luns.as_ref().expect("a map of its own")[&0].as_ref(), "void");
    assert_eq!(store.portal_groups, [7]);
    assert_eq!((store.limits.queue_depth, store.limits.max_burst_length), (8, 64 * 1024));
    let gone = targets.next().expect("the second target");
    assert!(gone.redirect.as_ref().is_some_and(|redirect| redirect.permanent));
    assert_eq!(gone.portal_groups, [1, 7]);
}

/// `conf/` in a directory of its own, with the secret that the README has the reader make.
fn samples() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for folder in ["conf", "conf/secrets"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        let to = directory.path().join(folder);
        fs::create_dir(&to).expect("made");
        for entry in fs::read_dir(&from).expect("conf/ is there").map(|entry| entry.expect("an entry")) {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
            }
        }
    }
    fs::create_dir(directory.path().join("state")).expect("made");
    fs::write(directory.path().join("state/pair.secret"), PAIR_SECRET).expect("written");
    directory
}

#[test]
fn the_samples_are_sound() {
    let directory = samples();
    let mut seen = Vec::new();
    for entry in fs::read_dir(directory.path().join("conf")).expect("conf/ is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let loaded = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            // A checkout cannot carry modes, so the sample secrets are readable to all.
            let unexpected: Vec<_> =
                loaded.warnings.iter().filter(|w| !w.message.contains("read by everybody")).collect();
            assert_eq!(unexpected, Vec::<&Fault>::new(), "{}", path.display());
            seen.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    seen.sort();
    assert_eq!(seen, ["chap.yaml", "full.yaml", "pair-a.yaml", "pair-b.yaml", "target.yaml"]);
}

#[test]
fn the_pair_of_samples_is_a_pair() {
    let directory = samples();
    let load = |name: &str| load(&directory.path().join("conf").join(name)).expect("it is sound").config;
    let (a, b) = (load("pair-a.yaml"), load("pair-b.yaml"));
    for (here, there) in [(&a, &b), (&b, &a)] {
        let peer = &here.peers[&*there.node];
        assert_eq!(peer.addresses, there.mirror_listen, "each knows where the other listens");
        assert_eq!(peer.secret, there.peers[&*here.node].secret);
        assert_ne!(here.admin.socket.as_ref().expect("it has one"), there.admin.socket.as_ref().expect("it has one"));
        assert!(here.state_dir != there.state_dir);
    }
    assert_eq!(a.targets.keys().collect::<Vec<_>>(), b.targets.keys().collect::<Vec<_>>(), "one disk, two ways to it");
    let (on_a, on_b) = (&a.volumes["disk"], &b.volumes["disk"]);
    assert_eq!((&on_a.identity, on_a.size), (&on_b.identity, on_b.size));
    assert!(on_a.store != on_b.store);
    let role = |volume: &VolumeConfig| volume.mirror.as_ref().expect("it is mirrored").first_role;
    assert_eq!((role(on_a), role(on_b)), (Role::Primary, Role::Secondary));
}

/// Every setting there is stands in `conf/full.yaml`, as a setting or in a comment.
#[test]
fn the_full_sample_is_full() {
    let full =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/full.yaml")).expect("conf/full.yaml");
    let raw = include_str!("raw.rs");
    for field in raw.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": Option<")) {
        assert!(full.contains(&format!("{}:", field.0)), "conf/full.yaml says nothing of {}", field.0);
    }
}
