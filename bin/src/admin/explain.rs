//! Why a group stands as it does, for people: each sentence says one thing, and what can be done where something should be.

use std::fmt;

use lunmirror::api::shown::{bytes, milliseconds, seconds};
use lunmirror::api::{DiskState, GroupReport, HeldBack, LinkState, PeerStatus, Phase, Role, Standing, Verdict};
use target_core::target::config::{Mode, OnLinkLoss};

/// `here` is this node's name.
pub fn explain(here: &str, group: &GroupReport, peer: Option<&PeerStatus>) -> Vec<String> {
    let view = View { here, group, peer };
    let mut text = vec![view.role(), view.disk()];
    text.extend(view.peers_disk());
    text.push(view.link());
    text.extend(view.way());
    text.extend(view.completion());
    text.extend(view.congestion());
    text.extend(view.loss());
    text.extend(view.decision());
    text.extend(view.what_to_do());
    text
}

struct View<'a> {
    here: &'a str,
    group: &'a GroupReport,
    peer: Option<&'a PeerStatus>,
}

impl View<'_> {
    fn role(&self) -> String {
        let GroupReport { name, peer, status, .. } = self.group;
        let here = self.here;
        match (status.role, status.standing, status.held_back) {
            (Role::Primary, Standing::Active, _) if self.is_through() => format!(
                "{here} is Primary of {name} (epoch {}), and serves it through {peer}, whose copy is the only good one.",
                status.epoch
            ),
            (Role::Primary, Standing::Active, _) => {
                format!("{here} is Primary of {name} and serves it (epoch {}).", status.epoch)
            }
            (Role::Primary, _, Some(HeldBack::PeerLives)) => format!(
                "{here} is Primary of {name} and does not serve it: {peer} lives, as its heartbeats say, and may have taken over, \
                 but the two can't meet."
            ),
            (Role::Primary, _, Some(HeldBack::PeerIsPrimary)) => {
                format!("{here} is Primary of {name} and does not serve it: {peer} said that it is Primary too.")
            }
            (Role::Primary, _, Some(HeldBack::LostCache)) => format!(
                "{here} is Primary of {name} and does not serve it: its machine went down, and {peer} may hold what hosts were told \
                 was on both. Bring {peer} back or promote it; if it is gone for good, promote here with --force."
            ),
            (Role::Primary, _, Some(HeldBack::SplitBrain)) => format!(
                "{here} is Primary of {name} and does not serve it any more: {peer} served it too, apart, and on_split_brain is \
                 hold."
            ),
            (Role::Primary, _, None) => format!(
                "{here} is Primary of {name} and serves nothing yet: {peer} may have taken over, so it is waited for, at \
                 most wait_for_peer."
            ),
            (Role::Secondary, ..) => {
                format!("{here} is Secondary of {name}: it follows, and tells hosts that this path is in standby.")
            }
        }
    }

    fn disk(&self) -> String {
        let status = &self.group.status;
        let meaning = match status.disk {
            DiskState::UpToDate => "it holds every acknowledged write, as the mode promises",
            DiskState::Consistent => "it is whole, of some moment; whether writes were acknowledged since is not known",
            DiskState::Outdated => "it is whole, of some moment of the past, and lacks writes acknowledged since",
            DiskState::Inconsistent => "a resync into it has not ended, so that it is of no moment at all",
            DiskState::Failed => "its device failed (see the log), and nothing on it is believed",
        };
        let since = match (status.disk, status.up_to_date_ms_ago) {
            (DiskState::Consistent, Some(ago)) => format!(" It was up to date {} ago.", milliseconds(ago)),
            _ => String::new(),
        };
        format!("The copy of {} is {:?}: {meaning}.{since}", self.here, status.disk)
    }

    fn peers_disk(&self) -> Option<String> {
        let (status, peer) = (&self.group.status, &self.group.peer);
        let role = status.peer_role?;
        let Some(disk) = status.peer_disk else { return Some(format!("{peer} is {role:?}, as its heartbeats say.")) };
        let since = if status.link == LinkState::Down { " when it was last heard" } else { "" };
        Some(format!("{peer} is {role:?} and its copy {disk:?}{since}."))
    }

    fn link(&self) -> String {
        let GroupReport { peer, status, .. } = self.group;
        let owner = status.role == Role::Primary;
        match status.link {
            LinkState::Down => format!("There is no session with {peer}."),
            LinkState::Meeting if status.disk == DiskState::Failed || status.peer_disk == Some(DiskState::Failed) => {
                "Nothing is sent to a device that failed.".to_owned()
            }
            LinkState::Meeting => format!("A session with {peer} begins: the two compare what they have."),
            LinkState::Replaying if owner => format!("What was queued is on its way to {peer}, in order."),
            LinkState::Replaying => format!("What was queued at {peer} is on its way here, in order."),
            LinkState::Resyncing => match &status.resync {
                Some(resync) => format!(
                    "A resync is under way: {} of {} are left{}.",
                    bytes(resync.left_bytes),
                    bytes(resync.total_bytes),
                    resync.seconds_left.map(|left| format!(", some {}", seconds(left))).unwrap_or_default()
                ),
                None => "A resync is under way.".to_owned(),
            },
            LinkState::Established if owner => format!("Every write goes to {peer} as it comes."),
            LinkState::Established => format!("Every write comes here from {peer} as it is made."),
            LinkState::Paused => "The operator paused it: writes are queued as if the line were cut.".to_owned(),
            LinkState::Refused => "The two nodes refuse to be a pair as they are: nothing is sent.".to_owned(),
        }
    }

    /// How the way to the peer stands, where that explains something.
    fn way(&self) -> Option<String> {
        let peer = self.peer?;
        let name = &peer.name;
        let way = match (peer.phase, peer.verdict) {
            (Phase::Up, Verdict::Healthy) => return None,
            (Phase::Up, Verdict::PeerSlow) => {
                format!("{name} is heard, but takes its time to acknowledge: it is slow.")
            }
            (_, Verdict::UdpFiltered) => {
                format!("No heartbeat comes from {name}: something on the way drops UDP. The TCP connections carry on.")
            }
            (Phase::Up, Verdict::LinkDead) => {
                format!("Nothing was heard from {name} lately; its connections are being closed.")
            }
            (Phase::Down, _) => format!("Nothing is heard from {name}: neither heartbeat nor connection."),
            (Phase::Probation, _) => format!(
                "{name} is heard again; connections are made after {} of unbroken heartbeat.",
                seconds(peer.probation_s)
            ),
            (Phase::Connecting, _) => format!("Connections with {name} are being made."),
            (Phase::BackingOff, _) => format!("{name} was refused, or refused us; it is tried again later."),
        };
        Some(match &peer.last_error {
            Some(error) => format!("{way} Last: {error}."),
            None => way,
        })
    }

    /// When hosts see GOOD, as things are.
    fn completion(&self) -> Option<String> {
        let GroupReport { peer, status, .. } = self.group;
        if (status.role, status.standing) != (Role::Primary, Standing::Active) {
            return None;
        }
        if self.is_through() {
            return Some(format!(
                "Its device failed: a write is done when it is done on {peer}, whatever the mode. While {peer} is away each waits \
                 for max_stall, {}, as reads do, and is then answered BUSY.",
                milliseconds(status.max_stall_ms)
            ));
        }
        let carries = matches!(status.link, LinkState::Established | LinkState::Replaying | LinkState::Resyncing);
        Some(match (status.mode, carries, status.on_link_loss) {
            (Mode::Async, true, _) => "Mode async: a write is done when it is written here and queued.".to_owned(),
            (Mode::Async, false, _) => "Mode async: writes go on, and the lag grows.".to_owned(),
            (Mode::Memsync, true, _) => {
                format!("Mode memsync: a write is done when it is written here and {peer} has received it.")
            }
            (Mode::Sync, true, _) => format!("Mode sync: a write is done when it is written here and on {peer}."),
            (_, false, OnLinkLoss::Degrade) => {
                format!("on_link_loss degrade: it is recorded that {peer} lacks writes, and they go on without it.")
            }
            (_, false, OnLinkLoss::Hold) => format!(
                "on_link_loss hold: no write is acknowledged that {peer} lacks; each waits for max_stall, {}, and is then answered BUSY.",
                milliseconds(status.max_stall_ms)
            ),
        })
    }

    /// What becomes of writes while the peer is slow.
    fn congestion(&self) -> Option<String> {
        let GroupReport { peer, status, .. } = self.group;
        if !status.peer_slow || status.role != Role::Primary {
            return None;
        }
        let stall = milliseconds(status.max_stall_ms);
        Some(match (status.mode, status.on_link_loss) {
            (Mode::Async, _) => {
                "Until it keeps up, writes queue here: in memory, then on disk, then as blocks to resync.".to_owned()
            }
            (_, OnLinkLoss::Degrade) => format!(
                "Until it keeps up, a write waits for it, at most max_stall, {stall}; then it is recorded that {peer} lacks \
                 writes, and they go on without it."
            ),
            (_, OnLinkLoss::Hold) => {
                format!(
                    "Until it keeps up, a write waits for it, at most max_stall, {stall}, and is then answered BUSY."
                )
            }
        })
    }

    /// What is at stake.
    fn loss(&self) -> Option<String> {
        let GroupReport { peer, status, .. } = self.group;
        let here = self.here;
        let (lost, kept) = match status.role {
            Role::Primary => (here, peer.as_str()),
            Role::Secondary => (peer.as_str(), here),
        };
        let Some(rpo) = status.rpo else {
            return (status.role == Role::Secondary).then(|| {
                format!("If {lost} were lost now, what {kept} would lack is unknown: {lost} has not told it yet.")
            });
        };
        // Dust is not worth a sentence; nor is a promise of nothing where nobody knows.
        if rpo.bytes == 0 && rpo.seconds < 0.05 {
            return None;
        }
        Some(format!(
            "If {lost} were lost now, {kept} would lack {} of acknowledged writes, the last {}.",
            bytes(rpo.bytes),
            seconds(rpo.seconds)
        ))
    }

    fn decision(&self) -> Option<String> {
        let decision = self.group.status.decision.as_ref()?;
        Some(format!("When they last met, row {} of the table decided: {}", decision.row, Sentence(&decision.text)))
    }

    fn when_held_back(&self) -> String {
        let GroupReport { name, peer, status, .. } = self.group;
        let here = self.here;
        if status.held_back == Some(HeldBack::SplitBrain) {
            return format!(
                "Mend the connection with {peer}, and choose the copy to keep: lunmirrorctl resolve {name} --keep NODE, on the node \
                 whose copy is not kept. To serve on here until then: lunmirrorctl promote {name} --force."
            );
        }
        if status.peer_role == Some(Role::Primary) || status.held_back == Some(HeldBack::PeerIsPrimary) {
            return format!(
                "Mend the connection with {peer}. Only if its copy is to be given up: end it there, then lunmirrorctl promote \
                 {name} --force on {here}."
            );
        }
        format!(
            "Mend the connection with {peer}; or choose who serves: lunmirrorctl promote {name}, on {here} or on {peer}."
        )
    }

    /// By heartbeats alone, which say nothing of its copy.
    fn is_heard_as_primary(&self) -> bool {
        let status = &self.group.status;
        status.peer_role == Some(Role::Primary) && status.peer_disk.is_none()
    }

    /// Its own device failed, and hosts are served all the same.
    fn is_through(&self) -> bool {
        let status = &self.group.status;
        (status.role, status.disk) == (Role::Primary, DiskState::Failed)
    }

    /// Of a device that failed.
    fn when_failed(&self) -> Option<String> {
        let GroupReport { name, peer, status, .. } = self.group;
        let here = self.here;
        match (status.disk, status.peer_disk) {
            (DiskState::Failed, _) if status.role == Role::Primary => Some(format!(
                "Change places: lunmirrorctl demote {name} here, lunmirrorctl promote {name} on {peer}. Then mend the device of \
                 {here}, and have it copied anew: lunmirrorctl reattach {name}, or start this node again where another device takes \
                 its place."
            )),
            (DiskState::Failed, Some(DiskState::UpToDate | DiskState::Consistent))
                if status.peer_role == Some(Role::Secondary) =>
            {
                Some(format!("Hosts are served by nobody: on {peer}, lunmirrorctl promote {name}."))
            }
            (DiskState::Failed, _) => Some(format!(
                "Mend the device of {here} (or make room), and have it copied anew: lunmirrorctl reattach {name}, or start this \
                 node again where another device takes its place."
            )),
            (_, Some(DiskState::Failed)) => Some(format!(
                "Mend the device of {peer} (or make room), and have it copied anew, there: lunmirrorctl reattach {name}."
            )),
            _ => None,
        }
    }

    fn what_to_do(&self) -> Option<String> {
        let GroupReport { name, peer, status, .. } = self.group;
        let here = self.here;
        if let Some(text) = self.when_failed() {
            return Some(text);
        }
        match (status.link, status.role) {
            (LinkState::Down, _) if status.held_back.is_some() => Some(self.when_held_back()),
            (LinkState::Down, Role::Secondary) if self.is_heard_as_primary() => Some(format!(
                "{peer} lives and is Primary: mend the connection; to change places, first, there: lunmirrorctl demote {name}."
            )),
            (LinkState::Paused, _) => Some(format!("To go on: lunmirrorctl resume {name}.")),
            (LinkState::Refused, _) if status.split_brain => Some(format!(
                "Split brain: choose the copy to keep; what hosts wrote on the other since the two parted is lost. To keep \
                 {peer}'s, here: lunmirrorctl resolve {name} --keep {peer}. To keep {here}'s, on {peer}: lunmirrorctl \
                 resolve {name} --keep {here}.{}",
                match status.held_back {
                    Some(HeldBack::SplitBrain) => {
                        format!(" To serve on here until then: lunmirrorctl promote {name} --force.")
                    }
                    _ => String::new(),
                }
            )),
            (LinkState::Refused, _) => {
                Some("See the log of both nodes; nothing is sent until one of them changes.".into())
            }
            (LinkState::Down, Role::Secondary) if may_serve(status.disk) => {
                Some(format!("If {peer} is lost for good, hosts go on here after: lunmirrorctl promote {name}."))
            }
            (LinkState::Down, Role::Secondary) => Some(format!(
                "If {peer} is lost for good, what {here} has can be served, without the writes that it lacks: lunmirrorctl \
                 promote {name} --force."
            )),
            _ => None,
        }
    }
}

/// Without force.
fn may_serve(disk: DiskState) -> bool {
    matches!(disk, DiskState::UpToDate | DiskState::Consistent)
}

/// With a full stop.
struct Sentence<'a>(&'a str);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.trim_end_matches('.');
        write!(f, "{text}.")
    }
}

#[cfg(test)]
mod tests {
    use lunmirror::api::{Decision, GroupStatus, ResyncStatus};
    use target_core::mirror::Rpo;

    use super::*;
    use crate::testing;

    #[track_caller]
    fn assert_explained(status: GroupStatus, peer: &PeerStatus, expected: &str) {
        let group = GroupReport { status, ..testing::group() };
        let text = explain("a", &group, Some(peer)).join("\n");
        assert!(text == expected, "expected:\n{expected}\ngot:\n{text}");
    }

    #[test]
    fn in_good_health() {
        assert_explained(
            testing::group().status,
            &testing::peer(),
            "\
a is Primary of db and serves it (epoch 3).
The copy of a is UpToDate: it holds every acknowledged write, as the mode promises.
b is Secondary and its copy UpToDate.
Every write goes to b as it comes.
Mode sync: a write is done when it is written here and on b.",
        );
    }

    #[test]
    fn following() {
        assert_explained(
            GroupStatus {
                role: Role::Secondary,
                standing: Standing::Standby,
                peer_role: Some(Role::Primary),
                ..testing::group().status
            },
            &testing::peer(),
            "\
a is Secondary of db: it follows, and tells hosts that this path is in standby.
The copy of a is UpToDate: it holds every acknowledged write, as the mode promises.
b is Primary and its copy UpToDate.
Every write comes here from b as it is made.",
        );
    }

    #[test]
    fn alone() {
        let down = PeerStatus {
            phase: Phase::Down,
            verdict: Verdict::LinkDead,
            last_error: Some("connection refused".into()),
            ..testing::peer()
        };
        let status = GroupStatus {
            link: LinkState::Down,
            peer_disk: Some(DiskState::Outdated),
            rpo: Some(Rpo { bytes: 3 << 20, seconds: 75.0 }),
            ..testing::group().status
        };
        assert_explained(
            status.clone(),
            &down,
            "\
a is Primary of db and serves it (epoch 3).
The copy of a is UpToDate: it holds every acknowledged write, as the mode promises.
b is Secondary and its copy Outdated when it was last heard.
There is no session with b.
Nothing is heard from b: neither heartbeat nor connection. Last: connection refused.
on_link_loss degrade: it is recorded that b lacks writes, and they go on without it.
If a were lost now, b would lack 3 MiB of acknowledged writes, the last 1m 15s.",
        );
        assert_explained(
            GroupStatus {
                role: Role::Secondary,
                standing: Standing::Standby,
                disk: DiskState::Consistent,
                peer_role: Some(Role::Primary),
                peer_disk: Some(DiskState::UpToDate),
                ..status
            },
            &down,
            "\
a is Secondary of db: it follows, and tells hosts that this path is in standby.
The copy of a is Consistent: it is whole, of some moment; whether writes were acknowledged since is not known.
b is Primary and its copy UpToDate when it was last heard.
There is no session with b.
Nothing is heard from b: neither heartbeat nor connection. Last: connection refused.
If b were lost now, a would lack 3 MiB of acknowledged writes, the last 1m 15s.
If b is lost for good, hosts go on here after: lunmirrorctl promote db.",
        );
    }

    #[test]
    fn kept_from_serving() {
        let apart = PeerStatus { phase: Phase::BackingOff, last_error: None, ..testing::peer() };
        let status = GroupStatus {
            link: LinkState::Down,
            standing: Standing::Waiting,
            held_back: Some(HeldBack::PeerLives),
            peer_disk: None,
            ..testing::group().status
        };
        assert_explained(
            status.clone(),
            &apart,
            "\
a is Primary of db and does not serve it: b lives, as its heartbeats say, and may have taken over, but the two can't meet.
The copy of a is UpToDate: it holds every acknowledged write, as the mode promises.
b is Secondary, as its heartbeats say.
There is no session with b.
b was refused, or refused us; it is tried again later.
Mend the connection with b; or choose who serves: lunmirrorctl promote db, on a or on b.",
        );
        assert_explained(
            GroupStatus { held_back: Some(HeldBack::PeerIsPrimary), peer_role: Some(Role::Primary), ..status },
            &apart,
            "\
a is Primary of db and does not serve it: b said that it is Primary too.
The copy of a is UpToDate: it holds every acknowledged write, as the mode promises.
b is Primary, as its heartbeats say.
There is no session with b.
b was refused, or refused us; it is tried again later.
Mend the connection with b. Only if its copy is to be given up: end it there, then lunmirrorctl promote db --force on a.",
        );
    }

    #[test]
    fn beside_a_slow_peer() {
        let slow = PeerStatus { verdict: Verdict::PeerSlow, ..testing::peer() };
        let text = |mode, on_link_loss| {
            let status = GroupStatus { peer_slow: true, mode, on_link_loss, ..testing::group().status };
            explain("a", &GroupReport { status, ..testing::group() }, Some(&slow)).join("\n")
        };
        let degrades = text(Mode::Sync, OnLinkLoss::Degrade);
        assert!(
            degrades.ends_with(
                "\
Every write goes to b as it comes.
b is heard, but takes its time to acknowledge: it is slow.
Mode sync: a write is done when it is written here and on b.
Until it keeps up, a write waits for it, at most max_stall, 5 s; then it is recorded that b lacks writes, and they go on \
without it."
            ),
            "{degrades}"
        );
        let holds = text(Mode::Memsync, OnLinkLoss::Hold);
        assert!(
            holds.ends_with(
                "Until it keeps up, a write waits for it, at most max_stall, 5 s, and is then answered BUSY."
            ),
            "{holds}"
        );
        let queues = text(Mode::Async, OnLinkLoss::Hold);
        let queue = "Until it keeps up, writes queue here: in memory, then on disk, then as blocks to resync.";
        assert!(queues.ends_with(queue), "{queues}");
    }

    #[test]
    fn with_a_device_that_failed() {
        let here = GroupStatus { disk: DiskState::Failed, ..testing::group().status };
        assert_explained(
            here.clone(),
            &testing::peer(),
            "\
a is Primary of db (epoch 3), and serves it through b, whose copy is the only good one.
The copy of a is Failed: its device failed (see the log), and nothing on it is believed.
b is Secondary and its copy UpToDate.
Every write goes to b as it comes.
Its device failed: a write is done when it is done on b, whatever the mode. While b is away each waits for max_stall, 5 s, as reads \
do, and is then answered BUSY.
Change places: lunmirrorctl demote db here, lunmirrorctl promote db on b. Then mend the device of a, and have it copied anew: \
lunmirrorctl reattach db, or start this node again where another device takes its place.",
        );
        let given_way = GroupStatus {
            role: Role::Secondary,
            standing: Standing::Standby,
            link: LinkState::Meeting,
            peer_disk: Some(DiskState::Consistent),
            ..here.clone()
        };
        let view = |status: GroupStatus| {
            let group = GroupReport { status, ..testing::group() };
            explain("a", &group, Some(&testing::peer())).pop()
        };
        let text = "Hosts are served by nobody: on b, lunmirrorctl promote db.";
        assert_eq!(view(given_way).as_deref(), Some(text));
        let theirs =
            GroupStatus { link: LinkState::Meeting, peer_disk: Some(DiskState::Failed), ..testing::group().status };
        let text = "Mend the device of b (or make room), and have it copied anew, there: lunmirrorctl reattach db.";
        assert_eq!(view(theirs).as_deref(), Some(text));
    }

    #[test]
    fn resynced_to() {
        let status = GroupStatus {
            role: Role::Secondary,
            standing: Standing::Standby,
            disk: DiskState::Inconsistent,
            link: LinkState::Resyncing,
            peer_role: Some(Role::Primary),
            rpo: None,
            decision: Some(Decision { row: 8, text: "b has moved on; everything is sent".into() }),
            resync: Some(ResyncStatus {
                total_bytes: 100 << 30,
                left_bytes: 12 << 30,
                bytes_per_second: 850e6,
                seconds_left: Some(15.2),
                host_latency_goal: None,
                compares: false,
            }),
            ..testing::group().status
        };
        let slow = PeerStatus { verdict: Verdict::PeerSlow, ..testing::peer() };
        assert_explained(
            status,
            &slow,
            "\
a is Secondary of db: it follows, and tells hosts that this path is in standby.
The copy of a is Inconsistent: a resync into it has not ended, so that it is of no moment at all.
b is Primary and its copy UpToDate.
A resync is under way: 12 GiB of 100 GiB are left, some 15 s.
b is heard, but takes its time to acknowledge: it is slow.
If b were lost now, what a would lack is unknown: b has not told it yet.
When they last met, row 8 of the table decided: b has moved on; everything is sent.",
        );
    }

    #[test]
    fn split() {
        let status = GroupStatus {
            link: LinkState::Refused,
            split_brain: true,
            peer_role: Some(Role::Primary),
            on_link_loss: OnLinkLoss::Hold,
            decision: Some(Decision { row: 9, text: "both have moved on: split brain".into() }),
            ..testing::group().status
        };
        assert_explained(
            status,
            &testing::peer(),
            "\
a is Primary of db and serves it (epoch 3).
The copy of a is UpToDate: it holds every acknowledged write, as the mode promises.
b is Primary and its copy UpToDate.
The two nodes refuse to be a pair as they are: nothing is sent.
on_link_loss hold: no write is acknowledged that b lacks; each waits for max_stall, 5 s, and is then answered BUSY.
When they last met, row 9 of the table decided: both have moved on: split brain.
Split brain: choose the copy to keep; what hosts wrote on the other since the two parted is lost. To keep b's, here: \
lunmirrorctl resolve db --keep b. To keep a's, on b: lunmirrorctl resolve db --keep a.",
        );
    }
}
