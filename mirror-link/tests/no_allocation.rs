//! The way of a write over the wire does not allocate: frames are encoded into memory that is kept, and decoded in place.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use mirror_link::config::Compression;
use mirror_link::extent::{BlockCount, Lba};
use mirror_link::ids::{GroupIndex, OwnerEpoch, SessionId, VolumeIndex, WriteSeq};
use mirror_link::wire::message::{Frame, GroupFrame, Message, Op, OpFrame, Range};
use mirror_link::wire::{FrameDecoder, FrameEncoder, Outgoing};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of `work`, the least of several times: what other threads of the test harness allocate meanwhile does not repeat.
fn allocations(mut work: impl FnMut()) -> usize {
    let counts = (0..5).map(|_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        work();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    counts.min().unwrap_or(usize::MAX)
}

fn write(data: Bytes) -> Frame {
    let range = Range { lba: Lba(0x10), blocks: BlockCount(8) };
    let op = Op::Write { volume: VolumeIndex(0), range, data: data.into(), durable: false };
    let odep = [WriteSeq(7), WriteSeq(8)].into_iter().collect();
    let frame = OpFrame { epoch: OwnerEpoch(2), seq: WriteSeq(9), after: WriteSeq(5), odep, op };
    Frame::Group(GroupFrame { group: GroupIndex(3), session: SessionId(5), message: Message::Op(frame) })
}

#[test]
fn a_write_allocates_neither_when_it_goes_out_nor_when_it_comes_in() {
    let (mut encoder, mut out) = (FrameEncoder::new(Compression::None), Outgoing::default());
    let frame = write(Bytes::from(vec![0x5a; 4096]));
    let mut turn = || {
        (0..16).for_each(|_| encoder.encode(black_box(&frame), &mut out));
        out.advance(out.remaining());
    };
    // The first turn makes the room that the others use.
    turn();
    assert_eq!(allocations(turn), 0, "encoding");

    let mut wire = BytesMut::new();
    for _ in 0..1000 {
        encoder.encode(&frame, &mut out);
        wire.extend_from_slice(&out.copy_to_bytes(out.remaining()));
    }
    let mut decoder = FrameDecoder::new(Compression::None);
    // The first split makes the buffer a shared one: once a buffer, not once a frame.
    decoder.next(&mut wire).expect("good").expect("whole");
    let decode = allocations(|| {
        for _ in 0..100 {
            assert!(black_box(decoder.next(&mut wire)).expect("good").is_some());
        }
    });
    assert_eq!(decode, 0, "decoding");
}
