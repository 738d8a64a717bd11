//! A heartbeat: one UDP datagram, authenticated, of no use to anybody but the one it was sent to.

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u32, be_u64};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::FORM_VERSION;
use super::body::field::{self, Parsed, at_most, fault, list, reserved};
use super::body::hello::{marks, put_marks, role, role_to_wire};
use super::keys::{KEY_LENGTH, PairKeys, is_signed, sign};
use super::message::{Marks, Role};
use crate::ids::{Instance, NAME_MAX, NodeName, SessionId};

/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| "LUNB"                                                        |
///   4| version = 1   | node length   | group count   |. . . . . . E S|
///   8| number                                                        |
///    +                                                               +
///  12|                                                               |
///  16| instance                                                      |
///    +                                                               +
///  20|                                                               |
///  24| session, or 0                                                 |
///    +                                                               +
///  28|                                                               |
///  32| echo: instance, or 0                                          |
///    +                                                               +
///  36|                                                               |
///  40| echo: number, or 0                                            |
///    +                                                               +
///  44|                                                               |
///  48| echo: held, microseconds, or 0                                |
///  52| reserved = 0                                                  |
///  56/ node name                                                     /
///   +/ groups, 36 bytes each:                                        /
///   0| group                                                         |
///    +                                                               +
///   4|                                                               |
///   8| role          | reserved = 0                                  |
///  12/ epoch, applied up to, durable up to, 8 bytes each             /
///   +/ HMAC-SHA256 over all that precedes                            /
///
///  E: echo is there.  S: session is there.
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender's.
    pub node: NodeName,
    pub instance: Instance,
    /// `None`: the sender has no slot open.
    pub session: Option<SessionId>,
    /// Grows by one with each datagram that an instance sends to this peer, from 1.
    pub number: u64,
    /// The last of the receiver's datagrams that the sender heard.
    pub echo: Option<Echo>,
    /// How groups stand at the sender, at most [`BEATS_MAX`]; where there are more they take turns.
    pub groups: SmallVec<[GroupBeat; 2]>,
}

/// That a datagram was heard, and how long ago: proof of freshness to its sender, and a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub instance: Instance,
    pub number: u64,
    /// Between its arrival and this datagram; the greatest value also means more.
    pub held_us: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBeat {
    pub group: GroupTag,
    pub role: Role,
    /// Epoch 0: none.
    pub marks: Marks,
}

/// Which group is meant, by those that may never have met: the start of its name's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupTag(pub u64);

impl GroupTag {
    pub fn of(name: &str) -> GroupTag {
        let digest = Sha256::digest(name.as_bytes());
        GroupTag(digest.iter().take(8).fold(0, |tag, &byte| tag << 8 | u64::from(byte)))
    }
}

/// Groups told of in one datagram: as many as surely fit an unfragmented one (1232 bytes over IPv6).
pub const BEATS_MAX: usize = 16;

const MAGIC: u32 = 0x4c55_4e42;
const FIXED_LENGTH: usize = 56;
const BEAT_LENGTH: usize = 36;
const SESSION: u8 = 1;
const ECHO: u8 = 2;

/// Bytes of the longest; whatever is longer is not ours.
pub const DATAGRAM_MAX: usize = FIXED_LENGTH + NAME_MAX + BEATS_MAX * BEAT_LENGTH + KEY_LENGTH;

/// Why a datagram is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    #[error("not a heartbeat")]
    Foreign,
    #[error("expected a heartbeat of version {expected}, got version {got}: run the same release on both nodes")]
    Version { expected: u8, got: u8 },
    #[error("expected {expected} in a heartbeat, got {got}")]
    Malformed { expected: &'static str, got: u64 },
    #[error(
        "a heartbeat in the name of {node} is not signed with the pair's secret: it must be the same on both nodes"
    )]
    Forged { node: String },
}

impl Datagram {
    /// Who claims to have sent it: whose keys [`Datagram::decode`] needs. Not to be believed.
    pub fn claimed_sender(datagram: &[u8]) -> Result<&str, DatagramError> {
        let Some((head, rest)) = datagram.split_first_chunk::<FIXED_LENGTH>() else {
            return Err(DatagramError::Foreign);
        };
        if head[..4] != MAGIC.to_be_bytes() || datagram.len() > DATAGRAM_MAX {
            return Err(DatagramError::Foreign);
        }
        if head[4] != FORM_VERSION {
            return Err(DatagramError::Version { expected: FORM_VERSION, got: head[4] });
        }
        let length = usize::from(head[5]);
        rest.get(..length)
            .filter(|_| (1..=NAME_MAX).contains(&length))
            .and_then(|name| std::str::from_utf8(name).ok())
            .ok_or(DatagramError::Malformed { expected: "a node's name", got: length as u64 })
    }

    /// Append it to `out`, signed.
    pub fn encode(&self, keys: &PairKeys, out: &mut BytesMut) {
        assert!(self.groups.len() <= BEATS_MAX, "a heartbeat tells of at most {BEATS_MAX} groups");
        let start = out.len();
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let echo = self.echo.unwrap_or(Echo { instance: Instance(0), number: 0, held_us: 0 });
        out.put_u32(MAGIC);
        out.put_u8(FORM_VERSION);
        out.put_u8(field::name_length(&self.node));
        out.put_u8(self.groups.len() as u8);
        out.put_u8(flag(self.session.is_some(), SESSION) | flag(self.echo.is_some(), ECHO));
        out.put_u64(self.number);
        out.put_u64(self.instance.0);
        out.put_u64(self.session.map_or(0, |session| session.0));
        out.put_u64(echo.instance.0);
        out.put_u64(echo.number);
        out.put_u32(echo.held_us);
        out.put_u32(0);
        out.put_slice(self.node.as_bytes());
        for beat in &self.groups {
            out.put_u64(beat.group.0);
            out.put_u8(role_to_wire(beat.role));
            out.put_bytes(0, 3);
            put_marks(&beat.marks, out);
        }
        let signature = sign(&keys.heartbeat_to_peer, &[&out[start..]]);
        out.put_slice(&signature);
    }

    /// Believes nothing before the signature.
    pub fn decode(datagram: &[u8], keys: &PairKeys) -> Result<Datagram, DatagramError> {
        let node = Datagram::claimed_sender(datagram)?;
        let (signed, signature) = match datagram.split_last_chunk::<KEY_LENGTH>() {
            Some((signed, signature)) if signed.len() >= FIXED_LENGTH => (signed, signature),
            _ => return Err(DatagramError::Foreign),
        };
        if !is_signed(&keys.heartbeat_from_peer, &[signed], signature) {
            return Err(DatagramError::Forged { node: node.into() });
        }
        let malformed = |fault: field::BodyFault| DatagramError::Malformed { expected: fault.expected, got: fault.got };
        field::whole(parse, &signed[5..]).map_err(malformed)
    }
}

/// From byte 5 on.
fn parse(input: &[u8]) -> Parsed<'_, Datagram> {
    let (rest, (name_length, groups, flags)) =
        (be_u8, at_most(be_u8, BEATS_MAX, "at most 16 groups"), field::flags(SESSION | ECHO)).parse(input)?;
    let (rest, (number, instance, session, echo, ())) =
        (be_u64, be_u64.map(Instance), be_u64.map(SessionId), echo, reserved(4)).parse(rest)?;
    let (rest, node) = field::name(name_length)(rest)?;
    let (rest, groups) = list(groups, beat, rest)?;
    let nothing = Echo { instance: Instance(0), number: 0, held_us: 0 };
    if (flags & SESSION == 0 && session != SessionId(0)) || (flags & ECHO == 0 && echo != nothing) {
        return fault("zero where a flag says that nothing is there", flags);
    }
    let session = (flags & SESSION != 0).then_some(session);
    let echo = (flags & ECHO != 0).then_some(echo);
    Ok((rest, Datagram { node, instance, session, number, echo, groups }))
}

fn echo(input: &[u8]) -> Parsed<'_, Echo> {
    (be_u64.map(Instance), be_u64, be_u32)
        .map(|(instance, number, held_us)| Echo { instance, number, held_us })
        .parse(input)
}

fn beat(input: &[u8]) -> Parsed<'_, GroupBeat> {
    (be_u64.map(GroupTag), role, reserved(3), marks)
        .map(|(group, role, (), marks)| GroupBeat { group, role, marks })
        .parse(input)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{epoch, name, seq};
    use super::*;
    use crate::config::PairSecret;
    use crate::ids::{OwnerEpoch, WriteSeq};

    fn keys(us: &str, peer: &str) -> PairKeys {
        PairKeys::derive(&PairSecret([7; 32].into()), us, peer)
    }

    fn beat() -> Datagram {
        let marks = Marks { epoch: OwnerEpoch(2), applied_upto: WriteSeq(9), durable_upto: WriteSeq(8) };
        Datagram {
            node: "alpha".into(),
            instance: Instance(0x77),
            session: Some(SessionId(0x1122_3344_5566_7788)),
            number: 0x1234,
            echo: Some(Echo { instance: Instance(0x88), number: 0x55, held_us: 250_000 }),
            groups: [GroupBeat { group: GroupTag::of("db"), role: Role::Primary, marks }].into_iter().collect(),
        }
    }

    fn encoded(datagram: &Datagram, keys: &PairKeys) -> BytesMut {
        let mut out = BytesMut::new();
        datagram.encode(keys, &mut out);
        out
    }

    /// With another body, signed like a good one.
    fn changed(change: impl FnOnce(&mut BytesMut)) -> Result<Datagram, DatagramError> {
        let mut wire = encoded(&beat(), &keys("alpha", "beta"));
        wire.truncate(wire.len() - KEY_LENGTH);
        change(&mut wire);
        let signature = sign(&keys("alpha", "beta").heartbeat_to_peer, &[&wire]);
        wire.extend_from_slice(&signature);
        Datagram::decode(&wire, &keys("beta", "alpha"))
    }

    #[test]
    fn the_bytes_are_what_they_were() {
        let wire = encoded(&beat(), &keys("alpha", "beta"));
        let expected = "4c554e42 01050103 00000000 00001234 00000000 00000077 11223344 55667788
                        00000000 00000088 00000000 00000055 0003d090 00000000 616c706861
                        7bdc25d1 694ef984 01 000000 00000000 00000002 00000000 00000009 00000000 00000008
                        528e7c84eb4623e83af76dac457060922fa102dc2521291423cf863ad9a583bc";
        assert_eq!(hex::encode(&wire), expected.split_whitespace().collect::<String>());
        assert_eq!(Datagram::claimed_sender(&wire), Ok("alpha"));
        assert_eq!(Datagram::decode(&wire, &keys("beta", "alpha")), Ok(beat()));
    }

    #[test]
    fn of_no_use_to_anybody_else() {
        let wire = encoded(&beat(), &keys("alpha", "beta"));
        let forged = Err(DatagramError::Forged { node: "alpha".into() });
        assert_eq!(Datagram::decode(&wire, &keys("alpha", "beta")), forged, "reflected to its sender");
        assert_eq!(Datagram::decode(&wire, &keys("gamma", "alpha")), forged, "sent on to another peer");
        let other = PairKeys::derive(&PairSecret([8; 32].into()), "beta", "alpha");
        assert_eq!(Datagram::decode(&wire, &other), forged, "another secret");
    }

    #[test]
    fn every_single_bit_and_every_length_is_guarded() {
        let (wire, keys) = (encoded(&beat(), &keys("alpha", "beta")), keys("beta", "alpha"));
        for bit in 0..8 * wire.len() {
            let mut damaged = wire.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Datagram::decode(&damaged, &keys).is_err(), "bit {bit}");
        }
        for length in 0..wire.len() {
            assert!(Datagram::decode(&wire[..length], &keys).is_err(), "{length} bytes");
        }
        let longer = [&wire[..], &[0]].concat();
        assert!(Datagram::decode(&longer, &keys).is_err());
    }

    #[test]
    fn signed_but_wrong_says_what_was_expected() {
        let says = |result: Result<Datagram, DatagramError>, text: &str| {
            assert_eq!(result.expect_err("refused").to_string(), text);
        };
        says(changed(|_| ()).and(Err(DatagramError::Foreign)), "not a heartbeat");
        says(
            changed(|b| b[4] = 2),
            "expected a heartbeat of version 1, got version 2: run the same release on both nodes",
        );
        says(changed(|b| b[5] = 0), "expected a node's name in a heartbeat, got 0");
        says(changed(|b| b[6] = 17), "expected at most 16 groups in a heartbeat, got 17");
        says(changed(|b| b[6] = 2), "expected more bytes in its body in a heartbeat, got 0");
        says(changed(|b| b[6] = 0), "expected no bytes behind its fields in a heartbeat, got 36");
        says(changed(|b| b[7] = 4), "expected only flags that this version knows in a heartbeat, got 4");
        says(changed(|b| b[7] = 1), "expected zero where a flag says that nothing is there in a heartbeat, got 1");
        says(changed(|b| b[7] = 2), "expected zero where a flag says that nothing is there in a heartbeat, got 2");
        says(changed(|b| b[55] = 1), "expected reserved bytes that are zero in a heartbeat, got 1");
        says(changed(|b| b[75] = 0x20), "expected an epoch below 2^45 in a heartbeat, got 35184372088834");
        says(changed(|b| b[69] = 3), "expected role 1 or 2 in a heartbeat, got 3");
    }

    proptest! {
        #[test]
        fn every_heartbeat_comes_back(
            node in name(),
            (instance, session, number, echo) in any::<(u64, Option<u64>, u64, Option<(u64, u64, u32)>)>(),
            groups in proptest::collection::vec((any::<(u64, bool)>(), epoch(), seq(), seq()), 0..=BEATS_MAX),
        ) {
            let groups = groups.into_iter().map(|((group, primary), epoch, applied_upto, durable_upto)| GroupBeat {
                group: GroupTag(group),
                role: if primary { Role::Primary } else { Role::Secondary },
                marks: Marks { epoch, applied_upto, durable_upto },
            });
            let echo = echo.map(|(instance, number, held_us)| Echo { instance: Instance(instance), number, held_us });
            let (instance, session) = (Instance(instance), session.map(SessionId));
            let datagram = Datagram { node, instance, session, number, echo, groups: groups.collect() };
            let wire = encoded(&datagram, &keys(&datagram.node, "beta"));
            prop_assert!(wire.len() <= DATAGRAM_MAX && DATAGRAM_MAX <= 1232);
            prop_assert_eq!(Datagram::decode(&wire, &keys("beta", &datagram.node)), Ok(datagram));
        }

        #[test]
        fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), ours in any::<bool>()) {
            let start: &[u8] = if ours { b"LUNB\x01\x05" } else { b"" };
            let bytes = [start, &bytes].concat();
            let _ = Datagram::claimed_sender(&bytes);
            prop_assert!(Datagram::decode(&bytes, &keys("beta", "alpha")).is_err());
        }

        #[test]
        fn a_signed_body_of_any_kind_is_refused_or_comes_back(
            changes in proptest::collection::vec((5..97_usize, any::<u8>()), 1..5),
        ) {
            let result = changed(|wire| {
                let end = wire.len();
                changes.iter().for_each(|&(at, byte)| wire[at.min(end - 1)] = byte);
            });
            if let Ok(datagram) = result {
                let wire = encoded(&datagram, &keys("alpha", "beta"));
                prop_assert_eq!(Datagram::decode(&wire, &keys("beta", "alpha")), Ok(datagram));
            }
        }
    }
}
