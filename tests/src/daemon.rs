//! The daemon as a process of its own, on real sockets.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The daemon's word that it serves.
const READY: &[u8] = b"READY=1";

/// More than any start takes, even on a machine that does much else.
pub const START_PATIENCE: Duration = Duration::from_secs(30);

/// `PORT`, `PORT2` and `DIR` in a configuration become what this daemon was given.
pub struct Daemon {
    child: Child,
    addresses: Vec<SocketAddr>,
    dir: Arc<TempDir>,
    notices: UnixDatagram,
    log: Arc<Mutex<Vec<u8>>>,
    collectors: [Option<JoinHandle<()>>; 2],
}

impl Daemon {
    /// Returns once the daemon has said that it is ready.
    ///
    /// ```yaml
    /// state_dir: DIR
    /// portals: [127.0.0.1:PORT]
    /// ```
    pub fn start(yaml: &str) -> Daemon {
        let dir = Arc::new(TempDir::with_prefix("lunmirror-scenario-").expect("a folder for the daemon"));
        Daemon::start_in(dir, yaml)
    }

    /// The same in a folder that an earlier daemon used: what it left there is still there.
    pub fn start_in(dir: Arc<TempDir>, yaml: &str) -> Daemon {
        let ports = free_ports(2);
        Daemon::start_at(dir, &ports, yaml)
    }

    pub fn start_at(dir: Arc<TempDir>, ports: &[u16], yaml: &str) -> Daemon {
        Daemon::start_within(None, dir, ports, yaml)
    }

    /// In a network namespace, if not in ours; nobody here reaches its portals there.
    pub fn start_within(namespace: Option<&str>, dir: Arc<TempDir>, ports: &[u16], yaml: &str) -> Daemon {
        write_config(dir.path(), ports, yaml);
        let socket = dir.path().join("notify");
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{}: {error}", socket.display()),
            _ => {}
        }
        let notices = UnixDatagram::bind(&socket).expect("a socket for the daemon's notices");
        notices.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout on it");
        let mut command = match namespace {
            Some(name) => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", name]).arg(program());
                ip
            }
            None => Command::new(program()),
        };
        let mut child = command
            .arg("-c")
            .arg(dir.path().join("config.yaml"))
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon's program runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        let collectors = [
            Some(collect(child.stdout.take().expect("piped"), Arc::clone(&log))),
            Some(collect(child.stderr.take().expect("piped"), Arc::clone(&log))),
        ];
        let addresses = ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let mut daemon = Daemon { child, addresses, dir, notices, log, collectors };
        daemon.wait_ready();
        daemon
    }

    fn wait_ready(&mut self) {
        let since = Instant::now();
        loop {
            let mut notice = [0; 4096];
            if let Ok(length) = self.notices.recv(&mut notice)
                && notice[..length].split(|&byte| byte == b'\n').any(|line| line == READY)
            {
                return;
            }
            let ended = self.child.try_wait().expect("our child");
            assert!(ended.is_none(), "the daemon ended with {ended:?} before it was ready:\n{}", self.log());
            assert!(
                since.elapsed() < START_PATIENCE,
                "the daemon is not ready after {START_PATIENCE:?}:\n{}",
                self.log()
            );
        }
    }

    /// Its portal at `PORT`.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Its portal at `PORT2`, if the configuration has one.
    pub fn second_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    pub fn ports(&self) -> Vec<u16> {
        self.addresses.iter().map(SocketAddr::port).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// To start another daemon where this one was.
    pub fn keep_dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().expect("nobody panics with the log")).into_owned()
    }

    /// Waits until it logs a line with this in it.
    pub fn wait_for_log(&self, text: &str, patience: Duration) {
        wait_until(&format!("the log says {text:?}"), patience, || self.log().contains(text));
    }

    /// A changed configuration and SIGHUP; does not wait for what comes of it.
    pub fn reload(&self, yaml: &str) {
        write_config(self.dir.path(), &self.ports(), yaml);
        self.signal("HUP");
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success(), "no signal {name} to the daemon: {}", self.log());
    }

    /// SIGTERM, and how it ended.
    pub fn stop(mut self, patience: Duration) -> ExitStatus {
        self.signal("TERM");
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(since.elapsed() < patience, "the daemon does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Arc<TempDir> {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
        Arc::clone(&self.dir)
    }

    /// SIGKILL, without waiting until it has ended.
    pub fn strike(&self) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process has a number");
        kill_process(pid, Signal::KILL).expect("our child, for which nobody has waited");
    }

    /// SIGKILL, and everything it has ever logged.
    pub fn bury(mut self) -> String {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
        for collector in self.collectors.iter_mut().filter_map(Option::take) {
            collector.join().expect("it reads to the end");
        }
        self.log()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Alive, and no thread of it panicked.
    pub fn assert_well(&mut self) {
        let log = self.log();
        assert!(!log.contains("panicked at"), "the daemon panicked:\n{log}");
        assert!(self.is_alive(), "the daemon ended:\n{log}");
    }

    /// Resident memory, bytes.
    pub fn rss(&self) -> u64 {
        self.status_kib("VmRSS:") * 1024
    }

    /// The most it ever had resident, bytes.
    pub fn rss_max(&self) -> u64 {
        self.status_kib("VmHWM:") * 1024
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon lives");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel tells memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Time on processors since it started, user and system, all threads.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the daemon lives");
        // proc(5): the name in parentheses may hold anything; utime and stime are fields 14 and 15, state is field 3.
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
        let ticks: u64 = [11, 12].iter().map(|&n: &usize| fields[n].parse::<u64>().expect("a number of ticks")).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// Open file descriptors.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the daemon lives").count()
    }
}

/// sysconf(_SC_CLK_TCK): 100 on every Linux we run on.
const TICKS_PER_SECOND: u64 = 100;

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(LOG_SHOWN);
            let shown = log.get(from..).unwrap_or(&log);
            panic_note(&format!("the daemon's log ends:\n{shown}"));
        }
    }
}

/// Bytes of log that a failed scenario shows.
const LOG_SHOWN: usize = 8192;

#[allow(clippy::print_stderr)]
fn panic_note(text: &str) {
    eprintln!("{text}");
}

/// Looks again and again at something that nobody tells us about.
pub fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    assert!(comes_true(patience, &mut holds), "{what}: not within {patience:?}");
}

/// As `wait_until`, for who has more to say where it does not: false.
pub fn comes_true(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while !holds() {
        if since.elapsed() >= patience {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Ports that were free a moment ago, for TCP and for UDP, and that the system gives to nobody who asks for any: they lie
/// below the ephemeral ones.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let of_this_process = std::process::id().wrapping_mul(PORTS_OF_A_PROCESS);
    let is_free = |port: &u16| {
        let address = ("127.0.0.1", *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    let drawn = || {
        let nth = of_this_process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        FIRST_PORT + (nth % PORTS) as u16
    };
    std::iter::repeat_with(drawn).take(PORTS as usize).filter(is_free).take(count).collect()
}

const FIRST_PORT: u16 = 12_000;
const PORTS: u32 = 20_000;
/// So that scenarios in several processes at once seldom look at the same.
const PORTS_OF_A_PROCESS: u32 = 211;

fn write_config(dir: &Path, ports: &[u16], yaml: &str) {
    let mut text = yaml.replace("DIR", &dir.display().to_string());
    for (name, port) in [("PORT2", ports.get(1)), ("PORT", ports.first())] {
        text = text.replace(name, &port.copied().unwrap_or_default().to_string());
    }
    fs::write(dir.join("config.yaml"), text).expect("the daemon's configuration");
}

fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            log.lock().expect("nobody panics with the log").append(&mut line);
        }
    })
}

/// `$LUNMIRROR_TARGET`, or what cargo builds now, once for all scenarios of a process.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("LUNMIRROR_TARGET") {
        Some(given) => PathBuf::from(given),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(crate::source::project()).args([
        "build",
        "--bin",
        "lunmirror-target",
        "--bin",
        "lunmirrorctl",
        "--message-format=json",
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo builds no daemon");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "lunmirror-target")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo says where the daemon is")
}
