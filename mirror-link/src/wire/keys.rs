//! What is made from a pair's secret: a key of its own for each use and direction.

use std::fmt;

use crate::config::PairSecret;

/// The keys of one pair, seen from one of its nodes.
#[derive(Clone)]
pub struct PairKeys {
    pub(super) heartbeat_to_peer: Key,
    pub(super) heartbeat_from_peer: Key,
}

pub(super) type Key = [u8; 32];

impl PairKeys {
    pub fn derive(secret: &PairSecret, us: &str, peer: &str) -> PairKeys {
        let _ = (secret, us, peer);
        todo!()
    }
}

impl fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKeys(…)")
    }
}
