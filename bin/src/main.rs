//! `lunmirror-target`: reads the configuration, starts the target, and is told by signals what to do.
//!
//! Absent on purpose: SCSI and iSCSI. They are `target_core`'s; this crate hands it a typed configuration.

mod admin;
mod arguments;
mod logging;
mod notify;
mod serve;
#[cfg(test)]
#[path = "api/testing.rs"]
mod testing;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use lunmirror::config::{self, Loaded};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let loaded = match config::load(&arguments.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            say(io::stderr(), &errors.to_string());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    if arguments.check {
        check(&arguments, &loaded);
        return ExitCode::SUCCESS;
    }
    logging::start(arguments.log_format, arguments.verbose);
    logging::end_process_on_panic();
    target_core::block::keep_large_buffers();
    serve::log_warnings(&loaded.warnings);
    let runtime = match tokio::runtime::Builder::new_multi_thread().thread_name("lunmirror").enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no threads to run on");
            return ExitCode::FAILURE;
        }
    };
    let served =
        serve::prepare(&loaded.config).and_then(|()| runtime.block_on(serve::serve(arguments.config, loaded.config)));
    // Whatever still blocks on a disk has had its time.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: &Arguments, loaded: &Loaded) {
    let file = arguments.config.display();
    for warning in &loaded.warnings {
        say(io::stderr(), format!("warning: {file}:{warning}").trim_end());
    }
    say(io::stdout(), &format!("{file} is sound: {}", config::summary(&loaded.config)));
}

/// Nobody listening is no reason to fail.
fn say(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}");
}

const EXIT_CONFIGURATION: u8 = 2;
