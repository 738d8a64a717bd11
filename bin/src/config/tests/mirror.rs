//! Faults of mirrored volumes and their groups.

use std::time::Duration;

use target_core::target::config::{InitialSync, Mode, OnLinkLoss, Role, Scrub, VolumeMirror};

use super::peers::{Pair, assert_pair_fault};
use super::{assert_fault, assert_faults};

#[test]
fn a_mirrored_volume_has_sound_defaults() {
    let config = Pair::altered(&[]).assert_warnings("");
    let mirror = config.volumes["db"].mirror.clone().expect("it is mirrored");
    assert_eq!(mirror, VolumeMirror::new("beta".into(), "db".into(), Role::Primary));
    assert_eq!((mirror.policy.mode, mirror.policy.on_link_loss), (Mode::Sync, OnLinkLoss::Degrade));
}

#[test]
fn every_setting_of_a_mirror_arrives() {
    let new = "{ peer: beta, role: secondary, mode: memsync, group: dbs, on_link_loss: hold, max_stall: 7s,
              wait_for_peer: 0s, queue: { memory: 1MiB, journal: 1GiB, window: 2MiB, window_writes: 100 } }";
    let config = Pair::altered(&[("{ peer: beta, role: primary }", new)]).assert_warnings("");
    let mirror = config.volumes["db"].mirror.as_ref().expect("it is mirrored");
    assert_eq!((&*mirror.peer, &*mirror.group, mirror.first_role), ("beta", "dbs", Role::Secondary));
    let policy = mirror.policy;
    assert_eq!((policy.mode, policy.on_link_loss), (Mode::Memsync, OnLinkLoss::Hold));
    assert_eq!((policy.max_stall, policy.wait_for_peer), (Duration::from_secs(7), Duration::ZERO));
    let queue = mirror.queue;
    assert_eq!((queue.memory, queue.spill, queue.window_bytes, queue.window_writes), (1 << 20, 1 << 30, 2 << 20, 100));
}

#[test]
fn a_scrub_is_off_unless_it_is_written() {
    let with = |scrub: &str| format!("{{ peer: beta, role: primary, scrub: {scrub} }}");
    let scrub = |text: &str| {
        let config = Pair::altered(&[("{ peer: beta, role: primary }", &with(text))]).assert_warnings("");
        config.volumes["db"].mirror.as_ref().expect("it is mirrored").scrub
    };
    let every = Duration::from_secs(7 * 24 * 60 * 60);
    assert_eq!(scrub("{ every: 7d, rate: 50MiB/s }"), Some(Scrub { every, rate: Some(50 << 20) }));
    assert_eq!(scrub("{ every: 7d }"), Some(Scrub { every, rate: None }));
    assert_pair_fault(
        "{ peer: beta, role: primary }",
        "{ peer: beta, role: primary, scrub: { every: 1s, rate: 5MiB } }",
        "12: volumes.db.mirror.scrub.every: 1s is out of range
    remedy: use 10m to 1year 18h
12: volumes.db.mirror.scrub.rate: found \"5MiB\"
    remedy: write bytes a second, such as 50MiB/s",
    );
    assert_pair_fault(
        "{ peer: beta, role: primary }",
        "{ peer: beta, role: primary, scrub: { rate: 5MiB/s } }",
        "12: volumes.db.mirror.scrub.every: is missing
    remedy: write every: 7d, or remove scrub",
    );
}

#[test]
fn a_first_sync_sends_all_unless_it_is_to_compare() {
    let initial_sync = |text: &str| {
        let with = format!("{{ peer: beta, role: primary{text} }}");
        let config = Pair::altered(&[("{ peer: beta, role: primary }", &with)]).assert_warnings("");
        config.volumes["db"].mirror.as_ref().expect("it is mirrored").initial_sync
    };
    assert_eq!(initial_sync(""), InitialSync::Full);
    assert_eq!(initial_sync(", initial_sync: full"), InitialSync::Full);
    assert_eq!(initial_sync(", initial_sync: compare"), InitialSync::Compare);
    assert_pair_fault(
        "{ peer: beta, role: primary }",
        "{ peer: beta, role: primary, initial_sync: none }",
        "12: volumes.db.mirror.initial_sync: there is no choice none
    remedy: write full or compare",
    );
}

#[test]
fn a_mirror_is_complete() {
    assert_pair_fault(
        "{ peer: beta, role: primary }",
        "{ rolle: primary }",
        "12: volumes.db.mirror.peer: is missing
    remedy: write peer: beta
12: volumes.db.mirror.rolle: there is no such setting
    remedy: did you mean role?",
    );
    assert_pair_fault(
        "{ peer: beta, role: primary }",
        "{ peer: beta }",
        "12: volumes.db.mirror.role: is missing
    remedy: write role: primary on the node whose data counts, role: secondary on the other",
    );
    assert_pair_fault(
        "{ peer: beta, role: primary }",
        "{ peer: beta, role: master, mode: synch, on_link_loss: stop, group: a/b, max_stall: 1ms, wait_for_peer: 2days,
              queue: { memory: 1, journal: 2EiB, window: 3, window_writes: 4 } }",
        "12: volumes.db.mirror.group: \"a/b\" is not a name for a group
    remedy: use 1 to 128 ASCII letters, digits, '-', '_' and '.'
12: volumes.db.mirror.max_stall: 1ms is out of range
    remedy: use 100ms to 1day
12: volumes.db.mirror.mode: there is no mode synch
    remedy: did you mean sync?
12: volumes.db.mirror.on_link_loss: there is no policy stop
    remedy: write degrade or hold
12: volumes.db.mirror.role: there is no role master
    remedy: write primary or secondary
12: volumes.db.mirror.wait_for_peer: 2days is out of range
    remedy: use 0s to 1day
13: volumes.db.mirror.queue.journal: 2.0EiB is out of range
    remedy: use 0B to 1.0PiB
13: volumes.db.mirror.queue.memory: 1B is out of range
    remedy: use 64.0KiB to 1.0TiB
13: volumes.db.mirror.queue.window: 3B is out of range
    remedy: use 64.0KiB to 1.0TiB
13: volumes.db.mirror.queue.window_writes: 4 is out of range
    remedy: use 16 to 1048576",
    );
}

#[test]
fn a_mirrors_peer_is_there() {
    assert_pair_fault(
        "peer: beta",
        "peer: beat",
        "12: volumes.db.mirror.peer: there is no peer beat
    remedy: did you mean beta?",
    );
    assert_pair_fault(
        "peer: beta",
        "peer: gamma",
        "12: volumes.db.mirror.peer: there is no peer gamma
    remedy: add gamma under peers",
    );
    assert_pair_fault(
        "peer: beta",
        "peer: alpha",
        "12: volumes.db.mirror.peer: alpha is this node itself
    remedy: name the other one",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, mirror: { peer: beta, role: primary }",
        "5: volumes.db.mirror.peer: there is no peer beta: there are no peers at all
    remedy: add peers: {beta: {address: IP:3262, secret_file: FILE}}",
    );
    // What is wrong with the section is told; who is in it is not known.
    assert_faults(
        &super::altered("size: 1MiB", "size: 1MiB, mirror: { peer: beta, role: primary }")
            .replace("portals:", "peers: [beta]\nportals:"),
        "3: peers: found a list
    remedy: write a section (key: value)",
    );
}

#[test]
fn only_what_can_be_written_and_kept_is_mirrored() {
    assert_pair_fault(
        "    mirror:",
        "    read_only: true\n    mirror:",
        "13: volumes.db.mirror: is of a read-only volume, which nobody writes, nor its peer to it
    remedy: remove read_only, or remove mirror",
    );
    assert_pair_fault(
        "file: db.img",
        "\"null\": {}",
        "12: volumes.db.mirror: a null store keeps nothing that could be kept alike
    remedy: remove it, or give the volume a file or a device",
    );
    Pair::altered(&[("file: db.img", "memory: {}")]).assert_warnings(
        "12: volumes.db.mirror: this node's copy is in memory: when it stops, all of it is gone and must be sent anew
    remedy: use a file or a device",
    );
}

#[test]
fn volumes_of_a_group_agree() {
    let other = "volumes:
  log:
    file: log.img
    size: 1MiB
    mirror: { peer: beta, role: secondary, mode: async, group: db, max_stall: 1s }
";
    Pair::altered(&[("volumes:\n", other), ("0: db", "0: db, 1: log")]).assert_faults(
        "12: volumes.log.mirror.max_stall: max_stall is not that of volume db, which is in the same group db
    remedy: write the same in both, or give the volumes groups of their own
12: volumes.log.mirror.mode: mode is not that of volume db, which is in the same group db
    remedy: write the same in both, or give the volumes groups of their own
12: volumes.log.mirror.role: role is not that of volume db, which is in the same group db
    remedy: write the same in both, or give the volumes groups of their own",
    );
}

#[test]
fn a_name_means_one_group() {
    let other = "volumes:\n  log: { memory: {}, size: 1MiB }\n";
    Pair::altered(&[("volumes:\n", other), ("0: db", "0: db, 1: log"), ("role: primary", "role: primary, group: log")])
        .assert_faults(
            "13: volumes.db.mirror.group: log is also a volume that is not in it
    remedy: give the group another name",
        );
}

#[test]
fn hosts_have_the_patience_that_is_asked_of_them() {
    Pair::altered(&[("role: primary", "role: primary, max_stall: 27s")]).assert_warnings(
        "12: volumes.db.mirror.max_stall: with heartbeat.timeout of beta, 3s, a write may wait 30s; initiators give it 30s \
         before they reset
    remedy: lower either, or raise the timeout of commands on every host",
    );
    Pair::altered(&[("role: primary", "role: primary, max_stall: 27s, mode: async")]).assert_warnings("");
}

#[test]
fn somebody_can_promote() {
    Pair::altered(&[("admin: { socket: admin.sock }\n", "")]).assert_warnings(
        "1: admin.socket: is missing, and volumes are mirrored: nobody could promote one
    remedy: write admin: {socket: /run/lunmirror/admin.sock}, for lunmirrorctl",
    );
}
