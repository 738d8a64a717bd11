//! Targets: from configuration to logical units behind portals.

pub mod access;
pub mod catalog;
pub mod config;
pub mod mirrored;
pub mod ports;
pub mod router;

mod front;
mod identity;
mod opening;
mod spares;
