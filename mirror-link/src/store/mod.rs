//! What a group keeps in files: its record, and the writes that its memory has no room for.
//!
//! ```text
//!   STATE_DIR/mirror/GROUP/        one process has it at a time
//!     record.json                  replaced whole or not at all
//!     record.former.json           an owner's, whose data is not there: in force again when the data is
//!     map                          where the copies may differ: hot regions, dirty pieces
//!     spill/0 spill/1 …            of this process alone; removed when the next one starts
//! ```
//!
//! Thin shells over the file system: their calls block, so async callers go through `spawn_blocking`.

pub mod copies;
pub mod dump;
pub mod map;
mod place;
mod record;
mod spill;

use std::io;
use std::path::PathBuf;

pub use map::MapFile;
pub use place::Place;
pub use record::{Kept, RecordStore};
pub use spill::{SpillError, SpillFile};

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
