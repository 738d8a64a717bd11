//! Random and mutated bytes through framer and decoder: what the fuzz target `framer` does, bounded, on any toolchain.

use bytes::{Bytes, BytesMut};
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::{AHS_LENGTH_MAX, FrameError, Framer};
use iscsi_proto::pdu::{RawPdu, Request, Response};

const STREAMS: u64 = 20_000;
const LIMIT: u32 = 4096;

/// SplitMix64: one seed, one run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> usize {
        (self.next() % bound) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

/// A stream of plausible PDUs, some of them damaged.
fn stream(random: &mut Random, digests: Digests) -> BytesMut {
    let mut wire = BytesMut::new();
    for _ in 0..1 + random.below(4) {
        let mut bhs = [0; 48];
        bhs.iter_mut().for_each(|byte| *byte = if random.below(3) == 0 { random.byte() } else { 0 });
        let data: Vec<u8> = (0..random.below(64)).map(|_| random.byte()).collect();
        let ahs: Vec<u8> = (0..4 * random.below(4)).map(|_| random.byte() & 7).collect();
        (bhs[4], bhs[5], bhs[6], bhs[7]) = ((ahs.len() / 4) as u8, 0, 0, data.len() as u8);
        digests.put(&RawPdu { bhs, ahs: ahs.into(), data: data.into() }, &mut wire);
    }
    for _ in 0..random.below(4) {
        let at = random.below(wire.len() as u64);
        wire[at] = random.byte();
    }
    wire
}

#[test]
fn nothing_panics_and_nothing_is_buffered_beyond_the_limits() {
    let (mut taken, mut decoded, mut refused) = (0, 0, 0);
    for seed in 0..STREAMS {
        let mut random = Random(seed);
        let digests = Digests { header: random.below(2) == 0, data: random.below(2) == 0 };
        let mut wire = stream(&mut random, digests);
        let mut framer = Framer::new();
        framer.negotiated(digests, LIMIT);
        let mut buffer = BytesMut::new();
        'stream: while !wire.is_empty() {
            let length = (1 + random.below(100)).min(wire.len());
            buffer.extend_from_slice(&wire.split_to(length));
            loop {
                match framer.next(&mut buffer) {
                    Ok(Some(pdu)) => {
                        taken += 1;
                        let (request, response) = (Request::decode(pdu.clone()), Response::decode(pdu));
                        decoded += u32::from(request.is_ok()) + u32::from(response.is_ok());
                    }
                    Ok(None) => break,
                    Err(FrameError::DataDigest(_)) => refused += 1,
                    Err(_) => {
                        refused += 1;
                        break 'stream;
                    }
                }
            }
            let most = 48 + AHS_LENGTH_MAX + 4 + LIMIT as usize + 3 + 4;
            assert!((1..=most).contains(&framer.wanted()), "seed {seed} wants {}", framer.wanted());
        }
    }
    assert!(
        taken > 20_000 && decoded > 5_000 && refused > 1_000,
        "{taken} taken, {decoded} decoded, {refused} refused"
    );
}

#[test]
fn data_of_one_pdu_keeps_nothing_of_the_others() {
    let mut wire = BytesMut::new();
    for byte in 0..3 {
        let mut bhs = [0; 48];
        bhs[7] = 5;
        Digests::NONE.put(&RawPdu { bhs, ahs: Bytes::new(), data: Bytes::from(vec![byte; 5]) }, &mut wire);
    }
    let mut framer = Framer::new();
    for byte in 0..3 {
        let pdu = framer.next(&mut wire).expect("good").expect("whole");
        assert_eq!(pdu.data, vec![byte; 5]);
    }
    assert!(wire.is_empty());
}
