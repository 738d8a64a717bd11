//! Where log lines go (stderr) and how they look.

use std::backtrace::Backtrace;
use std::io::{self, IsTerminal};
use std::panic;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt};

use crate::arguments::LogFormat;

pub fn start(format: LogFormat, verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        // The journal has the time of every line already.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            lines.with_ansi(false).without_time().with_target(false).init();
        }
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
    }
}

/// A broken assertion is our own fault, and what it left behind cannot be trusted with data: log it and end the process.
/// Initiators log in again to the one that is started next.
pub fn end_process_on_panic() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("a panic without words");
        tracing::error!(place, backtrace = %Backtrace::force_capture(), "{message}");
        std::process::abort();
    }));
}
