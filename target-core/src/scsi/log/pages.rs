//! The pages' parameters.

use super::{LogSource, Space, Transfers};
use crate::scsi::vpd::THRESHOLD_EXPONENT;

pub(super) struct Parameter {
    pub code: u16,
    kind: Kind,
    value: Vec<u8>,
}

/// FORMAT AND LINKING
#[derive(Clone, Copy)]
enum Kind {
    UnboundedCounter = 0b10,
    BinaryList = 0b11,
}

impl Parameter {
    fn counter(code: u16, value: u64) -> Parameter {
        Parameter { code, kind: Kind::UnboundedCounter, value: value.to_be_bytes().to_vec() }
    }

    fn list(code: u16, value: Vec<u8>) -> Parameter {
        Parameter { code, kind: Kind::BinaryList, value }
    }

    pub fn encode(&self) -> Vec<u8> {
        let [high, low] = self.code.to_be_bytes();
        [&[high, low, self.kind as u8, self.value.len() as u8], self.value.as_slice()].concat()
    }
}

/// 02h and 03h (SPC-5 §7.3.6, §7.3.17): what is counted of the standard's seven.
pub(super) fn error_counters(transfers: &Transfers) -> Vec<Parameter> {
    const TOTAL_BYTES_PROCESSED: u16 = 0x0005;
    const TOTAL_UNCORRECTED_ERRORS: u16 = 0x0006;
    let mut parameters = vec![Parameter::counter(TOTAL_BYTES_PROCESSED, transfers.bytes)];
    parameters.extend(transfers.errors.map(|errors| Parameter::counter(TOTAL_UNCORRECTED_ERRORS, errors)));
    parameters
}

/// 0Ch (SBC-4 §6.4.5): LBA mapping resources, in threshold sets; what is begun is used.
pub(super) fn provisioning(space: &Space) -> Vec<Parameter> {
    const AVAILABLE: u16 = 0x0001;
    const USED: u16 = 0x0002;
    /// SCOPE: not dedicated to this logical unit alone, as file systems are shared.
    const NOT_DEDICATED: u8 = 0b10;
    let sets = |blocks: u64| blocks.div_ceil(1 << THRESHOLD_EXPONENT).min(u32::MAX.into()) as u32;
    let resource = |code, count: u32| {
        let [a, b, c, d] = count.to_be_bytes();
        Parameter::list(code, vec![a, b, c, d, NOT_DEDICATED, 0, 0, 0])
    };
    let used = sets(space.used);
    vec![resource(AVAILABLE, sets(space.capacity).saturating_sub(used)), resource(USED, used)]
}

/// 19h (SPC-5 §7.3.9): commands and blocks. Times are not measured, so that their intervals, of 10^-3 s, stay zero.
pub(super) fn general_statistics(source: &LogSource) -> Vec<Parameter> {
    const STATISTICS_AND_PERFORMANCE: u16 = 0x0001;
    const IDLE_TIME: u16 = 0x0002;
    const TIME_INTERVAL: u16 = 0x0003;
    let blocks = |bytes: u64| bytes / u64::from(source.block_length.max(1));
    let counters = [
        source.read.commands,
        source.write.commands,
        blocks(source.write.bytes),
        blocks(source.read.bytes),
        0,
        0,
        0,
        0,
    ];
    let value = counters.iter().flat_map(|counter| counter.to_be_bytes()).collect();
    vec![
        Parameter::list(STATISTICS_AND_PERFORMANCE, value),
        Parameter::list(IDLE_TIME, vec![0; 8]),
        Parameter::list(TIME_INTERVAL, vec![0, 0, 0, 3, 0, 0, 0, 1]),
    ]
}

/// 2Fh (SPC-5 §7.3.10): no exception, and no thermometer.
pub(super) fn informational_exceptions() -> Vec<Parameter> {
    const NOT_AVAILABLE: u8 = 0xFF;
    vec![Parameter::list(0x0000, vec![0, 0, NOT_AVAILABLE, 0])]
}
