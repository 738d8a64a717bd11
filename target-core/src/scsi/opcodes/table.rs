//! The rows, sorted by opcode and service action.
//!
//! `usage` shows the bits that are evaluated (SPC-5 §6.35.3): a field that is refused unless zero, such as RDPROTECT
//! without protection information, reads zero there, and so is refused.

use super::super::cdb::{Cdb, Parsed, sbc, spc};
use super::{AsymmetricAccess, MediumAccess, Operation, Timeouts, VARIABLE_LENGTH};

/// GROUP NUMBER in its byte: 5 or 6 bits. Ignored, as grouping is not supported (SBC-4 §4.22).
const GROUP: u8 = 0x3F;
/// DPO and FUA.
const DPO_FUA: u8 = 0x18;
/// DPO and BYTCHK.
const DPO_BYTCHK: u8 = 0x16;

/// What most commands take: they answer from memory or do a moment's I/O.
const SHORT: Timeouts = Timeouts { nominal_s: 1, recommended_s: 30 };
/// Commands whose work grows with their transfer length.
const LONG: Timeouts = Timeouts { nominal_s: 10, recommended_s: 120 };
/// Commands that may touch the whole medium.
const WHOLE_MEDIUM: Timeouts = Timeouts { nominal_s: 60, recommended_s: 86_400 };

pub static OPERATIONS: &[Operation] = &[
    op(0x00, "TEST UNIT READY", &[0x00, 0, 0, 0, 0, 0], spc::test_unit_ready).needs_ready(),
    op(0x03, "REQUEST SENSE", &[0x03, 0x01, 0, 0, 0xFF, 0], spc::request_sense).always(),
    op(0x04, "FORMAT UNIT", &[0x04, 0x3F, 0, 0, 0x03, 0], sbc::format_unit)
        .writes()
        .takes(WHOLE_MEDIUM)
        .ignoring(2, 0xFF),
    op(0x08, "READ(6)", &[0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0], sbc::read_6).reads(),
    op(0x0A, "WRITE(6)", &[0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0], sbc::write_6).writes(),
    op(0x12, "INQUIRY", &[0x12, 0x01, 0xFF, 0xFF, 0xFF, 0], spc::inquiry).always(),
    op(0x15, "MODE SELECT(6)", &[0x15, 0x11, 0, 0, 0xFF, 0], spc::mode_select_6).in_standby(),
    op(0x16, "RESERVE(6)", &[0x16, 0, 0, 0, 0, 0], spc::reserve_6),
    op(0x17, "RELEASE(6)", &[0x17, 0, 0, 0, 0, 0], spc::release_6),
    op(0x1A, "MODE SENSE(6)", &[0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0], spc::mode_sense_6).in_standby().while_sanitizing(),
    op(0x1B, "START STOP UNIT", &[0x1B, 0x01, 0, 0x0F, 0xF7, 0], sbc::start_stop_unit).takes(LONG),
    op(0x1D, "SEND DIAGNOSTIC", &[0x1D, 0xF7, 0, 0xFF, 0xFF, 0], spc::send_diagnostic).in_standby(),
    op(0x1E, "PREVENT ALLOW MEDIUM REMOVAL", &[0x1E, 0, 0, 0, 0x03, 0], sbc::prevent_allow_medium_removal),
    op(0x25, "READ CAPACITY(10)", &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], sbc::read_capacity_10)
        .needs_ready()
        .in_standby()
        .while_sanitizing(),
    op(0x28, "READ(10)", &[0x28, DPO_FUA, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0], sbc::read_10)
        .reads()
        .ignoring(6, GROUP),
    op(0x2A, "WRITE(10)", &[0x2A, DPO_FUA, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0], sbc::write_10)
        .writes()
        .ignoring(6, GROUP),
    op(
        0x2E,
        "WRITE AND VERIFY(10)",
        &[0x2E, DPO_BYTCHK, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0],
        sbc::write_and_verify_10,
    )
    .writes()
    .ignoring(6, GROUP),
    op(0x2F, "VERIFY(10)", &[0x2F, DPO_BYTCHK, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0], sbc::verify_10)
        .reads()
        .ignoring(6, GROUP)
        .takes(LONG),
    op(0x34, "PRE-FETCH(10)", &[0x34, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0], sbc::pre_fetch_10)
        .reads()
        .ignoring(6, GROUP),
    op(
        0x35,
        "SYNCHRONIZE CACHE(10)",
        &[0x35, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0],
        sbc::synchronize_cache_10,
    )
    .flushes()
    .ignoring(6, GROUP),
    op(0x37, "READ DEFECT DATA(10)", &[0x37, 0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 0], sbc::read_defect_data_10)
        .needs_ready(),
    op(0x3B, "WRITE BUFFER", &[0x3B, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0], spc::write_buffer)
        .when_unavailable(),
    op(0x3C, "READ BUFFER", &[0x3C, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0], spc::read_buffer)
        .when_unavailable(),
    op(0x41, "WRITE SAME(10)", &[0x41, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0], sbc::write_same_10)
        .writes()
        .ignoring(6, GROUP)
        .takes(LONG),
    op(0x42, "UNMAP", &[0x42, 0x01, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0], sbc::unmap).writes().ignoring(6, GROUP).takes(LONG),
    sanitize(0x01, "SANITIZE, OVERWRITE", &[0x48, 0xA1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]),
    sanitize(0x02, "SANITIZE, BLOCK ERASE", &[0x48, 0xA2, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]),
    sanitize(0x03, "SANITIZE, CRYPTOGRAPHIC ERASE", &[0x48, 0xA3, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]),
    sanitize(0x1F, "SANITIZE, EXIT FAILURE MODE", &[0x48, 0xBF, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]).while_sanitizing(),
    op(0x4D, "LOG SENSE", &[0x4D, 0, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0], spc::log_sense)
        .in_standby()
        .while_sanitizing(),
    op(0x55, "MODE SELECT(10)", &[0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0], spc::mode_select_10).in_standby(),
    op(0x56, "RESERVE(10)", &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], spc::reserve_10),
    op(0x57, "RELEASE(10)", &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0], spc::release_10),
    op(0x5A, "MODE SENSE(10)", &[0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0], spc::mode_sense_10)
        .in_standby()
        .while_sanitizing(),
    reserve_in(0x00, "PERSISTENT RESERVE IN, READ KEYS", &[0x5E, 0x00, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]),
    reserve_in(0x01, "PERSISTENT RESERVE IN, READ RESERVATION", &[0x5E, 0x01, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]),
    reserve_in(0x02, "PERSISTENT RESERVE IN, REPORT CAPABILITIES", &[0x5E, 0x02, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]),
    reserve_in(0x03, "PERSISTENT RESERVE IN, READ FULL STATUS", &[0x5E, 0x03, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]),
    reserve_out(0x00, "PERSISTENT RESERVE OUT, REGISTER", &[0x5F, 0x00, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0])
        .ignoring(2, 0xFF),
    reserve_out(0x01, "PERSISTENT RESERVE OUT, RESERVE", &[0x5F, 0x01, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]),
    reserve_out(0x02, "PERSISTENT RESERVE OUT, RELEASE", &[0x5F, 0x02, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]),
    reserve_out(0x03, "PERSISTENT RESERVE OUT, CLEAR", &[0x5F, 0x03, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0])
        .ignoring(2, 0xFF),
    reserve_out(0x04, "PERSISTENT RESERVE OUT, PREEMPT", &[0x5F, 0x04, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]),
    reserve_out(
        0x05,
        "PERSISTENT RESERVE OUT, PREEMPT AND ABORT",
        &[0x5F, 0x05, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0],
    ),
    reserve_out(
        0x06,
        "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY",
        &[0x5F, 0x06, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0],
    )
    .ignoring(2, 0xFF),
    reserve_out(0x07, "PERSISTENT RESERVE OUT, REGISTER AND MOVE", &[0x5F, 0x07, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0])
        .ignoring(2, 0xFF),
    sa(0x7F, 0x09, "READ(32)", &variable(0x09, DPO_FUA), sbc::read_32).reads().ignoring(6, GROUP),
    sa(0x7F, 0x0A, "VERIFY(32)", &variable(0x0A, DPO_BYTCHK), sbc::verify_32).reads().ignoring(6, GROUP).takes(LONG),
    sa(0x7F, 0x0B, "WRITE(32)", &variable(0x0B, DPO_FUA), sbc::write_32).writes().ignoring(6, GROUP),
    sa(0x7F, 0x0C, "WRITE AND VERIFY(32)", &variable(0x0C, DPO_BYTCHK), sbc::write_and_verify_32)
        .writes()
        .ignoring(6, GROUP),
    sa(0x7F, 0x0D, "WRITE SAME(32)", &variable(0x0D, 0x19), sbc::write_same_32).writes().ignoring(6, GROUP).takes(LONG),
    sa(0x83, 0x00, "EXTENDED COPY(LID1)", &copy_usage(0x83, 0x00, 0), spc::extended_copy_lid1).takes(LONG),
    sa(0x83, 0x01, "EXTENDED COPY(LID4)", &copy_usage(0x83, 0x01, 0), spc::extended_copy_lid4).takes(LONG),
    sa(0x84, 0x00, "RECEIVE COPY STATUS(LID1)", &copy_usage(0x84, 0x00, 1), spc::receive_copy_results),
    sa(0x84, 0x01, "RECEIVE COPY DATA(LID1)", &copy_usage(0x84, 0x01, 1), spc::receive_copy_results),
    // A LIST IDENTIFIER was there in SPC-3 and means nothing to this one.
    sa(0x84, 0x03, "RECEIVE COPY OPERATING PARAMETERS", &copy_usage(0x84, 0x03, 0), spc::receive_copy_results)
        .ignoring(2, 0xFF),
    sa(0x84, 0x04, "RECEIVE COPY FAILURE DETAILS(LID1)", &copy_usage(0x84, 0x04, 1), spc::receive_copy_results),
    sa(0x84, 0x05, "RECEIVE COPY STATUS(LID4)", &copy_usage(0x84, 0x05, 4), spc::receive_copy_results),
    op(0x88, "READ(16)", &sixteen(0x88, DPO_FUA), sbc::read_16).reads().ignoring(14, GROUP),
    op(
        0x89,
        "COMPARE AND WRITE",
        &[0x89, DPO_FUA, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0, 0],
        sbc::compare_and_write,
    )
    .writes()
    .ignoring(14, GROUP),
    op(0x8A, "WRITE(16)", &sixteen(0x8A, DPO_FUA), sbc::write_16).writes().ignoring(14, GROUP),
    op(0x8B, "ORWRITE(16)", &sixteen(0x8B, DPO_FUA), sbc::or_write_16).writes().ignoring(14, GROUP),
    op(0x8E, "WRITE AND VERIFY(16)", &sixteen(0x8E, DPO_BYTCHK), sbc::write_and_verify_16).writes().ignoring(14, GROUP),
    op(0x8F, "VERIFY(16)", &sixteen(0x8F, DPO_BYTCHK), sbc::verify_16).reads().ignoring(14, GROUP).takes(LONG),
    op(0x90, "PRE-FETCH(16)", &sixteen(0x90, 0x02), sbc::pre_fetch_16).reads().ignoring(14, GROUP),
    op(0x91, "SYNCHRONIZE CACHE(16)", &sixteen(0x91, 0x02), sbc::synchronize_cache_16).flushes().ignoring(14, GROUP),
    op(0x93, "WRITE SAME(16)", &sixteen(0x93, 0x19), sbc::write_same_16).writes().ignoring(14, GROUP).takes(LONG),
    op(0x9C, "WRITE ATOMIC(16)", &sixteen(0x9C, DPO_FUA), sbc::write_atomic_16).writes().ignoring(14, GROUP),
    sa(
        0x9E,
        0x10,
        "READ CAPACITY(16)",
        &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0],
        sbc::read_capacity_16,
    )
    .needs_ready()
    .in_standby()
    .while_sanitizing(),
    sa(
        0x9E,
        0x12,
        "GET LBA STATUS(16)",
        &[0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0],
        sbc::get_lba_status,
    )
    .reads(),
    op(0xA0, "REPORT LUNS", &[0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0], spc::report_luns).always(),
    sa(
        0xA3,
        0x05,
        "REPORT IDENTIFYING INFORMATION",
        &[0xA3, 0x05, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0],
        spc::report_identifying_information,
    )
    .in_standby(),
    sa(
        0xA3,
        0x0A,
        "REPORT TARGET PORT GROUPS",
        &[0xA3, 0xEA, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0],
        spc::report_target_port_groups,
    )
    .when_unavailable()
    .while_sanitizing(),
    sa(
        0xA3,
        0x0C,
        "REPORT SUPPORTED OPERATION CODES",
        &[0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0],
        spc::report_supported_operation_codes,
    )
    .in_standby()
    .while_sanitizing(),
    sa(
        0xA3,
        0x0D,
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        &[0xA3, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0],
        spc::report_supported_task_management_functions,
    )
    .in_standby()
    .while_sanitizing(),
    sa(0xA3, 0x0F, "REPORT TIMESTAMP", &[0xA3, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0], spc::report_timestamp)
        .in_standby(),
    sa(
        0xA4,
        0x06,
        "SET IDENTIFYING INFORMATION",
        &[0xA4, 0x06, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0],
        spc::set_identifying_information,
    ),
    sa(
        0xA4,
        0x0A,
        "SET TARGET PORT GROUPS",
        &[0xA4, 0x0A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0],
        spc::set_target_port_groups,
    )
    .when_unavailable(),
    sa(0xA4, 0x0F, "SET TIMESTAMP", &[0xA4, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0], spc::set_timestamp),
    op(0xA8, "READ(12)", &twelve(0xA8, DPO_FUA), sbc::read_12).reads().ignoring(10, GROUP),
    op(0xAA, "WRITE(12)", &twelve(0xAA, DPO_FUA), sbc::write_12).writes().ignoring(10, GROUP),
    op(0xAE, "WRITE AND VERIFY(12)", &twelve(0xAE, DPO_BYTCHK), sbc::write_and_verify_12).writes().ignoring(10, GROUP),
    op(0xAF, "VERIFY(12)", &twelve(0xAF, DPO_BYTCHK), sbc::verify_12).reads().ignoring(10, GROUP).takes(LONG),
    op(
        0xB7,
        "READ DEFECT DATA(12)",
        &[0xB7, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0],
        sbc::read_defect_data_12,
    )
    .needs_ready(),
];

/// The first row of each opcode, or `NONE`.
static FIRST: [u8; 256] = {
    let mut first = [NONE; 256];
    let mut row = OPERATIONS.len();
    while row > 0 {
        row -= 1;
        first[OPERATIONS[row].opcode as usize] = row as u8;
    }
    first
};

const NONE: u8 = 0xFF;
const _: () = assert!(OPERATIONS.len() < NONE as usize, "a row number fits the index");

#[inline]
pub(super) fn first(opcode: u8) -> Option<usize> {
    match FIRST[usize::from(opcode)] {
        NONE => None,
        row => Some(usize::from(row)),
    }
}

type Layout = for<'a> fn(Cdb<'a>) -> Parsed;

const fn op(opcode: u8, name: &'static str, usage: &'static [u8], parse: Layout) -> Operation {
    let operation = Operation {
        opcode,
        service_action: None,
        name,
        usage,
        timeouts: SHORT,
        medium: MediumAccess::None,
        asymmetric_access: AsymmetricAccess::Active,
        before_unit_attention: false,
        during_sanitize: false,
        // Nothing is checked behind the CDB's end.
        accepted: [u128::MAX, u128::MAX],
        parse,
    };
    let control = if opcode == VARIABLE_LENGTH { 1 } else { usage.len() - 1 };
    // SAM-5 §5.2: the two high bits of CONTROL are vendor specific, and this vendor ignores them. NACA is refused.
    operation.with_usage().accepting(0, 0xFF).accepting(control, 0xC0)
}

const fn sa(opcode: u8, action: u16, name: &'static str, usage: &'static [u8], parse: Layout) -> Operation {
    let mut operation = op(opcode, name, usage, parse);
    operation.service_action = Some(action);
    match opcode {
        VARIABLE_LENGTH => operation.accepting(8, 0xFF).accepting(9, 0xFF),
        _ => operation.accepting(1, 0x1F),
    }
}

const fn sanitize(action: u16, name: &'static str, usage: &'static [u8]) -> Operation {
    sa(0x48, action, name, usage, sbc::sanitize).writes().takes(WHOLE_MEDIUM)
}

const fn reserve_in(action: u16, name: &'static str, usage: &'static [u8]) -> Operation {
    sa(0x5E, action, name, usage, spc::persistent_reserve_in).in_standby()
}

const fn reserve_out(action: u16, name: &'static str, usage: &'static [u8]) -> Operation {
    sa(0x5F, action, name, usage, spc::persistent_reserve_out).in_standby()
}

/// LBA in bytes 2 to 5, a length in 6 to 9.
const fn twelve(opcode: u8, flags: u8) -> [u8; 12] {
    [opcode, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0]
}

/// LBA in bytes 2 to 9, a length in 10 to 13.
const fn sixteen(opcode: u8, flags: u8) -> [u8; 16] {
    [opcode, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0]
}

/// LBA in bytes 12 to 19, a length in 28 to 31; no reference tags, as there is no protection information.
const fn variable(action: u8, flags: u8) -> [u8; 32] {
    let mut usage = [0; 32];
    usage[0] = VARIABLE_LENGTH;
    usage[7] = 32 - 8;
    usage[9] = action;
    usage[10] = flags;
    let mut at = 12;
    while at < 20 {
        usage[at] = 0xFF;
        at += 1;
    }
    (usage[28], usage[29], usage[30], usage[31]) = (0xFF, 0xFF, 0xFF, 0xFF);
    usage
}

/// A list identifier of `list_id` bytes from byte 2, a length in bytes 10 to 13.
const fn copy_usage(opcode: u8, action: u8, list_id: usize) -> [u8; 16] {
    let mut usage = [opcode, action, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0];
    let mut at = 2;
    while at < 2 + list_id {
        usage[at] = 0xFF;
        at += 1;
    }
    usage
}

/// What a row adds to the defaults of [`op`].
impl Operation {
    const fn with_usage(mut self) -> Operation {
        let mut at = 0;
        while at < self.usage.len() {
            let bits = (0xFF_u128 << 120) >> (at % 16 * 8);
            let used = ((self.usage[at] as u128) << 120) >> (at % 16 * 8);
            self.accepted[at / 16] = self.accepted[at / 16] & !bits | used;
            at += 1;
        }
        self
    }

    const fn accepting(mut self, byte: usize, bits: u8) -> Operation {
        self.accepted[byte / 16] |= ((bits as u128) << 120) >> (byte % 16 * 8);
        self
    }

    /// Bits that are obsolete or optional and are taken without effect.
    const fn ignoring(self, byte: usize, bits: u8) -> Operation {
        self.accepting(byte, bits)
    }

    const fn needs_ready(mut self) -> Operation {
        self.medium = MediumAccess::Ready;
        self
    }

    const fn reads(mut self) -> Operation {
        self.medium = MediumAccess::Read;
        self
    }

    const fn writes(mut self) -> Operation {
        self.medium = MediumAccess::Write;
        self
    }

    /// SYNCHRONIZE CACHE changes no data, so write protection does not refuse it, but a reservation does. SYNC_NV
    /// (bit 2) is obsolete and ignored: there is one cache.
    const fn flushes(self) -> Operation {
        self.needs_ready().takes(LONG).ignoring(1, 0x04)
    }

    const fn in_standby(mut self) -> Operation {
        self.asymmetric_access = AsymmetricAccess::Standby;
        self
    }

    const fn when_unavailable(mut self) -> Operation {
        self.asymmetric_access = AsymmetricAccess::Unavailable;
        self
    }

    const fn while_sanitizing(mut self) -> Operation {
        self.during_sanitize = true;
        self
    }

    /// INQUIRY, REPORT LUNS, REQUEST SENSE: they run whatever the state.
    const fn always(mut self) -> Operation {
        self.before_unit_attention = true;
        self.when_unavailable().while_sanitizing()
    }

    const fn takes(mut self, timeouts: Timeouts) -> Operation {
        self.timeouts = timeouts;
        self
    }
}
