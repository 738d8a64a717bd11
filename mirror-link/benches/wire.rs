//! Frames of the peer protocol, encoded and decoded: a write with its payload, and an acknowledgement's size of frame.

use std::hint::black_box;

use bytes::{Buf, Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mirror_link::config::Compression;
use mirror_link::extent::{BlockCount, Lba};
use mirror_link::ids::{GroupIndex, OwnerEpoch, SessionId, VolumeIndex, WriteSeq};
use mirror_link::wire::message::{Frame, GroupFrame, Message, Op, OpFrame, Range};
use mirror_link::wire::{FrameDecoder, FrameEncoder, Outgoing};

fn write(length: usize) -> Frame {
    let range = Range { lba: Lba(0x10), blocks: BlockCount(length as u64 / 512) };
    let data: Bytes = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
    let op = Op::Write { volume: VolumeIndex(0), range, data: data.into(), durable: false };
    let odep = [WriteSeq(7), WriteSeq(8)].into_iter().collect();
    let frame = OpFrame { epoch: OwnerEpoch(2), seq: WriteSeq(9), after: WriteSeq(5), odep, op };
    Frame::Group(GroupFrame { group: GroupIndex(3), session: SessionId(5), message: Message::Op(frame) })
}

fn frames() -> [(&'static str, Frame); 3] {
    [("write of 4 KiB", write(4 << 10)), ("write of 64 KiB", write(64 << 10)), ("ping", Frame::Ping(7))]
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame, encode");
    for (name, frame) in frames() {
        let (mut encoder, mut out) = (FrameEncoder::new(Compression::None), Outgoing::default());
        encoder.encode(&frame, &mut out);
        group.throughput(Throughput::Bytes(out.remaining() as u64));
        out.advance(out.remaining());
        group.bench_with_input(BenchmarkId::from_parameter(name), &frame, |b, frame| {
            b.iter(|| {
                encoder.encode(black_box(frame), &mut out);
                let length = out.remaining();
                out.advance(length);
            });
        });
    }
    group.finish();
}

/// The copy that fills the buffer anew is in it.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame, decode");
    for (name, frame) in frames() {
        let mut out = Outgoing::default();
        FrameEncoder::new(Compression::None).encode(&frame, &mut out);
        let wire = out.copy_to_bytes(out.remaining());
        let (mut decoder, mut buffer) = (FrameDecoder::new(Compression::None), BytesMut::with_capacity(1 << 20));
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &wire, |b, wire| {
            b.iter(|| {
                buffer.extend_from_slice(wire);
                drop(black_box(decoder.next(&mut buffer)).expect("what was encoded decodes"));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
