//! Who may log in to a target: pure, and a refusal says which rule refused.

use std::fmt;
use std::net::IpAddr;

use super::config::{AclRule, LunMap, NamePattern, TargetConfig};

/// Why an initiator may not log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No rule names it.
    NotNamed { rules: usize },
    /// `rule`, counted from 0, names it, but not from there.
    Network { rule: usize, address: IpAddr, networks: String },
    /// `rule` names it, but not as this CHAP user.
    User { rule: usize, user: String },
}

impl TargetConfig {
    /// The first rule that fits. Ask once the initiator's address is known, and again with its CHAP user when there is
    /// one: before that (`user` is `None`) a rule's `users` are not looked at.
    pub fn admit(&self, initiator: &str, address: IpAddr, user: Option<&str>) -> Result<&AclRule, Refusal> {
        let address = address.to_canonical();
        // Of several refusals, that of the rule that came nearest is told.
        let mut nearest = Refusal::NotNamed { rules: self.acl.len() };
        for (index, rule) in self.acl.iter().enumerate() {
            if !rule.initiators.iter().any(|pattern| pattern.matches(initiator)) {
                continue;
            }
            if !rule.networks.is_empty() && !rule.networks.iter().any(|network| network.contains(&address)) {
                if matches!(nearest, Refusal::NotNamed { .. }) {
                    let networks = rule.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    nearest = Refusal::Network { rule: index, address, networks };
                }
                continue;
            }
            match (&rule.users, user) {
                (Some(allowed), Some(user)) if !allowed.iter().any(|name| name == user) => {
                    nearest = Refusal::User { rule: index, user: user.to_owned() };
                }
                _ => return Ok(rule),
            }
        }
        Err(nearest)
    }

    /// The LUNs an initiator sees under `rule`.
    pub fn luns_under<'a>(&'a self, rule: &'a AclRule) -> &'a LunMap {
        rule.luns.as_ref().unwrap_or(&self.luns)
    }
}

impl NamePattern {
    /// `name` is compared in lower case: iSCSI names are (RFC 7143 §4.2.7.2).
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.to_lowercase().chars().collect();
        // Greedy with one point of return: on a mismatch the last `*` swallows one character more.
        let (mut at, mut in_name) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while in_name < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, in_name));
                    at += 1;
                }
                Some(&c) if c == '?' || c == name[in_name] => {
                    at += 1;
                    in_name += 1;
                }
                _ => match star {
                    Some((star_at, swallowed)) => {
                        star = Some((star_at, swallowed + 1));
                        at = star_at + 1;
                        in_name = swallowed + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(at).all(|&c| c == '*')
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotNamed { rules: 1 } => write!(f, "the one rule under initiators does not name it"),
            Refusal::NotNamed { rules } => write!(f, "none of the {rules} rules under initiators names it"),
            Refusal::Network { rule, address, networks } => {
                write!(f, "rule initiators.{rule} wants it to come from {networks}, not from {address}")
            }
            Refusal::User { rule, user } => write!(f, "rule initiators.{rule} does not allow user {user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::SessionLimits;
    use super::*;

    fn rule(pattern: &str, networks: &[&str], users: Option<&[&str]>) -> AclRule {
        AclRule {
            initiators: vec![NamePattern(pattern.into())],
            networks: networks.iter().map(|n| n.parse().expect("a network")).collect(),
            users: users.map(|users| users.iter().map(|u| (*u).to_owned()).collect()),
            luns: None,
        }
    }

    fn target(acl: Vec<AclRule>) -> TargetConfig {
        TargetConfig {
            alias: None,
            auth: None,
            acl,
            luns: LunMap::new(),
            portal_groups: vec![1],
            redirect: None,
            limits: SessionLimits::default(),
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "iqn.x", true),
            ("*", "", true),
            ("iqn.x", "iqn.x", true),
            ("iqn.x", "IQN.X", true),
            ("iqn.x", "iqn.xy", false),
            ("iqn.?", "iqn.x", true),
            ("iqn.?", "iqn.", false),
            ("iqn.1993-08.org.debian:01:*", "iqn.1993-08.org.debian:01:abc", true),
            ("iqn.1993-08.org.debian:01:*", "iqn.1993-08.org.debian:02:abc", false),
            ("*a*b", "xaxbxaab", true),
            ("*a*b", "xaxbxaabc", false),
            ("", "x", false),
        ] {
            assert_eq!(NamePattern(pattern.into()).matches(name), expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let target = target(vec![rule("iqn.a*", &["10.0.0.0/8"], None), rule("iqn.b", &[], None)]);
        let inside = "10.1.2.3".parse().expect("an address");
        let outside: IpAddr = "192.0.2.1".parse().expect("an address");
        assert_eq!(target.admit("iqn.abc", inside, None), Ok(&target.acl[0]));
        assert_eq!(target.admit("iqn.b", outside, None), Ok(&target.acl[1]));
        let refusal = target.admit("iqn.abc", outside, None).expect_err("outside of the network");
        assert_eq!(refusal.to_string(), "rule initiators.0 wants it to come from 10.0.0.0/8, not from 192.0.2.1");
    }

    #[test]
    fn an_ipv4_address_on_an_ipv6_socket_is_the_ipv4_address() {
        let target = target(vec![rule("*", &["10.0.0.0/8"], None)]);
        assert!(target.admit("iqn.a", "::ffff:10.0.0.1".parse().expect("an address"), None).is_ok());
    }

    #[test]
    fn users_are_looked_at_once_known() {
        let target = target(vec![rule("*", &[], Some(&["ann"]))]);
        let address = "127.0.0.1".parse().expect("an address");
        assert!(target.admit("iqn.a", address, None).is_ok());
        assert!(target.admit("iqn.a", address, Some("ann")).is_ok());
        let refusal = target.admit("iqn.a", address, Some("bob")).expect_err("bob is not allowed");
        assert_eq!(refusal.to_string(), "rule initiators.0 does not allow user bob");
    }
}
