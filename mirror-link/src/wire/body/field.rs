//! Fields that bodies are made of.

use std::sync::Arc;

use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_u8, be_u64, be_u128};
use nom::{IResult, Parser};
use smallvec::{Array, SmallVec};

use crate::ids::{Generation, NAME_MAX, OwnerEpoch, WriteSeq};

/// What a body should have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::wire) struct BodyFault {
    pub expected: &'static str,
    pub got: u64,
}

impl ParseError<&[u8]> for BodyFault {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> BodyFault {
        BodyFault { expected: "more bytes in its body", got: input.len() as u64 }
    }

    fn append(_: &[u8], _: ErrorKind, first: BodyFault) -> BodyFault {
        first
    }
}

pub(in crate::wire) type Parsed<'a, T> = IResult<&'a [u8], T, BodyFault>;

pub(in crate::wire) fn fault<'a, T>(expected: &'static str, got: impl Into<u64>) -> Parsed<'a, T> {
    Err(nom::Err::Failure(BodyFault { expected, got: got.into() }))
}

/// Nothing may be left behind what `parser` takes.
pub(in crate::wire) fn whole<'a, T>(
    mut parser: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
    input: &'a [u8],
) -> Result<T, BodyFault> {
    match parser(input) {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => Err(BodyFault { expected: "no bytes behind its fields", got: rest.len() as u64 }),
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => Err(fault),
        Err(nom::Err::Incomplete(_)) => Err(BodyFault { expected: "a whole body", got: input.len() as u64 }),
    }
}

pub(in crate::wire) fn seq(input: &[u8]) -> Parsed<'_, WriteSeq> {
    let (rest, number) = be_u64.parse(input)?;
    if number > WriteSeq::MAX.0 { fault("a write's number below 2^45", number) } else { Ok((rest, WriteSeq(number))) }
}

pub(in crate::wire) fn epoch(input: &[u8]) -> Parsed<'_, OwnerEpoch> {
    let (rest, number) = be_u64.parse(input)?;
    if number > OwnerEpoch::MAX.0 { fault("an epoch below 2^45", number) } else { Ok((rest, OwnerEpoch(number))) }
}

pub(in crate::wire) fn generation(input: &[u8]) -> Parsed<'_, Generation> {
    be_u128.map(Generation).parse(input)
}

/// Bytes that a later version may give a meaning.
pub(in crate::wire) fn reserved<'a>(bytes: usize) -> impl FnMut(&'a [u8]) -> Parsed<'a, ()> {
    move |input| {
        let (rest, zeroes) = take(bytes).parse(input)?;
        match zeroes.iter().find(|&&byte| byte != 0) {
            None => Ok((rest, ())),
            Some(&byte) => fault("reserved bytes that are zero", byte),
        }
    }
}

/// A byte of flags, of which only `known` have a meaning.
pub(in crate::wire) fn flags<'a>(known: u8) -> impl FnMut(&'a [u8]) -> Parsed<'a, u8> {
    move |input| match be_u8(input)? {
        (_, flags) if flags & !known != 0 => fault("only flags that this version knows", flags),
        parsed => Ok(parsed),
    }
}

/// A name of so many bytes.
pub(in crate::wire) fn name<'a>(length: u8) -> impl FnMut(&'a [u8]) -> Parsed<'a, Arc<str>> {
    move |input| {
        if length == 0 || usize::from(length) > NAME_MAX {
            return fault("a name of 1 to 223 bytes", length);
        }
        let (rest, bytes) = take(length).parse(input)?;
        match std::str::from_utf8(bytes) {
            Ok(name) => Ok((rest, name.into())),
            Err(error) => fault("a name in UTF-8", bytes[error.valid_up_to()]),
        }
    }
}

/// A number of things that is not more than `most`.
pub(in crate::wire) fn at_most<'a, N: Into<u64> + Copy>(
    mut parser: impl Parser<&'a [u8], Output = N, Error = BodyFault>,
    most: usize,
    expected: &'static str,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, usize> {
    move |input| {
        let (rest, count) = parser.parse(input)?;
        let count: u64 = count.into();
        if count > most as u64 { fault(expected, count) } else { Ok((rest, count as usize)) }
    }
}

/// So many elements; the caller bounds `count`.
pub(in crate::wire) fn list<'a, A: Array>(
    count: usize,
    mut element: impl FnMut(&'a [u8]) -> Parsed<'a, A::Item>,
    mut input: &'a [u8],
) -> Parsed<'a, SmallVec<A>> {
    let mut elements = SmallVec::new();
    for _ in 0..count {
        let (rest, value) = element(input)?;
        elements.push(value);
        input = rest;
    }
    Ok((input, elements))
}

pub(in crate::wire) fn name_length(name: &str) -> u8 {
    assert!((1..=NAME_MAX).contains(&name.len()), "a name has 1 to {NAME_MAX} bytes: {name:?}");
    name.len() as u8
}
