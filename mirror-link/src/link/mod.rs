//! One peer: n connections, UDP heartbeats, authentication. Carries any group's frames on any slot.

mod api;
pub mod status;

pub use api::{Links, LinksError};
