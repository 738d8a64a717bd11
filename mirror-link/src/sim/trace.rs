//! What happened, as a fingerprint always and as text on demand.

use super::Time;
use super::rng::mix;

#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn new(text: bool) -> Trace {
        Trace { hash: 0, lines: text.then(Vec::new) }
    }

    /// `words` go into the fingerprint; the text is made only where somebody will read it.
    pub fn note(&mut self, now: Time, words: &[u64], text: impl FnOnce() -> String) {
        self.hash = words.iter().fold(mix(self.hash ^ now), |hash, word| mix(hash ^ word));
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.3} ms  {}", now as f64 / 1000.0, text()));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
