//! Both programs as processes of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub fn ctl(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunmirrorctl"));
    command.current_dir(directory).args(arguments).output().expect("the program runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it speaks UTF-8")
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A target that serves; killed when the test fails before it ended.
pub struct Target {
    pub child: Child,
}

impl Target {
    pub fn start(directory: &Path, name: &str, config: &str) -> Target {
        let file = directory.join(name);
        fs::write(&file, config).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lunmirror-target"));
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").arg("-c").arg(&file);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut log = String::new();
        let serves = lines.any(|line| {
            let line = line.expect("it speaks UTF-8");
            log.push_str(&format!("{line}\n"));
            line.contains(" serving ")
        });
        assert!(serves, "it ended without serving:\n{log}");
        // Or it would wait for somebody to read on.
        std::thread::spawn(move || lines.for_each(drop));
        Target { child }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Ended already, in a test that ends it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
