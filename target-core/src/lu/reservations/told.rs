//! All a logical unit knows of reservations, as its counterpart on the peer takes it over: whatever APTPL says, since a node
//! that takes over is no power on to the initiators.

use serde::{Deserialize, Serialize};

use super::{Record, RecordError, Reservations};
use crate::lu::nexus::RelativeTargetPort;

/// RESERVE of SPC-2 is not in it: it ends with its nexus, and a change of nodes is the loss of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    generation: u32,
    aptpl: bool,
    /// The target ports in `record`, where their names are known: the peer may count them otherwise.
    ports: Vec<ToldPort>,
    record: Record,
}

/// A target port by its relative identifier at the teller, and by its name (RFC 7143 §4.2.7.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldPort {
    pub relative: u16,
    pub target: String,
    pub portal_group: u16,
}

impl Told {
    pub fn new(reservations: &Reservations, name: impl Fn(RelativeTargetPort) -> Option<ToldPort>) -> Told {
        let record = reservations.whole();
        let ports = record.target_ports().into_iter().filter_map(name).collect();
        Told { generation: reservations.generation, aptpl: reservations.aptpl, ports, record }
    }

    /// `ours` gives a named port's identifier here.
    pub fn restore(
        mut self,
        mut ours: impl FnMut(&ToldPort) -> RelativeTargetPort,
    ) -> Result<Reservations, RecordError> {
        let mapped: Vec<_> = self.ports.iter().map(|port| (port.relative, ours(port).0)).collect();
        self.record.map_target_ports(|relative| {
            mapped.iter().find(|(theirs, _)| *theirs == relative).map_or(relative, |(_, ours)| *ours)
        });
        let restored = self.record.restore()?;
        Ok(Reservations { generation: self.generation, aptpl: self.aptpl, ..restored })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"registrations":[
        {"nexus":{"initiator":"iqn.x","isid":[0,0,0,0,0,1],"relative_target_port":1},"key":5},
        {"nexus":{"initiator":"iqn.y","isid":[0,0,0,0,0,1],"relative_target_port":9},"key":6}],
        "reservation":{"type":1,"holder":{"initiator":"iqn.x","isid":[0,0,0,0,0,1],"relative_target_port":1}}}"#;

    #[test]
    fn ports_are_known_by_name_and_all_the_rest_is_kept() {
        let kept = serde_json::from_str::<Record>(RECORD).expect("a record").restore().expect("consistent");
        let before = Reservations { generation: 7, aptpl: false, ..kept };
        let name = |port: RelativeTargetPort| {
            (port.0 == 1).then(|| ToldPort { relative: 1, target: "iqn.t".into(), portal_group: 3 })
        };
        let told = serde_json::to_vec(&Told::new(&before, name)).expect("serialised");
        let told: Told = serde_json::from_slice(&told).expect("deserialised");
        let ours = |port: &ToldPort| {
            assert_eq!((&*port.target, port.portal_group), ("iqn.t", 3));
            RelativeTargetPort(4)
        };
        let after = told.clone().restore(ours).expect("consistent");
        assert_eq!((after.generation, after.aptpl), (7, false));
        let ports: Vec<u16> = after.registrations.keys().map(|nexus| nexus.target_port.0).collect();
        assert_eq!(ports, [4, 9], "one by name, one that has none");
        assert_eq!(told.restore(|_| RelativeTargetPort(1)), Ok(before));
    }
}
