//! Parameter lists of PERSISTENT RESERVE OUT (SPC-5 §6.17.3, §6.17.4).

use super::ReservationKey;
use crate::lu::nexus::{InitiatorPort, RelativeTargetPort};
use crate::scsi::sense::Sense;
use crate::scsi::transport_id::TransportId;

/// Every service action but REGISTER AND MOVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BasicParameters {
    pub key: ReservationKey,
    pub service_action_key: ReservationKey,
    pub all_target_ports: bool,
    pub aptpl: bool,
    /// SPEC_I_PT: who else to register.
    pub transport_ids: Option<Vec<TransportId>>,
}

impl BasicParameters {
    pub fn parse(list: &[u8]) -> Result<BasicParameters, Sense> {
        let Some((basic, additional)) = list.split_first_chunk::<24>() else {
            return Err(Sense::parameter_list_length_error());
        };
        let transport_ids = match basic[20] & SPEC_I_PT {
            // "If … SPEC_I_PT is set to zero … and PARAMETER LIST LENGTH is not 24 … PARAMETER LIST LENGTH ERROR".
            0 if additional.is_empty() => None,
            0 => return Err(Sense::parameter_list_length_error()),
            _ => Some(transport_ids(additional)?),
        };
        Ok(BasicParameters {
            key: key_at(basic, 0),
            service_action_key: key_at(basic, SERVICE_ACTION_KEY_AT),
            all_target_ports: basic[20] & ALL_TG_PT != 0,
            aptpl: basic[20] & APTPL != 0,
            transport_ids,
        })
    }
}

/// TRANSPORTID PARAMETER DATA LENGTH and the TransportIDs; `additional` starts at byte 24 of the list.
fn transport_ids(additional: &[u8]) -> Result<Vec<TransportId>, Sense> {
    let Some((length, mut rest)) = additional.split_first_chunk::<4>() else {
        return Err(Sense::parameter_list_length_error());
    };
    if u32::from_be_bytes(*length) as usize != rest.len() {
        return Err(Sense::parameter_list_length_error());
    }
    let (mut found, mut at) = (Vec::new(), 28);
    while !rest.is_empty() {
        let (transport_id, taken) = TransportId::decode(rest)
            .map_err(|invalid| Sense::invalid_field_in_parameter_list((at + usize::from(invalid.byte)) as u16, None))?;
        found.push(transport_id);
        rest = &rest[taken..];
        at += taken;
    }
    Ok(found)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MoveParameters {
    pub key: ReservationKey,
    pub service_action_key: ReservationKey,
    pub unregister: bool,
    pub aptpl: bool,
    pub target_port: RelativeTargetPort,
    pub initiator: InitiatorPort,
}

impl MoveParameters {
    pub fn parse(list: &[u8]) -> Result<MoveParameters, Sense> {
        let Some((basic, rest)) = list.split_first_chunk::<24>() else {
            return Err(Sense::parameter_list_length_error());
        };
        let length = u32::from_be_bytes([basic[20], basic[21], basic[22], basic[23]]);
        if length as usize != rest.len() {
            return Err(Sense::parameter_list_length_error());
        }
        let at = |byte: u16| Sense::invalid_field_in_parameter_list(24 + byte, None);
        let (transport_id, taken) = TransportId::decode(rest).map_err(|invalid| at(invalid.byte))?;
        if taken != rest.len() {
            return Err(Sense::invalid_field_in_parameter_list(20, None));
        }
        // §6.17.4: a TransportID with no ISID names no one initiator port.
        let isid = transport_id.isid.ok_or(at(0))?;
        Ok(MoveParameters {
            key: key_at(basic, 0),
            service_action_key: key_at(basic, SERVICE_ACTION_KEY_AT),
            unregister: basic[17] & UNREG != 0,
            aptpl: basic[17] & APTPL != 0,
            target_port: RelativeTargetPort(u16::from_be_bytes([basic[18], basic[19]])),
            initiator: InitiatorPort { name: transport_id.name.into(), isid },
        })
    }
}

fn key_at(basic: &[u8; 24], at: u16) -> ReservationKey {
    let mut key = [0; 8];
    key.copy_from_slice(&basic[usize::from(at)..usize::from(at) + 8]);
    ReservationKey(u64::from_be_bytes(key))
}

/// SERVICE ACTION RESERVATION KEY.
pub(super) const SERVICE_ACTION_KEY_AT: u16 = 8;
const SPEC_I_PT: u8 = 1 << 3;
const ALL_TG_PT: u8 = 1 << 2;
const APTPL: u8 = 1;
const UNREG: u8 = 1 << 1;
