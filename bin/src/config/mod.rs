//! The configuration file: read whole, every fault reported at once, and what comes out is typed and resolved.
//!
//! ```text
//!   text ──► document::read ──► raw::RawConfig ──► convert::config ──► target_core's Config
//!               │ keys, kinds                          │ meaning, references, secrets
//!               └──────────────► fault::Findings ◄─────┘ ──► lines ──► ConfigErrors
//! ```

mod addresses;
mod choice;
mod convert;
mod document;
mod fault;
mod limits;
mod mirror;
mod peers;
mod raw;
mod secrets;
mod target;
mod volume;

use std::fs;
use std::path::{Path, PathBuf};

use target_core::target::config::Config;

pub use fault::{ConfigErrors, Fault};
use fault::{Findings, Place};
pub use limits::TIME;
pub use mirror::HOST_LATENCY;

/// A configuration to run with, and what is unwise about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Fault>,
}

/// Relative paths in the file are taken from the directory it is in.
pub fn load(file: &Path) -> Result<Loaded, ConfigErrors> {
    let mut findings = Findings::default();
    match fs::read(file).map(String::from_utf8) {
        Ok(Ok(text)) => {
            let base = match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let loaded = parse(&text, base, &mut findings);
            match loaded {
                Some(config) if findings.faults.is_empty() => Ok(Loaded { config, warnings: findings.warnings }),
                _ => Err(ConfigErrors { file: file.to_owned(), faults: findings.faults }),
            }
        }
        Ok(Err(error)) => {
            let sound = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..sound].iter().filter(|byte| **byte == b'\n').count();
            findings.fault(&Place::root(), "this is not UTF-8", "save the file in UTF-8");
            findings.faults.iter_mut().for_each(|fault| fault.line = Some(line));
            Err(ConfigErrors { file: file.to_owned(), faults: findings.faults })
        }
        Err(error) => {
            findings.fault(&Place::root(), format!("cannot be read: {error}"), "name a readable file with -c");
            Err(ConfigErrors { file: file.to_owned(), faults: findings.faults })
        }
    }
}

/// Where the admin socket of the target with that file is, whatever else is wrong with the file.
pub fn admin_socket(file: &Path) -> Result<PathBuf, Fault> {
    one_path(
        file,
        |raw| raw.admin.and_then(|admin| admin.socket),
        Place::root().at("admin").at("socket"),
        "write admin: {socket: /run/lunmirror/admin.sock}, and start it again",
    )
}

/// Where the target with that file keeps what it remembers, whatever else is wrong with the file.
pub fn state_dir(file: &Path) -> Result<PathBuf, Fault> {
    let place = Place::root().at("state_dir");
    one_path(file, |raw| raw.state_dir.filter(|path| !path.is_empty()), place, "write state_dir: /var/lib/lunmirror")
}

/// `remedy`: for a file that does not have it.
fn one_path(
    file: &Path,
    find: impl FnOnce(raw::RawConfig) -> Option<String>,
    place: Place,
    remedy: &str,
) -> Result<PathBuf, Fault> {
    let mut findings = Findings::default();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            findings.fault(&Place::root(), format!("cannot be read: {error}"), "name a readable file with -c");
            String::new()
        }
    };
    if let Some(path) = document::read::<raw::RawConfig>(&text, &mut findings).and_then(find) {
        return Ok(file.parent().unwrap_or(Path::new("")).join(path));
    }
    if findings.faults.is_empty() {
        findings.fault(&place, "is missing", remedy);
    }
    document::number_lines(&text, &mut findings.faults);
    Err(findings.faults.swap_remove(0))
}

/// `1 target, 2 volumes, 1 of them mirrored`.
pub fn summary(config: &Config) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let mirrored = match config.volumes.values().filter(|volume| volume.mirror.is_some()).count() {
        0 => String::new(),
        some => format!(", {some} of them mirrored"),
    };
    format!("{}, {}{mirrored}", count(config.targets.len(), "target"), count(config.volumes.len(), "volume"))
}

fn parse(text: &str, base: &Path, findings: &mut Findings) -> Option<Config> {
    let config = document::read(text, findings).and_then(|raw| convert::config(raw, base, findings));
    document::number_lines(text, &mut findings.faults);
    document::number_lines(text, &mut findings.warnings);
    config
}

#[cfg(test)]
mod tests;
