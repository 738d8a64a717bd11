//! The messages of the handshake as bytes.

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u64};

use super::refusal::{Refusal, RefusalCode, TEXT_MAX};
use super::{HandshakeError, Nonce, SlotHello};
use crate::config::Encryption;
use crate::ids::{Instance, NAME_MAX, SLOTS_MAX, SessionId, Slot};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::body::field::{self, BodyFault, Parsed, fault, reserved};
use crate::wire::header::{coding_from_wire, coding_to_wire};
use crate::wire::keys::{KEY_LENGTH, Key};
use crate::wire::secure::{NOISE_LENGTH, NoiseMessage};

/// Bytes in every message of the handshake, in every version of the protocol.
pub const CELL_LENGTH: usize = 288;

pub type Cell = [u8; CELL_LENGTH];

/// "LUNH".
const MAGIC: u32 = 0x4c55_4e48;

const HELLO: u8 = 1;
const PROOF: u8 = 2;
const REFUSAL: u8 = 3;

/// Every version keeps bytes 0 to 5 and the length.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| "LUNH"                                                        |
///   4| version = 2   | type          | as the type says              |
///
///  Hello, type 1
///   4| version = 2   | 1             | slot          | connections   |
///   8| encryption    | coding        | name length   | reserved = 0  |
///  12| reserved = 0                                                  |
///  16| instance                                                      |
///    +                                                               +
///  20|                                                               |
///  24| session                                                       |
///    +                                                               +
///  28|                                                               |
///  32/ nonce                                                         /
///  64/ node name, zeroes behind it                                   /
/// 288
///  Proof, type 2
///   4| version = 2   | 2             | reserved = 0                  |
///   8/ reserved = 0                                                  /
///  16/ HMAC-SHA256                                                   /
///  48/ message of the Noise pattern, zeroes without encryption       /
///  96/ reserved = 0                                                  /
/// 288
///  Refusal, type 3
///   4| version = 2   | 3             | code          | text length   |
///   8/ reserved = 0                                                  /
///  16/ text in UTF-8, zeroes behind it                               /
/// 256/ reserved = 0                                                  /
/// 288
///  encryption: 0 none · 1 Noise. coding: that of payloads, as in a frame's header.
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Hello(SlotHello),
    Proof(Proof),
    Refusal(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub signature: Key,
    pub noise: NoiseMessage,
}

impl SlotHello {
    pub(super) fn encode(&self) -> Cell {
        let name = self.node.as_bytes();
        assert!((1..=NAME_MAX).contains(&name.len()), "a node's name has 1 to {NAME_MAX} bytes");
        let mut cell = start(HELLO);
        cell[6] = self.slot.0;
        cell[7] = self.connections;
        cell[8] = match self.encryption {
            Encryption::None => 0,
            Encryption::Noise => 1,
        };
        cell[9] = coding_to_wire(self.compression);
        cell[10] = name.len() as u8;
        cell[16..24].copy_from_slice(&self.instance.0.to_be_bytes());
        cell[24..32].copy_from_slice(&self.session.0.to_be_bytes());
        cell[32..64].copy_from_slice(&self.nonce.0);
        cell[64..64 + name.len()].copy_from_slice(name);
        cell
    }
}

impl Proof {
    pub fn encode(&self) -> Cell {
        let mut cell = start(PROOF);
        cell[16..48].copy_from_slice(&self.signature);
        cell[48..96].copy_from_slice(&self.noise);
        cell
    }
}

impl Refusal {
    /// The message to send.
    pub fn encode(&self) -> Cell {
        let text = self.text().as_bytes();
        let mut cell = start(REFUSAL);
        cell[6] = self.code.0;
        cell[7] = text.len() as u8;
        cell[16..16 + text.len()].copy_from_slice(text);
        cell
    }
}

fn start(kind: u8) -> Cell {
    let mut cell = [0; CELL_LENGTH];
    cell[..4].copy_from_slice(&MAGIC.to_be_bytes());
    (cell[4], cell[5]) = (PROTOCOL_VERSION, kind);
    cell
}

impl Message {
    pub fn decode(cell: &Cell) -> Result<Message, HandshakeError> {
        let magic = u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]]);
        if magic != MAGIC {
            return Err(HandshakeError::Foreign { got: magic });
        }
        // A refusal of a peer of another version says so, and keeps this form.
        if cell[4] != PROTOCOL_VERSION && cell[5] != REFUSAL {
            return Err(HandshakeError::Version { expected: PROTOCOL_VERSION, got: cell[4] });
        }
        let parsed = match cell[5] {
            HELLO => field::whole(hello, &cell[6..]).map(Message::Hello),
            PROOF => field::whole(proof, &cell[6..]).map(Message::Proof),
            REFUSAL => field::whole(refusal, &cell[6..]).map(Message::Refusal),
            other => Err(BodyFault { expected: "a message of type 1, 2 or 3", got: other.into() }),
        };
        parsed.map_err(|fault| HandshakeError::Malformed { expected: fault.expected, got: fault.got.to_string() })
    }

    /// Something else was due.
    pub fn unexpected<T>(self, expected: &'static str) -> Result<T, HandshakeError> {
        let got = match self {
            Message::Refusal(refusal) => return Err(HandshakeError::Refused(refusal)),
            Message::Hello(_) => "a hello",
            Message::Proof(_) => "a proof",
        };
        Err(HandshakeError::Malformed { expected, got: got.into() })
    }
}

fn hello(input: &[u8]) -> Parsed<'_, SlotHello> {
    let (rest, (slot, connections, encryption, coding, name_length, ())) =
        (be_u8, be_u8, be_u8, be_u8, be_u8, reserved(5)).parse(input)?;
    let (rest, (instance, session, nonce)) =
        (be_u64.map(Instance), be_u64.map(SessionId), take(32_usize)).parse(rest)?;
    let (rest, node) = field::name(name_length)(rest)?;
    let (rest, ()) = reserved(CELL_LENGTH - 64 - usize::from(name_length))(rest)?;
    if connections == 0 || usize::from(connections) > SLOTS_MAX || slot >= SLOTS_MAX as u8 {
        return fault("slots 0 to 63 of 1 to 64 connections", if connections == 0 { connections } else { slot });
    }
    let encryption = match encryption {
        0 => Encryption::None,
        1 => Encryption::Noise,
        other => return fault("encryption 0 or 1", other),
    };
    let Some(compression) = coding_from_wire(coding) else {
        return fault("coding 0, 1 or 2", coding);
    };
    let nonce = Nonce(nonce.try_into().expect("32 bytes were taken"));
    Ok((rest, SlotHello { node, instance, session, slot: Slot(slot), connections, encryption, compression, nonce }))
}

fn proof(input: &[u8]) -> Parsed<'_, Proof> {
    let (rest, ((), signature, noise, ())) =
        (reserved(10), take(KEY_LENGTH), take(NOISE_LENGTH), reserved(CELL_LENGTH - 96)).parse(input)?;
    let signature = signature.try_into().expect("as many bytes were taken");
    let noise = noise.try_into().expect("as many bytes were taken");
    Ok((rest, Proof { signature, noise }))
}

fn refusal(input: &[u8]) -> Parsed<'_, Refusal> {
    let (rest, (code, length)) = (be_u8.map(RefusalCode), be_u8).parse(input)?;
    if usize::from(length) > TEXT_MAX {
        return fault("a text of at most 240 bytes", length);
    }
    let (rest, ((), text)) = (reserved(8), take(length)).parse(rest)?;
    let (rest, _) = take(rest.len()).parse(rest)?;
    Ok((rest, Refusal::new(code, String::from_utf8_lossy(text))))
}
