use super::cell::{Cell, Message, Proof};
use super::{HandshakeError, Opened, Ours, SlotHello};
use crate::config::Encryption;
use crate::ids::NodeName;
use crate::wire::keys::{PairKeys, is_signed, sign};
use crate::wire::secure::{Initiator, NOISE_LENGTH};

/// What each direction's proof is over, before both hellos: so that neither can be sent back as the other.
pub(super) const DIALER: &[u8] = b"lunmirror slot: the dialer's proof";
pub(super) const ACCEPTOR: &[u8] = b"lunmirror slot: the acceptor's proof";

/// The dialer has said hello.
#[derive(Debug)]
pub struct Dialing {
    ours: Ours,
    our_cell: Cell,
    peer: NodeName,
    keys: PairKeys,
}

/// The dialer knows who answers, and has sent its proof.
#[derive(Debug)]
pub struct ExpectProof {
    theirs: SlotHello,
    connections: u8,
    transcript: [Cell; 2],
    keys: PairKeys,
    initiator: Option<Initiator>,
}

impl Dialing {
    /// The message opens the conversation with `peer`.
    pub fn start(ours: Ours, peer: NodeName, keys: PairKeys) -> (Dialing, Cell) {
        let our_cell = ours.hello.encode();
        (Dialing { ours, our_cell, peer, keys }, our_cell)
    }

    /// The acceptor's hello; answered by our proof.
    pub fn receive(self, cell: &Cell) -> Result<(ExpectProof, Cell), HandshakeError> {
        let theirs = match Message::decode(cell)? {
            Message::Hello(hello) => hello,
            other => return other.unexpected("a hello"),
        };
        let ours = &self.ours.hello;
        if theirs.node != self.peer {
            let (expected, got) = (self.peer.to_string(), theirs.node.to_string());
            return Err(HandshakeError::WrongNode { expected, got });
        }
        if (theirs.session, theirs.slot) != (ours.session, ours.slot) {
            let got = format!("session {}, slot {}", theirs.session, theirs.slot);
            return Err(HandshakeError::Malformed { expected: "the dialer's session and slot", got });
        }
        let connections = agree(ours, &theirs)?;
        let transcript = [self.our_cell, *cell];
        let (initiator, noise) = match ours.encryption {
            Encryption::None => (None, [0; NOISE_LENGTH]),
            Encryption::Noise => {
                let ephemeral = self.ours.ephemeral;
                let (state, message) = Initiator::start(&self.keys.noise_psk, &transcript.concat(), ephemeral);
                (Some(state), message)
            }
        };
        let signature = sign(&self.keys.slot_proof, &[DIALER, &transcript[0], &transcript[1], &noise]);
        let proof = Proof { signature, noise }.encode();
        Ok((ExpectProof { theirs, connections, transcript, keys: self.keys, initiator }, proof))
    }
}

impl ExpectProof {
    /// The acceptor's proof.
    pub fn receive(self, cell: &Cell) -> Result<Opened, HandshakeError> {
        let proof = match Message::decode(cell)? {
            Message::Proof(proof) => proof,
            other => return other.unexpected("a proof"),
        };
        let parts = [ACCEPTOR, &self.transcript[0], &self.transcript[1], &proof.noise];
        if !is_signed(&self.keys.slot_proof, &parts, &proof.signature) {
            return Err(HandshakeError::WrongSecret { node: self.theirs.node.to_string() });
        }
        let secure = match self.initiator {
            None => None,
            Some(initiator) => Some(initiator.finish(&proof.noise).map_err(HandshakeError::Noise)?),
        };
        Ok(Opened { peer: self.theirs, connections: self.connections, secure })
    }
}

/// The n that holds, where the rest agrees.
pub(super) fn agree(ours: &SlotHello, theirs: &SlotHello) -> Result<u8, HandshakeError> {
    if ours.encryption != theirs.encryption {
        let node = theirs.node.to_string();
        return Err(HandshakeError::Encryption { node, ours: ours.encryption, theirs: theirs.encryption });
    }
    let connections = ours.connections.min(theirs.connections);
    if theirs.slot.0 >= connections {
        return Err(HandshakeError::NoSuchSlot { slot: theirs.slot, connections });
    }
    Ok(connections)
}
