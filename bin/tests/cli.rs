//! The program as an operator meets it: a real process, its streams, signals and exit status.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunmirror-target"));
    command.env_remove("RUST_LOG").env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it speaks UTF-8")
}

const SOUND: &str = "\
node: alpha
state_dir: state
portals: [PORTAL]
limits: { shutdown_grace: 200ms }
volumes:
  db: { memory: {}, size: 1MiB }
targets:
  iqn.2026-11.net.example:store: { initiators: [\"*\"], luns: { 0: db } }
";

/// A directory with a configuration `c.yaml` that listens on `portal`.
fn directory(portal: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("c.yaml");
    fs::write(&file, SOUND.replace("PORTAL", portal)).expect("written");
    (directory, file)
}

/// A running target; killed when the test fails before it ended.
struct Served {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Served {
    fn start(file: &Path, arguments: &[&str]) -> Served {
        Served::spawn(program().arg("-c").arg(file).args(arguments))
    }

    fn spawn(command: &mut Command) -> Served {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let lines = BufReader::new(child.stderr.take().expect("it is piped"));
        Served { child, lines }
    }

    /// The first line from here on that holds `words`.
    fn line_with(&mut self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("it speaks UTF-8");
            assert!(read > 0, "it ended without saying {words:?}:\n{seen}");
            if line.contains(words) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).expect("it is running");
    }

    fn status(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("it speaks UTF-8");
        (self.child.wait().expect("it is our child").code(), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Ended already, in a test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn version() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), format!("lunmirror-target {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_exit_status_2() {
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["-c", "x.yaml", "--cheque"]).status.code(), Some(2));
}

#[test]
fn check_of_a_sound_file() {
    let (directory, file) = directory("127.0.0.1:0");
    let output = run(&["--check", "-c", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), format!("{} is sound: 1 target, 1 volume\n", file.display()));
    assert_eq!(output.status.code(), Some(0));
    assert!(!directory.path().join("state").exists(), "a check leaves no trace");
}

#[test]
fn check_of_a_faulty_file_tells_all_and_is_exit_status_2() {
    let (_directory, file) = directory("localhost");
    fs::write(&file, fs::read_to_string(&file).expect("read").replace("size", "sise")).expect("written");
    let file = file.to_str().expect("a path in UTF-8");
    for arguments in [&["--check", "-c", file][..], &["-c", file]] {
        let output = run(arguments);
        let expected = format!(
            "{file}:3: portals.0: \"localhost\" is not an address\n    remedy: write IP:PORT, as in 0.0.0.0:3260 or \
             \"[::]:3260\"; names are not looked up\n{file}:6: volumes.db.sise: there is no such setting\n    remedy: \
             did you mean size?\n2 faults in {file}\n"
        );
        assert_eq!(text(&output.stderr), expected);
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn a_portal_that_is_taken_is_exit_status_1_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let portal = taken.local_addr().expect("it is bound").to_string();
    let (_directory, file) = directory(&portal);
    let output = run(&["-c", file.to_str().expect("a path in UTF-8")]);
    assert!(text(&output.stderr).contains(&portal), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn sigterm_and_sigint_end_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_directory, file) = directory("127.0.0.1:0");
        let mut served = Served::start(&file, &[]);
        served.line_with("serving");
        served.signal(signal);
        let (code, rest) = served.status();
        assert!(rest.contains("ended in good order"), "{rest}");
        assert_eq!(code, Some(0));
    }
}

/// A discovery session, of the fewest bytes, that will not hear of logging out.
fn stubborn_initiator(portal: &str) -> TcpStream {
    let text = b"InitiatorName=iqn.2026-11.net.example:stubborn\0SessionType=Discovery\0";
    let mut login = vec![0; 48];
    login[0] = 0x43; // Login Request, immediate
    login[1] = 0x87; // T, CSG=1, NSG=3 (RFC 7143 §11.12)
    login[5..8].copy_from_slice(&(text.len() as u32).to_be_bytes()[1..]);
    login[8] = 0x80; // ISID of random type
    login.extend_from_slice(text);
    login.resize(login.len().next_multiple_of(4), 0);
    let mut socket = TcpStream::connect(portal).expect("it listens");
    socket.write_all(&login).expect("sent");
    let mut response = [0; 48];
    socket.read_exact(&mut response).expect("answered");
    assert_eq!((response[0], response[1], response[36]), (0x23, 0x87, 0), "logged in");
    socket
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_directory, file) = directory("127.0.0.1:0");
    fs::write(&file, fs::read_to_string(&file).expect("read").replace("200ms", "10m")).expect("written");
    let mut served = Served::start(&file, &[]);
    let line = served.line_with("serving");
    let portal = line.split_once("portals=").and_then(|(_, rest)| rest.split(' ').next()).expect("it says where");
    let _session = stubborn_initiator(portal);

    served.signal(Signal::TERM);
    served.line_with("ending in good order");
    served.signal(Signal::INT);
    let (code, rest) = served.status();
    assert!(rest.contains("a second signal to end"), "{rest}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_changed_file_is_applied_or_refused_whole() {
    let (_directory, file) = directory("127.0.0.1:0");
    let sound = fs::read_to_string(&file).expect("read");
    let mut served = Served::start(&file, &[]);
    served.line_with("serving");

    fs::write(&file, sound.replace("{ 0: db }", "{ 0: bd }")).expect("written");
    served.signal(Signal::HUP);
    let fault = served.line_with("there is no volume bd");
    assert!(fault.contains("luns.0") && fault.contains("did you mean db?"), "{fault}");
    served.line_with("refused");

    fs::write(&file, sound.replace("state_dir: state", "state_dir: elsewhere")).expect("written");
    served.signal(Signal::HUP);
    served.line_with("cannot change while the target runs");

    fs::write(&file, sound.replace("{ 0: db }", "{ 0: db, 1: db }")).expect("written");
    served.signal(Signal::HUP);
    served.line_with("the changed configuration is in force");

    served.signal(Signal::TERM);
    assert_eq!(served.status().0, Some(0));
}

#[test]
fn log_lines_can_be_json() {
    let (_directory, file) = directory("127.0.0.1:0");
    let mut served = Served::start(&file, &["--log-format", "json"]);
    let line = served.line_with("serving");
    assert!(line.starts_with('{') && line.contains("\"message\":\"serving\""), "{line}");
    served.signal(Signal::TERM);
    assert_eq!(served.status().0, Some(0));
}

#[test]
fn the_service_manager_is_told() {
    let (directory, file) = directory("127.0.0.1:0");
    let manager = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    // WATCHDOG_PID must be the process's own: a shell knows it before it becomes the program.
    let mut command = Command::new("sh");
    command
        .args(["-c", "WATCHDOG_PID=$$ exec \"$0\" -c \"$1\"", env!("CARGO_BIN_EXE_lunmirror-target")])
        .arg(&file)
        .env("NOTIFY_SOCKET", directory.path().join("notify"))
        .env("WATCHDOG_USEC", "100000");
    let served = Served::spawn(&mut command);
    let any = || {
        let mut buffer = [0; 1024];
        // A child that ended interrupts it.
        let interrupted = |error: &std::io::Error| error.kind() == std::io::ErrorKind::Interrupted;
        let mut received = std::iter::repeat_with(|| manager.recv(&mut buffer));
        let length = received.find(|result| !result.as_ref().is_err_and(interrupted)).expect("without end");
        let length = length.expect("it tells something in time");
        text(&buffer[..length])
    };
    let told = || loop {
        let told = any();
        if told != "WATCHDOG=1\n" {
            return told;
        }
    };

    let ready = told();
    assert!(ready.starts_with("READY=1\nSTATUS=1 target, 1 volume on 127.0.0.1:"), "{ready}");
    assert_eq!(any(), "WATCHDOG=1\n");
    served.signal(Signal::HUP);
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(told().starts_with("READY=1"));
    served.signal(Signal::TERM);
    assert!(told().starts_with("STOPPING=1"));
    assert_eq!(served.status().0, Some(0));
}
