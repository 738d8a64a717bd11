#!/usr/bin/env python3
"""Power cuts on disks that forget what was not flushed: tests/mirror/power.py [--rounds N] [--only KIND] [--seed N]

Both daemons have their images and their records on a file system of our own (volatile.py), which at a cut loses all that was
not synced, or lets random sectors of it survive. The load is that of database.py: SQLite on ext4 in a guest kernel, which
flushes whatever it relies on, and beside it writes that nobody flushes. A cut is kill -9 of the daemon and the loss. By turns
power is lost

    at the owner         which comes back and goes on
    at the replica       which follows again
    replica, then owner  the same, and it takes over when the owner loses power a moment later
    at both              and both come back
    at both, one back    the replica alone comes back, and is promoted
    in a promotion       first at the owner, then at the replica, which is being promoted; both come back

With mode sync every commit that was acknowledged must be there after each, in a whole database on a clean file system, and
once the load has ended the two images must be the same, of which only what may differ is sent again. At last losses are
planted: disks that say that they have synced, and have not; first the replica's, then both. If the checks did not see what a
cut does then, they would see nothing.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "kernel"), str(HERE.parent)]
import lab
from database import LOAD_S, PACKAGES, PORTALS, RESYNC_TIMEOUT_S, Host, lost, missing, unasked
from guest import Guest, Wire, kernel
from pair import IQN, SILENCE_MS, VOLUME, Pair, Refused, ctl_binary

SIZE_MIB = 64
# Small regions, of which few may be hot at a time: they heat and cool, and what a node has on record of them is put to the
# test. The fewer, the more often the disk is flushed to cool them; so it is one or the other, by the seed.
PIECE, HOT_REGIONS = "4KiB", [8, 32, 128]
SERVE_TIMEOUT_S = 60
# What a host says of a disk on which something is missing.
DAMAGED = [f"the guest could not {what}" for what in ("mount", "check", "fsck")]
KINDS = ["owner", "replica", "replica, then owner", "both", "both, one back", "promotion"]
# Commits seldom enough that much is written between two flushes of the disk.
PAUSE_S = 1.0
WRITERS, NOISES = 3, 2


class Disk:
    """Storage of one node, in a process of its own, which keeps what is safe while power is off."""

    def __init__(self, folder, name):
        self.mountpoint, backing = folder / name, folder / f"{name}.backing"
        self.mountpoint.mkdir()
        backing.mkdir()
        self.server = subprocess.Popen([sys.executable, HERE / "volatile.py", backing, self.mountpoint], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, start_new_session=True)

    def order(self, words):
        self.server.stdin.write(words + "\n")
        self.server.stdin.flush()
        if not (answer := self.server.stdout.readline().strip()):
            raise lab.LabError(f"the volatile file system could not {words}")
        return answer

    def __enter__(self):
        self.order("on")
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        subprocess.run(["umount", "-l", self.mountpoint], capture_output=True)


def prove(tally, disk):
    """What is synced stays, what is not goes; a name is safe once its directory is."""
    folder = disk.mountpoint

    def write(name, text, sync=False):
        with open(folder / name, "w") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(file.fileno())

    def sync_folder():
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    write("synced", "first", sync=True)
    write("data unsafe", "first")
    sync_folder()
    with open(folder / "synced", "r+") as file:
        file.write("other")
    write("name unsafe", "first", sync=True)
    os.rename(folder / "data unsafe", folder / "renamed")
    os.mkdir(folder / "folder unsafe")
    disk.order("cut lose")
    disk.order("on")
    found = {path.name: path.read_text() for path in folder.iterdir()}
    tally.check("the disks forget what was not synced, and nothing else", found == {"synced": "first", "data unsafe": ""}, str(found))
    for path in folder.iterdir():
        path.unlink()
    sync_folder()


class Bench:
    def __init__(self, tally, pair, host, disks, chosen):
        self.tally, self.pair, self.host, self.disks, self.random, self.round, self.kind = tally, pair, host, disks, chosen, 0, ""

    def check(self, name, holds, why=""):
        return self.tally.check(f"round {self.round}, {self.kind}: {name}", holds, why)

    def set_up(self):
        for order in (f"login {self.pair.owner.portal}", "format", "mount", "create"):
            self.host.order(order)

    def load(self):
        self.host.order(f"load {WRITERS} {PAUSE_S} {NOISES}")
        self.host.listen(commits=WRITERS)
        self.host.listen(self.random.uniform(*LOAD_S))
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        self.host.listen(commits=self.random.randint(0, 1))

    def cut(self, *nodes):
        """One right after the other."""
        for node in nodes:
            node.kill()
        for node in nodes:
            how = self.random.choice(["lose", str(self.random.randrange(1 << 32))])
            said = self.disks[node.name].order(f"cut {how}")
            print(f"        {node.name}: {said}{'' if how == 'lose' else ', and some survive'}", flush=True)

    def back(self, *nodes):
        for node in nodes:
            self.disks[node.name].order("on")
            node.start()

    def owner(self):
        self.cut(self.pair.owner)
        self.back(self.pair.owner)

    def replica(self):
        self.cut(self.pair.replica)
        self.host.listen(self.random.uniform(0, 3))
        self.back(self.pair.replica)
        self.pair.until_whole(RESYNC_TIMEOUT_S)

    def replica_then_owner(self):
        self.replica()
        self.host.listen(self.random.uniform(0, 1.5))
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        self.cut(self.pair.owner)
        self.pair.fail_over()

    def both(self):
        self.cut(*self.random.sample(self.pair.nodes, 2))
        self.back(*self.random.sample(self.pair.nodes, 2))

    def both_one_back(self):
        """The owner first: it would go on alone without the other, be it for a moment, and with the other promoted then both
        had written what the other lacks. That is for an operator to settle."""
        self.cut(self.pair.owner, self.pair.replica)
        self.back(self.pair.replica)
        self.pair.fail_over()

    def promotion(self):
        """It waits for a word of the dead owner first: the cut comes at about the time when it decides."""
        self.cut(self.pair.owner)
        promotion = subprocess.Popen([ctl_binary(), "--socket", self.pair.replica.socket, "promote", VOLUME], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        self.host.listen(SILENCE_MS / 1000 - 0.15 + self.random.uniform(0, 0.2))
        self.cut(self.pair.replica)
        promotion.wait()
        self.back(*self.random.sample(self.pair.nodes, 2))

    def find_owner(self):
        """Whoever serves is the owner now."""
        def serves(node):
            group = node.group()
            return group["role"] == "primary" and group["standing"] == "active"

        def one():
            return [node for node in self.pair.nodes if node.alive() and serves(node)]

        owner = lab.wait_until("one of the two serves", one, SERVE_TIMEOUT_S)[0]
        self.pair.owner, self.pair.replica = owner, next(node for node in self.pair.nodes if node is not owner)

    def reopen(self):
        """The database on the owner; what was found in it."""
        self.find_owner()
        for order in ("stop", "umount", "logout", f"login {self.pair.owner.portal}", "mount"):
            self.host.order(order)
        found = self.host.check()
        for order in ("umount", "fsck"):
            self.host.order(order)
        return found

    def play(self, kind):
        self.round, self.kind = self.round + 1, kind
        before, began = self.host.commits(), time.monotonic()
        self.load()
        getattr(self, kind.replace(",", "").replace(" ", "_"))()
        found = self.reopen()
        acknowledged, commits = self.host.acknowledged, self.host.commits() - before
        gaps, more = missing(acknowledged, found), unasked(acknowledged, found)
        self.check("the database is whole", found.integrity == "ok" and not found.wrong, f"{found.integrity}; {'; '.join(found.wrong[:5])}")
        self.check(f"every commit that was acknowledged is there, {commits} of this round", commits and not gaps, f"missing {gaps}; {self.pair.logs()}")
        self.check("and no other", not more, str(more))
        self.host.acknowledged = dict(found.kept)
        for node in self.pair.nodes:
            if not node.alive():
                self.back(node)
        self.alike()
        self.host.order("mount")
        print(f"        {time.monotonic() - began:.0f} s", flush=True)

    def alike(self):
        """Nobody writes: what the two have is the same."""
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        differing = self.pair.differing_blocks()
        self.check("the two images are the same", not differing, f"{len(differing)} blocks differ, the first at {differing[:8]}; {self.pair.logs()}")

    def planted_at_replica(self):
        """Its disk lies: the owner believes to be safe there what is not, and does not send it again."""
        self.round, self.kind = self.round + 1, "planted at the replica"
        disk = self.disks[self.pair.replica.name]
        disk.order("lie")
        self.load()
        self.cut(self.pair.replica)
        disk.order("honest")
        self.back(self.pair.replica)
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        self.reopen()
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        differing = self.pair.differing_blocks()
        self.check(f"the planted loss is seen: {len(differing)} blocks differ", differing)
        self.host.order("mount")

    def planted(self):
        """Both disks lie."""
        self.round, self.kind = self.round + 1, "planted"
        for disk in self.disks.values():
            disk.order("lie")
        self.load()
        self.cut(*self.pair.nodes)
        for disk in self.disks.values():
            disk.order("honest")
        self.back(*self.pair.nodes)
        try:
            found = self.reopen()
            gone = lost(self.host.acknowledged, found)
            seen = f"{gone} commits gone, integrity {found.integrity}, {len(found.wrong)} rows wrong" if gone or found.integrity != "ok" or found.wrong else ""
        except lab.LabError as error:
            seen = str(error).split(";")[0]
            if seen not in DAMAGED:
                raise
        self.check(f"the planted loss is seen: {seen}", seen, f"of {self.host.acknowledged} there is all")

    def finish(self):
        self.tally.check("no daemon panicked", not self.pair.panicked(), self.pair.logs())


def play(tally, chosen, rounds):
    with lab.scratch_folder("power") as folder, Disk(folder, "a") as a, Disk(folder, "b") as b, Wire() as wire:
        disks = {"a": a, "b": b}
        prove(tally, a)
        storages = {name: disk.mountpoint for name, disk in disks.items()}
        hot_regions = chosen.choice(HOT_REGIONS)
        print(f"        {hot_regions} regions may be hot", flush=True)
        more = f", map: {{ piece: {PIECE}, hot_regions: {hot_regions} }}"
        with Pair(folder, PORTALS, wire.name, size_mib=SIZE_MIB, more=more, storages=storages) as pair:
            (folder / "uml").mkdir()
            with Guest(wire, "database", folder, stdin=subprocess.PIPE, TARGET=IQN, LEDGER=HERE / "ledger.py") as guest:
                bench = Bench(tally, pair, Host(guest), disks, chosen)
                bench.set_up()
                for kind in rounds:
                    bench.play(kind)
                bench.planted_at_replica()
                bench.planted()
                bench.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", choices=KINDS, help="this kind in every round")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    tally = lab.Tally(f"crash: power cuts on disks that forget, seed {args.seed}")
    try:
        if os.geteuid() != 0:
            raise lab.LabError("needs root: mounts, network namespaces, taps, packages")
        lab.need(PACKAGES)
        kernel()
        lab.daemon_binary()
        kinds = [args.only] if args.only else KINDS
        play(tally, random.Random(args.seed), [kinds[number % len(kinds)] for number in range(args.rounds)])
    except (lab.LabError, Refused, subprocess.SubprocessError, OSError) as error:
        detail = getattr(error, "stderr", None) or ""
        tally.check("it came to its end", False, f"{error} {detail}".strip())
    tally.finish()


if __name__ == "__main__":
    main()
