//! `lunmirrorctl bench`: our own initiator as a load on a LUN, and what it measures.
//!
//! One thread. Login and READ CAPACITY go through `iscsi_proto::initiator` (`opening`). The data phase has a loop of its own:
//! of each wake-up, one receive brings many answers (`inbox`), which are handled where they lie (`session`), and one vectored
//! send takes the commands that follow (`outbox`). Nothing is allocated for a command.

mod arguments;
mod content;
mod inbox;
mod ledger;
mod load;
mod opening;
mod outbox;
mod payload;
mod report;
mod run;
mod sense;
mod session;
mod trouble;
mod url;
mod usage;

use std::io::Write;
use std::process::ExitCode;

use lunmirror::api::Failure;

pub use arguments::BenchArguments;
use ledger::{BLOCKS_MAX, Ledger};
use load::Load;
use opening::{Credentials, Opened, open};
use payload::Payload;
use report::Report;
use run::Run;
use session::Session;

use super::{EXIT_FAILED, EXIT_USAGE, Ended};

pub fn bench(arguments: &BenchArguments, json: bool) -> Result<ExitCode, Ended> {
    check(arguments)?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => another_seed()?,
    };
    let credentials = Credentials::new(arguments)?;
    let opened: Vec<Opened> =
        (0..arguments.sessions).map(|index| open(arguments, &credentials, index)).collect::<Result<_, _>>()?;
    let blocks = blocks(arguments, &opened)?;
    let ledger = arguments.verify.then(|| Ledger::new(blocks as usize));
    let percent = arguments.read_percent();
    let load = Load::new(arguments.pattern, percent, arguments.block_size, blocks, seed, ledger);
    let session = |(index, opened): (u64, Opened)| {
        let block_bytes = arguments.block_size as usize;
        let payload = match arguments.verify && arguments.writes() {
            true => Payload::own(arguments.depth as usize, block_bytes),
            false => Payload::shared(block_bytes, seed),
        };
        let cursor = blocks / u64::from(arguments.sessions) * index;
        Session::new(opened, arguments.url.lun, arguments.depth, &load, payload, cursor)
    };
    let sessions = (0..).zip(opened).map(session).collect();
    let mut run = Run::new(arguments, sessions, load, json);
    let measured = run.drive().map_err(|trouble| (trouble.failure(), EXIT_FAILED))?;
    let (tally, was_full) = run.end();
    let report = Report::new(arguments, &tally, measured);
    match json {
        true => super::say_json_line(&report),
        false => super::say(&report.text()),
    }
    let mut notes = Vec::new();
    if was_full && !json {
        notes.push("note: the target's command window is smaller than --depth".to_owned());
    }
    if arguments.verify && !json {
        notes.push(format!("verified: {} reads of what was written, seed {seed}", tally.compared));
    }
    notes.extend(tally.first_error.map(|first| format!("{} errors; the first: {first}", tally.errors)));
    notes.extend(tally.first_mismatch.map(|first| format!("{} mismatches; the first: {first}", tally.mismatches)));
    notes.iter().for_each(|note| drop(writeln!(std::io::stderr(), "{note}")));
    Ok(if tally.errors + tally.mismatches == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// What can be told before anything is touched.
fn check(arguments: &BenchArguments) -> Result<(), Ended> {
    let usage = |error: String, remedy: &str| Err((Failure::new(error, remedy), EXIT_USAGE));
    if arguments.writes() && !arguments.overwrite {
        let error = format!("this would overwrite what is on {}", arguments.url.text);
        return usage(error, "if that may be lost, say so with --overwrite; or use --rw read");
    }
    if usage::cpu(&arguments.pids).is_none() || usage::resident(&arguments.pids).is_none() {
        let error = format!("not all of the processes {:?} are there to be looked at", arguments.pids);
        return usage(error, "name processes of the target on this machine with --pid");
    }
    let held = u64::from(arguments.depth) * u64::from(arguments.sessions) * u64::from(arguments.block_size);
    if arguments.verify && held > PAYLOAD_BYTES_MAX {
        let error = format!("{held} bytes would be held at once to be verified, and {PAYLOAD_BYTES_MAX} are the most");
        return usage(error, "use less --depth, fewer --sessions, or a smaller --block-size");
    }
    Ok(())
}

/// Of `--block-size`, as many as are used.
fn blocks(arguments: &BenchArguments, opened: &[Opened]) -> Result<u64, Ended> {
    let usage = |error: String, remedy: &str| Err((Failure::new(error, remedy), EXIT_USAGE));
    let capacity = opened.first().expect("there is one session or more").capacity;
    if capacity.block_bytes == 0 || !arguments.block_size.is_multiple_of(capacity.block_bytes) {
        let error = format!("the LUN has blocks of {} bytes", capacity.block_bytes);
        return usage(error, "make --block-size a multiple of that");
    }
    let whole = capacity.blocks.saturating_mul(u64::from(capacity.block_bytes));
    if arguments.size.is_some_and(|size| size > whole) {
        return usage(format!("the LUN has only {whole} bytes"), "use less with --size");
    }
    let blocks = arguments.size.unwrap_or(whole) / u64::from(arguments.block_size);
    if blocks == 0 {
        return usage("there is no room for one block".to_owned(), "use a smaller --block-size, or more with --size");
    }
    if arguments.verify && blocks > BLOCKS_MAX {
        let error = format!("{blocks} blocks cannot be kept account of, {BLOCKS_MAX} are the most");
        return usage(error, "verify a part of the LUN with --size, or use a greater --block-size");
    }
    Ok(blocks)
}

fn another_seed() -> Result<u64, Ended> {
    let mut seed = [0; 8];
    match getrandom::fill(&mut seed) {
        Ok(()) => Ok(u64::from_le_bytes(seed)),
        Err(error) => Err((Failure::new(format!("no random seed: {error}"), "give one with --seed"), EXIT_FAILED)),
    }
}

/// What tasks hold that write to be verified.
const PAYLOAD_BYTES_MAX: u64 = 1 << 30;
