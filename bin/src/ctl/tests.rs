//! What is printed, whole.

use lunmirror::api::{
    Decision, DifferingRange, DiskState, GroupReport, GroupStatus, LinkState, NodeStatus, PeerStatus, Phase,
    ResyncStatus, Role, Standing, Verdict, VerifyState, VerifyStatus,
};
use target_core::mirror::{QueueStatus, Rpo};
use target_core::target::config::Mode;

use super::show;
use super::testing;

fn node() -> NodeStatus {
    NodeStatus {
        about: testing::about(),
        peers: vec![testing::peer()],
        groups: vec![testing::group()],
        volumes: vec![testing::volume(), testing::scratch()],
    }
}

#[track_caller]
fn assert_shown(shown: &str, expected: &str) {
    assert!(shown == expected, "expected:\n{expected}\ngot:\n{shown}");
}

#[test]
fn a_healthy_node() {
    assert_shown(
        &show::status(&node(), true),
        "\
a, lunmirror 0.1.0, up 3h 12m, portals 127.0.0.1:3260

MIRROR  ROLE     COPY      PEER  ITS COPY  LINK         MODE  LAG (RPO)  QUEUE
db      Primary  UpToDate  b     UpToDate  established  sync  none       empty

PEER  STATE  VERDICT  CONNECTIONS  RTT      ADDRESS
b     up     healthy  1/2          0.08 ms  127.0.0.1:3263
",
    );
}

#[test]
fn a_node_with_troubles() {
    let healthy = testing::group();
    let resyncing = GroupReport {
        name: "dbs".into(),
        volumes: vec!["data".into(), "log".into()],
        status: GroupStatus {
            role: Role::Secondary,
            standing: Standing::Standby,
            disk: DiskState::Inconsistent,
            link: LinkState::Resyncing,
            peer_slow: true,
            mode: Mode::Async,
            rpo: Some(Rpo { bytes: 3 << 20, seconds: 75.0 }),
            resync: Some(ResyncStatus {
                total_bytes: 100 << 30,
                left_bytes: 12 << 30,
                bytes_per_second: 850e6,
                seconds_left: Some(15.2),
                host_latency_goal: None,
                compares: false,
            }),
            ..healthy.status.clone()
        },
        ..healthy.clone()
    };
    let cut = GroupReport {
        status: GroupStatus {
            link: LinkState::Paused,
            peer_disk: None,
            queue: QueueStatus {
                memory_bytes: 64 << 20,
                memory_bytes_max: 64 << 20,
                spilled_bytes: 1 << 30,
                spilled_bytes_max: 4 << 30,
                dirty_bytes: 5 << 20,
                ..QueueStatus::default()
            },
            ..healthy.status.clone()
        },
        ..healthy.clone()
    };
    let split = GroupReport {
        name: "old".into(),
        volumes: vec!["old".into()],
        status: GroupStatus {
            link: LinkState::Refused,
            rpo: None,
            decision: Some(Decision { row: 9, text: "split brain".into() }),
            ..healthy.status.clone()
        },
        ..healthy
    };
    let peer = PeerStatus {
        phase: Phase::BackingOff,
        verdict: Verdict::UdpFiltered,
        slots: vec![],
        addresses: vec![],
        last_error: Some("its secret is another".into()),
        ..testing::peer()
    };
    let troubled = NodeStatus { groups: vec![cut, resyncing, split], peers: vec![peer], ..node() };
    assert_shown(
        &show::status(&troubled, true),
        "\
a, lunmirror 0.1.0, up 3h 12m, portals 127.0.0.1:3260

MIRROR          ROLE       COPY          PEER  ITS COPY  LINK             MODE     LAG (RPO)      QUEUE
db              Primary    UpToDate      b     unknown   paused           sync     none           64 MiB of 64 MiB, on disk 1 GiB of 4 GiB, to resync 5 MiB
dbs (data log)  Secondary  Inconsistent  b     UpToDate  resyncing, slow  (async)  3 MiB, 1m 15s  empty
old             Primary    UpToDate      b     UpToDate  refused          sync     unknown        empty

PEER  STATE        VERDICT       CONNECTIONS  RTT  ADDRESS
b     backing-off  udp-filtered  0/0          -    -

db: paused by the operator; lunmirrorctl resume db
dbs: resync 88 % done, 12 GiB of 100 GiB left, 811 MiB/s, 15 s to go
old: refused; lunmirrorctl explain old says why, and what to do
b: no heartbeat comes: is UDP filtered on the way?
b: its secret is another
",
    );
    assert!(!show::status(&troubled, false).contains("% done"), "bars show it");
}

#[test]
fn a_node_alone() {
    let alone = NodeStatus { peers: vec![], groups: vec![], ..node() };
    assert_shown(
        &show::status(&alone, true),
        "\
a, lunmirror 0.1.0, up 3h 12m, portals 127.0.0.1:3260

no volume is mirrored
",
    );
    assert_eq!(show::peers(&[]), "there are no peers\n");
}

#[test]
fn the_array_of_connections() {
    let peer = PeerStatus { last_error: Some("connection reset".into()), ..testing::peer() };
    assert_shown(
        &show::peers(&[peer]),
        "\
b: up, healthy, this node dials, session 00c0ffee00c0ffee, encryption none, compression none
  heartbeats: 23050 sent, 23049 received, 2 refused; flaps: 1, probation 3 s
  last error: connection reset

  ADDRESS         RTT
  127.0.0.1:3263  0.08 ms    in use
  10.0.0.2:3262   no answer

  SLOT  STATE   FROM             TO              HEARTBEAT  RECEIVED  SENT   QUEUED  FRAMES IN/OUT  BYTES IN/OUT
  0     open    127.0.0.1:40312  127.0.0.1:3263  120 ms     3 ms      1.5 s  0 B     340/1200       20 KiB/5 MiB
  1     closed  -                -               120 ms     never     never  0 B     340/1200       20 KiB/5 MiB
",
    );
}

#[test]
fn volumes_and_where_they_are() {
    assert_shown(
        &show::volumes(&node()),
        "\
VOLUME   SIZE     BLOCK  STORE             MIRROR              LUN
db       100 GiB  512    file /srv/db.img  Primary, sync to b  0 of iqn.2026-11.net.example:store
scratch  1 GiB    512    memory            -                   -
",
    );
}

#[test]
fn after_a_command() {
    assert_eq!(show::outcome("a", &testing::group()), "db is Primary on a: copy UpToDate, link to b established");
}

#[test]
fn what_a_verify_found() {
    let range = |lba, blocks| DifferingRange { volume: "db".into(), lba, blocks };
    let found = VerifyStatus {
        number: 1,
        state: VerifyState::Finished,
        scrub: false,
        repair: false,
        total_bytes: 100 << 30,
        done_bytes: 100 << 30,
        bytes_per_second: 850e6,
        seconds_left: None,
        differing_bytes: 20 << 10,
        ranges: vec![range(4096, 16), range(20_000, 8)],
        unlisted_bytes: 8 << 10,
        unread_bytes: 0,
        last_finished_s: Some(3.0),
    };
    let shown = |told: &VerifyStatus| show::verified(&testing::group(), told);
    assert_shown(
        &shown(&found),
        "\
differs: db, 16 blocks from 4096 on
differs: db, 8 blocks from 20000 on
differs: 8 KiB more, in places that are not listed
db: 100 GiB compared, 20 KiB differ; to copy this node's to b: lunmirrorctl verify db --repair
",
    );
    let alike = VerifyStatus { differing_bytes: 0, ranges: vec![], unlisted_bytes: 0, ..found.clone() };
    assert_eq!(shown(&alike), "db: 100 GiB compared, the copies are alike\n");
    let halfway = VerifyStatus { done_bytes: 50 << 30, state: VerifyState::Interrupted, ..alike.clone() };
    assert!(
        shown(&halfway).starts_with("db: interrupted at 50 GiB of 100 GiB, 0 B differ so far"),
        "{}",
        shown(&halfway)
    );
    let note = |told: VerifyStatus| {
        let mut node = node();
        node.groups[0].status.verify = Some(told);
        let text = show::status(&node, true);
        text.lines().find(|line| line.starts_with("db: ")).map(str::to_owned)
    };
    assert_eq!(note(alike), None);
    assert_eq!(note(halfway.clone()).as_deref(), Some("db: verify interrupted at 50 %"));
    let expected = "db: 20 KiB differ on the peer; to copy this node's: lunmirrorctl verify db --repair";
    assert_eq!(note(found).as_deref(), Some(expected));
    let running = VerifyStatus { state: VerifyState::Running, scrub: true, seconds_left: Some(60.0), ..halfway };
    let expected = "db: scrub 50 % done, 50 GiB of 100 GiB left, 811 MiB/s, 1m 0s to go";
    assert_eq!(note(running).as_deref(), Some(expected));
}

#[test]
fn progress_is_whole_only_when_nothing_is_left() {
    let resync = |total_bytes, left_bytes| {
        show::percent_done(&ResyncStatus {
            total_bytes,
            left_bytes,
            bytes_per_second: 0.0,
            seconds_left: None,
            host_latency_goal: None,
            compares: false,
        })
    };
    assert_eq!((resync(1000, 1), resync(1000, 0), resync(0, 0), resync(10, 20)), (99, 100, 100, 0));
}

#[test]
fn a_name_cannot_leave_its_place_in_the_path() {
    assert_eq!(super::segment("db-1_x.y"), "db-1_x.y");
    assert_eq!(super::segment("../a b/ü"), "..%2Fa%20b%2F%C3%BC");
}
