//! Targets: from configuration to logical units behind portals.

pub mod access;
pub mod config;
pub mod catalog;
pub mod router;
