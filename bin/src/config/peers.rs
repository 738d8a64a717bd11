//! The `peers` section: who they are, how they are reached, and when they count as gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use target_core::target::config::{
    Compression, DEFAULT_HEARTBEAT, Encryption, Heartbeat, MIRROR_CONNECTIONS, MIRROR_IDLE_TIMEOUT, MIRROR_PORT,
    NAME_MAX, NodeName, PAIR_SECRET_LENGTH_MIN, PairSecret, PeerConfig,
};

use super::addresses::address;
use super::choice::choice;
use super::fault::{Findings, Place};
use super::limits::{TIME, number, time};
use super::raw::{Key, OneOrMany, RawHeartbeat, RawPeer};
use super::secrets;

/// `node` is this node's name; `None` where it is faulty.
pub fn peers(
    raw: BTreeMap<Key, Option<RawPeer>>,
    place: &Place,
    node: Option<&str>,
    base: &Path,
    findings: &mut Findings,
) -> BTreeMap<NodeName, PeerConfig> {
    let mut peers = BTreeMap::new();
    for (Key(name), raw) in raw {
        let place = place.at(&name);
        if node == Some(name.as_str()) {
            let remedy = "name the other node here, and this one in the other node's file";
            findings.fault(&place, "is this node's own name", remedy);
        }
        check_name(&name, &place, findings);
        if let Some(peer) = peer(&name, raw.unwrap_or_default(), &place, base, findings) {
            peers.insert(NodeName::from(name), peer);
        }
    }
    warn_shared_secrets(&peers, place, findings);
    peers
}

/// Of a node that has peers, its own as well: frames carry it.
pub fn check_name(name: &str, place: &Place, findings: &mut Findings) {
    let length = name.len();
    if !(1..=NAME_MAX).contains(&length) || name.chars().any(char::is_control) {
        let remedy = format!("use 1 to {NAME_MAX} bytes, none of them a control character");
        findings.fault(place, format!("{length} bytes, cannot be the name of a node that mirrors"), remedy);
    }
}

fn peer(name: &str, raw: RawPeer, place: &Place, base: &Path, findings: &mut Findings) -> Option<PeerConfig> {
    let addresses = addresses(raw.address, &place.at("address"), findings);
    let connections =
        number(raw.connections, CONNECTIONS, u32::from(MIRROR_CONNECTIONS), &place.at("connections"), findings) as u8;
    let secret = secret(raw.secret_file, &place.at("secret_file"), base, findings);
    let heartbeat = heartbeat(raw.heartbeat.unwrap_or_default(), &place.at("heartbeat"), findings);
    let idle_place = place.at("idle_timeout");
    let idle_timeout = time(raw.idle_timeout, TIME, MIRROR_IDLE_TIMEOUT, &idle_place, findings);
    if idle_timeout < heartbeat.timeout {
        findings.warn(
            &idle_place,
            format!(
                "{} is less than heartbeat.timeout, {}: connections are given up before the link is found dead",
                humantime::format_duration(idle_timeout),
                humantime::format_duration(heartbeat.timeout)
            ),
            "raise it",
        );
    }
    let encryption = match raw.encryption {
        Some(word) => choice(&word, "encryption", &ENCRYPTIONS, &place.at("encryption"), findings),
        None => Some(Encryption::default()),
    };
    let compression = match raw.compression {
        Some(word) => choice(&word, "compression", &COMPRESSIONS, &place.at("compression"), findings),
        None => Some(Compression::default()),
    };
    Some(PeerConfig {
        name: name.into(),
        addresses: addresses?,
        connections,
        secret: secret?,
        heartbeat,
        idle_timeout,
        encryption: encryption?,
        compression: compression?,
    })
}

fn addresses(raw: Option<OneOrMany<String>>, place: &Place, findings: &mut Findings) -> Option<Vec<SocketAddr>> {
    let Some(raw) = raw else {
        findings.missing(place, "is missing", REMEDY_ADDRESS);
        return None;
    };
    let listed = raw.listed(place);
    if listed.is_empty() {
        findings.fault(place, "is empty", REMEDY_ADDRESS);
    }
    let mut addresses = Vec::new();
    for (place, text) in listed {
        let Some(text) = text else {
            findings.missing(&place, "is empty", "remove it");
            continue;
        };
        let Some(address) = address(&text, MIRROR_PORT, &place, findings) else { continue };
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            findings.fault(&place, format!("{address} is not where one host can be reached"), REMEDY_ADDRESS);
            continue;
        }
        addresses.push(address);
    }
    (!addresses.is_empty()).then_some(addresses)
}

fn secret(file: Option<String>, place: &Place, base: &Path, findings: &mut Findings) -> Option<PairSecret> {
    let Some(file) = file else {
        findings.missing(place, "is missing", REMEDY_SECRET);
        return None;
    };
    let secret = secrets::read_file(&base.join(file), REMEDY_SECRET, place, findings)?;
    let length = secret.len();
    if !SECRET_LENGTH.contains(&length) {
        let message = format!(
            "is {length} bytes long{}; a pair's secret has {} to {}",
            if length < PAIR_SECRET_LENGTH_MIN { ", which can be guessed" } else { "" },
            SECRET_LENGTH.start(),
            SECRET_LENGTH.end()
        );
        findings.fault(place, message, REMEDY_SECRET);
        return None;
    }
    let different = secret.iter().collect::<BTreeSet<_>>().len();
    if different < SECRET_VARIETY_MIN {
        findings.warn(place, format!("is made of {different} different bytes: it is not random"), REMEDY_SECRET);
    }
    Some(PairSecret(secret.into()))
}

fn heartbeat(raw: RawHeartbeat, place: &Place, findings: &mut Findings) -> Heartbeat {
    let default = DEFAULT_HEARTBEAT;
    let interval = time(raw.interval, INTERVAL, default.interval, &place.at("interval"), findings);
    let timeout_place = place.at("timeout");
    let timeout = time(raw.timeout, SILENCE, default.timeout, &timeout_place, findings);
    let shown = humantime::format_duration;
    // Of two intervals one heartbeat may be lost and the next be late: that is no reason to cut a link.
    if timeout <= 2 * interval {
        findings.fault(
            &timeout_place,
            format!("{} is not more than twice the interval, {}", shown(timeout), shown(interval)),
            "raise it to some six intervals, or shorten the interval: one lost heartbeat must not cut the link",
        );
    }
    let probation = time(raw.probation, PROBATION, default.probation, &place.at("probation"), findings);
    let max_place = place.at("probation_max");
    let max_is_given = raw.probation_max.is_some();
    let mut probation_max = time(raw.probation_max, PROBATION, default.probation_max, &max_place, findings);
    if probation_max < probation {
        if max_is_given {
            let message = format!("{} is less than probation, {}", shown(probation_max), shown(probation));
            findings.fault(&max_place, message, "raise it: it is what probation doubles up to");
        }
        probation_max = probation;
    }
    Heartbeat { interval, timeout, probation, probation_max }
}

/// An address is one peer's, once, and not our own.
pub fn check_addresses(
    peers: &BTreeMap<NodeName, PeerConfig>,
    listen: &[SocketAddr],
    place: &Place,
    findings: &mut Findings,
) {
    let ours = |address: &SocketAddr| {
        let loopback = address.ip().is_loopback();
        listen.iter().any(|listen| {
            let everywhere = loopback && listen.ip().is_unspecified() && listen.is_ipv4() == address.is_ipv4();
            listen.port() == address.port() && (listen.ip() == address.ip() || everywhere)
        })
    };
    let mut seen: Vec<(SocketAddr, &NodeName)> = Vec::new();
    for (name, address) in peers.values().flat_map(|peer| peer.addresses.iter().map(move |each| (&peer.name, *each))) {
        let here = place.at(name).at("address");
        if ours(&address) {
            let remedy = "write where the other node listens";
            findings.fault(&here, format!("{address} is where this node itself listens (link.listen)"), remedy);
        }
        match seen.iter().find(|(other, _)| *other == address) {
            Some((_, first)) if *first == name => {
                findings.fault(&here, format!("{address} is here twice"), "keep one of them");
            }
            Some((_, first)) => {
                let first = place.at(first).at("address");
                findings.fault(&here, format!("{address} is also {first}"), "keep one of them");
            }
            None => seen.push((address, name)),
        }
    }
}

fn warn_shared_secrets(peers: &BTreeMap<NodeName, PeerConfig>, place: &Place, findings: &mut Findings) {
    for (index, peer) in peers.values().enumerate() {
        if let Some(other) = peers.values().take(index).find(|other| other.secret == peer.secret) {
            findings.warn(
                &place.at(&peer.name).at("secret_file"),
                format!("holds the same secret as that of {}", other.name),
                "give each pair a secret of its own: each peer could pass for the other",
            );
        }
    }
}

const ENCRYPTIONS: [(&str, Encryption); 2] = [("none", Encryption::None), ("noise", Encryption::Noise)];

const COMPRESSIONS: [(&str, Compression); 3] =
    [("none", Compression::None), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd)];

const REMEDY_ADDRESS: &str = "write address: IP:3262, where the peer listens for us, or a list of such";

const REMEDY_SECRET: &str = "make one with lunmirrorctl secret new FILE, and copy the file to the peer (mode 0600)";

/// The patent's n; the arrays have as many entries.
const CONNECTIONS: RangeInclusive<u32> = 1..=64;

/// Bytes.
const SECRET_LENGTH: RangeInclusive<usize> = PAIR_SECRET_LENGTH_MIN..=512;

/// Sixteen hexadecimal digits or any random bytes have more, whatever the chance.
const SECRET_VARIETY_MIN: usize = 8;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

const SILENCE: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(600);

const PROBATION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
