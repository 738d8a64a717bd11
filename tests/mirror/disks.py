#!/usr/bin/env python3
"""Disks that fail beneath the daemons: tests/mirror/disks.py

Images and records lie on a file system of our own (volatile.py), which fails what it is told to with EIO or ENOSPC. A host
(qemu-io) writes and reads back all the while, each block with a pattern of its own. It must notice nothing where either disk
fails, nor lose anything by what an operator does then; and where the owner's records or its map can't be written it waits,
and is told nothing that is not so.
"""

import pathlib
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "kernel"), str(HERE.parent), str(HERE.parent / "interop")]
import lab
from pair import IQN, VOLUME, Pair, Refused
from power import Disk
from qemu import Qemu

PORTALS = ["127.0.0.1:3276", "127.0.0.1:3277"]
SIZE_MIB, BLOCK = 32, 64 << 10
BLOCKS = (SIZE_MIB << 20) // BLOCK
RESYNC_TIMEOUT_S = 60
# The sample's max_stall is 5 s, and a record is tried again after one.
HELD_S, MENDED_S = 4, 30


class Host:
    """One qemu-io on one portal, a request at a time."""

    def __init__(self, qemu, portal):
        self.program = [qemu.program("qemu-io"), "-f", "raw", "-t", "none", f"iscsi://{portal}/{IQN}/0"]
        self.process = subprocess.Popen(self.program, env=qemu.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.slowest = 0.0

    def ask(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def answer(self):
        """The line that says how it went. A request that was told BUSY is made again, some times."""
        while line := self.process.stdout.readline():
            line = line.replace("qemu-io> ", "").strip()
            if line and not line.startswith("64 KiB") and "iSCSI Busy" not in line:
                return line
        raise lab.LabError("qemu-io has ended")

    def does(self, words):
        began = time.monotonic()
        self.ask(words)
        said = self.answer()
        self.slowest = max(self.slowest, time.monotonic() - began)
        wrong = not said.startswith(("wrote", "read")) or "failed" in said.lower()
        return f"{words}: {said}" if wrong else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Ledger:
    """What each block was last told to be."""

    def __init__(self):
        self.told, self.turn = {}, 0

    def works(self, host, requests):
        """Writes, and reads back what was written before; what went wrong."""
        wrong = []
        for _ in range(requests):
            self.turn += 1
            block, pattern = self.turn * 7 % BLOCKS, self.turn % 255 + 1
            durable = "" if self.turn % 5 else "-f "
            wrong.append(host.does(f"write {durable}-P {pattern} {block * BLOCK} {BLOCK}"))
            self.told[block] = pattern
            wrong.append(self.read(host, (self.turn * 3) * 7 % BLOCKS))
        return [one for one in wrong if one]

    def read(self, host, block):
        return host.does(f"read -P {self.told.get(block, 0)} {block * BLOCK} {BLOCK}")

    def all(self, host):
        return [one for block in range(BLOCKS) if (one := self.read(host, block))]


class Bench:
    def __init__(self, tally, qemu):
        self.tally, self.qemu = tally, qemu

    def check(self, name, holds, why=""):
        return self.tally.check(name, holds, why)

    def play(self, name, script):
        print(f"-- {name}", flush=True)
        with lab.scratch_folder("disks") as folder, Disk(folder, "a") as a, Disk(folder, "b") as b:
            storages = {"a": a.mountpoint, "b": b.mountpoint}
            with self.tally.step(f"{name}: played"), Pair(folder, PORTALS, size_mib=SIZE_MIB, storages=storages) as pair:
                script(pair, {"a": a, "b": b}, Ledger())
                self.check(f"{name}: nobody panicked", not pair.panicked(), pair.logs())

    def host(self, node):
        return Host(self.qemu, node.portal)

    def alike(self, name, pair):
        pair.until_whole(RESYNC_TIMEOUT_S)
        differing = pair.differing_blocks()
        self.check(f"{name}: the images are the same in the end", not differing, f"{len(differing)} blocks differ")

    def unnoticed(self, name, host, wrong):
        self.check(f"{name}: hosts notice nothing", not wrong, "; ".join(wrong[:3]))
        print(f"        slowest request {host.slowest * 1000:.0f} ms", flush=True)

    # Scripts.

    def owner(self, pair, disks, ledger):
        name = "EIO at the owner"
        with self.host(pair.owner) as host:
            ledger.works(host, 50)
            disks["a"].order("fail EIO disk.img")
            self.unnoticed(name, host, ledger.works(host, 200) + ledger.all(host))
        group = pair.owner.group()
        shown = (group["role"], group["disk"], group["standing"], group["peer_disk"])
        self.check(f"{name}: it is Failed and serves through the peer", shown == ("primary", "failed", "active", "up-to-date"), str(shown))
        explained = " ".join(pair.owner.ctl("explain", VOLUME)["text"])
        self.check(f"{name}: what to do is said", "lunmirrorctl demote" in explained and "reattach" in explained, explained)
        pair.owner.ctl("demote", VOLUME)
        pair.fail_over()
        with self.host(pair.owner) as host:
            wrong = ledger.all(host) + ledger.works(host, 50)
            self.check(f"{name}: the peer, promoted without force, has everything", not wrong, "; ".join(wrong[:3]))
        disks["a"].order("mend")
        pair.replica.ctl("reattach", VOLUME)
        self.alike(name, pair)

    def owner_dies(self, pair, disks, ledger):
        name = "EIO at the owner, which is then killed"
        with self.host(pair.owner) as host:
            disks["a"].order("fail EIO disk.img")
            self.unnoticed(name, host, ledger.works(host, 100))
        pair.owner.kill()
        disks["a"].order("mend")
        pair.owner.start()
        group = pair.owner.group()
        self.check(f"{name}: it starts as Secondary, with a copy that is no good", (group["role"], group["disk"]) == ("secondary", "inconsistent"), str(group))
        try:
            pair.owner.ctl("promote", VOLUME)
            self.check(f"{name}: and is not promoted without force", False)
        except Refused:
            self.check(f"{name}: and is not promoted without force", True)
        pair.fail_over()
        with self.host(pair.owner) as host:
            wrong = ledger.all(host)
            self.check(f"{name}: the peer has everything", not wrong, "; ".join(wrong[:3]))
        self.alike(name, pair)

    def replica(self, error):
        def script(pair, disks, ledger):
            name = f"{error} at the replica"
            with self.host(pair.owner) as host:
                ledger.works(host, 20)
                disks["b"].order(f"fail {error} disk.img")
                self.unnoticed(name, host, ledger.works(host, 100) + ledger.all(host))
                group = pair.owner.group()
                self.check(f"{name}: the owner knows", group["peer_disk"] == "failed", str(group["peer_disk"]))
                disks["b"].order("mend")
                pair.replica.ctl("reattach", VOLUME)
                pair.until_whole(RESYNC_TIMEOUT_S)
                wrong = ledger.works(host, 20)
                self.check(f"{name}: and goes on with it once it is reattached", not wrong, "; ".join(wrong[:3]))
            self.alike(name, pair)
        return script

    def files(self, what, pattern, kills_replica):
        def script(pair, disks, ledger):
            name = f"ENOSPC for the owner's {what}"
            with self.host(pair.owner) as host:
                wrong = ledger.works(host, 5)
                disks["a"].order(f"fail ENOSPC {pattern}")
                if kills_replica:
                    pair.replica.kill()
                block = BLOCKS - 1
                host.ask(f"write -P 99 {block * BLOCK} {BLOCK}")
                ledger.told[block] = 99
                began = time.monotonic()
                answered = []
                reader = threading.Thread(target=lambda: answered.append((host.answer(), time.monotonic() - began)))
                reader.start()
                reader.join(HELD_S)
                self.check(f"{name}: a write that needs it is not acknowledged", not answered, str(answered))
                disks["a"].order("mend")
                reader.join(MENDED_S)
                said = answered[0][0] if answered else "nothing"
                self.check(f"{name}: and is once it can be written", said.startswith("wrote"), said)
                if kills_replica:
                    pair.replica.start()
                self.check(f"{name}: everything is there", not (wrong := wrong + ledger.all(host)), "; ".join(wrong[:3]))
            self.alike(name, pair)
        return script


def main():
    tally = lab.Tally("mirror: disks that fail")
    with tally.step("the bench stands"):
        bench = Bench(tally, Qemu())
        lab.daemon_binary()
    bench.play("EIO at the owner", bench.owner)
    bench.play("EIO at the owner, which is then killed", bench.owner_dies)
    for error in ("EIO", "ENOSPC"):
        bench.play(f"{error} at the replica", bench.replica(error))
    bench.play("ENOSPC for the owner's record", bench.files("record", "record*", True))
    bench.play("ENOSPC for the owner's map", bench.files("map", "map*", False))
    tally.finish()


if __name__ == "__main__":
    main()
