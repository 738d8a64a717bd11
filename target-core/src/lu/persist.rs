//! Small durable records of a logical unit: `<state_dir>/units/<unit>/<kind>.json`, each replaced whole or not at all.
//!
//! A thin shell over `std::fs`: its calls block, so async callers go through `spawn_blocking`.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a record is about. The file is named for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Registrations and persistent reservation under APTPL (SPC-5 §5.14.5).
    Reservations,
    /// Saved mode pages.
    ModePages,
    /// Serial number and designators, made once.
    Identity,
    /// Serial number and designators that the owner of a mirrored volume told.
    Designation,
    /// SET IDENTIFYING INFORMATION.
    IdentifyingInformation,
    /// A sanitize operation that must go on, or that failed (SBC-4 §4.11).
    Sanitize,
    /// Relative target port identifiers, of all units together.
    TargetPorts,
}

impl RecordKind {
    fn file_name(self) -> &'static str {
        match self {
            RecordKind::Reservations => "reservations.json",
            RecordKind::ModePages => "mode-pages.json",
            RecordKind::Identity => "identity.json",
            RecordKind::Designation => "designation.json",
            RecordKind::IdentifyingInformation => "identifying-information.json",
            RecordKind::Sanitize => "sanitize.json",
            RecordKind::TargetPorts => "target-ports.json",
        }
    }

    /// Layout of the record. A file of a later one is refused rather than misread.
    fn version(self) -> u32 {
        1
    }

    /// What is lost by removing the file, for the remedy.
    fn loss(self) -> &'static str {
        match self {
            RecordKind::Reservations => "persistent reservations and registrations",
            RecordKind::ModePages => "saved mode pages",
            RecordKind::Identity => "the serial number: initiators will see a different disk",
            RecordKind::Designation => "the serial number its peer has: initiators may see two disks",
            RecordKind::IdentifyingInformation => "its identifying information",
            RecordKind::Sanitize => "knowledge of an unfinished sanitize operation",
            RecordKind::TargetPorts => {
                "relative target port identifiers: persistent reservations may refer to other ports"
            }
        }
    }
}

/// Whose records: a serial number, or a volume's name for its identity. Any text; made safe for a directory's name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnitName {
    directory: Arc<str>,
}

impl UnitName {
    /// Not a unit: what concerns all of them.
    pub fn all() -> UnitName {
        UnitName { directory: "".into() }
    }

    /// Letters, digits, `-`, `_` and inner dots stand for themselves, other bytes as `%xx`: no two names share a directory.
    pub fn new(name: &str) -> UnitName {
        let mut directory = String::with_capacity(name.len());
        for (at, byte) in name.bytes().enumerate() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => directory.push(char::from(byte)),
                b'.' if at > 0 => directory.push('.'),
                other => directory.push_str(&format!("%{other:02x}")),
            }
        }
        if directory.is_empty() {
            directory.push('%');
        }
        UnitName { directory: directory.into() }
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.directory)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{path}: {source}; check that the directory exists, is writable and has space")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {cause}; restore it from a backup, or move it away to go on without it (that loses {loss})")]
    Corrupt { path: PathBuf, cause: String, loss: &'static str },
}

/// Where records live. Cloning shares the store.
#[derive(Clone, Debug)]
pub struct StateStore {
    place: Arc<Place>,
}

#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    Memory(Mutex<HashMap<PathBuf, Vec<u8>>>),
}

/// The file's outer layer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<R> {
    version: u32,
    record: R,
}

impl StateStore {
    /// Records under `state_dir`, which is created with the first record.
    pub fn directory(state_dir: impl Into<PathBuf>) -> StateStore {
        StateStore { place: Arc::new(Place::Directory(state_dir.into())) }
    }

    /// Records that die with the store.
    pub fn memory() -> StateStore {
        StateStore { place: Arc::new(Place::Memory(Mutex::default())) }
    }

    pub fn read<R: DeserializeOwned>(&self, unit: &UnitName, kind: RecordKind) -> Result<Option<R>, StateError> {
        let path = self.path(unit, kind);
        let Some(bytes) = self.read_bytes(&path)? else { return Ok(None) };
        let corrupt = |cause: String| StateError::Corrupt { path: path.clone(), cause, loss: kind.loss() };
        if bytes.len() as u64 > RECORD_BYTES_MAX {
            return Err(corrupt(format!("longer than {RECORD_BYTES_MAX} bytes")));
        }
        let envelope: Envelope<serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|error| corrupt(format!("not a record: {error}")))?;
        if envelope.version != kind.version() {
            return Err(corrupt(format!("version {} where {} was expected", envelope.version, kind.version())));
        }
        serde_json::from_value(envelope.record).map(Some).map_err(|error| corrupt(format!("not a record: {error}")))
    }

    /// Durable when this returns; after a failure or a crash the record is the old one or the new one.
    pub fn write<R: Serialize>(&self, unit: &UnitName, kind: RecordKind, record: &R) -> Result<(), StateError> {
        let path = self.path(unit, kind);
        let io = |source| StateError::Io { path: path.clone(), source };
        let bytes = serde_json::to_vec_pretty(&Envelope { version: kind.version(), record })
            .map_err(|error| io(io::Error::other(error)))?;
        match &*self.place {
            Place::Directory(_) => replace_file(&path, &bytes).map_err(io),
            Place::Memory(records) => {
                records.lock().insert(path, bytes);
                Ok(())
            }
        }
    }

    /// No record is no error.
    pub fn remove(&self, unit: &UnitName, kind: RecordKind) -> Result<(), StateError> {
        let path = self.path(unit, kind);
        match &*self.place {
            Place::Directory(_) => match fs::remove_file(&path) {
                Ok(()) => sync_parent(&path).map_err(|source| StateError::Io { path, source }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(source) => Err(StateError::Io { path, source }),
            },
            Place::Memory(records) => {
                records.lock().remove(&path);
                Ok(())
            }
        }
    }

    /// The unit's identity: what was stored, or `fresh` stored now.
    pub fn identity(&self, unit: &UnitName, fresh: impl FnOnce() -> Identity) -> Result<Identity, StateError> {
        if let Some(identity) = self.read(unit, RecordKind::Identity)? {
            return Ok(identity);
        }
        let identity = fresh();
        self.write(unit, RecordKind::Identity, &identity)?;
        Ok(identity)
    }

    fn path(&self, unit: &UnitName, kind: RecordKind) -> PathBuf {
        let root = match &*self.place {
            Place::Directory(state_dir) => state_dir.as_path(),
            Place::Memory(_) => Path::new(""),
        };
        root.join("units").join(&*unit.directory).join(kind.file_name())
    }

    fn read_bytes(&self, path: &Path) -> Result<Option<Vec<u8>>, StateError> {
        match &*self.place {
            Place::Directory(_) => match read_bounded(path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(StateError::Io { path: path.into(), source }),
            },
            Place::Memory(records) => Ok(records.lock().get(path).cloned()),
        }
    }
}

/// What an initiator knows a logical unit by, whatever its path, LUN and target. From one UUID, so that all of it agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub uuid: Uuid,
}

impl Identity {
    /// PRODUCT SERIAL NUMBER of VPD 80h: 32 hexadecimal digits.
    pub fn serial(&self) -> String {
        self.uuid.simple().to_string()
    }

    /// NAA 3h, locally assigned (SPC-5 §7.7.6.6.4): it needs no company identifier, and holds 60 bits of the UUID.
    pub fn naa(&self) -> [u8; 8] {
        let mut naa = [0; 8];
        naa.copy_from_slice(&self.uuid.as_bytes()[8..]);
        naa[0] = 0x30 | (naa[0] & 0x0f);
        naa
    }
}

/// Write beside it, make that durable, rename over it, make the rename durable.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().expect("a record lies in its unit's directory");
    fs::create_dir_all(directory)?;
    let temporary = path.with_extension("json.new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    sync_parent(path)?;
    // A directory made just now must survive too.
    if let Some(units) = directory.parent() {
        File::open(units)?.sync_all()?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().expect("a record lies in its unit's directory"))?.sync_all()
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes in a record's file: the most registrations there may be take under 1 MiB.
const RECORD_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> UnitName {
        UnitName::new("5f0c")
    }

    #[test]
    fn a_record_survives_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateStore::directory(directory.path());
        assert_eq!(store.read::<u32>(&unit(), RecordKind::ModePages).unwrap(), None);
        store.write(&unit(), RecordKind::ModePages, &7u32).unwrap();
        store.write(&unit(), RecordKind::ModePages, &8u32).unwrap();
        let reopened = StateStore::directory(directory.path());
        assert_eq!(reopened.read::<u32>(&unit(), RecordKind::ModePages).unwrap(), Some(8));
        reopened.remove(&unit(), RecordKind::ModePages).unwrap();
        reopened.remove(&unit(), RecordKind::ModePages).unwrap();
        assert_eq!(store.read::<u32>(&unit(), RecordKind::ModePages).unwrap(), None);
    }

    #[test]
    fn a_corrupt_record_names_file_cause_and_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateStore::directory(directory.path());
        store.write(&unit(), RecordKind::Reservations, &1u32).unwrap();
        let path = directory.path().join("units/5f0c/reservations.json");
        for (content, cause) in [
            ("{", "not a record: EOF"),
            (r#"{"version":2,"record":1}"#, "version 2 where 1 was expected"),
            (r#"{"version":1,"record":"x"}"#, "not a record: invalid type"),
        ] {
            fs::write(&path, content).unwrap();
            let error = store.read::<u32>(&unit(), RecordKind::Reservations).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            assert!(error.contains(cause), "{error}");
            assert!(error.contains("move it away") && error.contains("reservations"), "{error}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_record() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateStore::directory(directory.path());
        store.write(&unit(), RecordKind::Sanitize, &1u32).unwrap();
        // A directory in the temporary file's place makes its creation fail, whoever runs the test.
        fs::create_dir(directory.path().join("units/5f0c/sanitize.json.new")).unwrap();
        assert!(matches!(store.write(&unit(), RecordKind::Sanitize, &2u32), Err(StateError::Io { .. })));
        assert_eq!(store.read::<u32>(&unit(), RecordKind::Sanitize).unwrap(), Some(1));
    }

    #[test]
    fn names_cannot_leave_the_directory_nor_collide() {
        for (name, directory) in
            [("db", "db"), ("../x", "%2e.%2fx"), ("..", "%2e."), ("a/b", "a%2fb"), ("a%2fb", "a%252fb"), ("", "%")]
        {
            assert_eq!(format!("{:?}", UnitName::new(name)), directory);
        }
    }

    #[test]
    fn an_identity_is_made_once() {
        let store = StateStore::memory();
        let first = store.identity(&unit(), || Identity { uuid: Uuid::from_u128(0x11) }).unwrap();
        let again = store.identity(&unit(), || Identity { uuid: Uuid::from_u128(0x22) }).unwrap();
        assert_eq!(first, again);
        assert_eq!(first.serial(), "00000000000000000000000000000011");
        assert_eq!(first.naa(), [0x30, 0, 0, 0, 0, 0, 0, 0x11]);
    }
}
