//! One peer: n connections, UDP heartbeats, authentication. Carries any group's frames on any slot.
//!
//! ```text
//!   groups ──► Session ──► Outbox (one a slot) ──► writer ══ TCP ══ reader ──► Sorter ──► groups
//!                 ▲                                  │               │
//!                 │ session, slots: up and down      └── ended ──────┤
//!   Driver (one a peer): owns peer::Peer  ◄──────────────────────────┘
//!                 ▲                   ▲
//!      UDP ── Directory (listening) ──┴── handshakes
//! ```
//! Frames never pass the driver's task: it only makes connections, and learns of their end.

mod api;
mod connection;
mod driver;
mod flow;
mod greetings;
mod handshake;
mod listener;
mod log;
mod member;
mod outbox;
mod session;
mod shown;
mod socket;
mod sorter;
pub mod status;
#[cfg(test)]
mod tests;

pub use api::{Links, LinksError};
