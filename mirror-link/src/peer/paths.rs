//! The peer's addresses: which of them answers, how quickly, and which one carries the connections.
//!
//! A heartbeat of ours comes back as a number in one of the peer's, with the time that it was held there: the rest is the
//! round trip of the address that it was sent to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Heartbeat;

/// One of the peer's addresses, in the order of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathIndex(pub u8);

#[derive(Debug)]
pub struct Paths {
    rules: Heartbeat,
    paths: Vec<Path>,
    /// Our newest heartbeats, oldest first, at most [`SENT_MAX`].
    sent: VecDeque<Sent>,
    best: PathIndex,
    /// Who is faster than the best, and since when.
    challenger: Option<(PathIndex, Instant)>,
}

#[derive(Clone, Debug, Default)]
struct Path {
    round_trip: Option<Duration>,
    answered: Option<Instant>,
    /// A connection to it failed: not until then, unless there is nothing better.
    barred_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    path: PathIndex,
    at: Instant,
    returned: bool,
}

/// The connections are to go elsewhere from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: PathIndex,
    pub to: PathIndex,
    pub why: MovedBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovedBecause {
    /// The former one does not answer.
    Silent,
    /// The other's round trip has been shorter for a while.
    Faster,
}

impl Paths {
    /// `count` is 1 or more.
    pub fn new(rules: Heartbeat, count: usize) -> Paths {
        assert!((1..=usize::from(u8::MAX)).contains(&count), "a peer has an address");
        let paths = vec![Path::default(); count];
        Paths { rules, paths, sent: VecDeque::new(), best: PathIndex(0), challenger: None }
    }

    pub fn indices(&self) -> impl DoubleEndedIterator<Item = PathIndex> + use<> {
        (0..self.paths.len() as u8).map(PathIndex)
    }

    pub fn best(&self) -> PathIndex {
        self.best
    }

    /// Smoothed; `None`: nothing came back from there.
    pub fn round_trip(&self, path: PathIndex) -> Option<Duration> {
        self.path(path).round_trip
    }

    /// The heartbeat `number` goes to that address.
    pub fn sent(&mut self, number: u64, path: PathIndex, now: Instant) {
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { number, path, at: now, returned: false });
    }

    /// The peer says that it has seen our `number`, and held it for `held` since. Did it hear us within T1?
    pub fn echoed(&mut self, number: u64, held: Duration, now: Instant) -> bool {
        let Some(sent) = self.sent.iter_mut().find(|sent| sent.number == number) else { return false };
        let first = !std::mem::replace(&mut sent.returned, true);
        let sent = *sent;
        if first {
            self.answered(sent.path, now.duration_since(sent.at).saturating_sub(held), now);
        }
        now.duration_since(sent.at) < self.rules.timeout
    }

    fn answered(&mut self, path: PathIndex, sample: Duration, now: Instant) {
        let awake = self.answers(path, now);
        let path = &mut self.paths[usize::from(path.0)];
        path.round_trip = Some(match path.round_trip {
            Some(smoothed) if awake => (smoothed * (SMOOTHING - 1) + sample) / SMOOTHING,
            _ => sample,
        });
        path.answered = Some(now);
    }

    /// A connection to it could not be made.
    pub fn failed(&mut self, path: PathIndex, now: Instant) {
        self.paths[usize::from(path.0)].barred_until = Some(now + BARRED);
        if self.best == path && !self.indices().any(|other| self.is_good(other, now)) {
            self.best = PathIndex((path.0 + 1) % self.paths.len() as u8);
        }
    }

    /// A connection to it was made.
    pub fn succeeded(&mut self, path: PathIndex) {
        self.paths[usize::from(path.0)].barred_until = None;
    }

    /// Look again which is best.
    pub fn consider(&mut self, now: Instant) -> Option<Moved> {
        let fastest = self
            .indices()
            .filter(|path| self.is_good(*path, now))
            .min_by_key(|path| self.path(*path).round_trip.unwrap_or(Duration::MAX))?;
        if fastest == self.best {
            self.challenger = None;
            return None;
        }
        if !self.is_good(self.best, now) {
            return Some(self.move_to(fastest, MovedBecause::Silent));
        }
        if !self.is_clearly_faster(fastest) {
            self.challenger = None;
            return None;
        }
        let since = match self.challenger {
            Some((path, since)) if path == fastest => since,
            _ => now,
        };
        self.challenger = Some((fastest, since));
        let won = now.duration_since(since) >= self.rules.interval * CHALLENGE_INTERVALS;
        won.then(|| self.move_to(fastest, MovedBecause::Faster))
    }

    fn move_to(&mut self, to: PathIndex, why: MovedBecause) -> Moved {
        let from = std::mem::replace(&mut self.best, to);
        self.challenger = None;
        Moved { from, to, why }
    }

    fn is_clearly_faster(&self, other: PathIndex) -> bool {
        match (self.round_trip(self.best), self.round_trip(other)) {
            (Some(best), Some(other)) => other + best / 4 + MARGIN < best,
            _ => false,
        }
    }

    fn is_good(&self, path: PathIndex, now: Instant) -> bool {
        self.answers(path, now) && self.path(path).barred_until.is_none_or(|until| until <= now)
    }

    /// Half of T1, so that connections have moved before those left behind are given up.
    fn answers(&self, path: PathIndex, now: Instant) -> bool {
        let silence_max = (self.rules.timeout / 2).max(self.rules.interval * 2);
        self.path(path).answered.is_some_and(|at| now.duration_since(at) <= silence_max)
    }

    fn path(&self, path: PathIndex) -> &Path {
        &self.paths[usize::from(path.0)]
    }
}

/// Heartbeats of ours whose return is awaited: those of the last few intervals to every address.
const SENT_MAX: usize = 256;

/// Round trips are smoothed over about so many samples (RFC 6298 has the same).
const SMOOTHING: u32 = 8;

/// A faster address must be so for so many intervals,
const CHALLENGE_INTERVALS: u32 = 10;

/// and by a quarter and this, or the connections stay: moving them sends again what is under way.
const MARGIN: Duration = Duration::from_micros(200);

/// How long an address is passed over that no connection could be made to.
const BARRED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::tests::world::HEARTBEAT as RULES;

    const FIRST: PathIndex = PathIndex(0);
    const SECOND: PathIndex = PathIndex(1);

    /// Two addresses; what moved in `intervals`, when each answers after that many microseconds (0: never).
    struct Line {
        paths: Paths,
        now: Instant,
        number: u64,
    }

    impl Line {
        fn new() -> Line {
            Line { paths: Paths::new(RULES, 2), now: Instant::now(), number: 0 }
        }

        fn run(&mut self, intervals: u32, micros: [u64; 2]) -> Vec<Moved> {
            let mut moved = Vec::new();
            for _ in 0..intervals {
                for path in self.paths.indices() {
                    self.number += 1;
                    self.paths.sent(self.number, path, self.now);
                    let trip = Duration::from_micros(micros[usize::from(path.0)]);
                    if !trip.is_zero() {
                        let held = Duration::from_millis(3);
                        assert!(self.paths.echoed(self.number, held, self.now + held + trip));
                    }
                }
                self.now += RULES.interval;
                moved.extend(self.paths.consider(self.now));
            }
            moved
        }
    }

    #[test]
    fn the_round_trip_is_without_the_time_held() {
        let mut line = Line::new();
        line.run(1, [700, 0]);
        assert_eq!(line.paths.round_trip(FIRST), Some(Duration::from_micros(700)));
        assert_eq!(line.paths.round_trip(SECOND), None);
    }

    #[test]
    fn it_is_smoothed_and_follows() {
        let mut line = Line::new();
        line.run(1, [800, 0]);
        line.run(1, [1600, 0]);
        assert_eq!(line.paths.round_trip(FIRST), Some(Duration::from_micros(900)));
        line.run(40, [1600, 0]);
        assert!(line.paths.round_trip(FIRST) > Some(Duration::from_micros(1550)));
    }

    #[test]
    fn only_a_recent_number_of_ours_shows_that_we_are_heard() {
        let (mut paths, now) = (Paths::new(RULES, 1), Instant::now());
        paths.sent(7, FIRST, now);
        let later = now + Duration::from_millis(2);
        assert!(!paths.echoed(8, Duration::ZERO, later), "never sent");
        assert!(paths.echoed(7, Duration::ZERO, later));
        assert!(paths.echoed(7, Duration::ZERO, later), "told again");
        assert!(!paths.echoed(7, Duration::ZERO, now + RULES.timeout), "long ago");
    }

    #[test]
    fn a_number_is_measured_once() {
        let (mut paths, now) = (Paths::new(RULES, 1), Instant::now());
        paths.sent(7, FIRST, now);
        paths.echoed(7, Duration::ZERO, now + Duration::from_millis(2));
        paths.echoed(7, Duration::ZERO, now + Duration::from_millis(900));
        assert_eq!(paths.round_trip(FIRST), Some(Duration::from_millis(2)));
    }

    #[test]
    fn when_the_connections_move() {
        let faster = |from, to| vec![Moved { from, to, why: MovedBecause::Faster }];
        let silent = |from, to| vec![Moved { from, to, why: MovedBecause::Silent }];
        let rows = [
            ("both alike", [500, 500], [500, 500], vec![]),
            ("a little faster is not enough", [500, 500], [1000, 600], vec![]),
            ("clearly faster wins", [1000, 1000], [2000, 500], faster(FIRST, SECOND)),
            ("the best goes silent", [500, 900], [0, 900], silent(FIRST, SECOND)),
            ("the other goes silent", [500, 900], [500, 0], vec![]),
            ("both go silent", [500, 900], [0, 0], vec![]),
        ];
        for (name, before, after, expected) in rows {
            let mut line = Line::new();
            assert_eq!(line.run(20, before), vec![], "{name}");
            assert_eq!(line.run(40, after), expected, "{name}");
        }
    }

    #[test]
    fn the_first_that_answers_is_used() {
        let mut line = Line::new();
        let expected = Moved { from: FIRST, to: SECOND, why: MovedBecause::Silent };
        assert_eq!(line.run(1, [0, 900]), vec![expected]);
    }

    #[test]
    fn a_short_advantage_moves_nothing() {
        let mut line = Line::new();
        line.run(20, [1000, 1000]);
        for _ in 0..10 {
            assert_eq!(line.run(3, [3000, 300]), vec![]);
            assert_eq!(line.run(20, [1000, 1000]), vec![]);
        }
    }

    #[test]
    fn silence_moves_them_before_the_link_is_dead() {
        let mut line = Line::new();
        line.run(20, [500, 900]);
        assert_eq!(line.run(2, [0, 900]), vec![]);
        assert_eq!(line.run(3, [0, 900]).len(), 1, "within {:?}", RULES.timeout);
    }

    #[test]
    fn where_nothing_answers_failures_go_round() {
        let (mut paths, now) = (Paths::new(RULES, 3), Instant::now());
        let mut tried = vec![paths.best()];
        for _ in 0..4 {
            paths.failed(paths.best(), now);
            tried.push(paths.best());
        }
        assert_eq!(tried, [0, 1, 2, 0, 1].map(PathIndex));
    }

    #[test]
    fn an_address_that_refuses_connections_is_left_for_one_that_answers() {
        let mut line = Line::new();
        line.run(20, [500, 2000]);
        line.paths.failed(FIRST, line.now);
        assert_eq!(line.paths.consider(line.now).map(|moved| moved.to), Some(SECOND));
        assert_eq!(line.run(18, [500, 2000]), vec![]);
        let later = line.run(60, [500, 2000]);
        assert_eq!(later.first().map(|moved| moved.to), Some(FIRST), "it is tried again when it is clearly faster");
    }
}
