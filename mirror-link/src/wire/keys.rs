//! What is made from a pair's secret: a key of its own for each use and direction.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::PairSecret;

/// Bytes in a key, and in what is signed with one.
pub(super) const KEY_LENGTH: usize = 32;

pub(super) type Key = [u8; KEY_LENGTH];

/// The keys of one pair, seen from one of its nodes.
#[derive(Clone)]
pub struct PairKeys {
    pub(super) heartbeat_to_peer: Key,
    pub(super) heartbeat_from_peer: Key,
    pub(super) slot_proof: Key,
    pub(super) noise_psk: Key,
}

impl PairKeys {
    /// HKDF-SHA256 (RFC 5869): extracted from the secret, expanded for each use with the names that it is for. So a key is of
    /// no use with another peer, even where somebody gave two pairs one secret.
    pub fn derive(secret: &PairSecret, us: &str, peer: &str) -> PairKeys {
        let extracted = sign(b"lunmirror pair secret", &[&secret.0]);
        let (first, second) = if us < peer { (us, peer) } else { (peer, us) };
        PairKeys {
            heartbeat_to_peer: expand(&extracted, "heartbeat", us, peer),
            heartbeat_from_peer: expand(&extracted, "heartbeat", peer, us),
            slot_proof: expand(&extracted, "slot proof", first, second),
            noise_psk: expand(&extracted, "noise psk", first, second),
        }
    }
}

/// One block of HKDF-Expand.
fn expand(extracted: &Key, purpose: &str, from: &str, to: &str) -> Key {
    let length = |name: &str| (name.len() as u64).to_be_bytes();
    sign(
        extracted,
        &[&length(purpose), purpose.as_bytes(), &length(from), from.as_bytes(), &length(to), to.as_bytes(), &[1]],
    )
}

/// HMAC-SHA256 over the parts, one after the other.
pub(super) fn sign(key: &[u8], parts: &[&[u8]]) -> Key {
    hmac(key, parts).finalize().into_bytes().into()
}

/// In constant time.
pub(super) fn is_signed(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    hmac(key, parts).verify_slice(signature).is_ok()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

impl fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKeys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &[u8], us: &str, peer: &str) -> PairKeys {
        PairKeys::derive(&PairSecret(secret.into()), us, peer)
    }

    #[test]
    fn both_nodes_have_the_same_keys_and_each_use_its_own() {
        let secret = [7; 32];
        let (alpha, beta) = (keys(&secret, "alpha", "beta"), keys(&secret, "beta", "alpha"));
        assert_eq!(alpha.heartbeat_to_peer, beta.heartbeat_from_peer);
        assert_eq!(alpha.heartbeat_from_peer, beta.heartbeat_to_peer);
        assert_eq!((alpha.slot_proof, alpha.noise_psk), (beta.slot_proof, beta.noise_psk));
        let gamma = keys(&secret, "alpha", "gamma");
        let other = keys(&[8; 32], "alpha", "beta");
        let mut all = Vec::new();
        for keys in [&alpha, &gamma, &other] {
            all.extend([keys.heartbeat_to_peer, keys.heartbeat_from_peer, keys.slot_proof, keys.noise_psk]);
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "no key stands for two uses, pairs or secrets");
        assert_eq!(format!("{alpha:?}"), "PairKeys(…)");
    }

    #[test]
    fn names_that_run_together_are_told_apart() {
        assert_ne!(keys(&[7; 32], "a", "bc").slot_proof, keys(&[7; 32], "ab", "c").slot_proof);
    }

    /// RFC 5869, A.1: the same construction with its salt and info.
    #[test]
    fn hkdf_as_in_its_test_vector() {
        let salt = hex::decode("000102030405060708090a0b0c").expect("hexadecimal");
        let extracted = sign(&salt, &[&[0x0b; 22]]);
        assert_eq!(hex::encode(extracted), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").expect("hexadecimal");
        let expanded = sign(&extracted, &[&info, &[1]]);
        assert_eq!(hex::encode(expanded), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    }
}
