//! The full feature phase of a session, target side, for one connection (MaxConnections=1, ErrorRecoveryLevel=0).
//!
//! [`connection::Connection`] composes the parts:
//! `receive` · `handle_timeout` · `poll_event` · `poll_transmit` · `poll_timeout`, plus one method for each answer.

mod budget;
mod collect;
pub mod command_window;
pub mod connection;
mod data_in;
mod ending;
pub mod keepalive;
mod outbox;
pub mod task;
pub mod transfer;

pub use connection::{Connection, ConnectionError, Settings};
pub use task::{Answer, CommandArrived, Event};
