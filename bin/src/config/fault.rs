//! What is wrong with a configuration: all of it, each fault with its place and its remedy.

use std::fmt;
use std::path::PathBuf;

/// Where in the document, as keys and list indices from its root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Vec<String>);

impl Place {
    pub fn root() -> Place {
        Place::default()
    }

    pub fn at(&self, step: impl ToString) -> Place {
        let mut steps = self.0.clone();
        steps.push(step.to_string());
        Place(steps)
    }

    fn is_within(&self, other: &Place) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub line: Option<usize>,
    pub message: String,
    pub remedy: String,
}

/// Collects faults, and what is merely unwise.
#[derive(Debug, Default)]
pub struct Findings {
    pub faults: Vec<Fault>,
    pub warnings: Vec<Fault>,
    /// What is written there under another name, and was faulted for that.
    pub excused: Vec<Place>,
}

impl Findings {
    pub fn fault(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(finding(place, message, remedy));
    }

    pub fn warn(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(finding(place, message, remedy));
    }

    /// A fault for what is absent, unless something there was refused already and is absent for that reason.
    pub fn missing(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.refused(place) && !self.excused.contains(place) {
            self.fault(place, message, remedy);
        }
    }

    /// Whether something at or below `place` is at fault.
    pub fn refused(&self, place: &Place) -> bool {
        self.faults.iter().any(|fault| fault.place.is_within(place))
    }
}

fn finding(place: &Place, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
    Fault { place: place.clone(), line: None, message: message.into(), remedy: remedy.into() }
}

/// The operator's part of the errors: printed whole, exit code 2.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors {
    pub file: PathBuf,
    /// At least one, in the order of the file.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            write!(f, "{}:{fault}", self.file.display())?;
        }
        match self.faults.len() {
            1 => write!(f, "1 fault in {}", self.file.display()),
            many => write!(f, "{many} faults in {}", self.file.display()),
        }
    }
}

/// `12: volumes.db.size: is missing`, and the remedy on a line of its own.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.place.0.is_empty() {
            write!(f, " {}:", self.place)?;
        }
        writeln!(f, " {}\n    remedy: {}", self.message, self.remedy)
    }
}
