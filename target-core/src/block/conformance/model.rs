//! Random operations on every store, and on a `Vec<u8>` that is always right.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::subject::{Subject, quick_subjects};
use crate::block::{Allocation, Durability, Extent, Payload, Store};

#[derive(Clone, Debug)]
enum Step {
    Write { at: u64, length: u64, fill: u8, cuts: Vec<u64>, durability: Durability },
    Zero { at: u64, length: u64, allocation: Allocation, durability: Durability },
    Unmap { at: u64, length: u64 },
    Read { at: u64, length: u64 },
    Map { at: u64, length: u64, runs_max: usize },
    Flush,
    Reopen,
}

/// Offsets and lengths in bytes of the model, rounded to blocks when the block length is known.
fn step() -> impl Strategy<Value = Step> {
    let at = 0..MODEL;
    let length = prop_oneof![4 => 0..20_000_u64, 1 => 0..MODEL];
    let durability = prop_oneof![3 => Just(Durability::Cached), 1 => Just(Durability::Durable)];
    let allocation = prop_oneof![Just(Allocation::Keep), Just(Allocation::MayRelease)];
    let cuts = proptest::collection::vec(0..20_000_u64, 0..4);
    prop_oneof![
        6 => (at.clone(), length.clone(), 1_u8.., cuts, durability.clone()).prop_map(|(at, length, fill, cuts, durability)| {
            Step::Write { at, length, fill, cuts, durability }
        }),
        2 => (at.clone(), length.clone(), allocation, durability).prop_map(|(at, length, allocation, durability)| {
            Step::Zero { at, length, allocation, durability }
        }),
        2 => (at.clone(), length.clone()).prop_map(|(at, length)| Step::Unmap { at, length }),
        4 => (at.clone(), length.clone()).prop_map(|(at, length)| Step::Read { at, length }),
        2 => (at, length, 0..6_usize).prop_map(|(at, length, runs_max)| Step::Map { at, length, runs_max }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

struct Model {
    subject: Subject,
    bytes: Vec<u8>,
}

impl Model {
    fn place(&self, at: u64, length: u64) -> (Extent, std::ops::Range<usize>) {
        let block_length = self.subject.spec.block_length;
        let (first, last) = (self.subject.blocks(at), self.subject.blocks((at + length).min(MODEL)));
        let extent = self.subject.extent(first, last.saturating_sub(first));
        let start = extent.byte_offset(block_length) as usize;
        (extent, start..start + extent.byte_length(block_length) as usize)
    }

    async fn take(&mut self, step: Step) {
        let device = self.subject.device().clone();
        match step {
            Step::Write { at, length, fill, cuts, durability } => {
                let (extent, range) = self.place(at, length);
                let data: Vec<u8> =
                    range.clone().map(|byte| (byte as u8).wrapping_mul(31).wrapping_add(fill)).collect();
                self.bytes[range].copy_from_slice(&data);
                let mut rest = Bytes::from(data);
                let mut payload = Payload::default();
                for cut in cuts {
                    payload.push(rest.split_to(rest.len().min(cut as usize)));
                }
                payload.push(rest);
                device.write(extent, payload, durability).await.expect("writes");
            }
            Step::Zero { at, length, allocation, durability } => {
                let (extent, range) = self.place(at, length);
                self.bytes[range].fill(0);
                device.write_zeroes(extent, allocation, durability).await.expect("writes zeroes");
            }
            Step::Unmap { at, length } => {
                let (extent, range) = self.place(at, length);
                self.bytes[range].fill(0);
                device.unmap(extent).await.expect("unmaps");
            }
            Step::Read { at, length } => {
                let (extent, range) = self.place(at, length);
                let mut buffer = BytesMut::from(&b"before"[..]);
                buffer.reserve(range.len());
                let read = device.read(extent, buffer).await.expect("reads");
                assert_eq!(&read[..6], b"before");
                assert!(read[6..] == self.bytes[range], "{}: other bytes at {extent}", self.subject.name);
            }
            Step::Map { at, length, runs_max } => {
                let (extent, range) = self.place(at, length);
                let runs = device.allocation(extent, runs_max).await.expect("maps");
                assert!(runs.len() <= runs_max, "{runs:?}");
                assert!(runs.windows(2).all(|two| two[0].mapped != two[1].mapped), "runs alternate: {runs:?}");
                assert!(runs_max == 0 || extent.is_empty() || runs[0].blocks.0 > 0);
                let mut at = range.start;
                for run in &runs {
                    let end = at + (run.blocks.0 << device.block_length().shift()) as usize;
                    assert!(end <= range.end, "runs lie within the extent: {runs:?}");
                    assert!(run.mapped || self.bytes[at..end].iter().all(|&byte| byte == 0), "unmapped, not zero");
                    at = end;
                }
            }
            Step::Flush => device.flush().await.expect("flushes"),
            Step::Reopen if matches!(self.subject.spec.store, Store::Memory) => {}
            Step::Reopen => {
                drop(device);
                self.subject.reopen();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_reads_back_as_the_model_does(steps in proptest::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            for subject in quick_subjects() {
                let mut model = Model { subject, bytes: vec![0; MODEL as usize] };
                for step in steps.clone() {
                    model.take(step).await;
                }
                model.take(Step::Read { at: 0, length: MODEL }).await;
            }
        });
    }
}

/// The model checks this much of the device's start: across the boundaries of chunks and of the file system's blocks.
const MODEL: u64 = 256 << 10;
