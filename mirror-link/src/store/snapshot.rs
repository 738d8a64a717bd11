//! Where the copy as it was before a resync is kept whole: files beside those of the volumes, that share their space.
//!
//! `snapshot.json` in the group's directory names them, so that they are found and removed when the resync is done, by whichever
//! process sees that. The resync waits for it; files that a crash left unnamed are made anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::ids::Generation;

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
}
