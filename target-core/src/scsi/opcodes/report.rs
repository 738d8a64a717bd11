//! REPORT SUPPORTED OPERATION CODES (SPC-5 §6.35) and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (§6.36).

use super::{OPERATIONS, Operation, of_opcode};
use crate::scsi::request::ReportingOptions;
use crate::scsi::sense::Sense;

/// Parameter data; the caller cuts it to the ALLOCATION LENGTH. `timeouts`: RCTD. `long_cdbs`: with the commands of more than
/// 16 bytes.
pub fn report_supported_operation_codes(
    options: ReportingOptions,
    timeouts: bool,
    long_cdbs: bool,
) -> Result<Vec<u8>, Sense> {
    let of_opcode = |opcode| of_opcode(opcode).filter(move |operation| long_cdbs || !operation.is_long());
    let with_action = |opcode, action| of_opcode(opcode).find(|operation| operation.service_action == Some(action));
    let has_service_actions = |opcode| of_opcode(opcode).next().map(|operation| operation.service_action.is_some());
    match options {
        ReportingOptions::All => Ok(all_commands(timeouts, long_cdbs)),
        // "If the … operation code specified … has service actions, the command shall be terminated with CHECK CONDITION
        // status, … INVALID FIELD IN CDB."
        ReportingOptions::Opcode { opcode } => match has_service_actions(opcode) {
            Some(true) => Err(options_refused()),
            _ => Ok(one_command(of_opcode(opcode).next(), timeouts)),
        },
        ReportingOptions::ServiceAction { opcode, service_action } => match has_service_actions(opcode) {
            Some(false) => Err(options_refused()),
            _ => Ok(one_command(with_action(opcode, service_action), timeouts)),
        },
        // 011b never fails: an opcode without service actions is asked for with zero.
        ReportingOptions::Either { opcode, service_action } => match has_service_actions(opcode) {
            Some(false) if service_action == 0 => Ok(one_command(of_opcode(opcode).next(), timeouts)),
            _ => Ok(one_command(with_action(opcode, service_action), timeouts)),
        },
    }
}

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, QUERY TASK and TARGET RESET; QUERY ASYNCHRONOUS EVENT,
/// QUERY TASK SET and I_T NEXUS RESET. No CLEAR ACA: ACA is not supported.
///
/// `extended` (REPD): with the timeouts, none of which is given (TMFTMOV is zero).
pub fn report_supported_task_management_functions(extended: bool) -> Vec<u8> {
    const ATS_ATSS_CTSS_LURS_QTS_TRS: u8 = 0xDE;
    const QAES_QTSS_ITNRS: u8 = 0x07;
    let mut out = vec![ATS_ATSS_CTSS_LURS_QTS_TRS, QAES_QTSS_ITNRS, 0, 0];
    if extended {
        out.resize(16, 0);
        out[3] = 16 - 4;
    }
    out
}

fn options_refused() -> Sense {
    Sense::invalid_field_in_cdb(2, 2)
}

/// The all_commands parameter data format.
fn all_commands(timeouts: bool, long_cdbs: bool) -> Vec<u8> {
    const CTDP: u8 = 0x02;
    const SERVACTV: u8 = 0x01;
    let mut out = vec![0; 4];
    for operation in OPERATIONS.iter().filter(|operation| long_cdbs || !operation.is_long()) {
        let service_action = operation.service_action.unwrap_or(0).to_be_bytes();
        let flags = if timeouts { CTDP } else { 0 } | if operation.service_action.is_some() { SERVACTV } else { 0 };
        out.extend_from_slice(&[operation.opcode, 0, service_action[0], service_action[1], 0, flags]);
        out.extend_from_slice(&(operation.usage.len() as u16).to_be_bytes());
        if timeouts {
            out.extend_from_slice(&timeouts_descriptor(operation));
        }
    }
    let length = out.len() as u32 - 4;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// The one_command parameter data format.
fn one_command(operation: Option<&Operation>, timeouts: bool) -> Vec<u8> {
    const CTDP: u8 = 0x80;
    const NOT_SUPPORTED: u8 = 0b001;
    const SUPPORTED_AS_THE_STANDARD_SAYS: u8 = 0b011;
    let Some(operation) = operation else { return vec![0, NOT_SUPPORTED, 0, 0] };
    let mut out = vec![0, SUPPORTED_AS_THE_STANDARD_SAYS | if timeouts { CTDP } else { 0 }];
    out.extend_from_slice(&(operation.usage.len() as u16).to_be_bytes());
    out.extend_from_slice(operation.usage);
    if timeouts {
        out.extend_from_slice(&timeouts_descriptor(operation));
    }
    out
}

/// SPC-5 table 299.
fn timeouts_descriptor(operation: &Operation) -> [u8; 12] {
    let mut out = [0; 12];
    out[1] = 0x0A;
    out[4..8].copy_from_slice(&operation.timeouts.nominal_s.to_be_bytes());
    out[8..12].copy_from_slice(&operation.timeouts.recommended_s.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::sense::Asc;

    fn report(options: ReportingOptions, timeouts: bool) -> Vec<u8> {
        report_supported_operation_codes(options, timeouts, true).expect("reported")
    }

    #[test]
    fn long_commands_are_listed_where_they_are_taken() {
        let lists = |long_cdbs| {
            let all = report_supported_operation_codes(ReportingOptions::All, false, long_cdbs).expect("reported");
            all[4..].chunks(8).any(|descriptor| descriptor[0] == 0x7F)
        };
        assert_eq!((lists(true), lists(false)), (true, false));
        let one = ReportingOptions::ServiceAction { opcode: 0x7F, service_action: 9 };
        let support = |long_cdbs| report_supported_operation_codes(one, false, long_cdbs).map(|data| data[1]);
        assert_eq!((support(true), support(false)), (Ok(0b011), Ok(0b001)));
    }

    #[test]
    fn all_commands_list_every_row_once() {
        for (timeouts, size) in [(false, 8), (true, 20)] {
            let all = report(ReportingOptions::All, timeouts);
            assert_eq!(all.len(), 4 + OPERATIONS.len() * size);
            assert_eq!(u32::from_be_bytes([all[0], all[1], all[2], all[3]]) as usize, all.len() - 4);
            for (descriptor, operation) in all[4..].chunks(size).zip(OPERATIONS) {
                assert_eq!(descriptor[0], operation.opcode);
                assert_eq!(descriptor[5] & 1 != 0, operation.service_action.is_some());
                assert_eq!(descriptor[5] & 2 != 0, timeouts);
                assert!(!timeouts || descriptor[8..10] == [0, 10]);
            }
        }
    }

    #[test]
    fn one_command_shows_its_usage() {
        let read = report(ReportingOptions::Opcode { opcode: 0x28 }, false);
        assert_eq!(read, [0, 3, 0, 10, 0x28, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0]);
        let capacity = report(ReportingOptions::ServiceAction { opcode: 0x9E, service_action: 0x10 }, true);
        assert_eq!(capacity[..6], [0, 0x83, 0, 16, 0x9E, 0x10]);
        assert_eq!(capacity[20..], [0, 10, 0, 0, 0, 0, 0, 1, 0, 0, 0, 30]);
    }

    #[test]
    fn the_wrong_option_is_an_error_and_the_unknown_is_not() {
        for operation in OPERATIONS {
            let opcode = operation.opcode;
            let service_action = operation.service_action.unwrap_or(0);
            let plain = report_supported_operation_codes(ReportingOptions::Opcode { opcode }, false, true);
            let with = report_supported_operation_codes(
                ReportingOptions::ServiceAction { opcode, service_action },
                false,
                true,
            );
            assert_eq!(plain.is_ok(), operation.service_action.is_none(), "{operation:?}");
            assert_eq!(with.is_ok(), operation.service_action.is_some(), "{operation:?}");
            let either = report(ReportingOptions::Either { opcode, service_action }, false);
            assert_eq!(either, plain.or(with).expect("one of the two"));
        }
        assert_eq!(report(ReportingOptions::Opcode { opcode: 0xFE }, true), [0, 1, 0, 0]);
        let unknown = ReportingOptions::ServiceAction { opcode: 0x9E, service_action: 0x1F };
        assert_eq!(report(unknown, false), [0, 1, 0, 0]);
        assert_eq!(report(ReportingOptions::Either { opcode: 0x28, service_action: 1 }, false), [0, 1, 0, 0]);
        let refused = report_supported_operation_codes(ReportingOptions::Opcode { opcode: 0x9E }, false, true);
        assert_eq!(refused.expect_err("has service actions").asc, Asc::INVALID_FIELD_IN_CDB);
    }

    #[test]
    fn task_management_has_no_clear_aca() {
        assert_eq!(report_supported_task_management_functions(false), [0xDE, 0x07, 0, 0]);
        let extended = report_supported_task_management_functions(true);
        assert_eq!((extended.len(), extended[3]), (16, 12));
    }
}
