//! The journal: writes in order that the peer lacks, in files.
//!
//! ```text
//!   STATE_DIR/mirror/GROUP/journal/0   segments, numbered on
//!     ┌───────────────────────────────┬───────────────────────────────┬── …
//!     │ frame of the peer protocol:   │ frame …                       │
//!     │ 44-byte header, CRC32C        │                               │
//!     │ body {epoch, seq, after, odep,│                               │
//!     │  volume, op, extent}, CRC32C  │                               │
//!     │ payload, CRC32C               │                               │
//!     └───────────────────────────────┴───────────────────────────────┴── …
//! ```
//!
//! A segment ends for its reader where a frame is not whole or not as its checksums say: what follows was never answered, or
//! went with the machine's cache. Segments are committed (`fdatasync`) by whoever keeps the journal, many writes at a time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, IoSlice, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use super::{Place, StoreError};
use crate::block::Payload;
use crate::config::Compression;
use crate::ids::{GroupIndex, OwnerEpoch, SessionId, WriteSeq};
use crate::replica::journal::{JournalLeft, Journalled};
use crate::wire::message::{Frame, GroupFrame, Message, Op, OpFrame};
use crate::wire::{FrameDecoder, FrameEncoder, Outgoing};

/// A bounded queue of writes in files, by number.
///
/// Appended to its last segment, read anywhere, trimmed from the front: a segment whose every write is of no more use is
/// removed, which gives space back on any file system. The disk holds at most one segment more than `bytes_max`.
#[derive(Debug)]
pub struct Journal {
    _place: Arc<Place>,
    directory: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
    /// Of the first segment in `segments`; each next one has the next number.
    first_segment: u64,
    index: BTreeMap<WriteSeq, Spot>,
    encoder: FrameEncoder,
    outgoing: Outgoing,
}

#[derive(Debug)]
struct Segment {
    file: File,
    length: u64,
    last: WriteSeq,
    /// A former process wrote it; nothing is appended.
    is_former: bool,
    is_committed: bool,
}

/// Where a write's frame is.
#[derive(Clone, Copy, Debug)]
struct Spot {
    segment: u64,
    at: u64,
    length: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: write {seq} does not read back as it was written")]
    Damaged { path: PathBuf, seq: WriteSeq },
    #[error("{path}: write {seq} is not there")]
    Missing { path: PathBuf, seq: WriteSeq },
    #[error("{path}: full, {bytes_max} bytes are all it may take")]
    Full { path: PathBuf, bytes_max: u64 },
}

impl Journal {
    /// Empty; what a former process left behind is removed. `bytes_max` 0: nothing is ever taken.
    pub fn new(place: &Arc<Place>, bytes_max: u64) -> Result<Journal, StoreError> {
        let directory = place.path().join(JOURNAL);
        match fs::remove_dir_all(&directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path: directory, source });
            }
            _ => (),
        }
        Ok(Journal::of(place, directory, bytes_max))
    }

    fn of(place: &Arc<Place>, directory: PathBuf, bytes_max: u64) -> Journal {
        Journal {
            _place: place.clone(),
            directory,
            bytes_max,
            segment_bytes: (bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            segments: VecDeque::new(),
            first_segment: 0,
            index: BTreeMap::new(),
            encoder: FrameEncoder::new(Compression::None),
            outgoing: Outgoing::default(),
        }
    }

    /// With what is there of that epoch: its longest unbroken run, whose writes have the numbers from 1 on from now on. All
    /// else is removed. At most `writes_max` of them.
    pub fn open(
        place: &Arc<Place>,
        bytes_max: u64,
        epoch: OwnerEpoch,
        writes_max: usize,
    ) -> Result<(Journal, Option<JournalLeft>), StoreError> {
        let directory = place.path().join(JOURNAL);
        let io = |source| StoreError::Io { path: directory.clone(), source };
        if bytes_max == 0 {
            return Ok((Journal::new(place, bytes_max)?, None));
        }
        let mut journal = Journal::of(place, directory.clone(), bytes_max);
        let numbers = segment_numbers(&directory).map_err(io)?;
        let mut spots: BTreeMap<WriteSeq, Spot> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for &number in &numbers {
            let file = File::options().read(true).write(true).open(segment_path(&directory, number)).map_err(io)?;
            let of_epoch = |frame: &OpFrame| frame.epoch == epoch;
            let length = scan(&file, |frame, at, length| {
                if of_epoch(&frame) {
                    found.insert(frame.seq, Journalled::of(&frame));
                    spots.insert(frame.seq, Spot { segment: number, at, length });
                }
            })
            .map_err(io)?;
            // Those of a gap, if any, hold nothing.
            journal.first_segment = journal.first_segment.max(number);
            let segment = Segment { file, length, last: WriteSeq(0), is_former: true, is_committed: true };
            journal.segments.push_back(segment);
        }
        let is_in_order = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let former = JournalLeft::longest_run(epoch, found, writes_max).filter(|_| is_in_order);
        let Some(former) = former else { return Ok((Journal::new(place, bytes_max)?, None)) };
        journal.first_segment = numbers[0];
        for (seq, spot) in spots {
            let Some(renumbered) = former.renumbered(seq) else { continue };
            let segment = &mut journal.segments[(spot.segment - numbers[0]) as usize];
            segment.last = segment.last.max(renumbered);
            journal.index.insert(renumbered, spot);
        }
        Ok((journal, Some(former)))
    }

    pub fn append(&mut self, frame: &OpFrame) -> Result<(), JournalError> {
        let seq = frame.seq;
        let message = Message::Op(frame.clone());
        let frame = Frame::Group(GroupFrame { group: GroupIndex(0), session: SessionId(0), message });
        self.outgoing.clear();
        self.encoder.encode(&frame, &mut self.outgoing);
        let length = self.outgoing.remaining() as u64;
        if self.disk_bytes() + length > self.bytes_max.saturating_add(self.segment_bytes) || self.bytes_max == 0 {
            return Err(JournalError::Full { path: self.directory.clone(), bytes_max: self.bytes_max });
        }
        if self.segments.back().is_none_or(|last| last.length >= self.segment_bytes || last.is_former) {
            self.add_segment()?;
        }
        let number = self.first_segment + self.segments.len() as u64 - 1;
        let segment = self.segments.back_mut().expect("one was added where there was none");
        let at = segment.length;
        write_all(&segment.file, at, &mut self.outgoing).map_err(|source| io_error(&self.directory, number, source))?;
        segment.length += length;
        segment.last = segment.last.max(seq);
        segment.is_committed = false;
        self.index.insert(seq, Spot { segment: number, at, length });
        Ok(())
    }

    /// What was appended is on the medium.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        for (segment, number) in self.segments.iter_mut().zip(self.first_segment..).filter(|(one, _)| !one.is_committed)
        {
            segment.file.sync_data().map_err(|source| io_error(&self.directory, number, source))?;
            segment.is_committed = true;
        }
        Ok(())
    }

    /// The write's payload.
    pub fn read(&self, seq: WriteSeq) -> Result<Payload, JournalError> {
        let missing = || JournalError::Missing { path: self.directory.clone(), seq };
        let spot = self.index.get(&seq).ok_or_else(missing)?;
        let place = spot.segment.checked_sub(self.first_segment).ok_or_else(missing)?;
        let segment = self.segments.get(place as usize).ok_or_else(missing)?;
        let mut bytes = BytesMut::zeroed(spot.length as usize);
        let read = segment.file.read_exact_at(&mut bytes, spot.at);
        read.map_err(|source| io_error(&self.directory, spot.segment, source))?;
        match FrameDecoder::new(Compression::None).next(&mut bytes) {
            Ok(Some(Frame::Group(GroupFrame {
                message: Message::Op(OpFrame { op: Op::Write { data, .. }, .. }),
                ..
            }))) => Ok(data),
            _ => Err(JournalError::Damaged { path: segment_path(&self.directory, spot.segment), seq }),
        }
    }

    /// Writes up to `upto` are of no more use; of the highest number there is, all.
    pub fn trim(&mut self, upto: WriteSeq) -> Result<(), JournalError> {
        match upto.0.checked_add(1) {
            Some(next) => self.index = self.index.split_off(&WriteSeq(next)),
            None => self.index.clear(),
        }
        while self.segments.front().is_some_and(|first| first.last <= upto) {
            let number = self.first_segment;
            self.segments.pop_front();
            self.first_segment += 1;
            let path = segment_path(&self.directory, number);
            fs::remove_file(&path).map_err(|source| JournalError::Io { path, source })?;
        }
        Ok(())
    }

    /// Bytes on the disk, used or not.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn add_segment(&mut self) -> Result<(), JournalError> {
        let number = self.first_segment + self.segments.len() as u64;
        let path = segment_path(&self.directory, number);
        let create = || {
            fs::create_dir_all(&self.directory)?;
            File::options().read(true).write(true).create(true).truncate(true).open(&path)
        };
        match create() {
            Ok(file) => {
                let segment = Segment { file, length: 0, last: WriteSeq(0), is_former: false, is_committed: true };
                self.segments.push_back(segment);
            }
            Err(source) => return Err(JournalError::Io { path, source }),
        }
        Ok(())
    }
}

/// Each whole frame of a write, with where it begins and how long it is. How many bytes the file has.
fn scan(file: &File, mut found: impl FnMut(OpFrame, u64, u64)) -> io::Result<u64> {
    let mut reader = file;
    let (mut decoder, mut buffer) = (FrameDecoder::new(Compression::None), BytesMut::new());
    let (mut read, mut start) = (0u64, 0u64);
    loop {
        match decoder.next(&mut buffer) {
            Ok(Some(Frame::Group(GroupFrame { message: Message::Op(frame), .. }))) => {
                let end = read - buffer.len() as u64;
                found(frame, start, end - start);
                start = end;
            }
            // No journal of ours has them, nor does anything follow what is broken.
            Ok(Some(_)) | Err(_) => break,
            Ok(None) => {
                let mut more = (&mut reader).take(decoder.wanted().max(SCAN_BYTES) as u64);
                let mut chunk = (&mut buffer).writer();
                match io::copy(&mut more, &mut chunk)? {
                    0 => break,
                    bytes => read += bytes,
                }
            }
        }
    }
    Ok(file.metadata()?.len())
}

pub(super) fn segment_numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(number.to_string())
}

fn io_error(directory: &Path, number: u64, source: io::Error) -> JournalError {
    JournalError::Io { path: segment_path(directory, number), source }
}

/// The pieces one behind another from `at` on, without joining them first.
fn write_all(file: &File, mut at: u64, data: &mut Outgoing) -> io::Result<()> {
    while data.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = data.chunks_vectored(&mut slices);
        match rustix::io::pwritev(file, &slices[..count], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                data.advance(written);
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A directory beside the record.
pub(super) const JOURNAL: &str = "journal";
/// A segment is this part of the whole, so that little of the disk is held by what is no more of use.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// In one system call.
const SLICES: usize = 64;
/// Read at once by a scan, at least.
const SCAN_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::extent::{BlockCount, Lba};
    use crate::ids::VolumeIndex;
    use crate::wire::message::Range;

    const EPOCH: OwnerEpoch = OwnerEpoch(5);

    fn claim() -> (tempfile::TempDir, Arc<Place>) {
        let state_dir = tempfile::tempdir().unwrap();
        let place = Place::claim(state_dir.path(), "db").unwrap();
        (state_dir, place)
    }

    fn journal(bytes_max: u64) -> (tempfile::TempDir, Arc<Place>, Journal) {
        let (state_dir, place) = claim();
        let journal = Journal::new(&place, bytes_max).unwrap();
        (state_dir, place, journal)
    }

    fn payload(seq: u64, blocks: usize) -> Payload {
        let mut payload = Payload::default();
        payload.push(vec![seq as u8; blocks * 128].into());
        payload.push(vec![!seq as u8; blocks * 384].into());
        payload
    }

    fn write(seq: u64, blocks: usize) -> OpFrame {
        let range = Range { lba: Lba(seq), blocks: BlockCount(blocks as u64) };
        let op = Op::Write { volume: VolumeIndex(0), range, data: payload(seq, blocks), durable: false };
        OpFrame {
            epoch: EPOCH,
            seq: WriteSeq(seq),
            after: WriteSeq(seq.saturating_sub(2)),
            odep: Default::default(),
            op,
        }
    }

    /// Some 100 KB.
    const BLOCKS: usize = 200;
    const FRAME: u64 = 44 + 48 + 512 * BLOCKS as u64;

    #[test]
    fn what_is_appended_reads_back_until_trimmed() {
        let (_state_dir, place, mut journal) = journal(16 << 20);
        for seq in 1..=64 {
            journal.append(&write(seq, BLOCKS)).unwrap();
        }
        for seq in [64, 1, 33] {
            assert_eq!(journal.read(WriteSeq(seq)).unwrap(), payload(seq, BLOCKS));
        }
        journal.trim(WriteSeq(32)).unwrap();
        assert!(matches!(journal.read(WriteSeq(32)), Err(JournalError::Missing { .. })));
        assert_eq!(journal.read(WriteSeq(33)).unwrap(), payload(33, BLOCKS));
        let used = 32 * FRAME;
        assert!((used..used + (1 << 20) + FRAME).contains(&journal.disk_bytes()), "{}", journal.disk_bytes());
        journal.trim(WriteSeq(64)).unwrap();
        assert_eq!(journal.disk_bytes(), 0);
        assert_eq!(fs::read_dir(place.path().join("journal")).unwrap().count(), 0);
        journal.append(&write(65, 1)).unwrap();
        assert_eq!(journal.read(WriteSeq(65)).unwrap(), payload(65, 1));
    }

    #[test]
    fn it_never_takes_more_than_a_segment_beyond_its_bound() {
        let (_state_dir, _place, mut journal) = journal(4 << 20);
        let refused = (1..1000).find(|&seq| journal.append(&write(seq, BLOCKS)).is_err()).unwrap();
        assert!((40..=52).contains(&refused), "{refused}");
        assert!(journal.disk_bytes() <= 5 << 20);
        let error = journal.append(&write(refused, BLOCKS)).unwrap_err().to_string();
        assert!(error.contains("4194304 bytes are all it may take"), "{error}");
        journal.trim(WriteSeq(17)).unwrap();
        journal.append(&write(refused, BLOCKS)).unwrap();
    }

    #[test]
    fn a_journal_of_nothing_takes_nothing() {
        let (_state_dir, _place, mut journal) = journal(0);
        assert!(matches!(journal.append(&write(1, 1)), Err(JournalError::Full { .. })));
    }

    #[test]
    fn a_next_reign_begins_with_all_the_space_and_its_own_numbers() {
        let (_state_dir, _place, mut journal) = journal(16 << 20);
        (1..=40).for_each(|seq| journal.append(&write(seq, BLOCKS)).unwrap());
        journal.trim(WriteSeq(u64::MAX)).unwrap();
        assert_eq!(journal.disk_bytes(), 0);
        assert!(matches!(journal.read(WriteSeq(40)), Err(JournalError::Missing { .. })));
        journal.append(&write(1, 9)).unwrap();
        assert_eq!(journal.read(WriteSeq(1)).unwrap(), payload(1, 9));
    }

    #[test]
    fn damage_is_noticed() {
        let (_state_dir, place, mut journal) = journal(1 << 20);
        journal.append(&write(1, 10)).unwrap();
        let segment = File::options().write(true).open(place.path().join("journal/0")).unwrap();
        segment.write_all_at(b"x", 4000).unwrap();
        assert!(matches!(journal.read(WriteSeq(1)), Err(JournalError::Damaged { .. })));
        segment.set_len(4000).unwrap();
        assert!(matches!(journal.read(WriteSeq(1)), Err(JournalError::Io { .. })));
    }

    fn reopened(place: &Arc<Place>, epoch: OwnerEpoch) -> (Journal, Option<JournalLeft>) {
        Journal::open(place, 16 << 20, epoch, 1000).unwrap()
    }

    #[test]
    fn what_a_former_process_left_is_taken_up_under_numbers_from_1_on() {
        let (_state_dir, place, mut journal) = journal(16 << 20);
        (101..=140).for_each(|seq| journal.append(&write(seq, BLOCKS)).unwrap());
        journal.commit().unwrap();
        drop(journal);
        let (mut journal, former) = reopened(&place, EPOCH);
        let former = former.unwrap();
        assert_eq!((former.first, former.writes.len()), (WriteSeq(101), 40));
        assert_eq!((former.writes[9].after, former.writes[9].payload), (WriteSeq(108), 512 * BLOCKS as u64));
        assert_eq!(journal.read(WriteSeq(10)).unwrap(), payload(110, BLOCKS));
        // It goes on behind them, in a segment of its own.
        journal.append(&write(41, BLOCKS)).unwrap();
        assert_eq!(journal.read(WriteSeq(41)).unwrap(), payload(41, BLOCKS));
        journal.trim(WriteSeq(40)).unwrap();
        assert_eq!(journal.disk_bytes(), FRAME);
    }

    #[test]
    fn a_torn_end_costs_what_it_holds() {
        let (_state_dir, place, mut journal) = journal(16 << 20);
        (1..=5).for_each(|seq| journal.append(&write(seq, BLOCKS)).unwrap());
        drop(journal);
        let path = place.path().join("journal/0");
        for (cut, left) in [(1, 4), (FRAME, 4), (FRAME + 50, 3), (5 * FRAME - 20, 0)] {
            let whole = fs::read(&path).unwrap();
            fs::write(&path, &whole[..whole.len() - cut as usize]).unwrap();
            let (_, former) = reopened(&place, EPOCH);
            assert_eq!(former.map_or(0, |former| former.writes.len()), left, "cut by {cut}");
            fs::create_dir_all(place.path().join("journal")).unwrap();
            fs::write(&path, &whole).unwrap();
        }
    }

    #[test]
    fn another_reigns_and_what_is_broken_off_is_removed() {
        let (_state_dir, place, mut journal) = journal(16 << 20);
        (1..=5).for_each(|seq| journal.append(&write(seq, 1)).unwrap());
        drop(journal);
        assert_eq!(reopened(&place, OwnerEpoch(6)).1, None);
        assert!(!place.path().join("journal").exists());
    }

    #[test]
    fn the_longest_unbroken_run_is_taken_and_no_more_than_fits() {
        let (_state_dir, place, mut journal) = journal(16 << 20);
        for seq in [7, 8, 3, 20, 21, 22, 5, 4, 6] {
            journal.append(&write(seq, 1)).unwrap();
        }
        drop(journal);
        let (_, former) = Journal::open(&place, 16 << 20, EPOCH, 1000).unwrap();
        let former = former.unwrap();
        assert_eq!((former.first, former.writes.len()), (WriteSeq(3), 6));
        let (_, former) = Journal::open(&place, 16 << 20, EPOCH, 2).unwrap();
        let former = former.unwrap();
        assert_eq!((former.first, former.writes.len()), (WriteSeq(3), 2));
        assert_eq!(former.renumbered(WriteSeq(5)), None);
    }

    #[test]
    fn a_payload_of_many_pieces_is_written_whole() {
        let (_state_dir, _place, mut journal) = journal(1 << 20);
        let mut data = Payload::default();
        (0..2560u32).for_each(|n| data.push(Bytes::copy_from_slice(&n.to_be_bytes())));
        let mut frame = write(1, 20);
        let Op::Write { data: of_frame, .. } = &mut frame.op else { panic!("it is a write") };
        *of_frame = data.clone();
        journal.append(&frame).unwrap();
        assert_eq!(journal.read(WriteSeq(1)).unwrap(), data);
    }
}
