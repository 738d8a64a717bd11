//! How fast a resync goes beside hosts: as fast as leaves their latency what it was, or the goal that was set. Pure.
//!
//! ```text
//!   answers while nothing of the resync is under way ─► `alone`  ─► p99 ─► the goal
//!   answers while something is                       ─► `beside` ─► more than 1 % above the goal? ─► half the window, or one more
//! ```

use std::time::{Duration, Instant};

/// Of one reign.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Copies that may be under way, from their read until the peer has applied them.
    window: u32,
    alone: Latencies,
    /// Of this round.
    beside: Latencies,
    round_began: Instant,
    rounds_to_probe: u32,
    /// Until then nothing new is begun, or until so many answers were seen: so that it is known how hosts are alone.
    holds_until: Option<Instant>,
    to_see: u32,
    last_host: Option<Instant>,
}

/// What may be under way now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub copies: usize,
    /// In one copy; one piece where that is more.
    pub bytes: u64,
}

impl Pace {
    pub fn new(now: Instant) -> Pace {
        Pace {
            window: 1,
            alone: Latencies::default(),
            beside: Latencies::default(),
            round_began: now,
            rounds_to_probe: 0,
            holds_until: None,
            to_see: 0,
            last_host: None,
        }
    }

    /// A host has its answer after so long. `copies`: of the resync, under way.
    pub fn answered(&mut self, now: Instant, took: Duration, copies: usize) {
        self.last_host = Some(now);
        match copies {
            0 => {
                self.alone.add(took);
                self.to_see -= self.to_see.min(1);
                self.holds_until = self.holds_until.filter(|_| self.to_see > 0);
            }
            _ => self.beside.add(took),
        }
    }

    /// A resync begins.
    pub fn begin(&mut self, now: Instant) {
        (self.window, self.rounds_to_probe, self.holds_until) = (1, 0, None);
        self.begin_round(now);
    }

    /// To be asked whenever the resync could go on; and at `due`, if it says 0 copies. `wanted`: the goal, where one was set.
    pub fn allowed(&mut self, now: Instant, wanted: Option<Duration>) -> Allowed {
        if !self.is_beside_hosts(now) {
            self.holds_until = None;
            return Allowed { copies: COPIES_MAX as usize, bytes: COPY_BYTES };
        }
        let long = now.saturating_duration_since(self.round_began);
        if long >= ROUND_MAX || long >= ROUND && self.beside.count >= SAMPLES {
            self.end_round(now, wanted);
        }
        self.time_passes(now);
        let copies = if self.holds_until.is_some() { 0 } else { self.window as usize };
        Allowed { copies, bytes: COPY_BYTES_BESIDE_HOSTS }
    }

    /// Time has come to `due`, whoever asks then.
    pub fn time_passes(&mut self, now: Instant) {
        self.holds_until = self.holds_until.filter(|until| *until > now);
    }

    pub fn due(&self) -> Option<Instant> {
        self.holds_until
    }

    /// What hosts' latency is to stay below; `None` while that is not known.
    pub fn goal(&self, wanted: Option<Duration>) -> Option<Duration> {
        let doubled = || (self.alone.count >= SAMPLES / 2).then(|| self.alone.p99().mul_f64(STEERED).max(GOAL_MIN));
        wanted.or_else(doubled)
    }

    fn is_beside_hosts(&self, now: Instant) -> bool {
        self.last_host.is_some_and(|last| now.saturating_duration_since(last) < IDLE_AFTER)
    }

    fn end_round(&mut self, now: Instant, wanted: Option<Duration>) {
        let goal = self.goal(wanted);
        if let Some(goal) = goal
            && self.beside.count > 0
        {
            let is_late = self.beside.above(goal) * 100 > self.beside.count;
            self.window = if is_late { (self.window / 2).max(1) } else { (self.window + 1).min(COPIES_MAX) };
        }
        self.rounds_to_probe = self.rounds_to_probe.saturating_sub(1);
        if wanted.is_none() && self.rounds_to_probe == 0 {
            // What was seen before tells of hosts as they were then.
            self.alone.fade();
            self.rounds_to_probe = if goal.is_some() { ROUNDS_A_PROBE } else { 1 };
            (self.holds_until, self.to_see) = (Some(now + PROBE_MAX), SAMPLES);
        }
        self.begin_round(now);
    }

    fn begin_round(&mut self, now: Instant) {
        self.beside = Latencies::default();
        self.round_began = now;
    }
}

/// How many took how long: sixteen buckets an octave of microseconds, so to within a sixteenth.
#[derive(Clone, Debug)]
struct Latencies {
    buckets: [u32; BUCKETS],
    count: u32,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { buckets: [0; BUCKETS], count: 0 }
    }
}

impl Latencies {
    fn add(&mut self, took: Duration) {
        if self.count >= COUNT_MAX {
            self.fade();
        }
        self.buckets[bucket(took)] += 1;
        self.count += 1;
    }

    /// Half of what is known; so the newer counts for more.
    fn fade(&mut self) {
        self.buckets.iter_mut().for_each(|bucket| *bucket /= 2);
        self.count = self.buckets.iter().sum();
    }

    /// No more than one in a hundred took longer.
    fn p99(&self) -> Duration {
        let mut above = self.count / 100;
        for (index, &bucket) in self.buckets.iter().enumerate().rev() {
            if bucket > above {
                return upper(index);
            }
            above -= bucket;
        }
        Duration::ZERO
    }

    /// How many took longer, by whole buckets.
    fn above(&self, limit: Duration) -> u32 {
        self.buckets[bucket(limit) + 1..].iter().sum()
    }
}

fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 40);
    let octave = us.ilog2();
    let part = (us << 4 >> octave) & 15;
    ((16 * octave) as usize + part as usize).min(BUCKETS - 2)
}

/// What a bucket ends with.
fn upper(index: usize) -> Duration {
    let (octave, part) = (index as u32 / 16, index as u64 % 16);
    Duration::from_micros(((1u64 << octave) * (17 + part)).div_ceil(16))
}

/// 27 octaves are two minutes; the last bucket has what takes longer still.
const BUCKETS: usize = 16 * 27 + 1;
const COUNT_MAX: u32 = 1 << 14;
/// Fewer tell nothing of one in a hundred; more do not come in time where hosts are slow.
const SAMPLES: u32 = 64;
const ROUND: Duration = Duration::from_millis(100);
/// Where hosts are so slow that few answers come.
const ROUND_MAX: Duration = Duration::from_secs(1);
const ROUNDS_A_PROBE: u32 = 10;
const PROBE_MAX: Duration = Duration::from_millis(500);
/// Without an answer for so long, nobody is there to be disturbed.
const IDLE_AFTER: Duration = Duration::from_millis(500);
/// Twice the p99 is what hosts are to see in the end; the search for the window swings about what it steers by.
const STEERED: f64 = 1.6;
/// Nobody notices less.
const GOAL_MIN: Duration = Duration::from_micros(200);
/// 8 MiB: fills a line of 1 GB/s and 8 ms.
const COPIES_MAX: u32 = 32;
const COPY_BYTES: u64 = 256 << 10;
/// A host's write waits behind at most this on each socket and device.
const COPY_BYTES_BESIDE_HOSTS: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Hosts whose every answer takes `base`, and as much again for each `copies_that_double` copies under way; for so long.
    fn play(
        pace: &mut Pace,
        wanted: Option<Duration>,
        now: &mut Instant,
        hosts: (Duration, u32),
        seconds: u64,
    ) -> (f64, u32) {
        let ((base, copies_that_double), long) = (hosts, Duration::from_secs(seconds));
        let (end, mut late, mut all, mut copies_sum) = (*now + long, 0, 0, 0);
        while *now < end {
            let copies = pace.allowed(*now, wanted).copies;
            let took = base + base * copies as u32 / copies_that_double;
            *now += took;
            pace.answered(*now, took, copies);
            late += u32::from(took > 2 * base);
            all += 1;
            copies_sum += copies as u32;
        }
        (f64::from(late) / f64::from(all), copies_sum / all)
    }

    #[test]
    fn the_window_grows_until_hosts_would_notice() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.answered(now, MS, 0);
        play(&mut pace, None, &mut now, (MS, 8), 10);
        let (late, copies) = play(&mut pace, None, &mut now, (MS, 8), 60);
        assert!(late < 0.01, "{late}");
        assert!((3..=8).contains(&copies), "{copies}");
        // One that hosts do not notice at all goes at full width.
        let (_, copies) = play(&mut pace, None, &mut now, (MS, 1000), 60);
        assert!(copies >= 25, "{copies}");
    }

    #[test]
    fn hosts_that_are_slower_by_themselves_are_not_a_reason_to_go_slower() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.answered(now, MS, 0);
        play(&mut pace, None, &mut now, (MS, 16), 20);
        play(&mut pace, None, &mut now, (5 * MS, 16), 20);
        let (late, copies) = play(&mut pace, None, &mut now, (5 * MS, 16), 60);
        assert!(late < 0.01 && copies >= 5, "{late} {copies}");
    }

    #[test]
    fn a_goal_that_is_set_is_kept_without_probes() {
        let wanted = Some(3 * MS);
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.answered(now, MS, 0);
        play(&mut pace, wanted, &mut now, (MS, 4), 10);
        let (_, copies) = play(&mut pace, wanted, &mut now, (MS, 4), 60);
        assert!((4..=8).contains(&copies), "{copies}");
        assert_eq!((pace.due(), pace.goal(wanted)), (None, wanted));
    }

    #[test]
    fn however_slow_hosts_are_something_is_copied() {
        let wanted = Some(MS);
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.answered(now, MS, 0);
        let (_, copies) = play(&mut pace, wanted, &mut now, (50 * MS, 1), 60);
        assert_eq!(copies, 1);
    }

    #[test]
    fn alone_it_goes_at_full_width() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.allowed(now, None), Allowed { copies: COPIES_MAX as usize, bytes: COPY_BYTES });
        pace.answered(now, MS, 0);
        assert_eq!(pace.allowed(now, None), Allowed { copies: 1, bytes: COPY_BYTES_BESIDE_HOSTS });
        assert_eq!(pace.allowed(now + IDLE_AFTER, None).copies, COPIES_MAX as usize);
    }

    #[test]
    fn a_bucket_holds_what_its_end_says() {
        for us in [1, 2, 3, 4, 5, 7, 8, 1000, 1023, 1024, 65_537, 100_000_000] {
            let took = Duration::from_micros(us);
            let end = upper(bucket(took));
            assert!(end >= took && end <= took * 2, "{took:?} {end:?}");
        }
        let mut latencies = Latencies::default();
        (0..1000).for_each(|us| latencies.add(Duration::from_micros(us)));
        assert!((990..1060).contains(&latencies.p99().as_micros()), "{:?}", latencies.p99());
        assert_eq!(latencies.above(latencies.p99()), 0);
    }
}
