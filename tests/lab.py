"""What the scenario scripts share: packages, the daemon under test, a stand-in target, and the count of what passed."""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).resolve().parent
PROJECT = TESTS.parent
CACHE = pathlib.Path(os.environ.get("LUNMIRROR_TEST_CACHE", pathlib.Path.home() / ".cache" / "lunmirror-tests"))
IQN = "iqn.2026-11.net.example"
START_TIMEOUT_S = 20
os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"

# Told to stop, we still take away what we made.
for stop in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(stop, lambda number, _: sys.exit(128 + number))


class LabError(Exception):
    """The test bench itself is not usable. Never a skip: whoever sees it fails."""


# ---------------------------------------------------------------- packages


@contextlib.contextmanager
def alone():
    """One at a time: several scripts may run, and look for packages, at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@alone()
def need(packages):
    """need({"fio": "fio", "sg_inq": "sg3-utils"}): installs the Debian packages whose program is absent."""
    absent = sorted({package for program, package in packages.items() if not shutil.which(program)})
    if absent:
        apt_install(absent)
    still = [program for program in packages if not shutil.which(program)]
    if still:
        raise LabError(f"{', '.join(still)}: not there even after apt-get install {' '.join(absent)}")


def apt_install(packages):
    if os.geteuid() != 0:
        raise LabError(f"needs the packages {' '.join(packages)}: run as root, or apt-get install them")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt_update(environment)
    run = subprocess.run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages],
                         env=environment, capture_output=True, text=True)
    if run.returncode:
        raise LabError(f"apt-get install {' '.join(packages)} failed: {run.stderr.strip()[-500:]}")


def apt_update(environment=None):
    run = subprocess.run(["apt-get", "-qq", "update"], env=environment, capture_output=True, text=True)
    if run.returncode:
        raise LabError(f"apt-get update failed: {run.stderr.strip()[-500:]}")


@alone()
def unpack(folder, *packages):
    """Downloads Debian packages and unpacks them under the cache, nothing installed. Done once."""
    target = CACHE / folder
    if not (target / ".complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages]
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run(download, cwd=folder, capture_output=True, text=True)
            if run.returncode:
                apt_update()
                run = subprocess.run(download, cwd=folder, capture_output=True, text=True)
            if run.returncode:
                raise LabError(f"apt-get download {' '.join(packages)} failed: {run.stderr.strip()[-500:]}")
            for package in pathlib.Path(folder).glob("*.deb"):
                subprocess.run(["dpkg", "-x", package, target], check=True)
        (target / ".complete").touch()
    return target


# ---------------------------------------------------------------- small things


def free_port(host="127.0.0.1"):
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def wait_until(what, holds, timeout_s, alive=None):
    """Waits for a condition of the outside world that nobody will tell us about. Returns what `holds` returned."""
    end = time.monotonic() + timeout_s
    while True:
        if value := holds():
            return value
        if alive and not alive():
            raise LabError(f"ended before {what}")
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {timeout_s} s")
        time.sleep(0.02)


@contextlib.contextmanager
def scratch_folder(name, parent="/var/tmp"):
    """A folder on a real file system (holes, fallocate), gone at the end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"lunmirror-{name}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Tally:
    """Counts, and prints as it counts; `tests/run` reads the last line."""

    def __init__(self, title):
        self.passed, self.failed = 0, 0
        print(f"== {title}", flush=True)

    def check(self, name, holds, why=""):
        if holds:
            self.passed += 1
            print(f"  ok    {name}", flush=True)
        else:
            self.failed += 1
            print(f"  FAIL  {name}{': ' if why else ''}{why}", flush=True)
        return bool(holds)

    @contextlib.contextmanager
    def step(self, name):
        try:
            yield
        except Exception as error:  # whatever it is, it is no pass
            detail = getattr(error, "stderr", None) or ""
            detail = detail.decode(errors="replace") if isinstance(detail, bytes) else detail
            self.check(name, False, f"{error} {detail[-600:]}".strip())
        else:
            self.check(name, True)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


# ---------------------------------------------------------------- targets


def daemon_binary():
    """The release daemon: $LUNMIRROR_TARGET, or whatever cargo says it built."""
    if given := os.environ.get("LUNMIRROR_TARGET"):
        return given
    build = subprocess.run(["cargo", "build", "--release", "--bin", "lunmirror-target", "--bin", "lunmirrorctl", "--message-format=json"],
                           cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    found = None
    for line in build.stdout.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("target", {}).get("name") == "lunmirror-target" and message.get("executable"):
            found = message["executable"]
    if build.returncode or not found:
        raise LabError("cargo build --release --bin lunmirror-target gave no daemon")
    os.environ["LUNMIRROR_TARGET"] = found
    return found


class Process:
    """A child in a process group of its own, so that ending it takes its children along and nobody else."""

    def __init__(self, command, log, environment=None, netns=None):
        if netns:
            command = ["ip", "netns", "exec", netns, *command]
        self.log = pathlib.Path(log)
        self.child = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=open(log, "ab"),
                                      stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        self.pid = self.child.pid

    def alive(self):
        return self.child.poll() is None

    def end(self, how=signal.SIGKILL, timeout_s=30):
        if self.alive():
            os.killpg(self.pid, how)
        try:
            return self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.child.wait()
            raise LabError(f"did not end within {timeout_s} s of signal {how}") from None


class Lunmirror:
    """The daemon under test. `with Lunmirror(folder, yaml) as target:` returns once it says READY=1."""

    def __init__(self, folder, config, netns=None, name="target"):
        self.folder, self.netns, self.name = pathlib.Path(folder), netns, name
        self.config = self.folder / f"{name}.yaml"
        self.log = self.folder / f"{name}.log"
        self.process = None
        self.write(config)

    def write(self, config):
        self.config.write_text(config)

    def start(self):
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.folder / f"{self.name}.notify"
        path.unlink(missing_ok=True)
        notices.bind(str(path))
        notices.settimeout(0.2)
        environment = dict(os.environ, NOTIFY_SOCKET=str(path), RUST_LOG=os.environ.get("RUST_LOG", "info"))
        self.process = Process([daemon_binary(), "-c", self.config], self.log, environment, self.netns)
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if b"READY=1" in notices.recv(4096).split(b"\n"):
                    return self
            except TimeoutError:
                pass
            if not self.process.alive() or time.monotonic() > end:
                self.process.end()
                raise LabError(f"the daemon did not become ready; its log ends: {self.log_tail()}")

    def reload(self, config):
        self.write(config)
        os.kill(self.process.pid, signal.SIGHUP)

    def kill(self):
        self.process.end(signal.SIGKILL)

    def stop(self):
        """A clean end, and the status it ended with."""
        return self.process.end(signal.SIGTERM)

    def log_tail(self, count=2000):
        return self.log.read_text(errors="replace")[-count:] if self.log.exists() else "(empty)"

    def panicked(self):
        return "panicked at" in self.log_tail(10_000_000)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process:
            self.process.end(signal.SIGKILL)
