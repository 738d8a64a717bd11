//! How a peer stood at its task's last turn, and what its slots count since: read without disturbing either.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::driver::Setting;
use super::outbox::Outbox;
use super::session::Session;
use super::status::{AddressStatus, PeerStatus, SlotStatus};
use crate::peer::io::{SlotSnapshot, Snapshot};

#[derive(Debug)]
pub struct Shown {
    pub snapshot: Snapshot,
    /// By slot, where it is open.
    pub outboxes: Vec<Option<Arc<Outbox>>>,
    pub session: Option<Arc<Session>>,
}

impl Shown {
    pub fn status(&self, setting: &Setting) -> PeerStatus {
        let (config, shown) = (&setting.config, &self.snapshot);
        let addresses = config.addresses.iter().zip(&shown.paths).enumerate();
        let slots = (0..).zip(&shown.slots).zip(&self.outboxes);
        PeerStatus {
            name: config.name.to_string(),
            phase: shown.phase,
            verdict: shown.verdict,
            dialer: setting.is_dialer(),
            session: shown.session.map(|session| session.to_string()),
            encryption: config.encryption,
            compression: config.compression,
            addresses: addresses
                .map(|(place, (address, round_trip))| AddressStatus {
                    address: *address,
                    rtt_ms: round_trip.map(|trip| trip.as_secs_f64() * 1e3),
                    in_use: place == usize::from(shown.best.0),
                })
                .collect(),
            slots: slots.map(|((slot, entry), outbox)| slot_status(slot, entry, outbox.as_deref(), setting)).collect(),
            probation_s: shown.probation.as_secs_f64(),
            flaps: shown.flaps,
            heartbeats_sent: shown.heartbeats_sent,
            heartbeats_received: shown.heartbeats_received,
            heartbeats_refused: shown.heartbeats_refused,
            last_error: shown.last_error.clone(),
            groups_missing_there: self.missing_there(setting),
            groups_missing_here: self
                .session
                .iter()
                .flat_map(|session| session.foreign_groups())
                .map(|name| name.to_string())
                .collect(),
        }
    }

    fn missing_there(&self, setting: &Setting) -> Vec<String> {
        let Some(session) = &self.session else { return Vec::new() };
        let members = setting.members.iter().enumerate();
        members.filter(|(place, _)| !session.has_met(*place)).map(|(_, member)| member.name().to_string()).collect()
    }
}

fn slot_status(slot: u8, entry: &SlotSnapshot, outbox: Option<&Outbox>, setting: &Setting) -> SlotStatus {
    let clock = &setting.clock;
    let age = |at: Instant| at.elapsed().as_millis() as u64;
    let mut status = SlotStatus {
        slot,
        state: entry.state,
        local: None,
        remote: None,
        heartbeat_ms_ago: entry.heartbeat.map(age),
        received_ms_ago: None,
        sent_ms_ago: None,
        queued_bytes: 0,
        frames_sent: 0,
        frames_received: 0,
        bytes_sent: 0,
        bytes_received: 0,
    };
    if let Some(outbox) = outbox {
        let counters = &outbox.counters;
        (status.local, status.remote) = outbox.addresses;
        status.received_ms_ago = clock.age_ms(counters.received_at.load(Relaxed));
        status.sent_ms_ago = clock.age_ms(counters.sent_at.load(Relaxed));
        status.queued_bytes = outbox.queued_bytes();
        status.frames_sent = counters.frames_sent.load(Relaxed);
        status.frames_received = counters.frames_received.load(Relaxed);
        status.bytes_sent = counters.bytes_sent.load(Relaxed);
        status.bytes_received = counters.bytes_received.load(Relaxed);
    }
    status
}
