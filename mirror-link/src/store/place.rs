use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;

/// A group's directory; ours alone for as long as anybody has this: whoever writes there keeps it.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// The directory itself, locked. The kernel lets go of it however the process ends.
    _locked: File,
}

impl Place {
    /// Make it where it is missing.
    pub fn claim(state_dir: &Path, group: &str) -> Result<Arc<Place>, StoreError> {
        let mirror = state_dir.join(MIRROR);
        let path = mirror.join(file_name(group));
        let io = |source: std::io::Error| StoreError::Io { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(io)?;
        // A directory made just now must survive together with the record in it.
        for directory in [&path, &mirror, state_dir] {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
        }
        Place::lock(path)
    }

    /// One that is there.
    pub fn lock(path: PathBuf) -> Result<Arc<Place>, StoreError> {
        let io = |source: std::io::Error| StoreError::Io { path: path.clone(), source };
        let locked = File::open(&path).map_err(io)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Arc::new(Place { path, _locked: locked })),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(PATIENCE / 100),
                Err(Errno::WOULDBLOCK) => return Err(StoreError::InUse { path }),
                Err(error) => return Err(io(error.into())),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Letters, digits, `-`, `_` and inner dots stand for themselves, other bytes as `%xx`: no two names share a directory.
/// A name that would be too long for a file system once written so has its rest replaced by `%%` and a digest.
pub(super) fn file_name(group: &str) -> String {
    let mut name = String::with_capacity(group.len());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    if name.len() > FILE_NAME_BYTES_MAX {
        use sha2::Digest;
        let digest = hex::encode(&sha2::Sha256::digest(group)[..16]);
        name.truncate(FILE_NAME_BYTES_MAX - digest.len() - 2);
        name.push_str("%%");
        name.push_str(&digest);
    }
    name
}

/// The group whose directory has that name; the name itself where a digest stands for a part of it.
pub(super) fn group_of(file_name: &str) -> String {
    if file_name == "%" {
        return String::new();
    }
    let mut name = Vec::with_capacity(file_name.len());
    let mut rest = file_name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                name.push(code);
                rest = &after[2..];
            }
            (b'%', None) => return file_name.to_owned(),
            _ => {
                name.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(name).unwrap_or_else(|_| file_name.to_owned())
}

/// The directory of groups' directories, in state_dir.
pub(super) const MIRROR: &str = "mirror";

/// For who had it to end: a last write may be on its way to the disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// NAME_MAX of Linux's file systems.
const FILE_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_cannot_leave_the_directory_nor_collide() {
        for (name, directory) in
            [("db", "db"), ("../x", "%2e.%2fx"), ("..", "%2e."), ("a/b", "a%2fb"), ("a%2fb", "a%252fb"), ("", "%")]
        {
            assert_eq!(file_name(name), directory);
            assert_eq!(group_of(directory), name);
        }
    }

    #[test]
    fn the_longest_names_fit_and_differ() {
        let state_dir = tempfile::tempdir().unwrap();
        let long = |last: &str| "ü".repeat((crate::ids::NAME_MAX - 1) / 2) + last;
        let names: HashSet<String> = ["a", "b", "/"].map(|last| file_name(&long(last))).into();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|name| group_of(name) == *name), "nobody can tell what a digest stands for");
        let place = Place::claim(state_dir.path(), &long("a")).unwrap();
        assert!(place.path().is_dir() && names.contains(place.path().file_name().unwrap().to_str().unwrap()));
    }

    #[test]
    fn a_place_has_one_user() {
        let state_dir = tempfile::tempdir().unwrap();
        let first = Place::claim(state_dir.path(), "db").unwrap();
        let other = Place::claim(state_dir.path(), "other").unwrap();
        let error = Place::claim(state_dir.path(), "db").unwrap_err().to_string();
        assert!(error.contains("mirror/db is used by another process; end that one"), "{error}");
        drop((first, other));
        Place::claim(state_dir.path(), "db").unwrap();
    }

    #[test]
    fn a_state_dir_that_is_a_file_is_named() {
        let state_dir = tempfile::tempdir().unwrap();
        let file = state_dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Place::claim(&file, "db").unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}/mirror/db: ", file.display())) && error.contains("check that"),
            "{error}"
        );
    }
}
