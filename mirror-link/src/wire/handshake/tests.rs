//! Both ends in one thread.

use proptest::prelude::*;

use super::cell::{Message, Proof};
use super::*;
use crate::config::PairSecret;
use crate::wire::keys::PairKeys;
use crate::wire::secure::{NOISE_LENGTH, Opener, Sealer};

fn ours(node: &str, slot: u8, connections: u8, seed: u8) -> Ours {
    let hello = SlotHello {
        node: node.into(),
        instance: Instance(u64::from(seed)),
        session: SessionId(0x1122_3344_5566_7788),
        slot: Slot(slot),
        connections,
        encryption: Encryption::Noise,
        compression: Compression::Lz4,
        nonce: Nonce([seed; 32]),
    };
    Ours { hello, ephemeral: Ephemeral([seed; 32]) }
}

fn alpha() -> Ours {
    ours("alpha", 2, 4, 1)
}

/// Session and slot are not its own: it repeats the dialer's.
fn beta() -> Ours {
    let mut ours = ours("beta", 63, 3, 2);
    ours.hello.session = SessionId(0);
    ours
}

fn plain(mut ours: Ours) -> Ours {
    ours.hello.encryption = Encryption::None;
    ours
}

fn keys(us: &str, peer: &str) -> PairKeys {
    PairKeys::derive(&PairSecret([7; 32].into()), us, peer)
}

fn dial(ours: Ours) -> (Dialing, Cell) {
    Dialing::start(ours, "beta".into(), keys("alpha", "beta"))
}

fn answer(hello: &Cell, ours: Ours) -> Result<(AcceptorExpectsProof, Cell), Rejected> {
    greet(hello)?.answer(ours, keys("beta", "alpha"))
}

fn refusal_in(rejected: &Rejected) -> Refusal {
    let cell = rejected.answer.as_ref().expect("the caller is told");
    match Message::decode(cell) {
        Ok(Message::Refusal(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// From hello to frames.
fn open(alpha: Ours, beta: Ours) -> (Opened, Opened) {
    let (dialing, hello) = dial(alpha);
    let (acceptor, hello) = answer(&hello, beta).expect("both agree");
    let (dialer, proof) = dialing.receive(&hello).expect("both agree");
    let (at_beta, proof) = acceptor.receive(&proof).expect("both know the secret").admit();
    (dialer.receive(&proof).expect("both know the secret"), at_beta)
}

#[test]
fn both_know_whom_they_speak_to() {
    let (at_alpha, at_beta) = open(plain(alpha()), plain(beta()));
    assert_eq!(at_beta.peer, plain(alpha()).hello);
    let expected = SlotHello { session: alpha().hello.session, slot: Slot(2), ..plain(beta()).hello };
    assert_eq!(at_alpha.peer, expected, "session and slot are the dialer's");
    assert_eq!((at_alpha.connections, at_beta.connections), (3, 3), "the smaller n");
    assert!(at_alpha.secure.is_none() && at_beta.secure.is_none());
}

#[test]
fn encrypted_frames_pass_both_ways() {
    let (at_alpha, at_beta) = open(alpha(), beta());
    let (mut a_seals, mut a_opens) = at_alpha.secure.expect("agreed").split();
    let (mut b_seals, mut b_opens) = at_beta.secure.expect("agreed").split();
    let pass = |sealer: &mut Sealer, opener: &mut Opener, text: &[u8]| {
        let (mut wire, mut got) = (bytes::BytesMut::new(), bytes::BytesMut::new());
        sealer.seal(&mut &text[..], &mut wire);
        assert!(!wire.windows(text.len()).any(|window| window == text), "in the clear");
        opener.open(&mut wire, &mut got).expect("the same keys");
        assert_eq!(got, text);
    };
    pass(&mut a_seals, &mut b_opens, b"from alpha");
    pass(&mut b_seals, &mut a_opens, b"from beta");
    pass(&mut a_seals, &mut b_opens, b"from alpha again");
}

#[test]
fn the_bytes_are_what_they_were() {
    let (dialing, hello) = dial(plain(alpha()));
    let name = format!("616c706861{}", "00".repeat(288 - 64 - 5));
    let expected =
        format!("4c554e48 02010204 00010500 00000000 00000000 00000001 11223344 55667788 {} {name}", "01".repeat(32));
    assert_eq!(hex::encode(hello), expected.replace(' ', ""));
    let (_, hello) = answer(&hello, plain(beta())).expect("both agree");
    let (_, proof) = dialing.receive(&hello).expect("both agree");
    let signature = "5efddbd79dff74bd90d0cba339636b19ff3717f383ef25e2eb6bf3a5c86e8d20";
    let expected = format!("4c554e48 02020000 {} {signature} {}", "00".repeat(8), "00".repeat(240));
    assert_eq!(hex::encode(proof), expected.replace(' ', ""));
    let refusal = Refusal::new(RefusalCode::SLOT_IN_USE, "slot 2").encode();
    let expected = format!("4c554e48 02030606 {} 736c6f742032 {}", "00".repeat(8), "00".repeat(266));
    assert_eq!(hex::encode(refusal), expected.replace(' ', ""));
}

#[test]
fn a_dialer_of_another_secret_is_refused_and_told() {
    let other = PairKeys::derive(&PairSecret([8; 32].into()), "alpha", "beta");
    let (dialing, hello) = Dialing::start(alpha(), "beta".into(), other);
    let (acceptor, hello) = answer(&hello, beta()).expect("nothing is proven yet");
    let (dialer, proof) = dialing.receive(&hello).expect("nothing is proven yet");
    let rejected = acceptor.receive(&proof).expect_err("another secret");
    assert_eq!(rejected.error, HandshakeError::WrongSecret { node: "alpha".into() });
    assert_eq!(rejected.error.to_string(), "alpha does not know the pair's secret: it must be the same on both nodes");
    assert!(rejected.error.is_lasting());
    assert_eq!(refusal_in(&rejected).code, RefusalCode::WRONG_SECRET);
    let error = dialer.receive(&rejected.answer.expect("told")).expect_err("refused");
    assert!(matches!(&error, HandshakeError::Refused(refusal) if refusal.code == RefusalCode::WRONG_SECRET));
    assert!(error.is_lasting());
}

#[test]
fn an_acceptor_of_another_secret_is_found_out() {
    let (dialing, hello) = dial(plain(alpha()));
    let impostor = greet(&hello).expect("a hello");
    let (_, hello) = impostor.answer(plain(beta()), keys("beta", "alpha")).expect("both agree");
    let (dialer, _) = dialing.receive(&hello).expect("nothing is proven yet");
    let guess = Proof { signature: [0; 32], noise: [0; NOISE_LENGTH] }.encode();
    assert_eq!(dialer.receive(&guess).expect_err("a guess"), HandshakeError::WrongSecret { node: "beta".into() });
}

#[test]
fn what_a_side_said_itself_proves_nothing() {
    // Our own hello, sent back.
    let (dialing, hello) = dial(alpha());
    let error = dialing.receive(&hello).expect_err("we are not beta");
    let (expected, got) = ("beta".into(), "alpha".into());
    assert_eq!(error, HandshakeError::WrongNode { expected, got });
    // Our own proof, sent back by somebody who only says that it is beta.
    for encryption in [Encryption::None, Encryption::Noise] {
        let with = |mut ours: Ours| {
            ours.hello.encryption = encryption;
            ours
        };
        let (dialing, hello) = dial(with(alpha()));
        let (_, hello) = answer(&hello, with(beta())).expect("both agree");
        let (dialer, proof) = dialing.receive(&hello).expect("nothing is proven yet");
        let error = dialer.receive(&proof).expect_err("our own proof");
        assert_eq!(error, HandshakeError::WrongSecret { node: "beta".into() });
    }
}

#[test]
fn the_proof_of_another_conversation_proves_nothing() {
    let recorded = {
        let (dialing, hello) = dial(plain(alpha()));
        let (acceptor, answered) = answer(&hello, plain(beta())).expect("both agree");
        let (_, proof) = dialing.receive(&answered).expect("both agree");
        let (_, acceptors) = acceptor.receive(&proof).expect("good").admit();
        (hello, proof, answered, acceptors)
    };
    // Against an acceptor, which has another nonce now.
    let mut now = plain(beta());
    now.hello.nonce = Nonce([9; 32]);
    let (acceptor, _) = answer(&recorded.0, now).expect("nothing is proven yet");
    assert_eq!(refusal_in(&acceptor.receive(&recorded.1).expect_err("recorded")).code, RefusalCode::WRONG_SECRET);
    // Against a dialer.
    let mut now = plain(alpha());
    now.hello.nonce = Nonce([9; 32]);
    let (dialing, _) = dial(now);
    let (dialer, _) = dialing.receive(&recorded.2).expect("nothing is proven yet");
    assert!(matches!(dialer.receive(&recorded.3), Err(HandshakeError::WrongSecret { .. })));
}

#[test]
fn whatever_is_changed_in_a_hello_breaks_the_proof() {
    // Each byte of either hello that still makes sense when changed: slot, n, compression, instance, session, nonce.
    let bytes = [6, 7, 9, 16, 23, 24, 31, 32, 63];
    let mut refused_by_proof = 0;
    for (whose, at) in bytes.iter().flat_map(|&at| [(0, at), (1, at)]) {
        let (dialing, mut hello) = dial(plain(alpha()));
        hello[at] ^= if whose == 0 { 1 } else { 0 };
        let Ok((acceptor, mut hello)) = answer(&hello, plain(beta())) else { continue };
        hello[at] ^= if whose == 1 { 1 } else { 0 };
        // Session and slot are compared; the rest passes here.
        let Ok((_, proof)) = dialing.receive(&hello) else { continue };
        let rejected = acceptor.receive(&proof).expect_err("not what was said");
        assert_eq!(refusal_in(&rejected).code, RefusalCode::WRONG_SECRET, "byte {at} of hello {whose}");
        refused_by_proof += 1;
    }
    // Not session and slot of either, which the dialer compares, nor beta's n, which became too small for the slot.
    assert_eq!(refused_by_proof, 2 * 9 - 7);
}

#[test]
fn a_secret_is_good_for_one_pair_only() {
    let (dialing, hello) = dial(alpha());
    let (_, hello) = greet(&hello).expect("a hello").answer(beta(), keys("beta", "gamma")).expect("both agree");
    let (_, proof) = dialing.receive(&hello).expect("nothing is proven yet");
    let (acceptor, _) = greet(&dial(alpha()).1).expect("a hello").answer(beta(), keys("beta", "gamma")).expect("agree");
    assert!(matches!(acceptor.receive(&proof).expect_err("alpha's").error, HandshakeError::WrongSecret { .. }));
}

#[test]
fn encryption_must_be_the_same_on_both() {
    let (dialing, hello) = dial(plain(alpha()));
    let rejected = answer(&hello, beta()).expect_err("one in the clear");
    let text = "encryption is Noise here and None on alpha: it must be the same on both nodes";
    assert_eq!(rejected.error.to_string(), text);
    let refusal = refusal_in(&rejected);
    assert_eq!((refusal.code, refusal.text()), (RefusalCode::ENCRYPTION, text));
    let error = dialing.receive(&rejected.answer.expect("told")).expect_err("refused");
    assert_eq!(error.to_string(), format!("the peer refused: encryption differs: {text}"));
    // Nor does the dialer go on in the clear with an acceptor that pretends not to have heard.
    let (dialing, hello) = dial(alpha());
    let (_, downgraded) = {
        let mut changed = hello;
        changed[8] = 0;
        answer(&changed, plain(beta())).expect("an acceptor in the clear")
    };
    assert!(matches!(dialing.receive(&downgraded), Err(HandshakeError::Encryption { .. })));
}

#[test]
fn a_slot_beyond_the_smaller_n_is_refused() {
    let (_, hello) = dial(ours("alpha", 3, 4, 1));
    let rejected = answer(&hello, beta()).expect_err("beta wants 3");
    assert_eq!(rejected.error.to_string(), "slot 3 is beyond the 3 connections that both nodes agree on");
    assert_eq!(refusal_in(&rejected).code, RefusalCode::NO_SUCH_SLOT);
    assert!(!rejected.error.is_lasting());
}

#[test]
fn another_version_is_told_so_and_understood() {
    let (dialing, mut hello) = dial(alpha());
    hello[4] = 3;
    let rejected = greet(&hello).expect_err("version 3");
    assert_eq!(rejected.error, HandshakeError::Version { expected: 2, got: 3 });
    let mut refusal = *rejected.answer.expect("told");
    refusal[4] = 7;
    let error = dialing.receive(&refusal).expect_err("refused by version 7");
    assert!(error.to_string().starts_with("the peer refused: another version: expected version 2"), "{error}");
}

#[test]
fn the_owner_of_the_slots_may_refuse_the_proven() {
    let (dialing, hello) = dial(alpha());
    let (acceptor, hello) = answer(&hello, beta()).expect("both agree");
    let (dialer, proof) = dialing.receive(&hello).expect("both agree");
    let proven = acceptor.receive(&proof).expect("both know the secret");
    assert_eq!(proven.peer().slot, Slot(2));
    let error = dialer.receive(&Refusal::new(RefusalCode::SLOT_IN_USE, "").encode()).expect_err("refused");
    assert_eq!(error.to_string(), "the peer refused: slot in use");
    assert!(!error.is_lasting());
}

#[test]
fn what_is_not_due_is_not_taken() {
    let (dialing, hello) = dial(alpha());
    let (acceptor, _) = answer(&hello, beta()).expect("both agree");
    let error = acceptor.receive(&hello).expect_err("a hello again").error;
    assert_eq!(error.to_string(), "expected a proof in the handshake, got a hello");
    let proof = Proof { signature: [1; 32], noise: [1; NOISE_LENGTH] }.encode();
    assert!(matches!(greet(&proof), Err(Rejected { error: HandshakeError::Malformed { .. }, answer: Some(_) })));
    let error = dialing.receive(&proof).expect_err("a proof too early");
    assert_eq!(error.to_string(), "expected a hello in the handshake, got a proof");
    let http: Cell = *b"GET / HTTP/1.1\r\n".repeat(18).first_chunk().expect("288 bytes");
    let rejected = greet(&http).expect_err("a browser");
    assert!(rejected.answer.is_none());
    assert!(rejected.to_string().starts_with("expected a handshake, got the bytes 0x47455420"), "{rejected}");
}

#[test]
fn a_text_is_cut_and_made_printable() {
    let refusal = Refusal::new(RefusalCode(99), format!("one\ntwo\u{1b}[31m {}", "é".repeat(200)));
    assert!(refusal.text().len() <= 240 && refusal.text().starts_with("one\u{fffd}two\u{fffd}[31m é"));
    assert_eq!(Message::decode(&refusal.encode()), Ok(Message::Refusal(refusal.clone())));
    assert!(refusal.to_string().starts_with("reason 99: one"));
}

proptest! {
    #[test]
    fn hellos_come_back(
        node in crate::wire::testing::name(),
        (instance, session, nonce) in any::<(u64, u64, [u8; 32])>(),
        (slot, connections, encryption, compression) in (0..64_u8, 1..=64_u8, any::<bool>(), 0..3_u8),
    ) {
        let hello = SlotHello {
            node,
            instance: Instance(instance),
            session: SessionId(session),
            slot: Slot(slot),
            connections,
            encryption: if encryption { Encryption::Noise } else { Encryption::None },
            compression: crate::wire::header::coding_from_wire(compression).expect("one of three"),
            nonce: Nonce(nonce),
        };
        prop_assert_eq!(Message::decode(&hello.encode()), Ok(Message::Hello(hello)));
    }

    #[test]
    fn random_messages_open_nothing(
        kind in 0..5_u8,
        random in proptest::collection::vec(any::<u8>(), CELL_LENGTH - 6),
        changes in proptest::collection::vec((6..CELL_LENGTH, any::<u8>()), 0..4),
    ) {
        let mut cell: Cell = [0; CELL_LENGTH];
        cell[..6].copy_from_slice(&[0x4c, 0x55, 0x4e, 0x48, 1, kind]);
        cell[6..].copy_from_slice(&random);
        let (dialing, hello) = dial(alpha());
        let (acceptor, acceptors) = answer(&hello, beta()).expect("both agree");
        let _ = greet(&cell);
        prop_assert!(dialing.receive(&cell).is_err() && acceptor.receive(&cell).is_err());
        let (dialing, _) = dial(alpha());
        let (dialer, mut proof) = dialing.receive(&acceptors).expect("both agree");
        prop_assert!(dialer.receive(&cell).is_err());
        // A good proof with bytes changed.
        let before = proof;
        changes.iter().for_each(|&(at, byte)| proof[at] = byte);
        let (acceptor, _) = answer(&hello, beta()).expect("both agree");
        prop_assert_eq!(acceptor.receive(&proof).is_ok(), proof == before);
    }
}
