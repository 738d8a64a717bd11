//! Which volumes are mirrored together.

use std::collections::BTreeMap;

use super::config::{GroupName, VolumeConfig, VolumeMirror, VolumeName};

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
pub fn groups(
    volumes: &BTreeMap<VolumeName, VolumeConfig>,
) -> Result<BTreeMap<GroupName, VolumeGroup>, Vec<Disagreement>> {
    let mut groups: BTreeMap<GroupName, VolumeGroup> = BTreeMap::new();
    let mut disagreements = Vec::new();
    for (name, mirror) in volumes.iter().filter_map(|(name, volume)| Some((name, volume.mirror.as_ref()?))) {
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

/// Keys under `mirror` whose values differ.
fn differing<'a>(first: &'a VolumeMirror, other: &'a VolumeMirror) -> impl Iterator<Item = &'static str> + use<'a> {
    let (ours, theirs) = (&first.policy, &other.policy);
    [
        ("peer", first.peer == other.peer),
        ("role", first.first_role == other.first_role),
        ("mode", ours.mode == theirs.mode),
        ("on_link_loss", ours.on_link_loss == theirs.on_link_loss),
        ("max_stall", ours.max_stall == theirs.max_stall),
        ("wait_for_peer", ours.wait_for_peer == theirs.wait_for_peer),
        ("queue", first.queue == other.queue),
    ]
    .into_iter()
    .filter(|(_, same)| !same)
    .map(|(key, _)| key)
}

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
