//! One property for every PDU: what is defined survives decoding and encoding, what is reserved comes out as zero.

use bytes::Bytes;
use iscsi_proto::pdu::{Opcode, PduError, PduFault, RawPdu, Request, Response};
use proptest::prelude::*;

/// The bits RFC 7143 §11 (and RFC 7144) defines in each header, read off the figures; F where it is always 1 is not counted.
/// Bytes 4 to 7, the lengths, are the test's own.
const DEFINED: &[(Opcode, &str)] = &[
    (
        Opcode::NOP_OUT,
        "7f000000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 00000000 00000000 00000000 00000000",
    ),
    (
        Opcode::SCSI_COMMAND,
        "7fe7f000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff",
    ),
    (
        Opcode::TASK_MANAGEMENT_REQUEST,
        "7f7f0000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 00000000 00000000",
    ),
    (
        Opcode::LOGIN_REQUEST,
        "3fcfffff 00000000 ffffffff ffffffff ffffffff ffff0000 ffffffff ffffffff 00000000 00000000 00000000 00000000",
    ),
    (
        Opcode::TEXT_REQUEST,
        "7fc00000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 00000000 00000000 00000000 00000000",
    ),
    (
        Opcode::DATA_OUT,
        "3f800000 00000000 ffffffff ffffffff ffffffff ffffffff 00000000 ffffffff 00000000 ffffffff ffffffff 00000000",
    ),
    (
        Opcode::LOGOUT_REQUEST,
        "7f7f0000 00000000 00000000 00000000 ffffffff ffff0000 ffffffff ffffffff 00000000 00000000 00000000 00000000",
    ),
    (
        Opcode::SNACK,
        "3f0f0000 00000000 ffffffff ffffffff ffffffff ffffffff 00000000 ffffffff 00000000 00000000 ffffffff ffffffff",
    ),
    (
        Opcode::NOP_IN,
        "3f000000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 00000000 00000000 00000000",
    ),
    (
        Opcode::SCSI_RESPONSE,
        "3f1effff 00000000 ffff0000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff",
    ),
    (
        Opcode::TASK_MANAGEMENT_RESPONSE,
        "3f00ff00 00000000 ffffff00 00000000 ffffffff 00000000 ffffffff ffffffff ffffffff 00000000 00000000 00000000",
    ),
    (
        Opcode::LOGIN_RESPONSE,
        "3fcfffff 00000000 ffffffff ffffffff ffffffff 00000000 ffffffff ffffffff ffffffff ffff0000 00000000 00000000",
    ),
    (
        Opcode::TEXT_RESPONSE,
        "3fc00000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 00000000 00000000 00000000",
    ),
    (
        Opcode::DATA_IN,
        "3fc700ff 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff",
    ),
    (
        Opcode::LOGOUT_RESPONSE,
        "3f00ff00 00000000 00000000 00000000 ffffffff 00000000 ffffffff ffffffff ffffffff 00000000 ffffffff 00000000",
    ),
    (
        Opcode::R2T,
        "3f000000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff",
    ),
    (
        Opcode::ASYNC_MESSAGE,
        "3f000000 00000000 ffffffff ffffffff 00000000 00000000 ffffffff ffffffff ffffffff ffffffff ffffffff 00000000",
    ),
    (
        Opcode::REJECT,
        "3f00ff00 00000000 00000000 00000000 00000000 00000000 ffffffff ffffffff ffffffff ffffffff 00000000 00000000",
    ),
];

/// No residual, no count; no S, no status: a number beside an unset flag has no meaning and need not survive.
fn drop_meaningless(opcode: Opcode, bhs: &[u8; 48], mask: &mut [u8; 48]) {
    let flag = |bits| bhs[1] & bits != 0;
    match opcode {
        Opcode::SCSI_RESPONSE => {
            mask[44..].fill(if flag(0x06) { 0xff } else { 0 });
            mask[40..44].fill(if flag(0x18) { 0xff } else { 0 });
        }
        Opcode::DATA_IN if !flag(0x01) => {
            (mask[1], mask[3]) = (0xc1, 0);
            mask[24..28].fill(0);
            mask[44..].fill(0);
        }
        Opcode::DATA_IN if !flag(0x06) => mask[44..].fill(0),
        _ => (),
    }
}

enum Either {
    Request(Request),
    Response(Response),
}

fn decode(pdu: RawPdu) -> Result<Either, PduError> {
    if pdu.opcode().0 < 0x20 {
        Request::decode(pdu).map(Either::Request)
    } else {
        Response::decode(pdu).map(Either::Response)
    }
}

fn encode(pdu: &Either) -> RawPdu {
    match pdu {
        Either::Request(pdu) => pdu.to_raw(),
        Either::Response(pdu) => pdu.to_raw(),
    }
}

/// An AHS that a SCSI Command may have.
fn ahs() -> impl Strategy<Value = Vec<u8>> {
    let extended = prop::collection::vec(any::<u8>(), 1..=244).prop_map(|content| {
        let mut segment = vec![0, (content.len() + 1) as u8, 1, 0];
        segment.extend(&content);
        segment.resize(segment.len().next_multiple_of(4), 0);
        segment
    });
    let read_length = any::<[u8; 4]>().prop_map(|length| [&[0, 5, 2, 0], &length[..]].concat());
    (prop::option::of(extended), prop::option::of(read_length))
        .prop_map(|(first, second)| [first.unwrap_or_default(), second.unwrap_or_default()].concat())
}

fn has_data(opcode: Opcode) -> bool {
    let without = [
        Opcode::TASK_MANAGEMENT_REQUEST,
        Opcode::LOGOUT_REQUEST,
        Opcode::SNACK,
        Opcode::TASK_MANAGEMENT_RESPONSE,
        Opcode::LOGOUT_RESPONSE,
        Opcode::R2T,
    ];
    !without.contains(&opcode)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn defined_bits_survive_and_reserved_ones_are_cleared(
        (opcode, mask) in prop::sample::select(DEFINED),
        first in any::<[u8; 16]>(), second in any::<[u8; 16]>(), third in any::<[u8; 16]>(),
        ahs in ahs(),
        data in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bhs: [u8; 48] = [first, second, third].concat().try_into().expect("three times 16");
        bhs[0] = bhs[0] & 0xc0 | opcode.0;
        let ahs = if opcode == Opcode::SCSI_COMMAND { ahs } else { Vec::new() };
        let data = if has_data(opcode) { data } else { Vec::new() };
        bhs[4] = u8::try_from(ahs.len() / 4).expect("at most 256 bytes");
        bhs[5..8].copy_from_slice(&u32::try_from(data.len()).expect("short").to_be_bytes()[1..]);
        let pdu = RawPdu { bhs, ahs: ahs.into(), data: data.into() };

        let decoded = match decode(pdu.clone()) {
            Ok(decoded) => decoded,
            Err(error) => {
                // What is refused is refused for a contradiction in the fields, and given back whole.
                prop_assert!(!matches!(error.fault, PduFault::Truncated | PduFault::UnknownOpcode | PduFault::WrongDirection));
                prop_assert_eq!((error.bhs, error.ahs), (pdu.bhs, pdu.ahs));
                return Ok(());
            }
        };
        let mut mask: [u8; 48] = hex::decode(mask.replace(' ', "")).expect("digits").try_into().expect("48 bytes");
        drop_meaningless(opcode, &bhs, &mut mask);
        mask[4..8].fill(0xff);
        let encoded = encode(&decoded);
        for offset in 0..48 {
            prop_assert_eq!(
                encoded.bhs[offset] & mask[offset], bhs[offset] & mask[offset], "{} byte {}", opcode, offset
            );
            let constant = match (opcode, offset) {
                (Opcode::LOGIN_REQUEST, 0) => 0x40,
                (Opcode::ASYNC_MESSAGE | Opcode::REJECT, 16..20) => 0xff,
                (_, 1) => 0x80,
                _ => 0,
            };
            prop_assert_eq!(encoded.bhs[offset] & !mask[offset] & !constant, 0, "{} reserved in byte {}", opcode, offset);
        }
        prop_assert_eq!(&encoded.ahs, &pdu.ahs);
        prop_assert_eq!(&encoded.data, &pdu.data);
        prop_assert_eq!(encode(&decode(encoded.clone()).expect("what we write is good")), encoded);
    }

    #[test]
    fn any_header_is_read_or_refused(first in any::<[u8; 32]>(), second in any::<[u8; 16]>(), ahs: Vec<u8>, data: Vec<u8>) {
        let bhs: [u8; 48] = [&first[..], &second].concat().try_into().expect("32 and 16");
        let pdu = RawPdu { bhs, ahs: ahs.into(), data: data.into() };
        for refused in [Request::decode(pdu.clone()).err(), Response::decode(pdu.clone()).err()].into_iter().flatten() {
            prop_assert_eq!(&refused.bhs, &bhs);
            prop_assert!(refused.fault.reason().name().is_some());
        }
    }
}

#[test]
fn every_opcode_is_in_the_table() {
    let named = (0..0x40).map(Opcode).filter(|opcode| opcode.name().is_some()).count();
    assert_eq!(named, DEFINED.len());
    let empty = |opcode: Opcode| {
        let mut bhs = [0; 48];
        (bhs[0], bhs[1]) = (opcode.0 | 0x40, 0x80);
        RawPdu { bhs, ahs: Bytes::new(), data: Bytes::new() }
    };
    for (opcode, _) in DEFINED {
        assert!(decode(empty(*opcode)).is_ok(), "{opcode} with nothing in it");
    }
}
