//! Copies between two memory devices, by parameter lists as they come off the wire.

use std::collections::HashMap;

use bytes::BytesMut;

use super::*;
use crate::block::faulty::{FaultyDevice, Operation};
use crate::block::memory::MemoryDevice;
use crate::block::slow::SlowDevice;
use crate::block::{BlockCount, BlockError, BlockLength, Durability, Lba, Payload, Store, StoreSpec};
use crate::lu::nexus::{InitiatorPort, RelativeTargetPort};
use crate::scsi::copy::Dialect;
use crate::scsi::designator::DesignatorType;
use crate::scsi::sense::{Asc, SenseKey, SenseKeySpecific};

const A: u8 = 0xA;
const B: u8 = 0xB;

struct End {
    device: Arc<dyn BlockDevice>,
    refusal: Mutex<Option<(ReservationAccess, EndRefusal)>>,
    entered: Mutex<Vec<(Extent, Purpose)>>,
}

impl CopyEnd for End {
    fn device(&self) -> Arc<dyn BlockDevice> {
        self.device.clone()
    }

    fn permit(&self, _nexus: &NexusName, access: ReservationAccess) -> Result<(), EndRefusal> {
        match *self.refusal.lock() {
            Some((refused, refusal)) if refused == access => Err(refusal),
            _ => Ok(()),
        }
    }

    fn enter(&self, extent: Extent, purpose: Purpose) -> Eventually<Pass> {
        self.entered.lock().push((extent, purpose));
        Eventually::Now(Box::new(()))
    }

    fn write_through(&self) -> bool {
        true
    }
}

#[derive(Default)]
struct Ends {
    ends: HashMap<Designator, Arc<End>>,
}

impl CopyDirectory for Ends {
    fn find(&self, designator: &Designator) -> Option<Arc<dyn CopyEnd>> {
        Some(self.ends.get(designator)?.clone())
    }
}

fn designator(name: u8) -> Designator {
    Designator::new(DesignatorType::NAA, 1, &[0x30, 0, 0, 0, 0, 0, 0, name])
}

fn memory(block_length: BlockLength, megabytes: u64) -> Arc<dyn BlockDevice> {
    let size = Some(megabytes << 20);
    let spec = StoreSpec { store: Store::Memory, size, block_length, read_only: false, thin: true };
    Arc::new(MemoryDevice::open(&spec).unwrap())
}

impl Ends {
    fn with(mut self, name: u8, device: Arc<dyn BlockDevice>) -> Ends {
        let end = End { device, refusal: Mutex::default(), entered: Mutex::default() };
        self.ends.insert(designator(name), Arc::new(end));
        self
    }

    fn end(&self, name: u8) -> &End {
        &self.ends[&designator(name)]
    }

    /// Bytes `at..at + length` of the device.
    async fn read(&self, name: u8, at: u64, length: u64) -> Vec<u8> {
        let device = &self.end(name).device;
        let shift = device.block_length().shift();
        let extent = Extent::new(
            Lba(at >> shift),
            BlockCount((at + length).div_ceil(1 << shift) - (at >> shift)),
            device.capacity(),
        );
        let whole = device.read(extent.unwrap(), BytesMut::new()).await.unwrap();
        let skip = (at & ((1 << shift) - 1)) as usize;
        whole[skip..skip + length as usize].to_vec()
    }

    /// Every byte tells its place and its device.
    async fn fill(&self, name: u8) {
        let device = &self.end(name).device;
        let extent = Extent::new(Lba(0), device.capacity(), device.capacity()).unwrap();
        let bytes: Vec<u8> = (0..extent.byte_length(device.block_length())).map(|at| pattern(name, at)).collect();
        device.write(extent, Payload::from(bytes::Bytes::from(bytes)), Durability::Cached).await.unwrap();
    }
}

fn pattern(name: u8, at: u64) -> u8 {
    (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 ^ name
}

fn patterns(name: u8, at: u64, length: u64) -> Vec<u8> {
    (at..at + length).map(|at| pattern(name, at)).collect()
}

fn nexus(session: u64) -> Nexus {
    Nexus {
        name: NexusName {
            initiator: InitiatorPort { name: "iqn.host".into(), isid: [0; 6] },
            target_port: RelativeTargetPort(1),
        },
        session,
        target_name: "iqn.target".into(),
        portal_group: 1,
    }
}

/// A LID1 parameter list from A to B with LIST IDENTIFIER 1.
#[derive(Clone)]
struct List {
    cscds: Vec<[u8; 32]>,
    segments: Vec<Vec<u8>>,
}

fn list(ends: &Ends, names: &[u8]) -> List {
    let cscd = |name: &u8| {
        let designator = designator(*name);
        let mut bytes = [0; 32];
        bytes[0] = 0xE4;
        bytes[4..8].copy_from_slice(&[1, 3, 0, 8]);
        bytes[8..16].copy_from_slice(&designator.bytes);
        let block_length = ends.ends.get(&designator).map_or(512, |end| end.device.block_length().bytes());
        bytes[28..].copy_from_slice(&block_length.to_be_bytes());
        bytes
    };
    List { cscds: names.iter().map(cscd).collect(), segments: Vec::new() }
}

impl List {
    fn pad(mut self, cscd: usize) -> List {
        self.cscds[cscd][28] |= 4;
        self
    }

    /// 02h: `blocks` from the first CSCD to the second, or onto itself.
    fn blocks(mut self, flags: u8, blocks: u16, from: u64, to: u64) -> List {
        let mut bytes = vec![2, flags, 0, 0x18, 0, 0, 0, self.cscds.len() as u8 - 1, 0, 0];
        bytes.extend_from_slice(&blocks.to_be_bytes());
        bytes.extend_from_slice(&from.to_be_bytes());
        bytes.extend_from_slice(&to.to_be_bytes());
        self.segments.push(bytes);
        self
    }

    /// 0Ah: so many bytes from (LBA, offset) to (LBA, offset).
    fn bytes(mut self, bytes: u32, from: (u64, u16), to: (u64, u16)) -> List {
        let mut out = vec![0xA, 0, 0, 0x1C, 0, 0, 0, self.cscds.len() as u8 - 1];
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(&from.0.to_be_bytes());
        out.extend_from_slice(&to.0.to_be_bytes());
        out.extend_from_slice(&from.1.to_be_bytes());
        out.extend_from_slice(&to.1.to_be_bytes());
        self.segments.push(out);
        self
    }

    fn parse(&self, dialect: Dialect) -> ExtendedCopy {
        let segments = self.segments.concat();
        let mut list = vec![0; 16];
        list[0] = 1;
        list[2..4].copy_from_slice(&(self.cscds.len() as u16 * 32).to_be_bytes());
        list[8..12].copy_from_slice(&(segments.len() as u32).to_be_bytes());
        list.extend_from_slice(&self.cscds.concat());
        list.extend_from_slice(&segments);
        ExtendedCopy::parse(&list, false, dialect).unwrap()
    }

    async fn run(&self, ends: &Arc<Ends>) -> Result<(), Sense> {
        CopyManager::default().start(&nexus(1), self.parse(Dialect::Spc3), ends.clone())?.run().await
    }
}

fn fault(result: Result<(), Sense>) -> (Asc, u16) {
    match result.expect_err("the copy is aborted") {
        Sense {
            key: SenseKey::CopyAborted,
            asc,
            specific: Some(SenseKeySpecific::SegmentPointer { in_segment_descriptor: false, byte, .. }),
            ..
        } => (asc, byte),
        other => panic!("COPY ABORTED was expected, not {other:?}"),
    }
}

/// A and B of `megabytes` each, filled.
async fn two(a: BlockLength, b: BlockLength, megabytes: u64) -> Arc<Ends> {
    let ends = Ends::default().with(A, memory(a, megabytes)).with(B, memory(b, megabytes));
    ends.fill(A).await;
    ends.fill(B).await;
    Arc::new(ends)
}

#[tokio::test]
async fn blocks_are_copied_and_no_others_touched() {
    let ends = two(BlockLength::B512, BlockLength::B512, 8).await;
    list(&ends, &[A, B]).blocks(0, 6000, 3, 5000).blocks(0, 1, 0, 0).blocks(0, 0, 0, 0).run(&ends).await.unwrap();
    assert!(ends.read(B, 5000 * 512, 6000 * 512).await == patterns(A, 3 * 512, 6000 * 512));
    assert!(ends.read(B, 0, 512).await == patterns(A, 0, 512));
    assert!(ends.read(B, 512, 4999 * 512).await == patterns(B, 512, 4999 * 512));
    assert!(ends.read(B, 11000 * 512, 512).await == patterns(B, 11000 * 512, 512));
    assert!(ends.end(B).entered.lock().iter().all(|(_, purpose)| *purpose == Purpose::Write));
    assert!(ends.end(A).entered.lock().iter().all(|(_, purpose)| *purpose == Purpose::Read));
    let longest = ends.end(B).entered.lock().iter().map(|(extent, _)| extent.blocks().0).max();
    assert_eq!(longest, Some(2048), "a chunk at a time");
}

#[tokio::test]
async fn bytes_are_copied_between_any_offsets() {
    for (a, b) in [(BlockLength::B512, BlockLength::B512), (BlockLength::B4096, BlockLength::B512)] {
        for (length, from, to) in
            [(1, (0, 0), (0, 0)), (512, (1, 3), (2, 5)), (3 << 20, (7, 511), (9, 200)), (100, (2, 400), (3, 500))]
        {
            let ends = two(a, b, 4).await;
            list(&ends, &[A, B]).pad(1).bytes(length, from, to).run(&ends).await.unwrap();
            let source = from.0 * u64::from(a.bytes()) + u64::from(from.1);
            let destination = to.0 * u64::from(b.bytes()) + u64::from(to.1);
            let end = destination + u64::from(length);
            assert!(ends.read(B, destination, length.into()).await == patterns(A, source, length.into()));
            assert!(ends.read(B, 0, destination).await == patterns(B, 0, destination));
            assert!(ends.read(B, end, 4096).await == patterns(B, end, 4096));
        }
    }
}

#[tokio::test]
async fn a_copy_onto_itself_reads_before_it_overwrites() {
    for (from, to) in [(0, 100), (100, 0), (0, 5000)] {
        let ends = Arc::new(Ends::default().with(A, memory(BlockLength::B512, 8)));
        ends.fill(A).await;
        list(&ends, &[A]).blocks(0, 9000, from, to).run(&ends).await.unwrap();
        assert!(ends.read(A, to * 512, 9000 * 512).await == patterns(A, from * 512, 9000 * 512), "{from} to {to}");
    }
}

#[tokio::test]
async fn different_block_lengths_are_exact_or_padded() {
    let ends = two(BlockLength::B512, BlockLength::B4096, 1).await;
    list(&ends, &[A, B]).blocks(0, 16, 0, 1).run(&ends).await.unwrap();
    assert!(ends.read(B, 4096, 8192).await == patterns(A, 0, 8192));
    // DC=1: the number is of the destination's blocks.
    list(&ends, &[A, B]).blocks(2, 2, 1, 4).run(&ends).await.unwrap();
    assert!(ends.read(B, 4 * 4096, 8192).await == patterns(A, 512, 8192));
    let inexact = list(&ends, &[A, B]).blocks(0, 9, 0, 1);
    assert_eq!(fault(inexact.run(&ends).await), (Asc::UNEXPECTED_INEXACT_SEGMENT, 80));
    inexact.pad(1).run(&ends).await.unwrap();
    let expected = [patterns(A, 0, 9 * 512), vec![0; 7 * 512]].concat();
    assert!(ends.read(B, 4096, 8192).await == expected);
}

#[tokio::test]
async fn ends_that_cannot_be_are_named() {
    let ends = two(BlockLength::B512, BlockLength::B512, 1).await;
    let good = list(&ends, &[A, B]).blocks(0, 8, 0, 0);
    let mut wrong = good.clone();
    wrong.segments[0][7] = 2;
    assert_eq!(fault(wrong.run(&ends).await), (Asc::UNREACHABLE_COPY_TARGET, 80 + 6));
    let mut null = good.clone();
    null.cscds[0][1] = 0x20;
    assert_eq!(fault(null.run(&ends).await), (Asc::UNREACHABLE_COPY_TARGET, 80 + 4));
    let mut tape = good.clone();
    tape.cscds[1][1] = 1;
    assert_eq!(fault(tape.run(&ends).await), (Asc::INCORRECT_COPY_TARGET_DEVICE_TYPE, 48 + 1));
    let mut unknown = good.clone();
    unknown.cscds[0][15] = 9;
    assert_eq!(fault(unknown.run(&ends).await), (Asc::COPY_TARGET_DEVICE_NOT_REACHABLE, 16 + 8));
    let mut other_blocks = good.clone();
    other_blocks.cscds[1][30] = 0x10;
    assert_eq!(fault(other_blocks.run(&ends).await), (Asc::INVALID_FIELD_IN_PARAMETER_LIST, 48 + 29));
    for (from, to, byte) in [(2041, 0, 12), (0, 2041, 20), (u64::MAX, 0, 12), (0, u64::MAX, 20)] {
        let beyond = list(&ends, &[A, B]).blocks(0, 8, from, to);
        assert_eq!(fault(beyond.run(&ends).await), (Asc::NO_ADDITIONAL_SENSE_INFORMATION, 80 + byte));
    }
    assert!(ends.read(B, 0, 1 << 20).await == patterns(B, 0, 1 << 20), "nothing was written");
}

#[tokio::test]
async fn ends_that_will_not_abort_the_copy() {
    let ends = two(BlockLength::B512, BlockLength::B512, 1).await;
    let good = list(&ends, &[A, B]).blocks(0, 8, 0, 0);
    for (name, access, byte) in [(A, ReservationAccess::Read, 84), (B, ReservationAccess::Write, 86)] {
        for (refusal, asc) in [
            (EndRefusal::NotReady, Asc::COPY_TARGET_DEVICE_NOT_REACHABLE),
            (EndRefusal::ReservationConflict, Asc::THIRD_PARTY_DEVICE_FAILURE),
            (EndRefusal::WriteProtected, Asc::WRITE_PROTECTED),
        ] {
            *ends.end(name).refusal.lock() = Some((access, refusal));
            assert_eq!(fault(good.run(&ends).await), (asc, byte));
        }
        *ends.end(name).refusal.lock() = None;
    }
    good.run(&ends).await.unwrap();
}

#[tokio::test]
async fn a_failing_device_ends_the_copy_and_the_status_says_where() {
    let faulty = Arc::new(FaultyDevice::new(memory(BlockLength::B512, 4)));
    let ends = Arc::new(Ends::default().with(A, memory(BlockLength::B512, 4)).with(B, faulty.clone()));
    let mut third = crate::block::faulty::Fault::always(&[Operation::Write], BlockError::NoSpace);
    third.passes = 2;
    faulty.inject(third);
    let manager = CopyManager::default();
    let parsed = list(&ends, &[A, B]).blocks(0, 2048, 0, 0).blocks(0, 4096, 0, 2048).parse(Dialect::Spc4);
    let result = manager.start(&nexus(1), parsed, ends.clone()).unwrap().run().await;
    assert_eq!(fault(result), (Asc::SPACE_ALLOCATION_FAILED_WRITE_PROTECT, 80 + 28 + 6));
    let status = manager.receive(&nexus(1), ReceiveCopy::StatusLid1 { list_id: 1 }, 255).unwrap();
    assert_eq!(status, [0, 0, 0, 8, 2, 0, 1, 0, 0, 0x20, 0, 0], "one segment, 2 MiB");
    let details = manager.receive(&nexus(1), ReceiveCopy::FailedSegmentDetailsLid1 { list_id: 1 }, 255).unwrap();
    assert_eq!((details[62], details[72], details[73]), (0x0A, 0x27, 0x07));
}

#[tokio::test]
async fn status_is_told_while_and_after() {
    let slow = Arc::new(SlowDevice::new(memory(BlockLength::B512, 4)));
    let ends = Arc::new(Ends::default().with(A, memory(BlockLength::B512, 4)).with(B, slow.clone()));
    slow.hold(&[Operation::Write]);
    let manager = CopyManager::default();
    let parsed = list(&ends, &[A, B]).blocks(0, 2048, 0, 0).parse(Dialect::Spc4);
    let (me, other) = (nexus(1), nexus(2));
    let ask = |nexus: &Nexus, action| manager.receive(nexus, action, 255);
    let (status, data) = (ReceiveCopy::StatusLid1 { list_id: 1 }, ReceiveCopy::DataLid1 { list_id: 1 });
    let unknown = Err(Sense::invalid_field_in_cdb(2, None));
    assert_eq!(ask(&me, status), unknown, "no copy");
    let copy = manager.start(&me, parsed.clone(), ends.clone()).unwrap();
    let running = tokio::spawn(copy.run());
    slow.until_waiting(1).await;
    assert_eq!(ask(&me, status).unwrap(), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(ask(&me, data), unknown, "not yet");
    assert_eq!(ask(&other, status), unknown, "a list identifier is its nexus's own");
    let again = manager.start(&me, parsed.clone(), ends.clone()).map(drop).unwrap_err();
    assert_eq!(again, Sense::illegal_request(Asc::OPERATION_IN_PROGRESS));
    slow.release();
    running.await.unwrap().unwrap();
    assert_eq!(ask(&me, status).unwrap(), [0, 0, 0, 8, 1, 0, 1, 0, 0, 0x10, 0, 0]);
    assert_eq!(ask(&me, data).unwrap(), [0; 4]);
    assert_eq!(ask(&me, ReceiveCopy::FailedSegmentDetailsLid1 { list_id: 1 }).unwrap(), [0; 4]);
    assert_eq!(ask(&me, ReceiveCopy::OperatingParameters).unwrap().len(), 47);
    assert_eq!(manager.receive(&me, status, 4).unwrap(), [0, 0, 0, 8]);
    manager.nexus_lost(&me);
    assert_eq!(ask(&me, status), unknown);
}

#[tokio::test]
async fn a_dropped_copy_is_aborted_and_a_reset_ends_the_others() {
    let slow = Arc::new(SlowDevice::new(memory(BlockLength::B512, 4)));
    let ends = Arc::new(Ends::default().with(A, memory(BlockLength::B512, 4)).with(B, slow.clone()));
    let manager = CopyManager::default();
    let parsed = list(&ends, &[A, B]).blocks(0, 4096, 0, 0).parse(Dialect::Spc4);
    drop(manager.start(&nexus(1), parsed.clone(), ends.clone()).unwrap());
    let status = manager.receive(&nexus(1), ReceiveCopy::StatusLid1 { list_id: 1 }, 255).unwrap();
    assert_eq!(status[4], 2);
    slow.hold(&[Operation::Write]);
    let running = tokio::spawn(manager.start(&nexus(1), parsed, ends.clone()).unwrap().run());
    slow.until_waiting(1).await;
    manager.reset();
    slow.release();
    assert_eq!(fault(running.await.unwrap()).0, Asc::NO_ADDITIONAL_SENSE_INFORMATION);
    assert_eq!(ends.end(B).entered.lock().len(), 1, "the second chunk was not begun");
}
