//! Bytes of a connection → whole PDUs.
//!
//! ```text
//!              48 bytes          AHS, digest               data, padding, digest
//!   BHS ───────────────► lengths ───────────► header ─────────────────────────────► RawPdu
//!                        checked              complete, checked
//! ```
//! The lengths are checked as soon as 48 bytes are here, so nothing is buffered for a PDU that will not be taken.

use bytes::{Buf, Bytes, BytesMut};

use crate::digest::{DIGEST_LENGTH, Digests, header_digest, padding_of};
use crate::pdu::{BHS_LENGTH, Bhs, Opcode, PduError, PduFault, RawPdu};

/// The largest AHS taken, in bytes: an Extended CDB AHS for a CDB of 260 bytes and a Bidirectional Read Expected Data
/// Transfer Length AHS. Nothing else is defined.
pub const AHS_LENGTH_MAX: usize = 4 + 244 + 8;

/// MaxRecvDataSegmentLength before it is negotiated (RFC 7143 §13.12).
pub const DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH: u32 = 8192;

/// Cuts a byte stream into PDUs. One for each direction of a connection.
#[derive(Debug)]
pub struct Framer {
    digests: Digests,
    max_recv_data_segment_length: u32,
    /// A header whose data segment is not all here.
    header: Option<Header>,
    wanted: usize,
    broken: bool,
}

#[derive(Debug)]
struct Header {
    bhs: Bhs,
    ahs: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("{opcode} PDU with a data segment of {length} bytes, where MaxRecvDataSegmentLength is {limit}")]
    DataSegmentTooLong { opcode: Opcode, length: u32, limit: u32 },
    #[error("{opcode} PDU with additional header segments of {length} bytes, where {AHS_LENGTH_MAX} are the most")]
    AdditionalHeaderTooLong { opcode: Opcode, length: usize },
    /// "Because the digest error indicates that the length field of the header may have been corrupted, the location of the
    /// beginning of a later PDU needs to be reliably ascertained by other means" (RFC 7143 §7.8): there are none.
    #[error("header digest does not match")]
    HeaderDigest,
    /// The PDU was discarded, the next one can be read: "it MUST answer with a Reject PDU with a reason code of
    /// Data-Digest-Error and discard the PDU" (RFC 7143 §7.8).
    #[error("{0}")]
    DataDigest(PduError),
    #[error("the connection was given up before")]
    Broken,
}

impl FrameError {
    /// The connection cannot go on.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, FrameError::DataDigest(_))
    }
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    /// As at the start of a connection: no digests, and the default MaxRecvDataSegmentLength.
    pub fn new() -> Framer {
        Framer {
            digests: Digests::NONE,
            max_recv_data_segment_length: DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH,
            header: None,
            wanted: BHS_LENGTH,
            broken: false,
        }
    }

    /// What was negotiated holds from the next PDU on; to be called between two PDUs.
    pub fn negotiated(&mut self, digests: Digests, max_recv_data_segment_length: u32) {
        debug_assert!(self.header.is_none(), "in the middle of a PDU");
        self.digests = digests;
        self.max_recv_data_segment_length = max_recv_data_segment_length;
    }

    /// What this side declared; the login's own PDUs obey it as soon as it is sent.
    pub fn set_max_recv_data_segment_length(&mut self, bytes: u32) {
        self.max_recv_data_segment_length = bytes;
    }

    pub fn digests(&self) -> Digests {
        self.digests
    }

    /// After [`Framer::next`] gave `None`: how many more bytes it needs before it can go on, at least 1. Once the header is
    /// known, that is the whole rest of the PDU.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Takes one PDU off the front of `buffer`, if it is all there. After a fatal error it gives nothing more.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<RawPdu>, FrameError> {
        if self.broken {
            return Err(FrameError::Broken);
        }
        let result = self.take_pdu(buffer);
        self.broken = matches!(&result, Err(error) if error.is_fatal());
        result
    }

    fn take_pdu(&mut self, buffer: &mut BytesMut) -> Result<Option<RawPdu>, FrameError> {
        let header = match self.header.take() {
            Some(header) => header,
            None => match self.take_header(buffer)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let length = data_segment_length(&header.bhs) as usize;
        let after_data = self.digests.length_after_data(length);
        if self.lacks(length + after_data, buffer) {
            self.header = Some(header);
            return Ok(None);
        }
        let data = if length == 0 { Bytes::new() } else { buffer.split_to(length).freeze() };
        let padding = padding_of(length);
        let pdu = RawPdu { bhs: header.bhs, ahs: header.ahs, data };
        let matches = after_data == padding || {
            let digest = crc32c::crc32c_append(crc32c::crc32c(&pdu.data), &buffer[..padding]);
            buffer[padding..after_data] == digest.to_le_bytes()
        };
        buffer.advance(after_data);
        if matches { Ok(Some(pdu)) } else { Err(FrameError::DataDigest(pdu.rejected(PduFault::DataDigest))) }
    }

    fn take_header(&mut self, buffer: &mut BytesMut) -> Result<Option<Header>, FrameError> {
        let Some(bhs) = buffer.first_chunk::<BHS_LENGTH>().copied() else {
            self.wanted = BHS_LENGTH - buffer.len();
            return Ok(None);
        };
        let opcode = Opcode(bhs[0] & 0x3f);
        let ahs_length = 4 * usize::from(bhs[4]);
        if ahs_length > AHS_LENGTH_MAX {
            return Err(FrameError::AdditionalHeaderTooLong { opcode, length: ahs_length });
        }
        // Without a header digest the length is as sure as it gets; with one, it is not to be believed before the check.
        if !self.digests.header {
            self.check_data_segment_length(&bhs)?;
        }
        let header_end = BHS_LENGTH + ahs_length;
        if self.lacks(header_end + self.digests.length_after_header(), buffer) {
            return Ok(None);
        }
        if self.digests.header {
            let digest = header_digest(&bhs, &buffer[BHS_LENGTH..header_end]);
            if buffer[header_end..header_end + DIGEST_LENGTH] != digest {
                return Err(FrameError::HeaderDigest);
            }
            self.check_data_segment_length(&bhs)?;
        }
        buffer.advance(BHS_LENGTH);
        let ahs = if ahs_length == 0 { Bytes::new() } else { buffer.split_to(ahs_length).freeze() };
        buffer.advance(self.digests.length_after_header());
        Ok(Some(Header { bhs, ahs }))
    }

    fn check_data_segment_length(&self, bhs: &Bhs) -> Result<(), FrameError> {
        let (length, limit) = (data_segment_length(bhs), self.max_recv_data_segment_length);
        if length > limit {
            return Err(FrameError::DataSegmentTooLong { opcode: Opcode(bhs[0] & 0x3f), length, limit });
        }
        Ok(())
    }

    /// Notes what is missing if `needed` bytes are not here.
    fn lacks(&mut self, needed: usize, buffer: &BytesMut) -> bool {
        self.wanted = needed.saturating_sub(buffer.len());
        self.wanted > 0
    }
}

fn data_segment_length(bhs: &Bhs) -> u32 {
    u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u32 = 1 << 20;

    fn framer(digests: Digests) -> Framer {
        let mut framer = Framer::new();
        framer.negotiated(digests, LIMIT);
        framer
    }

    fn raw(opcode: u8, ahs: &[u8], data: &[u8]) -> RawPdu {
        let mut bhs = [0x5a; BHS_LENGTH];
        bhs[0] = opcode;
        bhs[4] = u8::try_from(ahs.len() / 4).expect("short");
        bhs[5..8].copy_from_slice(&u32::try_from(data.len()).expect("short").to_be_bytes()[1..]);
        RawPdu { bhs, ahs: Bytes::copy_from_slice(ahs), data: Bytes::copy_from_slice(data) }
    }

    fn digests() -> impl Strategy<Value = Digests> {
        any::<(bool, bool)>().prop_map(|(header, data)| Digests { header, data })
    }

    fn pdu() -> impl Strategy<Value = RawPdu> {
        let bytes = |length: usize| prop::collection::vec(any::<u8>(), 0..length);
        (0..0x40u8, 0..4usize, bytes(300))
            .prop_map(|(opcode, words, data)| raw(opcode, &[0xa5; 12][..words.min(3) * 4], &data))
    }

    #[test]
    fn one_byte_at_a_time_and_wanted_never_lies() {
        let digests = Digests { header: true, data: true };
        let pdu = raw(1, b"ahs!", b"five.");
        let mut wire = BytesMut::new();
        digests.put(&pdu, &mut wire);
        let (mut framer, mut buffer) = (framer(digests), BytesMut::new());
        let mut wanted = Vec::new();
        for (index, byte) in wire.iter().enumerate() {
            assert_eq!(framer.next(&mut buffer), Ok(None));
            assert!(framer.wanted() >= 1 && framer.wanted() <= wire.len() - index);
            wanted.push(framer.wanted());
            buffer.extend_from_slice(&[*byte]);
        }
        assert_eq!(
            (wanted[0], wanted[48], wanted[56]),
            (48, 8, 12),
            "BHS, AHS and digest, data and padding and digest"
        );
        assert_eq!(framer.next(&mut buffer), Ok(Some(pdu)));
        assert_eq!(framer.next(&mut buffer), Ok(None));
        assert_eq!(framer.wanted(), BHS_LENGTH);
    }

    #[test]
    fn data_is_not_copied() {
        let mut buffer = BytesMut::new();
        Digests::NONE.put(&raw(5, b"", &[7; 4096]), &mut buffer);
        let address = buffer[BHS_LENGTH..].as_ptr();
        let pdu = framer(Digests::NONE).next(&mut buffer).expect("good").expect("whole");
        assert_eq!(pdu.data.as_ptr(), address);
    }

    #[test]
    fn lengths_are_refused_before_anything_more_is_buffered() {
        let mut buffer = BytesMut::from(&raw(5, b"", &[0; 8193]).bhs[..]);
        let error = FrameError::DataSegmentTooLong { opcode: Opcode::DATA_OUT, length: 8193, limit: 8192 };
        let mut framer = Framer::new();
        assert_eq!(framer.next(&mut buffer), Err(error));
        assert_eq!(framer.next(&mut buffer), Err(FrameError::Broken), "a broken stream stays broken");

        let mut bhs = raw(1, b"", b"").bhs;
        bhs[4] = 0xff;
        let error = FrameError::AdditionalHeaderTooLong { opcode: Opcode::SCSI_COMMAND, length: 1020 };
        assert_eq!(Framer::new().next(&mut BytesMut::from(&bhs[..])), Err(error));
    }

    #[test]
    fn a_length_is_not_believed_before_the_header_digest() {
        let digests = Digests { header: true, data: false };
        let mut wire = BytesMut::new();
        digests.put(&raw(1, b"", b"data"), &mut wire);
        wire[5] = 0xff;
        assert_eq!(framer(digests).next(&mut wire), Err(FrameError::HeaderDigest));
    }

    #[test]
    fn a_bad_data_digest_costs_one_pdu() {
        let digests = Digests { header: true, data: true };
        let (first, second) = (raw(5, b"", b"broken on the way"), raw(0, b"", b"fine"));
        let mut wire = BytesMut::new();
        digests.put(&first, &mut wire);
        wire[60] ^= 1;
        digests.put(&second, &mut wire);
        let mut framer = framer(digests);
        let error = framer.next(&mut wire).expect_err("one bit is wrong");
        assert!(!error.is_fatal());
        let FrameError::DataDigest(error) = error else { panic!("{error}") };
        assert_eq!((error.bhs, error.fault.reason().0), (first.bhs, 0x02));
        assert_eq!(framer.next(&mut wire), Ok(Some(second)));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_pdus(
            digests in digests(),
            pdus in prop::collection::vec(pdu(), 1..8),
            cuts in prop::collection::vec(1..200usize, 1..20),
        ) {
            let mut wire = BytesMut::new();
            pdus.iter().for_each(|pdu| digests.put(pdu, &mut wire));
            let (mut framer, mut buffer, mut found) = (framer(digests), BytesMut::new(), Vec::new());
            let mut cuts = cuts.into_iter().cycle();
            while !wire.is_empty() {
                let cut = cuts.next().unwrap_or(1).min(wire.len());
                buffer.extend_from_slice(&wire.split_to(cut));
                while let Some(pdu) = framer.next(&mut buffer).expect("what put wrote is good") {
                    found.push(pdu);
                }
            }
            prop_assert_eq!(found, pdus);
        }

        #[test]
        fn wanted_is_enough(digests in digests(), pdu in pdu()) {
            let mut wire = BytesMut::new();
            digests.put(&pdu, &mut wire);
            let (mut framer, mut buffer, mut reads) = (framer(digests), BytesMut::new(), 0);
            let found = loop {
                if let Some(pdu) = framer.next(&mut buffer).expect("what put wrote is good") {
                    break pdu;
                }
                buffer.extend_from_slice(&wire.split_to(framer.wanted()));
                reads += 1;
            };
            prop_assert_eq!(found, pdu);
            prop_assert!(wire.is_empty() && reads <= 3, "no byte too many, no read too many");
        }
    }
}
