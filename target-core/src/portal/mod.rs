//! Where initiators come in: listening sockets, login, and the loop that moves bytes between a socket and a session.

mod connection;
mod daemon;
mod discovery;
mod listener;
mod login;
mod sessions;
mod transmit;

pub use daemon::{Applied, ApplyRefused, Daemon, StartError};
