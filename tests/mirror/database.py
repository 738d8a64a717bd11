#!/usr/bin/env python3
"""What a database sees of a failover: tests/mirror/database.py [--engine sqlite|postgres] [--rounds N] [--lax-rounds N] [--seed N]

A guest kernel with its own initiator has ext4 and SQLite (WAL, synchronous=FULL) on a mirrored disk, and writers that commit
numbers and tell the host of each commit that has returned. In every round the owner is killed (9) at a random moment, half
of the time right upon a commit; the replica is promoted; the guest, whose disk is gone, logs in there, mounts (the file
system's journal is replayed), and opens the database. It must be whole, every commit that was told of must be in it, and
fsck must find nothing. The dead node comes back, follows, and is the next to take over.

With modes sync and memsync nothing acknowledged may be missing. With mode async the last commits may be, but what there is
must be a whole database of an earlier moment: commits 1 to n in the order they were made, for some n. At last a loss is
planted, a pair that is paused when its owner dies: if the checks did not see it they would see nothing.

With --engine postgres the same of PostgreSQL, which takes longer to start.
"""

import argparse
import contextlib
import os
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "kernel"), str(HERE.parent)]
import lab
from guest import BOOT_TIMEOUT_S, HOST_ADDRESSES, Guest, Wire, kernel
from pair import IQN, VOLUME, Pair, Refused

WRITERS = 4
LOAD_S = (1.0, 4.0)
ORDER_TIMEOUT_S = 60
RESYNC_TIMEOUT_S = 60
PORTALS = [f"{address}:3260" for address in HOST_ADDRESSES]
PACKAGES = {"iscsid": "open-iscsi", "iscsiadm": "open-iscsi", "mkfs.ext4": "e2fsprogs", "/usr/bin/python3": "python3", "pkill": "procps"}
LEDGERS = {"sqlite": "ledger.py", "postgres": "ledger_postgres.py"}


class Found:
    """What the guest's check found in the database."""

    def __init__(self):
        self.integrity, self.kept, self.wrong = "never said", {}, []


class Host:
    """The guest as a host of a database, and what its writers were told: `acknowledged[WRITER]` is the last commit that returned."""

    def __init__(self, guest):
        self.guest, self.acknowledged, self.ended, self.disks, self.found = guest, {}, [], set(), Found()
        self._answer("boot", BOOT_TIMEOUT_S)

    def order(self, words, timeout_s=ORDER_TIMEOUT_S):
        self.guest.tell(words)
        self._answer(words, timeout_s)

    def check(self):
        self.found = Found()
        self.order("check")
        return self.found

    def listen(self, seconds=0.0, commits=0):
        """Hears of commits for so long, and then until so many more."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(lab.LabError):
                self._heard(left)
        while commits > 0:
            commits -= self._heard(ORDER_TIMEOUT_S) == "ack"

    def commits(self):
        return sum(self.acknowledged.values())

    def _answer(self, words, timeout_s):
        while (word := self._heard(timeout_s)) != "did":
            if word == "fail":
                raise lab.LabError(f"the guest could not {words}; its console ends: {self.guest.tail()}")

    def _heard(self, timeout_s):
        said = self.guest.heard(timeout_s)
        if said is None:
            raise lab.LabError(f"the guest has halted; its console ends: {self.guest.tail()}")
        word, _, rest = said.partition(" ")
        if word == "ack":
            writer, number = map(int, rest.split())
            self.acknowledged[writer] = number
        elif word == "kept":
            writer, number = map(int, rest.split())
            self.found.kept[writer] = number
        elif word == "integrity":
            self.found.integrity = rest
        elif word == "wrong":
            self.found.wrong.append(rest)
        elif word == "ended":
            self.ended.append(rest)
        elif word == "disk":
            self.disks.add(rest)
        return word


def missing(acknowledged, found):
    """Commits that returned and are not there, by writer."""
    return {writer: (found.kept.get(writer, 0) + 1, last) for writer, last in acknowledged.items() if found.kept.get(writer, 0) < last}


def lost(acknowledged, found):
    return sum(last - first + 1 for first, last in missing(acknowledged, found).values())


def unasked(acknowledged, found):
    """Each writer may have had one commit under way; more than that nobody wrote."""
    return {writer: last for writer, last in found.kept.items() if last > acknowledged.get(writer, 0) + 1}


class Bench:
    """A pair, a guest, and a database on the pair's disk. Rounds are counted through."""

    def __init__(self, tally, pair, host, random):
        self.tally, self.pair, self.host, self.random, self.round = tally, pair, host, random, 0

    def set_up(self):
        for order in (f"login {self.pair.owner.portal}", "format", "mount", "create"):
            self.host.order(order)

    def play(self, mode):
        self.round += 1
        self.mode = mode
        {"sync": self.strict_round, "memsync": self.strict_round, "async": self.lax_round, "planted": self.planted_round}[mode](mode)

    def check(self, name, holds, why=""):
        return self.tally.check(f"round {self.round}, {self.mode}: {name}", holds, why)

    def load(self, mode):
        """Writers at work while the dead node follows; then for a random while, until any moment or right upon a commit."""
        self.pair.owner.ctl("mode", VOLUME, "async" if mode == "planted" else mode)
        self.host.order(f"load {WRITERS}")
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        before = self.host.commits()
        self.host.listen(commits=WRITERS)
        self.host.listen(self.random.uniform(*LOAD_S))
        # On a machine that is too busy they may have parted for a moment, and what is promised then is less.
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        self.host.listen(commits=self.random.randint(0, 1))
        return before

    def lose_owner(self, *how):
        """Power is lost at the owner; the database comes up at the other node. Returns what it found."""
        pair, host = self.pair, self.host
        pair.owner.kill()
        died = time.monotonic()
        pair.fail_over(*how)
        promoted = time.monotonic() - died
        for order in ("stop", "umount", "logout", f"login {pair.owner.portal}", "mount"):
            host.order(order)
        found = host.check()
        back = time.monotonic() - died
        for order in ("umount", "fsck", "mount"):
            host.order(order)
        print(f"        {pair.replica.name} lost with {host.commits()} commits acknowledged; {pair.owner.name} promoted after {promoted:.1f} s, "
              f"database open after {back:.1f} s, {sum(found.kept.values())} commits", flush=True)
        return found

    def is_whole(self, found):
        """Whatever else: SQLite finds no fault, every row says what it must, and none is missing between others."""
        self.check("the database is whole", found.integrity == "ok" and not found.wrong, f"{found.integrity}; {'; '.join(found.wrong[:5])}")

    def go_on(self, found):
        """From what there is now, as a database that was restored does; the dead node comes back."""
        self.host.acknowledged = dict(found.kept)
        self.pair.replica.start()

    def strict_round(self, mode):
        """Modes sync and memsync: the peer has whatever was acknowledged."""
        before = self.load(mode)
        found = self.lose_owner()
        self.is_whole(found)
        gaps, more, commits = missing(self.host.acknowledged, found), unasked(self.host.acknowledged, found), self.host.commits() - before
        self.check(f"every commit that was acknowledged is there, {commits} of this round", commits and not gaps, f"missing {gaps}; {self.pair.logs()}")
        self.check("and no other", not more, str(more))
        self.go_on(found)

    def lax_round(self, mode):
        """Mode async: what the peer has is of a moment before."""
        self.load(mode)
        found = self.lose_owner()
        self.is_whole(found)
        more = unasked(self.host.acknowledged, found)
        self.check(f"all up to some moment is there, but for {lost(self.host.acknowledged, found)} commits, and no other", not more, str(more))
        self.go_on(found)

    def planted_round(self, mode):
        """The pair is paused under load; then its owner dies. What is lost then must be seen."""
        self.load(mode)
        self.pair.owner.ctl("pause", VOLUME)
        self.host.listen(1, commits=50 * WRITERS)
        found = self.lose_owner("--force")
        self.is_whole(found)
        gaps = missing(self.host.acknowledged, found)
        self.check(f"the planted loss is seen: {lost(self.host.acknowledged, found)} commits", len(gaps) == WRITERS,
                   f"of {self.host.acknowledged} there are {found.kept}")
        self.go_on(found)
        # Both wrote what the other lacks, so somebody must choose.
        given_up = self.pair.replica
        lab.wait_until("they meet", lambda: given_up.group()["link"] == "refused", RESYNC_TIMEOUT_S)
        given_up.ctl("demote", "--force", VOLUME)
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        self.check("the copy that is given up becomes the other's", True)

    def finish(self):
        """In good order: what the two nodes have at last is the same."""
        for order in ("umount", "logout"):
            self.host.order(order)
        self.pair.until_whole(RESYNC_TIMEOUT_S)
        self.tally.check("the disk has one identity at both nodes", len(self.host.disks) == 1, str(self.host.disks))
        self.tally.check("no daemon panicked", not self.pair.panicked(), self.pair.logs())
        status = [node.daemon.stop() for node in (self.pair.owner, self.pair.replica)]
        self.tally.check("both end in good order", status == [0, 0], str(status))
        differing = self.pair.differing_blocks()
        self.tally.check("the two images are the same", not differing, f"{len(differing)} blocks differ, the first at {differing[:8]}")


def play(tally, chosen, rounds, ledger):
    with lab.scratch_folder("database") as folder, Wire() as wire, Pair(folder, PORTALS, wire.name) as pair:
        (folder / "uml").mkdir()
        with Guest(wire, "database", folder, stdin=subprocess.PIPE, TARGET=IQN, LEDGER=HERE / ledger) as guest:
            bench = Bench(tally, pair, Host(guest), chosen)
            bench.set_up()
            for mode in rounds:
                bench.play(mode)
            bench.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="sqlite", choices=LEDGERS)
    parser.add_argument("--rounds", type=int, default=10, help="with mode sync")
    parser.add_argument("--lax-rounds", type=int, default=1, help="with memsync, and as many with async")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    tally = lab.Tally(f"crash: a database's view of failovers, seed {args.seed}")
    try:
        if os.geteuid() != 0:
            raise lab.LabError("needs root: network namespaces, taps, packages")
        lab.need(PACKAGES)
        if args.engine == "postgres" and not list(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")):
            lab.apt_install(["postgresql"])
        kernel()
        lab.daemon_binary()
        rounds = ["sync"] * args.rounds + ["memsync", "async"] * args.lax_rounds + ["planted"]
        play(tally, random.Random(args.seed), rounds, LEDGERS[args.engine])
    except (lab.LabError, Refused, subprocess.SubprocessError, OSError) as error:
        detail = getattr(error, "stderr", None) or ""
        tally.check("it came to its end", False, f"{error} {detail}".strip())
    tally.finish()


if __name__ == "__main__":
    main()
