//! A group's map on disk: which regions hosts write to (hot), and which pieces the peer lacks (dirty).
//!
//! Pages of 4 KiB. Each has two places, written in turns: a page that is torn leaves the one before it, which says no less of
//! what was done until then, since nothing is done that a page is to cover before that page is durable. A page of which
//! neither place is whole counts as all set.
//!
//! ```text
//!   page 0                 the head: of which group and volumes it is, how much a bit stands for
//!   then of each volume    its hot pages, its dirty pages; of each its two places side by side
//!
//!   Byte/     0       |       1       |       2       |       3       |
//!      0| "LUNMMAP1"                                                    |
//!      8| kind: 0 head · 1 hot · 2 dirty | volume                       |
//!     12| reserved = 0                                                  |
//!     16| number of the page within its kind and volume                 |
//!     24| write number: of two places that are whole the greater stands |
//!     32| identity: of all pages of one map, drawn when it is made      |
//!     48| hot, dirty: 500 words of 8 bytes                              |
//!       | head: bytes a bit stands for (8), digest of group and volumes (32),
//!     88|       number of volumes (2), reserved = 0 (6),                |
//!     96|       bytes of each volume (8), where they are at most 494    |
//!   4048| reserved = 0                                                  |
//!   4092| CRC32C of bytes 0 to 4091                                     |
//! ```
//!
//! All numbers are big-endian. A word of a dirty page is a region: 64 pieces. A bit of a hot page is a region, the least
//! significant bit of a word first. What a head says from byte 88 on is for [`super::dump`], which has no configuration to look
//! into; heads from before that was kept have zeroes there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Place, StoreError};
use crate::config::{GroupConfig, VolumeSpec};
use crate::replica::io::{Map, MapChange, MapOfVolume};

/// The file, and what it holds.
#[derive(Debug)]
pub struct MapFile {
    file: File,
    path: PathBuf,
    identity: [u8; 16],
    pages: Vec<Page>,
    /// Of each volume: the first of its hot pages, the first of its dirty pages.
    volumes: Vec<(usize, usize)>,
    /// Changed and not durable.
    owed: BTreeSet<usize>,
    _place: Arc<Place>,
}

#[derive(Debug)]
struct Page {
    kind: Kind,
    volume: u16,
    number: u64,
    words: Box<[u64; WORDS]>,
    written: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Head = 0,
    Hot = 1,
    Dirty = 2,
}

/// What was found of a map.
#[derive(Debug)]
pub struct Found {
    pub map: Map,
    /// Pages of which nothing whole was left: where all counts as dirty.
    pub lost_pages: u64,
}

/// In its group's directory.
pub(super) const MAP: &str = "map";

pub(super) const PAGE: usize = 4096;
pub(super) const WORDS: usize = 500;
pub(super) const WORDS_AT: usize = 48;
/// In a head: whose it is comes before.
const VOLUMES_AT: usize = 88;
const SIZES_AT: usize = 96;
/// As many as a head has room for.
const SIZES: usize = (4048 - SIZES_AT) / 8;
const CRC_AT: usize = PAGE - 4;
const MAGIC: &[u8; 8] = b"LUNMMAP1";

impl MapFile {
    /// A map where nothing is hot and nothing dirty, in the place of any other. Durable when this returns.
    pub fn create(place: &Arc<Place>, config: &GroupConfig) -> Result<MapFile, StoreError> {
        let path = path(place);
        let mut identity = [0; 16];
        getrandom::fill(&mut identity).expect("the kernel has random bytes");
        let temporary = path.with_extension("new");
        let create = || {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&temporary)?;
            let (pages, volumes) = layout(config);
            let owed = (0..pages.len()).collect();
            let path = path.clone();
            let mut map = MapFile { file, path, identity, pages, volumes, owed, _place: place.clone() };
            map.file.write_all_at(&head(&identity, config), 0)?;
            map.write_owed(Kind::Dirty)?;
            map.write_owed(Kind::Hot)?;
            std::fs::rename(&temporary, &map.path)?;
            File::open(place.path())?.sync_all()?;
            Ok(map)
        };
        create().map_err(|source| StoreError::Io { path: temporary.clone(), source })
    }

    /// `None`: there is none, or it is of volumes of other sizes, or tells in other pieces.
    pub fn open(place: &Arc<Place>, config: &GroupConfig) -> Result<Option<(MapFile, Found)>, StoreError> {
        let path = path(place);
        let file = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| StoreError::Io { path: path.clone(), source })?,
        };
        let io = |source| StoreError::Io { path: path.clone(), source };
        let mut bytes = vec![0; PAGE];
        if read(&file, &mut bytes, 0).map_err(io)? < PAGE {
            return Ok(None);
        }
        let Some(found) = check(&bytes) else { return Ok(None) };
        let identity = found.identity;
        if found.kind != Kind::Head as u16 || bytes[..VOLUMES_AT] != head(&identity, config)[..VOLUMES_AT] {
            return Ok(None);
        }
        let (pages, volumes) = layout(config);
        let mut map = MapFile {
            file,
            path: path.clone(),
            identity,
            pages,
            volumes,
            owed: BTreeSet::new(),
            _place: place.clone(),
        };
        let lost_pages = map.load().map_err(io)?;
        let found = Found { map: map.whole(config), lost_pages };
        Ok(Some((map, found)))
    }

    /// Durable when this returns; after a failure any part of it may be, and goes with the next.
    pub fn change<'a>(&mut self, changes: impl IntoIterator<Item = &'a MapChange>) -> Result<(), StoreError> {
        for change in changes {
            self.apply(change);
        }
        // What cools is what the dirty bits speak of from then on.
        let result = self.write_owed(Kind::Dirty).and_then(|()| self.write_owed(Kind::Hot));
        result.map_err(|source| StoreError::Io { path: self.path.clone(), source })
    }

    fn apply(&mut self, change: &MapChange) {
        if change.clear {
            for (at, page) in self.pages.iter_mut().enumerate() {
                if page.words.iter().any(|word| *word != 0) {
                    page.words.fill(0);
                    self.owed.insert(at);
                }
            }
        }
        if change.all_dirty {
            for (at, page) in self.pages.iter_mut().enumerate().filter(|(_, page)| page.kind == Kind::Dirty) {
                page.words.fill(u64::MAX);
                self.owed.insert(at);
            }
        }
        for (region, word) in &change.dirty {
            let (_, dirty) = self.volumes[usize::from(region.volume.0)];
            self.put(dirty, region.index, |old| *old = *word);
        }
        for (region, hot) in &change.hot {
            let (first, _) = self.volumes[usize::from(region.volume.0)];
            let bit = 1 << (region.index % 64);
            self.put(first, region.index / 64, |word| if *hot { *word |= bit } else { *word &= !bit });
        }
    }

    fn put(&mut self, first: usize, word: u64, set: impl FnOnce(&mut u64)) {
        let at = first + word as usize / WORDS;
        let word = &mut self.pages[at].words[word as usize % WORDS];
        let before = *word;
        set(word);
        if *word != before {
            self.owed.insert(at);
        }
    }

    /// Each owed page of the kind to its other place; then all of them to the medium.
    fn write_owed(&mut self, kind: Kind) -> io::Result<()> {
        let owed: Vec<usize> = self.owed.iter().copied().filter(|&at| self.pages[at].kind == kind).collect();
        if owed.is_empty() {
            return Ok(());
        }
        let result = self.write_pages(&owed).and_then(|()| self.file.sync_data());
        for at in owed {
            match result {
                Ok(()) => {
                    self.owed.remove(&at);
                }
                // What lies in that place now nobody knows: it is the one to be written again, and the other is good.
                Err(_) => self.pages[at].written += 1,
            }
        }
        result
    }

    fn write_pages(&mut self, owed: &[usize]) -> io::Result<()> {
        let mut result = Ok(());
        for &at in owed {
            let page = &mut self.pages[at];
            page.written += 1;
            if result.is_ok() {
                let bytes = encode(page, &self.identity);
                result = self.file.write_all_at(&bytes, offset(at, page.written));
            }
        }
        result
    }

    /// How many pages were lost.
    fn load(&mut self) -> io::Result<u64> {
        let mut lost = 0;
        let mut bytes = vec![0; 2 * PAGE * READ_PAGES];
        for first in (0..self.pages.len()).step_by(READ_PAGES) {
            let found = read(&self.file, &mut bytes, offset(first, 0))?;
            bytes[found..].fill(0);
            for (at, places) in (first..self.pages.len()).zip(bytes.chunks_exact(2 * PAGE)) {
                let page = &mut self.pages[at];
                let is_its = |found: &Checked| {
                    found.identity == self.identity
                        && (found.kind, found.volume, found.number) == (page.kind as u16, page.volume, page.number)
                };
                let whole = places.chunks_exact(PAGE).filter_map(|place| Some((check(place)?, place)));
                match whole.filter(|(found, _)| is_its(found)).max_by_key(|(found, _)| found.written) {
                    Some((found, place)) => {
                        page.written = found.written;
                        for (word, bytes) in page.words.iter_mut().zip(place[WORDS_AT..].as_chunks::<8>().0) {
                            *word = u64::from_be_bytes(*bytes);
                        }
                    }
                    None => {
                        lost += 1;
                        page.words.fill(u64::MAX);
                        self.owed.insert(at);
                    }
                }
            }
        }
        Ok(lost)
    }

    fn whole(&self, config: &GroupConfig) -> Map {
        let words = |first: usize, count: u64| {
            let pages = &self.pages[first..];
            (0..count as usize).map(|word| pages[word / WORDS].words[word % WORDS]).collect()
        };
        let volumes = config.volumes.iter().zip(&self.volumes).map(|(volume, &(hot, dirty))| {
            let regions = regions(volume, config.map.piece_bytes);
            MapOfVolume { hot: words(hot, regions.div_ceil(64)), dirty: words(dirty, regions) }
        });
        Map { volumes: volumes.collect() }
    }
}

/// A map that knows nothing: everything may differ.
pub fn unknown(config: &GroupConfig) -> Map {
    all(config, u64::MAX)
}

/// Nothing differs.
pub fn empty(config: &GroupConfig) -> Map {
    all(config, 0)
}

fn all(config: &GroupConfig, word: u64) -> Map {
    let volumes = config.volumes.iter().map(|volume| {
        let regions = regions(volume, config.map.piece_bytes);
        MapOfVolume { hot: vec![0; regions.div_ceil(64) as usize], dirty: vec![word; regions as usize] }
    });
    Map { volumes: volumes.collect() }
}

fn path(place: &Place) -> PathBuf {
    place.path().join(MAP)
}

fn regions(volume: &VolumeSpec, piece_bytes: u64) -> u64 {
    volume.capacity.0.div_ceil(64 * piece_bytes / u64::from(volume.block_length.bytes()))
}

/// Every page, clean; and where those of each volume begin.
fn layout(config: &GroupConfig) -> (Vec<Page>, Vec<(usize, usize)>) {
    let (mut pages, mut volumes) = (Vec::new(), Vec::new());
    for (volume, of) in config.volumes.iter().enumerate() {
        let regions = regions(of, config.map.piece_bytes);
        let hot = pages.len();
        add(&mut pages, Kind::Hot, volume as u16, regions.div_ceil(64));
        volumes.push((hot, pages.len()));
        add(&mut pages, Kind::Dirty, volume as u16, regions);
    }
    (pages, volumes)
}

fn add(pages: &mut Vec<Page>, kind: Kind, volume: u16, words: u64) {
    let page = |number| Page { kind, volume, number, words: Box::new([0; WORDS]), written: 0 };
    pages.extend((0..words.div_ceil(WORDS as u64)).map(page));
}

/// Of the place that the write of that number goes to.
pub(super) fn offset(page: usize, written: u64) -> u64 {
    ((1 + 2 * page as u64) + written % 2) * PAGE as u64
}

/// Whose map it is, and in which pieces.
fn head(identity: &[u8; 16], config: &GroupConfig) -> Vec<u8> {
    let mut digest = Sha256::new();
    let mut text = |text: &str| {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    };
    text(&config.name);
    for volume in &config.volumes {
        text(&volume.name);
        text(&format!("{} {}", volume.capacity.0, volume.block_length.bytes()));
    }
    let mut bytes = start(Kind::Head, 0, 0, 0, identity);
    bytes[WORDS_AT..WORDS_AT + 8].copy_from_slice(&config.map.piece_bytes.to_be_bytes());
    bytes[WORDS_AT + 8..VOLUMES_AT].copy_from_slice(&digest.finalize());
    bytes[VOLUMES_AT..VOLUMES_AT + 2].copy_from_slice(&(config.volumes.len() as u16).to_be_bytes());
    if config.volumes.len() <= SIZES {
        for (place, volume) in bytes[SIZES_AT..].as_chunks_mut::<8>().0.iter_mut().zip(&config.volumes) {
            *place = (volume.capacity.0 * u64::from(volume.block_length.bytes())).to_be_bytes();
        }
    }
    seal(bytes)
}

/// What a head says to who has no configuration.
pub(super) struct Head {
    pub identity: [u8; 16],
    pub piece_bytes: u64,
    pub volumes: u16,
    /// Of each volume; none where there are more than it has room for, or it is from before they were kept.
    pub sizes: Vec<u64>,
}

/// `None`: not a whole head.
pub(super) fn read_head(page: &[u8]) -> Option<Head> {
    let found = check(page).filter(|found| found.kind == Kind::Head as u16)?;
    let words: Vec<u64> = page.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
    let volumes = u16::from_be_bytes([page[VOLUMES_AT], page[VOLUMES_AT + 1]]);
    let kept = if usize::from(volumes) <= SIZES { usize::from(volumes) } else { 0 };
    let sizes = words[SIZES_AT / 8..][..kept].to_vec();
    Some(Head { identity: found.identity, piece_bytes: words[WORDS_AT / 8], volumes, sizes })
}

fn encode(page: &Page, identity: &[u8; 16]) -> Vec<u8> {
    let mut bytes = start(page.kind, page.volume, page.number, page.written, identity);
    for (place, word) in bytes[WORDS_AT..].as_chunks_mut::<8>().0.iter_mut().zip(page.words.iter()) {
        *place = word.to_be_bytes();
    }
    seal(bytes)
}

fn start(kind: Kind, volume: u16, number: u64, written: u64, identity: &[u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&(kind as u16).to_be_bytes());
    bytes[10..12].copy_from_slice(&volume.to_be_bytes());
    bytes[16..24].copy_from_slice(&number.to_be_bytes());
    bytes[24..32].copy_from_slice(&written.to_be_bytes());
    bytes[32..48].copy_from_slice(identity);
    bytes
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub(super) struct Checked {
    pub kind: u16,
    pub volume: u16,
    pub number: u64,
    pub written: u64,
    pub identity: [u8; 16],
}

/// `None`: not a whole page.
pub(super) fn check(page: &[u8]) -> Option<Checked> {
    let number = |at: usize| u64::from_be_bytes(page[at..at + 8].try_into().expect("eight bytes"));
    let crc = u32::from_be_bytes(page[CRC_AT..].try_into().expect("four bytes"));
    if &page[..8] != MAGIC || crc32c::crc32c(&page[..CRC_AT]) != crc {
        return None;
    }
    let half = |at: usize| u16::from_be_bytes([page[at], page[at + 1]]);
    let identity = page[32..48].try_into().expect("sixteen bytes");
    Some(Checked { kind: half(8), volume: half(10), number: number(16), written: number(24), identity })
}

/// As much as there is.
pub(super) fn read(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut found = 0;
    while found < bytes.len() {
        match file.read_at(&mut bytes[found..], at + found as u64) {
            Ok(0) => break,
            Ok(more) => found += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Pages read at a time: 1 MiB.
const READ_PAGES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AsideBounds, MapBounds, Mode, OnLinkLoss, Policy, QueueBounds};
    use crate::extent::{BlockCount, BlockLength};
    use crate::ids::VolumeIndex;
    use crate::replica::io::Region;
    use crate::wire::message::Role;
    use std::time::Duration;

    fn config() -> GroupConfig {
        let volume = |name: &str, capacity| VolumeSpec {
            name: name.into(),
            block_length: BlockLength::B512,
            capacity: BlockCount(capacity),
        };
        GroupConfig {
            name: "db".into(),
            peer: "beta".into(),
            // 2^40 bytes: 262,144 regions of 4 MiB, 525 dirty pages.
            volumes: vec![volume("data", 1 << 31), volume("log", 999)],
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

    fn region(volume: u16, index: u64) -> Region {
        Region { volume: VolumeIndex(volume), index }
    }

    fn place() -> (tempfile::TempDir, Arc<Place>) {
        let state_dir = tempfile::tempdir().unwrap();
        let place = Place::claim(state_dir.path(), "db").unwrap();
        (state_dir, place)
    }

    fn found(place: &Arc<Place>) -> Found {
        MapFile::open(place, &config()).unwrap().expect("it is there").1
    }

    fn heat(index: u64) -> MapChange {
        MapChange { hot: vec![(region(0, index), true)], ..MapChange::default() }
    }

    #[test]
    fn what_is_changed_is_found_again() {
        let (_state_dir, place) = place();
        assert!(MapFile::open(&place, &config()).unwrap().is_none());
        let mut map = MapFile::create(&place, &config()).unwrap();
        let length = std::fs::metadata(path(&place)).unwrap().len();
        assert_eq!(length / 4096, 1 + 2 * (9 + 525 + 1 + 1), "pages, of 1 TiB and a little");
        let change = MapChange {
            clear: false,
            all_dirty: false,
            dirty: vec![(region(0, 262_143), 5), (region(1, 0), 1)],
            hot: vec![(region(0, 64), true), (region(0, 262_143), true)],
        };
        map.change([&change, &heat(7)]).unwrap();
        map.change([&MapChange { hot: vec![(region(0, 64), false)], ..MapChange::default() }]).unwrap();
        let Found { map: left, lost_pages: 0 } = found(&place) else { panic!("nothing is lost") };
        let [data, log] = &left.volumes[..] else { panic!("two volumes") };
        assert_eq!((data.dirty.len(), data.dirty[262_143], data.dirty.iter().sum::<u64>()), (262_144, 5, 5));
        assert_eq!((data.hot[0], data.hot[1], data.hot[4095]), (1 << 7, 0, 1 << 63));
        assert_eq!(log.dirty, [1]);
        map.change([&MapChange { clear: true, ..MapChange::default() }]).unwrap();
        let clean = found(&place).map;
        assert!(clean.volumes.iter().all(|volume| volume.dirty.iter().chain(&volume.hot).all(|word| *word == 0)));
    }

    #[test]
    fn a_torn_page_leaves_the_one_before_it_and_two_torn_ones_count_as_all_set() {
        let (_state_dir, place) = place();
        let mut map = MapFile::create(&place, &config()).unwrap();
        map.change([&heat(1)]).unwrap();
        map.change([&heat(2)]).unwrap();
        let whole = std::fs::read(path(&place)).unwrap();
        let hot = |bytes: &[u8]| {
            std::fs::write(path(&place), bytes).unwrap();
            let found = found(&place);
            (found.map.volumes[0].hot[0], found.lost_pages)
        };
        assert_eq!(hot(&whole), (0b110, 0));
        // The first hot page's places are pages 1 and 2; the third write of it went to the second.
        for cut in [512, 1024, 3584] {
            let mut torn = whole.clone();
            torn[2 * PAGE + cut..3 * PAGE].fill(0);
            let newest = 2 * PAGE..3 * PAGE;
            assert!(check(&whole[newest.clone()]).is_some() && check(&torn[newest]).is_none());
            assert_eq!(hot(&torn), (0b010, 0), "cut at {cut}");
        }
        let mut lost = whole.clone();
        lost[PAGE + 100] ^= 1;
        lost[2 * PAGE + 100] ^= 1;
        assert_eq!(hot(&lost), (u64::MAX, 1));
        assert_eq!(hot(&whole[..PAGE]).1, 9 + 525 + 2, "a file that is cut off has lost its pages");
    }

    #[test]
    fn a_write_that_failed_is_tried_again_in_the_same_place() {
        let (_state_dir, place) = place();
        let mut map = MapFile::create(&place, &config()).unwrap();
        map.change([&heat(1)]).unwrap();
        let good = std::fs::read(path(&place)).unwrap();
        let writable = std::mem::replace(&mut map.file, File::open(path(&place)).unwrap());
        for index in [2, 3, 4] {
            map.change([&heat(index)]).unwrap_err();
        }
        map.file = writable;
        map.change([&heat(5)]).unwrap();
        let bytes = std::fs::read(path(&place)).unwrap();
        let changed = (0..bytes.len() / PAGE).filter(|at| bytes[at * PAGE..][..PAGE] != good[at * PAGE..][..PAGE]);
        // What is good lies in the first place of the first hot page, and every later write went to the second.
        assert_eq!(changed.collect::<Vec<_>>(), [2]);
        assert_eq!(found(&place).map.volumes[0].hot[0], 0b111110);
    }

    #[test]
    fn any_damaged_bit_of_a_page_is_noticed() {
        let (_state_dir, place) = place();
        let mut map = MapFile::create(&place, &config()).unwrap();
        map.change([&heat(1)]).unwrap();
        let bytes = std::fs::read(path(&place)).unwrap();
        let page = &bytes[PAGE..2 * PAGE];
        assert!(check(page).is_some());
        for bit in 0..8 * PAGE {
            let mut damaged = page.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_map_of_other_volumes_or_pieces_is_none() {
        let (_state_dir, place) = place();
        MapFile::create(&place, &config()).unwrap();
        let mut grown = config();
        grown.volumes[1].capacity = BlockCount(1000);
        assert!(MapFile::open(&place, &grown).unwrap().is_none());
        let mut finer = config();
        finer.map.piece_bytes = 4096;
        assert!(MapFile::open(&place, &finer).unwrap().is_none());
        let mut other = config();
        other.name = "other".into();
        assert!(MapFile::open(&place, &other).unwrap().is_none());
        assert!(unknown(&config()).volumes[0].dirty.iter().all(|word| *word == u64::MAX));
    }

    #[test]
    fn a_head_says_how_large_the_volumes_are_and_one_that_does_not_is_good_for_all_else() {
        let (_state_dir, place) = place();
        MapFile::create(&place, &config()).unwrap();
        let mut bytes = std::fs::read(path(&place)).unwrap();
        let head = read_head(&bytes[..PAGE]).expect("it is whole");
        assert_eq!((head.piece_bytes, head.volumes, &head.sizes[..]), (64 << 10, 2, &[1 << 40, 999 * 512][..]));
        assert_eq!(
            bytes[88..112],
            [[0, 2, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 7, 206, 0]].concat()
        );
        bytes[VOLUMES_AT..CRC_AT].fill(0);
        let older = seal(bytes[..PAGE].to_vec());
        bytes[..PAGE].copy_from_slice(&older);
        std::fs::write(path(&place), &bytes).unwrap();
        assert_eq!(found(&place).lost_pages, 0);
        let mut many = config();
        many.volumes = vec![many.volumes[1].clone(); SIZES + 1];
        let head = read_head(&super::head(&[7; 16], &many)).expect("it is whole");
        assert_eq!((usize::from(head.volumes), head.sizes.len()), (SIZES + 1, 0));
    }

    #[test]
    fn a_page_of_another_map_is_not_believed() {
        let (_state_dir, place) = place();
        let mut map = MapFile::create(&place, &config()).unwrap();
        map.change([&heat(1)]).unwrap();
        let former = std::fs::read(path(&place)).unwrap();
        MapFile::create(&place, &config()).unwrap();
        let mut mixed = std::fs::read(path(&place)).unwrap();
        mixed[PAGE..3 * PAGE].copy_from_slice(&former[PAGE..3 * PAGE]);
        std::fs::write(path(&place), &mixed).unwrap();
        assert_eq!(found(&place).lost_pages, 1);
    }
}
