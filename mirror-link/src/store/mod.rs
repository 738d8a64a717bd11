//! What a group keeps in files: its record, its map, and the writes that its peer lacks.
//!
//! ```text
//!   STATE_DIR/mirror/GROUP/        one process has it at a time
//!     record.json                  replaced whole or not at all
//!     record.former.json           an owner's, whose data is not there: in force again when the data is
//!     map                          where the copies may differ: hot regions, dirty pieces
//!     journal/0 journal/1 …        writes in order that the peer lacks, or that memory has no room for
//!     undo-TIME-RESYNC             what a resync has written over, see [`undo`]
//!     snapshot.json                which files hold the copy as it was before a resync
//! ```
//!
//! Thin shells over the file system: their calls block, so async callers go through `spawn_blocking`.

pub mod copies;
pub mod dump;
mod journal;
pub mod map;
mod place;
mod record;
pub mod snapshot;
pub mod undo;

use std::io;
use std::path::PathBuf;

pub use journal::{Journal, JournalError};
pub use map::MapFile;
pub use place::Place;
pub use record::{Kept, RecordStore};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path}: {source}; check that the directory exists, is writable and has space")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {cause}; {}", REMEDY_CORRUPT)]
    Corrupt { path: PathBuf, cause: String },
    #[error("{path} is used by another process; end that one, or give each a `state_dir` of its own")]
    InUse { path: PathBuf },
}

const REMEDY_CORRUPT: &str = "restore it from a backup, or move it away to go on without it (this copy then counts as new, and \
     what it holds is overwritten from its peer)";
