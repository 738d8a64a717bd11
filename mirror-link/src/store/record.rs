use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Place, StoreError};
use crate::replica::io::Record;

/// A group's record in a file of two lines: a [`Seal`], then the record, both JSON.
///
/// ```text
///   {"version":1,"crc32c":"8a9136aa"}
///   {"role":"primary", …}
/// ```
#[derive(Clone, Debug)]
pub struct RecordStore {
    path: PathBuf,
    _place: Arc<Place>,
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
        RecordStore { path: place.path().join("record.json"), _place: place.clone() }
    }

    /// `None`: there never was one.
    pub fn load(&self) -> Result<Option<Record>, StoreError> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(error)),
        }
        decode(&bytes).map(Some).map_err(|cause| StoreError::Corrupt { path: self.path.clone(), cause })
    }

    /// Durable when this returns; after a failure or a crash the record is the old one or the new one.
    pub fn save(&self, record: &Record) -> Result<(), StoreError> {
        let bytes = encode(record).map_err(|error| self.io(error))?;
        self.replace(&bytes).map_err(|error| self.io(error))
    }

    /// Write beside it, make that durable, rename over it, make the rename durable.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, &self.path)?;
        File::open(self.path.parent().expect("a record lies in its group's directory"))?.sync_all()
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let record = serde_json::to_vec(record)?;
    let seal = Seal { version: VERSION, crc32c: format!("{:08x}", crc32c::crc32c(&record)) };
    let mut bytes = serde_json::to_vec(&seal)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&record);
    bytes.push(b'\n');
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Record, String> {
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
    serde_json::from_slice(record).map_err(|error| format!("not a mirror's record: {error}"))
}

/// Layout of the file. One of a later layout is refused rather than misread.
const VERSION: u32 = 1;

/// Bytes in the file: a record with its whole history takes 1 KiB.
const RECORD_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, OwnerEpoch};
    use crate::wire::message::{DiskState, HISTORY_MAX, Role};

    fn record(epoch: u64) -> Record {
        Record {
            role: Role::Primary,
            disk: DiskState::UpToDate,
            epoch: OwnerEpoch(epoch),
            generation: Generation(u128::MAX - 1),
            history: (0..HISTORY_MAX as u128).map(Generation).collect(),
            peer_outdated: true,
            clean: false,
        }
    }

    fn store() -> (tempfile::TempDir, Arc<Place>, RecordStore) {
        let state_dir = tempfile::tempdir().unwrap();
        let place = Place::claim(state_dir.path(), "db").unwrap();
        let store = RecordStore::new(&place);
        (state_dir, place, store)
    }

    #[test]
    fn a_record_survives_the_store() {
        let (_state_dir, place, store) = store();
        assert_eq!(store.load().unwrap(), None);
        store.save(&record(1)).unwrap();
        store.save(&record(2)).unwrap();
        assert_eq!(RecordStore::new(&place).load().unwrap(), Some(record(2)));
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
        assert_eq!(store.load().unwrap(), Some(record(1)));
    }
}
