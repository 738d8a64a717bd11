//! Parameter data of RECEIVE COPY RESULTS (SPC-5 §6.21–6.25). Each is cut to ALLOCATION LENGTH by its sender, with
//! AVAILABLE DATA telling the whole.

use super::limits::{
    CONCURRENT_COPIES_MAX, CSCD_DESCRIPTORS_MAX, DATA_SEGMENT_GRANULARITY, DESCRIPTOR_LIST_BYTES_MAX,
    IMPLEMENTED_DESCRIPTORS, SEGMENT_DESCRIPTORS_MAX, SEGMENT_LENGTH_MAX,
};
use crate::scsi::sense::Sense;

/// How a copy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyStatus {
    pub phase: CopyPhase,
    pub segments_processed: u16,
    /// Written to destinations so far.
    pub bytes_copied: u64,
    /// Of how the work goes on: any change of it is progress.
    pub operations: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPhase {
    /// The command, or with IMMED=1 what it left behind, is being processed.
    InProgress {
        background: bool,
    },
    Completed,
    Failed(Sense),
    /// By task management, loss of the nexus, PREEMPT AND ABORT.
    Aborted,
}

impl CopyStatus {
    /// COPY STATUS(LID1), §6.24.
    pub fn encode_lid1(&self) -> Vec<u8> {
        let phase = match self.phase {
            CopyPhase::InProgress { .. } => 0x00,
            CopyPhase::Completed => 0x01,
            CopyPhase::Failed(_) | CopyPhase::Aborted => 0x02,
        };
        let (units, count) = transfer_count(self.bytes_copied);
        let mut data = vec![0, 0, 0, 8, phase];
        data.extend_from_slice(&self.segments_processed.to_be_bytes());
        data.push(units);
        data.extend_from_slice(&count.to_be_bytes());
        data
    }

    /// RECEIVE COPY STATUS(LID4), §6.25. `service_action` is that of the copy: 01h.
    pub fn encode_lid4(&self, service_action: u8) -> Vec<u8> {
        let (phase, completion, sense) = match &self.phase {
            CopyPhase::InProgress { background: false } => (0x11, GOOD, Vec::new()),
            CopyPhase::InProgress { background: true } => (0x12, GOOD, Vec::new()),
            CopyPhase::Completed => (0x01, GOOD, Vec::new()),
            CopyPhase::Failed(sense) => (0x02, CHECK_CONDITION, sense.encode(false)),
            CopyPhase::Aborted => (0x60, TASK_ABORTED, Vec::new()),
        };
        let mut data = vec![0; 32];
        data[4] = service_action;
        data[5] = phase;
        data[6..8].copy_from_slice(&self.operations.to_be_bytes());
        data[8..12].copy_from_slice(&STATUS_UPDATE_DELAY_MS.to_be_bytes());
        data[12] = completion;
        data[13] = sense.len() as u8;
        data[14] = sense.len() as u8;
        // TRANSFER COUNT UNITS 00h: bytes.
        data[16..24].copy_from_slice(&self.bytes_copied.to_be_bytes());
        data[24..26].copy_from_slice(&self.segments_processed.to_be_bytes());
        data.extend_from_slice(&sense);
        with_available_data(data)
    }

    /// FAILED SEGMENT DETAILS(LID1), §6.23: "if … no failed segment, AVAILABLE DATA shall be set to zero".
    pub fn encode_failed_segment_details(&self) -> Vec<u8> {
        let (status, sense) = match &self.phase {
            CopyPhase::Failed(sense) => (CHECK_CONDITION, sense.encode(false)),
            CopyPhase::Aborted => (TASK_ABORTED, Vec::new()),
            CopyPhase::InProgress { .. } | CopyPhase::Completed => return vec![0; 4],
        };
        let mut data = vec![0; 60];
        data[56] = status;
        data[58..60].copy_from_slice(&(sense.len() as u16).to_be_bytes());
        data.extend_from_slice(&sense);
        with_available_data(data)
    }
}

/// RECEIVE COPY DATA(LID1), §6.22: no segment descriptor of ours holds data.
pub fn held_data() -> Vec<u8> {
    vec![0; 4]
}

/// COPY OPERATING PARAMETERS, §6.21.
pub fn operating_parameters() -> Vec<u8> {
    let mut data = vec![0; 44];
    data[4] = SNLID;
    data[8..10].copy_from_slice(&CSCD_DESCRIPTORS_MAX.to_be_bytes());
    data[10..12].copy_from_slice(&SEGMENT_DESCRIPTORS_MAX.to_be_bytes());
    data[12..16].copy_from_slice(&DESCRIPTOR_LIST_BYTES_MAX.to_be_bytes());
    data[16..20].copy_from_slice(&SEGMENT_LENGTH_MAX.to_be_bytes());
    // Inline data, held data and stream transfers (20-31): none.
    data[34..36].copy_from_slice(&u16::from(CONCURRENT_COPIES_MAX).to_be_bytes());
    data[36] = CONCURRENT_COPIES_MAX;
    data[37] = DATA_SEGMENT_GRANULARITY;
    data[43] = IMPLEMENTED_DESCRIPTORS.len() as u8;
    data.extend_from_slice(&IMPLEMENTED_DESCRIPTORS);
    with_available_data(data)
}

/// TRANSFER COUNT UNITS and TRANSFER COUNT: the finest units that 32 bits suffice for.
fn transfer_count(bytes: u64) -> (u8, u32) {
    (0..=6u8)
        .find_map(|unit| Some((unit, u32::try_from(bytes >> (10 * unit)).ok()?)))
        .expect("64 bits of bytes are at most 16 EiB")
}

/// AVAILABLE DATA: the bytes that follow it.
fn with_available_data(mut data: Vec<u8>) -> Vec<u8> {
    let available = data.len() as u32 - 4;
    data[..4].copy_from_slice(&available.to_be_bytes());
    data
}

const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const TASK_ABORTED: u8 = 0x40;
/// Supports No List IDentifier: LIST ID USAGE 11b.
const SNLID: u8 = 1;
/// ESTIMATED STATUS UPDATE DELAY: a chunk takes less.
const STATUS_UPDATE_DELAY_MS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::sense::Asc;

    fn status(phase: CopyPhase) -> CopyStatus {
        CopyStatus { phase, segments_processed: 3, bytes_copied: 0x1_0000, operations: 9 }
    }

    #[test]
    fn operating_parameters_are_byte_exact() {
        #[rustfmt::skip]
        let expected = [
            0, 0, 0, 43, 1, 0, 0, 0, 0, 16, 1, 0, 0, 0, 0x22, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 16, 16, 9, 0, 0, 0, 0, 0, 3, 0x02, 0x0A, 0xE4,
        ];
        assert_eq!(operating_parameters(), expected);
    }

    #[test]
    fn lid1_status_is_byte_exact() {
        assert_eq!(
            status(CopyPhase::InProgress { background: false }).encode_lid1(),
            [0, 0, 0, 8, 0, 0, 3, 0, 0, 1, 0, 0]
        );
        assert_eq!(status(CopyPhase::Completed).encode_lid1()[4], 1);
        assert_eq!(status(CopyPhase::Failed(Sense::copy_aborted(Asc::WRITE_PROTECTED))).encode_lid1()[4], 2);
        let large = CopyStatus { bytes_copied: 5 << 32, ..status(CopyPhase::Completed) };
        assert_eq!(large.encode_lid1()[7..], [1, 0x01, 0x40, 0, 0], "KiB");
        assert_eq!(transfer_count(u64::MAX), (4, (1 << 24) - 1));
    }

    #[test]
    fn lid4_status_carries_the_sense() {
        let done = status(CopyPhase::Completed).encode_lid4(1);
        assert_eq!(done[..13], [0, 0, 0, 28, 1, 1, 0, 9, 0, 0, 0, 100, 0]);
        assert_eq!(done[16..26], [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]);
        let failed = status(CopyPhase::Failed(Sense::copy_aborted(Asc::WRITE_PROTECTED))).encode_lid4(1);
        assert_eq!((failed[3], failed[5], failed[12], failed[13], failed[14]), (28 + 18, 2, 2, 18, 18));
        assert_eq!((failed[32], failed[34], failed[44]), (0x70, 0x0A, 0x27));
        assert_eq!(status(CopyPhase::Aborted).encode_lid4(1)[5], 0x60);
        assert_eq!(status(CopyPhase::InProgress { background: true }).encode_lid4(1)[5], 0x12);
    }

    #[test]
    fn failed_segment_details_are_of_failures() {
        assert_eq!(status(CopyPhase::Completed).encode_failed_segment_details(), [0; 4]);
        let sense = Sense::copy_aborted(Asc::WRITE_PROTECTED);
        let data = status(CopyPhase::Failed(sense)).encode_failed_segment_details();
        assert_eq!((data[3], data[56], data[59], data[62], data.len()), (74, 2, 18, 0x0A, 78));
    }
}
