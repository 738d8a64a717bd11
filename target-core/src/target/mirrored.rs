//! Which volumes are mirrored together.

use std::collections::BTreeMap;

use mirror_link::replica::io::Command;

use super::config::{Config, GroupName, VolumeConfig, VolumeMirror, VolumeName};

/// Volumes with one owner, one order of writes and one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGroup {
    /// Of every one of them.
    pub mirror: VolumeMirror,
    /// In order of name: a volume's place here is its index on the wire. At least one.
    pub volumes: Vec<VolumeName>,
}

/// Volumes of one group that want different things of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is not that of volume {other}, which is in the same group {group}")]
pub struct Disagreement {
    pub volume: VolumeName,
    /// The first of the group.
    pub other: VolumeName,
    pub group: GroupName,
    /// Under the volume's `mirror`.
    pub key: &'static str,
}

/// The groups that the volumes make, or every disagreement.
pub fn groups<'a>(
    volumes: impl IntoIterator<Item = (&'a VolumeName, &'a VolumeConfig)>,
) -> Result<BTreeMap<GroupName, VolumeGroup>, Vec<Disagreement>> {
    let mut groups: BTreeMap<GroupName, VolumeGroup> = BTreeMap::new();
    let mut disagreements = Vec::new();
    for (name, mirror) in volumes.into_iter().filter_map(|(name, volume)| Some((name, volume.mirror.as_ref()?))) {
        let group = groups
            .entry(mirror.group.clone())
            .or_insert_with(|| VolumeGroup { mirror: mirror.clone(), volumes: Vec::new() });
        disagreements.extend(differing(&group.mirror, mirror).map(|key| Disagreement {
            volume: name.clone(),
            other: group.volumes[0].clone(),
            group: mirror.group.clone(),
            key,
        }));
        group.volumes.push(name.clone());
    }
    match disagreements.is_empty() {
        true => Ok(groups),
        false => Err(disagreements),
    }
}

/// What of mirroring a reload can't change: each with its place, and the remedy.
pub fn fixed(old: &Config, new: &Config) -> Vec<(String, &'static str)> {
    let mirrored = |config: &Config| config.volumes.values().any(|volume| volume.mirror.is_some());
    if !mirrored(old) && !mirrored(new) && old.peers.is_empty() && new.peers.is_empty() {
        return Vec::new();
    }
    let mut fixed = Vec::new();
    let mut note = |place: &str, changed: bool| {
        if changed {
            fixed.push((
                place.to_owned(),
                "can't change while volumes may be mirrored; restart the target to change it",
            ));
        }
    };
    note("node", old.node != new.node);
    note("link.listen", old.mirror_listen != new.mirror_listen);
    note("peers", old.peers != new.peers);
    for name in old.volumes.keys().chain(new.volumes.keys().filter(|name| !old.volumes.contains_key(*name))) {
        let (before, after) = (old.volumes.get(name), new.volumes.get(name));
        let mirror = |volume: Option<&VolumeConfig>| volume.and_then(|volume| volume.mirror.clone());
        let (before_mirror, after_mirror) = (mirror(before), mirror(after));
        let place = format!("volumes.{name}");
        match (before_mirror, after_mirror) {
            (None, None) => {}
            (None, Some(_)) => fixed.push((format!("{place}.mirror"), ADDED)),
            (Some(_), None) if after.is_none() => fixed.push((place, REMOVED)),
            (Some(_), None) => fixed.push((format!("{place}.mirror"), REMOVED)),
            (Some(before), Some(after)) => {
                let keys = differing(&before, &after).filter(|key| !LIVE.contains(key));
                fixed.extend(keys.map(|key| (format!("{place}.mirror.{key}"), UNCHANGED)));
                if before.group != after.group {
                    fixed.push((format!("{place}.mirror.group"), UNCHANGED));
                }
            }
        }
    }
    fixed
}

/// What makes a running group of the old settings one of the new, where they differ in nothing else.
pub fn changes(old: &VolumeMirror, new: &VolumeMirror) -> Vec<Command> {
    let (old, new) = (&old.policy, &new.policy);
    let mut commands = Vec::new();
    if old.max_stall != new.max_stall {
        commands.push(Command::MaxStall(new.max_stall));
    }
    if old.host_latency != new.host_latency {
        commands.push(Command::HostLatency(new.host_latency));
    }
    if old.on_link_loss != new.on_link_loss {
        commands.push(Command::OnLinkLoss(new.on_link_loss));
    }
    if old.mode != new.mode {
        commands.push(Command::Mode(new.mode));
    }
    commands
}

/// Keys under `mirror` whose values differ.
fn differing<'a>(first: &'a VolumeMirror, other: &'a VolumeMirror) -> impl Iterator<Item = &'static str> + use<'a> {
    let (ours, theirs) = (&first.policy, &other.policy);
    let (ours_aside, theirs_aside) = (&first.aside, &other.aside);
    [
        ("peer", first.peer == other.peer),
        ("role", first.first_role == other.first_role),
        ("mode", ours.mode == theirs.mode),
        ("on_link_loss", ours.on_link_loss == theirs.on_link_loss),
        ("on_journal_full", ours.on_journal_full == theirs.on_journal_full),
        ("on_split_brain", ours.on_split_brain == theirs.on_split_brain),
        ("max_stall", ours.max_stall == theirs.max_stall),
        ("wait_for_peer", ours.wait_for_peer == theirs.wait_for_peer),
        ("resync", ours.host_latency == theirs.host_latency),
        ("queue", first.queue == other.queue),
        ("map", first.map == other.map),
        ("scrub", first.scrub == other.scrub),
        ("initial_sync", first.initial_sync == other.initial_sync),
        ("undo", (ours_aside.undo_max, ours_aside.undo_keep) == (theirs_aside.undo_max, theirs_aside.undo_keep)),
        ("snapshot", ours_aside.snapshot == theirs_aside.snapshot),
    ]
    .into_iter()
    .filter(|(_, same)| !same)
    .map(|(key, _)| key)
}

/// Keys under `mirror` that a reload changes.
const LIVE: [&str; 4] = ["mode", "on_link_loss", "max_stall", "resync"];
const ADDED: &str = "a mirrored volume is added, or a volume mirrored, at a restart only; restart the target";
const REMOVED: &str = "a mirrored volume is removed, or no longer mirrored, at a restart only; restart the target";
const UNCHANGED: &str =
    "of `mirror` only mode, on_link_loss, max_stall and resync change while it is served; restart the target";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::config::{Mode, Role, Store};

    fn volume(mirror: Option<VolumeMirror>) -> VolumeConfig {
        VolumeConfig { mirror, ..VolumeConfig::new(Store::Memory, Some(1 << 20)) }
    }

    fn in_group(group: &str) -> VolumeMirror {
        VolumeMirror::new("beta".into(), group.into(), Role::Primary)
    }

    #[test]
    fn volumes_of_a_group_come_in_order_of_name() {
        let volumes = BTreeMap::from([
            ("b".into(), volume(Some(in_group("g")))),
            ("a".into(), volume(Some(in_group("g")))),
            ("alone".into(), volume(None)),
            ("z".into(), volume(Some(in_group("z")))),
        ]);
        let groups = groups(&volumes).expect("they agree");
        assert_eq!(groups.keys().map(|name| &**name).collect::<Vec<_>>(), ["g", "z"]);
        assert_eq!(groups["g"].volumes, ["a".into(), "b".into()] as [VolumeName; 2]);
    }

    #[test]
    fn volumes_of_a_group_agree() {
        let mut other = in_group("g");
        other.policy.mode = Mode::Async;
        other.first_role = Role::Secondary;
        let volumes = BTreeMap::from([("a".into(), volume(Some(in_group("g")))), ("b".into(), volume(Some(other)))]);
        let told = groups(&volumes).expect_err("they do not").iter().map(|told| told.to_string()).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                "role is not that of volume a, which is in the same group g",
                "mode is not that of volume a, which is in the same group g"
            ]
        );
    }
}
