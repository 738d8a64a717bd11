#!/usr/bin/env python3
"""A mirrored pair's scenarios over real lines: tests/mirror/wan.py [scenarios [NAME…] | throughput | try COMMAND…]

Two network namespaces and between them a router, a user-mode-linux guest, with lines that lose and delay packets as
tc-netem(8) has it. Alpha and its hosts are in the one, beta in the other. `scenarios` runs those of tests/mirror.rs there.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "kernel"), str(HERE.parent)]
import lab
from guest import BOOT_TIMEOUT_S, Card, Guest, kernel

# Each way: a round trip takes 40 ms, and of a hundred exchanges one misses a packet. The rate is what the router can do for
# all lines at once on a small machine; the queue before it takes 100 ms, as it may with a real line.
NETEM = "delay 20ms loss 0.5% rate 50mbit limit 400"
# So many scenarios at once, each on a line of its own.
LINES = 3
THROUGHPUT_NETEM = ["delay 10ms limit 100000", "delay 10ms loss 0.5% limit 100000"]
ORDER_TIMEOUT_S = 10
NICE = -10
PACKAGES = {"ip": "iproute2", "tc": "iproute2", "ethtool": "ethtool", "iptables-legacy": "iptables"}


class End:
    """One side of one line: a namespace's interface, and the router's card that it leads to."""

    def __init__(self, name, side, line):
        net = 2 * line + (side == "b")
        self.namespace, self.interface = f"{name}-{side}", f"line{line}"
        self.veth, self.tap, self.bridge = (f"{kind}{side}{line}" for kind in ("line", "tap", "br"))
        self.address, self.gateway = f"10.98.{net}.1", f"10.98.{net}.254"
        self.hardware, self.gateway_hardware = f"02:98:00:00:{net:02x}:01", f"02:98:00:00:{net:02x}:fe"


class Lines:
    """Lines between NAME-a and NAME-b, through the router's namespace NAME."""

    def __init__(self, count):
        self.name = f"lunmirror-{os.getpid()}"
        self.near, self.far = f"{self.name}-a", f"{self.name}-b"
        self.namespaces = [self.name, self.near, self.far]
        self.pairs = [[End(self.name, side, line) for side in "ab"] for line in range(count)]
        self.ends = [end for pair in self.pairs for end in pair]
        self.cards = [Card(end.tap, end.gateway, f"mac={end.gateway_hardware}") for end in self.ends]

    def __enter__(self):
        try:
            for namespace in self.namespaces:
                ip("netns", "add", namespace)
                ip("-n", namespace, "link", "set", "lo", "up")
            for pair in self.pairs:
                for end, far in zip(pair, reversed(pair)):
                    self._lay(end, far)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _lay(self, end, far):
        ip("-n", end.namespace, "link", "add", end.interface, "address", end.hardware, "type", "veth", "peer", "name", end.veth,
           "netns", self.name)
        ip("-n", end.namespace, "addr", "add", f"{end.address}/24", "dev", end.interface)
        # Packets as a wire has them: each is lost by itself.
        command("ip", "netns", "exec", end.namespace, "ethtool", "-K", end.interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        ip("-n", end.namespace, "link", "set", end.interface, "up")
        ip("-n", end.namespace, "neigh", "add", end.gateway, "lladdr", end.gateway_hardware, "nud", "permanent", "dev", end.interface)
        ip("-n", end.namespace, "route", "add", f"{far.address}/32", "via", end.gateway)
        ip("-n", self.name, "tuntap", "add", end.tap, "mode", "tap")
        ip("-n", self.name, "link", "add", end.bridge, "type", "bridge")
        for port in (end.veth, end.tap):
            ip("-n", self.name, "link", "set", port, "master", end.bridge, "up")
        ip("-n", self.name, "link", "set", end.bridge, "up")

    def congestion_controls(self):
        """Those that this kernel lets a namespace choose."""
        return command("ip", "netns", "exec", self.near, "cat", "/proc/sys/net/ipv4/tcp_allowed_congestion_control").split()

    def set_congestion_control(self, name):
        for namespace in (self.near, self.far):
            command("ip", "netns", "exec", namespace, "sh", "-c", f"echo {name} >/proc/sys/net/ipv4/tcp_congestion_control")

    def __exit__(self, *_):
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


def command(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def ip(*words):
    return command("ip", *words)


class Router:
    """The guest, and a socket at which others give it orders: one a connection, a line that is answered by a line."""

    def __init__(self, lines, folder):
        self.lines, self.folder, self.turn = lines, folder, threading.Lock()
        (folder / "uml").mkdir()

    def __enter__(self):
        neighbours = ",".join(f"{end.address}={end.hardware}" for end in self.lines.ends)
        self.guest = Guest(self.lines, "router", self.folder, "256M", stdin=subprocess.PIPE, NEIGHBOURS=neighbours)
        # No line is slower because its ends are busy.
        os.setpriority(os.PRIO_PGRP, self.guest.child.pid, NICE)
        self._answered(BOOT_TIMEOUT_S)
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.door.bind(str(self.folder / "orders"))
        self.door.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def order(self, words):
        with self.turn:
            self.guest.tell(words)
            self._answered(ORDER_TIMEOUT_S)

    def _answered(self, timeout_s):
        said = self.guest.heard(timeout_s)
        if said != "did":
            raise lab.LabError(f"the router: {said}; its console ends: {self.guest.tail()}")

    def _serve(self):
        while True:
            caller, _ = self.door.accept()
            with caller, caller.makefile("rw") as lines:
                try:
                    self.order(lines.readline().strip())
                    answer = "did"
                except lab.LabError as error:
                    answer = f"fail {error}"
                lines.write(answer + "\n")

    def __exit__(self, *_):
        self.guest.__exit__()


# What a host finds at the other end of a line, where nobody listens: refused, after so many milliseconds, or silence.
KNOCK = """
import socket, sys, time
s = socket.socket()
s.settimeout(1)
since = time.monotonic()
try:
    s.connect((sys.argv[1], 1))
except ConnectionRefusedError:
    print(round((time.monotonic() - since) * 1000))
except TimeoutError:
    print("silence")
"""


def prove(lines, router, netem):
    """A line that only claims to be slow, or cut, would let everything pass."""
    delay_ms = 2 * float(re.match(r"delay ([\d.]+)ms", netem)[1])
    for number, (near, far) in enumerate(lines.pairs):
        knock = lambda: command("ip", "netns", "exec", near.namespace, "python3", "-c", KNOCK, far.address).strip()
        took = [knock() for _ in range(3)]
        if not any(answer.isdigit() and delay_ms <= int(answer) < 2 * delay_ms for answer in took):
            raise lab.LabError(f"line {number} takes {' ms, '.join(took)} ms for a round trip, not {delay_ms}")
        router.order(f"netem {number} loss 100%")
        if (answer := knock()) != "silence":
            raise lab.LabError(f"line {number} is cut, and answers after {answer} ms")
        router.order(f"netem {number} {netem}")


@contextlib.contextmanager
def bench(count, netem):
    """Lines that are up, and the environment that tells the harness of them (tests/src/line/routed.rs)."""
    with lab.scratch_folder("wan") as folder, Lines(count) as lines, Router(lines, folder) as router:
        for line in range(count):
            router.order(f"netem {line} {netem}")
        prove(lines, router, netem)
        plan = folder / "lines.json"
        plan.write_text(json.dumps({
            "orders": str(folder / "orders"), "netem": netem, "far_namespace": lines.far,
            "lines": [[end.address for end in pair] for pair in lines.pairs],
        }))
        yield lines, dict(os.environ, LUNMIRROR_LINES=str(plan))


def build(*words):
    """The one program that cargo makes of these words."""
    run = subprocess.run(["cargo", *words, "--message-format=json"], cwd=lab.PROJECT, stdout=subprocess.PIPE, text=True)
    made = [message["executable"] for message in map(json.loads, run.stdout.splitlines()) if message.get("executable")]
    if run.returncode or not made:
        raise lab.LabError(f"cargo {' '.join(words)} made nothing")
    return made[-1]


def within(namespace, environment, *words):
    """In a process group of its own, which ends when we do."""
    child = subprocess.Popen(["ip", "netns", "exec", namespace, *words], env=environment, start_new_session=True)
    try:
        return child.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def scenarios(names):
    """Those of tests/mirror.rs; what they print is a test program's, and so is the status."""
    program = build("test", "--no-run", "-p", "scenarios", "--test", "mirror")
    with bench(LINES, NETEM) as (lines, environment):
        return within(lines.near, environment, program, f"--test-threads={LINES}", *names)


def throughput(_):
    program = build("build", "--release", "-p", "scenarios", "--example", "throughput")
    for netem in THROUGHPUT_NETEM:
        with bench(1, netem) as (lines, environment):
            for name in lines.congestion_controls():
                lines.set_congestion_control(name)
                print(f"{netem}, {name}:", flush=True)
                if status := within(lines.near, environment, program):
                    return status
    return 0


def attempt(words):
    with bench(LINES, NETEM) as (lines, environment):
        return within(lines.near, environment, *words)


VERBS = {"scenarios": scenarios, "throughput": throughput, "try": attempt}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", nargs="?", default="scenarios", choices=VERBS)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    try:
        if os.geteuid() != 0:
            raise lab.LabError("needs root: network namespaces, taps, packages")
        lab.need(PACKAGES)
        lab.daemon_binary()
        sys.exit(VERBS[args.verb](args.words))
    except (lab.LabError, subprocess.CalledProcessError, OSError) as error:
        detail = getattr(error, "stderr", None) or ""
        tally = lab.Tally("mirror: real lines")
        tally.check("the bench stands", False, f"{error} {detail}".strip())
        tally.finish()


if __name__ == "__main__":
    main()
