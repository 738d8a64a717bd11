"""A guest kernel: Debian's user-mode-linux, a whole Linux as an ordinary process, on taps of a network namespace of its own."""

import os
import pathlib
import queue
import re
import subprocess
import sys
import threading
import typing

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import lab

BOOT_TIMEOUT_S = 60
HOST_ADDRESSES = ["10.97.1.1", "10.97.2.1"]
GUEST_ADDRESSES = ["10.97.1.2", "10.97.2.2"]


def kernel():
    """The unpacked kernel and its modules, with the preload it may need; made once, kept in the cache."""
    lab.need({"gcc": "gcc", "ip": "iproute2", "modprobe": "kmod", "halt": "systemd-sysv"})
    folder = lab.unpack("user-mode-linux", "user-mode-linux")
    shim = folder / "xstate-shim.so"
    source = HERE / "xstate-shim.c"
    if not shim.exists() or shim.stat().st_mtime < source.stat().st_mtime:
        fresh = shim.with_suffix(f".{os.getpid()}")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", fresh, source], check=True)
        fresh.rename(shim)
    return folder


class Card(typing.NamedTuple):
    """A guest's network card: the tap at its other end, its address, and what else the driver is told."""
    tap: str
    address: str
    options: str = "gro=1"


class Wire:
    """A network namespace with two taps: the target's two portals on this side, the guest's two cards on the other."""

    def __init__(self):
        self.name = f"lunmirror-{os.getpid()}"
        self.taps = ["tap0", "tap1"]
        self.cards = [Card(tap, address) for tap, address in zip(self.taps, GUEST_ADDRESSES)]

    def __enter__(self):
        ip = lambda *words: subprocess.run(["ip", *words], check=True, capture_output=True)
        ip("netns", "add", self.name)
        try:
            ip("-n", self.name, "link", "set", "lo", "up")
            for tap, address in zip(self.taps, HOST_ADDRESSES):
                ip("-n", self.name, "tuntap", "add", tap, "mode", "tap")
                ip("-n", self.name, "addr", "add", f"{address}/24", "dev", tap)
                ip("-n", self.name, "link", "set", tap, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    # A cut loses every packet both ways, and tells nobody: the guest's card stays up. (Setting the tap down would upset the
    # guest's driver for good.)
    def cut(self, path):
        self._address("del", path)

    def mend(self, path):
        self._address("add", path)

    def _address(self, verb, path):
        subprocess.run(["ip", "-n", self.name, "addr", verb, f"{HOST_ADDRESSES[path]}/24", "dev", self.taps[path]], check=True)

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


class Guest:
    """Boots, runs one script of `guest/`, and hands over what it says, line by line.

    `folder` is seen by both; a file made there tells the guest that the host has done what it asked for. With
    `stdin=subprocess.PIPE` it hears what it is told.
    """

    def __init__(self, wire, script, folder, memory="512M", stdin=subprocess.DEVNULL, **variables):
        self.lines, self.console = queue.Queue(), []
        home = kernel()
        cards = [f"vec{n}:transport=tap,ifname={card.tap},depth=128,{card.options}" for n, card in enumerate(wire.cards)]
        addresses = ",".join(f"{card.address}/24" for card in wire.cards)
        self.folder = pathlib.Path(folder)
        words = [f"mem={memory}", f"umid={wire.name}-{script}", f"uml_dir={self.folder}/uml/", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
                 *cards, f"init={HERE}/guest-init", "con=null", "con0=fd:0,fd:1", "ssl=null",
                 f"GUEST_ADDRESSES={addresses}", f"GUEST_SCRIPT={HERE}/guest/{script}", f"GUEST_KERNEL={home}", f"GUEST_FOLDER={self.folder}",
                 *(f"{name}={value}" for name, value in variables.items())]
        # The guest's memory is a file in TMPDIR.
        shared = os.statvfs("/dev/shm")
        memory_in = "/dev/shm" if shared.f_bavail * shared.f_frsize > 1 << 30 else str(self.folder)
        environment = dict(os.environ, LD_PRELOAD=str(home / "xstate-shim.so"), TMPDIR=memory_in)
        self.child = subprocess.Popen(["ip", "netns", "exec", wire.name, str(home / "usr/bin/linux.uml"), *words], env=environment,
                                      stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            line = line.decode(errors="replace").rstrip()
            self.console.append(line)
            if os.environ.get("GUEST_CONSOLE"):
                print(f"        | {line}", flush=True)
            if match := re.search(r"@guest (.*)", line):
                self.lines.put(match[1])
        self.lines.put(None)

    def tell(self, words):
        self.child.stdin.write(f"{words}\n".encode())
        self.child.stdin.flush()

    def heard(self, timeout_s):
        """The next thing said; None when the guest has halted."""
        try:
            return self.lines.get(timeout=timeout_s)
        except queue.Empty:
            raise lab.LabError(f"the guest said nothing for {timeout_s} s; its console ends: {self.tail()}") from None

    def run(self, tally, events=None, timeout_s=180):
        """Counts every `ok` and `fail` until `end`; `events` maps what the guest asks of the host to what the host does."""
        events, ended, counted = dict(events or {}), False, 0
        while (said := self.heard(timeout_s)) is not None:
            word, _, rest = said.partition(" ")
            counted += word in ("ok", "fail")
            if word == "ok":
                tally.check(rest, True)
            elif word == "fail":
                tally.check(rest, False)
            elif word == "end":
                ended = True
            elif word == "host":
                with tally.step(f"host: {rest}"):
                    if rest not in events:
                        raise lab.LabError("nobody knows how")
                    events.pop(rest)()
                (self.folder / f"did-{rest.replace(' ', '-')}").touch()
            else:
                print(f"        {said}", flush=True)
        if not ended or not counted:
            tally.check("the guest came to its end, having tried something", False, self.tail())
        for missed in events:
            tally.check(f"host: {missed}", False, "the guest never said so")

    def tail(self, count=25):
        return " | ".join(self.console[-count:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            os.killpg(self.child.pid, 9)
        self.child.wait()
