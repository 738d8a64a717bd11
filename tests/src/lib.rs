//! Harness for the scenarios in `tests/tests`.

pub mod bystander;
pub mod commands;
pub mod daemon;
pub mod foe;
pub mod history;
pub mod host;
pub mod initiator;
pub mod judge;
pub mod limits;
pub mod line;
pub mod live;
pub mod ordeal;
pub mod pair;
pub mod pdus;
pub mod random;
pub mod source;

/// A line for whoever reads the test's output (`--nocapture`): what was measured.
#[macro_export]
macro_rules! note {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let mut out = std::io::stderr().lock();
        let _ = writeln!(out, $($words)*);
    }};
}
