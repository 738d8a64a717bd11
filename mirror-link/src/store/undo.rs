//! Undo stores: blocks that were written over by a resync, and that the source of it had not. One file each.
//!
//! ```text
//!   Byte/     0       |       1       |       2       |       3       |
//!      0| "LUNUNDO1"                                                    |
//!      8| bytes of the header                                           |
//!     12| CRC32C of the header                                          |
//!     16| the header: JSON, a [`Header`]                                |
//!
//!   then of each piece, one behind another:
//!      0| "PIEC"                                                        |
//!      4| volume, by place in the header| 0: data follows · 1: zeroes   |
//!      8| first byte in the volume                                      |
//!     16| bytes                                                         |
//!     20| CRC32C of the data; of zeroes 0                               |
//!     24| reserved = 0                                                  |
//!     28| CRC32C of bytes 0 to 27                                       |
//!     32| the data                                                      |
//!
//!   and at the end:
//!      0| "DONE"                                                        |
//!      4| reserved = 0                                                  |
//!      8| pieces                                                        |
//!     16| bytes that were left out                                      |
//!     24| reserved = 0                                                  |
//!     28| CRC32C of bytes 0 to 27                                       |
//! ```
//!
//! All numbers are big-endian. While it is written it is `undo-….part`; it gets its name when all of it is durable, so a crash
//! leaves none or a whole one. One that was damaged since is read as far as it can be: a piece whose data is wrong is passed
//! over, behind a piece whose head is wrong nothing is believed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::replica::io::Overwritten;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub group: String,
    /// In order of volume index.
    pub volumes: Vec<Volume>,
    /// The copy that was written over.
    #[serde(flatten)]
    pub copy: Overwritten,
    /// Seconds since 1970, when it was put aside.
    pub taken: u64,
    /// It holds nothing but blocks that differed from the copy's when the resync was done. Otherwise also others, around them.
    pub settled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: Arc<str>,
    pub block_bytes: u32,
    pub bytes: u64,
}

/// Bytes of a volume that lie next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub volume: u16,
    pub at: u64,
    pub bytes: u32,
    pub zeroes: bool,
    crc32c: u32,
    /// Of the data, in the file.
    place: u64,
}

/// One that is whole, or what is left of it.
#[derive(Debug)]
pub struct Undo {
    pub name: String,
    pub path: PathBuf,
    pub header: Header,
    /// In order of volume and place.
    pub pieces: Vec<Piece>,
    pub left_out_bytes: u64,
    /// Behind its pieces there were more, and they can't be believed.
    pub is_torn: bool,
    file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {cause}")]
    Damaged { path: PathBuf, cause: String },
    #[error("{directory} has no undo store {name}")]
    Missing { directory: PathBuf, name: String },
}

/// One that is being written; what was written is gone with it unless it is sealed.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    part: PathBuf,
    file: io::BufWriter<File>,
    pieces: u64,
    is_sealed: bool,
}

impl Writer {
    pub fn create(directory: &Path, header: &Header) -> Result<Writer, UndoError> {
        let path = directory.join(file_name(header));
        let part = path.with_extension("part");
        let create = || {
            let mut options = File::options();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            let json = serde_json::to_vec(header)?;
            let mut file = io::BufWriter::with_capacity(1 << 20, file);
            file.write_all(MAGIC)?;
            file.write_all(&(json.len() as u32).to_be_bytes())?;
            file.write_all(&crc32c::crc32c(&json).to_be_bytes())?;
            file.write_all(&json)?;
            Ok(file)
        };
        let file = create().map_err(|source| UndoError::Io { path: part.clone(), source })?;
        Ok(Writer { path, part, file, pieces: 0, is_sealed: false })
    }

    /// `None`: zeroes. At most [`PIECE_MAX`] bytes.
    pub fn append(&mut self, volume: u16, at: u64, bytes: u32, data: Option<&[u8]>) -> Result<(), UndoError> {
        debug_assert!(data.is_none_or(|data| data.len() == bytes as usize));
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(PIECE);
        head[4..6].copy_from_slice(&volume.to_be_bytes());
        head[6..8].copy_from_slice(&u16::from(data.is_none()).to_be_bytes());
        head[8..16].copy_from_slice(&at.to_be_bytes());
        head[16..20].copy_from_slice(&bytes.to_be_bytes());
        head[20..24].copy_from_slice(&data.map_or(0, crc32c::crc32c).to_be_bytes());
        let written = self.file.write_all(&seal(head)).and_then(|()| self.file.write_all(data.unwrap_or_default()));
        written.map_err(|source| self.io(source))?;
        self.pieces += 1;
        Ok(())
    }

    /// Whole, durable and under its name when this returns.
    pub fn seal(mut self, left_out_bytes: u64) -> Result<PathBuf, UndoError> {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(DONE);
        head[8..16].copy_from_slice(&self.pieces.to_be_bytes());
        head[16..24].copy_from_slice(&left_out_bytes.to_be_bytes());
        let mut finish = || {
            self.file.write_all(&seal(head))?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.part, &self.path)?;
            File::open(self.path.parent().expect("it lies in a directory"))?.sync_all()
        };
        finish().map_err(|source| self.io(source))?;
        self.is_sealed = true;
        Ok(self.path.clone())
    }

    fn io(&self, source: io::Error) -> UndoError {
        UndoError::Io { path: self.part.clone(), source }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_sealed {
            // What can't be removed now is before the next is written.
            fs::remove_file(&self.part).ok();
        }
    }
}

impl Undo {
    pub fn open(path: &Path) -> Result<Undo, UndoError> {
        let io = |source| UndoError::Io { path: path.to_owned(), source };
        let damaged = |cause: &str| UndoError::Damaged { path: path.to_owned(), cause: cause.into() };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut start = [0; HEADER_AT as usize];
        if length < HEADER_AT {
            return Err(damaged("it ends before its header"));
        }
        file.read_exact_at(&mut start, 0).map_err(io)?;
        let json_bytes = u64::from(number(&start[8..12]));
        if &start[..8] != MAGIC || json_bytes > HEADER_MAX || HEADER_AT + json_bytes > length {
            return Err(damaged("it is no undo store, or its header is damaged"));
        }
        let mut json = vec![0; json_bytes as usize];
        file.read_exact_at(&mut json, HEADER_AT).map_err(io)?;
        if crc32c::crc32c(&json) != number(&start[12..16]) {
            return Err(damaged("its header is damaged"));
        }
        let header: Header = serde_json::from_slice(&json).map_err(|error| damaged(&error.to_string()))?;
        let mut undo = Undo {
            name: name_of(path),
            path: path.to_owned(),
            header,
            pieces: Vec::new(),
            left_out_bytes: 0,
            is_torn: true,
            file,
        };
        undo.read_heads(HEADER_AT + json_bytes, length).map_err(io)?;
        Ok(undo)
    }

    fn read_heads(&mut self, mut at: u64, length: u64) -> io::Result<()> {
        let mut head = [0; HEAD];
        while at + HEAD as u64 <= length {
            self.file.read_exact_at(&mut head, at)?;
            if number(&head[28..32]) != crc32c::crc32c(&head[..28]) {
                return Ok(());
            }
            at += HEAD as u64;
            if &head[..4] == DONE {
                self.is_torn = wide(&head[8..16]) != self.pieces.len() as u64;
                self.left_out_bytes = wide(&head[16..24]);
                return Ok(());
            }
            let volume = u16::from_be_bytes([head[4], head[5]]);
            let (first, bytes, zeroes) = (wide(&head[8..16]), number(&head[16..20]), head[7] != 0);
            let stored = if zeroes { 0 } else { u64::from(bytes) };
            let fits = |volume: &Volume| first.checked_add(bytes.into()).is_some_and(|end| end <= volume.bytes);
            let is_sound = &head[..4] == PIECE
                && bytes <= PIECE_MAX
                && self.header.volumes.get(usize::from(volume)).is_some_and(fits)
                && at + stored <= length;
            if !is_sound {
                return Ok(());
            }
            let crc32c = number(&head[20..24]);
            self.pieces.push(Piece { volume, at: first, bytes, zeroes, crc32c, place: at });
            at += stored;
        }
        Ok(())
    }

    /// What was there. `None`: its checksum is wrong.
    pub fn read(&self, piece: &Piece) -> Result<Option<Vec<u8>>, UndoError> {
        let mut data = vec![0; piece.bytes as usize];
        if piece.zeroes {
            return Ok(Some(data));
        }
        let read = self.file.read_exact_at(&mut data, piece.place);
        read.map_err(|source| UndoError::Io { path: self.path.clone(), source })?;
        Ok((crc32c::crc32c(&data) == piece.crc32c).then_some(data))
    }

    /// Of blocks, zeroes or not.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.bytes)).sum()
    }

    /// Pieces that lie next to each other taken together: volume, first byte, bytes.
    pub fn ranges(&self) -> Vec<(u16, u64, u64)> {
        let mut ranges: Vec<(u16, u64, u64)> = Vec::new();
        for piece in &self.pieces {
            match ranges.last_mut() {
                Some((volume, at, bytes)) if *volume == piece.volume && *at + *bytes == piece.at => {
                    *bytes += u64::from(piece.bytes);
                }
                _ => ranges.push((piece.volume, piece.at, piece.bytes.into())),
            }
        }
        ranges
    }
}

/// The undo stores in a group's directory, oldest first; of those that can't be read, why.
pub fn all(directory: &Path) -> Result<Vec<Result<Undo, UndoError>>, UndoError> {
    Ok(paths(directory)?.iter().map(|path| Undo::open(path)).collect())
}

pub fn one(directory: &Path, name: &str) -> Result<Undo, UndoError> {
    Undo::open(&named(directory, name)?)
}

/// Its space is free when this returns.
pub fn remove(directory: &Path, name: &str) -> Result<(), UndoError> {
    let path = named(directory, name)?;
    fs::remove_file(&path).map_err(|source| UndoError::Io { path, source })
}

/// Of that resync.
pub fn of_resync(directory: &Path, copy: &Overwritten) -> Result<Option<PathBuf>, UndoError> {
    let suffix = suffix(copy);
    Ok(paths(directory)?.into_iter().find(|path| name_of(path).ends_with(&suffix)))
}

/// How many there are, and the bytes of their files.
pub fn brief(directory: &Path) -> Result<(u64, u64), UndoError> {
    let paths = paths(directory)?;
    let bytes = paths.iter().filter_map(|path| path.metadata().ok()).map(|found| found.len()).sum();
    Ok((paths.len() as u64, bytes))
}

/// What a former process did not finish, and what was kept for longer than `keep`: the names of these.
pub fn expire(directory: &Path, keep: Duration) -> Result<Vec<String>, UndoError> {
    for path in entries(directory, ".part")? {
        fs::remove_file(&path).map_err(|source| UndoError::Io { path, source })?;
    }
    let mut expired = Vec::new();
    let oldest = now().saturating_sub(keep.as_secs());
    for path in paths(directory)? {
        // Whoever looks after a damaged one decides.
        if Undo::open(&path).is_ok_and(|undo| undo.header.taken < oldest) {
            fs::remove_file(&path).map_err(|source| UndoError::Io { path: path.clone(), source })?;
            expired.push(name_of(&path));
        }
    }
    Ok(expired)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn paths(directory: &Path) -> Result<Vec<PathBuf>, UndoError> {
    entries(directory, "")
}

/// Files named `undo-…` with that ending, in the order of their names and so of time.
fn entries(directory: &Path, ending: &str) -> Result<Vec<PathBuf>, UndoError> {
    let list = || {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_part = name.ends_with(".part");
            if name.starts_with(PREFIX) && name.ends_with(ending) && is_part == (ending == ".part") {
                found.push(directory.join(name));
            }
        }
        found.sort();
        Ok(found)
    };
    list().map_err(|source| UndoError::Io { path: directory.to_owned(), source })
}

/// A name that an operator gave leads out of no directory.
fn named(directory: &Path, name: &str) -> Result<PathBuf, UndoError> {
    let found = paths(directory)?.into_iter().find(|path| name_of(path) == name);
    found.ok_or_else(|| UndoError::Missing { directory: directory.to_owned(), name: name.to_owned() })
}

/// Without `undo-`.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(PREFIX).unwrap_or(&name).to_owned()
}

/// `undo-20261127T211500Z-8a9136aa`: when, and of which resync.
fn file_name(header: &Header) -> String {
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(header.taken)).to_string();
    let time: String = time.chars().filter(|letter| !"-:".contains(*letter)).collect();
    format!("{PREFIX}{time}{}", suffix(&header.copy))
}

fn suffix(copy: &Overwritten) -> String {
    format!("-{:08x}", copy.resync.0 >> 96)
}

fn seal(mut head: [u8; HEAD]) -> [u8; HEAD] {
    let crc = crc32c::crc32c(&head[..28]);
    head[28..32].copy_from_slice(&crc.to_be_bytes());
    head
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

fn wide(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

const PREFIX: &str = "undo-";
const MAGIC: &[u8; 8] = b"LUNUNDO1";
const PIECE: &[u8; 4] = b"PIEC";
const DONE: &[u8; 4] = b"DONE";
const HEADER_AT: u64 = 16;
const HEAD: usize = 32;
/// Bytes: thousands of volumes.
const HEADER_MAX: u64 = 4 << 20;
/// Bytes of one piece.
pub const PIECE_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Generation, OwnerEpoch};
    use crate::replica::io::Why;

    fn header(resync: u128, taken: u64) -> Header {
        let (generation, epoch, why) = (Generation(7), OwnerEpoch(3), Why::RolledBack);
        Header {
            group: "db".into(),
            volumes: vec![Volume { name: "db".into(), block_bytes: 512, bytes: 1 << 30 }],
            copy: Overwritten { resync: Generation(resync << 96), generation, epoch, why },
            taken,
            settled: false,
        }
    }

    fn written(directory: &Path, pieces: &[(u64, Option<Vec<u8>>)]) -> PathBuf {
        let mut writer = Writer::create(directory, &header(9, 1_764_278_100)).unwrap();
        for (at, data) in pieces {
            let bytes = data.as_ref().map_or(4096, |data| data.len() as u32);
            writer.append(0, *at, bytes, data.as_deref()).unwrap();
        }
        writer.seal(5).unwrap()
    }

    #[test]
    fn what_was_put_aside_is_there_under_its_name_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let path = written(directory, &[(0, Some(vec![7; 512])), (512, None), (1 << 20, Some(vec![8; 1024]))]);
        assert_eq!(of_resync(directory, &header(9, 0).copy).unwrap(), Some(path.clone()));
        assert_eq!(of_resync(directory, &header(8, 0).copy).unwrap(), None);
        let undo = one(directory, "20251127T211500Z-00000009").unwrap();
        assert_eq!((undo.header.clone(), undo.is_torn, undo.left_out_bytes), (header(9, 1_764_278_100), false, 5));
        assert_eq!(undo.ranges(), [(0, 0, 4608), (0, 1 << 20, 1024)]);
        assert_eq!(undo.read(&undo.pieces[1]).unwrap(), Some(vec![0; 4096]));
        assert_eq!(undo.read(&undo.pieces[2]).unwrap(), Some(vec![8; 1024]));
        assert_eq!((undo.bytes(), brief(directory).unwrap()), (5632, (1, path.metadata().unwrap().len())));
        assert!(matches!(remove(directory, "../record.json"), Err(UndoError::Missing { .. })));
        remove(directory, &undo.name).unwrap();
        assert_eq!(brief(directory).unwrap(), (0, 0));
    }

    #[test]
    fn one_that_is_not_sealed_was_never_there() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let mut writer = Writer::create(directory, &header(9, 1)).unwrap();
        writer.append(0, 0, 512, None).unwrap();
        assert!(all(directory).unwrap().is_empty() && brief(directory).unwrap() == (0, 0));
        drop(writer);
        fs::write(directory.join("undo-x.part"), "of a process that was killed").unwrap();
        assert_eq!(expire(directory, Duration::ZERO).unwrap(), Vec::<String>::new());
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    }

    #[test]
    fn the_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        for (resync, ago) in [(1, 100), (2, 50), (3, 10)] {
            Writer::create(directory, &header(resync, now() - ago)).unwrap().seal(0).unwrap();
        }
        let expired = expire(directory, Duration::from_secs(30)).unwrap();
        assert!(expired.len() == 2 && expired[0].ends_with("-00000001"), "{expired:?}");
        assert_eq!(brief(directory).unwrap().0, 1);
    }

    #[test]
    fn a_torn_tail_and_a_damaged_piece_leave_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let path =
            written(directory, &[(0, Some(vec![1; 512])), (512, Some(vec![2; 512])), (4096, Some(vec![3; 512]))]);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            // Before its header is there it is none at all.
            if let Ok(undo) = Undo::open(&path) {
                assert!(undo.is_torn && undo.pieces.len() <= 3, "{length}");
                let good = |piece: &Piece| undo.read(piece).unwrap().is_some();
                assert!(undo.pieces.iter().all(good), "{length}");
            }
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let Ok(undo) = Undo::open(&path) else { continue };
            let read: Vec<_> = undo.pieces.iter().map(|piece| undo.read(piece).unwrap()).collect();
            assert!(undo.is_torn || read.contains(&None), "byte {at} is noticed");
            for (piece, data) in undo.pieces.iter().zip(read) {
                let n = if piece.at == 4096 { 3 } else { 1 + (piece.at / 512) as u8 };
                assert!(data.is_none_or(|data| data == vec![n; 512]), "byte {at}: nothing wrong is believed");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_was_put_aside_comes_back(
            pieces in proptest::collection::vec((0..64_u64, proptest::option::of(1..9_usize), any::<u8>()), 0..20),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let pieces: Vec<_> = pieces
                .into_iter()
                .map(|(at, blocks, byte)| (at * 512, blocks.map(|blocks| vec![byte; blocks * 512])))
                .collect();
            let path = written(directory.path(), &pieces);
            let undo = Undo::open(&path).unwrap();
            prop_assert_eq!(undo.pieces.len(), pieces.len());
            for (piece, (at, data)) in undo.pieces.iter().zip(pieces) {
                prop_assert_eq!(piece.at, at);
                prop_assert_eq!(undo.read(piece).unwrap(), Some(data.unwrap_or_else(|| vec![0; 4096])));
            }
        }
    }
}
