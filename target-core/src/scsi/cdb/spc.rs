//! CDB layouts of SPC-5 (clause 6), and of the SPC-2 reservations.

use super::{Cdb, Parsed};
use crate::scsi::request::{
    BufferMode, LogPageControl, PageControl, PrIn, PrOut, ReceiveCopy, ReportingOptions, Request,
};
use crate::scsi::sense::Sense;

pub fn test_unit_ready(_cdb: Cdb) -> Parsed {
    Ok(Request::TestUnitReady)
}

pub fn request_sense(cdb: Cdb) -> Parsed {
    Ok(Request::RequestSense { descriptor_format: cdb.bit(1, 0), allocation_length: cdb.byte(4).into() })
}

pub fn inquiry(cdb: Cdb) -> Parsed {
    let (evpd, page_code) = (cdb.bit(1, 0), cdb.byte(2));
    // SPC-5 §6.7.1: "If the PAGE CODE field is not set to zero when the EVPD bit is set to zero, the command shall be
    // terminated with … INVALID FIELD IN CDB."
    if !evpd && page_code != 0 {
        return Err(Sense::invalid_field_in_cdb(2, None));
    }
    Ok(Request::Inquiry { page_code: evpd.then_some(page_code), allocation_length: cdb.be16(3).into() })
}

pub fn report_luns(cdb: Cdb) -> Parsed {
    Ok(Request::ReportLuns { select_report: cdb.byte(2), allocation_length: cdb.be32(6) })
}

pub fn mode_sense_6(cdb: Cdb) -> Parsed {
    mode_sense(cdb, false, cdb.byte(4).into())
}

pub fn mode_sense_10(cdb: Cdb) -> Parsed {
    mode_sense(cdb, true, cdb.be16(7).into())
}

fn mode_sense(cdb: Cdb, long_header: bool, allocation_length: u32) -> Parsed {
    let control = match cdb.byte(2) >> 6 {
        0b00 => PageControl::Current,
        0b01 => PageControl::Changeable,
        0b10 => PageControl::Default,
        _ => PageControl::Saved,
    };
    Ok(Request::ModeSense {
        long_header,
        disable_block_descriptors: cdb.bit(1, 3),
        long_lba_accepted: cdb.bit(1, 4),
        control,
        page: cdb.byte(2) & 0x3F,
        subpage: cdb.byte(3),
        allocation_length,
    })
}

pub fn mode_select_6(cdb: Cdb) -> Parsed {
    mode_select(cdb, false, cdb.byte(4).into())
}

pub fn mode_select_10(cdb: Cdb) -> Parsed {
    mode_select(cdb, true, cdb.be16(7).into())
}

fn mode_select(cdb: Cdb, long_header: bool, parameter_list_length: u32) -> Parsed {
    Ok(Request::ModeSelect {
        long_header,
        page_format: cdb.bit(1, 4),
        save_pages: cdb.bit(1, 0),
        parameter_list_length,
    })
}

pub fn log_sense(cdb: Cdb) -> Parsed {
    let control = match cdb.byte(2) >> 6 {
        0b00 => LogPageControl::Threshold,
        0b01 => LogPageControl::Cumulative,
        0b10 => LogPageControl::DefaultThreshold,
        _ => LogPageControl::DefaultCumulative,
    };
    Ok(Request::LogSense {
        control,
        page: cdb.byte(2) & 0x3F,
        subpage: cdb.byte(3),
        parameter_pointer: cdb.be16(5),
        allocation_length: cdb.be16(7).into(),
    })
}

pub fn reserve_6(_cdb: Cdb) -> Parsed {
    Ok(Request::Reserve { long: false })
}

pub fn reserve_10(_cdb: Cdb) -> Parsed {
    Ok(Request::Reserve { long: true })
}

pub fn release_6(_cdb: Cdb) -> Parsed {
    Ok(Request::Release { long: false })
}

pub fn release_10(_cdb: Cdb) -> Parsed {
    Ok(Request::Release { long: true })
}

pub fn persistent_reserve_in(cdb: Cdb) -> Parsed {
    let action = match cdb.byte(1) & 0x1F {
        0x00 => PrIn::ReadKeys,
        0x01 => PrIn::ReadReservation,
        0x02 => PrIn::ReportCapabilities,
        0x03 => PrIn::ReadFullStatus,
        _ => return Err(Sense::invalid_field_in_cdb(1, 4)),
    };
    Ok(Request::PersistentReserveIn { action, allocation_length: cdb.be16(7).into() })
}

pub fn persistent_reserve_out(cdb: Cdb) -> Parsed {
    let action = match cdb.byte(1) & 0x1F {
        0x00 => PrOut::Register,
        0x01 => PrOut::Reserve,
        0x02 => PrOut::Release,
        0x03 => PrOut::Clear,
        0x04 => PrOut::Preempt,
        0x05 => PrOut::PreemptAndAbort,
        0x06 => PrOut::RegisterAndIgnoreExistingKey,
        0x07 => PrOut::RegisterAndMove,
        _ => return Err(Sense::invalid_field_in_cdb(1, 4)),
    };
    Ok(Request::PersistentReserveOut {
        action,
        scope: cdb.byte(2) >> 4,
        kind: cdb.byte(2) & 0x0F,
        parameter_list_length: cdb.be32(5),
    })
}

pub fn report_target_port_groups(cdb: Cdb) -> Parsed {
    let extended_header = match cdb.byte(1) >> 5 {
        0b000 => false,
        0b001 => true,
        _ => return Err(Sense::invalid_field_in_cdb(1, 7)),
    };
    Ok(Request::ReportTargetPortGroups { extended_header, allocation_length: cdb.be32(6) })
}

pub fn set_target_port_groups(cdb: Cdb) -> Parsed {
    Ok(Request::SetTargetPortGroups { parameter_list_length: cdb.be32(6) })
}

pub fn report_supported_operation_codes(cdb: Cdb) -> Parsed {
    let (opcode, service_action) = (cdb.byte(3), cdb.be16(4));
    let options = match cdb.byte(2) & 0x07 {
        0b000 => ReportingOptions::All,
        0b001 => ReportingOptions::Opcode { opcode },
        0b010 => ReportingOptions::ServiceAction { opcode, service_action },
        0b011 => ReportingOptions::Either { opcode, service_action },
        _ => return Err(Sense::invalid_field_in_cdb(2, 2)),
    };
    Ok(Request::ReportSupportedOpcodes { options, timeouts: cdb.bit(2, 7), allocation_length: cdb.be32(6) })
}

pub fn report_supported_task_management_functions(cdb: Cdb) -> Parsed {
    Ok(Request::ReportSupportedTaskManagement { extended: cdb.bit(2, 7), allocation_length: cdb.be32(6) })
}

pub fn report_identifying_information(cdb: Cdb) -> Parsed {
    Ok(Request::ReportIdentifyingInformation { information_type: cdb.byte(10) >> 1, allocation_length: cdb.be32(6) })
}

pub fn set_identifying_information(cdb: Cdb) -> Parsed {
    Ok(Request::SetIdentifyingInformation { information_type: cdb.byte(10) >> 1, parameter_list_length: cdb.be32(6) })
}

pub fn report_timestamp(cdb: Cdb) -> Parsed {
    Ok(Request::ReportTimestamp { allocation_length: cdb.be32(6) })
}

pub fn set_timestamp(cdb: Cdb) -> Parsed {
    Ok(Request::SetTimestamp { parameter_list_length: cdb.be32(6) })
}

pub fn send_diagnostic(cdb: Cdb) -> Parsed {
    Ok(Request::SendDiagnostic {
        self_test: cdb.bit(1, 2),
        self_test_code: cdb.byte(1) >> 5,
        parameter_list_length: cdb.be16(3).into(),
    })
}

pub fn read_buffer(cdb: Cdb) -> Parsed {
    let mode = match cdb.byte(1) & 0x1F {
        0x02 => BufferMode::Data,
        0x03 => BufferMode::Descriptor,
        0x0A => BufferMode::EchoBuffer,
        0x0B => BufferMode::EchoBufferDescriptor,
        _ => return Err(Sense::invalid_field_in_cdb(1, 4)),
    };
    Ok(Request::ReadBuffer { mode, buffer_id: cdb.byte(2), offset: cdb.be24(3), allocation_length: cdb.be24(6) })
}

pub fn write_buffer(cdb: Cdb) -> Parsed {
    let mode = match cdb.byte(1) & 0x1F {
        0x02 => BufferMode::Data,
        0x0A => BufferMode::EchoBuffer,
        _ => return Err(Sense::invalid_field_in_cdb(1, 4)),
    };
    Ok(Request::WriteBuffer { mode, buffer_id: cdb.byte(2), offset: cdb.be24(3), parameter_list_length: cdb.be24(6) })
}

pub fn extended_copy_lid1(cdb: Cdb) -> Parsed {
    Ok(Request::ExtendedCopy { lid4: false, parameter_list_length: cdb.be32(10) })
}

pub fn extended_copy_lid4(cdb: Cdb) -> Parsed {
    Ok(Request::ExtendedCopy { lid4: true, parameter_list_length: cdb.be32(10) })
}

pub fn receive_copy_results(cdb: Cdb) -> Parsed {
    let list_id = cdb.byte(2);
    let action = match cdb.byte(1) & 0x1F {
        0x00 => ReceiveCopy::StatusLid1 { list_id },
        0x01 => ReceiveCopy::DataLid1 { list_id },
        0x03 => ReceiveCopy::OperatingParameters,
        0x04 => ReceiveCopy::FailedSegmentDetailsLid1 { list_id },
        0x05 => ReceiveCopy::StatusLid4 { list_id: cdb.be32(2) },
        _ => return Err(Sense::invalid_field_in_cdb(1, 4)),
    };
    Ok(Request::ReceiveCopyResults { action, allocation_length: cdb.be32(10) })
}
