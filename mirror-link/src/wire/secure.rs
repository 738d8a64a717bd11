//! Encryption of a slot, where it is asked for: Noise_NNpsk0_25519_ChaChaPoly_SHA256, keyed by the pair's secret. Fresh
//! Diffie-Hellman keys for each connection: a secret that leaks later does not open what was recorded.
//!
//! After the handshake each direction is a row of records, which do not care where frames begin:
//!
//! ```text
//!   0| length of what follows, 2 bytes, 17 to 65535                  |
//!   2/ ChaCha20-Poly1305 of 1 to 65519 bytes, with their tag         /
//! ```
//! The nonces are the records' numbers, so a record that is lost, doubled or moved does not open.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use rand_core::{CryptoRng, RngCore};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, StatelessTransportState};

use super::keys::Key;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
/// Of the pre-shared key in the pattern: before the first message.
const PSK_PLACE: u8 = 0;
const TAG_LENGTH: usize = 16;
const RECORD_MAX: usize = 65_535;
const PLAIN_MAX: usize = RECORD_MAX - TAG_LENGTH;
const PREFIX_LENGTH: usize = 2;

/// Each of the two messages of the pattern: a public key and a tag.
pub(super) const NOISE_LENGTH: usize = 32 + TAG_LENGTH;
pub(super) type NoiseMessage = [u8; NOISE_LENGTH];

/// 32 random bytes, used once: the connection's own Diffie-Hellman key.
#[derive(Clone)]
pub struct Ephemeral(pub [u8; 32]);

/// Bytes do not open with the pair's keys: another secret, or somebody changed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecureError {
    #[error("an encrypted record of {0} bytes, where 17 to 65535 were expected")]
    Length(usize),
    #[error("an encrypted record was changed on its way, or is not the next one")]
    Forged,
    #[error("the connection was given up before")]
    Broken,
}

/// An agreed connection, to be split in its two directions.
pub struct Secure(StatelessTransportState);

impl Secure {
    pub fn split(self) -> (Sealer, Opener) {
        let transport = Arc::new(self.0);
        (
            Sealer { transport: transport.clone(), number: 0, gathered: BytesMut::new() },
            Opener { transport, number: 0, wanted: PREFIX_LENGTH, broken: false },
        )
    }
}

/// Our direction.
pub struct Sealer {
    transport: Arc<StatelessTransportState>,
    number: u64,
    gathered: BytesMut,
}

impl Sealer {
    /// Append all of `plain`, in records as long as they may be, to `sealed`.
    pub fn seal(&mut self, plain: &mut impl Buf, sealed: &mut BytesMut) {
        while plain.has_remaining() {
            let length = plain.remaining().min(PLAIN_MAX);
            if plain.chunk().len() >= length {
                seal_record(&self.transport, self.number, &plain.chunk()[..length], sealed);
                plain.advance(length);
            } else {
                self.gathered.clear();
                self.gathered.put(plain.take(length));
                seal_record(&self.transport, self.number, &self.gathered, sealed);
            }
            self.number += 1;
        }
    }
}

fn seal_record(transport: &StatelessTransportState, number: u64, plain: &[u8], sealed: &mut BytesMut) {
    let length = plain.len() + TAG_LENGTH;
    sealed.put_u16(length as u16);
    let start = sealed.len();
    sealed.put_bytes(0, length);
    let written = transport.write_message(number, plain, &mut sealed[start..]);
    assert_eq!(written, Ok(length), "a record is as long as Noise lets it be, and numbers do not run out");
}

/// The peer's direction.
pub struct Opener {
    transport: Arc<StatelessTransportState>,
    number: u64,
    wanted: usize,
    broken: bool,
}

impl Opener {
    /// After [`Opener::open`]: how many more bytes the record that has begun lacks, at least 1.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Append to `plain` what the whole records at the front of `sealed` hold. After an error it gives nothing more.
    pub fn open(&mut self, sealed: &mut BytesMut, plain: &mut BytesMut) -> Result<(), SecureError> {
        if self.broken {
            return Err(SecureError::Broken);
        }
        let result = self.open_records(sealed, plain);
        self.broken = result.is_err();
        result
    }

    fn open_records(&mut self, sealed: &mut BytesMut, plain: &mut BytesMut) -> Result<(), SecureError> {
        loop {
            let Some(&prefix) = sealed.first_chunk() else {
                self.wanted = PREFIX_LENGTH - sealed.len();
                return Ok(());
            };
            let length = usize::from(u16::from_be_bytes(prefix));
            if length <= TAG_LENGTH {
                return Err(SecureError::Length(length));
            }
            let Some(record) = sealed.get(PREFIX_LENGTH..PREFIX_LENGTH + length) else {
                self.wanted = PREFIX_LENGTH + length - sealed.len();
                return Ok(());
            };
            let start = plain.len();
            plain.put_bytes(0, length - TAG_LENGTH);
            if self.transport.read_message(self.number, record, &mut plain[start..]).is_err() {
                plain.truncate(start);
                return Err(SecureError::Forged);
            }
            self.number += 1;
            sealed.advance(PREFIX_LENGTH + length);
        }
    }
}

/// The dialer's part, between its message and the answer.
pub(super) struct Initiator(HandshakeState);

impl Initiator {
    /// `prologue`: what both sides have said so far; they agree only if they heard the same.
    pub fn start(psk: &Key, prologue: &[u8], ephemeral: Ephemeral) -> (Initiator, NoiseMessage) {
        let mut state = builder(psk, prologue, ephemeral).build_initiator().expect("the pattern needs no more");
        let message = write(&mut state);
        (Initiator(state), message)
    }

    pub fn finish(mut self, answer: &NoiseMessage) -> Result<Secure, SecureError> {
        read(&mut self.0, answer)?;
        Ok(into_transport(self.0))
    }
}

/// The acceptor's part, all at once.
pub(super) fn respond(
    psk: &Key,
    prologue: &[u8],
    ephemeral: Ephemeral,
    message: &NoiseMessage,
) -> Result<(Secure, NoiseMessage), SecureError> {
    let mut state = builder(psk, prologue, ephemeral).build_responder().expect("the pattern needs no more");
    read(&mut state, message)?;
    let answer = write(&mut state);
    Ok((into_transport(state), answer))
}

fn builder<'a>(psk: &'a Key, prologue: &'a [u8], ephemeral: Ephemeral) -> Builder<'a> {
    let params = PATTERN.parse().expect("a pattern that exists");
    Builder::with_resolver(params, Box::new(WithEphemeral(ephemeral))).psk(PSK_PLACE, psk).prologue(prologue)
}

fn write(state: &mut HandshakeState) -> NoiseMessage {
    let mut message = [0; NOISE_LENGTH];
    let length = state.write_message(&[], &mut message);
    assert_eq!(length, Ok(NOISE_LENGTH), "a key and a tag");
    message
}

fn read(state: &mut HandshakeState, message: &NoiseMessage) -> Result<(), SecureError> {
    match state.read_message(message, &mut []) {
        Ok(_) => Ok(()),
        Err(_) => Err(SecureError::Forged),
    }
}

fn into_transport(state: HandshakeState) -> Secure {
    Secure(state.into_stateless_transport_mode().expect("both messages have passed"))
}

/// The usual primitives, but randomness is an argument, as everywhere in this room.
struct WithEphemeral(Ephemeral);

impl CryptoResolver for WithEphemeral {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Random bytes for one key.
struct Once(Option<[u8; 32]>);

impl RngCore for Once {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        let random = self.0.take().expect("the pattern draws one key");
        bytes.copy_from_slice(&random);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Once {}
impl Random for Once {}

macro_rules! secret_debug {
    ($($type:ident),*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), "(…)"))
            }
        }
    )*};
}

secret_debug!(Ephemeral, Secure, Sealer, Opener, Initiator);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Outgoing;

    const PSK: Key = [7; 32];

    fn pair() -> (Secure, Secure) {
        let (initiator, message) = Initiator::start(&PSK, b"hellos", Ephemeral([1; 32]));
        let (responder, answer) = respond(&PSK, b"hellos", Ephemeral([2; 32]), &message).expect("the same secret");
        (initiator.finish(&answer).expect("the same secret"), responder)
    }

    fn sealed(sealer: &mut Sealer, plain: &[u8]) -> BytesMut {
        let mut wire = BytesMut::new();
        sealer.seal(&mut &plain[..], &mut wire);
        wire
    }

    fn opened(opener: &mut Opener, wire: &[u8]) -> Result<BytesMut, SecureError> {
        let mut plain = BytesMut::new();
        opener.open(&mut BytesMut::from(wire), &mut plain)?;
        Ok(plain)
    }

    /// The expected bytes were computed by another implementation.
    #[test]
    fn the_handshake_is_that_of_the_pattern() {
        let (initiator, message) = Initiator::start(&PSK, b"hellos", Ephemeral([1; 32]));
        assert_eq!(
            hex::encode(message),
            "a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a2097adb80560b9ea1691cf952390861302c"
        );
        let (responder, answer) = respond(&PSK, b"hellos", Ephemeral([2; 32]), &message).expect("the same secret");
        assert_eq!(
            hex::encode(answer),
            "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d592d927dad31fa9a9c3da1fc1118b08387"
        );
        let (mut sealer, _) = initiator.finish(&answer).expect("the same secret").split();
        assert_eq!(hex::encode(sealed(&mut sealer, b"frame")), "0015453090ff29f4396c02c90239ba559a43dd71ff0636");
        drop(responder);
    }

    #[test]
    fn another_secret_or_another_conversation_does_not_agree() {
        let (_, message) = Initiator::start(&PSK, b"hellos", Ephemeral([1; 32]));
        let ephemeral = || Ephemeral([2; 32]);
        assert_eq!(respond(&[8; 32], b"hellos", ephemeral(), &message).err(), Some(SecureError::Forged));
        assert_eq!(respond(&PSK, b"others", ephemeral(), &message).err(), Some(SecureError::Forged));
        let (initiator, _) = Initiator::start(&PSK, b"hellos", Ephemeral([3; 32]));
        let (_, answer) = respond(&PSK, b"hellos", ephemeral(), &message).expect("the same secret");
        assert_eq!(initiator.finish(&answer).err(), Some(SecureError::Forged), "the answer to another's message");
        let (initiator, message) = Initiator::start(&PSK, b"hellos", Ephemeral([1; 32]));
        assert_eq!(initiator.finish(&message).err(), Some(SecureError::Forged), "our own message");
    }

    #[test]
    fn records_open_in_their_order_and_direction_only() {
        let (initiator, responder) = pair();
        let ((mut sealer, mut own), (_, mut opener)) = (initiator.split(), responder.split());
        let (first, second) = (sealed(&mut sealer, b"first"), sealed(&mut sealer, b"second"));
        assert_eq!(opened(&mut own, &first), Err(SecureError::Forged), "reflected");
        assert_eq!(opened(&mut opener, &first).as_deref(), Ok(&b"first"[..]));
        assert_eq!(opened(&mut opener, &first), Err(SecureError::Forged), "again");
        assert_eq!(opened(&mut opener, &second), Err(SecureError::Broken), "after an error");
    }

    #[test]
    fn every_single_bit_is_guarded() {
        let (initiator, responder) = pair();
        let (mut sealer, transport) = (initiator.split().0, Arc::new(responder.0));
        let wire = sealed(&mut sealer, b"a frame of some kind");
        for bit in 0..8 * wire.len() {
            let mut damaged = wire.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut opener = Opener { transport: transport.clone(), number: 0, wanted: 0, broken: false };
            // A length that grew is waited for: nothing comes of it.
            assert!(opened(&mut opener, &damaged).map_or(true, |plain| plain.is_empty()), "bit {bit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_was_sealed_is_opened_however_it_is_cut(
            pieces in proptest::collection::vec((any::<u8>(), prop_oneof![0..300_usize, 60_000..140_000_usize]), 1..6),
            cut in 1..70_000_usize,
        ) {
            let (initiator, responder) = pair();
            let ((mut sealer, _), (_, mut opener)) = (responder.split(), initiator.split());
            let mut out = Outgoing::default();
            let mut whole = Vec::new();
            for &(byte, length) in &pieces {
                let piece = Bytes::from(vec![byte; length]);
                whole.extend_from_slice(&piece);
                if length % 2 == 0 { out.put_payload(piece) } else { out.put_small(|small| small.put(piece)) }
            }
            let mut wire = BytesMut::new();
            sealer.seal(&mut out, &mut wire);
            prop_assert!(!out.has_remaining());
            prop_assert_eq!(wire.len(), whole.len() + whole.len().div_ceil(PLAIN_MAX) * (PREFIX_LENGTH + TAG_LENGTH));
            let (mut buffer, mut plain) = (BytesMut::new(), BytesMut::new());
            while !wire.is_empty() {
                buffer.extend_from_slice(&wire.split_to(cut.min(wire.len())));
                opener.open(&mut buffer, &mut plain).expect("good");
                prop_assert!((1..=RECORD_MAX).contains(&opener.wanted()));
            }
            prop_assert!(buffer.is_empty());
            prop_assert!(plain == whole);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..600), short in any::<bool>()) {
            let (_, mut opener) = pair().0.split();
            let mut wire = BytesMut::from(&bytes[..]);
            if short && wire.len() > 1 {
                wire[0] = 0;
            }
            let mut plain = BytesMut::new();
            let _ = opener.open(&mut wire, &mut plain);
            prop_assert!(plain.is_empty());
        }
    }
}
