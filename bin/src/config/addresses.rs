//! Where this node listens: portals, the links of its peers, the admin interface. No address twice.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use target_core::target::config::{Admin, MIRROR_PORT, PortalGroup};

use super::fault::{Findings, Place};
use super::raw::{Key, RawAdmin, RawLink, RawPortals};

/// TCP addresses that are taken, each with the place that took it.
#[derive(Debug, Default)]
pub struct Taken(Vec<(SocketAddr, Place)>);

impl Taken {
    /// Whether it was free; a fault where it was not.
    fn take(&mut self, address: SocketAddr, place: &Place, findings: &mut Findings) -> bool {
        // Port 0 is whichever is free, a different one each time.
        let other = self.0.iter().find(|(other, _)| other.port() != 0 && overlap(*other, address));
        match other {
            Some((same, first)) if *same == address => {
                findings.fault(place, format!("{address} is also {first}"), "keep one of them");
            }
            Some((other, first)) => {
                let remedy = "give one of them another port: the address of all interfaces takes the port on each";
                findings.fault(place, format!("{address} and {other}, {first}, are in each other's way"), remedy);
            }
            None => {
                self.0.push((address, place.clone()));
                return true;
            }
        }
        false
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |all: IpAddr, one: IpAddr| all.is_unspecified() && all.is_ipv4() == one.is_ipv4();
    a.port() == b.port() && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

pub fn portal_groups(
    raw: Option<RawPortals>,
    place: &Place,
    taken: &mut Taken,
    findings: &mut Findings,
) -> Vec<PortalGroup> {
    let mut groups: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
    match raw {
        None => findings.missing(place, "is missing", REMEDY_PORTALS),
        Some(RawPortals::One(list)) => {
            groups.insert(1, portals(list, place, taken, findings));
        }
        Some(RawPortals::Groups(raw)) if raw.is_empty() => findings.fault(place, "is empty", REMEDY_PORTALS),
        Some(RawPortals::Groups(raw)) => {
            for (Key(tag), list) in raw {
                let place = place.at(&tag);
                let list = portals(list.unwrap_or_default(), &place, taken, findings);
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

fn portals(list: Vec<Option<String>>, place: &Place, taken: &mut Taken, findings: &mut Findings) -> Vec<SocketAddr> {
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
        if let Some(address) = address(&text, ISCSI_PORT, &place, findings)
            && taken.take(address, &place, findings)
        {
            portals.push(address);
        }
    }
    portals
}

/// Where peers reach us: as `link` says, or on every interface by the kinds of address that they have themselves (a host may
/// be without IPv6). On each of them TCP and UDP. `peers`: `None` where there are none.
pub fn mirror_listen(
    raw: Option<RawLink>,
    peers: Option<&[SocketAddr]>,
    place: &Place,
    taken: &mut Taken,
    findings: &mut Findings,
) -> Vec<SocketAddr> {
    let Some(peers) = peers else {
        if raw.is_some() {
            findings.fault(place, "means nothing without peers", "add peers: {NAME: {address: …}}, or remove it");
        }
        return Vec::new();
    };
    let place = place.at("listen");
    let Some(listen) = raw.and_then(|raw| raw.listen) else {
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let mut addresses = everywhere.map(|ip| SocketAddr::new(ip, MIRROR_PORT)).to_vec();
        addresses.retain(|address| peers.iter().any(|peer| peer.is_ipv4() == address.is_ipv4()));
        addresses.retain(|address| taken.take(*address, &place, findings));
        return addresses;
    };
    let listed = listen.listed(&place);
    if listed.is_empty() {
        findings.fault(&place, "has no address", REMEDY_LISTEN);
    }
    let mut addresses = Vec::new();
    for (place, text) in listed {
        let Some(text) = text else {
            findings.missing(&place, "is empty", "remove it");
            continue;
        };
        match address(&text, MIRROR_PORT, &place, findings) {
            Some(address) if address.port() == 0 => {
                findings.fault(&place, "port 0 is another one each time, and peers must know it", REMEDY_LISTEN);
            }
            Some(address) if taken.take(address, &place, findings) => addresses.push(address),
            _ => (),
        }
    }
    addresses
}

pub fn admin(raw: Option<RawAdmin>, base: &Path, place: &Place, taken: &mut Taken, findings: &mut Findings) -> Admin {
    let Some(raw) = raw else { return Admin::default() };
    if raw.socket.is_none() && raw.http.is_none() {
        findings.missing(place, "has neither socket nor http", REMEDY_ADMIN);
    }
    let socket = raw.socket.map(|socket| base.join(socket));
    if let Some(path) = &socket {
        let length = path.as_os_str().len();
        if path.file_name().is_none() || length > SOCKET_PATH_LENGTH_MAX {
            findings.fault(
                &place.at("socket"),
                format!("\"{}\" ({length} bytes) cannot be the path of a socket", path.display()),
                format!("use 1 to {SOCKET_PATH_LENGTH_MAX} bytes, as in /run/lunmirror/admin.sock"),
            );
        }
    }
    let place = place.at("http");
    let http = raw.http.and_then(|text| address(&text, ADMIN_PORT, &place, findings));
    let http = http.filter(|address| taken.take(*address, &place, findings));
    if http.is_some_and(|address| !address.ip().is_loopback()) {
        findings.warn(
            &place,
            "shows how volumes and peers stand to whoever reaches it; it asks for no password",
            format!("use 127.0.0.1:{ADMIN_PORT}, or let a firewall or a proxy decide who may ask"),
        );
    }
    Admin { socket, http }
}

/// `IP:PORT`, or an IP and the port that is usual.
pub fn address(text: &str, port: u16, place: &Place, findings: &mut Findings) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = text.parse().or_else(|_| bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, port)));
    if address.is_err() {
        findings.fault(
            place,
            format!("\"{text}\" is not an address"),
            format!("write IP:PORT, as in 0.0.0.0:{port} or \"[::]:{port}\"; names are not looked up"),
        );
    }
    address.ok()
}

const REMEDY_PORTALS: &str = "write portals: [0.0.0.0:3260, \"[::]:3260\"]";

const REMEDY_LISTEN: &str = "write link: {listen: [0.0.0.0:3262, \"[::]:3262\"]}";

const REMEDY_ADMIN: &str = "write admin: {socket: /run/lunmirror/admin.sock}, or remove it";

/// IANA's for iscsi-target.
const ISCSI_PORT: u16 = 3260;

const ADMIN_PORT: u16 = 9260;

/// Bytes. Linux takes 107; the socket is made under a longer name first.
const SOCKET_PATH_LENGTH_MAX: usize = 90;
