//! What the log says of a device that fails: every trouble begins with a line, and none fills the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::scsi::sense::{Sense, SenseKey};

/// Between two lines about one unit: a device that fails does so with every command.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Complaints(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    at: Option<Instant>,
    untold: u64,
}

impl Complaints {
    /// Commands that failed since the last line, this one with them, where it is time for a line.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock();
        last.untold += 1;
        if last.at.is_some_and(|at| now.duration_since(at) < PAUSE) {
            return None;
        }
        last.at = Some(now);
        Some(std::mem::take(&mut last.untold))
    }

    pub fn hear(&self, unit: &str, sense: &Sense) {
        let what = match (sense.key, sense.asc.code, sense.asc.qualifier) {
            (SenseKey::DataProtect, 0x27, 0x07) => "there is no space left for it; make room where it is stored",
            (SenseKey::MediumError, 0x0C | 0x11, _) => "its store has blocks that can't be read or written",
            (SenseKey::HardwareError, ..) => "its store fails",
            _ => return,
        };
        if let Some(commands) = self.due(Instant::now()) {
            tracing::error!(lu = unit, asc = ?sense.asc, commands, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_pause_and_none_forgotten() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.due(start), Some(1));
        assert_eq!(complaints.due(start), None);
        assert_eq!(complaints.due(start + PAUSE / 2), None);
        assert_eq!(complaints.due(start + PAUSE), Some(3));
        assert_eq!(complaints.due(start + PAUSE), None);
    }
}
