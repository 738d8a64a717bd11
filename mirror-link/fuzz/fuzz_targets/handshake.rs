//! Any messages in place of those due: nobody gets in without the secret, on either side.
//!
//! `flags`, then changes `message at(2) value` to a conversation that would succeed, or else whole messages.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_link::config::{Compression, Encryption, PairSecret};
use mirror_link::ids::{Instance, SessionId, Slot};
use mirror_link::wire::handshake::{CELL_LENGTH, Cell, Dialing, Nonce, Ours, SlotHello, greet};
use mirror_link::wire::keys::PairKeys;
use mirror_link::wire::secure::Ephemeral;

fuzz_target!(|input: &[u8]| {
    let Some((&flags, changes)) = input.split_first() else { return };
    let encryption = if flags & 1 != 0 { Encryption::Noise } else { Encryption::None };
    let mut good = true;
    // What the line makes of the message of that number.
    let mut line = |message: u8, cell: Cell| {
        let mut passed = cell;
        if flags & 2 != 0 {
            let all = changes.chunks_exact(CELL_LENGTH).nth(message.into());
            passed = all.and_then(|bytes| bytes.try_into().ok()).unwrap_or(cell);
        } else {
            for &[which, high, low, value] in changes.as_chunks().0 {
                if which & 3 == message {
                    passed[usize::from(u16::from_be_bytes([high, low])) % CELL_LENGTH] ^= value;
                }
            }
        }
        good &= passed == cell;
        (passed, good)
    };
    let secret = PairSecret([7; 32].into());
    let keys = |us, peer| PairKeys::derive(&secret, us, peer);

    let (dialing, hello) = Dialing::start(ours("alpha", encryption, 1), "beta".into(), keys("alpha", "beta"));
    let (hello, _) = line(0, hello);
    let Ok(caller) = greet(&hello) else { return };
    let Ok((acceptor, hello)) = caller.answer(ours("beta", encryption, 2), keys("beta", "alpha")) else { return };
    let (hello, _) = line(1, hello);
    let Ok((dialer, proof)) = dialing.receive(&hello) else { return };
    let (proof, good) = line(2, proof);
    let proven = acceptor.receive(&proof);
    assert_eq!(proven.is_ok(), good, "let in without the secret, or not let in with it");
    let Ok(proven) = proven else { return };
    let (opened, proof) = proven.admit();
    assert_eq!(opened.secure.is_some(), encryption == Encryption::Noise);
    let (proof, good) = line(3, proof);
    assert_eq!(dialer.receive(&proof).is_ok(), good, "an acceptor without the secret, or not known with it");
});

fn ours(node: &str, encryption: Encryption, seed: u8) -> Ours {
    let hello = SlotHello {
        node: node.into(),
        instance: Instance(seed.into()),
        session: SessionId(5),
        slot: Slot(2),
        connections: 4,
        encryption,
        compression: Compression::None,
        nonce: Nonce([seed; 32]),
    };
    Ours { hello, ephemeral: Ephemeral([seed; 32]) }
}
