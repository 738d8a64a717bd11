//! Cutting a command's data into Data-In PDUs (RFC 7143 §11.7): each at most the initiator's MaxRecvDataSegmentLength, each
//! sequence at most MaxBurstLength and ended by the F bit.

use bytes::Bytes;

use crate::types::DataSn;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub data_sn: DataSn,
    pub buffer_offset: u32,
    pub data: Bytes,
    /// F: the end of a sequence.
    pub final_: bool,
    pub is_last: bool,
}

#[derive(Debug)]
pub struct Segments {
    rest: Bytes,
    segment_max: u32,
    burst_max: u32,
    burst: u32,
    buffer_offset: u32,
    data_sn: DataSn,
}

impl Segments {
    pub fn new(data: Bytes, segment_max: u32, burst_max: u32) -> Segments {
        assert!(segment_max > 0 && burst_max > 0, "negotiation leaves both at 512 at least");
        Segments { rest: data, segment_max, burst_max, burst: 0, buffer_offset: 0, data_sn: DataSn(0) }
    }
}

impl Iterator for Segments {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.len().min(self.segment_max.min(self.burst_max - self.burst) as usize);
        let data = self.rest.split_to(length);
        let is_last = self.rest.is_empty();
        self.burst += length as u32;
        let final_ = is_last || self.burst == self.burst_max;
        let segment = Segment { data_sn: self.data_sn, buffer_offset: self.buffer_offset, data, final_, is_last };
        if final_ {
            self.burst = 0;
        }
        self.buffer_offset += length as u32;
        self.data_sn = self.data_sn.next();
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(length: usize, segment_max: u32, burst_max: u32) -> Vec<(u32, usize, bool, bool)> {
        let data: Bytes = vec![0; length].into();
        Segments::new(data, segment_max, burst_max)
            .map(|segment| (segment.buffer_offset, segment.data.len(), segment.final_, segment.is_last))
            .collect()
    }

    #[test]
    fn one_segment_where_it_fits() {
        assert_eq!(cut(512, 512, 1024), [(0, 512, true, true)]);
        assert_eq!(cut(0, 512, 1024), []);
    }

    #[test]
    fn segments_end_at_bursts() {
        assert_eq!(
            cut(2500, 800, 1024),
            [
                (0, 800, false, false),
                (800, 224, true, false),
                (1024, 800, false, false),
                (1824, 224, true, false),
                (2048, 452, true, true)
            ]
        );
    }
}
