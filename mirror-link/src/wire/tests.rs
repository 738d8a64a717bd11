//! Frames through encoder and decoder.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use proptest::prelude::*;

use super::body::{self, Content};
use super::header::{HEADER_LENGTH, Header, MAGIC};
use super::message::*;
use super::testing::{any_frame, decoded, drain, encoded, of_group, op, write};
use super::*;
use crate::block::Payload;
use crate::config::Compression;
use crate::extent::{BlockCount, Lba};
use crate::ids::{Generation, OwnerEpoch, VolumeIndex, WriteSeq};

const METHODS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

fn method() -> impl Strategy<Value = Compression> {
    (0..3_usize).prop_map(|which| METHODS[which])
}

/// `change` a good header and sign it again.
fn header_with(change: impl FnOnce(&mut [u8])) -> Result<Option<Frame>, WireError> {
    let mut wire = encoded(&op(write(&[1; 512])), Compression::None);
    change(&mut wire[..40]);
    let crc = crc32c::crc32c(&wire[..40]);
    wire[40..44].copy_from_slice(&crc.to_be_bytes());
    FrameDecoder::new(Compression::Lz4).next(&mut wire)
}

/// `change` a body, and sign body and header again.
fn body_with(frame: &Frame, change: impl FnOnce(&mut BytesMut)) -> Result<Frame, WireError> {
    let wire = encoded(frame, Compression::None);
    let mut header = Header::decode(wire.first_chunk().expect("a header")).expect("a good one");
    let (body, payload) = wire[HEADER_LENGTH..].split_at(header.body_length as usize);
    let mut body = BytesMut::from(body);
    change(&mut body);
    (header.body_crc, header.body_length) = (crc32c::crc32c(&body), body.len() as u32);
    decoded(&[&header.encode()[..], &body, payload].concat(), Compression::None)
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, WireError>, fault: Fault, text: &str) {
    let error = result.expect_err("refused");
    assert_eq!((error.fault(), error.to_string().as_str()), (fault, text));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_frame_comes_back(
        frames in proptest::collection::vec(any_frame(), 1..8),
        compression in method(),
        cuts in proptest::collection::vec(1..3000_usize, 1..8),
    ) {
        let (mut encoder, mut out) = (FrameEncoder::new(compression), Outgoing::default());
        frames.iter().for_each(|frame| encoder.encode(frame, &mut out));
        let mut wire = drain(&mut out);
        let (mut decoder, mut buffer, mut got) = (FrameDecoder::new(compression), BytesMut::new(), Vec::new());
        for cut in cuts.iter().cycle() {
            buffer.extend_from_slice(&wire.split_to(wire.len().min(*cut)));
            while let Some(frame) = decoder.next(&mut buffer).expect("good") {
                got.push(frame);
            }
            prop_assert!(decoder.wanted() > 0);
            if wire.is_empty() {
                break;
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(got, frames);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_single_bit_of_a_frame_is_guarded(frame in any_frame(), compression in method(), at in any::<prop::sample::Index>()) {
        let wire = encoded(&frame, compression);
        let body = Header::decode(wire.first_chunk().expect("a header")).expect("good").body_length as usize;
        // All of the header, and one bit anywhere behind it.
        let bits = (0..8 * HEADER_LENGTH).chain([8 * HEADER_LENGTH + at.index(8 * (wire.len() - HEADER_LENGTH))]);
        for bit in bits {
            let mut damaged = wire.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = FrameDecoder::new(compression).next(&mut damaged).expect_err("refused");
            let expected = match bit / 8 {
                0..4 => matches!(error, WireError::Foreign { expected: MAGIC, .. }),
                4..HEADER_LENGTH => matches!(error, WireError::Damaged { part: Part::Header, .. }),
                at if at < HEADER_LENGTH + body => matches!(error, WireError::Damaged { part: Part::Body(_), .. }),
                _ => matches!(
                    error,
                    WireError::Damaged { part: Part::Payload(_), .. } | WireError::Undecompressed { .. }
                ),
            };
            prop_assert!(expected, "bit {}: {}", bit, error);
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_waited_for(frame in any_frame(), compression in method()) {
        let wire = encoded(&frame, compression);
        let header = Header::decode(wire.first_chunk().expect("a header")).expect("good");
        // Every length of header and body, and some of the payload.
        let small = HEADER_LENGTH + header.body_length as usize + 2;
        for length in (0..wire.len()).filter(|&length| length < small || length % 97 == 0 || length + 1 == wire.len()) {
            let mut decoder = FrameDecoder::new(compression);
            let mut buffer = BytesMut::from(&wire[..length]);
            prop_assert_eq!(decoder.next(&mut buffer), Ok(None));
            let missing = if length < HEADER_LENGTH { HEADER_LENGTH } else { HEADER_LENGTH + header.rest_length() } - length;
            prop_assert_eq!(decoder.wanted(), missing);
            buffer.extend_from_slice(&wire[length..]);
            prop_assert_eq!(decoder.next(&mut buffer), Ok(Some(frame.clone())));
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), HEADER_LENGTH..300)) {
        let mut decoder = FrameDecoder::new(Compression::Zstd);
        prop_assert!(decoder.next(&mut BytesMut::from(&bytes[..])).is_err());
    }

    #[test]
    fn a_random_body_with_good_checksums_is_refused_or_comes_back(
        (kind, coding) in (0..0x30_u8, 0..3_u8),
        (content, mut body) in (0..2000_u32, proptest::collection::vec(0..3_u8, 0..200)),
        random in any::<[u8; 8]>(),
    ) {
        let at = body.len() / 2;
        body.splice(at..at, random);
        let header = Header {
            kind: Kind(kind),
            coding: header::coding_from_wire(coding).expect("one of three"),
            session: 1,
            group: 1,
            body_length: body.len() as u32,
            payload_length: content / 2,
            content_length: content,
            body_crc: crc32c::crc32c(&body),
            content_crc: 0,
        };
        let mut wire = BytesMut::from(&header.encode()[..]);
        wire.extend_from_slice(&body);
        let mut decoder = FrameDecoder::new(Compression::Lz4);
        if let Ok(Some(frame)) = decoder.next(&mut wire) {
            prop_assert_eq!(decoded(&encoded(&frame, Compression::None), Compression::None), Ok(frame));
        }
    }
}

#[test]
fn payload_is_neither_copied_out_nor_in() {
    let data = Bytes::from(vec![0x5a; 4096]);
    let range = Range { lba: Lba(0), blocks: BlockCount(8) };
    let frame = op(Op::Write { volume: VolumeIndex(0), range, data: data.clone().into(), durable: false });
    let (mut encoder, mut out) = (FrameEncoder::new(Compression::None), Outgoing::default());
    encoder.encode(&Frame::Ping(1), &mut out);
    encoder.encode(&frame, &mut out);
    encoder.encode(&Frame::Ping(2), &mut out);
    encoder.encode(&Frame::Ping(3), &mut out);
    let mut chunks = [IoSlice::new(&[]); 8];
    assert_eq!(out.chunks_vectored(&mut chunks), 3, "small ones lie together");
    assert_eq!(chunks[1].as_ptr(), data.as_ptr());
    let mut wire = drain(&mut out);
    let mut decoder = FrameDecoder::new(Compression::None);
    assert_eq!(decoder.next(&mut wire), Ok(Some(Frame::Ping(1))));
    let place = wire[HEADER_LENGTH + 48 + 16..].as_ptr();
    let frame = decoder.next(&mut wire).expect("good").expect("whole");
    let Content::Data(payload) = body::content(&frame) else { panic!("a write") };
    assert_eq!(payload.pieces()[0].as_ptr(), place);
}

#[test]
fn a_known_checksum_is_taken_as_it_is() {
    let frame = op(write(&[7; 1024]));
    let Content::Data(payload) = body::content(&frame) else { panic!("a write") };
    let (mut encoder, mut known) = (FrameEncoder::new(Compression::None), Outgoing::default());
    encoder.encode_checked(&frame, Some(PayloadCrc::of(payload)), &mut known);
    assert_eq!(drain(&mut known), encoded(&frame, Compression::None));
    encoder.encode_checked(&frame, Some(PayloadCrc(1)), &mut known);
    let error = FrameDecoder::new(Compression::None).next(&mut drain(&mut known)).expect_err("another checksum");
    assert!(matches!(error, WireError::Damaged { part: Part::Payload(Kind::WRITE), expected: 1, .. }), "{error}");
}

#[test]
fn compressed_only_where_it_shrinks_and_as_agreed() {
    let text = op(write(&[0x20; 65_536]));
    for compression in [Compression::Lz4, Compression::Zstd] {
        let wire = encoded(&text, compression);
        assert!(wire.len() < 1000, "{compression:?}: {}", wire.len());
        assert_eq!(decoded(&wire, compression), Ok(text.clone()));
        let error = decoded(&wire, Compression::None).expect_err("not agreed");
        assert_eq!(error.fault(), Fault::PeerMisbehaved);
        assert!(error.to_string().contains("expected payloads compressed as its hello said: None"), "{error}");
    }
    let crc = |seed: u32| crc32c::crc32c(&seed.to_be_bytes()).to_be_bytes();
    let noise: Vec<u8> = (0..1024).flat_map(crc).collect();
    let noise = op(write(&noise));
    assert_eq!(encoded(&noise, Compression::Zstd), encoded(&noise, Compression::None));
}

#[test]
fn pieces_are_compressed_as_one() {
    let mut data = Payload::default();
    (0..3).for_each(|byte| data.push(vec![byte; 512].into()));
    let range = Range { lba: Lba(0), blocks: BlockCount(3) };
    let frame = op(Op::Write { volume: VolumeIndex(0), range, data, durable: false });
    METHODS.iter().for_each(|&method| assert_eq!(decoded(&encoded(&frame, method), method), Ok(frame.clone())));
}

#[test]
fn a_bomb_is_refused_before_anything_is_allocated_for_it() {
    // 512 bytes declared for 8 blocks: not even decompressed.
    let mut wire = encoded(&op(write(&[0; 4096])), Compression::Lz4);
    let mut header = Header::decode(wire.first_chunk().expect("a header")).expect("good");
    header.content_length = 1 << 20;
    wire[..HEADER_LENGTH].copy_from_slice(&header.encode());
    let mut decoder = FrameDecoder::new(Compression::Lz4);
    says(
        decoder.next(&mut wire),
        Fault::PeerMisbehaved,
        "WRITE frame: expected as much data as the blocks of its range, got 1048576",
    );
    says(decoder.next(&mut wire), Fault::Ours, "the connection was given up before");
}

#[test]
fn a_payload_that_makes_more_than_it_declares_is_refused() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let bomb = encoded(&op(write(&[0; 1 << 19])), compression);
        let small = encoded(&op(write(&[0; 4096])), Compression::None);
        let (bomb_header, small_header) = (bomb.first_chunk().expect("44"), small.first_chunk().expect("44"));
        let bomb_header = Header::decode(bomb_header).expect("good");
        let small_header = Header::decode(small_header).expect("good");
        let header = Header { payload_length: bomb_header.payload_length, coding: compression, ..small_header };
        let payload_at = bomb.len() - bomb_header.payload_length as usize;
        let body = &small[HEADER_LENGTH..HEADER_LENGTH + small_header.body_length as usize];
        // The declared range is small; what is behind it is not.
        let wire = [&header.encode()[..], body, &bomb[payload_at..]].concat();
        let error = FrameDecoder::new(compression).next(&mut BytesMut::from(&wire[..])).expect_err("a bomb");
        assert!(matches!(error, WireError::Undecompressed { kind: Kind::WRITE, .. }), "{error}");
    }
}

#[test]
fn lengths_beyond_those_of_the_kind_are_refused_with_the_header() {
    let misbehaved = Fault::PeerMisbehaved;
    says(
        header_with(|h| h[24..32].copy_from_slice(&[2, 0, 0, 1, 2, 0, 0, 1])),
        misbehaved,
        "WRITE frame: expected a payload of at most 33554432 bytes, got 33554433",
    );
    says(
        header_with(|h| h[5] = Kind::WRITE_ZEROES.0),
        misbehaved,
        "WRITE_ZEROES frame: expected a payload of at most 0 bytes, got 512",
    );
    says(
        header_with(|h| {
            h[5] = Kind::MARK.0;
            h[24..32].copy_from_slice(&[0, 0x10, 0, 1, 0, 0x10, 0, 1]);
        }),
        misbehaved,
        "MARK frame: expected a payload of at most 1048576 bytes, got 1048577",
    );
    says(header_with(|h| h[22] = 1), misbehaved, "WRITE frame: expected a body of 48 to 80 bytes, got 320");
}

#[test]
fn a_header_that_is_whole_but_wrong_says_what_was_expected() {
    let misbehaved = Fault::PeerMisbehaved;
    says(
        header_with(|h| h[4] = 2),
        Fault::PeerIncompatible,
        "expected frames of version 1, got version 2: run the same release on both nodes",
    );
    says(header_with(|h| h[0] = b'G'), Fault::Line, "expected a frame's first bytes 0x4c554e4d, got 0x47554e4d");
    says(
        header_with(|h| h[5] = 0x7f),
        misbehaved,
        "kind 0x7f frame: expected a kind of frame that this version knows, got kind 0x7f",
    );
    says(header_with(|h| h[6] = 3), misbehaved, "WRITE frame: expected coding 0, 1 or 2, got 3");
    for reserved in [7, 18, 19] {
        let error = header_with(|h| h[reserved] = 1).expect_err("reserved");
        assert!(error.to_string().contains("reserved bytes that are zero"), "{error}");
    }
    says(
        header_with(|h| h[31] = 1),
        misbehaved,
        "WRITE frame: expected a payload that makes 513 bytes, got 512 bytes, None",
    );
    says(
        header_with(|h| h[6] = 1),
        misbehaved,
        "WRITE frame: expected a payload that makes 512 bytes, got 512 bytes, Lz4",
    );
    let ping = |h: &mut [u8]| {
        h[5] = Kind::PING.0;
        (h[23], h[26], h[30]) = (8, 0, 0);
    };
    says(
        header_with(ping),
        misbehaved,
        "PING frame: expected neither session nor group, got session 1122334455667788, group 3",
    );
}

#[test]
fn a_body_that_is_whole_but_wrong_says_what_was_expected() {
    let misbehaved = Fault::PeerMisbehaved;
    let zeroes = op(Op::WriteZeroes {
        volume: VolumeIndex(1),
        range: Range { lba: Lba(1), blocks: BlockCount(1) },
        allocation: crate::block::Allocation::Keep,
        durable: false,
    });
    let write = op(write(&[0; 512]));
    says(
        body_with(&zeroes, |b| b[26] = 5),
        misbehaved,
        "WRITE_ZEROES frame: expected at most 4 overlapping writes, got 5",
    );
    says(body_with(&zeroes, |b| b[26] = 3), misbehaved, "WRITE_ZEROES frame: expected more bytes in its body, got 0");
    says(
        body_with(&zeroes, |b| b[26] = 1),
        misbehaved,
        "WRITE_ZEROES frame: expected no bytes behind its fields, got 8",
    );
    says(
        body_with(&zeroes, |b| b[27] = 8),
        misbehaved,
        "WRITE_ZEROES frame: expected only flags that this version knows, got 8",
    );
    let unused = "zero in the fields that its kind has no use for";
    says(body_with(&zeroes, |b| b[28] = 4), misbehaved, &format!("WRITE_ZEROES frame: expected {unused}, got 0"));
    says(body_with(&op(Op::Flush), |b| b[47] = 1), misbehaved, &format!("FLUSH frame: expected {unused}, got 0"));
    says(
        body_with(&zeroes, |b| b[31] = 4),
        misbehaved,
        "WRITE_ZEROES frame: expected reserved bytes that are zero, got 4",
    );
    says(
        body_with(&write, |b| b[47] = 2),
        misbehaved,
        "WRITE frame: expected as much data as the blocks of its range, got 512",
    );
    says(
        body_with(&write, |b| b[40] = 0x80),
        misbehaved,
        "WRITE frame: expected as much data as the blocks of its range, got 512",
    );
    says(
        body_with(&Frame::Bye(ByeReason::Shutdown), |b| b[0] = 4),
        misbehaved,
        "BYE frame: expected reason 1, 2 or 3, got 4",
    );
    let ack = of_group(Message::Ack(Box::new(Ack {
        epoch: OwnerEpoch(1),
        number: 1,
        received_upto: WriteSeq(0),
        applied_upto: WriteSeq(0),
        durable_upto: WriteSeq(0),
        received: [(WriteSeq(2), WriteSeq(3))].into_iter().collect(),
        applied: Default::default(),
        credit: Credit::default(),
        failed: Default::default(),
        differs: Default::default(),
    })));
    says(
        body_with(&ack, |b| b[71] = 4),
        misbehaved,
        "ACK frame: expected a run that does not end before it begins, got 3",
    );
    says(body_with(&ack, |b| b[56] = 17), misbehaved, "ACK frame: expected at most 16 runs, got 17");
    says(body_with(&ack, |b| b[58] = 0xff), misbehaved, "ACK frame: expected at most 1024 failed writes, got 65280");
    says(
        body_with(&ack, |b| b[60] = 0xff),
        misbehaved,
        "ACK frame: expected at most 1024 ranges that differ, got 65280",
    );
    says(body_with(&ack, |b| b[63] = 1), misbehaved, "ACK frame: expected reserved bytes that are zero, got 1");
}

#[test]
fn epochs_and_numbers_that_nobody_comes_to_are_refused() {
    const EPOCH: &str = "an epoch below 2^45";
    const NUMBER: &str = "a write's number below 2^45";
    let (epoch, first, seq) = (OwnerEpoch(2), WriteSeq(9), WriteSeq(0));
    let begin = Begin { epoch, first, resync: false, generation: Generation(7), counting: Generation(8) };
    let ack = Ack {
        epoch,
        number: 1,
        received_upto: seq,
        applied_upto: seq,
        durable_upto: seq,
        received: [(first, first)].into_iter().collect(),
        applied: Default::default(),
        credit: Credit::default(),
        failed: [first].into_iter().collect(),
        differs: [first].into_iter().collect(),
    };
    let range = Range { lba: Lba(0), blocks: BlockCount(1) };
    let read = Read { epoch, id: 1, after: seq, volume: VolumeIndex(0), range };
    let done = ReadDone { epoch, id: 1, lent: Lent::Zeroes };
    let ack = of_group(Message::Ack(Box::new(ack)));
    let (volume, range, digest) = (VolumeIndex(1), Range { lba: Lba(0), blocks: BlockCount(1) }, Digest::ZEROES);
    let verify = op(Op::Verify { volume, range, digest, is_copy: false, known: seq });
    let cases = [
        (op(Op::Flush), "FLUSH", 0, EPOCH),
        (op(Op::Flush), "FLUSH", 8, NUMBER),
        (op(Op::Flush), "FLUSH", 16, NUMBER),
        (op(Op::Flush), "FLUSH", 48, NUMBER),
        (of_group(Message::Begin(begin)), "BEGIN", 0, EPOCH),
        (of_group(Message::Begin(begin)), "BEGIN", 8, NUMBER),
        (of_group(Message::Position(Position::default())), "POSITION", 0, EPOCH),
        (of_group(Message::Read(read)), "READ", 0, EPOCH),
        (of_group(Message::Read(read)), "READ", 16, NUMBER),
        (of_group(Message::ReadDone(done)), "READ_DONE", 0, EPOCH),
        (ack.clone(), "ACK", 0, EPOCH),
        (ack.clone(), "ACK", 16, NUMBER),
        (ack.clone(), "ACK", 24, NUMBER),
        (ack.clone(), "ACK", 32, NUMBER),
        (ack.clone(), "ACK", 40, NUMBER),
        (ack.clone(), "ACK", 72, NUMBER),
        (ack.clone(), "ACK", 80, NUMBER),
        (ack, "ACK", 88, NUMBER),
        (verify, "VERIFY", 48, NUMBER),
    ];
    for (frame, kind, at, expected) in cases {
        let with = |number: u64| body_with(&frame, |body| body[at..at + 8].copy_from_slice(&number.to_be_bytes()));
        for number in [WriteSeq::MAX.0 + 1, u64::MAX] {
            says(with(number), Fault::PeerMisbehaved, &format!("{kind} frame: expected {expected}, got {number}"));
        }
    }
}

#[test]
#[should_panic(expected = "are not")]
fn a_write_whose_data_is_not_its_range_is_our_own_fault() {
    let range = Range { lba: Lba(0), blocks: BlockCount(2) };
    let data = Bytes::from(vec![0; 512]).into();
    encoded(&op(Op::Write { volume: VolumeIndex(0), range, data, durable: false }), Compression::None);
}

#[test]
fn the_largest_payload_passes() {
    let data = vec![0x33; PAYLOAD_MAX];
    let frame = op(write(&data));
    METHODS.iter().for_each(|&method| assert_eq!(decoded(&encoded(&frame, method), method), Ok(frame.clone())));
}
