//! Harness for the scenarios in `tests/tests`.
