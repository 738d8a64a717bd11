//! The C bit: text longer than one PDU, received and sent (RFC 7143 §6.2).
//!
//! ```text
//!   I -> T   C=1  part 1            I -> T   C=0  whole request
//!   T -> I        empty             T -> I   C=1  part 1
//!   I -> T   C=0  part 2            I -> T        empty
//!   T -> I        answer            T -> I   C=0  part 2
//! ```

use super::{Pair, TextError, pair};
use bytes::Bytes;

/// One logical text data segment, in bytes. "Any iSCSI target or initiator MUST support receiving at least 8192 bytes
/// of key=value data in a negotiation sequence" (RFC 7143 §6.1); twice that leaves room for the longest legal CHAP
/// values, and is all that a peer who has not logged in can make us hold.
pub const TEXT_BYTES_MAX: usize = 16384;

/// Text received so far. A data segment whose C bit is 0 ends it.
#[derive(Debug, Default)]
pub struct Reassembly {
    text: Vec<u8>,
}

impl Reassembly {
    /// `None` while more follows; then "A target receiving a Text or Login Request with the C bit set to 1 MUST answer
    /// with a Text or Login Response with no data segment" (RFC 7143 §6.2).
    pub fn receive(&mut self, data: &[u8], more_follows: bool) -> Result<Option<Vec<Pair>>, TextError> {
        let bytes = self.text.len() + data.len();
        if bytes > TEXT_BYTES_MAX {
            return Err(TextError::TooMuchText { bytes });
        }
        self.text.extend_from_slice(data);
        if more_follows {
            return Ok(None);
        }
        pair::parse(&std::mem::take(&mut self.text)).map(Some)
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Text to send, cut into data segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    rest: Bytes,
}

impl Outgoing {
    pub fn new(pairs: &[Pair]) -> Outgoing {
        Outgoing { rest: pair::encode(pairs).into() }
    }

    /// The next data segment, at most `data_segment_bytes_max` long. What remains after it, if anything, goes with C=1.
    pub fn next(&mut self, data_segment_bytes_max: usize) -> Bytes {
        self.rest.split_to(self.rest.len().min(data_segment_bytes_max.max(1)))
    }

    /// All of it goes into one data segment.
    pub fn fits(&self, data_segment_bytes_max: usize) -> bool {
        self.rest.len() <= data_segment_bytes_max
    }

    pub fn more_follows(&self) -> bool {
        !self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pair_may_span_data_segments() {
        let mut received = Reassembly::default();
        assert_eq!(received.receive(b"Initiator", true), Ok(None));
        assert_eq!(received.receive(b"", true), Ok(None));
        assert_eq!(received.receive(b"Alias=h\0", false), Ok(Some(vec![Pair::new("InitiatorAlias", "h")])));
        assert!(received.is_empty());
    }

    #[test]
    fn text_is_bounded() {
        let mut received = Reassembly::default();
        assert_eq!(received.receive(&vec![b'A'; TEXT_BYTES_MAX], true), Ok(None));
        assert_eq!(received.receive(b"A", true), Err(TextError::TooMuchText { bytes: TEXT_BYTES_MAX + 1 }));
    }

    proptest! {
        #[test]
        fn cut_text_comes_back(values in prop::collection::vec("[a-z]{0,40}", 0..20), size in 1usize..50) {
            let pairs: Vec<Pair> = values.iter().map(|value| Pair::new("TargetAddress", value.as_str())).collect();
            let (mut outgoing, mut received) = (Outgoing::new(&pairs), Reassembly::default());
            let whole = loop {
                let data = outgoing.next(size);
                prop_assert!(data.len() <= size);
                if let Some(whole) = received.receive(&data, outgoing.more_follows()).expect("within the bound") {
                    break whole;
                }
            };
            prop_assert_eq!(whole, pairs);
        }
    }
}
