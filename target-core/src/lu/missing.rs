//! Commands to a LUN that nothing is behind (SPC-5 §5.3, "incorrect logical unit numbers").

use super::answers::cut;
use super::command::CommandComplete;
use super::inventory::LunInventory;
use crate::scsi::inquiry::{ScsiVersion, StandardInquiry};
use crate::scsi::opcodes;
use crate::scsi::request::Request;
use crate::scsi::sense::Sense;

/// Answer for a LUN that `inventory` does not have: INQUIRY, REPORT LUNS and REQUEST SENSE are processed, everything else is
/// "CHECK CONDITION status with … LOGICAL UNIT NOT SUPPORTED".
pub fn respond(cdb: &[u8], inventory: &LunInventory) -> CommandComplete {
    let not_supported = Sense::logical_unit_not_supported();
    let told = match opcodes::parse(cdb) {
        Ok((_, Request::Inquiry { page_code: None, allocation_length })) => Ok((inquiry(), allocation_length)),
        Ok((_, Request::ReportLuns { select_report, allocation_length })) => {
            inventory.report(select_report).map(|data| (data, allocation_length))
        }
        Ok((_, Request::RequestSense { descriptor_format, allocation_length })) => {
            Ok((not_supported.encode(descriptor_format), allocation_length))
        }
        _ => Err(not_supported),
    };
    match told {
        Ok((data, allocation_length)) => CommandComplete::data(cut(data, allocation_length)),
        Err(sense) => CommandComplete::check_condition(sense),
    }
}

fn inquiry() -> Vec<u8> {
    StandardInquiry {
        version: ScsiVersion::Spc4,
        removable: false,
        vendor: "LUNMIRR",
        product: "VOLUME",
        revision: "0001",
    }
    .encode_missing()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::sense::Asc;
    use crate::scsi::status::Status;

    #[test]
    fn three_commands_are_processed() {
        let inventory = LunInventory::default();
        let inquiry = respond(&[0x12, 0, 0, 0, 36, 0], &inventory);
        assert_eq!((inquiry.status, inquiry.data_in.contiguous()[0], inquiry.data_in.len()), (Status::Good, 0x7F, 36));
        let luns = respond(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &inventory);
        assert_eq!((luns.status, &luns.data_in.contiguous()[..]), (Status::Good, &[0; 8][..]));
        let sense = respond(&[0x03, 0, 0, 0, 18, 0], &inventory);
        let data = sense.data_in.contiguous();
        assert_eq!((sense.status, data[2], data[12]), (Status::Good, 5, 0x25));
        let ready = respond(&[0; 6], &inventory);
        assert_eq!(ready.sense.map(|sense| sense.asc), Some(Asc::LOGICAL_UNIT_NOT_SUPPORTED));
    }
}
