//! Undo stores: what a resync has written over, and the other node had not.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use lunmirror::api::Failure;
use lunmirror::api::shown::{bytes, word};
use serde::Serialize;
use target_core::mirror::undo::{self, Piece, Undo, UndoError};

use super::table::Table;
use super::{EXIT_FAILED, EXIT_USAGE, Ended};

/// Where a group keeps them, and what the operator asks of.
pub struct Place {
    /// The group's directory in state_dir.
    pub directory: PathBuf,
    /// A volume, or the group, which stands for all of its volumes.
    pub name: String,
}

#[derive(Debug, Serialize)]
pub struct Listed {
    pub name: String,
    pub path: PathBuf,
    pub group: String,
    pub why: String,
    /// RFC 3339.
    pub taken: String,
    pub generation: String,
    pub epoch: u64,
    /// Nothing but blocks that the copy lost; otherwise also others, around them.
    pub settled: bool,
    /// What was behind its pieces can't be read.
    pub torn: bool,
    pub left_out_bytes: u64,
    pub bytes: u64,
    pub ranges: Vec<Range>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    pub volume: String,
    pub at: u64,
    pub bytes: u64,
}

/// What was done with a store.
#[derive(Debug, Serialize)]
pub struct Done {
    pub name: String,
    pub group: String,
    pub volume: Option<String>,
    pub generation: String,
    pub file: Option<PathBuf>,
    pub bytes: u64,
    pub ranges: Vec<Range>,
    /// Blocks whose checksum is wrong: they are in no range.
    pub damaged: Vec<Range>,
}

/// Stores that hold anything of it, and what could not be read.
pub fn list(place: &Place) -> Result<(Vec<Listed>, Vec<Failure>), Ended> {
    let (mut listed, mut faults) = (Vec::new(), Vec::new());
    for found in undo::all(&place.directory).map_err(ended)? {
        match found {
            Ok(undo) => listed.extend(place.listed(&undo)),
            Err(error) => faults.push(failure(&error)),
        }
    }
    Ok((listed, faults))
}

pub fn show(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "nothing was discarded that is still kept\n".to_owned();
    }
    let mut table = Table::new(["NAME", "TAKEN", "WHY", "EPOCH", "GENERATION", "BYTES", "RANGES"]);
    for undo in listed {
        table.row([
            undo.name.clone(),
            undo.taken.clone(),
            undo.why.clone(),
            undo.epoch.to_string(),
            undo.generation.clone(),
            bytes(undo.bytes),
            undo.ranges.len().to_string(),
        ]);
    }
    let mut text = table.to_string();
    for undo in listed {
        let name = &undo.name;
        if !undo.settled {
            let _ = writeln!(text, "{name}: its resync is not done: blocks that were not lost are still among these");
        }
        if undo.left_out_bytes > 0 {
            let _ = writeln!(
                text,
                "{name}: up to {} more found no room (undo.max), and what was lost of them is gone",
                bytes(undo.left_out_bytes)
            );
        }
        if undo.torn {
            let _ = writeln!(text, "{name}: damaged: what lies behind these ranges can't be read");
        }
        text.push_str(&ranges(&undo.ranges));
    }
    text
}

fn ranges(ranges: &[Range]) -> String {
    let line = |range: &Range| format!("  {} {} bytes from byte {}\n", range.volume, range.bytes, range.at);
    let mut text: String = ranges.iter().take(RANGES_SHOWN).map(line).collect();
    if let Some(more) = ranges.len().checked_sub(RANGES_SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} more: see --json");
    }
    text
}

/// Where the store has other blocks than `against`.
pub fn diff(place: &Place, name: Option<&str>, against: &Path) -> Result<Done, Ended> {
    let undo = place.one(name)?;
    let volume = place.volume(&undo)?;
    let file = File::open(against).map_err(|error| io_failed(against, &error))?;
    let block = undo.header.volumes[usize::from(volume)].block_bytes as usize;
    let mut done = place.done(&undo, volume);
    for piece in undo.pieces.iter().filter(|piece| piece.volume == volume) {
        let Some(then) = place.read(&undo, piece, &mut done)? else { continue };
        let mut now = vec![0; then.len()];
        read_whole(&file, &mut now, piece.at).map_err(|error| io_failed(against, &error))?;
        for (at, (then, now)) in then.chunks(block).zip(now.chunks(block)).enumerate() {
            if then != now {
                done.add(piece.at + (at * block) as u64, then.len() as u64);
            }
        }
    }
    Ok(done)
}

/// Into a new, sparse file, each block where it was; beside it, as `FILE.json`, which these are.
pub fn export(place: &Place, name: Option<&str>, to: &Path) -> Result<Done, Ended> {
    let undo = place.one(name)?;
    let volume = place.volume(&undo)?;
    let mut done = place.done(&undo, volume);
    done.file = Some(to.to_owned());
    let failed = |error: io::Error| io_failed(to, &error);
    let file = File::options().write(true).create_new(true).open(to).map_err(failed)?;
    file.set_len(undo.header.volumes[usize::from(volume)].bytes).map_err(failed)?;
    for piece in undo.pieces.iter().filter(|piece| piece.volume == volume) {
        let Some(data) = place.read(&undo, piece, &mut done)? else { continue };
        if !piece.zeroes {
            file.write_all_at(&data, piece.at).map_err(failed)?;
        }
        done.add(piece.at, data.len() as u64);
    }
    file.sync_all().map_err(failed)?;
    let map = PathBuf::from(format!("{}.json", to.display()));
    let json = serde_json::to_vec_pretty(&done).expect("it has no maps with keys that are no strings");
    fs::write(&map, json).map_err(|error| io_failed(&map, &error))?;
    Ok(done)
}

/// All of it, whichever volume was named.
pub fn drop_one(place: &Place, name: Option<&str>) -> Result<Done, Ended> {
    let (name, undo) = match name {
        // Also one that can't be read.
        Some(name) => (name.to_owned(), undo::one(&place.directory, name)),
        None => place.one(None).map(|undo| (undo.name.clone(), Ok(undo)))?,
    };
    undo::remove(&place.directory, &name).map_err(ended)?;
    let (group, generation, bytes) = undo.map_or_else(
        |_| (place.name.clone(), "unknown".to_owned(), 0),
        |undo| (undo.header.group.clone(), undo.header.copy.generation.to_string(), undo.bytes()),
    );
    Ok(Done { name, group, volume: None, generation, file: None, bytes, ranges: Vec::new(), damaged: Vec::new() })
}

pub fn told(done: &Done, what: &str) -> String {
    let volume = done.volume.as_deref().unwrap_or(&done.group);
    let mut text = format!("{} of {volume}: {}\n", done.name, what.replace("BYTES", &bytes(done.bytes)));
    text.push_str(&ranges(&done.ranges));
    for range in &done.damaged {
        let _ = writeln!(text, "damaged: {} bytes from byte {}", range.bytes, range.at);
    }
    text
}

impl Place {
    fn listed(&self, undo: &Undo) -> Option<Listed> {
        let header = &undo.header;
        let is_group = header.group == self.name;
        let name = |volume: u16| header.volumes[usize::from(volume)].name.to_string();
        let ranges = undo.ranges().into_iter().map(|(volume, at, bytes)| Range { volume: name(volume), at, bytes });
        let ranges: Vec<Range> = ranges.filter(|range| is_group || range.volume == self.name).collect();
        let is_of = is_group || header.volumes.iter().any(|volume| *volume.name == *self.name);
        is_of.then(|| Listed {
            name: undo.name.clone(),
            path: undo.path.clone(),
            group: header.group.clone(),
            why: word(header.copy.why),
            taken: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(header.taken)).to_string(),
            generation: header.copy.generation.to_string(),
            epoch: header.copy.epoch.0,
            settled: header.settled,
            torn: undo.is_torn,
            left_out_bytes: undo.left_out_bytes,
            bytes: ranges.iter().map(|range| range.bytes).sum(),
            ranges,
        })
    }

    /// The only one, where none is named.
    fn one(&self, name: Option<&str>) -> Result<Undo, Ended> {
        if let Some(name) = name {
            return undo::one(&self.directory, name).map_err(ended);
        }
        let mut found: Vec<Undo> = undo::all(&self.directory).map_err(ended)?.into_iter().flatten().collect();
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (None, _) => {
                let error = format!("no discarded blocks of {} are kept", self.name);
                Err((Failure::new(error, "there is nothing to do"), EXIT_FAILED))
            }
            (Some(last), more) => {
                let error = format!("there are {} undo stores of {}", more + 1, self.name);
                let remedy = format!("name one: lunmirrorctl undo list {}, such as {}", self.name, last.name);
                Err((Failure::new(error, remedy), EXIT_USAGE))
            }
        }
    }

    /// The volume that is meant.
    fn volume(&self, undo: &Undo) -> Result<u16, Ended> {
        let volumes = &undo.header.volumes;
        let named = volumes.iter().position(|volume| *volume.name == *self.name);
        match named.or((volumes.len() == 1).then_some(0)) {
            Some(at) => Ok(at as u16),
            None => {
                let names: Vec<&str> = volumes.iter().map(|volume| &*volume.name).collect();
                let remedy = format!("name one of its volumes: {}", names.join(", "));
                Err((Failure::new(format!("{} has several volumes", self.name), remedy), EXIT_USAGE))
            }
        }
    }

    fn done(&self, undo: &Undo, volume: u16) -> Done {
        Done {
            name: undo.name.clone(),
            group: undo.header.group.clone(),
            volume: Some(undo.header.volumes[usize::from(volume)].name.to_string()),
            generation: undo.header.copy.generation.to_string(),
            file: None,
            bytes: 0,
            ranges: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// `None`: damaged, and noted.
    fn read(&self, undo: &Undo, piece: &Piece, done: &mut Done) -> Result<Option<Vec<u8>>, Ended> {
        let data = undo.read(piece).map_err(ended)?;
        if data.is_none() {
            let volume = done.volume.clone().unwrap_or_default();
            done.damaged.push(Range { volume, at: piece.at, bytes: piece.bytes.into() });
        }
        Ok(data)
    }
}

impl Done {
    fn add(&mut self, at: u64, bytes: u64) {
        self.bytes += bytes;
        match self.ranges.last_mut() {
            Some(last) if last.at + last.bytes == at => last.bytes += bytes,
            _ => self.ranges.push(Range { volume: self.volume.clone().unwrap_or_default(), at, bytes }),
        }
    }
}

/// Behind the end of a file there are zeroes.
fn read_whole(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at)? {
            0 => return Ok(()),
            count => {
                buffer = &mut buffer[count..];
                at += count as u64;
            }
        }
    }
    Ok(())
}

fn ended(error: UndoError) -> Ended {
    (failure(&error), EXIT_FAILED)
}

fn failure(error: &UndoError) -> Failure {
    let remedy = match error {
        UndoError::Missing { .. } => "see lunmirrorctl undo list",
        UndoError::Damaged { .. } => "nothing can be had of it; lunmirrorctl undo drop removes it",
        UndoError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            "run it as root, or as the user that the target runs as"
        }
        UndoError::Io { .. } => "look at the disk that state_dir is on",
    };
    Failure::new(error.to_string(), remedy)
}

fn io_failed(path: &Path, error: &io::Error) -> Ended {
    let remedy = match error.kind() {
        io::ErrorKind::AlreadyExists => "name a file that does not exist yet",
        io::ErrorKind::PermissionDenied => "run it as root, or name a place that you may use",
        _ => "look at the disk that it is on",
    };
    (Failure::new(format!("{}: {error}", path.display()), remedy), EXIT_FAILED)
}

/// Of a store, for people.
const RANGES_SHOWN: usize = 16;
