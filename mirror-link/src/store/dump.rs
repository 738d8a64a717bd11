//! A group's files as they lie in a state_dir, for people: read without a daemon and without the lock, and nothing is written.
//!
//! Beside a daemon at work what is read of a map is of more than one moment: its pages are written one by one.

mod journal;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use journal::{FrameDump, FrameState, JournalDump, LeftDump, SegmentDump, SegmentEnd, WriteDump, WrittenOp};

use super::map::{self, Checked, Head, Kind, PAGE, WORDS, WORDS_AT};
use super::place::{MIRROR, file_name, group_of};
use super::record::{self, FORMER, RECORD};
use super::{Kept, REMEDY_CORRUPT, StoreError};

/// What was found of a group. What could not be read is missing, and a fault says why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupDump {
    pub group: String,
    /// Its directory.
    pub path: PathBuf,
    pub record: Option<Kept>,
    /// An owner's, whose data was not there.
    pub former: Option<Kept>,
    pub map: Option<MapDump>,
    pub journal: Option<JournalDump>,
    pub faults: Vec<Fault>,
}

/// What is listed one by one; it can be long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Where hot regions and dirty pieces are.
    pub regions: bool,
    /// Each frame of the journal.
    pub writes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file, and what is wrong with it.
    pub error: String,
    pub remedy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDump {
    /// Hexadecimal.
    pub identity: String,
    /// What a bit of a dirty page stands for. 64 of them are a region, which a bit of a hot page stands for.
    pub piece_bytes: u64,
    pub pages: u64,
    /// Of which neither place is whole: they count as all set.
    pub lost_pages: u64,
    pub damaged: Vec<DamagedPlace>,
    /// In the order of their names.
    pub volumes: Vec<VolumeDump>,
}

/// A place of a page that can't be believed; the other one may stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedPlace {
    pub volume: u16,
    pub kind: PageKind,
    /// Within its kind and volume.
    pub page: u64,
    /// 0 or 1.
    pub place: u64,
    /// In the file, bytes.
    pub at: u64,
    pub cause: Damage,
    /// The other one can't be believed either.
    pub is_lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageKind {
    Hot,
    Dirty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// Its checksum is wrong.
    Torn,
    /// Zeroes where something was written.
    Empty,
    /// Whole, and of another page or another map.
    Foreign,
    /// The file ends before it does.
    CutOff,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDump {
    /// As the record has it; `None` where it is of other volumes, or can't be read.
    pub name: Option<Arc<str>>,
    pub bytes: u64,
    pub regions: u64,
    pub hot_regions: u64,
    pub dirty_regions: u64,
    pub dirty_bytes: u64,
    pub lost_pages: u64,
    /// The least and the greatest write number of its pages; `None` where all are lost.
    pub written: Option<(u64, u64)>,
    /// `None`: nobody asked.
    pub hot: Option<Vec<Run>>,
    pub dirty: Option<Vec<Run>>,
}

/// Bytes of a volume that lie next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub at: u64,
    pub bytes: u64,
}

/// Every group of it, by name.
pub fn all(state_dir: &Path, listed: Listed) -> Result<Vec<GroupDump>, Fault> {
    let directories = directories(state_dir)?;
    Ok(directories.into_iter().map(|(name, path)| dump(name, path, listed)).collect())
}

pub fn one(state_dir: &Path, group: &str, listed: Listed) -> Result<GroupDump, Fault> {
    let mirror = state_dir.join(MIRROR);
    let path = mirror.join(file_name(group));
    if path.is_dir() {
        return Ok(dump(group.to_owned(), path, listed));
    }
    let names: Vec<String> = directories(state_dir)?.into_iter().map(|(name, _)| name).collect();
    let remedy = match names.is_empty() {
        true => "name the state_dir of a target that mirrors".to_owned(),
        false => format!("name one of its groups: {}", names.join(", ")),
    };
    Err(Fault { error: format!("{} has no group {group}", mirror.display()), remedy })
}

/// The directory of the group of that name, or else of the one that has a volume of that name.
pub fn directory_of(state_dir: &Path, name: &str) -> Result<PathBuf, Fault> {
    let groups = directories(state_dir)?;
    let has_it = |path: &Path| {
        let copies = record::load(&path.join(RECORD)).ok().flatten().and_then(|kept| kept.copies);
        copies.is_some_and(|copies| copies.iter().any(|copy| *copy.name == *name))
    };
    let found = groups.iter().find(|(group, _)| group == name).or(groups.iter().find(|(_, path)| has_it(path)));
    found.map(|(_, path)| path.clone()).ok_or_else(|| Fault {
        error: format!("{} has no volume nor group {name}", state_dir.display()),
        remedy: "name another, or another state_dir".into(),
    })
}

fn directories(state_dir: &Path) -> Result<Vec<(String, PathBuf)>, Fault> {
    let mirror = state_dir.join(MIRROR);
    let list = || {
        let entries = match fs::read_dir(&mirror) {
            // A target that mirrors nothing has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound && state_dir.is_dir() => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push((group_of(&entry.file_name().to_string_lossy()), entry.path()));
            }
        }
        found.sort();
        Ok(found)
    };
    list().map_err(|error: io::Error| {
        let error = format!("{}: {error}", mirror.display());
        Fault {
            error,
            remedy: "name the target's state_dir, and read it as root or as the user that it runs as".into(),
        }
    })
}

fn dump(group: String, path: PathBuf, listed: Listed) -> GroupDump {
    let mut faults = Vec::new();
    let record = record::load(&path.join(RECORD)).unwrap_or_else(|error| note(&mut faults, fault(error)));
    let former = record::load(&path.join(FORMER)).unwrap_or_else(|error| note(&mut faults, fault(error)));
    let file = path.join(map::MAP);
    let mut found = read_map(&file, listed.regions).unwrap_or_else(|fault| note(&mut faults, fault));
    if let Some(map) = &mut found {
        let copies = record.as_ref().and_then(|kept| kept.copies.as_deref());
        if let Some(copies) = copies.filter(|copies| copies.len() == map.volumes.len()) {
            map.volumes.iter_mut().zip(copies).for_each(|(volume, copy)| volume.name = Some(copy.name.clone()));
        }
        if map.lost_pages > 0 {
            let error = format!("{}: {} of its {} pages are lost", file.display(), map.lost_pages, map.pages);
            let remedy = "look at the disk that state_dir is on; the target takes what they speak of as dirty, and the next \
                          resync sends those blocks";
            faults.push(Fault { error, remedy: remedy.into() });
        }
    }
    let journal = journal::read(&path, record.as_ref(), listed.writes, &mut faults);
    GroupDump { group, path, record, former, map: found, journal, faults }
}

fn note<T>(faults: &mut Vec<Fault>, fault: Fault) -> Option<T> {
    faults.push(fault);
    None
}

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::Corrupt { path, cause } => {
            Fault { error: format!("{}: {cause}", path.display()), remedy: REMEDY_CORRUPT.into() }
        }
        StoreError::Io { path, source } => unreadable(&path, &source),
        error @ StoreError::InUse { .. } => Fault { error: error.to_string(), remedy: "try again".into() },
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "read it as root, or as the user that the target runs as",
        _ => "look at the disk that it is on",
    };
    Fault { error: format!("{}: {error}", path.display()), remedy: remedy.into() }
}

/// `None`: there is none.
fn read_map(path: &Path, runs: bool) -> Result<Option<MapDump>, Fault> {
    let io = |error: io::Error| unreadable(path, &error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io)?,
    };
    let anew = |cause: &str| {
        let error = format!("{}: {cause}", path.display());
        Fault {
            error,
            remedy: "nothing need be done: the target makes it anew when it starts, and copies every block".into(),
        }
    };
    let mut bytes = vec![0; PAGE];
    if map::read(&file, &mut bytes, 0).map_err(io)? < PAGE {
        return Err(anew("it is shorter than a page, where its head was expected"));
    }
    let head = map::read_head(&bytes).ok_or_else(|| anew("its head is damaged, or it is no map"))?;
    if head.piece_bytes == 0 {
        return Err(anew("its head says that a bit stands for no bytes"));
    }
    if head.sizes.is_empty() {
        let cause = match head.volumes {
            0 => "its head does not say how large its volumes are: an earlier version made it",
            _ => "it is of more volumes than its head has room for",
        };
        let error = format!("{}: {cause}", path.display());
        return Err(Fault { error, remedy: "see lunmirrorctl status, beside the target at work".into() });
    }
    Reading { file, head, runs, page: 0, damaged: Vec::new() }.whole().map(Some).map_err(io)
}

struct Reading {
    file: File,
    head: Head,
    runs: bool,
    /// The next one.
    page: usize,
    damaged: Vec<DamagedPlace>,
}

/// One kind's pages of a volume.
#[derive(Default)]
struct Pages {
    lost: u64,
    written: Option<(u64, u64)>,
}

impl Reading {
    fn whole(mut self) -> io::Result<MapDump> {
        let mut volumes = Vec::new();
        for (volume, bytes) in (0..).zip(self.head.sizes.clone()) {
            volumes.push(self.volume(volume, bytes)?);
        }
        Ok(MapDump {
            identity: hex::encode(self.head.identity),
            piece_bytes: self.head.piece_bytes,
            pages: self.page as u64,
            lost_pages: volumes.iter().map(|volume| volume.lost_pages).sum(),
            damaged: self.damaged,
            volumes,
        })
    }

    fn volume(&mut self, volume: u16, bytes: u64) -> io::Result<VolumeDump> {
        let piece = self.head.piece_bytes;
        let region = piece.saturating_mul(64);
        let regions = bytes.div_ceil(region);
        let mut hot = Runs::new(region, bytes, self.runs);
        let mut dirty = Runs::new(piece, bytes, self.runs);
        let mut dirty_regions = 0;
        let of_hot = self.pages(volume, Kind::Hot, regions.div_ceil(64), |word| hot.add(word))?;
        let of_dirty = self.pages(volume, Kind::Dirty, regions, |word| {
            dirty_regions += u64::from(word != 0);
            dirty.add(word);
        })?;
        let (hot, dirty) = (hot.end(), dirty.end());
        let numbers = [of_hot.written, of_dirty.written].into_iter().flatten();
        Ok(VolumeDump {
            name: None,
            bytes,
            regions,
            hot_regions: hot.units,
            dirty_regions,
            dirty_bytes: dirty.bytes,
            lost_pages: of_hot.lost + of_dirty.lost,
            written: numbers.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
            hot: hot.list,
            dirty: dirty.list,
        })
    }

    fn pages(&mut self, volume: u16, kind: Kind, words: u64, mut each: impl FnMut(u64)) -> io::Result<Pages> {
        let mut pages = Pages::default();
        for number in 0..words.div_ceil(WORDS as u64) {
            let here = words - number * WORDS as u64;
            let here = here.min(WORDS as u64) as usize;
            match self.next(volume, kind, number)? {
                Some((written, page)) => {
                    let range = pages.written.get_or_insert((written, written));
                    *range = (range.0.min(written), range.1.max(written));
                    let words = page[WORDS_AT..].as_chunks::<8>().0;
                    words[..here].iter().for_each(|bytes| each(u64::from_be_bytes(*bytes)));
                }
                None => {
                    pages.lost += 1;
                    (0..here).for_each(|_| each(u64::MAX));
                }
            }
        }
        Ok(pages)
    }

    /// What stands of the next page. One that a daemon is just writing is read again.
    fn next(&mut self, volume: u16, kind: Kind, number: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let page = self.page;
        self.page += 1;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let mut bytes = vec![0; 2 * PAGE];
            let found = map::read(&self.file, &mut bytes, map::offset(page, 0))?;
            let is_its = |found: &Checked| {
                found.identity == self.head.identity
                    && (found.kind, found.volume, found.number) == (kind as u16, volume, number)
            };
            let judge = |place: usize| {
                let its = &bytes[place * PAGE..][..PAGE];
                match map::check(its) {
                    _ if found < (place + 1) * PAGE => Err(Damage::CutOff),
                    Some(found) if is_its(&found) => Ok(found.written),
                    Some(_) => Err(Damage::Foreign),
                    None if its.iter().all(|byte| *byte == 0) => Err(Damage::Empty),
                    None => Err(Damage::Torn),
                }
            };
            let places = [judge(0), judge(1)];
            // The first write of a page goes to the second place.
            let is_new = places == [Err(Damage::Empty), Ok(1)];
            if tries > 0 && !is_new && places.iter().any(Result::is_err) {
                continue;
            }
            let best = (0..2).filter_map(|place| Some((places[place].ok()?, place))).max();
            for (place, judged) in (0..).zip(places).filter(|_| !is_new) {
                if let Err(cause) = judged {
                    let at = map::offset(page, place);
                    let kind = if kind == Kind::Hot { PageKind::Hot } else { PageKind::Dirty };
                    let is_lost = best.is_none();
                    self.damaged.push(DamagedPlace { volume, kind, page: number, place, at, cause, is_lost });
                }
            }
            return Ok(best.map(|(written, place)| (written, bytes[place * PAGE..][..PAGE].to_vec())));
        }
    }
}

/// Bits that are set, as runs of bytes.
struct Runs {
    /// Bytes that a bit stands for, bytes that there are.
    unit: u64,
    end: u64,
    at: u64,
    open: Option<Run>,
    units: u64,
    bytes: u64,
    list: Option<Vec<Run>>,
}

impl Runs {
    fn new(unit: u64, end: u64, listed: bool) -> Runs {
        Runs { unit, end, at: 0, open: None, units: 0, bytes: 0, list: listed.then(Vec::new) }
    }

    fn add(&mut self, word: u64) {
        if word == 0 && self.open.is_none() {
            self.at = self.at.saturating_add(self.unit.saturating_mul(64));
            return;
        }
        for bit in 0..64 {
            let bytes = self.unit.min(self.end.saturating_sub(self.at));
            match word >> bit & 1 == 1 && bytes > 0 {
                true => {
                    self.units += 1;
                    self.open.get_or_insert(Run { at: self.at, bytes: 0 }).bytes += bytes;
                }
                false => self.close(),
            }
            self.at = self.at.saturating_add(self.unit);
        }
    }

    fn close(&mut self) {
        if let Some(run) = self.open.take() {
            self.bytes += run.bytes;
            self.list.iter_mut().for_each(|list| list.push(run));
        }
    }

    fn end(mut self) -> Runs {
        self.close();
        self
    }
}

/// Readings of a page that some daemon may be writing.
const TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{AsideBounds, GroupConfig, MapBounds, Mode, OnLinkLoss, Policy, QueueBounds, VolumeSpec};
    use crate::extent::{BlockCount, BlockLength};
    use crate::ids::{Generation, OwnerEpoch, VolumeIndex};
    use crate::replica::io::{MapChange, Record, Region};
    use crate::store::copies::Copy;
    use crate::store::{MapFile, Place, RecordStore};
    use crate::wire::message::{DiskState, Role};

    const REGIONS: Listed = Listed { regions: true, writes: false };

    fn config(name: &str) -> GroupConfig {
        let volume = |name: &str, capacity| VolumeSpec {
            name: name.into(),
            block_length: BlockLength::B512,
            capacity: BlockCount(capacity),
        };
        GroupConfig {
            name: name.into(),
            peer: "beta".into(),
            // 2^33 bytes: 2048 regions of 4 MiB, 5 dirty pages.
            volumes: vec![volume("data", 1 << 24), volume("log", 999)],
            first_role: Role::Primary,
            policy: Policy {
                mode: Mode::Sync,
                on_link_loss: OnLinkLoss::Degrade,
                max_stall: Duration::from_secs(5),
                wait_for_peer: Duration::from_secs(5),
                host_latency: None,
                on_journal_full: Default::default(),
                on_split_brain: Default::default(),
            },
            queue: QueueBounds { memory: 0, spill: 0, window_bytes: 0, window_writes: 0 },
            map: MapBounds { piece_bytes: 64 << 10, hot_max: 1024 },
            scrub: None,
            initial_sync: Default::default(),
            aside: AsideBounds { undo_max: 1 << 30, undo_keep: Duration::from_secs(604_800), snapshot: true },
            lease: Duration::from_secs(2),
        }
    }

    fn record() -> Record {
        Record {
            role: Role::Primary,
            disk: DiskState::UpToDate,
            epoch: OwnerEpoch(3),
            generation: Generation(9),
            history: vec![Generation(7)],
            peer_outdated: true,
            clean: false,
            dirty_since: Some(Generation(7)),
            mode: Mode::Sync,
            lost_cache: false,
            counting: None,
            overwritten: None,
        }
    }

    /// As a daemon that is still running leaves them.
    fn at_work(state_dir: &Path, group: &str) -> MapFile {
        let place = Place::claim(state_dir, group).unwrap();
        let copy = |name: &str| Copy { name: name.into(), blocks: 9, label: None };
        RecordStore::new(&place).of([copy("data"), copy("log")].into()).save(&record()).unwrap();
        MapFile::create(&place, &config(group)).unwrap()
    }

    fn region(volume: u16, index: u64) -> Region {
        Region { volume: VolumeIndex(volume), index }
    }

    #[test]
    fn a_group_is_shown_as_it_lies_beside_who_has_it() {
        let state_dir = tempfile::tempdir().unwrap();
        let mut map = at_work(state_dir.path(), "a/b");
        let change = MapChange {
            clear: false,
            all_dirty: false,
            // The last piece of the first region and the first of the next are one run.
            dirty: vec![(region(0, 3), 1 << 63), (region(0, 4), 0b101), (region(1, 0), u64::MAX)],
            hot: vec![(region(0, 63), true), (region(0, 64), true), (region(0, 2047), true)],
        };
        map.change([&change]).unwrap();
        let found = one(state_dir.path(), "a/b", REGIONS).unwrap();
        assert_eq!(
            (&found.record.as_ref().unwrap().record, &found.former, &found.faults[..]),
            (&record(), &None, &[][..])
        );
        assert_eq!(all(state_dir.path(), REGIONS).unwrap(), std::slice::from_ref(&found));
        let map = found.map.unwrap();
        assert_eq!((map.piece_bytes, map.pages, map.lost_pages, map.damaged.len()), (64 << 10, 1 + 5 + 1 + 1, 0, 0));
        let piece = 64 << 10;
        let region = 64 * piece;
        let [data, log] = &map.volumes[..] else { panic!("two volumes") };
        assert_eq!((data.name.as_deref(), data.regions, data.hot_regions), (Some("data"), 2048, 3));
        assert_eq!((data.dirty_regions, data.dirty_bytes, data.written), (2, 3 * piece, Some((1, 2))));
        let hot = [Run { at: 63 * region, bytes: 2 * region }, Run { at: 2047 * region, bytes: region }];
        assert_eq!(data.hot.as_deref(), Some(&hot[..]));
        let dirty =
            [Run { at: 4 * region - piece, bytes: 2 * piece }, Run { at: 4 * region + 2 * piece, bytes: piece }];
        assert_eq!(data.dirty.as_deref(), Some(&dirty[..]));
        assert_eq!((log.dirty_bytes, log.dirty.as_deref()), (999 * 512, Some(&[Run { at: 0, bytes: 999 * 512 }][..])));
        let shorter = one(state_dir.path(), "a/b", Listed::default()).unwrap().map.unwrap();
        assert!(shorter.volumes[0].hot.is_none() && shorter.volumes[0].hot_regions == 3);
    }

    #[test]
    fn what_is_damaged_is_named_and_the_rest_is_shown() {
        let state_dir = tempfile::tempdir().unwrap();
        let mut map = at_work(state_dir.path(), "db");
        map.change([&MapChange { hot: vec![(region(0, 1), true)], ..MapChange::default() }]).unwrap();
        let directory = state_dir.path().join("mirror/db");
        let damage = |name: &str, range: std::ops::Range<usize>| {
            let mut bytes = fs::read(directory.join(name)).unwrap();
            bytes[range].iter_mut().for_each(|byte| *byte ^= 0x55);
            fs::write(directory.join(name), bytes).unwrap();
        };
        // The first hot page was written twice: last to its first place.
        damage("map", PAGE + 60..PAGE + 70);
        // The second dirty page: once, to its second place.
        damage("map", 6 * PAGE..6 * PAGE + 1);
        let found = one(state_dir.path(), "db", Listed::default()).unwrap();
        let map = found.map.unwrap();
        let places: Vec<_> = map.damaged.iter().map(|it| (it.kind, it.page, it.place, it.cause, it.is_lost)).collect();
        let expected = [
            (PageKind::Hot, 0, 0, Damage::Torn, false),
            (PageKind::Dirty, 1, 0, Damage::Empty, true),
            (PageKind::Dirty, 1, 1, Damage::Torn, true),
        ];
        assert_eq!(places, expected);
        assert_eq!(map.damaged[2].at, 6 * PAGE as u64);
        assert_eq!((map.lost_pages, map.volumes[0].hot_regions), (1, 0));
        assert_eq!((map.volumes[0].dirty_regions, map.volumes[0].dirty_bytes), (500, 500 * (4 << 20)));
        let [lost] = &found.faults[..] else { panic!("{:?}", found.faults) };
        assert!(lost.error.ends_with("mirror/db/map: 1 of its 8 pages are lost"), "{lost:?}");

        damage("record.json", 60..61);
        damage("map", 0..1);
        let found = one(state_dir.path(), "db", Listed::default()).unwrap();
        assert_eq!((&found.record, &found.map), (&None, &None));
        let [record, map] = &found.faults[..] else { panic!("{:?}", found.faults) };
        assert!(record.error.contains("mirror/db/record.json: damaged: its checksum is"), "{record:?}");
        assert!(record.remedy.contains("move it away"), "{record:?}");
        assert!(map.error.ends_with("mirror/db/map: its head is damaged, or it is no map"), "{map:?}");
    }

    #[test]
    fn a_map_that_is_cut_off_has_lost_its_end() {
        let state_dir = tempfile::tempdir().unwrap();
        at_work(state_dir.path(), "db");
        let path = state_dir.path().join("mirror/db/map");
        File::options().write(true).open(&path).unwrap().set_len(3 * PAGE as u64).unwrap();
        let map = one(state_dir.path(), "db", Listed::default()).unwrap().map.unwrap();
        assert_eq!((map.lost_pages, map.damaged[0].cause, map.damaged.len()), (7, Damage::CutOff, 14));
        assert_eq!(map.volumes[0].dirty_bytes, 1 << 33);
        fs::write(&path, [0; 100]).unwrap();
        let found = one(state_dir.path(), "db", Listed::default()).unwrap();
        assert!(found.faults[0].error.contains("shorter than a page"), "{:?}", found.faults);
    }

    #[test]
    fn where_there_is_nothing() {
        let state_dir = tempfile::tempdir().unwrap();
        assert_eq!(all(state_dir.path(), Listed::default()).unwrap(), []);
        at_work(state_dir.path(), "db");
        let fault = one(state_dir.path(), "bd", Listed::default()).unwrap_err();
        assert!(fault.error.ends_with("/mirror has no group bd") && fault.remedy.ends_with(": db"), "{fault:?}");
        let fault = all(&state_dir.path().join("nowhere"), Listed::default()).unwrap_err();
        assert!(fault.error.contains("nowhere/mirror: No such file"), "{fault:?}");
        fs::create_dir(state_dir.path().join("mirror/empty")).unwrap();
        let empty = one(state_dir.path(), "empty", Listed::default()).unwrap();
        assert_eq!((empty.record, empty.map, empty.faults.len()), (None, None, 0));
    }
}
