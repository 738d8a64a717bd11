//! What came of a run: one JSON object for programs, a table and bars for people.

use hdrhistogram::Histogram;
use lunmirror::api::shown::bytes;
use serde::Serialize;

use super::super::table::Table;
use super::arguments::{BenchArguments, DigestsWord, Pattern, Rw};
use super::load::Tally;

#[derive(Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub rw: Rw,
    pub read_share: u8,
    pub pattern: Pattern,
    pub block_bytes: u32,
    pub depth: u32,
    pub sessions: u32,
    pub digests: DigestsWord,
    pub seconds: f64,
    pub ios: u64,
    pub iops: f64,
    pub bytes_per_second: f64,
    pub errors: u64,
    pub mismatches: u64,
    pub latency_us: Latency,
    /// Upper end in µs, and how many took no longer and longer than the one before.
    pub histogram: Vec<(f64, u64)>,
    pub client_cpu_us_per_io: Option<f64>,
    pub target_cpu_us_per_io: Option<f64>,
    pub target_rss_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What was measured beside the commands themselves.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub seconds: f64,
    pub client_cpu_seconds: f64,
    pub target_cpu_seconds: Option<f64>,
    pub target_rss_bytes: Option<u64>,
}

impl Report {
    pub fn new(arguments: &BenchArguments, tally: &Tally, measured: Measured) -> Report {
        let each = |seconds: f64| (tally.ios > 0).then(|| round(seconds * 1e6 / tally.ios as f64));
        let iops = tally.ios as f64 / measured.seconds;
        Report {
            url: arguments.url.text.clone(),
            rw: arguments.rw,
            read_share: arguments.read_percent(),
            pattern: arguments.pattern,
            block_bytes: arguments.block_size,
            depth: arguments.depth,
            sessions: arguments.sessions,
            digests: arguments.digests,
            seconds: round(measured.seconds),
            ios: tally.ios,
            iops: round(iops),
            bytes_per_second: round(iops * f64::from(arguments.block_size)),
            errors: tally.errors,
            mismatches: tally.mismatches,
            latency_us: Latency::new(&tally.latencies),
            histogram: buckets(&tally.latencies),
            client_cpu_us_per_io: each(measured.client_cpu_seconds),
            target_cpu_us_per_io: measured.target_cpu_seconds.and_then(each),
            target_rss_bytes: measured.target_rss_bytes,
        }
    }

    pub fn text(&self) -> String {
        let what = match self.rw {
            Rw::Read => "reads".to_owned(),
            Rw::Write => "writes".to_owned(),
            Rw::Mix => format!("{} % reads", self.read_share),
        };
        let pattern = if self.pattern == Pattern::Random { "random" } else { "sequential" };
        let digests = match self.digests {
            DigestsWord::None => "no digests",
            DigestsWord::Header => "header digests",
            DigestsWord::Data => "data digests",
            DigestsWord::Both => "header and data digests",
        };
        let size = bytes(u64::from(self.block_bytes));
        let sessions = if self.sessions == 1 { "1 session".to_owned() } else { format!("{} sessions", self.sessions) };
        let mut text = format!(
            "{pattern} {what} of {size}, {} at once in {sessions}, {digests}, {:.1} s\n",
            self.depth, self.seconds
        );
        let mut table = Table::new(["IOPS", "BYTES/S", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"]);
        let Latency { mean, p50, p90, p99, p999, max } = self.latency_us;
        let [mean, p50, p90, p99, p999, max] = [mean, p50, p90, p99, p999, max].map(microseconds);
        table.row([
            grouped(self.iops),
            format!("{}/s", bytes(self.bytes_per_second as u64)),
            mean,
            p50,
            p90,
            p99,
            p999,
            max,
        ]);
        text.push_str(&table.indented());
        text.push_str(&bars(&self.histogram));
        let cpu = |who: &str, cost: Option<f64>| cost.map(|cost| format!("{who} {cost:.2} µs"));
        let used: Vec<String> = [cpu("client", self.client_cpu_us_per_io), cpu("target", self.target_cpu_us_per_io)]
            .into_iter()
            .flatten()
            .collect();
        if !used.is_empty() {
            text.push_str(&format!("  CPU of each: {}\n", used.join(", ")));
        }
        if let Some(resident) = self.target_rss_bytes {
            text.push_str(&format!("  the target has {} in memory\n", bytes(resident)));
        }
        if self.errors + self.mismatches > 0 {
            text.push_str(&format!("  {} errors, {} mismatches\n", self.errors, self.mismatches));
        }
        text
    }
}

impl Latency {
    fn new(latencies: &Histogram<u64>) -> Latency {
        let at = |quantile| round(latencies.value_at_quantile(quantile) as f64 / 1e3);
        Latency {
            mean: round(latencies.mean() / 1e3),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: round(latencies.max() as f64 / 1e3),
        }
    }
}

/// Each half as wide again, or a third, as the one before: 1, 1.5, 2, 3, 4, 6, 8, 12 … µs. Those without any at the ends are
/// left out.
fn buckets(latencies: &Histogram<u64>) -> Vec<(f64, u64)> {
    let mut found: Vec<(f64, u64)> = Vec::new();
    let (mut upper, mut is_power) = (1.0, true);
    for recorded in latencies.iter_recorded() {
        let took = recorded.value_iterated_to() as f64 / 1e3;
        while took > upper {
            if found.last().is_some_and(|last| last.0 < upper) {
                found.push((upper, 0));
            }
            (upper, is_power) = (if is_power { upper * 1.5 } else { upper / 1.5 * 2.0 }, !is_power);
        }
        match found.last_mut().filter(|last| last.0 == upper) {
            Some(last) => last.1 += recorded.count_since_last_iteration(),
            None => found.push((upper, recorded.count_since_last_iteration())),
        }
    }
    found
}

fn bars(histogram: &[(f64, u64)]) -> String {
    let most = histogram.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let all: u64 = histogram.iter().map(|(_, count)| count).sum();
    let bar = |count: u64| {
        let eighths = (count as f64 / most as f64 * BAR_WIDTH * 8.0).round() as usize;
        let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        format!("{}{part}", "█".repeat(eighths / 8))
    };
    let line = |(upper, count): &(f64, u64)| {
        let share = *count as f64 * 100.0 / all.max(1) as f64;
        format!("  {:>9} {share:>7.3} %  {}", format!("≤{}", microseconds(*upper)), bar(*count)).trim_end().to_owned()
            + "\n"
    };
    histogram.iter().map(line).collect()
}

/// `87 µs`, `1.3 ms`, `2.1 s`.
fn microseconds(us: f64) -> String {
    let shown = |value: f64, unit: &str| {
        let digits = if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") };
        format!("{} {unit}", digits.strip_suffix(".0").unwrap_or(&digits))
    };
    match us {
        ..999.5 => shown(us, "µs"),
        ..999_500.0 => shown(us / 1e3, "ms"),
        _ => shown(us / 1e6, "s"),
    }
}

/// `123 456`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let is_first = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits.char_indices().flat_map(|(at, digit)| is_first(at).then_some(' ').into_iter().chain([digit])).collect()
}

/// What is measured is not known better than that.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

const BAR_WIDTH: f64 = 40.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[(u64, u64)]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound");
        values.iter().for_each(|(value, count)| histogram.record_n(*value, *count).expect("within"));
        histogram
    }

    #[test]
    fn every_latency_is_in_one_bucket() {
        let latencies = histogram(&[(80_000, 10), (95_900, 5), (97_000, 4), (1_000_000, 1)]);
        let found = buckets(&latencies);
        assert_eq!(found[0], (96.0, 15));
        assert_eq!((found[1], found[2]), ((128.0, 4), (192.0, 0)));
        assert_eq!(*found.last().expect("some"), (1024.0, 1));
        assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), latencies.len());
        assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "{found:?}");
        assert_eq!(buckets(&histogram(&[])), []);
    }

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let latency = Latency::new(&histogram(&[(100_000, 98), (1_000_000, 1), (50_000_000, 1)]));
        let near = |got: f64, meant: f64| (got - meant).abs() < meant / 500.0;
        assert!(near(latency.p50, 100.0) && near(latency.p99, 1000.0) && near(latency.p999, 50_000.0), "{latency:?}");
        assert!(near(latency.mean, 608.0) && near(latency.max, 50_000.0), "{latency:?}");
    }

    #[test]
    fn as_people_read_it() {
        assert_eq!(
            (grouped(999.6), grouped(123_456.0), grouped(12.0)),
            ("1 000".into(), "123 456".into(), "12".into())
        );
        assert_eq!(["≤", "x"].map(|_| microseconds(87.4)), ["87 µs", "87 µs"]);
        assert_eq!((microseconds(999.6), microseconds(2_100_000.0)), ("1 ms".into(), "2.1 s".into()));
        let bars = bars(&[(96.0, 8), (128.0, 0), (192.0, 4)]);
        let lines: Vec<&str> = bars.lines().collect();
        assert_eq!(lines[1].trim(), "≤128 µs   0.000 %");
        assert_eq!((lines[0].matches('█').count(), lines[2].matches('█').count()), (40, 20));
    }
}
