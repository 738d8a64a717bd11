//! SendTargets (RFC 7143 Appendix C): what was asked, and the target records that answer.

use super::value;
use super::{Key, Pair, SessionType};
use crate::types::{IscsiName, Tpgt};

/// What an initiator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendTargets {
    /// "Information on all relevant targets known to the implementation."
    All,
    /// "Addresses for only the named target, if possible."
    Named(IscsiName),
    /// "Only … the target to which the session is logged in."
    ThisSession,
}

/// A target that the asking initiator may see, and the portals it can be reached at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredTarget {
    pub name: IscsiName,
    /// `domainname[:port]`, an IPv6 address in brackets, and the tag of the portal's group.
    pub portals: Vec<(String, Tpgt)>,
}

impl SendTargets {
    /// `None` if the value is none that may be asked in such a session.
    pub fn parse(value: &str, session_type: SessionType) -> Option<SendTargets> {
        match (value, session_type) {
            ("All", SessionType::Discovery) => Some(SendTargets::All),
            // "This value MUST be supported on a Discovery session and MUST NOT be supported on an operational
            // session."
            ("All", SessionType::Normal) => None,
            ("", SessionType::Normal) => Some(SendTargets::ThisSession),
            ("", SessionType::Discovery) => None,
            (name, _) if value::is_reserved_for_answers(name) => None,
            (name, _) => IscsiName::new(name).ok().map(SendTargets::Named),
        }
    }

    /// The target records. `visible`: what the initiator may access; `session_target`: what it is logged in to, if
    /// anything. An operational session "MUST NOT return targets other than the one to which the session is logged in".
    pub fn answer(&self, visible: &[DiscoveredTarget], session_target: Option<&IscsiName>) -> Vec<Pair> {
        let wanted = |target: &&DiscoveredTarget| {
            let asked = match self {
                SendTargets::All => true,
                SendTargets::Named(name) => target.name == *name,
                SendTargets::ThisSession => session_target == Some(&target.name),
            };
            asked && session_target.is_none_or(|logged_in| target.name == *logged_in)
        };
        visible.iter().filter(wanted).flat_map(record).collect()
    }
}

/// "A target record begins with the TargetName text key, followed by a list of TargetAddress text keys."
fn record(target: &DiscoveredTarget) -> impl Iterator<Item = Pair> + '_ {
    let name = Pair::new(Key::TargetName.name(), target.name.as_str());
    let addresses = target.portals.iter().map(|(address, tpgt)| {
        // "If the TargetAddress is returned within a SendTargets response, the portal-group-tag MUST be included."
        // (§13.8)
        Pair::new(Key::TargetAddress.name(), format!("{address},{tpgt}"))
    });
    std::iter::once(name).chain(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tail: &str) -> IscsiName {
        IscsiName::new(&format!("iqn.2026-11.net.example:{tail}")).expect("well formed")
    }

    fn visible() -> Vec<DiscoveredTarget> {
        let portals = vec![("10.0.0.1:3260".to_owned(), Tpgt(1)), ("[fe80::1]:3260".to_owned(), Tpgt(2))];
        vec![DiscoveredTarget { name: name("a"), portals }, DiscoveredTarget { name: name("b"), portals: vec![] }]
    }

    fn text(pairs: Vec<Pair>) -> String {
        pairs.iter().map(Pair::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn all_targets_in_discovery() {
        assert_eq!(SendTargets::parse("All", SessionType::Discovery), Some(SendTargets::All));
        assert_eq!(
            text(SendTargets::All.answer(&visible(), None)),
            "TargetName=iqn.2026-11.net.example:a TargetAddress=10.0.0.1:3260,1 TargetAddress=[fe80::1]:3260,2 \
             TargetName=iqn.2026-11.net.example:b"
        );
        assert_eq!(text(SendTargets::All.answer(&[], None)), "");
    }

    #[test]
    fn one_target_by_name() {
        let wanted = SendTargets::parse("iqn.2026-11.net.example:b", SessionType::Discovery).expect("a name");
        assert_eq!(text(wanted.answer(&visible(), None)), "TargetName=iqn.2026-11.net.example:b");
        assert_eq!(text(SendTargets::Named(name("unknown")).answer(&visible(), None)), "");
    }

    #[test]
    fn an_operational_session_sees_its_own_target_only() {
        assert_eq!(SendTargets::parse("All", SessionType::Normal), None);
        let wanted = SendTargets::parse("", SessionType::Normal).expect("this session's");
        assert_eq!(text(wanted.answer(&visible(), Some(&name("b")))), "TargetName=iqn.2026-11.net.example:b");
        assert_eq!(text(SendTargets::Named(name("a")).answer(&visible(), Some(&name("b")))), "");
        assert_eq!(SendTargets::parse("", SessionType::Discovery), None);
        assert_eq!(SendTargets::parse("every one", SessionType::Discovery), None);
    }
}
