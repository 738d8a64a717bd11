//! ACK.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u64};
use smallvec::SmallVec;

use super::field::{Parsed, at_most, epoch, fault, list, reserved, seq};
use crate::ids::WriteSeq;
use crate::wire::message::{Ack, Credit, DIFFERS_MAX, FAILED_MAX, RUNS_MAX};

const FIXED_LENGTH: usize = 64;
pub(in crate::wire) const LENGTH: RangeInclusive<usize> =
    FIXED_LENGTH..=FIXED_LENGTH + 2 * RUNS_MAX * 16 + (FAILED_MAX + DIFFERS_MAX) * 8;

type Run = (WriteSeq, WriteSeq);

/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| epoch                                                         |
///    +                                                               +
///   4|                                                               |
///   8| number                                                        |
///    +                                                               +
///  12|                                                               |
///  16| received up to                                                |
///    +                                                               +
///  20|                                                               |
///  24| applied up to                                                 |
///    +                                                               +
///  28|                                                               |
///  32| durable up to                                                 |
///    +                                                               +
///  36|                                                               |
///  40| credit: greatest number                                       |
///    +                                                               +
///  44|                                                               |
///  48| credit: bytes                                                 |
///    +                                                               +
///  52|                                                               |
///  56| runs received | runs applied  | writes failed                 |
///  60| what differs                  | reserved = 0                  |
///  64/ runs received beyond: first, last, 8 bytes each               /
///   +/ runs applied beyond: likewise                                 /
///   +/ writes failed, 8 bytes each                                   /
///   +/ what differs, 8 bytes each                                    /
/// ```
pub(super) fn parse(input: &[u8]) -> Parsed<'_, Ack> {
    let (rest, (epoch, number, received_upto, applied_upto, durable_upto, credit_seq, credit_bytes)) =
        (epoch, be_u64, seq, seq, seq, seq, be_u64).parse(input)?;
    let (rest, (received, applied, failed, differs, ())) = (
        at_most(be_u8, RUNS_MAX, "at most 16 runs"),
        at_most(be_u8, RUNS_MAX, "at most 16 runs"),
        at_most(be_u16, FAILED_MAX, "at most 1024 failed writes"),
        at_most(be_u16, DIFFERS_MAX, "at most 1024 ranges that differ"),
        reserved(2),
    )
        .parse(rest)?;
    let (rest, received) = runs(received, rest)?;
    let (rest, applied) = runs(applied, rest)?;
    let (rest, failed) = list(failed, seq, rest)?;
    let (rest, differs) = list(differs, seq, rest)?;
    let credit = Credit { seq: credit_seq, bytes: credit_bytes };
    let ack =
        Ack { epoch, number, received_upto, applied_upto, durable_upto, received, applied, credit, failed, differs };
    Ok((rest, ack))
}

fn runs(count: usize, input: &[u8]) -> Parsed<'_, SmallVec<[Run; 4]>> {
    list(count, run, input)
}

fn run(input: &[u8]) -> Parsed<'_, Run> {
    match (seq, seq).parse(input)? {
        (_, (first, last)) if first > last => fault("a run that does not end before it begins", last.0),
        parsed => Ok(parsed),
    }
}

pub(super) fn put(ack: &Ack, out: &mut BytesMut) {
    assert!(ack.received.len() <= RUNS_MAX && ack.applied.len() <= RUNS_MAX, "an Ack has at most {RUNS_MAX} runs");
    assert!(ack.failed.len() <= FAILED_MAX, "an Ack names at most {FAILED_MAX} failed writes");
    assert!(ack.differs.len() <= DIFFERS_MAX, "an Ack names at most {DIFFERS_MAX} that differ");
    out.put_u64(ack.epoch.0);
    out.put_u64(ack.number);
    out.put_u64(ack.received_upto.0);
    out.put_u64(ack.applied_upto.0);
    out.put_u64(ack.durable_upto.0);
    out.put_u64(ack.credit.seq.0);
    out.put_u64(ack.credit.bytes);
    out.put_u8(ack.received.len() as u8);
    out.put_u8(ack.applied.len() as u8);
    out.put_u16(ack.failed.len() as u16);
    out.put_u16(ack.differs.len() as u16);
    out.put_u16(0);
    for (first, last) in ack.received.iter().chain(&ack.applied) {
        assert!(first <= last, "a run begins before it ends");
        out.put_u64(first.0);
        out.put_u64(last.0);
    }
    ack.failed.iter().chain(&ack.differs).for_each(|seq| out.put_u64(seq.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OwnerEpoch;
    use crate::wire::message::Message;
    use crate::wire::testing::{golden, of_group};

    #[test]
    fn received_beyond_a_hole_and_failed_once() {
        let ack = Ack {
            epoch: OwnerEpoch(2),
            number: 0x55,
            received_upto: WriteSeq(9),
            applied_upto: WriteSeq(8),
            durable_upto: WriteSeq(7),
            received: [(WriteSeq(11), WriteSeq(12)), (WriteSeq(14), WriteSeq(14))].into_iter().collect(),
            applied: [(WriteSeq(12), WriteSeq(12))].into_iter().collect(),
            credit: Credit { seq: WriteSeq(0x100), bytes: 0x1_0000_0000 },
            failed: [WriteSeq(6)].into_iter().collect(),
            differs: [WriteSeq(0x77)].into_iter().collect(),
        };
        golden(
            &of_group(Message::Ack(Box::new(ack))),
            "4c554e4d 01120000 11223344 55667788 0003 0000 00000080 00000000 00000000 108421a2 00000000 068e72d5
             00000000 00000002 00000000 00000055 00000000 00000009 00000000 00000008 00000000 00000007
             00000000 00000100 00000001 00000000 02010001 00010000
             00000000 0000000b 00000000 0000000c 00000000 0000000e 00000000 0000000e
             00000000 0000000c 00000000 0000000c 00000000 00000006 00000000 00000077",
        );
    }
}
