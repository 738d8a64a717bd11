//! The copy as it was before a resync: cloned files, which take little space as long as little changes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use lunmirror::api::Failure;
use lunmirror::api::shown::bytes;
use serde::Serialize;
use target_core::block::file;
use target_core::mirror::StoreError;
use target_core::mirror::snapshot::{self, Labels, RestoreError, Snapshot};

use super::{EXIT_FAILED, Ended};

/// What a group has of it.
#[derive(Debug, Serialize)]
pub struct Kept {
    pub group: PathBuf,
    /// RFC 3339.
    pub taken: String,
    /// Of the copy that it holds.
    pub generation: String,
    pub files: Vec<Clone>,
}

#[derive(Debug, Serialize)]
pub struct Clone {
    pub path: PathBuf,
    /// `None`: it is not there.
    pub bytes: Option<u64>,
}

/// `directory`: the group's.
pub fn list(directory: &Path) -> Result<Option<Kept>, Ended> {
    let found = snapshot::load(directory).map_err(|error| ended(RestoreError::Store(error)))?;
    Ok(found.map(|found| kept(directory, &found)))
}

pub fn show(kept: Option<&Kept>) -> String {
    let Some(kept) = kept else { return "there is no clone of before a resync\n".to_owned() };
    let mut text = format!("the copy of generation {}, cloned {} before a resync\n", kept.generation, kept.taken);
    for clone in &kept.files {
        let size = clone.bytes.map_or_else(|| "is missing".to_owned(), bytes);
        let _ = writeln!(text, "  {} {size}", clone.path.display());
    }
    text
}

/// Put back; the target does not run. With the files that it is now.
pub fn restore(directory: &Path) -> Result<Kept, Ended> {
    let labels = Labels { get: file::label_of, set: file::label };
    let mut restored = snapshot::restore(directory, &labels).map_err(ended)?;
    for path in &mut restored.files {
        *path = snapshot::file_of(path).unwrap_or_else(|| path.clone());
    }
    Ok(kept(directory, &restored))
}

pub fn restored(kept: &Kept, name: &str) -> String {
    let files = files(kept);
    format!(
        "{files} as before the resync, which was {}. This copy is Outdated: start the target, then lunmirrorctl promote --force {name}\n",
        kept.taken
    )
}

pub fn dropped(kept: &Kept) -> String {
    format!("removed: {}\n", files(kept))
}

fn files(kept: &Kept) -> String {
    let names: Vec<String> = kept.files.iter().map(|file| file.path.display().to_string()).collect();
    names.join(" ")
}

pub fn drop_it(directory: &Path) -> Result<Option<Kept>, Ended> {
    let Some(found) = snapshot::load(directory).map_err(|error| ended(RestoreError::Store(error)))? else {
        return Ok(None);
    };
    let kept = kept(directory, &found);
    snapshot::remove(directory, &found).map_err(|error| ended(RestoreError::Store(error)))?;
    Ok(Some(kept))
}

fn kept(directory: &Path, snapshot: &Snapshot) -> Kept {
    let clone = |path: &PathBuf| Clone { path: path.clone(), bytes: fs::metadata(path).ok().map(|found| found.len()) };
    Kept {
        group: directory.to_owned(),
        taken: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(snapshot.taken)).to_string(),
        generation: snapshot.generation.to_string(),
        files: snapshot.files.iter().map(clone).collect(),
    }
}

fn ended(error: RestoreError) -> Ended {
    let text = error.to_string();
    let remedy = match error {
        RestoreError::Refused { remedy, .. } => remedy,
        RestoreError::Store(StoreError::InUse { .. }) => "stop the target first: it has the files open".to_owned(),
        RestoreError::Store(_) => "look at the disk that state_dir is on, and run it as root".to_owned(),
        RestoreError::File { .. } => {
            "look at the disk that it is on, run it as root, and then again: it goes on where it was".to_owned()
        }
    };
    (Failure::new(text, remedy), EXIT_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_shown_and_what_is_missing_said() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(show(list(directory.path()).expect("it can be read").as_ref()), show(None));
        let clone = directory.path().join("db.img.before-resync");
        fs::write(&clone, [0; 2048]).expect("written");
        let files = vec![clone.clone(), directory.path().join("log.img.before-resync")];
        let json = serde_json::json!({ "resync": "1", "generation": "2", "taken": 86_400, "files": files });
        fs::write(directory.path().join("snapshot.json"), json.to_string()).expect("written");
        let text = show(list(directory.path()).expect("it can be read").as_ref());
        assert!(text.contains("generation 00000000000000000000000000000002, cloned 1970-01-02T00:00:00Z"), "{text}");
        assert!(text.contains("/db.img.before-resync 2 KiB\n") && text.contains("/log.img.before-resync is missing\n"));
        let (refused, code) = restore(directory.path()).expect_err("there is no record");
        assert_eq!((refused.error.as_str(), code), ("the group has no record", EXIT_FAILED));
        assert!(drop_it(directory.path()).expect("dropped").is_some() && !clone.exists());
        assert!(drop_it(directory.path()).expect("nothing is there").is_none());
    }
}
