//! What a volume is known by before anybody has said.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::config::{PairSecret, VolumeMirror, VolumeName};
use crate::lu::persist::Identity;

/// The same on both nodes of a pair, without asking: hosts must see one disk behind two paths from the first moment on,
/// though only one node be up. From the pair's secret, not its nodes' names: another pair somewhere has an `alpha`, a
/// `beta` and a `db` too, and two disks of one identity are soon one disk with two contents. It tells nothing of the secret.
pub fn of_pair(secret: &PairSecret, mirror: &VolumeMirror, volume: &VolumeName) -> Identity {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&secret.0).expect("HMAC takes keys of any length");
    for part in [LABEL, mirror.group.as_bytes(), volume.as_bytes()] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&mac.finalize().into_bytes()[..16]);
    Identity { uuid: Uuid::new_v8(bytes) }
}

/// What else is derived from the secret has other labels.
const LABEL: &[u8] = b"lunmirror identity of a mirrored volume";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::config::Role;

    #[test]
    fn the_pair_agrees_and_nobody_else_does() {
        let of = |secret: &[u8], peer: &str, role, group: &str, volume: &str| {
            let mirror = VolumeMirror::new(peer.into(), group.into(), role);
            of_pair(&PairSecret(secret.into()), &mirror, &volume.into())
        };
        let ours = of(&[1; 32], "beta", Role::Primary, "db", "db");
        assert_eq!(ours, of(&[1; 32], "alpha", Role::Secondary, "db", "db"), "as the peer sees it");
        let others = [
            of(&[2; 32], "beta", Role::Primary, "db", "db"),
            of(&[1; 32], "beta", Role::Primary, "db", "log"),
            of(&[1; 32], "beta", Role::Primary, "d", "bdb"),
        ];
        assert!(others.iter().all(|other| other.serial() != ours.serial() && other.naa() != ours.naa()));
    }
}
