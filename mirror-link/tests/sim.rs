//! Seeds, played. `SIM_SEED=n` plays one and prints what happened (with `SIM_FAULT` planted); `SIM_SEEDS` (5000) and `SIM_FROM` (0) say how many and from
//! which on. Planted faults are caught; all small schedules are gone through; nodes
//! die at their every output, of which `SIM_CUT` plays one and prints what happened.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mirror_link::replica::planted::Fault;
use mirror_link::sim::{Explored, Plan, Report, Strike, Stroke, World, explore};
use parking_lot::Mutex;

/// What a seed came to: what went wrong, by whom it was found, or nothing.
struct Played {
    wrong: Option<(String, String)>,
    report: Option<Report>,
}

fn play(seed: u64, faults: &[Fault], text: bool) -> Played {
    play_with(|| World::play(seed, faults, Instant::now(), text))
}

fn play_with(play: impl FnOnce() -> Report) -> Played {
    match catch_unwind(AssertUnwindSafe(play)) {
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

fn wanted_faults() -> Vec<Fault> {
    let name = std::env::var("SIM_FAULT").unwrap_or_default();
    Fault::ALL.into_iter().filter(|fault| format!("{fault:?}") == name).collect()
}

/// What came of many seeds.
#[derive(Default)]
struct Sum {
    /// Seed, judge, text.
    wrong: Vec<(u64, String, String)>,
    played: u64,
    turns: u64,
    answered: u64,
    /// Virtual.
    seconds: u64,
    /// Deaths at outputs.
    struck: BTreeMap<Stroke, u64>,
}

/// Play the seeds on all processors until enough went wrong.
fn play_all(from: u64, count: u64, faults: &[Fault], most: usize) -> Sum {
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count || sum.lock().wrong.len() >= most {
                return;
            }
            let Played { wrong, report } = play(seed, faults, false);
            let mut sum = sum.lock();
            sum.played += 1;
            if let Some(report) = report {
                sum.turns += report.turns;
                sum.answered += report.answered;
                sum.seconds += report.took.as_secs();
                report.struck.into_iter().for_each(|stroke| *sum.struck.entry(stroke).or_default() += 1);
            }
            sum.wrong.extend(wrong.map(|(who, what)| (seed, who, what)));
        }
    };
    on_all_processors(work);
    let mut sum = sum.into_inner();
    sum.wrong.sort();
    sum
}

#[test]
fn seeds_find_nothing_wrong() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let Played { wrong, report } = play(seed.parse().expect("SIM_SEED is a number"), &wanted_faults(), true);
        let Some(report) = report else { panic!("seed {seed}: {wrong:?}") };
        println!("{}", report.trace.join("\n"));
        println!("fingerprint {:016x}, {} turns, {:?} virtual", report.fingerprint, report.turns, report.took);
        return assert!(wrong.is_none(), "seed {seed}: {wrong:?}");
    }
    let (from, count) = (from_env("SIM_FROM", 0), from_env("SIM_SEEDS", 5000));
    let began = Instant::now();
    let Sum { wrong, played, turns, answered, seconds, struck } = play_all(from, count, &[], from_env("SIM_MOST", 20));
    let took = began.elapsed();
    let rate = played as f64 * 60.0 / took.as_secs_f64().max(0.001);
    println!(
        "{played} seeds in {:.1} s, {rate:.0} a minute: {turns} turns, {answered} requests answered, {} virtual",
        took.as_secs_f64(),
        humantime::format_duration(Duration::from_secs(seconds)),
    );
    let seldom = Stroke::all().map(|stroke| (struck.get(&stroke).copied().unwrap_or(0), stroke)).min();
    println!("{} deaths at an output; most seldom {seldom:?}", struck.values().sum::<u64>());
    if std::env::var("SIM_STRUCK").is_ok() {
        println!("{struck:#?}");
    }
    let mut by_checker = BTreeMap::new();
    for (seed, who, what) in &wrong {
        println!("seed {seed}: {who}: {}", what.lines().next().unwrap_or_default());
        println!(
            "  replay: SIM_SEED={seed} cargo test --profile optimized -p mirror-link --features sim --test sim seeds -- --nocapture"
        );
        *by_checker.entry(who.as_str()).or_insert(0) += 1;
    }
    assert!(wrong.is_empty(), "{} of {played} seeds went wrong: {by_checker:?}", wrong.len());
    assert!(answered > played * 10, "hosts were hardly served: {answered} requests in {played} seeds");
    let missed: Vec<Stroke> = Stroke::all().filter(|stroke| !struck.contains_key(stroke)).collect();
    assert!(played < 5000 || missed.is_empty(), "nobody died at these: {missed:?}");
}

/// Either node's every output in short scenarios is the last thing that its process does, or the first that it does not do.
#[test]
fn every_output_may_be_the_last() {
    let faults = wanted_faults();
    if let Ok(cut) = std::env::var("SIM_CUT") {
        let numbers: Vec<u64> = cut.split(',').map(|number| number.parse().expect("SIM_CUT is numbers")).collect();
        let [seed, node, left, after, power] = numbers[..] else { panic!("SIM_CUT is seed,node,output,after,power") };
        let strike = Strike { node: node as usize, kind: None, left, after: after == 1, power: power == 1 };
        let report = World::play_short(seed, Some(strike), &faults, Instant::now(), true);
        println!("{}", report.trace.join("\n"));
        return assert!(report.violation.is_none(), "{:?}", report.violation);
    }
    let began = Instant::now();
    let count = from_env("SIM_SHORT", 48);
    let (deaths, wrong) = die_at_outputs(count, &faults, from_env("SIM_MOST", 20));
    println!("{deaths} deaths in {count} short scenarios, {:.1} s", began.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{} went wrong: {wrong:#?}", wrong.len());
    assert!(deaths as u64 > 100 * count, "hardly anything happened: {deaths} deaths");
}

#[test]
fn deaths_at_outputs_catch_planted_faults() {
    for fault in [Fault::SkipActivity, Fault::ClearBitEarly, Fault::TrustVolatile, Fault::SkipDegradeRule] {
        let (_, wrong) = die_at_outputs(48, &[fault], 1);
        println!("{fault:?}: {:?}", wrong.first());
        let by_judge = wrong.iter().any(|(_, who, _)| judges(fault).contains(&who.as_str()) || who == "Closed");
        assert!(by_judge, "{fault:?} is not caught: {wrong:?}");
    }
}

/// Deaths, and what went wrong: what to play it again with, judge, text.
fn die_at_outputs(count: u64, faults: &[Fault], most: usize) -> (usize, Vec<(String, String, String)>) {
    let cuts: Vec<(u64, Strike)> = (0..count).flat_map(|seed| cuts_of(seed, faults)).collect();
    let (next, wrong) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    on_all_processors(|| {
        while let Some(&(seed, strike)) = cuts.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let play = || World::play_short(seed, Some(strike), faults, Instant::now(), false);
            let Played { wrong: found, report } = play_with(play);
            let lives = report.is_some_and(|report| report.struck.len() != 1 && report.violation.is_none());
            let found = found.or(lives.then(|| ("Nobody".into(), "the node did not die".into())));
            let Strike { node, left, after, power, .. } = strike;
            let replay = format!("SIM_CUT={seed},{node},{left},{},{}", u8::from(after), u8::from(power));
            let mut wrong = wrong.lock();
            wrong.extend(found.map(|(who, what)| (replay, who, what)));
            if wrong.len() >= most {
                return;
            }
        }
    });
    (cuts.len(), wrong.into_inner())
}

/// Before every output of either node, and after the last of each turn: what comes between two of one turn is the same thing.
fn cuts_of(seed: u64, faults: &[Fault]) -> Vec<(u64, Strike)> {
    let reference = World::play_short(seed, None, faults, Instant::now(), false);
    match reference.violation {
        None => (),
        // It is found as it is; here is of interest what only a death shows.
        Some(_) if !faults.is_empty() => return Vec::new(),
        Some(found) => panic!("short scenario {seed}: {found:?}"),
    }
    let mut cuts = Vec::new();
    for node in 0..2 {
        let before = (0..reference.outputs_of[node]).map(|left| (left, false));
        let after = reference.last_of_turns[node].iter().map(|&left| (left, true));
        for (left, after) in before.chain(after) {
            cuts.extend([false, true].map(|power| (seed, Strike { node, kind: None, left, after, power })));
        }
    }
    cuts
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..20 {
        let played = [false, false, true].map(|text| play(seed, &[], text).report);
        let [a, b, told] = played.map(|report| report.map(|report| (report.fingerprint, report.turns)));
        assert_eq!(a, b, "seed {seed}");
        assert_eq!(a, told, "seed {seed}, told in text");
    }
}

#[test]
fn a_verify_finds_what_nobody_wrote_and_only_that() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let report = World::play_silent(seed.parse().expect("SIM_SEED is a number"), Instant::now(), true);
        println!("{}", report.trace.join("\n"));
        return assert!(report.violation.is_none(), "{:?}", report.violation);
    }
    let next = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    let count = from_env("SIM_SILENT", 200);
    on_all_processors(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return;
            }
            let report = catch_unwind(AssertUnwindSafe(|| World::play_silent(seed, Instant::now(), false)));
            let text = match report {
                Ok(Report { violation: None, .. }) => continue,
                Ok(Report { violation: Some(found), .. }) => format!("{found:?}"),
                Err(panic) => panic_text(&*panic),
            };
            wrong.lock().push((seed, text));
        }
    });
    let wrong = wrong.into_inner();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Who is to find it. Who else does may do so by accident.
fn judges(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::AckEarly | Fault::ReadThrough | Fault::SkipDegradeRule => &["Kept"],
        Fault::IgnoreAfter | Fault::PromoteKeepsUnclosed => &["Closed"],
        Fault::IgnoreOdep | Fault::LocalIgnoresOdep | Fault::ApplyTwice => &["Alike", "Closed"],
        Fault::AcceptOldEpoch | Fault::EpochNotDurable | Fault::IgnoreBeats => &["OneWriter"],
        Fault::ClearBitEarly | Fault::DropSpill | Fault::ResyncReadsThrough | Fault::TrustVolatile => &["Alike"],
        Fault::SkipActivity | Fault::CoolUnflushed | Fault::CoolForgetful => &["Alike", "Kept", "Closed"],
        Fault::TrustOwnCache => &["Kept"],
        Fault::JournalUnordered => &["Closed", "Alike"],
        Fault::FailedNotRecorded => &["Kept"],
        Fault::ServeFailed | Fault::LendEarly => &["Reads"],
        Fault::PromoteUnflushed => &["Alike", "Closed"],
        Fault::IgnoreSuspects | Fault::ForgetEarly => &["Alike", "Kept", "Closed"],
        Fault::ForgetSlotResend => &["Answers", "Settles"],
        Fault::VerifyReadsThrough => &["Verified"],
        Fault::CompareBlind => &["Alike", "Kept", "Closed"],
        Fault::OverwriteUnkept => &["Undo"],
        Fault::NeverLapse => &["Fresh"],
        Fault::DecideOneSided | Fault::GreetForEver => &["OneDecision"],
    }
}

/// How a planted fault was found.
#[derive(Default)]
struct Found {
    /// Seed, judge, text.
    first: Option<(u64, String, String)>,
    /// Seeds with which somebody else found it first.
    others: BTreeMap<String, u64>,
}

/// The first seed of 1,000 with which the fault is found by its judges; which does not go wrong without it.
fn first_found(fault: Fault) -> Found {
    let (next, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= 1000 || found.lock().first.as_ref().is_some_and(|(first, ..)| *first < seed) {
                return;
            }
            let Some((who, what)) = play(seed, &[fault], false).wrong else { continue };
            if play(seed, &[], false).wrong.is_some() {
                continue;
            }
            let mut found = found.lock();
            if !judges(fault).contains(&who.as_str()) {
                *found.others.entry(who).or_default() += 1;
            } else if found.first.as_ref().is_none_or(|(first, ..)| seed < *first) {
                found.first = Some((seed, who, what));
            }
        }
    };
    on_all_processors(work);
    found.into_inner()
}

#[test]
fn every_planted_fault_is_caught() {
    let mut missed = Vec::new();
    let wanted = std::env::var("SIM_FAULT").ok();
    for fault in Fault::ALL.into_iter().filter(|fault| wanted.as_ref().is_none_or(|name| *name == format!("{fault:?}")))
    {
        let began = Instant::now();
        let Found { first, others } = first_found(fault);
        let name = format!("{fault:?}");
        match first {
            Some((seed, who, what)) => {
                println!("{name:<21} seed {seed:>4}  {who:<10} {}", what.lines().next().unwrap_or_default());
            }
            None => missed.push(fault),
        }
        let took = began.elapsed().as_secs_f64();
        println!("{:<21} {took:.1} s, by others before: {others:?}", "");
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// Go through all plans until one goes wrong: schedules, states.
fn explore_all(faults: &[Fault]) -> (u64, usize, Option<(String, String)>) {
    let plans = Plan::all();
    let (next, sum) = (AtomicU64::new(0), Mutex::new((0, 0, None)));
    let work = || {
        while let Some(&plan) = plans.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if sum.lock().2.is_some() {
                return;
            }
            let explored = catch_unwind(AssertUnwindSafe(|| explore(plan, faults, Instant::now())));
            let mut sum = sum.lock();
            match explored {
                Ok(Explored { schedules, states, violation }) => {
                    (sum.0, sum.1) = (sum.0 + schedules, sum.1 + states);
                    if let Some((found, steps)) = violation {
                        sum.2 = Some((format!("{:?}", found.checker), format!("{}\n  {steps}", found.text)));
                    }
                }
                Err(panic) => sum.2 = Some(("Assertion".into(), format!("{} in {plan:?}", panic_text(&*panic)))),
            }
        }
    };
    on_all_processors(work);
    sum.into_inner()
}

#[test]
fn all_small_schedules_are_right() {
    let began = Instant::now();
    let (schedules, states, wrong) = explore_all(&[]);
    let took = began.elapsed().as_secs_f64();
    println!("{schedules} schedules, {states} states in {took:.1} s");
    assert!(wrong.is_none(), "{wrong:?}");
}

#[test]
fn small_schedules_catch_planted_faults() {
    let faults =
        [Fault::IgnoreOdep, Fault::IgnoreAfter, Fault::AckEarly, Fault::AcceptOldEpoch, Fault::PromoteKeepsUnclosed];
    let mut missed = Vec::new();
    for fault in faults {
        let (schedules, _, wrong) = explore_all(&[fault]);
        match wrong {
            Some((who, what)) if judges(fault).contains(&who.as_str()) => {
                println!("{fault:?}: after {schedules} schedules {who}: {what}");
            }
            wrong => missed.push((fault, wrong)),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

fn on_all_processors(work: impl Fn() + Sync) {
    static QUIET: Once = Once::new();
    // A panic is a finding, not an event: it is told with its seed.
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() != Some("seeds") {
                loud(info);
            }
        }));
    });
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            std::thread::Builder::new()
                .name("seeds".into())
                .spawn_scoped(scope, &work)
                .expect("there is room for a thread");
        }
    });
}
