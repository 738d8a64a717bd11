use std::time::{Duration, Instant};

/// Attempts that come to nothing wait longer each time.
#[derive(Debug)]
pub struct Retry {
    first: Duration,
    max: Duration,
    failures: u32,
    until: Option<Instant>,
}

impl Retry {
    pub fn new(first: Duration, max: Duration) -> Retry {
        Retry { first, max, failures: 0, until: None }
    }

    /// Answers how long to wait.
    pub fn failed(&mut self, now: Instant) -> Duration {
        let pause = delay(self.first, self.max, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause);
        pause
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    /// Not before this time; `None`: now.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

/// `first`, doubled with each former failure, never more than `max`.
pub fn delay(first: Duration, max: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_the_cap_and_begins_again() {
        let now = Instant::now();
        let mut retry = Retry::new(Duration::from_secs(1), Duration::from_secs(60));
        let pauses: Vec<u64> = (0..8).map(|_| retry.failed(now).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retry.waits_until(now + Duration::from_secs(59)), Some(now + Duration::from_secs(60)));
        assert_eq!(retry.waits_until(now + Duration::from_secs(60)), None);
        retry.succeeded();
        assert_eq!(retry.waits_until(now), None);
        assert_eq!(retry.failed(now), Duration::from_secs(1));
        assert_eq!(delay(Duration::from_millis(100), Duration::from_secs(5), u32::MAX), Duration::from_secs(5));
    }
}
