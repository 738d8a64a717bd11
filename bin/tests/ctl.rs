//! `lunmirrorctl` as an operator meets it: against a running target, and against none.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{Target, ctl, json, text};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = "\
node: alpha
state_dir: state
portals: [127.0.0.1:0]
admin: { socket: run/admin.sock }
limits: { shutdown_grace: 200ms }
volumes:
  db: { memory: {}, size: 1MiB }
targets:
  iqn.2026-11.net.example:store: { initiators: [\"*\"], luns: { 0: db } }
";

/// A target in a directory of its own, that serves.
struct Served {
    directory: TempDir,
    target: Target,
}

impl Served {
    fn start() -> Served {
        let directory = tempfile::tempdir().expect("a directory");
        let target = Target::start(directory.path(), "c.yaml", CONFIG);
        Served { directory, target }
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        ctl(self.directory.path(), &[&["-c", "c.yaml"], arguments].concat())
    }
}

#[test]
fn it_shows_what_is_served() {
    let served = Served::start();
    let status = served.ctl(&["status"]);
    assert_eq!((status.status.code(), text(&status.stderr)), (Some(0), String::new()));
    assert!(text(&status.stdout).starts_with("alpha, lunmirror "), "{status:?}");
    assert!(text(&status.stdout).contains("\nno volume is mirrored\n"), "{status:?}");

    let volumes = served.ctl(&["volumes", "--json"]);
    let db = &json(&volumes)[0];
    assert_eq!((&db["name"], &db["capacity_bytes"]), (&Value::from("db"), &Value::from(1 << 20)));
    assert_eq!(db["luns"][0]["target"], "iqn.2026-11.net.example:store");
    let socket = served.directory.path().join("run/admin.sock");
    let by_socket = ctl(Path::new("/"), &["peers", "--socket", socket.to_str().expect("a path in UTF-8")]);
    assert_eq!(text(&by_socket.stdout), "there are no peers\n");
}

#[test]
fn a_refusal_is_exit_status_1() {
    let served = Served::start();
    let refused = served.ctl(&["promote", "db"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        text(&refused.stderr),
        "volume db is not mirrored\n    remedy: no volume is mirrored here: see mirror in conf/full.yaml\n"
    );
    let refused = served.ctl(&["--json", "explain", "bd"]);
    assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(1), String::new()));
    assert_eq!(json(&refused)["error"], "there is no volume nor group bd");
}

#[test]
fn a_wrong_command_line_is_exit_status_2() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(ctl(directory.path(), &["promote"]).status.code(), Some(2));
    let no_file = ctl(directory.path(), &["-c", "c.yaml", "status"]);
    assert_eq!(no_file.status.code(), Some(2));
    assert_eq!(
        text(&no_file.stderr),
        "c.yaml: cannot be read: No such file or directory (os error 2)\n    remedy: name a readable file with -c\n"
    );
}

#[test]
fn nobody_there_is_exit_status_3() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = ctl(directory.path(), &["--socket", "x.sock", "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output.stderr),
        "lunmirror-target cannot be reached at x.sock: No such file or directory (os error 2)\n    remedy: is it running? \
         is this its admin.socket? name another with --socket PATH or -c target.yaml\n"
    );
    let output = ctl(directory.path(), &["--socket", "x.sock", "--json", "pause", "db"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(json(&output)["remedy"].is_string());
}

#[test]
fn the_socket_goes_with_the_target() {
    let mut served = Served::start();
    let socket = served.directory.path().join("run/admin.sock");
    assert!(socket.exists());
    served.target.signal(Signal::TERM);
    assert!(served.target.child.wait().expect("it is our child").success());
    assert!(!socket.exists());
    assert_eq!(served.ctl(&["status"]).status.code(), Some(3));
}

#[test]
fn a_second_target_does_not_take_the_first_ones_socket() {
    let served = Served::start();
    let other = fs::read_to_string(served.directory.path().join("c.yaml")).expect("read");
    let file = served.directory.path().join("d.yaml");
    fs::write(&file, other.replace("state_dir: state", "state_dir: other")).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunmirror-target"));
    let output = command.env_remove("RUST_LOG").arg("-c").arg(&file).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another process answers there"), "{output:?}");
    assert_eq!(served.ctl(&["status"]).status.code(), Some(0), "the first goes on");
}

#[test]
fn a_reload_moves_the_socket() {
    let served = Served::start();
    let (file, moved) = (served.directory.path().join("c.yaml"), served.directory.path().join("run/other.sock"));
    fs::write(&file, CONFIG.replace("admin.sock", "other.sock")).expect("written");
    served.target.signal(Signal::HUP);
    let patience = std::time::Instant::now();
    while !moved.exists() || served.directory.path().join("run/admin.sock").exists() {
        assert!(patience.elapsed().as_secs() < 20, "the socket was not moved");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(served.ctl(&["status"]).status.code(), Some(0));
}

#[test]
fn a_new_secret_overwrites_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = ctl(directory.path(), &["secret", "new", "state/pair.secret"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let secret = fs::read_to_string(directory.path().join("state/pair.secret")).expect("it is text");
    assert_eq!(secret.trim_end().len(), 64);
    assert!(!text(&output.stdout).contains(secret.trim_end()), "a secret is not printed");
    let again = ctl(directory.path(), &["secret", "new", "state/pair.secret"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read_to_string(directory.path().join("state/pair.secret")).expect("it is text"), secret);
}

#[test]
fn metadata_without_a_target() {
    let directory = tempfile::tempdir().expect("a directory");
    let ctl = |arguments: &[&str]| ctl(directory.path(), arguments);
    let nowhere = ctl(&["metadata", "show"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(text(&nowhere.stderr).starts_with("it is not known where the target's state_dir is\n    remedy: "));
    fs::write(directory.path().join("c.yaml"), CONFIG).expect("written");
    let missing = ctl(&["-c", "c.yaml", "metadata", "show"]);
    assert_eq!((missing.status.code(), text(&missing.stdout)), (Some(1), String::new()));
    assert!(text(&missing.stderr).starts_with("state/mirror: No such file"), "{missing:?}");
    let group = directory.path().join("state/mirror/db");
    fs::create_dir_all(&group).expect("made");
    let empty = ctl(&["metadata", "show", "db", "--state-dir", "state", "--json"]);
    assert_eq!((empty.status.code(), &json(&empty)[0]["record"]), (Some(0), &Value::Null));
    fs::write(group.join("record.json"), "{}\n{}\n").expect("written");
    let damaged = ctl(&["-c", "c.yaml", "metadata", "show"]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text(&damaged.stdout).contains("the record can't be read\n\n  there is no map"), "{damaged:?}");
    assert!(text(&damaged.stderr).starts_with("state/mirror/db/record.json: not a mirror's record"), "{damaged:?}");
    assert!(text(&damaged.stderr).contains("\n    remedy: restore it from a backup"), "{damaged:?}");
}

#[test]
fn a_journal_without_a_target() {
    let directory = tempfile::tempdir().expect("a directory");
    let ctl = |arguments: &[&str]| ctl(directory.path(), arguments);
    let journal = directory.path().join("state/mirror/db/journal");
    fs::create_dir_all(&journal).expect("made");
    // Less than a frame's header, which begins so.
    fs::write(journal.join("3"), b"LUNM\x01").expect("written");
    let torn = ctl(&["metadata", "show", "--state-dir", "state"]);
    assert_eq!((torn.status.code(), text(&torn.stderr)), (Some(0), String::new()), "a torn end is no fault");
    assert!(text(&torn.stdout).contains("  3        5      0       -       torn at byte 0\n"), "{torn:?}");
    fs::write(journal.join("3"), [b'x'; 100]).expect("written");
    let damaged = ctl(&["metadata", "show", "--state-dir", "state", "--writes", "--json"]);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    let segment = &json(&damaged)[0]["journal"]["segments"][0];
    assert_eq!((&segment["end"], &segment["ends_at"]), (&"damaged".into(), &0.into()));
    assert_eq!(segment["listed"][0]["state"], "header-damaged");
    assert!(
        text(&ctl(&["metadata", "show", "--state-dir", "state"]).stderr).contains("journal/3: damaged at byte 0: ")
    );
}

#[test]
fn who_has_read_enough_is_no_failure() {
    let served = Served::start();
    let mut command = Command::new("sh");
    command.current_dir(served.directory.path()).args(["-c", "\"$0\" -c c.yaml --json status | head -c 1; true"]);
    let output = command.arg(env!("CARGO_BIN_EXE_lunmirrorctl")).output().expect("a shell");
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("{", ""));
}
