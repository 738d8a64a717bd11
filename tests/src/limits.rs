//! The test process's own limits, which the daemon inherits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files; the hard one must allow it.
pub fn raise_open_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= wanted), "the hard limit of open files is {:?}", limit.maximum);
    if limit.current.is_some_and(|now| now < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
            .expect("within the hard limit");
    }
}
