use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;

use super::{Place, StoreError};
use crate::block::Payload;
use crate::ids::WriteSeq;

/// A bounded queue of payloads in files, by number. It does not survive the process: the index is memory.
///
/// Appended to its last segment, read anywhere, trimmed from the front: a segment whose every payload is of no more use is
/// removed, which gives space back on any file system. The disk holds at most one segment more than `bytes_max`.
#[derive(Debug)]
pub struct SpillFile {
    _place: Arc<Place>,
    directory: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
    /// Of the first segment in `segments`; each next one has the next number.
    first_segment: u64,
    index: BTreeMap<WriteSeq, Spilled>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    length: u64,
    last: WriteSeq,
}

#[derive(Clone, Copy, Debug)]
struct Spilled {
    segment: u64,
    at: u64,
    length: u64,
    crc32c: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: write {seq} reads back with another checksum than it was written with")]
    Damaged { path: PathBuf, seq: WriteSeq },
    #[error("{path}: write {seq} is not there")]
    Missing { path: PathBuf, seq: WriteSeq },
    #[error("{path}: full, {bytes_max} bytes are all it may take")]
    Full { path: PathBuf, bytes_max: u64 },
}

impl SpillFile {
    /// Empty; what a former process left behind is removed. `bytes_max` 0: nothing is ever taken.
    pub fn new(place: &Arc<Place>, bytes_max: u64) -> Result<SpillFile, StoreError> {
        let directory = place.path().join("spill");
        match fs::remove_dir_all(&directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path: directory, source });
            }
            _ => (),
        }
        Ok(SpillFile {
            _place: place.clone(),
            directory,
            bytes_max,
            segment_bytes: (bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            segments: VecDeque::new(),
            first_segment: 0,
            index: BTreeMap::new(),
        })
    }

    pub fn append(&mut self, seq: WriteSeq, data: &Payload) -> Result<(), SpillError> {
        if self.disk_bytes() + data.len() > self.bytes_max.saturating_add(self.segment_bytes) || self.bytes_max == 0 {
            return Err(SpillError::Full { path: self.directory.clone(), bytes_max: self.bytes_max });
        }
        if self.segments.back().is_none_or(|last| last.length >= self.segment_bytes) {
            self.add_segment()?;
        }
        let number = self.first_segment + self.segments.len() as u64 - 1;
        let segment = self.segments.back_mut().expect("one was added where there was none");
        let at = segment.length;
        write_all(&segment.file, at, data).map_err(|source| io_error(&self.directory, number, source))?;
        segment.length += data.len();
        segment.last = segment.last.max(seq);
        let crc32c = data.pieces().iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        self.index.insert(seq, Spilled { segment: number, at, length: data.len(), crc32c });
        Ok(())
    }

    pub fn read(&self, seq: WriteSeq) -> Result<Payload, SpillError> {
        let missing = || SpillError::Missing { path: self.directory.clone(), seq };
        let spilled = self.index.get(&seq).ok_or_else(missing)?;
        let place = spilled.segment.checked_sub(self.first_segment).ok_or_else(missing)?;
        let segment = self.segments.get(place as usize).ok_or_else(missing)?;
        let mut bytes = BytesMut::zeroed(spilled.length as usize);
        let read = segment.file.read_exact_at(&mut bytes, spilled.at);
        read.map_err(|source| io_error(&self.directory, spilled.segment, source))?;
        if crc32c::crc32c(&bytes) != spilled.crc32c {
            return Err(SpillError::Damaged { path: segment_path(&self.directory, spilled.segment), seq });
        }
        Ok(bytes.into())
    }

    /// Writes up to `upto` are of no more use; of the highest number there is, all.
    pub fn trim(&mut self, upto: WriteSeq) -> Result<(), SpillError> {
        match upto.0.checked_add(1) {
            Some(next) => self.index = self.index.split_off(&WriteSeq(next)),
            None => self.index.clear(),
        }
        while self.segments.front().is_some_and(|first| first.last <= upto) {
            let number = self.first_segment;
            self.segments.pop_front();
            self.first_segment += 1;
            let path = segment_path(&self.directory, number);
            fs::remove_file(&path).map_err(|source| SpillError::Io { path, source })?;
        }
        Ok(())
    }

    /// Bytes on the disk, used or not.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn add_segment(&mut self) -> Result<(), SpillError> {
        let number = self.first_segment + self.segments.len() as u64;
        let path = segment_path(&self.directory, number);
        let create = || {
            fs::create_dir_all(&self.directory)?;
            File::options().read(true).write(true).create(true).truncate(true).open(&path)
        };
        match create() {
            Ok(file) => self.segments.push_back(Segment { file, length: 0, last: WriteSeq(0) }),
            Err(source) => return Err(SpillError::Io { path, source }),
        }
        Ok(())
    }
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(number.to_string())
}

fn io_error(directory: &Path, number: u64, source: io::Error) -> SpillError {
    SpillError::Io { path: segment_path(directory, number), source }
}

/// The pieces one behind another from `at` on, without joining them first.
fn write_all(file: &File, mut at: u64, data: &Payload) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = data.pieces().iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let count = left.len().min(PIECES_MAX);
        match rustix::io::pwritev(file, &left[..count], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A segment is this part of the whole, so that little of the disk is held by what is no more of use.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// IOV_MAX of Linux.
const PIECES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn spill(bytes_max: u64) -> (tempfile::TempDir, Arc<Place>, SpillFile) {
        let state_dir = tempfile::tempdir().unwrap();
        let place = Place::claim(state_dir.path(), "db").unwrap();
        let spill = SpillFile::new(&place, bytes_max).unwrap();
        (state_dir, place, spill)
    }

    fn payload(seq: u64, length: usize) -> Payload {
        let mut payload = Payload::default();
        payload.push(vec![seq as u8; length / 3].into());
        payload.push(vec![!seq as u8; length - length / 3].into());
        payload
    }

    #[test]
    fn what_is_appended_reads_back_until_trimmed() {
        let (_state_dir, place, mut spill) = spill(16 << 20);
        for seq in 1..=64 {
            spill.append(WriteSeq(seq), &payload(seq, 100_001)).unwrap();
        }
        for seq in [64, 1, 33] {
            assert_eq!(spill.read(WriteSeq(seq)).unwrap(), payload(seq, 100_001));
        }
        spill.trim(WriteSeq(32)).unwrap();
        assert!(matches!(spill.read(WriteSeq(32)), Err(SpillError::Missing { .. })));
        assert_eq!(spill.read(WriteSeq(33)).unwrap(), payload(33, 100_001));
        let used = 32 * 100_001;
        assert!((used..used + (1 << 20) + 100_001).contains(&spill.disk_bytes()), "{}", spill.disk_bytes());
        spill.trim(WriteSeq(64)).unwrap();
        assert_eq!(spill.disk_bytes(), 0);
        assert_eq!(fs::read_dir(place.path().join("spill")).unwrap().count(), 0);
        spill.append(WriteSeq(65), &payload(65, 9)).unwrap();
        assert_eq!(spill.read(WriteSeq(65)).unwrap(), payload(65, 9));
    }

    #[test]
    fn it_never_takes_more_than_a_segment_beyond_its_bound() {
        let (_state_dir, _place, mut spill) = spill(4 << 20);
        let refused = (1..1000).find(|&seq| spill.append(WriteSeq(seq), &payload(seq, 65536)).is_err()).unwrap();
        assert!((65..=81).contains(&refused), "{refused}");
        assert!(spill.disk_bytes() <= 5 << 20);
        let error = spill.append(WriteSeq(refused), &payload(refused, 65536)).unwrap_err().to_string();
        assert!(error.contains("4194304 bytes are all it may take"), "{error}");
        spill.trim(WriteSeq(17)).unwrap();
        spill.append(WriteSeq(refused), &payload(refused, 65536)).unwrap();
    }

    #[test]
    fn a_spill_of_nothing_takes_nothing() {
        let (_state_dir, _place, mut spill) = spill(0);
        assert!(matches!(spill.append(WriteSeq(1), &payload(1, 1)), Err(SpillError::Full { .. })));
    }

    #[test]
    fn a_next_reign_begins_with_all_the_space_and_its_own_numbers() {
        let (_state_dir, _place, mut spill) = spill(16 << 20);
        (1..=40).for_each(|seq| spill.append(WriteSeq(seq), &payload(seq, 100_000)).unwrap());
        spill.trim(WriteSeq(u64::MAX)).unwrap();
        assert_eq!(spill.disk_bytes(), 0);
        assert!(matches!(spill.read(WriteSeq(40)), Err(SpillError::Missing { .. })));
        spill.append(WriteSeq(1), &payload(9, 9)).unwrap();
        assert_eq!(spill.read(WriteSeq(1)).unwrap(), payload(9, 9));
    }

    #[test]
    fn damage_is_noticed() {
        let (_state_dir, place, mut spill) = spill(1 << 20);
        spill.append(WriteSeq(1), &payload(1, 5000)).unwrap();
        let segment = File::options().write(true).open(place.path().join("spill/0")).unwrap();
        segment.write_all_at(b"x", 4000).unwrap();
        assert!(matches!(spill.read(WriteSeq(1)), Err(SpillError::Damaged { .. })));
        segment.set_len(4000).unwrap();
        assert!(matches!(spill.read(WriteSeq(1)), Err(SpillError::Io { .. })));
    }

    #[test]
    fn what_a_former_process_left_is_removed() {
        let (_state_dir, place, mut spill) = spill(1 << 20);
        spill.append(WriteSeq(1), &payload(1, 5000)).unwrap();
        drop(spill);
        let spill = SpillFile::new(&place, 1 << 20).unwrap();
        assert!(!place.path().join("spill").exists());
        assert!(matches!(spill.read(WriteSeq(1)), Err(SpillError::Missing { .. })));
    }

    #[test]
    fn a_payload_of_many_pieces_is_written_whole() {
        let (_state_dir, _place, mut spill) = spill(1 << 20);
        let mut data = Payload::default();
        (0..2500u32).for_each(|n| data.push(Bytes::copy_from_slice(&n.to_be_bytes())));
        spill.append(WriteSeq(1), &data).unwrap();
        assert_eq!(spill.read(WriteSeq(1)).unwrap(), data);
    }
}
