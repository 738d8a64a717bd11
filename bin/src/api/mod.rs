//! The admin interface: JSON over HTTP, on a Unix socket; what only reads also on a TCP port, where one is configured.
//!
//! | | | answer |
//! |---|---|---|
//! | GET | `/v1/status` | [`NodeStatus`] |
//! | GET | `/v1/peers` | list of [`PeerStatus`] |
//! | GET | `/v1/volumes` | list of [`VolumeStatus`] |
//! | GET | `/v1/groups/NAME` | [`GroupReport`] |
//! | GET | `/v1/groups/NAME/explain` | [`Explanation`] |
//! | GET | `/v1/groups/NAME/explain?what-if=cut`, `promote` or `rejoin` | [`Explanation`], of what would happen |
//! | POST | `/v1/groups/NAME/command`, a [`Command`] | [`Done`], when it is done |
//!
//! A group goes by its own name, and by that of any of its volumes. What is not answered so is answered with a status of
//! 400 or above and a [`Failure`].

pub mod client;
pub mod shown;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
pub use target_core::mirror::{
    Command, Decision, DifferingRange, DiskState, Done, GroupStatus, HeldBack, LinkState, PeerStatus, Phase,
    ResyncStatus, Role, SlotState, SlotStatus, Standing, Verdict, VerifyState, VerifyStatus, WhatIf,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub about: About,
    /// In order of name.
    pub peers: Vec<PeerStatus>,
    /// In order of name.
    pub groups: Vec<GroupReport>,
    /// In order of name.
    pub volumes: Vec<VolumeStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub node: String,
    pub version: String,
    /// Since the process serves, seconds.
    pub uptime_s: u64,
    pub portals: Vec<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    pub name: String,
    pub peer: String,
    /// In order of name.
    pub volumes: Vec<String>,
    #[serde(flatten)]
    pub status: GroupStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeStatus {
    pub name: String,
    /// `file PATH`, `device PATH`, `memory` or `null`.
    pub store: String,
    pub capacity_bytes: u64,
    pub block_bytes: u32,
    /// Where initiators find it.
    pub luns: Vec<LunStatus>,
    /// The group it is mirrored in.
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LunStatus {
    pub target: String,
    pub lun: u16,
}

/// Why a group stands as it does, or what would become of it, in sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub group: String,
    pub text: Vec<String>,
}

/// Why a request was not answered as it was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
    pub remedy: String,
}

impl Failure {
    pub fn new(error: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure { error: error.into(), remedy: remedy.into() }
    }
}

/// The remedy on a line of its own, as with faults of a configuration.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    remedy: {}", self.error, self.remedy)
    }
}

/// A command whose numbers are out of range is no command, whoever sends it.
pub fn check(command: &Command) -> Result<(), Failure> {
    match command {
        Command::MaxStall(time) => within(*time, MAX_STALL).map_err(|remedy| {
            let shown = humantime::format_duration(*time);
            Failure::new(format!("a max-stall of {shown} is out of range"), remedy)
        }),
        Command::HostLatency(Some(time)) => within(*time, HOST_LATENCY).map_err(|remedy| {
            let shown = humantime::format_duration(*time);
            Failure::new(format!("a host latency of {shown} is out of range"), remedy)
        }),
        Command::Verify { rate: Some(rate), .. } if !RATE.contains(rate) => {
            Err(Failure::new(format!("a rate of {rate} bytes a second is out of range"), RATE_REMEDY))
        }
        _ => Ok(()),
    }
}

/// Bytes a second, of `50MiB/s`; or what is wrong with it.
pub fn rate(text: &str) -> Result<u64, String> {
    let bytes = text.trim().strip_suffix("/s").ok_or("bytes a second are meant, as in 50MiB/s")?;
    let bytes: ByteSize = bytes.parse().map_err(|error| format!("{error}, as in 50MiB/s"))?;
    if RATE.contains(&bytes.as_u64()) { Ok(bytes.as_u64()) } else { Err(RATE_REMEDY.to_owned()) }
}

/// Of a verify, bytes a second: less would not end, and more is no bound.
pub const RATE: RangeInclusive<u64> = (64 << 10)..=(1 << 40);
pub const RATE_REMEDY: &str = "use 64KiB/s to 1TiB/s";

/// Or what to use instead.
pub fn within(time: Duration, range: RangeInclusive<Duration>) -> Result<(), String> {
    let shown = humantime::format_duration;
    match range.contains(&time) {
        true => Ok(()),
        false => Err(format!("use {} to {}", shown(*range.start()), shown(*range.end()))),
    }
}

/// As in the configuration.
pub const MAX_STALL: RangeInclusive<Duration> = crate::config::TIME;
pub const HOST_LATENCY: RangeInclusive<Duration> = crate::config::HOST_LATENCY;

/// Where `admin.socket` is unless somebody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/lunmirror/admin.sock";

/// Bytes in the body of a request: many times the longest command.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Bytes in the body of an answer: a status with 64 connections each of many peers, and thousands of volumes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
