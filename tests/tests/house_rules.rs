//! The house's rules over the sources: who may import whom, and what a review should not have to catch. Each rule names what
//! to write instead, and each is shown to catch what it is for.

use std::fs;

use scenarios::source::{Source, project, workspace};

struct Rule {
    name: &'static str,
    /// Where it holds.
    applies: fn(&str) -> bool,
    /// Lines of a source (counted from 1) that break it.
    broken: fn(&Source) -> Vec<usize>,
    instead: &'static str,
    /// A path and a line that must be caught.
    planted: (&'static str, &'static str),
}

fn pure(path: &str) -> bool {
    [
        "iscsi-proto/src/",
        "target-core/src/scsi/",
        "mirror-link/src/replica/",
        "mirror-link/src/peer/",
        "mirror-link/src/wire/",
    ]
    .iter()
    .any(|room| path.starts_with(room))
}

fn asynchronous(path: &str) -> bool {
    ["target-core/src/portal/", "target-core/src/target/", "mirror-link/src/link/"]
        .iter()
        .any(|room| path.starts_with(room))
}

fn anywhere(_: &str) -> bool {
    true
}

/// Lines where one of the words stands, not as a part of a longer identifier.
fn with_word(source: &Source, words: &[&str]) -> Vec<usize> {
    let identifier = |c: char| c.is_alphanumeric() || c == '_';
    let found = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let goes_on_before = word.starts_with(identifier) && before.is_some_and(identifier);
            let goes_on_after = word.ends_with(identifier) && after.is_some_and(identifier);
            !goes_on_before && !goes_on_after
        })
    };
    (1..).zip(&source.code).filter(|(_, line)| words.iter().any(|word| found(line, word))).map(|(n, _)| n).collect()
}

/// Lines that name one of these rooms of the same crate.
fn with_room(source: &Source, rooms: &[&str]) -> Vec<usize> {
    source
        .crate_modules()
        .into_iter()
        .filter(|(_, name)| rooms.contains(&name.as_str()))
        .map(|(line, _)| line)
        .collect()
}

/// More than this and an object is missing.
const LINES_MAX: usize = 700;

const RULES: &[Rule] = &[
    Rule {
        name: "iscsi-proto knows no other crate of ours",
        applies: |path| path.starts_with("iscsi-proto/"),
        broken: |s| with_word(s, &["mirror_link", "target_core"]),
        instead: "hand over bytes and events; target-core joins the two",
        planted: ("iscsi-proto/src/a.rs", "use mirror_link::Extent;"),
    },
    Rule {
        name: "mirror-link knows no other crate of ours",
        applies: |path| path.starts_with("mirror-link/"),
        broken: |s| with_word(s, &["iscsi_proto", "target_core"]),
        instead: "speak of blocks; target-core translates from SCSI",
        planted: ("mirror-link/src/a.rs", "use iscsi_proto::types::Lun;"),
    },
    Rule {
        name: "bin speaks neither SCSI nor the wire protocol",
        // But for a load generator, which is an initiator.
        applies: |path| path.starts_with("bin/") && !path.starts_with("bin/src/ctl/bench/"),
        broken: |s| with_word(s, &["iscsi_proto", "target_core::scsi", "target_core::lu"]),
        instead: "use target_core::target's typed configuration",
        planted: ("bin/src/main.rs", "use iscsi_proto::login;"),
    },
    Rule {
        name: "scsi is at the bottom",
        applies: |path| path.starts_with("target-core/src/scsi/"),
        broken: |s| with_room(s, &["portal", "target", "lu", "volume"]),
        instead: "take what is needed as an argument; lu calls scsi",
        planted: ("target-core/src/scsi/a.rs", "use crate::{block::BlockLength, lu::Nexus};"),
    },
    Rule {
        name: "block is at the bottom",
        applies: |path| path.starts_with("target-core/src/block/"),
        broken: |s| with_room(s, &["portal", "target", "lu", "scsi", "volume"]),
        instead: "answer with BlockError; lu turns it into sense",
        planted: ("target-core/src/block/a.rs", "use crate::scsi::sense::Sense;"),
    },
    Rule {
        name: "volume stands on block alone",
        applies: |path| path.starts_with("target-core/src/volume/"),
        broken: |s| with_room(s, &["portal", "target", "lu", "scsi"]),
        instead: "be a BlockDevice; lu need not know which",
        planted: ("target-core/src/volume/a.rs", "use crate::lu::Unit;"),
    },
    Rule {
        name: "lu does not look up",
        applies: |path| path.starts_with("target-core/src/lu/"),
        broken: |s| with_room(s, &["portal", "target"]),
        instead: "take it from the command or the nexus; the router calls lu",
        planted: ("target-core/src/lu/a.rs", "use crate::target::Router;"),
    },
    Rule {
        name: "target does not look up",
        applies: |path| path.starts_with("target-core/src/target/"),
        broken: |s| with_room(s, &["portal"]),
        instead: "hand portal a value it can act on",
        planted: ("target-core/src/target/a.rs", "fn f(c: &crate::portal::Daemon) {}"),
    },
    Rule {
        name: "SCSI's wire is not iSCSI's",
        applies: |path| path.starts_with("target-core/src/scsi/") || path.starts_with("target-core/src/block/"),
        broken: |s| with_word(s, &["iscsi_proto"]),
        instead: "use the types of target_core::scsi; portal translates",
        planted: ("target-core/src/scsi/a.rs", "use iscsi_proto::types::Lun;"),
    },
    Rule {
        name: "no socket, file or task in a pure room",
        applies: pure,
        broken: |s| {
            with_word(
                s,
                &["tokio", "std::net", "std::fs", "std::thread", "std::process", "std::env", "File::open", "TcpStream"],
            )
        },
        instead: "take bytes, give events; the shell does the I/O",
        planted: ("iscsi-proto/src/session/a.rs", "let s = tokio::spawn(f());"),
    },
    Rule {
        name: "no clock in a pure room",
        applies: pure,
        broken: |s| with_word(s, &["Instant::now", "SystemTime::now", "SystemTime", "elapsed()"]),
        instead: "take `now: Instant` as an argument",
        planted: ("target-core/src/scsi/a.rs", "let now = std::time::Instant::now();"),
    },
    Rule {
        name: "no randomness in a pure room",
        applies: pure,
        broken: |s| with_word(s, &["rand::", "getrandom", "RandomState", "Uuid::new_v4"]),
        instead: "take the random bytes as an argument",
        planted: ("iscsi-proto/src/login/a.rs", "getrandom::fill(&mut challenge)?;"),
    },
    Rule {
        name: "no lock in a pure room",
        applies: pure,
        broken: |s| with_word(s, &["Mutex", "RwLock"]),
        instead: "be owned by one task: take `&mut self`",
        planted: ("iscsi-proto/src/session/a.rs", "tasks: std::sync::Mutex<Tasks>,"),
    },
    Rule {
        name: "no unwrap",
        applies: anywhere,
        broken: |s| with_word(s, &[".unwrap()", ".unwrap_err()"]),
        instead: "return an error for what was received; expect(\"reason\") for what we guarantee",
        planted: ("target-core/src/lu/a.rs", "let n = bytes.first().unwrap();"),
    },
    Rule {
        name: "expect gives a reason",
        applies: anywhere,
        broken: |s| with_word(s, &[".expect(\"\")"]),
        instead: "say why it cannot fail",
        planted: ("target-core/src/lu/a.rs", "let n = bytes.first().expect(\"\");"),
    },
    Rule {
        name: "no printing",
        applies: anywhere,
        broken: |s| with_word(s, &["println!", "eprintln!", "print!", "eprint!", "dbg!"]),
        instead: "use tracing; bin writes to stdout and stderr with write!",
        planted: ("bin/src/a.rs", "eprintln!();"),
    },
    Rule {
        name: "nothing unfinished",
        applies: anywhere,
        broken: |s| with_word(s, &["todo!", "unimplemented!"]),
        instead: "write it, or leave it out",
        planted: ("mirror-link/src/a.rs", "fn f() { todo!() }"),
    },
    Rule {
        name: "no thread sleeps in async code",
        applies: asynchronous,
        broken: |s| with_word(s, &["thread::sleep"]),
        instead: "use tokio::time::sleep_until with the core's next timeout",
        planted: ("target-core/src/portal/a.rs", "std::thread::sleep(pause);"),
    },
    Rule {
        name: "no blocking file system calls in portal",
        applies: |path| path.starts_with("target-core/src/portal/"),
        broken: |s| with_word(s, &["std::fs", "fs::read", "fs::write", "File::open"]),
        instead: "let a BlockDevice or the state directory's owner do it, on its own threads",
        planted: ("target-core/src/portal/a.rs", "let text = std::fs::read_to_string(path)?;"),
    },
    Rule {
        name: "no state behind a shared lock",
        applies: |path| !path.starts_with("target-core/src/block/"),
        broken: |s| {
            let mut found = with_word(s, &["Arc<Mutex<", "Arc<RwLock<", "Arc<std::sync::Mutex<"]);
            // A turn to take, with nothing behind it.
            found.retain(|&line| !s.code[line - 1].contains("Mutex<()>"));
            found
        },
        instead: "give it one owner, and the others a channel",
        planted: ("target-core/src/portal/a.rs", "sessions: Arc<Mutex<HashMap<Tsih, Session>>>,"),
    },
    Rule {
        name: "no queue without a bound",
        applies: anywhere,
        broken: |s| with_word(s, &["unbounded_channel", "mpsc::channel()"]),
        instead: "bound it by a constant with a unit and a reason",
        planted: ("target-core/src/portal/a.rs", "let (tx, rx) = mpsc::unbounded_channel();"),
    },
    Rule {
        name: "only bin ends the process",
        applies: |path| !path.starts_with("bin/"),
        broken: |s| with_word(s, &["process::exit", "process::abort"]),
        instead: "return an error",
        planted: ("target-core/src/portal/a.rs", "std::process::exit(1);"),
    },
    Rule {
        name: "unsafe lives in block",
        applies: |path| !path.starts_with("target-core/src/block/"),
        broken: |s| with_word(s, &["unsafe"]),
        instead: "use rustix, or put the system call into target-core/src/block/sys.rs",
        planted: ("target-core/src/portal/a.rs", "unsafe { libc::getpid() };"),
    },
    Rule {
        name: "no file of more than 700 lines",
        applies: anywhere,
        broken: |s| {
            if s.code.len() > LINES_MAX { vec![s.code.len()] } else { vec![] }
        },
        instead: "find the object that is missing, and give it its file",
        planted: ("bin/src/a.rs", ""),
    },
];

fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.applies)(&source.path)) {
        for line in (rule.broken)(source) {
            found.push(format!("{}:{line}: {} — {}", source.path, rule.name, rule.instead));
        }
    }
    found
}

#[test]
fn the_sources_keep_the_rules() {
    let found: Vec<String> = workspace().iter().flat_map(violations).collect();
    assert!(found.is_empty(), "{} broken:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_rule_catches_what_it_is_for() {
    for rule in RULES {
        let (path, line) = rule.planted;
        let text =
            if line.is_empty() { "let x = 1;\n".repeat(LINES_MAX + 1) } else { format!("fn a() {{}}\n{line}\n") };
        let found = violations(&Source::new(path, &text));
        assert!(found.iter().any(|violation| violation.contains(rule.name)), "{}: not caught in {line:?}", rule.name);
    }
}

#[test]
fn what_is_said_in_comments_literals_and_tests_is_free() {
    let text = "// x.unwrap()\nlet a = \"todo!\";\nlet unwrapped = b.unwrap_or(0);\n#[cfg(test)]\nmod tests {\n  x.unwrap();\n}\n";
    assert_eq!(violations(&Source::new("target-core/src/lu/a.rs", text)), Vec::<String>::new());
}

#[test]
fn each_crate_depends_only_downward() {
    for (member, forbidden) in [
        ("iscsi-proto", &["mirror-link", "target-core", "tokio"][..]),
        ("mirror-link", &["iscsi-proto", "target-core"]),
        ("target-core", &["lunmirror"]),
        ("bin", &["mirror-link"]),
    ] {
        let manifest = fs::read_to_string(project().join(member).join("Cargo.toml")).expect("a member has a manifest");
        let tables = manifest.split("\n[").find(|table| table.starts_with("dependencies]")).unwrap_or_default();
        for name in forbidden {
            let depends = tables.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(name));
            assert!(!depends, "{member}/Cargo.toml depends on {name}");
        }
    }
}

#[test]
fn no_test_is_ignored() {
    fn visit(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()) {
            if entry.is_dir() && !entry.ends_with("target") && !entry.ends_with(".git") {
                visit(&entry, found);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&entry).expect("text");
                if text.lines().any(|line| line.trim_start().starts_with("#[ignore")) {
                    found.push(entry.display().to_string());
                }
            }
        }
    }
    let mut found = Vec::new();
    for member in ["iscsi-proto", "mirror-link", "target-core", "bin", "tests"] {
        visit(&project().join(member), &mut found);
    }
    assert!(found.is_empty(), "a test that is ignored shows nothing: {found:?}");
}
