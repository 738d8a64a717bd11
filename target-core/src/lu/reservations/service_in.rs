//! PERSISTENT RESERVE IN (SPC-5 §6.16): parameter data, each with its full ADDITIONAL LENGTH however short the allocation
//! length: "the contents of the ADDITIONAL LENGTH field are not altered based on the allocation length".

use super::{ReservationType, Reservations};
use crate::scsi::request::PrIn;
use crate::scsi::transport_id::TransportId;

impl Reservations {
    /// The parameter data, cut to ALLOCATION LENGTH.
    pub fn persistent_reserve_in(&self, action: PrIn, allocation_length: u32) -> Vec<u8> {
        let mut data = match action {
            PrIn::ReadKeys => self.read_keys(),
            PrIn::ReadReservation => self.read_reservation(),
            PrIn::ReportCapabilities => self.report_capabilities(),
            PrIn::ReadFullStatus => self.read_full_status(),
        };
        data.truncate(allocation_length as usize);
        data
    }

    /// §6.16.2
    fn read_keys(&self) -> Vec<u8> {
        self.with_header(self.registrations.values().flat_map(|key| key.0.to_be_bytes()).collect())
    }

    /// §6.16.3
    fn read_reservation(&self) -> Vec<u8> {
        let Some(reservation) = &self.reservation else { return self.with_header(Vec::new()) };
        // "… set to zero if all registrants": there is no one holder to name.
        let key = reservation.holder.as_ref().and_then(|holder| self.registrations.get(holder)).map_or(0, |key| key.0);
        let mut body = vec![0; 16];
        body[..8].copy_from_slice(&key.to_be_bytes());
        body[13] = SCOPE_LOGICAL_UNIT << 4 | reservation.kind as u8;
        self.with_header(body)
    }

    /// §6.16.4
    fn report_capabilities(&self) -> Vec<u8> {
        let mut data = vec![0; 8];
        data[1] = 8;
        data[2] = CRH | SIP_C | ATP_C | PTPL_C;
        data[3] = TMV | ALLOW_COMMANDS | u8::from(self.aptpl);
        data[4..6].copy_from_slice(&type_mask().to_le_bytes());
        data
    }

    /// §6.16.5
    fn read_full_status(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.registrations.len() * 96);
        for (nexus, key) in &self.registrations {
            let initiator = &nexus.initiator;
            let transport_id = TransportId { name: initiator.name.to_string(), isid: Some(initiator.isid) }.encode();
            let (holder, scope_and_type) = match &self.reservation {
                Some(reservation) if self.is_holder(nexus) => {
                    (R_HOLDER, SCOPE_LOGICAL_UNIT << 4 | reservation.kind as u8)
                }
                _ => (0, 0),
            };
            body.extend_from_slice(&key.0.to_be_bytes());
            body.extend_from_slice(&[0; 4]);
            // ALL_TG_PT=0: each target port has a registration, and a descriptor, of its own.
            body.extend_from_slice(&[holder, scope_and_type, 0, 0, 0, 0]);
            body.extend_from_slice(&nexus.target_port.0.to_be_bytes());
            body.extend_from_slice(&(transport_id.len() as u32).to_be_bytes());
            body.extend_from_slice(&transport_id);
        }
        self.with_header(body)
    }

    /// PRGENERATION and ADDITIONAL LENGTH before what they count.
    fn with_header(&self, body: Vec<u8>) -> Vec<u8> {
        let mut data = Vec::with_capacity(8 + body.len());
        data.extend_from_slice(&self.generation.to_be_bytes());
        data.extend_from_slice(&(body.len() as u32).to_be_bytes());
        data.extend_from_slice(&body);
        data
    }
}

/// PERSISTENT RESERVATION TYPE MASK (§6.16.4, table 213): bit n of the first byte is type n, bit 0 of the second type 8.
fn type_mask() -> u16 {
    ReservationType::ALL.into_iter().fold(0, |mask, kind| mask | 1 << kind as u16)
}

const SCOPE_LOGICAL_UNIT: u8 = 0;
/// Compatible Reservation Handling: RESERVE and RELEASE as §5.14.3 has them.
const CRH: u8 = 1 << 4;
/// SPEC_I_PT capable.
const SIP_C: u8 = 1 << 3;
/// ALL_TG_PT capable.
const ATP_C: u8 = 1 << 2;
/// Persist Through Power Loss capable.
const PTPL_C: u8 = 1;
/// Type Mask Valid.
const TMV: u8 = 1 << 7;
/// 001b: TEST UNIT READY is allowed through Write Exclusive and Exclusive Access; no word about other commands.
const ALLOW_COMMANDS: u8 = 0b001 << 4;
const R_HOLDER: u8 = 1;
