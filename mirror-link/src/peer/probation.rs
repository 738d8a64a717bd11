//! The patent's probationary interval: heartbeats must come unbroken for a while before the connections are made again.
//! A link that dies again and again waits longer each time; one that lives long is forgiven.

use std::time::{Duration, Instant};

use crate::config::Heartbeat;

#[derive(Debug)]
pub struct Probation {
    rules: Heartbeat,
    /// What the run of heartbeats must last. None at the first start and after a farewell: one heartbeat is enough.
    required: Duration,
    run: Option<Run>,
    /// Deaths of the link, one soon after the other.
    streak: u32,
    flaps: u64,
    up_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    started: Instant,
    last: Instant,
}

impl Probation {
    pub fn new(rules: Heartbeat) -> Probation {
        Probation { rules, required: Duration::ZERO, run: None, streak: 0, flaps: 0, up_since: None }
    }

    /// A heartbeat came. True where it begins a run.
    pub fn heartbeat(&mut self, now: Instant) -> bool {
        let unbroken = self.is_unbroken(now);
        match &mut self.run {
            Some(run) if unbroken => run.last = now,
            _ => self.run = Some(Run { started: now, last: now }),
        }
        !unbroken
    }

    /// The connections are made.
    pub fn up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// The link died while it was up.
    pub fn flapped(&mut self, now: Instant) {
        if self.is_forgiven(now) {
            self.streak = 0;
        }
        self.required = self.length();
        self.streak = self.streak.saturating_add(1);
        self.flaps += 1;
        self.up_since = None;
        self.run = None;
    }

    /// The session ended in good order: nothing is wrong with the link.
    pub fn farewell(&mut self) {
        self.required = Duration::ZERO;
        self.up_since = None;
    }

    /// Have heartbeats come for long enough?
    pub fn is_passed(&self, now: Instant) -> bool {
        self.passes_at(now).is_some_and(|at| at <= now)
    }

    /// When it is passed if no heartbeat fails; `None`: no run is under way.
    pub fn passes_at(&self, now: Instant) -> Option<Instant> {
        let run = self.run.filter(|_| self.is_unbroken(now))?;
        Some(run.started + self.required)
    }

    /// Of the probation under way.
    pub fn required(&self) -> Duration {
        self.required
    }

    /// Of the next one, if the link died now.
    pub fn next(&self, now: Instant) -> Duration {
        if self.is_forgiven(now) { self.rules.probation.min(self.rules.probation_max) } else { self.length() }
    }

    pub fn flaps(&self) -> u64 {
        self.flaps
    }

    fn length(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.streak);
        self.rules.probation.saturating_mul(doubled).min(self.rules.probation_max)
    }

    fn is_forgiven(&self, now: Instant) -> bool {
        let healthy = self.rules.probation_max.saturating_mul(FORGIVEN_AFTER);
        self.up_since.is_some_and(|since| now.duration_since(since) >= healthy)
    }

    fn is_unbroken(&self, now: Instant) -> bool {
        self.run.is_some_and(|run| now.duration_since(run.last) <= self.rules.interval.mul_f32(INTERVALS_MAX))
    }
}

/// Between two heartbeats of an unbroken run: one may be lost, and the next may be late.
const INTERVALS_MAX: f32 = 2.5;

/// So many of the longest probation in health, and former deaths of the link no longer count.
const FORGIVEN_AFTER: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::tests::world::HEARTBEAT;

    const RULES: Heartbeat = Heartbeat { probation_max: Duration::from_secs(20), ..HEARTBEAT };

    /// Heartbeats every interval for `lasting`; where it ends.
    fn beat(probation: &mut Probation, from: Instant, lasting: Duration) -> Instant {
        let mut now = from;
        while now <= from + lasting {
            probation.heartbeat(now);
            now += RULES.interval;
        }
        now - RULES.interval
    }

    #[test]
    fn at_the_first_start_one_heartbeat_is_enough() {
        let now = Instant::now();
        let mut probation = Probation::new(RULES);
        assert!(!probation.is_passed(now));
        assert!(probation.heartbeat(now));
        assert!(probation.is_passed(now));
    }

    #[test]
    fn after_a_flap_heartbeats_must_come_unbroken() {
        let start = Instant::now();
        let mut probation = Probation::new(RULES);
        probation.flapped(start);
        let now = beat(&mut probation, start, Duration::from_millis(2500));
        assert!(!probation.is_passed(now));
        let now = beat(&mut probation, now, Duration::from_millis(500));
        assert!(probation.is_passed(now));
    }

    #[test]
    fn a_gap_starts_the_run_anew() {
        let rows = [(Duration::from_millis(1250), false), (Duration::from_millis(1251), true)];
        for (gap, anew) in rows {
            let start = Instant::now();
            let mut probation = Probation::new(RULES);
            probation.flapped(start);
            let now = beat(&mut probation, start, Duration::from_secs(2)) + gap;
            assert_eq!(probation.heartbeat(now), anew, "{gap:?}");
            let passes = if anew { now + RULES.probation } else { start + RULES.probation };
            assert_eq!(probation.passes_at(now), Some(passes), "{gap:?}");
        }
    }

    #[test]
    fn silence_ends_a_run_that_had_passed() {
        let start = Instant::now();
        let mut probation = Probation::new(RULES);
        probation.heartbeat(start);
        assert!(!probation.is_passed(start + Duration::from_secs(2)));
    }

    #[test]
    fn each_flap_doubles_it_up_to_the_cap() {
        let mut probation = Probation::new(RULES);
        let mut now = Instant::now();
        for expected in [3, 6, 12, 20, 20] {
            assert_eq!(probation.next(now), Duration::from_secs(expected));
            probation.flapped(now);
            assert_eq!(probation.required(), Duration::from_secs(expected));
            let required = probation.required();
            now = beat(&mut probation, now, required);
            assert!(probation.is_passed(now));
            probation.up(now);
        }
        assert_eq!(probation.flaps(), 5);
    }

    #[test]
    fn a_long_healthy_time_forgives() {
        for (healthy, expected) in [(39, 12), (40, 3)] {
            let mut probation = Probation::new(RULES);
            let now = Instant::now();
            probation.flapped(now);
            probation.flapped(now);
            probation.up(now);
            let later = now + Duration::from_secs(healthy);
            assert_eq!(probation.next(later), Duration::from_secs(expected), "{healthy} s");
            probation.flapped(later);
            assert_eq!(probation.required(), Duration::from_secs(expected), "{healthy} s");
        }
    }

    #[test]
    fn a_farewell_asks_for_no_probation() {
        let now = Instant::now();
        let mut probation = Probation::new(RULES);
        probation.flapped(now);
        probation.farewell();
        probation.heartbeat(now);
        assert!(probation.is_passed(now));
    }

    #[test]
    fn thousands_of_flaps_do_not_overflow() {
        let now = Instant::now();
        let mut probation = Probation::new(RULES);
        (0..5000).for_each(|_| probation.flapped(now));
        assert_eq!(probation.required(), RULES.probation_max);
    }
}
