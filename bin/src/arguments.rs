//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};

/// Serves block volumes as iSCSI logical units.
#[derive(Debug, Parser)]
#[command(name = "lunmirror-target", version, after_help = AFTER_HELP)]
pub struct Arguments {
    /// The configuration file; relative paths in it are taken from its directory
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,

    /// Report all that is wrong with the configuration file, serve nothing
    #[arg(long)]
    pub check: bool,

    /// How log lines look
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Log more: -v for debugging, -vv for everything; RUST_LOG, where it is set, says what in detail
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

const AFTER_HELP: &str = "\
Signals:     SIGHUP applies a changed file, whole or not at all; SIGTERM and SIGINT end in good order, twice at once
Exit status: 0 ended in good order, 1 could not start or go on, 2 wrong command line or configuration file";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn short_and_long() {
        let arguments = Arguments::try_parse_from(["lunmirror-target", "-c", "x.yaml", "-vv", "--log-format", "json"]);
        let arguments = arguments.expect("it is a sound command line");
        assert_eq!((arguments.config, arguments.check), (PathBuf::from("x.yaml"), false));
        assert_eq!((arguments.verbose, arguments.log_format), (2, LogFormat::Json));
    }
}
