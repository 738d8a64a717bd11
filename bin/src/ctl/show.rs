//! Answers as people read them.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use lunmirror::api::shown::{bytes, milliseconds, round_trip, seconds, word};
use lunmirror::api::{
    DifferingRange, DiskState, GroupReport, HeldBack, LinkState, NodeStatus, PeerStatus, Phase, ResyncStatus, Role,
    SlotState, Verdict, VerifyState, VerifyStatus, VolumeStatus,
};
use target_core::mirror::QueueStatus;

use super::table::Table;

/// All of it, but the progress of resyncs where bars show it.
pub fn status(node: &NodeStatus, with_resyncs: bool) -> String {
    let about = &node.about;
    let mut text = format!("{}, lunmirror {}, up {}", about.node, about.version, seconds(about.uptime_s as f64));
    let portals: Vec<String> = about.portals.iter().map(ToString::to_string).collect();
    text.push_str(&format!(", portals {}\n\n", portals.join(" ")));
    if node.groups.is_empty() {
        text.push_str("no volume is mirrored\n");
    } else {
        text.push_str(&groups(&node.groups).to_string());
    }
    if !node.peers.is_empty() {
        text.push_str(&format!("\n{}", ways(&node.peers)));
    }
    let notes = notes(node, with_resyncs);
    if !notes.is_empty() {
        text.push_str(&format!("\n{}\n", notes.join("\n")));
    }
    text
}

fn groups(groups: &[GroupReport]) -> Table {
    let mut table = Table::new(["MIRROR", "ROLE", "COPY", "PEER", "ITS COPY", "LINK", "MODE", "LAG (RPO)", "QUEUE"]);
    for group in groups {
        let status = &group.status;
        table.row([
            title(group),
            format!("{:?}", status.role),
            format!("{:?}", status.disk),
            group.peer.clone(),
            status.peer_disk.map_or_else(|| "unknown".to_owned(), |disk| format!("{disk:?}")),
            link(group),
            mode(group),
            lag(group),
            queue(&status.queue),
        ]);
    }
    table
}

/// `db`, or `dbs (data log)`.
fn title(group: &GroupReport) -> String {
    match group.volumes.as_slice() {
        [only] if *only == group.name => group.name.clone(),
        volumes => format!("{} ({})", group.name, volumes.join(" ")),
    }
}

/// `established`, `established, slow`
fn link(group: &GroupReport) -> String {
    let slow = if group.status.peer_slow { ", slow" } else { "" };
    format!("{}{slow}", word(group.status.link))
}

/// The Primary's counts; a Secondary repeats what it was told.
fn mode(group: &GroupReport) -> String {
    let mode = word(group.status.mode);
    match group.status.role {
        Role::Primary => mode,
        Role::Secondary => format!("({mode})"),
    }
}

/// What would be lost with the Primary.
fn lag(group: &GroupReport) -> String {
    match group.status.rpo {
        None => "unknown".to_owned(),
        Some(rpo) if rpo.bytes == 0 && rpo.seconds < 0.05 => "none".to_owned(),
        Some(rpo) => format!("{}, {}", bytes(rpo.bytes), seconds(rpo.seconds)),
    }
}

fn queue(queue: &QueueStatus) -> String {
    let mut text = match queue.memory_bytes {
        0 => "empty".to_owned(),
        some => format!("{} of {}", bytes(some), bytes(queue.memory_bytes_max)),
    };
    if queue.spilled_bytes > 0 {
        text = format!("{text}, on disk {} of {}", bytes(queue.spilled_bytes), bytes(queue.spilled_bytes_max));
    }
    if queue.dirty_bytes > 0 {
        text = format!("{text}, to resync {}", bytes(queue.dirty_bytes));
    }
    text
}

fn ways(peers: &[PeerStatus]) -> Table {
    let mut table = Table::new(["PEER", "STATE", "VERDICT", "CONNECTIONS", "RTT", "ADDRESS"]);
    for peer in peers {
        let used = peer.addresses.iter().find(|address| address.in_use);
        table.row([
            peer.name.clone(),
            word(peer.phase),
            word(peer.verdict),
            connections(peer),
            used.and_then(|address| address.rtt_ms).map_or_else(|| "-".to_owned(), round_trip),
            used.or(peer.addresses.first()).map_or_else(|| "-".to_owned(), |address| address.address.to_string()),
        ]);
    }
    table
}

/// `4/4`
fn connections(peer: &PeerStatus) -> String {
    let open = peer.slots.iter().filter(|slot| slot.state == SlotState::Open).count();
    format!("{open}/{}", peer.slots.len())
}

/// What an administrator should not overlook.
fn notes(node: &NodeStatus, with_resyncs: bool) -> Vec<String> {
    let mut notes = Vec::new();
    for group in &node.groups {
        let (name, status) = (&group.name, &group.status);
        if let Some(resync) = status.resync.as_ref().filter(|_| with_resyncs) {
            let how = if resync.compares { ", comparing" } else { "" };
            notes.push(format!("{name}: resync {} % done{how}, {}", percent_done(resync), resync_left(resync)));
        }
        notes.extend(status.verify.as_ref().and_then(|verify| verify_note(name, verify)));
        notes.extend(kept_aside(group));
        match status.held_back {
            Some(HeldBack::PeerLives) => notes.push(format!(
                "{name}: not served: {} lives and is not met; lunmirrorctl explain {name} says what to do",
                group.peer
            )),
            Some(HeldBack::PeerIsPrimary) => notes.push(format!(
                "{name}: not served: {} says that it is Primary; lunmirrorctl explain {name} says what to do",
                group.peer
            )),
            Some(HeldBack::LostCache) => notes.push(format!(
                "{name}: not served: what its machine lost is with {}; lunmirrorctl explain {name} says what to do",
                group.peer
            )),
            Some(HeldBack::SplitBrain) => notes.push(format!(
                "{name}: not served: split brain with {}; lunmirrorctl explain {name} says what to do",
                group.peer
            )),
            None => (),
        }
        let is_owner = status.role == Role::Primary;
        let peer = &group.peer;
        match (status.disk, status.peer_disk) {
            (DiskState::Failed, _) if is_owner => notes.push(format!(
                "{name}: the device here failed, hosts are served through {peer}; lunmirrorctl explain {name} says what to do"
            )),
            (DiskState::Failed, _) => notes.push(format!(
                "{name}: the device here failed; once it works again: lunmirrorctl reattach {name}"
            )),
            (_, Some(DiskState::Failed)) => notes.push(format!(
                "{name}: {peer}'s device failed; once it works again, there: lunmirrorctl reattach {name}"
            )),
            _ => (),
        }
        match status.link {
            LinkState::Paused => notes.push(format!("{name}: paused by the operator; lunmirrorctl resume {name}")),
            LinkState::Refused => {
                notes.push(format!("{name}: refused; lunmirrorctl explain {name} says why, and what to do"));
            }
            _ => (),
        }
    }
    for peer in &node.peers {
        let name = &peer.name;
        match peer.verdict {
            Verdict::UdpFiltered => notes.push(format!("{name}: no heartbeat comes: is UDP filtered on the way?")),
            Verdict::PeerSlow => notes.push(format!("{name}: acknowledges slowly")),
            Verdict::Healthy | Verdict::LinkDead => (),
        }
        if let Some(error) = peer.last_error.as_ref().filter(|_| peer.phase != Phase::Up) {
            notes.push(format!("{name}: {error}"));
        }
    }
    notes
}

/// Where what a resync has overwritten is.
pub fn kept_aside(group: &GroupReport) -> Vec<String> {
    let (name, status) = (&group.name, &group.status);
    let mut notes = Vec::new();
    if status.aside.undo_stores > 0 {
        let kept = bytes(status.aside.undo_bytes);
        notes.push(format!(
            "{name}: blocks written here alone were discarded, and are kept ({kept}): lunmirrorctl undo list {name}"
        ));
    }
    if let Some(snapshot) = &status.aside.snapshot {
        let files: Vec<String> = snapshot.files.iter().map(|path| path.display().to_string()).collect();
        let taken = UNIX_EPOCH + Duration::from_secs(snapshot.taken);
        notes.push(format!(
            "{name}: the copy as it was before the resync, of generation {}, is in {} since {}: lunmirrorctl snapshot list {name}",
            snapshot.generation,
            files.join(" "),
            humantime::format_rfc3339_seconds(taken)
        ));
    }
    notes
}

pub fn percent_done(resync: &ResyncStatus) -> u64 {
    let done = resync.total_bytes.saturating_sub(resync.left_bytes);
    // 100 only when nothing is left.
    done.saturating_mul(100).checked_div(resync.total_bytes).unwrap_or(100)
}

/// `12 GiB of 100 GiB left, 810 MiB/s, 15 s to go`
pub fn resync_left(resync: &ResyncStatus) -> String {
    let mut text = format!(
        "{} of {} left, {}/s",
        bytes(resync.left_bytes),
        bytes(resync.total_bytes),
        bytes(resync.bytes_per_second.max(0.0) as u64)
    );
    if let Some(left) = resync.seconds_left {
        text.push_str(&format!(", {} to go", seconds(left)));
    }
    text
}

/// Nothing where the copies were found alike.
fn verify_note(name: &str, verify: &VerifyStatus) -> Option<String> {
    let found = differing(verify);
    match verify.state {
        VerifyState::Running => {
            let what = if verify.scrub { "scrub" } else { "verify" };
            Some(format!("{name}: {what} {} % done, {}{found}", verify_percent(verify), verify_left(verify)))
        }
        VerifyState::Finished if verify.differing_bytes == 0 || verify.repair => None,
        VerifyState::Finished => {
            let differs = bytes(verify.differing_bytes);
            Some(format!(
                "{name}: {differs} differ on the peer; to copy this node's: lunmirrorctl verify {name} --repair"
            ))
        }
        VerifyState::Stopped | VerifyState::Interrupted => {
            Some(format!("{name}: verify {} at {} %{found}", word(verify.state), verify_percent(verify)))
        }
    }
}

fn differing(verify: &VerifyStatus) -> String {
    match verify.differing_bytes {
        0 => String::new(),
        some => format!(", {} differ", bytes(some)),
    }
}

fn verify_percent(verify: &VerifyStatus) -> u64 {
    verify.done_bytes.saturating_mul(100).checked_div(verify.total_bytes).unwrap_or(100)
}

/// `12 GiB of 100 GiB left, 810 MiB/s, 15 s to go`
pub fn verify_left(verify: &VerifyStatus) -> String {
    resync_left(&ResyncStatus {
        total_bytes: verify.total_bytes,
        left_bytes: verify.total_bytes.saturating_sub(verify.done_bytes),
        bytes_per_second: verify.bytes_per_second,
        seconds_left: verify.seconds_left,
        host_latency_goal: None,
        compares: true,
    })
}

/// What came of a verify, in lines.
pub fn verified(group: &GroupReport, verify: &VerifyStatus) -> String {
    let GroupReport { name, peer, .. } = group;
    let mut text = String::new();
    for DifferingRange { volume, lba, blocks } in &verify.ranges {
        let _ = writeln!(text, "differs: {volume}, {blocks} blocks from {lba} on");
    }
    if verify.unlisted_bytes > 0 {
        let _ = writeln!(text, "differs: {} more, in places that are not listed", bytes(verify.unlisted_bytes));
    }
    if verify.unread_bytes > 0 {
        let _ = writeln!(text, "{} could not be read here: see the target's log", bytes(verify.unread_bytes));
    }
    let (done, total, differs) = (bytes(verify.done_bytes), bytes(verify.total_bytes), bytes(verify.differing_bytes));
    let _ = match verify.state {
        VerifyState::Running => writeln!(text, "verify of {name} goes on: {}", verify_left(verify)),
        VerifyState::Finished if verify.differing_bytes == 0 => {
            writeln!(text, "{name}: {total} compared, the copies are alike")
        }
        VerifyState::Finished if verify.repair => {
            writeln!(text, "{name}: {total} compared, {differs} differed; {peer} has this node's blocks now")
        }
        VerifyState::Finished => writeln!(
            text,
            "{name}: {total} compared, {differs} differ; to copy this node's to {peer}: lunmirrorctl verify {name} --repair"
        ),
        VerifyState::Stopped => writeln!(text, "{name}: stopped at {done} of {total}, {differs} differ so far"),
        VerifyState::Interrupted => writeln!(
            text,
            "{name}: interrupted at {done} of {total}, {differs} differ so far: the pair is no longer one, or this node is to \
             serve no more. Once it is established, verify again"
        ),
    };
    text
}

pub fn peers(peers: &[PeerStatus]) -> String {
    if peers.is_empty() {
        return "there are no peers\n".to_owned();
    }
    peers.iter().map(peer).collect::<Vec<_>>().join("\n")
}

fn peer(peer: &PeerStatus) -> String {
    let mut text = format!("{}: {}, {}, ", peer.name, word(peer.phase), word(peer.verdict));
    let who = if peer.dialer { "this node dials" } else { "the peer dials" };
    let session = peer.session.as_deref().map_or_else(|| "no session".to_owned(), |id| format!("session {id}"));
    let line = [
        format!("{who}, {session}, encryption {}, compression {}", word(peer.encryption), word(peer.compression)),
        format!(
            "  heartbeats: {} sent, {} received, {} refused; flaps: {}, probation {}",
            peer.heartbeats_sent,
            peer.heartbeats_received,
            peer.heartbeats_refused,
            peer.flaps,
            seconds(peer.probation_s)
        ),
    ];
    text.push_str(&format!("{}\n", line.join("\n")));
    if let Some(error) = &peer.last_error {
        text.push_str(&format!("  last error: {error}\n"));
    }
    let mut addresses = Table::new(["ADDRESS", "RTT", ""]);
    for address in &peer.addresses {
        let in_use = if address.in_use { "in use" } else { "" };
        let rtt = address.rtt_ms.map_or_else(|| "no answer".to_owned(), round_trip);
        addresses.row([address.address.to_string(), rtt, in_use.to_owned()]);
    }
    let _ = write!(text, "\n{}", addresses.indented());
    let _ = write!(text, "\n{}", slots(peer).indented());
    text
}

/// The connection array.
fn slots(peer: &PeerStatus) -> Table {
    let mut table = Table::new([
        "SLOT",
        "STATE",
        "FROM",
        "TO",
        "HEARTBEAT",
        "RECEIVED",
        "SENT",
        "QUEUED",
        "FRAMES IN/OUT",
        "BYTES IN/OUT",
    ]);
    let ago = |age: Option<u64>| age.map_or_else(|| "never".to_owned(), milliseconds);
    let address = |address: Option<std::net::SocketAddr>| address.map_or_else(|| "-".to_owned(), |a| a.to_string());
    for slot in &peer.slots {
        table.row([
            slot.slot.to_string(),
            word(slot.state),
            address(slot.local),
            address(slot.remote),
            ago(slot.heartbeat_ms_ago),
            ago(slot.received_ms_ago),
            ago(slot.sent_ms_ago),
            bytes(slot.queued_bytes),
            format!("{}/{}", slot.frames_received, slot.frames_sent),
            format!("{}/{}", bytes(slot.bytes_received), bytes(slot.bytes_sent)),
        ]);
    }
    table
}

pub fn volumes(node: &NodeStatus) -> String {
    let mut table = Table::new(["VOLUME", "SIZE", "BLOCK", "STORE", "MIRROR", "LUN"]);
    for volume in &node.volumes {
        let luns: Vec<String> = volume.luns.iter().map(|lun| format!("{} of {}", lun.lun, lun.target)).collect();
        table.row([
            volume.name.clone(),
            bytes(volume.capacity_bytes),
            volume.block_bytes.to_string(),
            volume.store.clone(),
            mirror(node, volume),
            if luns.is_empty() { "-".to_owned() } else { luns.join(", ") },
        ]);
    }
    match table.is_empty() {
        true => "there are no volumes\n".to_owned(),
        false => table.to_string(),
    }
}

/// `Primary, sync to b`
fn mirror(node: &NodeStatus, volume: &VolumeStatus) -> String {
    let group = node.groups.iter().find(|group| Some(&group.name) == volume.group.as_ref());
    let Some(group) = group else { return "-".to_owned() };
    let status = &group.status;
    let way = match status.role {
        Role::Primary => format!("{} to", word(status.mode)),
        Role::Secondary => "from".to_owned(),
    };
    let shared = if group.name == volume.name { String::new() } else { format!(", group {}", group.name) };
    format!("{:?}, {way} {}{shared}", status.role, group.peer)
}

/// How a group stands after a command, in one line.
pub fn outcome(here: &str, group: &GroupReport) -> String {
    let GroupReport { name, peer, status, .. } = group;
    format!("{name} is {:?} on {here}: copy {:?}, link to {peer} {}", status.role, status.disk, word(status.link))
}
