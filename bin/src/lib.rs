//! What `lunmirror-target` and `lunmirrorctl` share: the configuration file, and what they say to each other.

pub mod api;
pub mod config;
