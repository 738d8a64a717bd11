//! CHAP secrets: read, measured, and never the same in both directions.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use target_core::target::config::{Auth, ChapAlgorithm, ChapCredentials, Secret};

use super::document::did_you_mean;
use super::fault::{Findings, Place};
use super::raw::{RawAuth, RawCredentials};

/// Which way a secret proves an identity. RFC 7143 §9.2.1 treats them differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToUs,
    FromUs,
}

/// `None` where it is faulty.
pub fn auth(raw: RawAuth, place: &Place, base: &Path, findings: &mut Findings) -> Option<Auth> {
    let chap_place = place.at("chap");
    let mut users: Vec<ChapCredentials> = Vec::new();
    let Some(chap) = raw.chap else {
        findings.missing(&chap_place, "is missing", "write chap: {user: …, secret_file: …}, or remove auth");
        return None;
    };
    for (place, raw) in chap.listed(&chap_place) {
        let Some(raw) = raw else {
            findings.missing(&place, "is empty", "write {user: …, secret_file: …}, or remove it");
            continue;
        };
        let Some(user) = credentials(raw, &place, Direction::ToUs, base, findings) else { continue };
        if users.iter().any(|other| other.name == user.name) {
            findings.fault(&place.at("user"), format!("{} is here twice", user.name), "give each user one entry");
        } else {
            users.push(user);
        }
    }
    if users.is_empty() {
        findings.missing(&chap_place, "has no user", "write chap: {user: …, secret_file: …}, or remove auth");
    }
    let mutual = match raw.mutual {
        Some(raw) => Some(credentials(raw, &place.at("mutual"), Direction::FromUs, base, findings)?),
        None => None,
    };
    let algorithms = match raw.algorithms {
        Some(listed) => algorithms(listed, &place.at("algorithms"), findings),
        None => ChapAlgorithm::ALL.to_vec(),
    };
    Some(Auth { users, mutual, algorithms })
}

/// "Any CHAP secret used for initiator authentication MUST NOT be configured for authentication of any target" (RFC 7143
/// §9.2.1), anywhere in the file; and one that several initiators share lets each pass for the others.
pub fn compare(auths: &[(Place, &Auth)], findings: &mut Findings) {
    let users = || auths.iter().flat_map(|(place, auth)| auth.users.iter().map(move |user| (place, user)));
    for (place, auth) in auths {
        let Some(mutual) = &auth.mutual else { continue };
        if let Some((other, user)) = users().find(|(_, user)| user.secret == mutual.secret) {
            findings.fault(
                &place.at("mutual"),
                format!("has the same secret as user {} in {other}.chap", user.name),
                "give each direction a secret of its own: the same one lets an initiator pass for the target",
            );
        }
    }
    for (index, (place, user)) in users().enumerate() {
        if let Some((_, other)) =
            users().take(index).find(|(_, other)| other.secret == user.secret && other.name != user.name)
        {
            findings.warn(
                &place.at("chap"),
                format!("users {} and {} have the same secret", other.name, user.name),
                "give each a secret of its own: each can pass for the other",
            );
        }
    }
}

fn credentials(
    raw: RawCredentials,
    place: &Place,
    direction: Direction,
    base: &Path,
    findings: &mut Findings,
) -> Option<ChapCredentials> {
    let name = match raw.user {
        Some(name) if name.is_empty() || name.len() > USER_LENGTH_MAX => {
            findings.fault(
                &place.at("user"),
                format!("is {} bytes long", name.len()),
                format!("use 1 to {USER_LENGTH_MAX} bytes"),
            );
            None
        }
        Some(name) => Some(name),
        None => {
            findings.missing(&place.at("user"), "is missing", "write user: …, the name that CHAP_N carries");
            None
        }
    };
    let (place, secret) = match (raw.secret, raw.secret_file) {
        (Some(_), Some(_)) => {
            findings.fault(place, "has both secret and secret_file", "keep one, preferably secret_file");
            return None;
        }
        (Some(secret), None) => (place.at("secret"), secret.into_bytes()),
        (None, Some(file)) => {
            let place = place.at("secret_file");
            let secret = read_file(&base.join(file), REMEDY_FILE, &place, findings)?;
            (place, secret)
        }
        (None, None) => {
            let who = name.as_deref().map_or("the user".to_owned(), |name| format!("user {name}"));
            findings.missing(place, format!("{who} has no secret"), "write secret_file: FILE, or secret: …");
            return None;
        }
    };
    check_length(&secret, &place, direction, findings)?;
    Some(ChapCredentials { name: name?, secret: Secret(secret) })
}

/// "A compliant implementation SHOULD NOT continue with the login step in which it should send a CHAP response […] unless
/// it can verify that the CHAP secret is at least 96 bits" (RFC 7143 §9.2.1): that is ours to answer for. A short secret
/// of an initiator is the administrator's choice, and told.
fn check_length(secret: &[u8], place: &Place, direction: Direction, findings: &mut Findings) -> Option<()> {
    let length = secret.len();
    match direction {
        _ if length == 0 || length > SECRET_LENGTH_MAX => {
            findings.fault(place, format!("is {length} bytes long"), REMEDY_LENGTH);
            None
        }
        Direction::FromUs if length < SECRET_LENGTH_SOUND => {
            findings.fault(place, format!("is {length} bytes long, too short to answer with"), REMEDY_LENGTH);
            None
        }
        Direction::ToUs if length < SECRET_LENGTH_SOUND => {
            findings.warn(place, format!("is {length} bytes long and can be guessed off-line"), REMEDY_LENGTH);
            Some(())
        }
        _ => Some(()),
    }
}

/// At most [`SECRET_FILE_BYTES_MAX`] of it, without a line end.
pub fn read_file(path: &Path, remedy: &str, place: &Place, findings: &mut Findings) -> Option<Vec<u8>> {
    let mut secret = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SECRET_FILE_BYTES_MAX).read_to_end(&mut secret));
    if let Err(error) = read {
        findings.fault(place, format!("{} cannot be read: {error}", path.display()), remedy);
        return None;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0) {
        findings.warn(
            place,
            format!("{} can be read by everybody on this host", path.display()),
            format!("chmod 600 {}", path.display()),
        );
    }
    // An editor's line end is not part of the secret.
    if secret.ends_with(b"\n") {
        secret.pop();
        if secret.ends_with(b"\r") {
            secret.pop();
        }
    }
    Some(secret)
}

fn algorithms(listed: Vec<Option<String>>, place: &Place, findings: &mut Findings) -> Vec<ChapAlgorithm> {
    if listed.is_empty() {
        findings.fault(place, "is empty", "name one, or remove it to accept all");
    }
    let mut algorithms = Vec::new();
    for (index, name) in listed.into_iter().enumerate() {
        let place = place.at(index);
        let Some(name) = name else {
            findings.missing(&place, "is empty", "remove it");
            continue;
        };
        match ALGORITHMS.iter().find(|(known, _)| *known == name) {
            Some((_, algorithm)) if algorithms.contains(algorithm) => {
                findings.fault(&place, format!("{name} is here twice"), "remove one");
            }
            Some((_, algorithm)) => algorithms.push(*algorithm),
            None => {
                let known = || ALGORITHMS.iter().map(|(name, _)| *name);
                let remedy = match did_you_mean(&name, known()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("use some of: {}", known().collect::<Vec<_>>().join(", ")),
                };
                findings.fault(&place, format!("there is no CHAP algorithm {name}"), remedy);
            }
        }
    }
    algorithms
}

const ALGORITHMS: [(&str, ChapAlgorithm); 4] = [
    ("sha3-256", ChapAlgorithm::Sha3_256),
    ("sha256", ChapAlgorithm::Sha256),
    ("sha1", ChapAlgorithm::Sha1),
    ("md5", ChapAlgorithm::Md5),
];

const REMEDY_FILE: &str = "write the secret into that file, readable to the user the target runs as (mode 0600)";

const REMEDY_LENGTH: &str =
    "use 12 to 16 random characters (Windows takes no others): head -c 12 /dev/urandom | base64";

/// Bytes: the 96 bits of RFC 7143 §9.2.1.
const SECRET_LENGTH_SOUND: usize = 12;

/// Bytes. Initiators take up to 255 at most.
const SECRET_LENGTH_MAX: usize = 255;

/// Bytes: more than the longest secret and its line end, so that a longer one is seen to be.
pub const SECRET_FILE_BYTES_MAX: u64 = 1024;

/// Bytes: "the maximum length of a simple-value (not its encoded representation) is 255 bytes" (RFC 7143 §6.1).
const USER_LENGTH_MAX: usize = 255;
