//! What every frame begins with.

use std::borrow::Cow;

use nom::Parser;
use nom::error::Error;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use super::{FORM_VERSION, Kind, Part, WireError};
use crate::config::Compression;

pub(super) const HEADER_LENGTH: usize = 44;
/// "LUNM".
pub(super) const MAGIC: u32 = 0x4c55_4e4d;

/// The lengths are believed once the header's own CRC has been checked, and the kind bounds them.
///
/// ```text
///  Byte/     0       |       1       |       2       |       3       |
///   0| "LUNM"                                                        |
///   4| version = 1   | kind          | coding        | reserved = 0  |
///   8| session, or 0                                                 |
///    +                                                               +
///  12|                                                               |
///  16| group, or 0                   | reserved = 0                  |
///  20| body length                                                   |
///  24| payload length, as it follows                                 |
///  28| content length: of the payload, decompressed                  |
///  32| CRC32C of the body                                            |
///  36| CRC32C of the content                                         |
///  40| CRC32C of bytes 0 to 39                                       |
///  44/ body                                                          /
///   +/ payload                                                       /
///
///  coding: 0 none · 1 LZ4 block · 2 Zstandard frame. All numbers are big-endian, here and in every body.
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub coding: Compression,
    pub session: u64,
    pub group: u16,
    pub body_length: u32,
    pub payload_length: u32,
    pub content_length: u32,
    pub body_crc: u32,
    pub content_crc: u32,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4] = FORM_VERSION;
        bytes[5] = self.kind.0;
        bytes[6] = coding_to_wire(self.coding);
        bytes[8..16].copy_from_slice(&self.session.to_be_bytes());
        bytes[16..18].copy_from_slice(&self.group.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.body_length.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.payload_length.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.content_length.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.body_crc.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.content_crc.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Refuses what is damaged, and lengths beyond those of the kind.
    pub fn decode(bytes: &[u8; HEADER_LENGTH]) -> Result<Header, WireError> {
        let raw = RawHeader::parse(bytes);
        if raw.magic != MAGIC {
            return Err(WireError::Foreign { expected: MAGIC, got: raw.magic });
        }
        let crc = crc32c::crc32c(&bytes[..40]);
        if raw.crc != crc {
            return Err(WireError::Damaged { part: Part::Header, expected: raw.crc, got: crc });
        }
        if raw.version != FORM_VERSION {
            return Err(WireError::Version { expected: FORM_VERSION, got: raw.version });
        }
        let misbehaved = |expected: Cow<'static, str>, got: u64| {
            Err(WireError::Misbehaved { kind: raw.header.kind, expected, got: got.to_string() })
        };
        let Some(coding) = coding_from_wire(raw.coding) else {
            return misbehaved("coding 0, 1 or 2".into(), raw.coding.into());
        };
        if raw.reserved != 0 {
            return misbehaved("reserved bytes that are zero".into(), raw.reserved.into());
        }
        let header = Header { coding, ..raw.header };
        header.check_lengths()?;
        Ok(header)
    }

    /// Bytes behind the header.
    pub fn rest_length(&self) -> usize {
        self.body_length as usize + self.payload_length as usize
    }

    pub fn check_lengths(&self) -> Result<(), WireError> {
        let Some(limits) = self.kind.limits() else {
            return Err(self.misbehaved("a kind of frame that this version knows", format_args!("{}", self.kind)));
        };
        if !limits.body.contains(&self.body_length) {
            let expected = format!("a body of {} to {} bytes", limits.body.start(), limits.body.end());
            return Err(self.misbehaved(expected, format_args!("{}", self.body_length)));
        }
        if self.content_length > limits.content_max {
            let expected = format!("a payload of at most {} bytes", limits.content_max);
            return Err(self.misbehaved(expected, format_args!("{}", self.content_length)));
        }
        // Compression is used only where it shrinks.
        let agrees = match self.coding {
            Compression::None => self.payload_length == self.content_length,
            Compression::Lz4 | Compression::Zstd => self.payload_length < self.content_length,
        };
        if !agrees {
            let expected = format!("a payload that makes {} bytes", self.content_length);
            return Err(self.misbehaved(expected, format_args!("{} bytes, {:?}", self.payload_length, self.coding)));
        }
        let of_a_group = self.kind.is_of_a_group();
        if !of_a_group && (self.session != 0 || self.group != 0) {
            let got = format_args!("session {:016x}, group {}", self.session, self.group);
            return Err(self.misbehaved("neither session nor group", got));
        }
        Ok(())
    }

    pub fn misbehaved(&self, expected: impl Into<Cow<'static, str>>, got: std::fmt::Arguments) -> WireError {
        WireError::Misbehaved { kind: self.kind, expected: expected.into(), got: got.to_string() }
    }
}

struct RawHeader {
    magic: u32,
    version: u8,
    coding: u8,
    reserved: u32,
    header: Header,
    crc: u32,
}

impl RawHeader {
    fn parse(bytes: &[u8; HEADER_LENGTH]) -> RawHeader {
        type Result<'a> = nom::IResult<&'a [u8], RawHeader, Error<&'a [u8]>>;
        let parsed: Result = (
            (be_u32, be_u8, be_u8.map(Kind), be_u8, be_u8),
            (be_u64, be_u16, be_u16),
            (be_u32, be_u32, be_u32, be_u32, be_u32, be_u32),
        )
            .map(|((magic, version, kind, coding, reserved), (session, group, reserved_too), lengths)| {
                let (body_length, payload_length, content_length, body_crc, content_crc, crc) = lengths;
                let header = Header {
                    kind,
                    coding: Compression::None,
                    session,
                    group,
                    body_length,
                    payload_length,
                    content_length,
                    body_crc,
                    content_crc,
                };
                let reserved = u32::from(reserved) << 16 | u32::from(reserved_too);
                RawHeader { magic, version, coding, reserved, header, crc }
            })
            .parse(bytes);
        parsed.expect("the fields are as long as the header").1
    }
}

pub(super) fn coding_to_wire(coding: Compression) -> u8 {
    match coding {
        Compression::None => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    }
}

pub(super) fn coding_from_wire(byte: u8) -> Option<Compression> {
    match byte {
        0 => Some(Compression::None),
        1 => Some(Compression::Lz4),
        2 => Some(Compression::Zstd),
        _ => None,
    }
}
