//! A setting that is one of a few words.

use super::document::did_you_mean;
use super::fault::{Findings, Place};

/// `None` where it is none of them, which is a fault.
pub fn choice<T: Copy>(
    written: &str,
    kind: &str,
    known: &[(&str, T)],
    place: &Place,
    findings: &mut Findings,
) -> Option<T> {
    let found = known.iter().find(|(word, _)| *word == written).map(|(_, value)| *value);
    if found.is_none() {
        let words = || known.iter().map(|(word, _)| *word);
        let remedy = match did_you_mean(written, words()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write {}", words().collect::<Vec<_>>().join(" or ")),
        };
        findings.fault(place, format!("there is no {kind} {written}"), remedy);
    }
    found
}
