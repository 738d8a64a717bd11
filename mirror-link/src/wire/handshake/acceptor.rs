use super::cell::{Cell, Message, Proof};
use super::dialer::{ACCEPTOR, DIALER, agree};
use super::refusal::{Refusal, RefusalCode};
use super::{HandshakeError, Opened, Ours, SlotHello};
use crate::config::Encryption;
use crate::wire::keys::{PairKeys, is_signed, sign};
use crate::wire::secure::{self, Ephemeral, NOISE_LENGTH, NoiseMessage, Secure};

/// Somebody says hello, and has proven nothing yet.
#[derive(Debug)]
pub struct Caller {
    hello: SlotHello,
    cell: Cell,
}

/// The acceptor has said hello too.
#[derive(Debug)]
pub struct ExpectProof {
    theirs: SlotHello,
    connections: u8,
    transcript: [Cell; 2],
    keys: PairKeys,
    /// Where encryption is agreed.
    ephemeral: Option<Ephemeral>,
}

/// The caller is who it says; whether its slot may be opened is for the owner of the slots to say.
#[derive(Debug)]
pub struct Proven {
    opened: Opened,
    answer: Cell,
}

/// Why the acceptor ends the conversation, and its last word.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    pub error: HandshakeError,
    /// `None`: what was heard is no handshake, or a refusal.
    pub answer: Option<Box<Cell>>,
}

/// The first message.
pub fn greet(cell: &Cell) -> Result<Caller, Rejected> {
    match Message::decode(cell) {
        Ok(Message::Hello(hello)) => Ok(Caller { hello, cell: *cell }),
        Ok(other) => other.unexpected("a hello").map_err(Rejected::from),
        Err(error) => Err(error.into()),
    }
}

impl Caller {
    /// Who it claims to be, and what it wants.
    pub fn hello(&self) -> &SlotHello {
        &self.hello
    }

    /// Our hello, of which session and slot become the caller's. `keys` are those of the pair with the node that it names.
    pub fn answer(self, ours: Ours, keys: PairKeys) -> Result<(ExpectProof, Cell), Rejected> {
        let theirs = self.hello;
        let connections = agree(&ours.hello, &theirs)?;
        let hello = SlotHello { session: theirs.session, slot: theirs.slot, ..ours.hello };
        let our_cell = hello.encode();
        let ephemeral = match hello.encryption {
            Encryption::None => None,
            Encryption::Noise => Some(ours.ephemeral),
        };
        Ok((ExpectProof { theirs, connections, transcript: [self.cell, our_cell], keys, ephemeral }, our_cell))
    }
}

impl ExpectProof {
    /// The dialer's proof.
    pub fn receive(self, cell: &Cell) -> Result<Proven, Rejected> {
        let proof = match Message::decode(cell)? {
            Message::Proof(proof) => proof,
            other => return other.unexpected("a proof").map_err(Rejected::from),
        };
        let [dialers, acceptors] = &self.transcript;
        if !is_signed(&self.keys.slot_proof, &[DIALER, dialers, acceptors, &proof.noise], &proof.signature) {
            return Err(HandshakeError::WrongSecret { node: self.theirs.node.to_string() }.into());
        }
        let (secure, noise) = self.encrypt(&proof.noise)?;
        let signature = sign(&self.keys.slot_proof, &[ACCEPTOR, dialers, acceptors, &noise]);
        let opened = Opened { peer: self.theirs, connections: self.connections, secure };
        Ok(Proven { opened, answer: Proof { signature, noise }.encode() })
    }

    fn encrypt(&self, message: &NoiseMessage) -> Result<(Option<Secure>, NoiseMessage), HandshakeError> {
        let Some(ephemeral) = self.ephemeral.clone() else { return Ok((None, [0; NOISE_LENGTH])) };
        secure::respond(&self.keys.noise_psk, &self.transcript.concat(), ephemeral, message)
            .map(|(secure, answer)| (Some(secure), answer))
            .map_err(HandshakeError::Noise)
    }
}

impl Proven {
    pub fn peer(&self) -> &SlotHello {
        &self.opened.peer
    }

    /// The slot is theirs. Otherwise send a [`Refusal`].
    pub fn admit(self) -> (Opened, Cell) {
        (self.opened, self.answer)
    }
}

impl From<HandshakeError> for Rejected {
    fn from(error: HandshakeError) -> Rejected {
        let code = match &error {
            HandshakeError::Version { .. } => Some(RefusalCode::VERSION),
            HandshakeError::WrongNode { .. } => Some(RefusalCode::UNKNOWN_NODE),
            HandshakeError::WrongSecret { .. } => Some(RefusalCode::WRONG_SECRET),
            HandshakeError::Encryption { .. } => Some(RefusalCode::ENCRYPTION),
            HandshakeError::NoSuchSlot { .. } => Some(RefusalCode::NO_SUCH_SLOT),
            HandshakeError::Malformed { .. } | HandshakeError::Noise(_) => Some(RefusalCode::MALFORMED),
            HandshakeError::Foreign { .. } | HandshakeError::Refused(_) => None,
        };
        let answer = code.map(|code| Box::new(Refusal::new(code, &error).encode()));
        Rejected { error, answer }
    }
}
