//! CHAP (RFC 1994, RFC 7143 §12.1.3), the target's end. The challenge is an argument; comparison takes constant time.

use super::error::{LoginError, Refusal};
use crate::text::Pair;
use crate::text::value::{self, BadBinary};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;
use std::fmt;
use subtle::ConstantTimeEq;

/// CHAP_A: IANA's "PPP Authentication Algorithms".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Md5 = 5,
    Sha1 = 6,
    Sha256 = 7,
    Sha3_256 = 8,
}

/// Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// CHAP_N and the secret that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub user: String,
    pub secret: Secret,
}

/// What an initiator has to prove, and how we prove ourselves when it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapRequirement {
    /// Any one of them.
    pub users: Vec<Credential>,
    pub mutual: Option<Credential>,
    /// Allowed. Which of them is used the initiator decides: "the target MUST reply with the first option in the list
    /// it supports and is allowed to use for the specific initiator" (RFC 7143 §6.3.2).
    pub algorithms: Vec<Algorithm>,
}

/// Random bytes from the shell: "Each challenge value SHOULD be unique" and unpredictable (RFC 1994 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub identifier: u8,
    pub octets: [u8; CHALLENGE_BYTES],
}

/// What the initiator sent: CHAP_N and CHAP_R, and CHAP_I and CHAP_C "if it requires target authentication".
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    pub name: &'a str,
    pub response: &'a str,
    pub counter_challenge: Option<(&'a str, &'a str)>,
}

/// Bytes. As long as the longest digest; shorter digests get as many bytes as they are long themselves.
pub const CHALLENGE_BYTES: usize = 32;

/// "Their binary length … MUST NOT exceed 1024 bytes" (RFC 7143 §12.1.3).
pub const BINARY_BYTES_MAX: usize = 1024;

impl Algorithm {
    pub const ALL: [Algorithm; 4] = [Algorithm::Sha3_256, Algorithm::Sha256, Algorithm::Sha1, Algorithm::Md5];

    pub const fn digest_bytes(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 | Algorithm::Sha3_256 => 32,
        }
    }

    /// The first of a CHAP_A list that is allowed.
    pub fn choose(list: &str, allowed: &[Algorithm]) -> Option<Algorithm> {
        let known =
            |value| allowed.iter().copied().find(|algorithm| value::numerical(value) == Some(*algorithm as u64));
        value::list(list).find_map(known)
    }

    /// "The Response Value is the one-way hash calculated over a stream of octets consisting of the Identifier,
    /// followed by (concatenated with) the "secret", followed by (concatenated with) the Challenge Value" (RFC 1994
    /// §4.1).
    pub fn response(self, identifier: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
        let parts = [&[identifier][..], &secret.0, challenge];
        match self {
            Algorithm::Md5 => hash::<Md5>(parts),
            Algorithm::Sha1 => hash::<Sha1>(parts),
            Algorithm::Sha256 => hash::<Sha256>(parts),
            Algorithm::Sha3_256 => hash::<Sha3_256>(parts),
        }
    }
}

impl Challenge {
    /// CHAP_C.
    pub fn value(&self, algorithm: Algorithm) -> &[u8] {
        &self.octets[..algorithm.digest_bytes()]
    }

    pub fn pairs(&self, algorithm: Algorithm) -> Vec<Pair> {
        vec![
            Pair::new("CHAP_A", (algorithm as u8).to_string()),
            Pair::new("CHAP_I", self.identifier.to_string()),
            Pair::new("CHAP_C", value::encode_binary(self.value(algorithm))),
        ]
    }
}

impl ChapRequirement {
    /// The name that the initiator proved to be, and our own proof if it asked for one.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        challenge: &Challenge,
        proof: Proof<'_>,
    ) -> Result<(String, Vec<Pair>), Refusal> {
        let response = binary("CHAP_R", proof.response)?;
        let credential = self.users.iter().find(|credential| credential.user == proof.name);
        // An unknown name costs as much time as a known one.
        let nobody = Secret(Vec::new());
        let secret = credential.map_or(&nobody, |credential| &credential.secret);
        let ours = challenge.value(algorithm);
        let expected = algorithm.response(challenge.identifier, secret, ours);
        let right = response.len() == expected.len() && bool::from(response.ct_eq(&expected));
        let user = match credential {
            Some(credential) if right => credential.user.clone(),
            Some(_) if response.len() != expected.len() => {
                return Err(failure(format!(
                    "CHAP_R of user {:?} has {} bytes, algorithm {} makes {}",
                    proof.name,
                    response.len(),
                    algorithm as u8,
                    expected.len()
                )));
            }
            Some(_) => return Err(failure(format!("CHAP_R of user {:?} does not fit its secret", proof.name))),
            None => return Err(failure(format!("no CHAP user {:?} is configured here", proof.name))),
        };
        // "If the CHAP response received by one end of an iSCSI connection is the same as the CHAP response that the
        // receiving endpoint would have generated for the same CHAP challenge, the response MUST be treated as an
        // authentication failure" (RFC 7143 §9.2.1).
        if let Some(mutual) = &self.mutual
            && bool::from(algorithm.response(challenge.identifier, &mutual.secret, ours).ct_eq(&response))
        {
            return Err(failure(format!("user {user:?} has the secret that this target proves itself with")));
        }
        match proof.counter_challenge {
            None => Ok((user, Vec::new())),
            Some((identifier, theirs)) => Ok((user, self.prove(algorithm, ours, identifier, theirs)?)),
        }
    }

    /// "The target MUST either answer with a Login reject with "Authentication Failure" or reply with: CHAP_N=<N>
    /// CHAP_R=<R>".
    fn prove(&self, algorithm: Algorithm, ours: &[u8], identifier: &str, theirs: &str) -> Result<Vec<Pair>, Refusal> {
        let identifier = value::numerical(identifier).and_then(|number| u8::try_from(number).ok());
        let identifier = identifier
            .ok_or_else(|| Refusal::new(LoginError::InitiatorError, "CHAP_I is not a number from 0 to 255"))?;
        let theirs = binary("CHAP_C", theirs)?;
        // "Originators MUST NOT reuse the CHAP challenge sent by the responder for the other direction of a
        // bidirectional authentication.  Responders MUST check for this condition and close the iSCSI TCP connection"
        // (§9.2.1).
        if theirs == ours {
            return Err(failure("the initiator sent our own CHAP challenge back"));
        }
        let Some(mutual) = &self.mutual else {
            return Err(failure(
                "the initiator wants this target to authenticate itself, and no mutual secret is configured",
            ));
        };
        let response = algorithm.response(identifier, &mutual.secret, &theirs);
        Ok(vec![Pair::new("CHAP_N", mutual.user.as_str()), Pair::new("CHAP_R", value::encode_binary(&response))])
    }
}

impl Secret {
    pub fn new(secret: impl Into<Vec<u8>>) -> Secret {
        Secret(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn hash<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
    parts.into_iter().fold(D::new(), |hasher, part| hasher.chain_update(part)).finalize().to_vec()
}

/// Values "not according to the step definition" are an initiator error; "cryptographically incorrect values such as
/// the CHAP response" an authentication failure (RFC 7143 §9.2).
fn binary(key: &str, value: &str) -> Result<Vec<u8>, Refusal> {
    value::binary(value, BINARY_BYTES_MAX).map_err(|bad| {
        let why = match bad {
            BadBinary::Malformed => format!("{key} is {bad}"),
            BadBinary::TooLong => format!("{key} is longer than {BINARY_BYTES_MAX} bytes"),
        };
        Refusal::new(LoginError::InitiatorError, why)
    })
}

fn failure(rule: impl Into<String>) -> Refusal {
    Refusal::new(LoginError::AuthenticationFailure, rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = Challenge { identifier: 1, octets: *b"0123456789abcdef0123456789abcdef" };

    fn requirement() -> ChapRequirement {
        let credential = |user: &str, secret: &str| Credential { user: user.into(), secret: Secret::new(secret) };
        ChapRequirement {
            users: vec![credential("host", "twelve bytes"), credential("0xhost", "another one!")],
            mutual: Some(credential("target", "quite different")),
            algorithms: Algorithm::ALL.to_vec(),
        }
    }

    fn verify(name: &str, response: &str, counter: Option<(&str, &str)>) -> Result<(String, Vec<Pair>), LoginError> {
        let proof = Proof { name, response, counter_challenge: counter };
        requirement().verify(Algorithm::Md5, &CHALLENGE, proof).map_err(|refusal| refusal.error)
    }

    fn right(secret: &str) -> String {
        value::encode_binary(&Algorithm::Md5.response(1, &Secret::new(secret), CHALLENGE.value(Algorithm::Md5)))
    }

    /// Of the octets 01 "secret" "challenge", by other implementations of the hashes.
    #[test]
    fn golden_responses() {
        for (algorithm, expected) in [
            (Algorithm::Md5, "46e47770030e2b4e26a0db72a7efec00"),
            (Algorithm::Sha1, "011f25d29fe1baaced569c0d7e4878e40ddb7d7e"),
            (Algorithm::Sha256, "2dfa0526f4764864b7c3c5bc6596bcead3d8dbd984f4fc1d9f330299f0beced4"),
            (Algorithm::Sha3_256, "9444877c4dff778ed2add0f102dcd561e11944e7e948ee1b89508451a9e680ad"),
        ] {
            let response = algorithm.response(1, &Secret::new("secret"), b"challenge");
            assert_eq!(hex::encode(&response), expected, "{algorithm:?}");
            assert_eq!(response.len(), algorithm.digest_bytes());
        }
    }

    #[test]
    fn the_initiators_order_decides() {
        let all = Algorithm::ALL;
        assert_eq!(Algorithm::choose("5,6,7,8", &all), Some(Algorithm::Md5));
        assert_eq!(Algorithm::choose("8,5", &all), Some(Algorithm::Sha3_256));
        assert_eq!(Algorithm::choose("5,7", &[Algorithm::Sha256]), Some(Algorithm::Sha256));
        for none in ["", "56", "4", "5 ", "MD5", "05"] {
            assert_eq!(Algorithm::choose(none, &all), None, "{none:?}");
        }
    }

    #[test]
    fn right_and_wrong_responses() {
        assert_eq!(verify("host", &right("twelve bytes"), None), Ok(("host".into(), vec![])));
        assert_eq!(verify("0xhost", &right("another one!"), None), Ok(("0xhost".into(), vec![])), "a name is text");
        assert_eq!(verify("host", &right("another one!"), None), Err(LoginError::AuthenticationFailure));
        assert_eq!(verify("nobody", &right(""), None), Err(LoginError::AuthenticationFailure));
        let longer = format!("{}00", right("twelve bytes"));
        assert_eq!(verify("host", &longer, None), Err(LoginError::AuthenticationFailure));
        assert_eq!(verify("host", "0x", None), Err(LoginError::InitiatorError));
        assert_eq!(verify("host", &format!("0x{}", "00".repeat(1025)), None), Err(LoginError::InitiatorError));
    }

    #[test]
    fn mutual_authentication() {
        let (_, proof) = verify("host", &right("twelve bytes"), Some(("7", "0x0a0b"))).expect("right");
        let expected = Algorithm::Md5.response(7, &Secret::new("quite different"), &[0x0a, 0x0b]);
        assert_eq!(proof, [Pair::new("CHAP_N", "target"), Pair::new("CHAP_R", value::encode_binary(&expected))]);
        let ours = value::encode_binary(CHALLENGE.value(Algorithm::Md5));
        let right = right("twelve bytes");
        assert_eq!(verify("host", &right, Some(("7", &ours))), Err(LoginError::AuthenticationFailure), "reflected");
        assert_eq!(verify("host", &right, Some(("256", "0x0a"))), Err(LoginError::InitiatorError));
        assert_eq!(verify("host", &right, Some(("7", "ten"))), Err(LoginError::InitiatorError));
    }

    #[test]
    fn one_secret_for_both_directions_is_refused() {
        let mut requirement = requirement();
        requirement.mutual = Some(Credential { user: "target".into(), secret: Secret::new("twelve bytes") });
        let proof = Proof { name: "host", response: &right("twelve bytes"), counter_challenge: None };
        let refusal = requirement.verify(Algorithm::Md5, &CHALLENGE, proof).expect_err("the same secret");
        assert_eq!(refusal.error, LoginError::AuthenticationFailure);
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", requirement()).contains("twelve"));
    }
}
