//! Quantities as people read them.

use std::time::Duration;

use serde::Serialize;

/// A state as the interface calls it: `established`, `udp-filtered`.
pub fn word(state: impl Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// `0 B`, `512 B`, `1.5 KiB`, `64 MiB`, `100 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut scaled = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // What would be shown as 1024 of a unit is one of the next.
    while scaled >= 1023.95 {
        let Some(next) = units.next() else { break };
        scaled /= 1024.0;
        unit = next;
    }
    let digits = if scaled < 99.95 { format!("{scaled:.1}") } else { format!("{scaled:.0}") };
    format!("{} {unit}", digits.strip_suffix(".0").unwrap_or(&digits))
}

/// `0 s`, `0.2 s`, `3 s`, `12 s`, `3m 20s`, `2h 5m`, `4d 1h`: the two greatest units.
pub fn seconds(seconds: f64) -> String {
    if seconds.is_nan() || seconds < 0.05 {
        return "0 s".to_owned();
    }
    if seconds < 9.95 {
        let digits = format!("{seconds:.1}");
        return format!("{} s", digits.strip_suffix(".0").unwrap_or(&digits));
    }
    // Beyond what a Duration holds nobody reads on.
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX).as_secs();
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// `3 ms`, `1.2 s`: an age.
pub fn milliseconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        _ => seconds(milliseconds as f64 / 1000.0),
    }
}

/// `0.08 ms`, `12.3 ms`: a round trip.
pub fn round_trip(milliseconds: f64) -> String {
    match milliseconds {
        ..9.995 => format!("{milliseconds:.2} ms"),
        _ => format!("{milliseconds:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown: Vec<String> =
            [0, 1, 1023, 1024, 1536, 64 << 20, (100 << 30) - 1, 123_456_789, u64::MAX].map(bytes).into();
        assert_eq!(shown, ["0 B", "1 B", "1023 B", "1 KiB", "1.5 KiB", "64 MiB", "100 GiB", "118 MiB", "16 EiB"]);
    }

    #[test]
    fn times() {
        let shown: Vec<String> =
            [0.0, 0.04, 0.25, 3.0, 9.94, 9.96, 59.6, 3599.0, 3600.0, 90_000.0, f64::NAN, 1e300].map(seconds).into();
        assert_eq!(shown[..10], ["0 s", "0 s", "0.2 s", "3 s", "9.9 s", "10 s", "1m 0s", "59m 59s", "1h 0m", "1d 1h"]);
        assert_eq!(shown[10], "0 s");
        assert!(shown[11].contains('d'), "{}", shown[11]);
        assert_eq!([0, 999, 1234, 70_000].map(milliseconds), ["0 ms", "999 ms", "1.2 s", "1m 10s"]);
        assert_eq!([0.081, 9.999, 123.0].map(round_trip), ["0.08 ms", "10.0 ms", "123.0 ms"]);
    }
}
