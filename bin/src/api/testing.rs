//! A node in good health, for the tests of both programs: `db` of node `a`, mirrored to `b`.

use lunmirror::api::{
    About, DiskState, GroupReport, GroupStatus, LinkState, LunStatus, PeerStatus, Phase, Role, SlotState, SlotStatus,
    Standing, Verdict, VolumeStatus,
};
use target_core::mirror::{AddressStatus, Generation, OwnerEpoch, QueueStatus, Rpo, VolumeRpo, WriteSeq};
use target_core::target::config::{Compression, Encryption, Mode, OnLinkLoss};

pub fn about() -> About {
    About {
        node: "a".into(),
        version: "0.1.0".into(),
        uptime_s: 11_525,
        portals: vec!["127.0.0.1:3260".parse().expect("an address")],
    }
}

pub fn group() -> GroupReport {
    GroupReport {
        name: "db".into(),
        peer: "b".into(),
        volumes: vec!["db".into()],
        status: GroupStatus {
            role: Role::Primary,
            disk: DiskState::UpToDate,
            up_to_date_ms_ago: None,
            standing: Standing::Active,
            link: LinkState::Established,
            split_brain: false,
            peer_slow: false,
            held_back: None,
            peer_role: Some(Role::Secondary),
            peer_disk: Some(DiskState::UpToDate),
            mode: Mode::Sync,
            on_link_loss: OnLinkLoss::Degrade,
            max_stall_ms: 5000,
            paused: false,
            epoch: OwnerEpoch(3),
            generation: Generation(7),
            seq: WriteSeq(1000),
            received_upto: WriteSeq(1000),
            applied_upto: WriteSeq(1000),
            durable_upto: WriteSeq(990),
            decision: None,
            rpo: Some(Rpo::default()),
            volume_rpo: Some(vec![VolumeRpo { volume: "db".into(), bytes: 0, seconds: 0.0 }]),
            queue: QueueStatus { memory_bytes_max: 64 << 20, ..QueueStatus::default() },
            resync: None,
            verify: None,
            map: Default::default(),
            aside: Default::default(),
        },
    }
}

pub fn peer() -> PeerStatus {
    PeerStatus {
        name: "b".into(),
        phase: Phase::Up,
        verdict: Verdict::Healthy,
        dialer: true,
        session: Some("00c0ffee00c0ffee".into()),
        encryption: Encryption::None,
        compression: Compression::None,
        addresses: vec![
            AddressStatus { address: "127.0.0.1:3263".parse().expect("an address"), rtt_ms: Some(0.081), in_use: true },
            AddressStatus { address: "10.0.0.2:3262".parse().expect("an address"), rtt_ms: None, in_use: false },
        ],
        slots: vec![slot(0, SlotState::Open), slot(1, SlotState::Closed)],
        probation_s: 3.0,
        flaps: 1,
        heartbeats_sent: 23_050,
        heartbeats_received: 23_049,
        heartbeats_refused: 2,
        last_error: None,
        groups_missing_there: Vec::new(),
        groups_missing_here: Vec::new(),
    }
}

fn slot(slot: u8, state: SlotState) -> SlotStatus {
    let is_open = state == SlotState::Open;
    let address = |text: &str| is_open.then(|| text.parse().expect("an address"));
    SlotStatus {
        slot,
        state,
        local: address("127.0.0.1:40312"),
        remote: address("127.0.0.1:3263"),
        heartbeat_ms_ago: Some(120),
        received_ms_ago: is_open.then_some(3),
        sent_ms_ago: is_open.then_some(1500),
        queued_bytes: 0,
        frames_sent: 1200,
        frames_received: 340,
        bytes_sent: 5 << 20,
        bytes_received: 20 << 10,
    }
}

pub fn volume() -> VolumeStatus {
    VolumeStatus {
        name: "db".into(),
        store: "file /srv/db.img".into(),
        capacity_bytes: 100 << 30,
        block_bytes: 512,
        luns: vec![LunStatus { target: "iqn.2026-11.net.example:store".into(), lun: 0 }],
        group: Some("db".into()),
    }
}

pub fn scratch() -> VolumeStatus {
    VolumeStatus {
        name: "scratch".into(),
        store: "memory".into(),
        capacity_bytes: 1 << 30,
        luns: vec![],
        group: None,
        ..volume()
    }
}
