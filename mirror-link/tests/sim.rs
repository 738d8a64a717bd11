//! Seeds, played. `SIM_SEED=n` plays one and prints what happened; `SIM_SEEDS` (2000) and `SIM_FROM` (0) say how many and from
//! which on.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use mirror_link::replica::planted::Fault;
use mirror_link::sim::{Report, World};

/// What a seed came to: what went wrong, by whom it was found, or nothing.
struct Played {
    wrong: Option<(String, String)>,
    report: Option<Report>,
}

fn play(seed: u64, faults: &[Fault], text: bool) -> Played {
    static QUIET: Once = Once::new();
    // A panic is a finding, not an event: it is told with its seed.
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::env::var_os("SIM_SEED").is_some() || std::thread::current().name() != Some("seeds") {
                loud(info);
            }
        }));
    });
    match catch_unwind(AssertUnwindSafe(|| World::play(seed, faults, Instant::now(), text))) {
        Ok(report) => {
            let wrong = report.violation.as_ref().map(|found| (format!("{:?}", found.checker), found.text.clone()));
            Played { wrong, report: Some(report) }
        }
        Err(panic) => Played { wrong: Some(("Assertion".into(), panic_text(&*panic))), report: None },
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_else(|| "a panic".into())
}

fn from_env<T: FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Play the seeds on all processors until `stop` has enough of what went wrong.
fn play_all(from: u64, count: u64, faults: &[Fault], most: usize) -> (Vec<(u64, String, String)>, [u64; 4]) {
    let (next, played) = (AtomicU64::new(from), Mutex::new((Vec::new(), [0; 4])));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count || played.lock().unwrap().0.len() >= most {
                return;
            }
            let Played { wrong, report } = play(seed, faults, false);
            let mut played = played.lock().unwrap();
            played.1[0] += 1;
            if let Some(report) = report {
                played.1[1] += report.turns;
                played.1[2] += report.answered;
                played.1[3] += report.took.as_secs();
            }
            played.0.extend(wrong.map(|(who, what)| (seed, who, what)));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            std::thread::Builder::new().name("seeds".into()).spawn_scoped(scope, work).unwrap();
        }
    });
    let (mut wrong, counts) = played.into_inner().unwrap();
    wrong.sort();
    (wrong, counts)
}

#[test]
fn seeds_find_nothing_wrong() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        return replay(seed.parse().expect("SIM_SEED is a number"));
    }
    let (from, count) = (from_env("SIM_FROM", 0), from_env("SIM_SEEDS", 2000));
    let began = Instant::now();
    let (wrong, [played, turns, answered, seconds]) = play_all(from, count, &[], from_env("SIM_MOST", 20));
    let took = began.elapsed();
    let rate = played as f64 * 60.0 / took.as_secs_f64().max(0.001);
    println!(
        "{played} seeds in {:.1} s, {rate:.0} a minute: {turns} turns, {answered} requests answered, {} virtual",
        took.as_secs_f64(),
        humantime::format_duration(Duration::from_secs(seconds)),
    );
    let mut by_checker = BTreeMap::new();
    for (seed, who, what) in &wrong {
        println!("seed {seed}: {who}: {}", what.lines().next().unwrap_or_default());
        println!(
            "  replay: SIM_SEED={seed} cargo test --release -p mirror-link --features sim --test sim seeds -- --nocapture"
        );
        *by_checker.entry(who.as_str()).or_insert(0) += 1;
    }
    assert!(wrong.is_empty(), "{} of {played} seeds went wrong: {by_checker:?}", wrong.len());
    assert!(answered > played * 10, "hosts were hardly served: {answered} requests in {played} seeds");
}

fn replay(seed: u64) {
    let Played { wrong, report } = play(seed, &[], true);
    let Some(report) = report else { panic!("seed {seed}: {wrong:?}") };
    println!("{}", report.trace.join("\n"));
    println!("fingerprint {:016x}, {} turns, {:?} virtual", report.fingerprint, report.turns, report.took);
    assert!(wrong.is_none(), "seed {seed}: {wrong:?}");
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..20 {
        let [a, b] = [(), ()].map(|()| play(seed, &[], false).report.map(|report| (report.fingerprint, report.turns)));
        assert_eq!(a, b, "seed {seed}");
    }
}

#[test]
fn whoever_ignores_heartbeats_is_found() {
    let (wrong, _) = play_all(0, 3000, &[Fault::IgnoreBeats], 10);
    let found = wrong.iter().any(|(_, who, text)| who == "OneWriter" && text.contains("heartbeats"));
    assert!(found, "not within 3000 seeds: {wrong:?}");
}
