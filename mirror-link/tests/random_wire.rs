//! Random and mutated bytes through the decoders of the peer protocol: what the fuzz targets do, bounded, on any toolchain.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use mirror_link::block::Allocation;
use mirror_link::config::{Compression, Encryption, PairSecret};
use mirror_link::extent::{BlockCount, BlockLength, Lba};
use mirror_link::ids::*;
use mirror_link::wire::datagram::{Datagram, Echo};
use mirror_link::wire::handshake::{CELL_LENGTH, Cell, Dialing, Nonce, Ours, SlotHello, greet};
use mirror_link::wire::keys::PairKeys;
use mirror_link::wire::message::*;
use mirror_link::wire::replay_guard::{ReplayGuard, Verdict};
use mirror_link::wire::secure::Ephemeral;
use mirror_link::wire::{Fault, FrameDecoder, FrameEncoder, Outgoing};

const HEADER_LENGTH: usize = 44;

/// SplitMix64: one seed, one run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn seq(&mut self) -> WriteSeq {
        WriteSeq((self.next() & WriteSeq::MAX.0) >> self.below(45))
    }

    fn epoch(&mut self) -> OwnerEpoch {
        OwnerEpoch(self.next() & OwnerEpoch::MAX.0)
    }

    fn generation(&mut self) -> Generation {
        Generation(u128::from(self.next()))
    }
}

fn frame(random: &mut Random) -> Frame {
    let message = match random.below(14) {
        0 => return Frame::Ping(random.next()),
        1 => return Frame::Pong(random.next()),
        2 => return Frame::Bye(ByeReason::Removed),
        3 => Message::Hello(Box::new(hello(random))),
        4 => {
            let (epoch, first, generation) = (random.epoch(), random.seq(), random.generation());
            Message::Begin(Begin { epoch, first, resync: random.one_in(2), generation, counting: generation })
        }
        5 => Message::Position(Position { acknowledged: random.seq(), ..Position::default() }),
        6 => Message::Ack(Box::new(ack(random))),
        7 => {
            let range = Range { lba: Lba(random.next()), blocks: BlockCount(random.next()) };
            let (epoch, after, volume) = (random.epoch(), random.seq(), VolumeIndex(3));
            Message::Read(Read { epoch, id: random.next(), after, volume, range })
        }
        8 => {
            let data = bytes::Bytes::from(vec![random.byte(); 1 + random.below(9000)]);
            let lent = [Lent::Data(data.into()), Lent::Zeroes, Lent::Failed][random.below(3)].clone();
            Message::ReadDone(ReadDone { epoch: random.epoch(), id: random.next(), lent })
        }
        _ => Message::Op(OpFrame {
            epoch: random.epoch(),
            seq: random.seq(),
            after: random.seq(),
            odep: (0..random.below(ODEP_MAX + 1)).map(|_| random.seq()).collect(),
            op: op(random),
        }),
    };
    let (group, session) = (GroupIndex(random.byte().into()), SessionId(random.next()));
    Frame::Group(GroupFrame { group, session, message })
}

fn hello(random: &mut Random) -> Hello {
    let shape =
        |name: &str| VolumeShape { name: name.into(), block_length: BlockLength::B512, capacity: BlockCount(1 << 20) };
    Hello {
        group: "bank".into(),
        node: "beta".into(),
        instance: Instance(random.next()),
        volumes: vec![shape("data"), shape("log")],
        role: Role::Secondary,
        disk: DiskState::Consistent,
        epoch: random.epoch(),
        generation: random.generation(),
        history: (0..random.below(4)).map(|_| random.generation()).collect(),
        dirty_since: random.one_in(2).then(|| random.generation()),
        crashed_owner: random.one_in(2),
        lost_cache: random.one_in(2),
        resumes: random.one_in(2),
        holds: random.one_in(2),
        peer_outdated: random.one_in(2),
        received: Marks::default(),
        counting: None,
        suspects: Vec::new(),
        number: random.next(),
    }
}

fn ack(random: &mut Random) -> Ack {
    Ack {
        epoch: random.epoch(),
        number: random.next(),
        received_upto: random.seq(),
        applied_upto: random.seq(),
        durable_upto: random.seq(),
        received: (0..random.below(3)).map(|_| (WriteSeq(1), random.seq())).filter(|(a, b)| a <= b).collect(),
        applied: Default::default(),
        credit: Credit { seq: random.seq(), bytes: random.next() },
        failed: (0..random.below(3)).map(|_| random.seq()).collect(),
        differs: (0..random.below(3)).map(|_| random.seq()).collect(),
    }
}

fn op(random: &mut Random) -> Op {
    let volume = VolumeIndex(random.byte().into());
    let range = Range { lba: Lba(random.next()), blocks: BlockCount(1 + random.below(3) as u64) };
    match random.below(9) {
        0 => Op::WriteZeroes { volume, range, allocation: Allocation::MayRelease, durable: random.one_in(2) },
        1 => Op::Unmap { volume, range },
        2 => Op::Flush,
        3 => Op::Mark { volume, kind: MarkKind(random.byte()), data: vec![random.byte(); random.below(50)].into() },
        4 => Op::Void,
        5 => Op::ResyncDone { generation: random.generation() },
        6 => {
            let digest = Digest(std::array::from_fn(|_| random.byte()));
            Op::Verify { volume, range, digest, is_copy: random.one_in(2), known: random.seq() }
        }
        _ => {
            let fill = if random.one_in(2) { Some(random.byte()) } else { None };
            let data: Vec<u8> = (0..512 * range.blocks.0).map(|_| fill.unwrap_or_else(|| random.byte())).collect();
            Op::Write { volume, range, data: bytes::Bytes::from(data).into(), durable: random.one_in(2) }
        }
    }
}

/// Damage a few bytes of one frame; with `sign`, put its checksums right afterwards, so that what is behind them is reached.
fn damage(wire: &mut BytesMut, sign: bool, random: &mut Random) {
    let body = usize::from(wire[22]) << 8 | usize::from(wire[23]);
    for _ in 0..random.below(4) {
        let most = if random.one_in(2) { HEADER_LENGTH } else { wire.len() };
        let at = random.below(most);
        wire[at] = if random.one_in(2) { random.byte() } else { wire[at] ^ 1 << random.below(8) };
    }
    if sign {
        let crc = crc32c::crc32c(&wire[HEADER_LENGTH..][..body]);
        wire[32..36].copy_from_slice(&crc.to_be_bytes());
        if wire[6] == 0 {
            let crc = crc32c::crc32c(&wire[HEADER_LENGTH + body..]);
            wire[36..40].copy_from_slice(&crc.to_be_bytes());
        }
        let crc = crc32c::crc32c(&wire[..40]);
        wire[40..44].copy_from_slice(&crc.to_be_bytes());
    }
}

fn encoded(frame: &Frame, compression: Compression) -> BytesMut {
    let mut out = Outgoing::default();
    FrameEncoder::new(compression).encode(frame, &mut out);
    BytesMut::from(&out.copy_to_bytes(out.remaining())[..])
}

#[test]
fn frames_are_refused_or_come_back_and_nothing_is_wanted_beyond_the_limits() {
    let (mut same, mut other, mut damaged, mut misbehaved) = (0, 0, 0, 0);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let compression = [Compression::None, Compression::Lz4, Compression::Zstd][random.below(3)];
        let original = frame(&mut random);
        let mut wire = encoded(&original, compression);
        let sign = random.one_in(2);
        damage(&mut wire, sign, &mut random);
        let (mut decoder, mut buffer) = (FrameDecoder::new(compression), BytesMut::new());
        while !wire.is_empty() {
            let length = (1 + random.below(300)).min(wire.len());
            buffer.extend_from_slice(&wire.split_to(length));
            match decoder.next(&mut buffer) {
                Ok(Some(frame)) if frame == original => same += 1,
                Ok(Some(frame)) => {
                    other += 1;
                    let again = FrameDecoder::new(compression).next(&mut encoded(&frame, compression));
                    assert_eq!(again, Ok(Some(frame)), "seed {seed}");
                }
                Ok(None) => {
                    let most = HEADER_LENGTH + PAYLOAD_MAX + VOLUMES_MAX * 256;
                    assert!((1..=most).contains(&decoder.wanted()), "seed {seed} wants {}", decoder.wanted());
                }
                Err(error) => {
                    match error.fault() {
                        Fault::Line => damaged += 1,
                        Fault::PeerMisbehaved | Fault::PeerIncompatible => misbehaved += 1,
                        Fault::Ours => panic!("seed {seed}: {error}"),
                    }
                    break;
                }
            }
        }
    }
    assert!(
        same > 5_000 && other > 500 && damaged > 5_000 && misbehaved > 2_000,
        "{same} the same, {other} others, {damaged} damaged, {misbehaved} misbehaved"
    );
}

#[test]
fn heartbeats_are_believed_with_the_secret_and_once() {
    let secret = PairSecret([7; 32].into());
    let (alpha, beta) = (PairKeys::derive(&secret, "alpha", "beta"), PairKeys::derive(&secret, "beta", "alpha"));
    let (now, ours) = (Instant::now(), Instance(1));
    let mut verdicts = [0; 4];
    for seed in 0..1000 {
        let mut random = Random(seed);
        let mut guard = ReplayGuard::new(ours);
        let (mut sent, mut echoed) = (0, 0);
        // Of whom, and which numbers of it have come. None of those drawn lies further behind another than may be.
        let mut believed: Option<(Instance, BTreeSet<u64>)> = None;
        for _ in 0..40 {
            if random.one_in(2) {
                sent = guard.next_number();
            }
            let (instance, number) = (Instance(random.next() % 3), random.next() % 64);
            let echo = random.one_in(2).then(|| Echo {
                instance: Instance(random.next() % 3),
                number: random.next() % (sent + 2),
                held_us: 0,
            });
            let session = None;
            let datagram =
                Datagram { node: "alpha".into(), instance, session, number, echo, groups: Default::default() };
            let mut wire = BytesMut::new();
            datagram.encode(&alpha, &mut wire);
            assert_eq!(Datagram::decode(&wire, &beta).as_ref(), Ok(&datagram));
            let at = random.below(wire.len());
            wire[at] ^= 1 << random.below(8);
            assert!(Datagram::decode(&wire, &beta).is_err(), "seed {seed}: byte {at} changed");

            let proof = echo.filter(|echo| echo.instance == ours && echo.number <= sent).map(|echo| echo.number);
            let known = believed.as_ref().is_some_and(|(i, _)| *i == instance);
            let newer = believed.as_ref().is_some_and(|(_, seen)| !seen.contains(&number));
            let expected = match (known, newer) {
                (true, true) => Verdict::Fresh,
                (true, false) => Verdict::Replayed,
                (false, _) if proof.is_some_and(|proof| proof > echoed) => Verdict::NewInstance,
                (false, _) => Verdict::Unproven(Echo { instance, number, held_us: 0 }),
            };
            let verdict = guard.receive(now, &datagram);
            assert_eq!(verdict, expected, "seed {seed}");
            verdicts[match verdict {
                Verdict::Fresh => 0,
                Verdict::NewInstance => 1,
                Verdict::Replayed => 2,
                Verdict::Unproven(_) => 3,
            }] += 1;
            if matches!(verdict, Verdict::Fresh | Verdict::NewInstance) {
                let seen = match believed.take() {
                    Some((of, seen)) if of == instance => seen,
                    _ => BTreeSet::new(),
                };
                believed = Some((instance, seen.into_iter().chain([number]).collect()));
                echoed = echoed.max(proof.unwrap_or(0));
            }
        }
    }
    assert!(verdicts.iter().all(|&count| count > 500), "{verdicts:?}");
}

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

/// How far a conversation came in which some messages were changed: 0 no hello was understood … 4 both sides are sure.
fn converse(encryption: Encryption, mut line: impl FnMut(usize, Cell) -> (Cell, bool)) -> usize {
    let secret = PairSecret([7; 32].into());
    let keys = |us, peer| PairKeys::derive(&secret, us, peer);
    let (dialing, hello) = Dialing::start(ours("alpha", encryption, 1), "beta".into(), keys("alpha", "beta"));
    let (hello, _) = line(0, hello);
    let Ok(caller) = greet(&hello) else { return 0 };
    let Ok((acceptor, hello)) = caller.answer(ours("beta", encryption, 2), keys("beta", "alpha")) else { return 0 };
    let (hello, _) = line(1, hello);
    let Ok((dialer, proof)) = dialing.receive(&hello) else { return 1 };
    let (proof, good) = line(2, proof);
    let proven = acceptor.receive(&proof);
    assert_eq!(proven.is_ok(), good, "let in without the secret, or not let in with it");
    let Ok(proven) = proven else { return 2 };
    let (opened, proof) = proven.admit();
    assert_eq!(opened.secure.is_some(), encryption == Encryption::Noise);
    let (proof, good) = line(3, proof);
    assert_eq!(dialer.receive(&proof).is_ok(), good, "an acceptor without the secret, or not known with it");
    if good { 4 } else { 3 }
}

#[test]
fn nobody_gets_in_with_a_message_that_was_changed() {
    let mut reached = [0; 5];
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let encryption = if random.one_in(2) { Encryption::Noise } else { Encryption::None };
        let victim = random.below(5);
        let mut good = true;
        let stage = converse(encryption, |message, cell| {
            let mut passed = cell;
            if message == victim {
                let at = random.below(CELL_LENGTH);
                passed[at] ^= 1 << random.below(8);
            }
            good &= passed == cell;
            (passed, good)
        });
        assert_eq!(stage == 4, victim == 4, "seed {seed}");
        reached[stage] += 1;
    }
    assert!(reached.iter().all(|&count| count > 50), "{reached:?}");
}
