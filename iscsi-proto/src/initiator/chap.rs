//! The initiator's half of CHAP (RFC 1994, RFC 7143 §12.1.3), written apart from the target's so that each checks the other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;

/// Credentials an initiator presents, and those it asks of the target.
#[derive(Clone, Debug)]
pub struct Chap {
    pub name: String,
    pub secret: Vec<u8>,
    /// CHAP_A, most wanted first.
    pub algorithms: Vec<ChapAlgorithm>,
    pub encoding: BinaryEncoding,
    /// Mutual CHAP.
    pub target: Option<TargetChap>,
}

/// The challenge to the target. Randomness is the caller's.
#[derive(Clone, Debug)]
pub struct TargetChap {
    /// The CHAP_N expected; `None` takes any.
    pub name: Option<String>,
    pub secret: Vec<u8>,
    pub identifier: u8,
    pub challenge: Vec<u8>,
}

/// A value of CHAP_A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChapAlgorithm {
    Md5 = 5,
    Sha1 = 6,
    Sha256 = 7,
    Sha3_256 = 8,
}

/// Both forms of a binary value are allowed (RFC 7143 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryEncoding {
    Hexadecimal,
    Base64,
}

impl Chap {
    pub fn new(name: &str, secret: &str) -> Chap {
        Chap {
            name: name.into(),
            secret: secret.into(),
            algorithms: vec![ChapAlgorithm::Md5],
            encoding: BinaryEncoding::Hexadecimal,
            target: None,
        }
    }
}

impl ChapAlgorithm {
    pub fn from_number(text: &str) -> Option<ChapAlgorithm> {
        [ChapAlgorithm::Md5, ChapAlgorithm::Sha1, ChapAlgorithm::Sha256, ChapAlgorithm::Sha3_256]
            .into_iter()
            .find(|algorithm| algorithm.number().to_string() == text)
    }

    pub fn number(self) -> u8 {
        self as u8
    }

    /// The response to a challenge: the hash of identifier, secret and challenge (RFC 1994 §4.1).
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        fn hash<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
            parts.into_iter().fold(D::new(), |hash, part| hash.chain_update(part)).finalize().to_vec()
        }
        let parts = [&[identifier][..], secret, challenge];
        match self {
            ChapAlgorithm::Md5 => hash::<Md5>(parts),
            ChapAlgorithm::Sha1 => hash::<Sha1>(parts),
            ChapAlgorithm::Sha256 => hash::<Sha256>(parts),
            ChapAlgorithm::Sha3_256 => hash::<Sha3_256>(parts),
        }
    }
}

impl BinaryEncoding {
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            BinaryEncoding::Hexadecimal => format!("0x{}", hex::encode(bytes)),
            BinaryEncoding::Base64 => format!("0b{}", STANDARD.encode(bytes)),
        }
    }
}

/// Reads either form.
pub fn decode_binary(text: &str) -> Option<Vec<u8>> {
    let (prefix, digits) = text.split_at_checked(2)?;
    match prefix {
        "0x" | "0X" => hex::decode(digits).ok(),
        "0b" | "0B" => STANDARD.decode(digits).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_have_known_values() {
        // Made with coreutils: printf '\1secretchallenge' | md5sum, and so on.
        let response = |algorithm: ChapAlgorithm| hex::encode(algorithm.response(1, b"secret", b"challenge"));
        assert_eq!(response(ChapAlgorithm::Md5), MD5);
        assert_eq!(response(ChapAlgorithm::Sha1), SHA1);
        assert_eq!(response(ChapAlgorithm::Sha256), SHA256);
        assert_eq!(response(ChapAlgorithm::Sha3_256), SHA3_256);
    }

    #[test]
    fn binary_values_come_in_two_forms() {
        for encoding in [BinaryEncoding::Hexadecimal, BinaryEncoding::Base64] {
            assert_eq!(decode_binary(&encoding.encode(&[0, 1, 0xfe])), Some(vec![0, 1, 0xfe]));
        }
        assert_eq!(decode_binary("0xabc"), None);
        assert_eq!(decode_binary("12"), None);
        assert_eq!(decode_binary("ä"), None);
    }

    const MD5: &str = "46e47770030e2b4e26a0db72a7efec00";
    const SHA1: &str = "011f25d29fe1baaced569c0d7e4878e40ddb7d7e";
    const SHA256: &str = "2dfa0526f4764864b7c3c5bc6596bcead3d8dbd984f4fc1d9f330299f0beced4";
    const SHA3_256: &str = "9444877c4dff778ed2add0f102dcd561e11944e7e948ee1b89508451a9e680ad";
}
