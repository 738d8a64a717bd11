//! RELATIVE TARGET PORT IDENTIFIERs (SPC-5 §7.7.6.9): one for each portal group of each target, handed out once and kept in
//! `state_dir`, since persistent reservations outlive restarts and refer to them.

use std::collections::BTreeMap;

use iscsi_proto::types::IscsiName;

use super::config::TargetConfig;
use crate::lu::nexus::RelativeTargetPort;
use crate::lu::persist::{RecordKind, StateError, StateStore, UnitName};

/// By target port name (RFC 7143 §4.2.7.1: `target,t,0xTPGT`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetPorts(BTreeMap<String, u16>);

impl TargetPorts {
    /// What is on record, and new ones for ports that are not. Blocks on disks.
    pub fn load(state: &StateStore, targets: &BTreeMap<IscsiName, TargetConfig>) -> Result<TargetPorts, StateError> {
        let known: BTreeMap<String, u16> = state.read(&UnitName::all(), RecordKind::TargetPorts)?.unwrap_or_default();
        let mut ports = TargetPorts(known.clone());
        for (name, target) in targets {
            for tag in &target.portal_groups {
                ports.assign(port_name(name, *tag));
            }
        }
        if ports.0 != known {
            state.write(&UnitName::all(), RecordKind::TargetPorts, &ports.0)?;
        }
        Ok(ports)
    }

    /// `None`: no such port is configured.
    pub fn get(&self, target: &IscsiName, tag: u16) -> Option<RelativeTargetPort> {
        self.0.get(&port_name(target, tag)).copied().map(RelativeTargetPort)
    }

    /// The lowest identifier that no port has, from 1 up. With all 65535 in use the port stays without one.
    fn assign(&mut self, name: String) {
        if self.0.contains_key(&name) {
            return;
        }
        let mut used: Vec<u16> = self.0.values().copied().collect();
        used.sort_unstable();
        let free = (1..=u16::MAX).zip(used.iter().map(Some).chain(std::iter::repeat(None)));
        if let Some((identifier, _)) = free.into_iter().find(|(candidate, used)| *used != Some(candidate)) {
            self.0.insert(name, identifier);
        }
    }
}

fn port_name(target: &IscsiName, tag: u16) -> String {
    format!("{target},t,0x{tag:04x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_the_lowest_free_and_stay() {
        let mut ports = TargetPorts::default();
        for name in ["b", "c", "a"] {
            ports.assign(name.to_owned());
        }
        ports.0.remove("c");
        ports.assign("d".to_owned());
        ports.assign("e".to_owned());
        ports.assign("a".to_owned());
        let expected = [("a", 3), ("b", 1), ("d", 2), ("e", 4)].map(|(name, id)| (name.to_owned(), id));
        assert_eq!(ports.0, expected.into());
    }
}
