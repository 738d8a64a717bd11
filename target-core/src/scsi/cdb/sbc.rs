//! CDB layouts of SBC-4 (clause 5).

use super::{Cdb, Parsed};
use crate::scsi::request::{ByteCheck, LbaRange, Request, SanitizeAction, WriteSame};
use crate::scsi::sense::Sense;

/// SBC-4 §5.23.1: OVERWRITE's parameter list has a header of 4 bytes and at least 1 byte of pattern.
const OVERWRITE_PARAMETER_LIST_LENGTH_MIN: u16 = 5;

pub fn read_6(cdb: Cdb) -> Parsed {
    Ok(Request::Read { range: range_6(cdb), fua: false })
}

pub fn read_10(cdb: Cdb) -> Parsed {
    Ok(Request::Read { range: range_10(cdb), fua: fua(cdb, 1) })
}

pub fn read_12(cdb: Cdb) -> Parsed {
    Ok(Request::Read { range: range_12(cdb), fua: fua(cdb, 1) })
}

pub fn read_16(cdb: Cdb) -> Parsed {
    Ok(Request::Read { range: range_16(cdb), fua: fua(cdb, 1) })
}

pub fn read_32(cdb: Cdb) -> Parsed {
    Ok(Request::Read { range: range_32(cdb), fua: fua(cdb, 10) })
}

pub fn write_6(cdb: Cdb) -> Parsed {
    Ok(Request::Write { range: range_6(cdb), fua: false })
}

pub fn write_10(cdb: Cdb) -> Parsed {
    Ok(Request::Write { range: range_10(cdb), fua: fua(cdb, 1) })
}

pub fn write_12(cdb: Cdb) -> Parsed {
    Ok(Request::Write { range: range_12(cdb), fua: fua(cdb, 1) })
}

pub fn write_16(cdb: Cdb) -> Parsed {
    Ok(Request::Write { range: range_16(cdb), fua: fua(cdb, 1) })
}

pub fn write_32(cdb: Cdb) -> Parsed {
    Ok(Request::Write { range: range_32(cdb), fua: fua(cdb, 10) })
}

pub fn write_and_verify_10(cdb: Cdb) -> Parsed {
    write_and_verify(cdb, range_10(cdb), 1)
}

pub fn write_and_verify_12(cdb: Cdb) -> Parsed {
    write_and_verify(cdb, range_12(cdb), 1)
}

pub fn write_and_verify_16(cdb: Cdb) -> Parsed {
    write_and_verify(cdb, range_16(cdb), 1)
}

pub fn write_and_verify_32(cdb: Cdb) -> Parsed {
    write_and_verify(cdb, range_32(cdb), 10)
}

/// SBC-4 §5.49: BYTCHK 00b and 01b; the others are reserved.
fn write_and_verify(cdb: Cdb, range: LbaRange, flags: usize) -> Parsed {
    match byte_check(cdb, flags)? {
        ByteCheck::CompareOneBlock => Err(bytchk_refused(flags)),
        check => Ok(Request::WriteAndVerify { range, check }),
    }
}

pub fn verify_10(cdb: Cdb) -> Parsed {
    Ok(Request::Verify { range: range_10(cdb), check: byte_check(cdb, 1)? })
}

pub fn verify_12(cdb: Cdb) -> Parsed {
    Ok(Request::Verify { range: range_12(cdb), check: byte_check(cdb, 1)? })
}

pub fn verify_16(cdb: Cdb) -> Parsed {
    Ok(Request::Verify { range: range_16(cdb), check: byte_check(cdb, 1)? })
}

pub fn verify_32(cdb: Cdb) -> Parsed {
    Ok(Request::Verify { range: range_32(cdb), check: byte_check(cdb, 10)? })
}

pub fn write_same_10(cdb: Cdb) -> Parsed {
    write_same(cdb, range_10(cdb), 1, false)
}

pub fn write_same_16(cdb: Cdb) -> Parsed {
    write_same(cdb, range_16(cdb), 1, cdb.bit(1, 0))
}

pub fn write_same_32(cdb: Cdb) -> Parsed {
    write_same(cdb, range_32(cdb), 10, cdb.bit(10, 0))
}

fn write_same(cdb: Cdb, range: LbaRange, flags: usize, no_data_out: bool) -> Parsed {
    let (anchor, unmap) = (cdb.bit(flags, 4), cdb.bit(flags, 3));
    // SBC-4 §5.50.1: "If the UNMAP bit is set to zero and the ANCHOR bit is set to one, then the device server shall
    // terminate the command with … INVALID FIELD IN CDB."
    if anchor && !unmap {
        return Err(Sense::invalid_field_in_cdb(flags as u16, 4));
    }
    Ok(Request::WriteSame(WriteSame { range, unmap, anchor, no_data_out }))
}

pub fn or_write_16(cdb: Cdb) -> Parsed {
    Ok(Request::OrWrite { range: range_16(cdb), fua: fua(cdb, 1) })
}

pub fn write_atomic_16(cdb: Cdb) -> Parsed {
    Ok(Request::WriteAtomic {
        range: LbaRange { lba: cdb.be64(2), blocks: cdb.be16(12).into() },
        fua: fua(cdb, 1),
        boundary: cdb.be16(10),
    })
}

pub fn compare_and_write(cdb: Cdb) -> Parsed {
    Ok(Request::CompareAndWrite { range: LbaRange { lba: cdb.be64(2), blocks: cdb.byte(13).into() }, fua: fua(cdb, 1) })
}

pub fn unmap(cdb: Cdb) -> Parsed {
    Ok(Request::Unmap { anchor: cdb.bit(1, 0), parameter_list_length: cdb.be16(7).into() })
}

pub fn get_lba_status(cdb: Cdb) -> Parsed {
    Ok(Request::GetLbaStatus { lba: cdb.be64(2), allocation_length: cdb.be32(10) })
}

pub fn synchronize_cache_10(cdb: Cdb) -> Parsed {
    Ok(Request::SynchronizeCache { range: range_10(cdb), immediate: cdb.bit(1, 1) })
}

pub fn synchronize_cache_16(cdb: Cdb) -> Parsed {
    Ok(Request::SynchronizeCache { range: range_16(cdb), immediate: cdb.bit(1, 1) })
}

pub fn pre_fetch_10(cdb: Cdb) -> Parsed {
    Ok(Request::PreFetch { range: range_10(cdb), immediate: cdb.bit(1, 1) })
}

pub fn pre_fetch_16(cdb: Cdb) -> Parsed {
    Ok(Request::PreFetch { range: range_16(cdb), immediate: cdb.bit(1, 1) })
}

pub fn read_capacity_10(_cdb: Cdb) -> Parsed {
    Ok(Request::ReadCapacity10)
}

pub fn read_capacity_16(cdb: Cdb) -> Parsed {
    Ok(Request::ReadCapacity16 { allocation_length: cdb.be32(10) })
}

pub fn read_defect_data_10(cdb: Cdb) -> Parsed {
    Ok(read_defect_data(false, cdb.byte(2), cdb.be16(7).into()))
}

pub fn read_defect_data_12(cdb: Cdb) -> Parsed {
    Ok(read_defect_data(true, cdb.byte(1), cdb.be32(6)))
}

fn read_defect_data(long: bool, flags: u8, allocation_length: u32) -> Request {
    Request::ReadDefectData {
        long,
        primary_list: flags & 0x10 != 0,
        grown_list: flags & 0x08 != 0,
        format: flags & 0x07,
        allocation_length,
    }
}

pub fn format_unit(cdb: Cdb) -> Parsed {
    let (long_list, format_data) = (cdb.bit(1, 5), cdb.bit(1, 4));
    Ok(Request::FormatUnit {
        format_data,
        long_list,
        format_protection: cdb.byte(1) >> 6,
        parameter_list_length: match (format_data, long_list) {
            (false, _) => 0,
            (true, false) => 4,
            (true, true) => 8,
        },
    })
}

pub fn sanitize(cdb: Cdb) -> Parsed {
    let parameter_list_length = cdb.be16(7);
    let action = match cdb.byte(1) & 0x1F {
        0x01 => SanitizeAction::Overwrite,
        0x02 => SanitizeAction::BlockErase,
        0x03 => SanitizeAction::CryptographicErase,
        0x1F => SanitizeAction::ExitFailureMode,
        _ => return Err(Sense::invalid_field_in_cdb(1, 4)),
    };
    let length_fits = match action {
        SanitizeAction::Overwrite => parameter_list_length >= OVERWRITE_PARAMETER_LIST_LENGTH_MIN,
        _ => parameter_list_length == 0,
    };
    if !length_fits {
        return Err(Sense::invalid_field_in_cdb(7, None));
    }
    Ok(Request::Sanitize {
        action,
        immediate: cdb.bit(1, 7),
        unrestricted_exit: cdb.bit(1, 5),
        parameter_list_length: parameter_list_length.into(),
    })
}

pub fn prevent_allow_medium_removal(cdb: Cdb) -> Parsed {
    match cdb.byte(4) & 0x03 {
        0b00 => Ok(Request::PreventAllowMediumRemoval { prevent: false }),
        0b01 => Ok(Request::PreventAllowMediumRemoval { prevent: true }),
        _ => Err(Sense::invalid_field_in_cdb(4, 1)),
    }
}

pub fn start_stop_unit(cdb: Cdb) -> Parsed {
    Ok(Request::StartStopUnit {
        immediate: cdb.bit(1, 0),
        power_condition: cdb.byte(4) >> 4,
        no_flush: cdb.bit(4, 2),
        load_eject: cdb.bit(4, 1),
        start: cdb.bit(4, 0),
    })
}

#[inline]
fn range_6(cdb: Cdb) -> LbaRange {
    let blocks = match cdb.byte(4) {
        // SBC-4 §5.15: "A TRANSFER LENGTH field set to zero specifies that 256 logical blocks shall be read."
        0 => 256,
        blocks => blocks.into(),
    };
    LbaRange { lba: (cdb.be24(1) & 0x1F_FFFF).into(), blocks }
}

#[inline]
fn range_10(cdb: Cdb) -> LbaRange {
    LbaRange { lba: cdb.be32(2).into(), blocks: cdb.be16(7).into() }
}

#[inline]
fn range_12(cdb: Cdb) -> LbaRange {
    LbaRange { lba: cdb.be32(2).into(), blocks: cdb.be32(6).into() }
}

#[inline]
fn range_16(cdb: Cdb) -> LbaRange {
    LbaRange { lba: cdb.be64(2), blocks: cdb.be32(10).into() }
}

#[inline]
fn range_32(cdb: Cdb) -> LbaRange {
    LbaRange { lba: cdb.be64(12), blocks: cdb.be32(28).into() }
}

#[inline]
fn fua(cdb: Cdb, flags: usize) -> bool {
    cdb.bit(flags, 3)
}

fn byte_check(cdb: Cdb, flags: usize) -> Result<ByteCheck, Sense> {
    match (cdb.byte(flags) >> 1) & 0b11 {
        0b00 => Ok(ByteCheck::MediumOnly),
        0b01 => Ok(ByteCheck::Compare),
        0b11 => Ok(ByteCheck::CompareOneBlock),
        _ => Err(bytchk_refused(flags)),
    }
}

fn bytchk_refused(flags: usize) -> Sense {
    Sense::invalid_field_in_cdb(flags as u16, 2)
}
