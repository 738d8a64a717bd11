//! The one opcode table: from it come the CDB parser, REPORT SUPPORTED OPERATION CODES, CDB usage bitmaps, timeouts, and
//! what a device server must know before it runs a command (readiness, write protection, unit attentions). What
//! reservations allow is told of the request: `access`.

mod report;
mod table;

pub use report::{report_supported_operation_codes, report_supported_task_management_functions};
pub use table::OPERATIONS;

use super::cdb::{Cdb, Parsed};
use super::request::Request;
use super::sense::Sense;

/// What of the medium a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediumAccess {
    /// Runs without medium.
    None,
    /// NOT READY where there is none.
    Ready,
    /// Reads user data.
    Read,
    /// Changes user data: refused where write protected.
    Write,
}

/// The worst target port asymmetric access state that still runs the command (SPC-5 §5.17.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AsymmetricAccess {
    Unavailable,
    Standby,
    Active,
}

/// COMMAND TIMEOUT descriptor values, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub nominal_s: u32,
    pub recommended_s: u32,
}

/// One row: a command this device server knows.
pub struct Operation {
    pub opcode: u8,
    pub service_action: Option<u16>,
    pub name: &'static str,
    /// CDB USAGE DATA: bits that are evaluated; as long as the CDB.
    pub usage: &'static [u8],
    pub timeouts: Timeouts,
    pub medium: MediumAccess,
    pub asymmetric_access: AsymmetricAccess,
    /// Runs before a pending unit attention is reported (SAM-5 §5.14.6: INQUIRY, REPORT LUNS, REQUEST SENSE).
    pub before_unit_attention: bool,
    /// Runs while a sanitize operation is in progress or has failed (SBC-4 §4.12.2).
    pub during_sanitize: bool,
    /// Bits that may be set: `usage`, the service action, and what is ignored on purpose. One bit a CDB bit, first byte
    /// most significant; bytes 16 to 31 in the second.
    accepted: [u128; 2],
    parse: for<'a> fn(Cdb<'a>) -> Parsed,
}

impl Operation {
    pub fn writes_medium(&self) -> bool {
        self.medium == MediumAccess::Write
    }

    /// A CDB of more than 16 bytes (SPC-5 §4.2.3).
    pub const fn is_long(&self) -> bool {
        self.usage.len() > 16
    }

    pub fn needs_medium(&self) -> bool {
        self.medium != MediumAccess::None
    }

    /// Bytes of the CDB.
    pub fn cdb_length(&self) -> usize {
        self.usage.len()
    }

    /// The first bit set in `cdb` that this command has no use for.
    #[inline]
    fn unaccepted(&self, cdb: &[u8]) -> Option<(u16, u8)> {
        let refused = word(cdb, 0) & !self.accepted[0];
        if refused != 0 {
            return Some(bit_position(refused, 0));
        }
        if self.usage.len() > 16 {
            let refused = word(cdb, 16) & !self.accepted[1];
            if refused != 0 {
                return Some(bit_position(refused, 16));
            }
        }
        None
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Make a command of a CDB. `cdb` may be longer than the command's (iSCSI pads it to 16 bytes); what is behind is ignored.
#[inline]
pub fn parse(cdb: &[u8]) -> Result<(&'static Operation, Request), Sense> {
    let operation = find(cdb)?;
    if cdb.len() < operation.usage.len() {
        return Err(Sense::invalid_field_in_cdb(cdb.len() as u16, None));
    }
    if let Some((byte, bit)) = operation.unaccepted(cdb) {
        return Err(Sense::invalid_field_in_cdb(byte, bit));
    }
    let request = (operation.parse)(Cdb(cdb))?;
    Ok((operation, request))
}

/// The operation a CDB asks for: 20h/00h where the opcode is unknown, 24h/00h where the service action is.
#[inline]
fn find(cdb: &[u8]) -> Result<&'static Operation, Sense> {
    let opcode = *cdb.first().ok_or_else(Sense::invalid_opcode)?;
    let first = table::first(opcode).ok_or_else(Sense::invalid_opcode)?;
    if OPERATIONS[first].service_action.is_none() {
        return Ok(&OPERATIONS[first]);
    }
    let (service_action, byte, bit) = match opcode {
        VARIABLE_LENGTH => (Cdb(cdb).be16(8), 8, None),
        _ => (u16::from(Cdb(cdb).byte(1) & 0x1F), 1, Some(4)),
    };
    of_opcode(opcode)
        .find(|operation| operation.service_action == Some(service_action))
        .ok_or_else(|| Sense::invalid_field_in_cdb(byte, bit))
}

/// Every row of one opcode: none, one, or one for each service action.
pub fn of_opcode(opcode: u8) -> impl Iterator<Item = &'static Operation> {
    let first = table::first(opcode).unwrap_or(OPERATIONS.len());
    OPERATIONS[first..].iter().take_while(move |operation| operation.opcode == opcode)
}

/// Opcode of the variable length CDBs: SERVICE ACTION in bytes 8 and 9 (SPC-5 §4.2.3).
const VARIABLE_LENGTH: u8 = 0x7F;

/// 16 bytes of the CDB from `at`, zeroes behind its end.
#[inline]
fn word(cdb: &[u8], at: usize) -> u128 {
    match cdb.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) => u128::from_be_bytes(*chunk),
        None => {
            let mut chunk = [0; 16];
            for (to, from) in chunk.iter_mut().zip(cdb.iter().skip(at)) {
                *to = *from;
            }
            u128::from_be_bytes(chunk)
        }
    }
}

fn bit_position(refused: u128, base: u16) -> (u16, u8) {
    let from_left = refused.leading_zeros() as u16;
    (base + from_left / 8, 7 - (from_left % 8) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::request::{ByteCheck, LbaRange, PrOut, SanitizeAction, WriteSame};
    use crate::scsi::sense::{Asc, SenseKeySpecific};

    fn refused(cdb: &[u8]) -> (Asc, u16, Option<u8>) {
        let sense = parse(cdb).expect_err("refused");
        match sense.specific {
            Some(SenseKeySpecific::FieldPointer { in_cdb: true, byte, bit }) => (sense.asc, byte, bit),
            other => panic!("no field pointer but {other:?}"),
        }
    }

    fn request(cdb: &[u8]) -> Request {
        parse(cdb).expect("parsed").1
    }

    fn padded<const N: usize>(cdb: [u8; N]) -> [u8; 16] {
        std::array::from_fn(|i| cdb.get(i).copied().unwrap_or(0))
    }

    #[test]
    fn reads_and_writes_of_every_length_agree() {
        let range = LbaRange { lba: 0x01_0203, blocks: 4 };
        assert_eq!(request(&[0x08, 1, 2, 3, 4, 0]), Request::Read { range, fua: false });
        assert_eq!(request(&[0x28, 0x18, 0, 1, 2, 3, 0, 0, 4, 0]), Request::Read { range, fua: true });
        assert_eq!(request(&[0xA8, 0x10, 0, 1, 2, 3, 0, 0, 0, 4, 0, 0]), Request::Read { range, fua: false });
        let cdb = [0x8A, 8, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 4, 0, 0];
        assert_eq!(request(&cdb), Request::Write { range, fua: true });
        let mut cdb = [0; 32];
        (cdb[0], cdb[7], cdb[9], cdb[10], cdb[17], cdb[18], cdb[19], cdb[31]) = (0x7F, 0x18, 0x0B, 8, 1, 2, 3, 4);
        assert_eq!(request(&cdb), Request::Write { range, fua: true });
    }

    #[test]
    fn read_6_of_zero_blocks_is_256() {
        assert_eq!(
            request(&[0x08, 0x1F, 0xFF, 0xFF, 0, 0]),
            Request::Read { range: LbaRange { lba: 0x1F_FFFF, blocks: 256 }, fua: false }
        );
    }

    #[test]
    fn unknown_opcodes_and_service_actions_are_told_apart() {
        assert_eq!(refused(&[0xFF; 16]), (Asc::INVALID_COMMAND_OPERATION_CODE, 0, None));
        assert_eq!(refused(&[]).0, Asc::INVALID_COMMAND_OPERATION_CODE);
        assert_eq!(refused(&padded([0x9E, 0x1E])), (Asc::INVALID_FIELD_IN_CDB, 1, Some(4)));
        assert_eq!(refused(&padded([0x48, 0x04])), (Asc::INVALID_FIELD_IN_CDB, 1, Some(4)));
        let mut variable = [0; 32];
        (variable[0], variable[7], variable[9]) = (0x7F, 0x18, 0x77);
        assert_eq!(refused(&variable), (Asc::INVALID_FIELD_IN_CDB, 8, None));
    }

    #[test]
    fn protection_without_protection_information_is_refused() {
        for protect in 1..8u8 {
            for opcode in [0x28, 0x2A, 0x2E, 0x2F, 0xA8, 0xAA, 0x88, 0x8A, 0x8B, 0x8E, 0x8F, 0x93, 0x9C] {
                let (asc, byte, bit) = refused(&padded([opcode, protect << 5]));
                assert_eq!((asc, byte), (Asc::INVALID_FIELD_IN_CDB, 1), "{opcode:02x}h");
                assert!(bit >= Some(5));
            }
        }
    }

    #[test]
    fn naca_and_link_are_refused_and_vendor_bits_ignored() {
        assert_eq!(refused(&[0x00, 0, 0, 0, 0, 0x04]), (Asc::INVALID_FIELD_IN_CDB, 5, Some(2)));
        assert_eq!(refused(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0x05]), (Asc::INVALID_FIELD_IN_CDB, 9, Some(2)));
        assert_eq!(refused(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0x01]), (Asc::INVALID_FIELD_IN_CDB, 9, Some(0)));
        assert_eq!(request(&[0x00, 0, 0, 0, 0, 0xC0]), Request::TestUnitReady);
    }

    #[test]
    fn what_lies_behind_a_short_cdb_is_ignored() {
        let mut cdb = [0xFF; 16];
        cdb[..6].fill(0);
        assert_eq!(request(&cdb), Request::TestUnitReady);
    }

    #[test]
    fn a_cdb_cut_short_is_refused() {
        assert_eq!(refused(&[0x28, 0, 0, 0]), (Asc::INVALID_FIELD_IN_CDB, 4, None));
        assert_eq!(refused(&[0x7F]).0, Asc::INVALID_FIELD_IN_CDB);
    }

    #[test]
    fn group_numbers_and_sync_nv_are_ignored() {
        assert!(matches!(
            request(&[0x35, 0x06, 0, 0, 0, 0, 3, 0, 1, 0]),
            Request::SynchronizeCache { immediate: true, .. }
        ));
        assert!(matches!(request(&[0x34, 0, 0, 0, 0, 0, 3, 0, 1, 0]), Request::PreFetch { immediate: false, .. }));
    }

    #[test]
    fn verify_and_write_and_verify_know_their_bytchk() {
        let range = LbaRange { lba: 0, blocks: 1 };
        let verify = |flags: u8| padded([0x2F, flags, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(request(&verify(0)), Request::Verify { range, check: ByteCheck::MediumOnly });
        assert_eq!(request(&verify(2)), Request::Verify { range, check: ByteCheck::Compare });
        assert_eq!(request(&verify(6)), Request::Verify { range, check: ByteCheck::CompareOneBlock });
        assert_eq!(refused(&verify(4)), (Asc::INVALID_FIELD_IN_CDB, 1, Some(2)));
        assert_eq!(refused(&padded([0x2E, 6, 0, 0, 0, 0, 0, 0, 1])), (Asc::INVALID_FIELD_IN_CDB, 1, Some(2)));
    }

    #[test]
    fn write_same_anchors_only_what_it_unmaps() {
        let range = LbaRange { lba: 0, blocks: 0 };
        let expected = WriteSame { range, unmap: true, anchor: true, no_data_out: true };
        assert_eq!(request(&padded([0x93, 0x19])), Request::WriteSame(expected));
        assert_eq!(refused(&padded([0x93, 0x10])), (Asc::INVALID_FIELD_IN_CDB, 1, Some(4)));
        assert_eq!(refused(&padded([0x41, 0x01])), (Asc::INVALID_FIELD_IN_CDB, 1, Some(0)), "no NDOB in 10 bytes");
    }

    #[test]
    fn sanitize_refuses_reserved_bits_and_lengths() {
        let overwrite = |length: u8| padded([0x48, 0x81, 0, 0, 0, 0, 0, 2, length]);
        assert_eq!(
            request(&overwrite(4)),
            Request::Sanitize {
                action: SanitizeAction::Overwrite,
                immediate: true,
                unrestricted_exit: false,
                parameter_list_length: 516
            }
        );
        assert_eq!(refused(&padded([0x48, 1, 0, 0, 0, 0, 0, 0, 4])), (Asc::INVALID_FIELD_IN_CDB, 7, None));
        assert_eq!(refused(&padded([0x48, 2, 0, 0, 0, 0, 0, 0, 8])), (Asc::INVALID_FIELD_IN_CDB, 7, None));
        let mut reserved = overwrite(4);
        reserved[1] |= 0x40;
        assert_eq!(refused(&reserved), (Asc::INVALID_FIELD_IN_CDB, 1, Some(6)));
        for byte in 2..7 {
            let mut reserved = overwrite(4);
            reserved[byte] = byte as u8;
            assert_eq!(refused(&reserved).1, byte as u16);
        }
    }

    #[test]
    fn service_actions_reach_their_requests() {
        assert_eq!(request(&padded([0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32])), {
            Request::ReadCapacity16 { allocation_length: 32 }
        });
        assert_eq!(
            request(&[0x5F, 0x05, 0x03, 0, 0, 0, 0, 0, 24, 0]),
            Request::PersistentReserveOut {
                action: PrOut::PreemptAndAbort,
                scope: 0,
                kind: 3,
                parameter_list_length: 24
            }
        );
        assert_eq!(refused(&[0x12, 0, 0x83, 0, 255, 0]), (Asc::INVALID_FIELD_IN_CDB, 2, None));
    }

    #[test]
    fn the_table_is_sorted_and_self_consistent() {
        for pair in OPERATIONS.windows(2) {
            let key = |operation: &Operation| (operation.opcode, operation.service_action);
            assert!(key(&pair[0]) < key(&pair[1]), "{:?} before {:?}", pair[0], pair[1]);
            if pair[0].opcode == pair[1].opcode {
                assert!(pair[0].service_action.is_some() && pair[1].service_action.is_some());
            }
        }
        for operation in OPERATIONS {
            assert_eq!(operation.usage[0], operation.opcode, "{operation:?}");
            let length = match operation.opcode {
                0x00..=0x1F => 6,
                0x20..=0x5F => 10,
                0x7F => 32,
                0x80..=0x9F => 16,
                _ => 12,
            };
            assert_eq!(operation.usage.len(), length, "{operation:?}");
            assert!(operation.timeouts.nominal_s <= operation.timeouts.recommended_s, "{operation:?}");
        }
    }

    #[test]
    fn any_bytes_are_parsed_without_panic() {
        use proptest::prelude::*;
        proptest!(|(cdb in proptest::collection::vec(any::<u8>(), 0..40))| {
            let _ = parse(&cdb);
        });
    }
}
