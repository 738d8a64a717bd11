use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::copies::Copy;
use super::{Place, StoreError};
use crate::ids::OwnerEpoch;
use crate::replica::io::Record;
use crate::wire::message::HISTORY_MAX;

/// A group's record in a file of two lines: a [`Seal`], then the record, both JSON.
///
/// ```text
///   {"version":1,"crc32c":"8a9136aa"}
///   {"role":"primary", …}
/// ```
#[derive(Clone, Debug)]
pub struct RecordStore {
    path: PathBuf,
    /// Of what data the records are that are saved.
    copies: Arc<[Copy]>,
    /// As long as the group is in no other epoch the former record stays beside the new one.
    former: Option<OwnerEpoch>,
    _place: Arc<Place>,
}

/// A record, and what data it is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    #[serde(flatten)]
    pub record: Record,
    /// `None`: from before this was kept.
    #[serde(default, rename = "volumes", skip_serializing_if = "Option::is_none")]
    pub copies: Option<Arc<[Copy]>>,
    /// Which run of the machine wrote it, as the kernel names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Arc<str>>,
}

impl Kept {
    /// The machine has been up since.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot.is_some() && self.boot == boot()
    }
}

/// Linux draws it anew at each boot (random(4)).
fn boot() -> Option<Arc<str>> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().into())
}

/// What the second line must be to be believed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    version: u32,
    /// Of the second line's bytes without its line feed, eight hexadecimal digits.
    crc32c: String,
}

impl RecordStore {
    pub fn new(place: &Arc<Place>) -> RecordStore {
        RecordStore { path: place.path().join(RECORD), copies: Arc::default(), former: None, _place: place.clone() }
    }

    pub fn of(self, copies: Arc<[Copy]>) -> RecordStore {
        RecordStore { copies, ..self }
    }

    /// `None`: there never was one.
    pub fn load(&self) -> Result<Option<Kept>, StoreError> {
        load(&self.path)
    }

    /// Durable when this returns; after a failure or a crash the record is the old one or the new one.
    pub fn save(&self, record: &Record) -> Result<(), StoreError> {
        if self.former.is_some_and(|epoch| epoch != record.epoch) {
            self.forget_former()?;
        }
        let kept = Kept { record: record.clone(), copies: Some(self.copies.clone()), boot: boot() };
        let bytes = encode(&kept).map_err(|error| self.io(error))?;
        self.replace(&bytes).map_err(|error| self.io(error))
    }

    /// The record as it was when its data was missing.
    pub fn load_former(&self) -> Result<Option<Kept>, StoreError> {
        load(&self.former_path())
    }

    /// Keep what is on record beside what is saved from now on, until the group's epoch is another than `epoch`: then that
    /// data has become something else.
    pub fn keep_former(self, epoch: OwnerEpoch) -> Result<RecordStore, StoreError> {
        let path = self.former_path();
        let keep = || match path.exists() {
            true => Ok(()),
            // The record itself stays in force until the next is in its place.
            false => fs::hard_link(&self.path, &path).and_then(|()| self.sync_directory()),
        };
        keep().map_err(|source| StoreError::Io { path: path.clone(), source })?;
        Ok(RecordStore { former: Some(epoch), ..self })
    }

    pub fn forget_former(&self) -> Result<(), StoreError> {
        let path = self.former_path();
        match fs::remove_file(&path).and_then(|()| self.sync_directory()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Io { path, source }),
            _ => Ok(()),
        }
    }

    fn former_path(&self) -> PathBuf {
        self.path.with_file_name(FORMER)
    }

    /// Write beside it, make that durable, rename over it, make the rename durable.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, &self.path)?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.path.parent().expect("a record lies in its group's directory"))?.sync_all()
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }
}

pub(super) fn load(path: &Path) -> Result<Option<Kept>, StoreError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => (),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Io { path: path.to_owned(), source }),
    }
    decode(&bytes).map(Some).map_err(|cause| StoreError::Corrupt { path: path.to_owned(), cause })
}

fn encode(kept: &Kept) -> io::Result<Vec<u8>> {
    let record = serde_json::to_vec(kept)?;
    let seal = Seal { version: VERSION, crc32c: format!("{:08x}", crc32c::crc32c(&record)) };
    let mut bytes = serde_json::to_vec(&seal)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&record);
    bytes.push(b'\n');
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Kept, String> {
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(format!("longer than {RECORD_BYTES_MAX} bytes"));
    }
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let (seal, record) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let seal: Seal = serde_json::from_slice(seal).map_err(|error| format!("not a mirror's record: {error}"))?;
    if seal.version != VERSION {
        return Err(format!("version {} where {VERSION} was expected", seal.version));
    }
    let crc = format!("{:08x}", crc32c::crc32c(record));
    if seal.crc32c != crc {
        return Err(format!("damaged: its checksum is {crc} where {} was expected", seal.crc32c));
    }
    let kept: Kept = serde_json::from_slice(record).map_err(|error| format!("not a mirror's record: {error}"))?;
    let generations = kept.record.history.len();
    if generations > HISTORY_MAX {
        return Err(format!("it has {generations} generations of history where at most {HISTORY_MAX} were expected"));
    }
    Ok(kept)
}

/// In its group's directory.
pub(super) const RECORD: &str = "record.json";
pub(super) const FORMER: &str = "record.former.json";

/// Layout of the file. One of a later layout is refused rather than misread.
const VERSION: u32 = 1;

/// Bytes in the file: a record with its whole history takes 1 KiB, each of its volumes up to 400 bytes more.
const RECORD_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::ids::Generation;
    use crate::wire::message::{DiskState, Role};

    fn record(epoch: u64) -> Record {
        Record {
            role: Role::Primary,
            disk: DiskState::UpToDate,
            epoch: OwnerEpoch(epoch),
            generation: Generation(u128::MAX - 1),
            history: (0..HISTORY_MAX as u128).map(Generation).collect(),
            peer_outdated: true,
            clean: false,
            dirty_since: Some(Generation(7)),
            mode: Mode::Sync,
            lost_cache: false,
            counting: None,
            overwritten: None,
        }
    }

    fn store() -> (tempfile::TempDir, Arc<Place>, RecordStore) {
        let state_dir = tempfile::tempdir().unwrap();
        let place = Place::claim(state_dir.path(), "db").unwrap();
        let store = RecordStore::new(&place).of([copy()].into());
        (state_dir, place, store)
    }

    fn copy() -> Copy {
        Copy { name: "db".into(), blocks: 7, label: Some("x".into()) }
    }

    #[test]
    fn a_record_survives_the_store() {
        let (_state_dir, place, store) = store();
        assert_eq!(store.load().unwrap(), None);
        store.save(&record(1)).unwrap();
        store.save(&record(2)).unwrap();
        let kept = Kept { record: record(2), copies: Some([copy()].into()), boot: boot() };
        assert!(kept.is_of_this_boot() && !Kept { boot: Some("other".into()), ..kept.clone() }.is_of_this_boot());
        assert_eq!(RecordStore::new(&place).load().unwrap(), Some(kept));
    }

    #[test]
    fn a_record_from_before_copies_were_kept_is_read() {
        let (_state_dir, _place, store) = store();
        let kept = Kept { record: record(2), copies: None, boot: None };
        fs::write(&store.path, encode(&kept).unwrap()).unwrap();
        assert_eq!(store.load().unwrap(), Some(kept));
    }

    #[test]
    fn more_generations_than_a_hello_carries_are_no_record() {
        let (_state_dir, _place, store) = store();
        let mut long = record(1);
        long.history.push(Generation(99));
        store.save(&long).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("17 generations of history where at most 16 were expected; restore it"), "{error}");
    }

    #[test]
    fn the_former_record_is_kept_until_another_epoch_begins() {
        let (_state_dir, _place, store) = store();
        store.save(&record(1)).unwrap();
        let store = store.keep_former(OwnerEpoch(1)).unwrap();
        let disowned = Record { role: Role::Secondary, ..record(1) };
        store.save(&disowned).unwrap();
        assert_eq!(store.load().unwrap().unwrap().record, disowned);
        assert_eq!(store.load_former().unwrap().unwrap().record, record(1));
        store.save(&record(2)).unwrap();
        assert_eq!(store.load_former().unwrap(), None);
    }

    #[test]
    fn any_damaged_byte_is_noticed_with_file_cause_and_remedy() {
        let (_state_dir, place, store) = store();
        store.save(&record(7)).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x04;
            fs::write(&store.path, &bytes).unwrap();
            let error = store.load().expect_err(&format!("byte {at}")).to_string();
            let path = place.path().join("record.json");
            assert!(error.starts_with(&path.display().to_string()) && error.contains("move it away"), "{error}");
        }
        for length in 0..whole.len() - 1 {
            fs::write(&store.path, &whole[..length]).unwrap();
            assert!(matches!(store.load(), Err(StoreError::Corrupt { .. })), "{length} bytes of it");
        }
    }

    #[test]
    fn whoever_may_still_write_keeps_the_place() {
        let (state_dir, place, store) = store();
        drop(place);
        assert!(matches!(Place::claim(state_dir.path(), "db"), Err(StoreError::InUse { .. })));
        drop(store);
        Place::claim(state_dir.path(), "db").unwrap();
    }

    #[test]
    fn a_later_version_is_refused() {
        let (_state_dir, _place, store) = store();
        fs::write(&store.path, "{\"version\":2,\"crc32c\":\"00000000\"}\n{}\n").unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("version 2 where 1 was expected"), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_record() {
        let (_state_dir, place, store) = store();
        store.save(&record(1)).unwrap();
        // A directory in the temporary file's place makes its creation fail, whoever runs the test.
        fs::create_dir(place.path().join("record.json.new")).unwrap();
        assert!(matches!(store.save(&record(2)), Err(StoreError::Io { .. })));
        assert_eq!(store.load().unwrap().unwrap().record, record(1));
    }
}
