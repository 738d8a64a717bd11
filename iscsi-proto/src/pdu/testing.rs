//! What the tests of every PDU share.

use std::fmt::Debug;

use bytes::Bytes;

use super::{BHS_LENGTH, Bhs, Pdu, PduFault, RawPdu};

/// A header from hexadecimal digits, white space apart.
pub fn header(digits: &str) -> Bhs {
    let digits: String = digits.split_whitespace().collect();
    let bytes = hex::decode(digits).expect("hexadecimal digits");
    bytes.try_into().unwrap_or_else(|bytes: Vec<u8>| panic!("{} bytes instead of {BHS_LENGTH}", bytes.len()))
}

/// The PDU is written as these bytes, and they are read as this PDU.
pub fn golden<P: Pdu + PartialEq + Debug>(pdu: &P, digits: &str) {
    let raw = pdu.to_raw();
    assert_eq!(hex::encode(raw.bhs), hex::encode(header(digits)), "encoding {pdu:?}");
    assert_eq!(raw.opcode(), P::OPCODE);
    assert_eq!(P::decode(raw).as_ref(), Ok(pdu));
}

/// What is wrong with a PDU of this header.
pub fn fault<P: Pdu>(digits: &str, data: &'static [u8]) -> Option<PduFault> {
    let raw = RawPdu { bhs: header(digits), ahs: Bytes::new(), data: Bytes::from_static(data) };
    P::decode(raw).err().map(|error| error.fault)
}
