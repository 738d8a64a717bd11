//! The file as it is written: every key of it, nothing checked but its kind. Every value may be absent here, so that
//! `convert` can name all that is missing at once.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::fault::Place;
use crate::api;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    pub node: Option<String>,
    pub state_dir: Option<String>,
    pub portals: Option<RawPortals>,
    pub admin: Option<RawAdmin>,
    pub link: Option<RawLink>,
    pub peers: Option<BTreeMap<Key, Option<RawPeer>>>,
    pub discovery: Option<RawDiscovery>,
    pub limits: Option<RawDaemonLimits>,
    pub volumes: Option<BTreeMap<Key, Option<RawVolume>>>,
    pub targets: Option<BTreeMap<Key, Option<RawTarget>>>,
}

/// A list, or a map from target portal group tag to list.
#[derive(Debug)]
pub enum RawPortals {
    One(Vec<Option<String>>),
    Groups(BTreeMap<Key, Option<Vec<Option<String>>>>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAdmin {
    pub socket: Option<String>,
    pub http: Option<String>,
}

/// Where peers reach us.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLink {
    pub listen: Option<OneOrMany<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPeer {
    pub address: Option<OneOrMany<String>>,
    pub connections: Option<u32>,
    pub secret_file: Option<String>,
    pub heartbeat: Option<RawHeartbeat>,
    pub idle_timeout: Option<Time>,
    pub encryption: Option<String>,
    pub compression: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHeartbeat {
    pub interval: Option<Time>,
    pub timeout: Option<Time>,
    pub probation: Option<Time>,
    pub probation_max: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMirror {
    pub peer: Option<String>,
    pub mode: Option<String>,
    pub role: Option<String>,
    pub group: Option<String>,
    pub on_link_loss: Option<String>,
    pub on_journal_full: Option<String>,
    pub on_split_brain: Option<String>,
    pub max_stall: Option<Time>,
    pub wait_for_peer: Option<Time>,
    pub queue: Option<RawQueue>,
    pub map: Option<RawMap>,
    pub resync: Option<RawResync>,
    pub scrub: Option<RawScrub>,
    pub initial_sync: Option<String>,
    pub undo: Option<RawUndo>,
    pub snapshot: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawResync {
    pub host_latency: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScrub {
    pub every: Option<Time>,
    pub rate: Option<Rate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawUndo {
    pub max: Option<Size>,
    pub keep: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMap {
    pub piece: Option<Size>,
    pub hot_regions: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawQueue {
    pub memory: Option<Size>,
    pub journal: Option<Size>,
    pub window: Option<Size>,
    pub window_writes: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDiscovery {
    pub auth: Option<RawAuth>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDaemonLimits {
    pub max_connections: Option<u32>,
    pub max_pending_logins: Option<u32>,
    pub max_sessions: Option<u32>,
    pub login_timeout: Option<Time>,
    pub shutdown_grace: Option<Time>,
    /// What each target allows that has no `limits` of its own.
    pub target: Option<RawSessionLimits>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSessionLimits {
    pub max_sessions: Option<u32>,
    pub max_recv_data_segment_length: Option<Size>,
    pub first_burst_length: Option<Size>,
    pub max_burst_length: Option<Size>,
    pub max_outstanding_r2t: Option<u32>,
    pub immediate_data: Option<bool>,
    pub initial_r2t: Option<bool>,
    pub queue_depth: Option<u32>,
    pub keepalive_interval: Option<Time>,
    pub keepalive_timeout: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawVolume {
    pub file: Option<String>,
    pub device: Option<String>,
    pub memory: Option<Nothing>,
    pub null: Option<Nothing>,
    pub direct_io: Option<bool>,
    pub size: Option<Size>,
    pub block_size: Option<Size>,
    pub physical_block_size: Option<Size>,
    pub thin: Option<bool>,
    pub removable: Option<bool>,
    pub read_only: Option<bool>,
    pub write_cache: Option<bool>,
    pub long_cdbs: Option<bool>,
    pub serial: Option<String>,
    pub uuid: Option<String>,
    pub naa: Option<String>,
    pub vendor: Option<String>,
    pub product: Option<String>,
    pub revision: Option<String>,
    pub scsi_version: Option<String>,
    pub rotation: Option<RawRotation>,
    pub mirror: Option<RawMirror>,
}

/// `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Debug)]
pub enum RawRotation {
    Rpm(u64),
    Word(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTarget {
    pub alias: Option<String>,
    pub auth: Option<RawAuth>,
    pub initiators: Option<OneOrMany<RawRule>>,
    pub luns: Option<RawLuns>,
    pub portal_groups: Option<Vec<Option<u64>>>,
    pub redirect: Option<RawRedirect>,
    pub limits: Option<RawSessionLimits>,
}

pub type RawLuns = BTreeMap<Key, Option<String>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAuth {
    pub chap: Option<OneOrMany<RawCredentials>>,
    pub mutual: Option<RawCredentials>,
    pub algorithms: Option<Vec<Option<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCredentials {
    pub user: Option<String>,
    pub secret: Option<String>,
    pub secret_file: Option<String>,
}

/// A name pattern, or a rule in full.
#[derive(Debug)]
pub enum RawRule {
    Pattern(String),
    Rule(RawRuleFields),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRuleFields {
    pub name: Option<OneOrMany<String>>,
    pub networks: Option<OneOrMany<String>>,
    pub users: Option<OneOrMany<String>>,
    pub luns: Option<RawLuns>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRedirect {
    pub address: Option<String>,
    pub permanent: Option<bool>,
}

/// Bytes: a number, or a number with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Bytes a second: `50MiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// `500ms`, `3s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A key of a map whose keys are the operator's: YAML takes `0` for a number, and we for its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub String);

#[derive(Debug)]
pub enum OneOrMany<T> {
    One(T),
    Many(Vec<Option<T>>),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes, such as 4096 or 100GiB")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                let size: ByteSize =
                    text.parse().map_err(|_: String| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(Size(size.as_u64()))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        struct RateVisitor;
        impl Visitor<'_> for RateVisitor {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes a second, such as 50MiB/s")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
                api::rate(text).map(Rate).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(RateVisitor)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as 500ms or 10s")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                humantime::parse_duration(text).map(Time).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(TimeVisitor)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Key, E> {
                Ok(Key(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Key, E> {
                Ok(Key(number.to_string()))
            }
        }
        deserializer.deserialize_any(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for RawRotation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawRotation, D::Error> {
        struct RotationVisitor;
        impl Visitor<'_> for RotationVisitor {
            type Value = RawRotation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ssd, unreported, or revolutions per minute")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawRotation, E> {
                Ok(RawRotation::Word(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, rpm: u64) -> Result<RawRotation, E> {
                Ok(RawRotation::Rpm(rpm))
            }
        }
        deserializer.deserialize_any(RotationVisitor)
    }
}

impl<'de> Deserialize<'de> for RawPortals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawPortals, D::Error> {
        struct PortalsVisitor;
        impl<'de> Visitor<'de> for PortalsVisitor {
            type Value = RawPortals;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of addresses, or a map from portal group tag to such a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawPortals, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(RawPortals::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawPortals, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(RawPortals::Groups)
            }
        }
        deserializer.deserialize_any(PortalsVisitor)
    }
}

impl<'de> Deserialize<'de> for RawRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawRule, D::Error> {
        struct RuleVisitor;
        impl<'de> Visitor<'de> for RuleVisitor {
            type Value = RawRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an initiator name pattern, or a rule {name: …, networks: …, users: …, luns: …}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawRule, E> {
                Ok(RawRule::Pattern(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRule, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(RawRule::Rule)
            }
        }
        deserializer.deserialize_any(RuleVisitor)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        struct OneOrManyVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one, or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
                T::deserialize(serde::de::value::StrDeserializer::new(text)).map(OneOrMany::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany<T>, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

impl<T> OneOrMany<T> {
    /// Each with its place; `None` where there is nothing between two commas.
    pub fn listed(self, place: &Place) -> Vec<(Place, Option<T>)> {
        match self {
            OneOrMany::One(one) => vec![(place.clone(), Some(one))],
            OneOrMany::Many(many) => {
                many.into_iter().enumerate().map(|(index, each)| (place.at(index), each)).collect()
            }
        }
    }
}
