//! The whole file: meaning, references, and that nothing is used twice that must not be.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use target_core::target::config::{Auth, Config, IscsiName, NodeName, Store, TargetConfig, VolumeConfig, VolumeName};

use super::addresses::{self, Taken};
use super::fault::{Findings, Place};
use super::mirror::{self, Neighbours};
use super::raw::{Key, RawConfig, RawTarget, RawVolume};
use super::target::Surroundings;
use super::{limits, peers, secrets, target, volume};

/// Meaningful only where `findings` has no fault; `None` where it certainly has one.
pub fn config(raw: RawConfig, base: &Path, findings: &mut Findings) -> Option<Config> {
    let root = Place::root();
    let node = match raw.node {
        Some(node) if node.is_empty() || node.len() > NODE_LENGTH_MAX => {
            let remedy = format!("use 1 to {NODE_LENGTH_MAX} bytes");
            findings.fault(&root.at("node"), format!("is {} bytes long", node.len()), remedy);
            None
        }
        Some(node) => Some(node),
        None => {
            findings.missing(&root.at("node"), "is missing", "write node: NAME, a name for this host");
            None
        }
    };
    let state_dir = match raw.state_dir {
        Some(directory) if !directory.is_empty() => Some(base.join(directory)),
        _ => {
            findings.missing(&root.at("state_dir"), "is missing", "write state_dir: /var/lib/lunmirror");
            None
        }
    };
    let mut taken = Taken::default();
    let portal_groups = addresses::portal_groups(raw.portals, &root.at("portals"), &mut taken, findings);
    let raw_peers = raw.peers.unwrap_or_default();
    let peer_names: Vec<NodeName> = raw_peers.keys().map(|key| key.0.as_str().into()).collect();
    if let Some(node) = node.as_deref().filter(|_| !peer_names.is_empty()) {
        peers::check_name(node, &root.at("node"), findings);
    }
    let peers_place = root.at("peers");
    let peers = peers::peers(raw_peers, &peers_place, node.as_deref(), base, findings);
    let reached_at: Vec<SocketAddr> = peers.values().flat_map(|peer| peer.addresses.clone()).collect();
    let reached_at = (!peer_names.is_empty()).then_some(&reached_at[..]);
    let mirror_listen = addresses::mirror_listen(raw.link, reached_at, &root.at("link"), &mut taken, findings);
    peers::check_addresses(&peers, &mirror_listen, &peers_place, findings);
    let admin = addresses::admin(raw.admin, base, &root.at("admin"), &mut taken, findings);
    let discovery_place = root.at("discovery").at("auth");
    let discovery_auth = raw
        .discovery
        .and_then(|discovery| discovery.auth)
        .and_then(|auth| secrets::auth(auth, &discovery_place, base, findings));
    let (limits, session_limits) = limits::limits(raw.limits.unwrap_or_default(), &root.at("limits"), findings);

    let raw_volumes = raw.volumes.unwrap_or_default();
    let volume_names: Vec<VolumeName> = raw_volumes.keys().map(|key| key.0.as_str().into()).collect();
    let places = volume::Surroundings {
        base,
        state_dir: state_dir.as_deref().unwrap_or(base),
        neighbours: Neighbours { node: node.as_deref(), peers: &peer_names },
    };
    let volumes = volumes(raw_volumes, &root.at("volumes"), &places, findings);
    let around = Surroundings {
        base,
        volumes: &volume_names,
        portal_groups: &portal_groups.iter().map(|group| group.tag).collect::<Vec<_>>(),
        limits: &session_limits,
    };
    let targets_place = root.at("targets");
    let targets = targets(raw.targets.unwrap_or_default(), &targets_place, &around, findings);

    let mut auths: Vec<(Place, &Auth)> = discovery_auth.iter().map(|auth| (discovery_place.clone(), auth)).collect();
    auths.extend(
        targets
            .iter()
            .filter_map(|(name, target)| target.auth.as_ref().map(|auth| (targets_place.at(name).at("auth"), auth))),
    );
    secrets::compare(&auths, findings);
    warn_unserved(&volumes, &targets, &root.at("volumes"), findings);

    mirror::check_groups(&volumes, &peers, &admin, findings);

    Some(Config {
        node: node?,
        state_dir: state_dir?,
        admin,
        mirror_listen,
        peers,
        portal_groups,
        discovery_auth,
        volumes,
        targets,
        limits,
        session_limits,
    })
}

fn volumes(
    raw: BTreeMap<Key, Option<RawVolume>>,
    place: &Place,
    around: &volume::Surroundings<'_>,
    findings: &mut Findings,
) -> BTreeMap<VolumeName, VolumeConfig> {
    let mut volumes = BTreeMap::new();
    for (Key(name), raw) in raw {
        let place = place.at(&name);
        if !is_volume_name(&name) {
            findings.fault(&place, format!("\"{name}\" is not a name for a volume"), REMEDY_VOLUME_NAME);
        }
        if let Some(volume) = volume::volume(raw.unwrap_or_default(), &name, &place, around, findings) {
            volumes.insert(VolumeName::from(name), volume);
        }
    }
    refuse_twins(&volumes, place, findings);
    volumes
}

/// Reservations, identifiers and records of mirroring are kept under it in `state_dir`.
pub fn is_volume_name(name: &str) -> bool {
    (1..=VOLUME_NAME_LENGTH_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Two volumes on one store destroy each other, and two of one identity are one disk to a multipath driver.
fn refuse_twins(volumes: &BTreeMap<VolumeName, VolumeConfig>, place: &Place, findings: &mut Findings) {
    let mut seen: HashMap<(&str, String), &str> = HashMap::new();
    for (name, volume) in volumes {
        let path = match &volume.store {
            Store::File { path, .. } => Some(("file", path)),
            Store::Device { path, .. } => Some(("device", path)),
            Store::Memory | Store::Null => None,
        };
        let identity = &volume.identity;
        let traits = [
            path.map(|(key, path)| (key, "file", volume::same_file(path).display().to_string())),
            identity.uuid.map(|uuid| ("uuid", "uuid", uuid.to_string())),
            identity.serial.as_ref().map(|serial| ("serial", "serial", serial.clone())),
            identity.naa.map(|naa| ("naa", "naa", format!("{:02x?}", naa.as_bytes()))),
        ];
        for (key, kind, value) in traits.into_iter().flatten() {
            match seen.get(&(kind, value.clone())) {
                Some(other) => findings.fault(
                    &place.at(name).at(key),
                    format!("is also that of volume {other}"),
                    "give each volume its own; one volume may be a LUN of several targets",
                ),
                None => {
                    seen.insert((kind, value), name);
                }
            }
        }
    }
}

fn targets(
    raw: BTreeMap<Key, Option<RawTarget>>,
    place: &Place,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> BTreeMap<IscsiName, TargetConfig> {
    if raw.is_empty() {
        findings.missing(
            place,
            "has no target",
            "write targets: {iqn.2026-11.net.example:disk: {initiators: [\"*\"], luns: {0: VOLUME}}}",
        );
    }
    let mut targets = BTreeMap::new();
    for (Key(written), raw) in raw {
        let place = place.at(&written);
        let name = match IscsiName::new(&written) {
            Ok(name) => Some(name),
            Err(error) => {
                findings.fault(&place, format!("is not an iSCSI name: {error}"), REMEDY_NAME);
                None
            }
        };
        let target = target::target(raw.unwrap_or_default(), &place, around, findings);
        if let (Some(name), Some(target)) = (name, target)
            && targets.insert(name, target).is_some()
        {
            findings.fault(&place, "is here twice: upper and lower case are the same", "keep one of them");
        }
    }
    targets
}

fn warn_unserved(
    volumes: &BTreeMap<VolumeName, VolumeConfig>,
    targets: &BTreeMap<IscsiName, TargetConfig>,
    place: &Place,
    findings: &mut Findings,
) {
    for name in volumes.keys() {
        let served = targets.values().any(|target| {
            let maps = target.acl.iter().filter_map(|rule| rule.luns.as_ref()).chain([&target.luns]);
            maps.flat_map(|map| map.values()).any(|volume| volume == name)
        });
        if !served {
            findings.warn(&place.at(name), "is not a LUN of any target", "add it under a target's luns, or remove it");
        }
    }
}

const REMEDY_NAME: &str = "write iqn.YYYY-MM.REVERSED.DOMAIN:ANYTHING, as in iqn.2026-11.net.example:disk";

/// Bytes: it becomes a TargetAlias (RFC 7143 §6.1).
const NODE_LENGTH_MAX: usize = 255;

/// Bytes. A file name in `state_dir` holds it with room for what is put before and behind.
const VOLUME_NAME_LENGTH_MAX: usize = 128;

pub const REMEDY_VOLUME_NAME: &str = "use 1 to 128 ASCII letters, digits, '-', '_' and '.'";
