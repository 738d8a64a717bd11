//! Numbers and times within their ranges.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use target_core::target::config::{DaemonLimits, SessionLimits};

use super::fault::{Findings, Place};
use super::raw::{RawDaemonLimits, RawSessionLimits, Size, Time};

/// What is written there, or the default; a fault, and the default, where it is out of range.
pub fn number<T: PartialOrd + Display + Copy>(
    written: Option<T>,
    range: RangeInclusive<T>,
    default: T,
    place: &Place,
    findings: &mut Findings,
) -> T {
    match written {
        Some(number) if !range.contains(&number) => {
            let remedy = format!("use {} to {}", range.start(), range.end());
            findings.fault(place, format!("{number} is out of range"), remedy);
            default
        }
        Some(number) => number,
        None => default,
    }
}

/// The same for a time.
pub fn time(
    written: Option<Time>,
    range: RangeInclusive<Duration>,
    default: Duration,
    place: &Place,
    findings: &mut Findings,
) -> Duration {
    match written {
        Some(Time(time)) if !range.contains(&time) => {
            let shown = humantime::format_duration;
            let remedy = format!("use {} to {}", shown(*range.start()), shown(*range.end()));
            findings.fault(place, format!("{} is out of range", shown(time)), remedy);
            default
        }
        Some(Time(time)) => time,
        None => default,
    }
}

/// The same for bytes, told with their units.
pub fn size(
    written: Option<Size>,
    range: RangeInclusive<u64>,
    default: u64,
    place: &Place,
    findings: &mut Findings,
) -> u64 {
    match written {
        Some(Size(bytes)) if !range.contains(&bytes) => {
            let shown = |bytes: u64| bytesize::ByteSize(bytes).display().iec().to_string().replace(' ', "");
            let remedy = format!("use {} to {}", shown(*range.start()), shown(*range.end()));
            findings.fault(place, format!("{} is out of range", shown(bytes)), remedy);
            default
        }
        Some(Size(bytes)) => bytes,
        None => default,
    }
}

/// Of the whole process, and what each target allows that has no limits of its own.
pub fn limits(raw: RawDaemonLimits, place: &Place, findings: &mut Findings) -> (DaemonLimits, SessionLimits) {
    let defaults = DaemonLimits::default();
    let mut count = |name: &str, raw: Option<u32>, range: RangeInclusive<u32>, default: usize| {
        number(raw, range, default as u32, &place.at(name), findings) as usize
    };
    let max_connections = count("max_connections", raw.max_connections, CONNECTIONS, defaults.max_connections);
    let max_pending_logins =
        count("max_pending_logins", raw.max_pending_logins, CONNECTIONS, defaults.max_pending_logins);
    let max_sessions = count("max_sessions", raw.max_sessions, SESSIONS, defaults.max_sessions);
    let limits = DaemonLimits {
        max_connections,
        max_pending_logins,
        max_sessions,
        login_timeout: time(raw.login_timeout, TIME, defaults.login_timeout, &place.at("login_timeout"), findings),
        shutdown_grace: time(raw.shutdown_grace, TIME, defaults.shutdown_grace, &place.at("shutdown_grace"), findings),
    };
    let session =
        session_limits(raw.target.unwrap_or_default(), &SessionLimits::default(), &place.at("target"), findings);
    (limits, session)
}

/// Over those of `defaults`.
pub fn session_limits(
    raw: RawSessionLimits,
    defaults: &SessionLimits,
    place: &Place,
    findings: &mut Findings,
) -> SessionLimits {
    let mut count = |name: &str, raw: Option<u32>, range: RangeInclusive<u32>, default: u32| {
        number(raw, range, default, &place.at(name), findings)
    };
    let bytes = |size: Option<Size>| size.map(|Size(bytes)| u32::try_from(bytes).unwrap_or(u32::MAX));
    let max_burst_length = count("max_burst_length", bytes(raw.max_burst_length), LENGTH, defaults.max_burst_length);
    let max_recv_data_segment_length = count(
        "max_recv_data_segment_length",
        bytes(raw.max_recv_data_segment_length),
        LENGTH,
        defaults.max_recv_data_segment_length,
    );
    let limits = SessionLimits {
        max_sessions: count("max_sessions", raw.max_sessions, SESSIONS, defaults.max_sessions as u32) as usize,
        max_recv_data_segment_length,
        first_burst_length: count(
            "first_burst_length",
            bytes(raw.first_burst_length),
            LENGTH,
            defaults.first_burst_length.min(max_burst_length),
        ),
        max_burst_length,
        max_outstanding_r2t: count(
            "max_outstanding_r2t",
            raw.max_outstanding_r2t,
            OUTSTANDING_R2T,
            u32::from(defaults.max_outstanding_r2t),
        ) as u16,
        immediate_data: raw.immediate_data.unwrap_or(defaults.immediate_data),
        initial_r2t: raw.initial_r2t.unwrap_or(defaults.initial_r2t),
        queue_depth: count("queue_depth", raw.queue_depth, QUEUE_DEPTH, defaults.queue_depth),
        keepalive_interval: time(
            raw.keepalive_interval,
            TIME,
            defaults.keepalive_interval,
            &place.at("keepalive_interval"),
            findings,
        ),
        keepalive_timeout: time(
            raw.keepalive_timeout,
            TIME,
            defaults.keepalive_timeout,
            &place.at("keepalive_timeout"),
            findings,
        ),
    };
    if limits.first_burst_length > limits.max_burst_length {
        findings.fault(
            &place.at("first_burst_length"),
            format!("{} is more than max_burst_length, {}", limits.first_burst_length, limits.max_burst_length),
            "RFC 7143 §13.14 wants FirstBurstLength no larger than MaxBurstLength: lower it, or raise the other",
        );
    }
    limits
}

/// What a process's descriptors can be raised to.
const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;

/// Each has a TSIH of its own, of 16 bits (RFC 7143 §11.12.6).
const SESSIONS: RangeInclusive<u32> = 1..=65_000;

/// Bytes (RFC 7143 §13.12 to §13.14).
const LENGTH: RangeInclusive<u32> = 512..=(1 << 24) - 1;

/// RFC 7143 §13.17.
const OUTSTANDING_R2T: RangeInclusive<u32> = 1..=65535;

/// Commands of one session; each may hold a burst of memory.
const QUEUE_DEPTH: RangeInclusive<u32> = 1..=4096;

/// Shorter is noise, longer is never.
pub const TIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
