//! Where initiators come in: listening sockets, login, and the loop that moves bytes between a socket and a session.

mod connection;
mod daemon;
mod listener;
mod login;
mod sessions;
mod text;
mod transmit;

pub use daemon::{Applied, ApplyRefused, Daemon, StartError};
