"""The client: `lunmirrorctl bench` on a core of its own, and what the kernel says of the processes that it measures."""

import contextlib
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "mirror"), str(HERE.parent / "kernel")]
import lab
from pair import ctl_binary

WARM_UP_MS = 500
# Beyond what it measures: logins of a thousand sessions, the end of what is in flight.
PATIENCE_S = 90
# Of one client; more sessions take more clients.
CLIENT_SESSIONS_MAX = 250
MIB = 1 << 20


class Cores:
    """One for the target, one for the client; a replica shares the client's."""

    def __init__(self):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise lab.LabError("needs two cores: one for the target, one for the client")
        self.client, self.target = allowed[0], allowed[-1]


@contextlib.contextmanager
def on_core(core):
    """What is started within is born on this core and, where we may, before all others: it inherits both from us."""
    before, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {core})
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        if os.geteuid() == 0:
            os.setpriority(os.PRIO_PROCESS, 0, nice)


def before_others(pid):
    """Where the kernel shares processors among sessions first, a process that leads one of its own needs this beside its nice."""
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{pid}/autogroup").write_text("-20")


def cpu_seconds(pid):
    """What all threads of a process have used; to the nanosecond, unlike /proc/PID/stat."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def rss_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None


class Load:
    """Runs cells against servers."""

    def __init__(self, cores, seconds):
        self.cores, self.seconds = cores, seconds

    def command(self, cell, sessions, url, pid, seed, client, limit_bytes):
        words = [ctl_binary(), "bench", "--rw", cell.rw, "--depth", cell.depth, "--sessions", sessions, "--block-size", cell.block,
                 "--pattern", cell.pattern, "--digests", cell.digests, "--time", f"{int(self.seconds * 1000)}ms",
                 "--warm-up", f"{WARM_UP_MS}ms", "--seed", seed, "--pid", pid,
                 "--initiator-name", f"{lab.IQN}:client{client}", "--json"]
        if cell.rw != "read":
            words.append("--overwrite")
        if cell.rw == "mix":
            words += ["--read-share", 70]
        if limit_bytes:
            words += ["--size", limit_bytes]
        return [str(word) for word in (*words, url)]

    def run(self, cell, urls, pid, seed=1, limit_bytes=None):
        """One sample: one client for each URL, or several, all at once."""
        crowds = -(-cell.sessions // CLIENT_SESSIONS_MAX)
        if cell.sessions % crowds:
            raise lab.LabError(f"{cell.name}: {cell.sessions} sessions are not to be shared by {crowds} clients")
        urls, sessions = urls * crowds, cell.sessions // crowds
        with on_core(self.cores.client):
            clients = [subprocess.Popen(self.command(cell, sessions, url, pid, seed + n, n, limit_bytes), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
                       for n, url in enumerate(urls)]
        for client in clients:
            before_others(client.pid)
        try:
            answers = [client.communicate(timeout=self.seconds + PATIENCE_S) for client in clients]
        except subprocess.TimeoutExpired:
            raise lab.LabError(f"{cell.name} on {urls[0]}: no end within {self.seconds + PATIENCE_S} s") from None
        finally:
            for client in clients:
                if client.poll() is None:
                    client.kill()
                    client.wait()
        for client, (out, complaint) in zip(clients, answers):
            if not out.strip():
                raise lab.LabError(f"{cell.name} on {urls[0]}: status {client.returncode}, {complaint.strip()[-400:]}")
        return summed([json.loads(out) for out, _ in answers])


def summed(parts):
    """What one or several clients that ran at once saw, as one sample."""
    iops = sum(part["iops"] for part in parts)
    # Each client saw all of the target's CPU beside its own share of the I/O.
    cpu = [part["target_cpu_us_per_io"] * part["iops"] for part in parts if part.get("target_cpu_us_per_io") is not None]
    latency = {key: max(part["latency_us"][key] for part in parts) for key in ("p50", "p99", "p999")}
    client_cpu = [(part["client_cpu_us_per_io"] or 0) * part["iops"] for part in parts]
    rss = [part["target_rss_bytes"] for part in parts if part.get("target_rss_bytes")]
    return {
        "iops": iops,
        "bytes_per_second": sum(part["bytes_per_second"] for part in parts),
        "errors": sum(part["errors"] + (part.get("mismatches") or 0) for part in parts),
        **latency,
        "p99_per_p50": latency["p99"] / latency["p50"] if latency["p50"] else None,
        "client_cpu_us": sum(client_cpu) / iops if iops else None,
        "target_cpu_us": sum(cpu) / len(cpu) / iops if cpu and iops else None,
        "rss_mib": max(rss) / MIB if rss else None,
    }


def alternate(results, cell, contenders, rounds, sample, seen=None):
    """Each round runs all of them, each round another one first. One that fails is noted, and the others go on."""
    for n in range(rounds):
        for i in range(len(contenders)):
            contender = contenders[(i + n) % len(contenders)]
            try:
                results.add(cell, contender, n, sample(cell, contender, n))
            except lab.LabError as error:
                print(f"  FAIL  {contender}: {error}", flush=True)
                results.failures.append(f"{contender}: {error}")
    if seen:
        seen(cell)


class IdleSession:
    """Logged in (RFC 7143 §11.12), and silent from then on."""

    def __init__(self, host, port, iqn, number):
        self.socket = socket.create_connection((host, port), timeout=10)
        text = b"".join(f"{key}\0".encode() for key in (
            f"InitiatorName={lab.IQN}:idle{number}", "SessionType=Normal", f"TargetName={iqn}", "AuthMethod=None"))
        self.expected = 0
        self.exchange(0x81, text, number)  # from security negotiation to operational
        self.exchange(0x87, b"", number)  # and to full feature phase

    def exchange(self, flags, text, number):
        header = struct.pack(">BBBBI6sHIHHII16x", 0x43, flags, 0, 0, len(text), struct.pack(">BBHH", 0x80, 0, 0, number), 0, 0, 0, 0, 1, self.expected)
        self.socket.sendall(header + text + bytes(-len(text) % 4))
        answer = self.take(48)
        length = int.from_bytes(answer[5:8], "big")
        self.take(length + -length % 4)
        self.expected = int.from_bytes(answer[24:28], "big") + 1
        if answer[0] & 0x3F != 0x23 or answer[36]:
            raise lab.LabError(f"login refused: opcode {answer[0]:#x}, status {answer[36]:02x}{answer[37]:02x}")

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise lab.LabError("the target hung up on a login")
            data += more
        return data

    def close(self):
        self.socket.close()


def idle_cpu_percent(server, sessions, seconds):
    """Of one core, while so many sessions are logged in and nobody wants anything."""
    crowd = [IdleSession("127.0.0.1", server.port, server.iqn, n) for n in range(sessions)]
    try:
        time.sleep(1)
        before = cpu_seconds(server.pid)
        time.sleep(seconds)
        return (cpu_seconds(server.pid) - before) / seconds * 100
    finally:
        for session in crowd:
            session.close()
