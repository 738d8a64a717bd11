//! Where the copy as it was before a resync is kept whole: files beside those of the volumes, that share their space.
//!
//! `snapshot.json` in the group's directory names them, so that they are found and removed when the resync is done, by whichever
//! process sees that. The resync waits for it; files that a crash left unnamed are made anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::copies::Copy;
use super::{Kept, Place, RecordStore, StoreError};
use crate::ids::Generation;
use crate::replica::io::Record;
use crate::wire::message::{DiskState, Role};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Names the resync that it was made for.
    pub resync: Generation,
    /// Of the copy.
    pub generation: Generation,
    /// Seconds since 1970.
    pub taken: u64,
    /// In the order of the volumes.
    pub files: Vec<PathBuf>,
}

/// `None`: there is none.
pub fn load(directory: &Path) -> Result<Option<Snapshot>, StoreError> {
    let path = directory.join(SNAPSHOT);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| StoreError::Io { path: path.clone(), source })?,
    };
    let found = serde_json::from_slice(&bytes);
    found.map(Some).map_err(|error| StoreError::Corrupt { path, cause: error.to_string() })
}

/// Durable when this returns.
pub fn save(directory: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
    let path = directory.join(SNAPSHOT);
    let temporary = path.with_extension("json.new");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(snapshot)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| StoreError::Io { path: path.clone(), source })
}

/// The files that it names first: a crash leaves them named.
pub fn remove(directory: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
    let named = snapshot.files.iter().filter(|path| path.to_string_lossy().ends_with(SUFFIX));
    for path in named.cloned().chain([directory.join(SNAPSHOT)]) {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(StoreError::Io { path, source }),
            _ => (),
        }
    }
    Ok(())
}

/// How the files of volumes are labelled: by whoever knows files.
pub struct Labels {
    pub get: fn(&Path) -> io::Result<Option<String>>,
    pub set: fn(&Path, &str) -> io::Result<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{cause}")]
    Refused { cause: String, remedy: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

/// Puts the clones in the place of the files that a resync which will never be done has left Inconsistent. The group's directory
/// is ours alone meanwhile: a target that runs has it.
///
/// The other node has forgotten which blocks it sent: that this copy lacks them again nobody counted. So it becomes one of a
/// generation that no other ever had, and the two can only meet again when one of them is made anew.
///
/// ```text
///   clones labelled ─► renamed over the files ─► record: Outdated, of those labels ─► snapshot.json removed
/// ```
/// A crash before the record leaves files of other labels than it has: no target serves them, and this goes on where it was.
pub fn restore(directory: &Path, labels: &Labels) -> Result<Snapshot, RestoreError> {
    let place = &Place::lock(directory.to_owned())?;
    let store = RecordStore::new(place);
    let kept =
        store.load()?.ok_or_else(|| refused("the group has no record", "name another group, or another state_dir"))?;
    let Some(snapshot) = load(place.path())? else {
        let remedy = "nothing brings the copy back but a resync: from the other node, or from one that has its data";
        return Err(refused("there is no clone of before a resync", remedy));
    };
    let Kept { record, copies, .. } = kept;
    let copies = judged(&record, copies, &snapshot)?;
    let mut pairs = Vec::new();
    for (number, (clone, copy)) in snapshot.files.iter().zip(copies.iter()).enumerate() {
        pairs.push(Returning::look(clone, copy, format!("{}-{number}", snapshot.resync), labels)?);
    }
    let mut now = Vec::new();
    for (pair, copy) in pairs.iter().zip(copies.iter()) {
        now.push(Copy { label: pair.put_back(labels)?, ..copy.clone() });
    }
    let generation = Generation(random().map_err(|source| StoreError::Io { path: place.path().to_owned(), source })?);
    store.of(now.into()).save(&Record {
        disk: DiskState::Outdated,
        generation,
        history: Vec::new(),
        dirty_since: None,
        counting: None,
        overwritten: None,
        peer_outdated: false,
        lost_cache: false,
        clean: true,
        ..record
    })?;
    remove(place.path(), &snapshot)?;
    Ok(snapshot)
}

/// What the record has of its volumes, if the clone may take their place.
fn judged(record: &Record, copies: Option<Arc<[Copy]>>, snapshot: &Snapshot) -> Result<Arc<[Copy]>, RestoreError> {
    if record.role == Role::Primary {
        return Err(refused("this node is Primary", "demote it first; a Primary's copy is whole"));
    }
    if record.disk != DiskState::Inconsistent {
        let cause = format!("this copy is {:?}, which is whole: it is no older than the clone", record.disk);
        return Err(refused(cause, "remove the clone with lunmirrorctl snapshot drop, or keep it"));
    }
    if record.overwritten.is_some_and(|copy| copy.resync == snapshot.resync) {
        let remedy = "promote it once the target runs: lunmirrorctl promote --force";
        return Err(refused("nothing was written over this copy yet: the resync had only begun", remedy));
    }
    let copies = copies.filter(|copies| copies.len() == snapshot.files.len());
    copies.ok_or_else(|| {
        let cause = format!("the clone is of {} volumes, and the record of others", snapshot.files.len());
        refused(cause, "put the files back by hand, each without .before-resync, move the group's directory away, start the target and \
                        promote with --force")
    })
}

/// A clone, and the file that it is of.
struct Returning<'a> {
    /// `None`: it is in its place.
    clone: Option<&'a Path>,
    file: PathBuf,
    /// `None`: its file system keeps none.
    label: Option<String>,
}

impl<'a> Returning<'a> {
    fn look(clone: &'a Path, copy: &Copy, label: String, labels: &Labels) -> Result<Returning<'a>, RestoreError> {
        let name = clone.to_string_lossy();
        let Some(file) = file_of(clone) else {
            return Err(refused(format!("{name} is not named as a clone"), "look at snapshot.json"));
        };
        let label = copy.label.as_ref().map(|_| label);
        let length = |path: &Path| match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Err(refused(format!("{} is no regular file", path.display()), "look at what took its place")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RestoreError::File { path: path.to_owned(), source }),
        };
        let Some(has) = length(clone)? else {
            let is_back = label.is_some() && (labels.get)(&file).ok().flatten() == label;
            return match is_back {
                true => Ok(Returning { clone: None, file, label }),
                false => Err(refused(format!("{name} is missing"), "look for it; nothing was changed")),
            };
        };
        if let Some(wanted) = length(&file)?.filter(|wanted| *wanted > has) {
            let cause = format!("{name} has {has} bytes, and the volume {wanted}: it has grown since");
            return Err(refused(cause, "make the clone as long as the volume (truncate), and restore again"));
        }
        Ok(Returning { clone: Some(clone), file, label })
    }

    fn put_back(&self, labels: &Labels) -> Result<Option<String>, RestoreError> {
        let Some(clone) = self.clone else { return Ok(self.label.clone()) };
        let failed = |source| RestoreError::File { path: clone.to_owned(), source };
        if let Some(label) = &self.label {
            (labels.set)(clone, label).map_err(failed)?;
        }
        match fs::metadata(&self.file) {
            Ok(former) => fs::set_permissions(clone, former.permissions()).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(failed(error)),
        }
        let put = || {
            File::open(clone)?.sync_all()?;
            fs::rename(clone, &self.file)?;
            let directory = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(failed)?;
        Ok(self.label.clone())
    }
}

/// What a clone of that name is of.
pub fn file_of(clone: &Path) -> Option<PathBuf> {
    clone.to_string_lossy().strip_suffix(SUFFIX).map(PathBuf::from)
}

fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u128::from_ne_bytes(bytes).max(1))
}

fn refused(cause: impl Into<String>, remedy: impl Into<String>) -> RestoreError {
    RestoreError::Refused { cause: cause.into(), remedy: remedy.into() }
}

const SNAPSHOT: &str = "snapshot.json";
/// Of the files' names.
pub const SUFFIX: &str = ".before-resync";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_and_removed_with_its_files_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        assert_eq!(load(directory).unwrap(), None);
        let (image, clone) = (directory.join("db.img"), directory.join("db.img.before-resync"));
        fs::write(&image, "blocks").and_then(|()| fs::write(&clone, "blocks")).unwrap();
        let files = vec![image.clone(), clone.clone()];
        let snapshot = Snapshot { resync: Generation(1), generation: Generation(2), taken: 3, files };
        save(directory, &snapshot).unwrap();
        assert_eq!(load(directory).unwrap(), Some(snapshot.clone()));
        remove(directory, &snapshot).unwrap();
        remove(directory, &snapshot).unwrap();
        assert!(load(directory).unwrap().is_none() && image.exists() && !clone.exists());
    }

    // Files here keep no extended attributes where tmpfs has none for users: labels lie beside them.

    fn label_of(path: &Path) -> PathBuf {
        let metadata = fs::metadata(path).unwrap();
        path.with_file_name(format!("label-{}", std::os::unix::fs::MetadataExt::ino(&metadata)))
    }

    const LABELS: Labels = Labels {
        get: |path| Ok(fs::read_to_string(label_of(path)).ok()),
        set: |path, label| fs::write(label_of(path), label),
    };

    struct Stranded {
        state_dir: tempfile::TempDir,
    }

    impl Stranded {
        /// In the midst of a resync of two volumes.
        fn new() -> Stranded {
            let state_dir = tempfile::tempdir().unwrap();
            let stranded = Stranded { state_dir };
            for name in ["a.img", "b.img"] {
                fs::write(stranded.path(name), "half of each").unwrap();
                fs::write(stranded.path(&format!("{name}{SUFFIX}")), format!("of {name}, then")).unwrap();
            }
            let files = ["a.img", "b.img"].map(|name| stranded.path(&format!("{name}{SUFFIX}"))).to_vec();
            let snapshot = Snapshot { resync: Generation(0xabc), generation: Generation(7), taken: 3, files };
            stranded.record(|_| ());
            save(&stranded.directory(), &snapshot).unwrap();
            stranded
        }

        fn directory(&self) -> PathBuf {
            self.path("mirror/db")
        }

        fn records(&self) -> RecordStore {
            RecordStore::new(&Place::claim(self.state_dir.path(), "db").unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.state_dir.path().join(name)
        }

        fn record(&self, change: impl FnOnce(&mut Record)) {
            let mut record = Record {
                role: Role::Secondary,
                disk: DiskState::Inconsistent,
                epoch: crate::ids::OwnerEpoch(4),
                generation: Generation(7),
                history: vec![Generation(6)],
                peer_outdated: false,
                clean: true,
                dirty_since: None,
                mode: crate::config::Mode::Sync,
                lost_cache: false,
                counting: Some(Generation(9)),
                overwritten: None,
            };
            change(&mut record);
            let copy = |name: &str| Copy { name: name.into(), blocks: 1, label: Some("of then".into()) };
            self.records().of([copy("a"), copy("b")].into()).save(&record).unwrap();
        }

        fn restore(&self) -> Result<Snapshot, RestoreError> {
            restore(&self.directory(), &LABELS)
        }

        #[track_caller]
        fn is_refused(&self, why: &str) {
            let before = fs::read(self.path("a.img")).unwrap();
            let error = self.restore().unwrap_err();
            let RestoreError::Refused { cause, remedy } = error else { panic!("{error:?}") };
            assert!(cause.contains(why) && !remedy.is_empty(), "{cause}");
            assert_eq!(fs::read(self.path("a.img")).unwrap(), before);
        }

        #[track_caller]
        fn is_back(&self) {
            let Kept { record, copies, .. } = self.records().load().unwrap().unwrap();
            assert_eq!((record.role, record.disk, record.counting), (Role::Secondary, DiskState::Outdated, None));
            assert_eq!((record.epoch.0, record.history.len()), (4, 0));
            assert!(![Generation::NONE, Generation(6), Generation(7), Generation(9)].contains(&record.generation));
            for (name, copy) in ["a.img", "b.img"].into_iter().zip(copies.unwrap().iter()) {
                assert_eq!(fs::read_to_string(self.path(name)).unwrap(), format!("of {name}, then"));
                assert_eq!((LABELS.get)(&self.path(name)).unwrap(), copy.label, "it is the record's");
                assert!(!self.path(&format!("{name}{SUFFIX}")).exists());
            }
            assert_eq!(load(&self.directory()).unwrap(), None);
        }
    }

    #[test]
    fn a_copy_is_put_back_as_one_that_nobody_counted_against() {
        let stranded = Stranded::new();
        let restored = stranded.restore().unwrap();
        assert_eq!((restored.generation, restored.files.len()), (Generation(7), 2));
        stranded.is_back();
        stranded.is_refused("there is no clone");
    }

    #[test]
    fn it_goes_on_where_a_crash_left_it() {
        let stranded = Stranded::new();
        let clone = stranded.path("a.img.before-resync");
        (LABELS.set)(&clone, &format!("{}-0", Generation(0xabc))).unwrap();
        fs::rename(&clone, stranded.path("a.img")).unwrap();
        stranded.restore().unwrap();
        stranded.is_back();
    }

    #[test]
    fn it_is_refused_where_it_would_do_harm() {
        let stranded = Stranded::new();
        stranded.record(|record| record.role = Role::Primary);
        stranded.is_refused("this node is Primary");
        for disk in [DiskState::UpToDate, DiskState::Consistent, DiskState::Outdated, DiskState::Failed] {
            stranded.record(|record| record.disk = disk);
            stranded.is_refused(&format!("this copy is {disk:?}"));
        }
        stranded.record(|_| ());
        fs::write(stranded.path("b.img"), "half of each, and it is longer than it was").unwrap();
        stranded.is_refused("b.img.before-resync has 14 bytes, and the volume 42: it has grown since");
        fs::write(stranded.path("b.img"), "x").unwrap();
        fs::remove_file(stranded.path("b.img.before-resync")).unwrap();
        stranded.is_refused("b.img.before-resync is missing");
        std::os::unix::fs::symlink("a.img", stranded.path("b.img.before-resync")).unwrap();
        stranded.is_refused("b.img.before-resync is no regular file");
        fs::remove_file(stranded.directory().join("record.json")).unwrap();
        stranded.is_refused("the group has no record");
    }

    #[test]
    fn a_target_that_runs_keeps_its_files() {
        let stranded = Stranded::new();
        let runs = Place::claim(stranded.state_dir.path(), "db").unwrap();
        assert!(matches!(stranded.restore(), Err(RestoreError::Store(StoreError::InUse { .. }))));
        drop(runs);
        stranded.restore().unwrap();
    }

    #[test]
    fn what_was_not_yet_overwritten_needs_no_clone() {
        let stranded = Stranded::new();
        let (resync, generation) = (Generation(0xabc), Generation(7));
        let overwritten =
            |why| crate::replica::io::Overwritten { resync, generation, epoch: crate::ids::OwnerEpoch(4), why };
        stranded.record(|record| record.overwritten = Some(overwritten(crate::replica::io::Why::Behind)));
        stranded.is_refused("nothing was written over this copy yet");
    }
}
