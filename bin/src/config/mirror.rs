//! `mirror` of a volume: with whom, by which rules, and that the volumes of a group agree.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use target_core::target::config::{
    Admin, AsideBounds, DEFAULT_ASIDE, DEFAULT_MAP, DEFAULT_POLICY, DEFAULT_QUEUE, GroupName, InitialSync, MapBounds,
    Mode, NodeName, OnJournalFull, OnLinkLoss, OnSplitBrain, PeerConfig, Policy, QueueBounds, Role, Scrub, Store,
    VolumeConfig, VolumeMirror, VolumeName,
};
use target_core::target::mirrored;

use super::choice::choice;
use super::convert::{REMEDY_VOLUME_NAME, is_volume_name};
use super::document::did_you_mean;
use super::fault::{Findings, Place};
use super::limits::{TIME, number, size, time};
use super::raw::{Rate, RawMap, RawMirror, RawQueue, RawScrub, RawUndo};

/// What a volume's `mirror` may refer to.
pub struct Neighbours<'a> {
    pub node: Option<&'a str>,
    /// Every key of `peers`, the faulty ones as well: a fault there is not a fault here.
    pub peers: &'a [NodeName],
}

/// `None` where it is faulty.
pub fn mirror(
    raw: RawMirror,
    volume: &str,
    place: &Place,
    around: &Neighbours<'_>,
    findings: &mut Findings,
) -> Option<VolumeMirror> {
    let peer = peer(raw.peer, &place.at("peer"), around, findings);
    let role = match raw.role {
        Some(word) => choice(&word, "role", &ROLES, &place.at("role"), findings),
        None => {
            let remedy = "write role: primary on the node whose data counts, role: secondary on the other";
            findings.missing(&place.at("role"), "is missing", remedy);
            None
        }
    };
    let group = match raw.group {
        Some(name) if !is_volume_name(&name) => {
            let message = format!("\"{name}\" is not a name for a group");
            findings.fault(&place.at("group"), message, REMEDY_VOLUME_NAME);
            None
        }
        name => Some(GroupName::from(name.as_deref().unwrap_or(volume))),
    };
    let default = DEFAULT_POLICY;
    let mode = match raw.mode {
        Some(word) => choice(&word, "mode", &MODES, &place.at("mode"), findings),
        None => Some(default.mode),
    };
    let on_link_loss = match raw.on_link_loss {
        Some(word) => choice(&word, "policy", &ON_LINK_LOSS, &place.at("on_link_loss"), findings),
        None => Some(default.on_link_loss),
    };
    let on_journal_full = match raw.on_journal_full {
        Some(word) => choice(&word, "policy", &ON_JOURNAL_FULL, &place.at("on_journal_full"), findings),
        None => Some(default.on_journal_full),
    };
    let on_split_brain = match raw.on_split_brain {
        Some(word) => choice(&word, "policy", &ON_SPLIT_BRAIN, &place.at("on_split_brain"), findings),
        None => Some(default.on_split_brain),
    };
    let max_stall = time(raw.max_stall, TIME, default.max_stall, &place.at("max_stall"), findings);
    let wait = time(raw.wait_for_peer, WAIT, default.wait_for_peer, &place.at("wait_for_peer"), findings);
    let host_latency = raw.resync.and_then(|resync| resync.host_latency).map(|written| {
        time(Some(written), HOST_LATENCY, *HOST_LATENCY.start(), &place.at("resync").at("host_latency"), findings)
    });
    let queue = queue(raw.queue.unwrap_or_default(), &place.at("queue"), findings);
    let map = map(raw.map.unwrap_or_default(), &place.at("map"), findings);
    let scrub = raw.scrub.and_then(|raw| scrub(raw, &place.at("scrub"), findings));
    let initial_sync = match raw.initial_sync {
        Some(word) => choice(&word, "choice", &INITIAL_SYNC, &place.at("initial_sync"), findings),
        None => Some(InitialSync::default()),
    };
    let undo = undo(raw.undo.unwrap_or_default(), &place.at("undo"), findings);
    let snapshot = match raw.snapshot {
        Some(word) => choice(&word, "choice", &SNAPSHOT, &place.at("snapshot"), findings),
        None => Some(DEFAULT_ASIDE.snapshot),
    };
    Some(VolumeMirror {
        peer: peer?,
        group: group?,
        first_role: role?,
        policy: Policy {
            mode: mode?,
            on_link_loss: on_link_loss?,
            on_journal_full: on_journal_full?,
            on_split_brain: on_split_brain?,
            max_stall,
            wait_for_peer: wait,
            host_latency,
        },
        queue,
        map,
        scrub,
        initial_sync: initial_sync?,
        aside: AsideBounds { snapshot: snapshot?, ..undo },
    })
}

fn peer(raw: Option<String>, place: &Place, around: &Neighbours<'_>, findings: &mut Findings) -> Option<NodeName> {
    let Some(wanted) = raw else {
        let remedy = match around.peers {
            [only] => format!("write peer: {only}"),
            _ => "write peer: NAME, a key of peers".to_owned(),
        };
        findings.missing(place, "is missing", remedy);
        return None;
    };
    if let Some(peer) = around.peers.iter().find(|peer| ***peer == *wanted) {
        return Some(peer.clone());
    }
    if around.node == Some(wanted.as_str()) {
        findings.fault(place, format!("{wanted} is this node itself"), "name the other one");
    } else if around.peers.is_empty() {
        // Where the whole section is refused, nobody knows who was in it.
        if !findings.refused(&Place::root().at("peers")) {
            findings.fault(
                place,
                format!("there is no peer {wanted}: there are no peers at all"),
                format!("add peers: {{{wanted}: {{address: IP:3262, secret_file: FILE}}}}"),
            );
        }
    } else {
        let remedy = match did_you_mean(&wanted, around.peers.iter().map(AsRef::as_ref)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("add {wanted} under peers"),
        };
        findings.fault(place, format!("there is no peer {wanted}"), remedy);
    }
    None
}

fn queue(raw: RawQueue, place: &Place, findings: &mut Findings) -> QueueBounds {
    let default = DEFAULT_QUEUE;
    QueueBounds {
        memory: size(raw.memory, QUEUE_BYTES, default.memory, &place.at("memory"), findings),
        spill: size(raw.journal, JOURNAL_BYTES, default.spill, &place.at("journal"), findings),
        window_bytes: size(raw.window, QUEUE_BYTES, default.window_bytes, &place.at("window"), findings),
        window_writes: number(
            raw.window_writes,
            WINDOW_WRITES,
            default.window_writes,
            &place.at("window_writes"),
            findings,
        ),
    }
}

fn map(raw: RawMap, place: &Place, findings: &mut Findings) -> MapBounds {
    let default = DEFAULT_MAP;
    let at = place.at("piece");
    let mut piece_bytes = size(raw.piece, PIECE_BYTES, default.piece_bytes, &at, findings);
    if !piece_bytes.is_power_of_two() {
        findings.fault(&at, format!("{piece_bytes} bytes are no power of two"), "use 4KiB, 8KiB, 16KiB … 1MiB");
        piece_bytes = default.piece_bytes;
    }
    let hot_max = number(raw.hot_regions, HOT_REGIONS, default.hot_max, &place.at("hot_regions"), findings);
    MapBounds { piece_bytes, hot_max }
}

/// `None`: without.
fn scrub(raw: RawScrub, place: &Place, findings: &mut Findings) -> Option<Scrub> {
    if raw.every.is_none() {
        findings.missing(&place.at("every"), "is missing", "write every: 7d, or remove scrub");
        return None;
    }
    let every = time(raw.every, SCRUB_EVERY, *SCRUB_EVERY.start(), &place.at("every"), findings);
    let rate = raw.rate.map(|Rate(rate)| rate);
    Some(Scrub { every, rate })
}

fn undo(raw: RawUndo, place: &Place, findings: &mut Findings) -> AsideBounds {
    let default = DEFAULT_ASIDE;
    AsideBounds {
        undo_max: size(raw.max, UNDO_BYTES, default.undo_max, &place.at("max"), findings),
        undo_keep: time(raw.keep, UNDO_KEEP, default.undo_keep, &place.at("keep"), findings),
        ..default
    }
}

/// What cannot be mirrored, and what had better not be.
pub fn check_volume(volume: &VolumeConfig, place: &Place, findings: &mut Findings) {
    let place = place.at("mirror");
    match volume.store {
        Store::Null => findings.fault(
            &place,
            "a null store keeps nothing that could be kept alike",
            "remove it, or give the volume a file or a device",
        ),
        Store::Memory => findings.warn(
            &place,
            "this node's copy is in memory: when it stops, all of it is gone and must be sent anew",
            "use a file or a device",
        ),
        Store::File { .. } | Store::Device { .. } => (),
    }
    if volume.read_only {
        let remedy = "remove read_only, or remove mirror";
        findings.fault(&place, "is of a read-only volume, which nobody writes, nor its peer to it", remedy);
    }
}

/// What only the whole file shows.
pub fn check_groups(
    volumes: &BTreeMap<VolumeName, VolumeConfig>,
    peers: &BTreeMap<NodeName, PeerConfig>,
    admin: &Admin,
    findings: &mut Findings,
) {
    let section = Place::root().at("volumes");
    let groups = match mirrored::groups(volumes) {
        Ok(groups) => groups,
        Err(disagreements) => {
            for told in disagreements {
                let remedy = "write the same in both, or give the volumes groups of their own";
                findings.fault(&section.at(&told.volume).at("mirror").at(told.key), told.to_string(), remedy);
            }
            return;
        }
    };
    for (group, members) in &groups {
        let first = &members.volumes[0];
        let place = section.at(first).at("mirror");
        // lunmirrorctl takes either name.
        if volumes.contains_key(group) && !members.volumes.contains(group) {
            let remedy = "give the group another name";
            findings.fault(&place.at("group"), format!("{group} is also a volume that is not in it"), remedy);
        }
        if let Some(peer) = peers.get(&members.mirror.peer) {
            warn_impatient_initiators(peer, &members.mirror.policy, &place, findings);
        }
    }
    warn_idle_peers(volumes, peers, findings);
    if !groups.is_empty() && admin.socket.is_none() {
        findings.warn(
            &Place::root().at("admin").at("socket"),
            "is missing, and volumes are mirrored: nobody could promote one",
            "write admin: {socket: /run/lunmirror/admin.sock}, for lunmirrorctl",
        );
    }
}

/// Until the link is found dead a write waits, and after that as long as `max_stall` lets it.
fn warn_impatient_initiators(peer: &PeerConfig, policy: &Policy, place: &Place, findings: &mut Findings) {
    let waited = peer.heartbeat.timeout + policy.max_stall;
    if policy.mode != Mode::Async && waited >= INITIATOR_PATIENCE {
        let shown = humantime::format_duration;
        findings.warn(
            &place.at("max_stall"),
            format!(
                "with heartbeat.timeout of {}, {}, a write may wait {}; initiators give it {} before they reset",
                peer.name,
                shown(peer.heartbeat.timeout),
                shown(waited),
                shown(INITIATOR_PATIENCE)
            ),
            "lower either, or raise the timeout of commands on every host",
        );
    }
}

fn warn_idle_peers(
    volumes: &BTreeMap<VolumeName, VolumeConfig>,
    peers: &BTreeMap<NodeName, PeerConfig>,
    findings: &mut Findings,
) {
    let mirrors: Vec<&VolumeMirror> = volumes.values().filter_map(|volume| volume.mirror.as_ref()).collect();
    for name in peers.keys().filter(|name| !mirrors.iter().any(|mirror| mirror.peer == **name)) {
        let remedy = format!("write mirror: {{peer: {name}, role: …}} under a volume, or remove it");
        findings.warn(&Place::root().at("peers").at(name), "is the peer of no volume", remedy);
    }
}

const ROLES: [(&str, Role); 2] = [("primary", Role::Primary), ("secondary", Role::Secondary)];

const MODES: [(&str, Mode); 3] = [("sync", Mode::Sync), ("memsync", Mode::Memsync), ("async", Mode::Async)];

const ON_LINK_LOSS: [(&str, OnLinkLoss); 2] = [("degrade", OnLinkLoss::Degrade), ("hold", OnLinkLoss::Hold)];

const ON_JOURNAL_FULL: [(&str, OnJournalFull); 2] =
    [("detach", OnJournalFull::Detach), ("throttle", OnJournalFull::Throttle)];

const ON_SPLIT_BRAIN: [(&str, OnSplitBrain); 2] = [("hold", OnSplitBrain::Hold), ("serve", OnSplitBrain::Serve)];

/// What the Linux kernel gives a SCSI command before it aborts it; Windows and ESXi wait longer.
const INITIATOR_PATIENCE: Duration = Duration::from_secs(30);

/// No waiting at all, up to a day.
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);

/// Below what a device takes a resync would never be let go on; above a second, nobody waits so long.
pub const HOST_LATENCY: RangeInclusive<Duration> = Duration::from_micros(50)..=Duration::from_secs(10);

/// Bytes: from a burst of small writes to more memory than a host has.
const QUEUE_BYTES: RangeInclusive<u64> = (64 << 10)..=(1 << 40);

/// Bytes: none, up to a whole large disk.
const JOURNAL_BYTES: RangeInclusive<u64> = 0..=(1 << 50);

const INITIAL_SYNC: [(&str, InitialSync); 2] = [("full", InitialSync::Full), ("compare", InitialSync::Compare)];
const SNAPSHOT: [(&str, bool); 2] = [("auto", true), ("off", false)];

/// Bytes: none, up to a whole large disk.
const UNDO_BYTES: RangeInclusive<u64> = 0..=(1 << 50);

/// Long enough for somebody to look, up to a year.
const UNDO_KEEP: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(365 * 24 * 60 * 60);

/// No less than a block; more, and a single write would send megabytes again.
const PIECE_BYTES: RangeInclusive<u64> = (4 << 10)..=(1 << 20);

/// Regions that cool as soon as they are written cost a write of the map for each; a million of them are 4 TiB.
const HOT_REGIONS: RangeInclusive<u64> = 8..=(1 << 20);

/// Between two scrubs. More often would be without end on any disk; after a year nobody knows of it any more.
const SCRUB_EVERY: RangeInclusive<Duration> = Duration::from_secs(10 * 60)..=Duration::from_secs(366 * 24 * 60 * 60);

/// Each has an entry in the replica's ring.
const WINDOW_WRITES: RangeInclusive<u32> = 16..=(1 << 20);
