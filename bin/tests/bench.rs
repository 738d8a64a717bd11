//! `lunmirrorctl bench` against a real target: what it measures, and what it notices.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Target, ctl, json, text};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = "\
node: alpha
state_dir: state
portals: [127.0.0.1:PORT]
admin: { socket: run/admin.sock }
limits: { shutdown_grace: 200ms }
volumes:
  db: { file: db.img, size: 8MiB }
  ro: { file: ro.img, size: 8MiB, read_only: true }
  big: { memory: {}, size: 8MiB, block_size: 4096 }
targets:
  iqn.2026-11.net.example:store: { initiators: [\"*\"], luns: { 0: db, 1: ro, 2: big } }
  iqn.2026-11.net.example:closed:
    initiators: [\"*\"]
    auth: { chap: { user: host, secret_file: host.secret } }
    luns: { 0: db }
";

const SECRET: &str = "a secret of sixteen or more";

/// A target in a directory of its own.
struct Served {
    directory: TempDir,
    target: Target,
    port: u16,
}

impl Served {
    fn start() -> Served {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("ro.img"), vec![0; 8 << 20]).expect("written");
        fs::write(path("host.secret"), SECRET).expect("written");
        let mut only_owner = fs::metadata(path("host.secret")).expect("there").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut only_owner, 0o600);
        fs::set_permissions(path("host.secret"), only_owner).expect("ours");
        let port = free_port();
        let config = CONFIG.replace("PORT", &port.to_string());
        let target = Target::start(directory.path(), "c.yaml", &config);
        Served { directory, target, port }
    }

    fn url(&self, target: &str, lun: u16) -> String {
        format!("iscsi://127.0.0.1:{}/iqn.2026-11.net.example:{target}/{lun}", self.port)
    }

    /// Half a second of LUN 0, unless the options say otherwise.
    fn bench(&self, options: &str) -> Output {
        self.bench_at(&self.url("store", 0), options)
    }

    fn bench_at(&self, url: &str, options: &str) -> Output {
        let mut arguments = vec!["bench", url, "--time", "500ms", "--warm-up", "100ms"];
        arguments.extend(options.split_whitespace());
        ctl(self.directory.path(), &arguments)
    }

    fn file(&self) -> fs::File {
        let path = self.directory.path().join("db.img");
        fs::OpenOptions::new().read(true).write(true).open(path).expect("its store")
    }
}

/// Below those that the system gives away.
fn free_port() -> u16 {
    let first = 20_000 + (std::process::id() % 5000) as u16;
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    std::iter::repeat_with(|| first + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        .take(5000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of so many is free")
}

fn well(output: &Output) -> Value {
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{output:?}");
    let told = json(output);
    assert_eq!((&told["errors"], &told["mismatches"]), (&Value::from(0), &Value::from(0)));
    assert!(told["ios"].as_u64().is_some_and(|ios| ios > 0), "{told}");
    told
}

#[test]
fn what_programs_are_told() {
    let served = Served::start();
    let pid = served.target.child.id();
    let told = well(&served.bench(&format!("--json --depth 4 --pid {pid}")));
    let keys: Vec<&String> = told.as_object().expect("one object").keys().collect();
    let mut expected = vec![
        "url",
        "rw",
        "read_share",
        "pattern",
        "block_bytes",
        "depth",
        "sessions",
        "digests",
        "seconds",
        "ios",
        "iops",
        "bytes_per_second",
        "errors",
        "mismatches",
        "latency_us",
        "histogram",
        "client_cpu_us_per_io",
        "target_cpu_us_per_io",
        "target_rss_bytes",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&told["rw"], &told["pattern"], &told["digests"]), (&"read".into(), &"random".into(), &"none".into()));
    assert_eq!((&told["block_bytes"], &told["depth"], &told["read_share"]), (&4096.into(), &4.into(), &100.into()));
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    let (ios, seconds) = (number(&told["ios"]), number(&told["seconds"]));
    assert!((0.3..3.0).contains(&seconds), "{told}");
    assert!((number(&told["iops"]) - ios / seconds).abs() < ios / 50.0, "{told}");
    let latency = ["p50", "p90", "p99", "p999", "max"].map(|key| number(&told["latency_us"][key]));
    assert!(latency.is_sorted() && latency[0] > 0.0, "{told}");
    // At depth 4, by Little's law.
    let mean = number(&told["latency_us"]["mean"]) / 1e6;
    assert!((0.5..1.5).contains(&(mean * ios / seconds / 4.0)), "{told}");
    let histogram = told["histogram"].as_array().expect("a list");
    assert_eq!(histogram.iter().map(|bucket| number(&bucket[1])).sum::<f64>(), ios);
    assert!(number(&told["target_rss_bytes"]) > 1e6 && told["client_cpu_us_per_io"].is_number(), "{told}");
    let without = well(&served.bench("--json"));
    assert_eq!((&without["target_cpu_us_per_io"], &without["target_rss_bytes"]), (&Value::Null, &Value::Null));
}

#[test]
fn what_people_are_told() {
    let served = Served::start();
    let output = served.bench("--rw mix --read-share 50 --overwrite --verify --seed 7");
    let told = text(&output.stdout);
    assert!(told.starts_with("random 50 % reads of 4 KiB, 32 at once in 1 session, no digests, 0."), "{told}");
    assert!(told.contains("P99.9") && told.contains('█') && told.contains("CPU of each: client "), "{told}");
    let noted = text(&output.stderr);
    assert!(noted.starts_with("verified: ") && noted.ends_with(" of what was written, seed 7\n"), "{noted}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_is_written_is_read_again_with_all_digests_and_sizes() {
    let served = Served::start();
    for options in [
        "--digests none",
        "--digests header --sessions 3",
        "--digests data --pattern sequential",
        "--digests both --sessions 2 --depth 64",
        // More than the first burst: with R2T.
        "--digests both --block-size 1MiB --depth 3",
        "--block-size 512 --size 64KiB --depth 100",
        "--block-size 1536 --digests data",
    ] {
        for rw in ["mix", "write"] {
            let told = well(&served.bench(&format!("--json --rw {rw} --overwrite --verify {options}")));
            assert_eq!(told["rw"], rw, "{options}");
        }
    }
    let big = served.url("store", 2);
    well(&served.bench_at(&big, "--json --rw mix --overwrite --verify"));
    let refused = served.bench_at(&big, "--block-size 512");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).starts_with("the LUN has blocks of 4096 bytes\n"), "{refused:?}");
}

/// Where it may write, and nowhere else.
#[test]
fn it_keeps_to_its_range_and_to_reading() {
    let served = Served::start();
    let all = || fs::read(served.directory.path().join("db.img")).expect("its store");
    well(&served.bench("--json"));
    for rw in ["write", "mix"] {
        let refused = served.bench(&format!("--rw {rw}"));
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains("remedy: if that may be lost, say so with --overwrite"), "{refused:?}");
    }
    assert!(all().iter().all(|&byte| byte == 0), "nothing was written");
    well(&served.bench("--json --rw write --overwrite --size 1MiB"));
    let (inside, outside) = (&all()[..1 << 20], &all()[1 << 20..]);
    assert!(inside.chunks(4096).filter(|block| block.iter().any(|&byte| byte != 0)).count() > 100);
    assert!(outside.iter().all(|&byte| byte == 0));
    let refused = served.bench("--size 9MiB");
    assert_eq!(
        (refused.status.code(), text(&refused.stderr).lines().next()),
        (Some(2), Some("the LUN has only 8388608 bytes"))
    );
}

#[test]
fn who_is_not_there_or_not_let_in() {
    let served = Served::start();
    for (url, options, status, words) in [
        (served.url("stare", 0), "", 1, "name one of its targets: iqn.2026-11.net.example:"),
        (served.url("store", 9), "", 1, "logical unit not supported (25h/00h)"),
        (format!("iscsi://127.0.0.1:{}/iqn.2026-11.net.example:store/0", free_port()), "", 3, "cannot be reached"),
        (served.url("closed", 0), "", 1, "name user and secret with --user NAME --password-file FILE"),
        (served.url("closed", 0), "--user host --password-file c.yaml", 1, "AUTHENTICATION_FAILURE"),
        (served.url("closed", 0), "--user host --password-file none", 2, "none cannot be read"),
        (served.url("store", 0), "--pid 4194305", 2, "processes [4194305]"),
    ] {
        let output = served.bench_at(&url, options);
        assert!(text(&output.stderr).contains(words), "{output:?}");
        assert_eq!(output.status.code(), Some(status), "{url} {options}");
        assert!(json(&served.bench_at(&url, &format!("--json {options}")))["remedy"].is_string());
    }
    well(&served.bench_at(&served.url("closed", 0), "--json --user host --password-file host.secret --sessions 2"));
}

#[test]
fn commands_that_fail_are_counted_and_told() {
    let served = Served::start();
    let output =
        served.bench_at(&served.url("store", 1), "--json --rw write --overwrite --digests both --block-size 512KiB");
    assert_eq!(output.status.code(), Some(1));
    let told = json(&output);
    assert!(told["errors"].as_u64().is_some_and(|errors| errors > 10) && told["ios"] == 0, "{told}");
    assert_eq!(told["client_cpu_us_per_io"], Value::Null, "of none");
    let words = text(&output.stderr);
    assert!(words.contains("errors; the first: write of block ") && words.contains("DATA PROTECT: "), "{words}");
}

/// One that runs beside what is done to its target; its load is under way.
fn begin(served: &Served, url: &str, options: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunmirrorctl"));
    command.current_dir(served.directory.path()).args(["bench", url]).args(options.split_whitespace());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let (before, began) = (bytes_read(&served.target), Instant::now());
    // More than a login leads to.
    while bytes_read(&served.target) < before + (1 << 20) {
        assert!(began.elapsed() < Duration::from_secs(20), "the target reads nothing from its stores");
        thread::yield_now();
    }
    child
}

/// By a process, from files; what sockets receive is not among it. proc_pid_io(5): rchar.
fn bytes_read(target: &Target) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{}/io", target.child.id())).expect("it is ours, and runs");
    let rchar = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("it is told");
    rchar.parse().expect("a number")
}

#[test]
fn a_target_that_dies_ends_it() {
    let mut served = Served::start();
    for options in ["--time 1m", "--time 1m --sessions 2"] {
        let child = begin(&served, &served.url("store", 0), options);
        served.target.signal(Signal::KILL);
        let output = child.wait_with_output().expect("our child");
        assert_eq!(output.status.code(), Some(1));
        let words = text(&output.stderr);
        assert!(words.contains("connection") && words.contains("remedy: does the target still run?"), "{words}");
        served.target.child.wait().expect("our child");
        let config = CONFIG.replace("PORT", &served.port.to_string());
        served.target = Target::start(served.directory.path(), "c.yaml", &config);
    }
}

#[test]
fn a_target_that_hangs_is_not_waited_for() {
    let began = Instant::now();
    // A target each: what it reads tells that its client is under way.
    let running = ["--time 1m", "--time 1m --sessions 2 --json"].map(|options| {
        let served = Served::start();
        let child = begin(&served, &served.url("store", 0), options);
        served.target.signal(Signal::STOP);
        (served, child)
    });
    for (_served, child) in running {
        let output = child.wait_with_output().expect("our child");
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(told.contains("nothing came from the target for 10 s, with 32 commands under way"), "{told}");
    }
    assert!(began.elapsed() < Duration::from_secs(25));
}

#[test]
fn what_is_changed_beneath_the_target_is_found() {
    let served = Served::start();
    let url = served.url("store", 0);
    let child = begin(&served, &url, "--json --rw mix --overwrite --verify --time 2s --size 256KiB");
    let (file, mut byte) = (served.file(), [0]);
    file.read_exact_at(&mut byte, 5000).expect("within");
    // Until it is neither overwritten before it is read, nor by one that was under way.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(800) {
        file.read_exact_at(&mut byte, 5000).expect("within");
        file.write_all_at(&[!byte[0]], 5000).expect("within");
        // The pace of it: each of the 64 blocks is read and written anew every few milliseconds.
        thread::sleep(Duration::from_millis(3));
    }
    let output = child.wait_with_output().expect("our child");
    let told = json(&output);
    assert_eq!((output.status.code(), &told["errors"]), (Some(1), &Value::from(0)));
    assert!(told["mismatches"].as_u64().is_some_and(|mismatches| mismatches > 0), "{told}");
    let words = text(&output.stderr);
    assert!(words.contains("the first: byte 5000 of the LUN (block 1 of 4096 bytes, at 904) is not what"), "{words}");
}

/// Lets bytes through both ways, and changes one of those that come from the target after a while.
fn spoiling(target: u16, after: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        let (host, _) = listener.accept().expect("it connects");
        let target = TcpStream::connect(("127.0.0.1", target)).expect("it listens");
        let (mut from_host, mut to_target) = (host.try_clone().expect("open"), target.try_clone().expect("open"));
        thread::spawn(move || std::io::copy(&mut from_host, &mut to_target));
        let (mut from_target, mut to_host, mut passed) = (target, host, 0);
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_target.read(&mut buffer) {
            if (passed..passed + length).contains(&after) {
                buffer[after - passed] ^= 1;
            }
            passed += length;
            if to_host.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    });
    port
}

#[test]
fn what_is_spoiled_on_the_way_is_found_by_digests() {
    let served = Served::start();
    // In the midst of a block, whichever: 48 bytes of 4152 are a header.
    for (options, words) in [("--digests data", "data digest"), ("--digests both", "digest")] {
        let port = spoiling(served.port, 1_000_000);
        let url = format!("iscsi://127.0.0.1:{port}/iqn.2026-11.net.example:store/0");
        let output = served.bench_at(&url, options);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = text(&output.stderr);
        assert!(told.contains(words) && told.contains("does not match\n    remedy: something between"), "{told}");
    }
}
