//! One entry of `targets`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ipnet::IpNet;
use target_core::target::config::{
    AclRule, Auth, LUN_MAX, LunMap, NamePattern, Redirect, SessionLimits, TargetConfig, VolumeName,
};

use super::document::did_you_mean;
use super::fault::{Findings, Place};
use super::limits::session_limits;
use super::raw::{OneOrMany, RawLuns, RawRedirect, RawRule, RawRuleFields, RawTarget};
use super::secrets;

/// What a target's entry may refer to.
pub struct Surroundings<'a> {
    pub base: &'a Path,
    /// Every key of `volumes`, the faulty ones as well: a fault there is not a fault here.
    pub volumes: &'a [VolumeName],
    pub portal_groups: &'a [u16],
    pub limits: &'a SessionLimits,
}

/// `None` where it is faulty.
pub fn target(
    raw: RawTarget,
    place: &Place,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Option<TargetConfig> {
    if let Some(alias) = &raw.alias
        && (alias.is_empty() || alias.len() > ALIAS_LENGTH_MAX)
    {
        findings.fault(
            &place.at("alias"),
            format!("is {} bytes long", alias.len()),
            format!("use 1 to {ALIAS_LENGTH_MAX} bytes"),
        );
    }
    let wants_auth = raw.auth.is_some();
    let auth = raw.auth.and_then(|raw| secrets::auth(raw, &place.at("auth"), around.base, findings));
    let acl = match raw.initiators {
        Some(raw) => acl(raw, auth.as_ref(), wants_auth, &place.at("initiators"), around, findings),
        // A password is a rule: whoever knows it may come in.
        None if wants_auth => vec![AclRule {
            initiators: vec![NamePattern("*".to_owned())],
            networks: Vec::new(),
            users: None,
            luns: None,
        }],
        None => {
            findings.missing(
                &place.at("initiators"),
                "is missing, and there is no auth: anybody could log in",
                "write initiators: [NAME, …], or initiators: [\"*\"] if anybody may",
            );
            Vec::new()
        }
    };
    let serves_something = raw.luns.is_some() || raw.redirect.is_some() || acl.iter().any(|rule| rule.luns.is_some());
    if !serves_something {
        findings.missing(&place.at("luns"), "is missing", "write luns: {0: VOLUME}");
    }
    let luns = raw.luns.map(|raw| lun_map(raw, &place.at("luns"), around.volumes, findings)).unwrap_or_default();
    let portal_groups = match raw.portal_groups {
        Some(tags) => portal_groups(tags, &place.at("portal_groups"), around.portal_groups, findings),
        None => around.portal_groups.to_vec(),
    };
    let redirect = raw.redirect.and_then(|raw| redirect(raw, &place.at("redirect"), findings));
    let limits = match raw.limits {
        Some(raw) => session_limits(raw, around.limits, &place.at("limits"), findings),
        None => around.limits.clone(),
    };
    Some(TargetConfig { alias: raw.alias, auth, acl, luns, portal_groups, redirect, limits })
}

fn acl(
    raw: OneOrMany<RawRule>,
    auth: Option<&Auth>,
    wants_auth: bool,
    place: &Place,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Vec<AclRule> {
    let listed = raw.listed(place);
    if listed.is_empty() {
        findings.fault(place, "is empty: nobody could log in", "write initiators: [NAME, …], or [\"*\"] for anybody");
    }
    let mut rules = Vec::new();
    let mut caught_by: Option<usize> = None;
    for (index, (place, raw)) in listed.into_iter().enumerate() {
        let (names, fields) = match raw {
            Some(RawRule::Pattern(name)) => (vec![(place.clone(), Some(name))], RawRuleFields::default()),
            Some(RawRule::Rule(mut fields)) => match fields.name.take() {
                Some(names) => (names.listed(&place.at("name")), fields),
                None => {
                    findings.missing(&place.at("name"), "is missing", "write name: PATTERN, or name: \"*\" for all");
                    (Vec::new(), fields)
                }
            },
            None => {
                findings.missing(&place, "is empty", "remove it");
                continue;
            }
        };
        let mut initiators = Vec::new();
        for (place, name) in names {
            match name {
                Some(name) => initiators.extend(pattern(&name, &place, findings)),
                None => findings.missing(&place, "is empty", "remove it"),
            }
        }
        if let Some(earlier) = caught_by {
            findings.warn(
                &place,
                format!("is never reached: rule {earlier} fits every initiator"),
                "put it before that rule; the first rule that fits decides",
            );
        }
        let rule = rule(initiators, fields, auth, wants_auth, &place, around, findings);
        let everybody = rule.networks.is_empty() && rule.users.is_none() && rule.initiators.iter().any(|p| p.0 == "*");
        if everybody && caught_by.is_none() {
            caught_by = Some(index);
        }
        rules.push(rule);
    }
    rules
}

fn rule(
    initiators: Vec<NamePattern>,
    raw: RawRuleFields,
    auth: Option<&Auth>,
    wants_auth: bool,
    place: &Place,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> AclRule {
    let mut networks = Vec::new();
    for (place, text) in listed(raw.networks, &place.at("networks"), findings) {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => findings.fault(
                &place,
                format!("\"{text}\" is not a network"),
                "write 10.0.0.0/8, \"2001:db8::/32\", or one address",
            ),
        }
    }
    let users_place = place.at("users");
    if raw.users.is_some() && !wants_auth {
        findings.fault(&users_place, "means nothing without auth", "add auth: {chap: …}, or remove it");
    }
    let users = raw.users.map(|users| {
        let users = listed(Some(users), &users_place, findings);
        for (place, user) in &users {
            if let Some(auth) = auth
                && !auth.users.iter().any(|known| known.name == *user)
            {
                let remedy = match did_you_mean(user, auth.users.iter().map(|known| known.name.as_str())) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "name one of the users in auth.chap".to_owned(),
                };
                findings.fault(place, format!("there is no user {user} in auth.chap"), remedy);
            }
        }
        users.into_iter().map(|(_, user)| user).collect()
    });
    let luns = raw.luns.map(|luns| lun_map(luns, &place.at("luns"), around.volumes, findings));
    AclRule { initiators, networks, users, luns }
}

/// What is listed, without the gaps, which are faults.
fn listed(raw: Option<OneOrMany<String>>, place: &Place, findings: &mut Findings) -> Vec<(Place, String)> {
    let Some(raw) = raw else { return Vec::new() };
    let listed = raw.listed(place);
    if listed.is_empty() {
        findings.fault(place, "is empty", "fill it, or remove it");
    }
    let mut present = Vec::new();
    for (place, text) in listed {
        match text {
            Some(text) => present.push((place, text)),
            None => findings.missing(&place, "is empty", "remove it"),
        }
    }
    present
}

/// Initiators in the field have names no standard allows, so only what can never match is refused.
fn pattern(text: &str, place: &Place, findings: &mut Findings) -> Option<NamePattern> {
    let pattern = text.to_lowercase();
    let begins_well = ["iqn.", "eui.", "naa."].iter().any(|kind| {
        let literal = pattern.split(['*', '?']).next().unwrap_or_default();
        literal.starts_with(kind) || kind.starts_with(literal)
    });
    if !begins_well || pattern.is_empty() {
        findings.fault(
            place,
            format!("\"{text}\" matches no initiator name"),
            "begin with iqn., eui. or naa., or with *; an initiator shows its name in /etc/iscsi/initiatorname.iscsi",
        );
        return None;
    }
    if let Some(bad) = pattern.chars().find(|c| c.is_whitespace() || c.is_control() || "[]{}/\\,".contains(*c)) {
        findings.fault(
            place,
            format!("\"{text}\" has a {bad:?}, which no initiator name has"),
            "use * for any characters and ? for one; regular expressions are not understood",
        );
        return None;
    }
    Some(NamePattern(pattern))
}

fn lun_map(raw: RawLuns, place: &Place, volumes: &[VolumeName], findings: &mut Findings) -> LunMap {
    let mut luns: LunMap = BTreeMap::new();
    for (key, volume) in raw {
        let place = place.at(&key.0);
        let lun = match key.0.parse::<u16>() {
            Ok(lun) if lun <= LUN_MAX => Some(lun),
            _ => {
                findings.fault(&place, format!("{} is not a LUN", key.0), format!("use a number from 0 to {LUN_MAX}"));
                None
            }
        };
        let Some(wanted) = volume else {
            findings.missing(&place, "names no volume", format!("write {}: VOLUME", key.0));
            continue;
        };
        let Some(volume) = volumes.iter().find(|volume| ***volume == *wanted) else {
            // Where the whole section is refused, nobody knows what was in it.
            if volumes.is_empty() && findings.refused(&Place::root().at("volumes")) {
                continue;
            }
            let remedy = match did_you_mean(&wanted, volumes.iter().map(AsRef::as_ref)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("add {wanted} under volumes"),
            };
            findings.fault(&place, format!("there is no volume {wanted}"), remedy);
            continue;
        };
        if let Some(lun) = lun
            && luns.insert(lun, volume.clone()).is_some()
        {
            findings.fault(&place, format!("LUN {lun} is here twice"), "give each volume a LUN of its own");
        }
    }
    if !luns.is_empty() && !luns.contains_key(&0) {
        findings.warn(place, "has no LUN 0", "some initiators look for the others only when there is one");
    }
    luns
}

fn portal_groups(raw: Vec<Option<u64>>, place: &Place, known: &[u16], findings: &mut Findings) -> Vec<u16> {
    if raw.is_empty() {
        findings.fault(place, "is empty: nobody could reach the target", "name a portal group, or remove it for all");
    }
    let mut tags = Vec::new();
    for (index, tag) in raw.into_iter().enumerate() {
        let place = place.at(index);
        match tag {
            Some(tag) => match known.iter().find(|known| u64::from(**known) == tag) {
                Some(tag) => tags.push(*tag),
                None => {
                    let groups: Vec<String> = known.iter().map(ToString::to_string).collect();
                    let remedy = format!("portals has: {}", groups.join(", "));
                    findings.fault(&place, format!("there is no portal group {tag}"), remedy);
                }
            },
            None => findings.missing(&place, "is empty", "remove it"),
        }
    }
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn redirect(raw: RawRedirect, place: &Place, findings: &mut Findings) -> Option<Redirect> {
    let place = place.at("address");
    let Some(address) = raw.address else {
        findings.missing(&place, "is missing", "write address: HOST:3260");
        return None;
    };
    let host_and_port = || {
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse::<u16>().ok()?),
            None => (address.as_str(), 0),
        };
        let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        named.then_some((host, port))
    };
    let bracketed = |text: &str| {
        text.strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .is_some_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok())
    };
    if address.parse::<SocketAddr>().is_err() && !bracketed(&address) && host_and_port().is_none() {
        findings.fault(&place, format!("\"{address}\" is not an address"), "write HOST, HOST:PORT or \"[IPV6]:PORT\"");
        return None;
    }
    Some(Redirect { address, permanent: raw.permanent.unwrap_or(false) })
}

/// Bytes: TargetAlias is a text value (RFC 7143 §6.1).
const ALIAS_LENGTH_MAX: usize = 255;
