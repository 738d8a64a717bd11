//! The whole file: meaning, references, and that nothing is used twice that must not be.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use target_core::target::config::{
    Admin, Auth, Config, DaemonLimits, IscsiName, PortalGroup, SessionLimits, Store, TargetConfig, VolumeConfig,
    VolumeName,
};

use super::fault::{Findings, Place};
use super::raw::{Key, RawConfig, RawDaemonLimits, RawPortals, RawSessionLimits, RawTarget, RawVolume, Size, Time};
use super::target::Surroundings;
use super::{secrets, target, volume};

/// Meaningful only where `findings` has no fault; `None` where it certainly has one.
pub fn config(raw: RawConfig, base: &Path, findings: &mut Findings) -> Option<Config> {
    let root = Place::root();
    refuse_unsupported(&raw, findings);
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
    let portal_groups = portal_groups(raw.portals, &root.at("portals"), findings);
    let discovery_place = root.at("discovery").at("auth");
    let discovery_auth = raw
        .discovery
        .and_then(|discovery| discovery.auth)
        .and_then(|auth| secrets::auth(auth, &discovery_place, base, findings));
    let (limits, session_limits) = limits(raw.limits.unwrap_or_default(), &root.at("limits"), findings);

    let raw_volumes = raw.volumes.unwrap_or_default();
    let volume_names: Vec<VolumeName> = raw_volumes.keys().map(|key| key.0.as_str().into()).collect();
    let volumes = volumes(raw_volumes, &root.at("volumes"), base, state_dir.as_deref().unwrap_or(base), findings);
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

    Some(Config {
        node: node?,
        state_dir: state_dir?,
        admin: Admin::default(),
        mirror_listen: Vec::new(),
        peers: BTreeMap::new(),
        portal_groups,
        discovery_auth,
        volumes,
        targets,
        limits,
        session_limits,
    })
}

/// Over those of `defaults`.
pub fn session_limits(
    raw: RawSessionLimits,
    defaults: &SessionLimits,
    place: &Place,
    findings: &mut Findings,
) -> SessionLimits {
    let mut count = |name: &str, raw: Option<u32>, range: RangeInclusive<u32>, default: u32| match raw {
        Some(number) if !range.contains(&number) => {
            let remedy = format!("use {} to {}", range.start(), range.end());
            findings.fault(&place.at(name), format!("{number} is out of range"), remedy);
            default
        }
        Some(number) => number,
        None => default,
    };
    let bytes = |size: Option<Size>| size.map(|Size(bytes)| u32::try_from(bytes).unwrap_or(u32::MAX));
    let max_burst_length = count("max_burst_length", bytes(raw.max_burst_length), LENGTH, defaults.max_burst_length);
    let limits = SessionLimits {
        max_sessions: count("max_sessions", raw.max_sessions, SESSIONS, defaults.max_sessions as u32) as usize,
        max_recv_data_segment_length: count(
            "max_recv_data_segment_length",
            bytes(raw.max_recv_data_segment_length),
            LENGTH,
            defaults.max_recv_data_segment_length,
        ),
        first_burst_length: count(
            "first_burst_length",
            bytes(raw.first_burst_length),
            LENGTH,
            defaults.first_burst_length.min(max_burst_length),
        ),
        max_burst_length,
        max_outstanding_r2t: count(
            "max_outstanding_r2t",
            raw.max_outstanding_r2t,
            OUTSTANDING_R2T,
            u32::from(defaults.max_outstanding_r2t),
        ) as u16,
        immediate_data: raw.immediate_data.unwrap_or(defaults.immediate_data),
        initial_r2t: raw.initial_r2t.unwrap_or(defaults.initial_r2t),
        queue_depth: count("queue_depth", raw.queue_depth, QUEUE_DEPTH, defaults.queue_depth),
        keepalive_interval: raw.keepalive_interval.map_or(defaults.keepalive_interval, |Time(time)| time),
        keepalive_timeout: raw.keepalive_timeout.map_or(defaults.keepalive_timeout, |Time(time)| time),
    };
    if limits.first_burst_length > limits.max_burst_length {
        findings.fault(
            &place.at("first_burst_length"),
            format!("{} is more than max_burst_length, {}", limits.first_burst_length, limits.max_burst_length),
            "RFC 7143 §13.14 wants FirstBurstLength no larger than MaxBurstLength: lower it, or raise the other",
        );
    }
    check_time(limits.keepalive_interval, &place.at("keepalive_interval"), findings);
    check_time(limits.keepalive_timeout, &place.at("keepalive_timeout"), findings);
    limits
}

fn refuse_unsupported(raw: &RawConfig, findings: &mut Findings) {
    let version = env!("CARGO_PKG_VERSION");
    let root = Place::root();
    if raw.peers.is_some() {
        findings.fault(
            &root.at("peers"),
            format!("mirroring is not supported by this version ({version})"),
            "remove it: volumes are then served without a mirror",
        );
    }
    if raw.admin.is_some() {
        findings.fault(
            &root.at("admin"),
            format!("the admin interface is not supported by this version ({version})"),
            "remove it; SIGHUP applies a changed file, and the log tells the rest",
        );
    }
}

fn portal_groups(raw: Option<RawPortals>, place: &Place, findings: &mut Findings) -> Vec<PortalGroup> {
    let mut groups: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
    let mut seen: HashMap<SocketAddr, Place> = HashMap::new();
    match raw {
        None => findings.missing(place, "is missing", REMEDY_PORTALS),
        Some(RawPortals::One(list)) => {
            groups.insert(1, portals(list, place, &mut seen, findings));
        }
        Some(RawPortals::Groups(raw)) if raw.is_empty() => findings.fault(place, "is empty", REMEDY_PORTALS),
        Some(RawPortals::Groups(raw)) => {
            for (Key(tag), list) in raw {
                let place = place.at(&tag);
                let list = portals(list.unwrap_or_default(), &place, &mut seen, findings);
                match tag.parse::<u16>() {
                    Ok(tag) if tag > 0 => {
                        groups.insert(tag, list);
                    }
                    _ => findings.fault(
                        &place,
                        format!("{tag} is not a portal group tag"),
                        "use a number from 1 to 65535",
                    ),
                }
            }
        }
    }
    groups.into_iter().map(|(tag, portals)| PortalGroup { tag, portals }).collect()
}

fn portals(
    list: Vec<Option<String>>,
    place: &Place,
    seen: &mut HashMap<SocketAddr, Place>,
    findings: &mut Findings,
) -> Vec<SocketAddr> {
    if list.is_empty() {
        findings.missing(place, "has no address", REMEDY_PORTALS);
    }
    let mut portals = Vec::new();
    for (index, text) in list.into_iter().enumerate() {
        let place = place.at(index);
        let Some(text) = text else {
            findings.missing(&place, "is empty", "remove it");
            continue;
        };
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
        let address = text.parse().or_else(|_| bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, ISCSI_PORT)));
        let Ok(address) = address else {
            findings.fault(
                &place,
                format!("\"{text}\" is not an address"),
                "write IP:PORT, as in 0.0.0.0:3260 or \"[::]:3260\"; names are not looked up",
            );
            continue;
        };
        // Port 0 is whichever is free, a different one each time.
        match seen.get(&address) {
            Some(first) if address.port() != 0 => {
                findings.fault(&place, format!("{address} is also {first}"), "keep one of them");
            }
            _ => {
                seen.insert(address, place);
                portals.push(address);
            }
        }
    }
    portals
}

fn limits(raw: RawDaemonLimits, place: &Place, findings: &mut Findings) -> (DaemonLimits, SessionLimits) {
    let defaults = DaemonLimits::default();
    let mut count = |name: &str, raw: Option<u32>, range: RangeInclusive<u32>, default: usize| match raw {
        Some(number) if !range.contains(&number) => {
            let remedy = format!("use {} to {}", range.start(), range.end());
            findings.fault(&place.at(name), format!("{number} is out of range"), remedy);
            default
        }
        Some(number) => number as usize,
        None => default,
    };
    let limits = DaemonLimits {
        max_connections: count("max_connections", raw.max_connections, CONNECTIONS, defaults.max_connections),
        max_pending_logins: count(
            "max_pending_logins",
            raw.max_pending_logins,
            CONNECTIONS,
            defaults.max_pending_logins,
        ),
        max_sessions: count("max_sessions", raw.max_sessions, SESSIONS, defaults.max_sessions),
        login_timeout: raw.login_timeout.map_or(defaults.login_timeout, |Time(time)| time),
        shutdown_grace: raw.shutdown_grace.map_or(defaults.shutdown_grace, |Time(time)| time),
    };
    check_time(limits.login_timeout, &place.at("login_timeout"), findings);
    check_time(limits.shutdown_grace, &place.at("shutdown_grace"), findings);
    let session =
        session_limits(raw.target.unwrap_or_default(), &SessionLimits::default(), &place.at("target"), findings);
    (limits, session)
}

fn check_time(time: Duration, place: &Place, findings: &mut Findings) {
    if !(TIME_MIN..=TIME_MAX).contains(&time) {
        let remedy =
            format!("use {} to {}", humantime::format_duration(TIME_MIN), humantime::format_duration(TIME_MAX));
        findings.fault(place, format!("{} is out of range", humantime::format_duration(time)), remedy);
    }
}

fn volumes(
    raw: BTreeMap<Key, Option<RawVolume>>,
    place: &Place,
    base: &Path,
    state_dir: &Path,
    findings: &mut Findings,
) -> BTreeMap<VolumeName, VolumeConfig> {
    let mut volumes = BTreeMap::new();
    for (Key(name), raw) in raw {
        let place = place.at(&name);
        if !is_volume_name(&name) {
            let remedy = format!("use 1 to {VOLUME_NAME_LENGTH_MAX} ASCII letters, digits, '-', '_' and '.'");
            findings.fault(&place, format!("\"{name}\" is not a name for a volume"), remedy);
        }
        if let Some(volume) = volume::volume(raw.unwrap_or_default(), &place, base, state_dir, findings) {
            volumes.insert(VolumeName::from(name), volume);
        }
    }
    refuse_twins(&volumes, place, findings);
    volumes
}

/// Reservations and identifiers are kept under it in `state_dir`.
fn is_volume_name(name: &str) -> bool {
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

const REMEDY_PORTALS: &str = "write portals: [0.0.0.0:3260, \"[::]:3260\"]";

const REMEDY_NAME: &str = "write iqn.YYYY-MM.REVERSED.DOMAIN:ANYTHING, as in iqn.2026-11.net.example:disk";

/// IANA's for iscsi-target.
const ISCSI_PORT: u16 = 3260;

/// Bytes: it becomes a TargetAlias (RFC 7143 §6.1).
const NODE_LENGTH_MAX: usize = 255;

/// Bytes. A file name in `state_dir` holds it with room for what is put before and behind.
const VOLUME_NAME_LENGTH_MAX: usize = 128;

/// What a process's descriptors can be raised to.
const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;

/// Each has a TSIH of its own, of 16 bits (RFC 7143 §11.12.6).
const SESSIONS: RangeInclusive<u32> = 1..=65_000;

/// Bytes (RFC 7143 §13.12 to §13.14).
const LENGTH: RangeInclusive<u32> = 512..=(1 << 24) - 1;

/// RFC 7143 §13.17.
const OUTSTANDING_R2T: RangeInclusive<u32> = 1..=65535;

/// Commands of one session; each may hold a burst of memory.
const QUEUE_DEPTH: RangeInclusive<u32> = 1..=4096;

const TIME_MIN: Duration = Duration::from_millis(100);
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
