//! Registrations and reservation as APTPL keeps them: what [`StateStore`](crate::lu::persist::StateStore) writes as
//! `reservations.json`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{PersistentReservation, REGISTRATIONS_MAX, ReservationKey, ReservationType, Reservations};
use crate::lu::nexus::{InitiatorPort, NexusName, RelativeTargetPort};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    registrations: Vec<RegistrationRecord>,
    reservation: Option<ReservationRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrationRecord {
    nexus: NexusRecord,
    key: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NexusRecord {
    initiator: String,
    isid: [u8; 6],
    relative_target_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservationRecord {
    #[serde(rename = "type")]
    kind: u8,
    holder: Option<NexusRecord>,
}

/// The file parses but says what no logical unit can be in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("reservations: {registrations} registrations where {REGISTRATIONS_MAX} are the most")]
    TooMany { registrations: usize },
    #[error("reservations: a registration of {initiator} has the key 0 or comes twice")]
    Registration { initiator: String },
    #[error("reservations: type {kind} is unknown, or its holder is not registered")]
    Reservation { kind: u8 },
}

impl Record {
    /// As after power on: "the PRgeneration value shall be set to zero by a power on", whatever APTPL (SPC-5 §6.16.2).
    pub fn restore(self) -> Result<Reservations, RecordError> {
        if self.registrations.len() > REGISTRATIONS_MAX {
            return Err(RecordError::TooMany { registrations: self.registrations.len() });
        }
        let mut restored = Reservations { aptpl: true, ..Reservations::default() };
        for RegistrationRecord { nexus, key } in self.registrations {
            let initiator = nexus.initiator.clone();
            if key == 0 || restored.registrations.insert(nexus.into(), ReservationKey(key)).is_some() {
                return Err(RecordError::Registration { initiator });
            }
        }
        if let Some(ReservationRecord { kind: code, holder }) = self.reservation {
            let invalid = RecordError::Reservation { kind: code };
            let kind = ReservationType::new(code).ok_or(invalid.clone())?;
            let holder = holder.map(NexusName::from);
            let consistent = match &holder {
                Some(holder) => !kind.all_registrants() && restored.registrations.contains_key(holder),
                None => kind.all_registrants() && !restored.registrations.is_empty(),
            };
            if !consistent {
                return Err(invalid);
            }
            restored.reservation = Some(PersistentReservation { kind, holder });
        }
        Ok(restored)
    }

    /// Those of registrations; a holder is registered.
    pub(super) fn target_ports(&self) -> BTreeSet<RelativeTargetPort> {
        self.registrations.iter().map(|each| RelativeTargetPort(each.nexus.relative_target_port)).collect()
    }

    pub(super) fn map_target_ports(&mut self, map: impl Fn(u16) -> u16) {
        let holder = self.reservation.iter_mut().flat_map(|reservation| &mut reservation.holder);
        for nexus in self.registrations.iter_mut().map(|each| &mut each.nexus).chain(holder) {
            nexus.relative_target_port = map(nexus.relative_target_port);
        }
    }
}

impl Reservations {
    /// What must be on the medium now; `None` where nothing survives a power loss.
    pub fn record(&self) -> Option<Record> {
        (self.aptpl && !self.registrations.is_empty()).then(|| self.whole())
    }

    pub(super) fn whole(&self) -> Record {
        let registrations = self
            .registrations
            .iter()
            .map(|(nexus, key)| RegistrationRecord { nexus: nexus.into(), key: key.0 })
            .collect();
        let reservation = self.reservation.as_ref().map(|reservation| ReservationRecord {
            kind: reservation.kind as u8,
            holder: reservation.holder.as_ref().map(NexusRecord::from),
        });
        Record { registrations, reservation }
    }
}

impl From<&NexusName> for NexusRecord {
    fn from(nexus: &NexusName) -> NexusRecord {
        NexusRecord {
            initiator: nexus.initiator.name.to_string(),
            isid: nexus.initiator.isid,
            relative_target_port: nexus.target_port.0,
        }
    }
}

impl From<NexusRecord> for NexusName {
    fn from(record: NexusRecord) -> NexusName {
        NexusName {
            initiator: InitiatorPort { name: Arc::from(record.initiator), isid: record.isid },
            target_port: RelativeTargetPort(record.relative_target_port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"nexus":{"initiator":"iqn.x","isid":[0,0,0,0,0,1],"relative_target_port":1},"key":5}"#;
    const HOLDER: &str = r#"{"initiator":"iqn.x","isid":[0,0,0,0,0,1],"relative_target_port":1}"#;

    fn restore(registrations: &str, reservation: &str) -> Result<Reservations, RecordError> {
        let text = format!(r#"{{"registrations":[{registrations}],"reservation":{reservation}}}"#);
        serde_json::from_str::<Record>(&text).unwrap().restore()
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let text = format!(r#"{{"registrations":[{ONE}],"reservation":{{"type":1,"holder":{HOLDER}}}}}"#);
        let restored = serde_json::from_str::<Record>(&text).unwrap().restore().unwrap();
        assert_eq!(serde_json::to_string(&restored.record()).unwrap(), text);
        assert_eq!(restored.generation, 0);
    }

    #[test]
    fn an_impossible_record_is_refused() {
        assert!(restore(ONE, "null").is_ok());
        assert!(restore(ONE, r#"{"type":7,"holder":null}"#).is_ok());
        assert_eq!(restore(ONE, r#"{"type":2,"holder":null}"#), Err(RecordError::Reservation { kind: 2 }));
        assert_eq!(restore(ONE, r#"{"type":1,"holder":null}"#), Err(RecordError::Reservation { kind: 1 }));
        assert_eq!(restore("", r#"{"type":8,"holder":null}"#), Err(RecordError::Reservation { kind: 8 }));
        assert_eq!(
            restore("", &format!(r#"{{"type":1,"holder":{HOLDER}}}"#)),
            Err(RecordError::Reservation { kind: 1 })
        );
        let twice = format!("{ONE},{ONE}");
        assert_eq!(restore(&twice, "null"), Err(RecordError::Registration { initiator: "iqn.x".into() }));
        let keyless = ONE.replace("\"key\":5", "\"key\":0");
        assert_eq!(restore(&keyless, "null"), Err(RecordError::Registration { initiator: "iqn.x".into() }));
    }
}
