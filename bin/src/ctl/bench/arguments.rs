//! The command line of `lunmirrorctl bench`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::arguments::within;
use super::url::Url;

#[derive(Clone, Debug, Args)]
pub struct BenchArguments {
    /// iscsi://HOST[:PORT]/TARGET-NAME/LUN
    pub url: Url,

    /// What is done; all but read overwrites what is on the LUN
    #[arg(long, value_enum, default_value_t = Rw::Read)]
    pub rw: Rw,

    /// Of 100 commands of a mix, how many read
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub read_share: u8,

    /// Commands under way in each session, as far as the target's window allows
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub depth: u32,

    /// Sessions, each over a connection of its own; one thread serves them all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub sessions: u32,

    /// Bytes of each command
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = block_size)]
    pub block_size: u32,

    /// Where on the LUN
    #[arg(long, value_enum, default_value_t = Pattern::Random)]
    pub pattern: Pattern,

    /// CRC32C over headers, data, or both
    #[arg(long, value_enum, default_value_t = DigestsWord::None)]
    pub digests: DigestsWord,

    /// Write what tells its place and when it was written, and compare what is read of it; at the end all of it is read back
    #[arg(long)]
    pub verify: bool,

    /// How long it is measured
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub time: Duration,

    /// How long it runs before that
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = warm_up)]
    pub warm_up: Duration,

    /// Use the first so many bytes of the LUN [default: all]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<u64>,

    /// Makes the places, and what is written, the same again [default: another each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// A process of the target, of this machine, whose CPU time and memory are told; may be given more than once
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,

    /// What is on the LUN may be lost: needed with --rw write and mix
    #[arg(long)]
    pub overwrite: bool,

    /// Log in by CHAP under this name
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,

    /// Holds the CHAP secret, as the target's secret_file
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// Who we are to the target, which may let in certain names only
    #[arg(long, value_name = "NAME", default_value = "iqn.2026-11.net.lunmirror:bench")]
    pub initiator_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rw {
    /// Read only
    Read,
    /// Write only
    Write,
    /// Both, as --read-share says
    Mix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Anywhere
    Random,
    /// One block after the other; several sessions begin evenly spread
    Sequential,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestsWord {
    None,
    Header,
    Data,
    Both,
}

impl DigestsWord {
    pub fn header(self) -> bool {
        matches!(self, DigestsWord::Header | DigestsWord::Both)
    }

    pub fn data(self) -> bool {
        matches!(self, DigestsWord::Data | DigestsWord::Both)
    }
}

impl BenchArguments {
    pub fn writes(&self) -> bool {
        self.read_percent() < 100
    }

    /// Of 100 commands.
    pub fn read_percent(&self) -> u8 {
        match self.rw {
            Rw::Read => 100,
            Rw::Write => 0,
            Rw::Mix => self.read_share,
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes: ByteSize = text.trim().parse().map_err(|error| format!("{error}, as in 4KiB or 1GiB"))?;
    Ok(bytes.as_u64())
}

fn size(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => Err("nothing is left to use".to_owned()),
        size => Ok(size),
    }
}

fn block_size(text: &str) -> Result<u32, String> {
    let size = u32::try_from(bytes(text)?).unwrap_or(u32::MAX);
    if BLOCK_BYTES.contains(&size) && size % 512 == 0 {
        return Ok(size);
    }
    Err("use a multiple of 512, 512 to 16MiB".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100)..=Duration::from_secs(24 * 3600))
}

fn warm_up(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO..=Duration::from_secs(3600))
}

/// DataSegmentLength has 24 bits, and no target we know takes more in one command.
const BLOCK_BYTES: RangeInclusive<u32> = 512..=16 << 20;
