//! One group of mirrored volumes in the daemon: drives a replica, its local devices and its records.
//!
//! ```text
//!   hosts' volumes ──► Group ──► Replica (under one short lock; pure, never waits)
//!                        │ outputs, carried out after the lock is let go
//!                        ├─► local devices   ├─► the session's slots   └─► records, spill file
//! ```

mod api;

pub use api::{Group, GroupError, Observer, PeerSession};
