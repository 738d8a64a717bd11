//! What the service manager is told: ready, reloading, stopping, alive. Without one, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// Whether there is a service manager that wants to know.
pub fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told of the reload"),
    }
}

pub fn stopping(grace: Duration) {
    let patience = u32::try_from((grace + FLUSH_ALLOWANCE).as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(patience)]);
}

pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often `alive` is to be said, where it is to be said at all: twice in the time the manager waits.
pub fn alive_interval() -> Option<Duration> {
    let mut patience_us = 0;
    (sd_notify::watchdog_enabled(false, &mut patience_us) && patience_us > 1)
        .then(|| Duration::from_micros(patience_us / 2))
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Flushing a full page cache to slow disks takes its time after the last initiator is gone.
const FLUSH_ALLOWANCE: Duration = Duration::from_secs(60);
