#!/usr/bin/env python3
"""What we cost beside others and beside the physical limit: tests/bench/bench.py [--set quick|full] [--growth] [--write] [--gate]

Alternating rounds on one file in page cache, ratios within a round. Needs two processors, and as root installs tgt and istgt."""

import argparse
import json
import pathlib
import resource
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "kernel"), str(HERE.parent / "mirror")]
import figures
import growth
import lab
import load
import report
import servers

COMMITTED = HERE / "ratios.json"
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
TEN = 10
IDLE_SESSIONS = 100
OPEN_FILES = 16384


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=["quick", "full"], help="workloads (default: full; of the gate: quick)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=2, help="of each run, after 0.5 s that do not count")
    parser.add_argument("--size", default="1GiB", help="of the file, and of each other volume")
    parser.add_argument("--folder", default="/dev/shm", help="where the files are: a tmpfs, unless a disk is to be measured")
    parser.add_argument("--only", default="", help="workloads whose name has these words")
    parser.add_argument("--growth", action="store_true", help="also how cost grows: LUNs, sessions, size of a volume, connections")
    parser.add_argument("--write", action="store_true", help="writes docs/performance.md, its plots and tests/bench/ratios.json; implies --growth")
    parser.add_argument("--gate", action="store_true", help="only ours and the limits; fails where a ratio is 15 %% below the committed one")
    parser.add_argument("--idle-secs", type=float, default=20)
    parser.add_argument("--planted-delay", type=int, metavar="US", help="the limit server plays our part, slower by so much a command: to see the gate fail")
    settings = parser.parse_args()
    if settings.gate and settings.write:
        parser.error("--write would make what --gate compares with")
    if settings.write and settings.only:
        parser.error("--write documents all workloads")
    settings.set = settings.set or ("quick" if settings.gate else "full")
    settings.growth |= settings.write
    return settings


class Bench:
    def __init__(self, settings, folder):
        self.settings, self.folder = settings, folder
        self.cores = load.Cores()
        self.client = load.Load(self.cores, settings.secs)
        self.bytes = int(settings.size[:-3]) * UNITS[settings.size[-3:]]
        self.results = figures.Results()
        self.file = servers.filled(folder / "disk.img", self.bytes)

    def chosen(self, cells):
        return [cell for cell in cells if self.settings.only in cell.name]

    def alternate(self, cell, contenders, sample):
        load.alternate(self.results, cell, contenders, self.settings.rounds, sample, lambda cell: report.print_cell(self.results, cell))

    def ours(self, name="file"):
        if self.settings.planted_delay is not None:
            return servers.LimitServer(self.folder, name, self.file, "pread", self.cores.target, self.settings.planted_delay)
        return servers.Ours(self.folder, name, [f"file: {self.file}, size: {self.settings.size}"], self.cores.target)

    def alone(self, cells):
        """Servers without a peer, side by side."""
        core, started = self.cores.target, []
        makers = {
            "pread limit": lambda name: servers.LimitServer(self.folder, name, self.file, "pread", core),
            "mapped limit": lambda name: servers.LimitServer(self.folder, name, self.file, "mapped", core),
            "file": self.ours,
            "memory": lambda name: servers.Ours(self.folder, name, [f"memory: {{}}, size: {self.settings.size}"], core),
        }
        if not self.settings.gate:
            makers["tgt"] = lambda name: servers.Tgt(self.folder, name, self.file, core)
            makers["tgt, 1 thread"] = lambda name: servers.Tgt(self.folder, name, self.file, core, 1)
            makers["istgt"] = lambda name: servers.Istgt(self.folder, name, self.file, core)
        try:
            for name, make in makers.items():
                started.append(make(name))
            by_name = {server.name: server for server in started}
            self.fill(by_name["memory"])
            for cell in self.chosen(cells):
                self.alternate(cell, list(by_name), lambda cell, who, n: self.client.run(cell, [by_name[who].url()], by_name[who].pid, n + 1))
            # As many sessions as this only between us and the limit.
            for cell in self.chosen([figures.THOUSAND] if self.settings.set == "full" else []):
                few = ["pread limit", "file"]
                self.alternate(cell, few, lambda cell, who, n: self.client.run(cell, [by_name[who].url()], by_name[who].pid, n + 1))
            if self.chosen([figures.IDLE]) and not self.settings.gate:
                percent = load.idle_cpu_percent(by_name["file"], IDLE_SESSIONS, self.settings.idle_secs)
                self.results.add(figures.IDLE, "file", 0, {"cpu_percent": percent})
                print(f"\n{figures.IDLE.name}: {percent:.3f} % of a processor", flush=True)
        finally:
            for server in started:
                server.stop()

    def fill(self, server):
        """Memory that nobody wrote is one page of zeroes."""
        once = load.Load(self.cores, max(1, self.bytes / servers.GIB))
        once.run(figures.Cell("write", "1MiB", 16, pattern="sequential"), [server.url()], server.pid)

    def ten_luns(self, cell):
        """One client for each LUN; the limit server has but one, and so many clients."""
        each = self.bytes // TEN // servers.MIB
        images = [servers.filled(self.folder / f"lun{n}.img", each * servers.MIB) for n in range(TEN)]
        ours = limit = None
        try:
            ours = servers.Ours(self.folder, "ten", [f"file: {image}, size: {each}MiB" for image in images], self.cores.target)
            limit = servers.LimitServer(self.folder, "ten limit", self.file, "pread", self.cores.target)
            urls = {"pread limit": ([limit.url()] * TEN, limit.pid), "file": ([ours.url(n) for n in range(TEN)], ours.pid)}
            self.alternate(cell, list(urls), lambda cell, who, n: self.client.run(cell, *urls[who], n + 1))
        finally:
            for server in (ours, limit):
                if server:
                    server.stop()
            for image in images:
                image.unlink()

    def pair(self, cells):
        if not cells:
            return
        pair = servers.Pair(self.folder, self.cores, self.settings.size)
        try:
            owner, replica = pair.pid("a"), pair.pid("b")

            def sample(cell, mode, n):
                pair.drained()
                before = load.cpu_seconds(owner), load.cpu_seconds(replica)
                found = self.client.run(cell, [pair.url(mode)], owner, n + 1)
                pair.drained()
                spent = load.cpu_seconds(owner) - before[0], load.cpu_seconds(replica) - before[1]
                if mode != "unmirrored":
                    found["replica_cpu_per_owner_cpu"] = spent[1] / spent[0]
                return found

            # Each volume's blocks are there before it is measured.
            for mode in pair.MODES:
                once = load.Load(self.cores, max(1, self.bytes / servers.GIB))
                once.run(figures.Cell("write", "1MiB", 8, pattern="sequential"), [pair.url(mode)], owner)
            for cell in cells:
                self.alternate(cell, pair.MODES, sample)
        finally:
            pair.stop()

    def measure(self):
        settings = self.settings
        self.alone(figures.SETS[settings.set])
        if settings.planted_delay is not None:
            return
        for cell in self.chosen([figures.TEN_LUNS] if settings.set == "full" else []):
            self.ten_luns(cell)
        self.pair(self.chosen(figures.PAIR_SETS[settings.set]))

    def again(self, names):
        """Only these, from scratch: what was slow once may have had a neighbour."""
        cells = [self.results.cells[name] for name in names]
        for name in names:
            self.results.drop(name)
        alone, paired = [[cell for cell in cells if (cell.room == "pair") == of_pair] for of_pair in (False, True)]
        if alone:
            self.alone(alone)
        self.pair(paired)

    def grown(self):
        grown = growth.Growth(self.client, self.folder, self.cores, self.settings.rounds, self.file)
        tables = list(grown.tables())
        self.results.failures += grown.failures
        return tables


def gate(bench, tally):
    """A ratio that fell counts if it falls twice."""
    if not COMMITTED.exists():
        raise lab.LabError(f"there is no {COMMITTED.relative_to(lab.PROJECT)}: ./tests/run bench --write makes it")
    committed = json.loads(COMMITTED.read_text())["ratios"]
    bench.measure()
    fallen = figures.fallen(committed, bench.results.ratios())
    if fallen:
        names = sorted({key.split(":")[0] for key, _, _ in fallen})
        print(f"\nonce more, as they fell: {'; '.join(names)}", flush=True)
        bench.again(names)
    measured = bench.results.ratios()
    fallen = {key for key, _, _ in figures.fallen(committed, measured)}
    compared = [key for key in committed if key in measured]
    print("\nthe gate", flush=True)
    tally.check("something was compared", compared)
    for key in compared:
        tally.check(f"{key}: {measured[key]:.3f}, committed {committed[key]:.3f}", key not in fallen, "fell by more than 15 %")


def compare(bench):
    settings, results = bench.settings, bench.results
    bench.measure()
    grown = bench.grown() if settings.growth else None
    report.print_claims(results)
    if settings.write:
        report.write(results, grown, settings)
        committed = {"machine": report.machine(), "rounds": settings.rounds, "secs": settings.secs, "ratios": results.ratios()}
        COMMITTED.write_text(json.dumps(committed, indent=1, ensure_ascii=False) + "\n")


def failed(results):
    """What any server answered with anything but GOOD, or with other data."""
    found = [(name, who, sum(results.values(name, who, "errors"))) for name in results.samples for who in results.contenders(name)]
    return [f"{name}: {who}: {errors} commands" for name, who, errors in found if errors]


def main():
    settings = arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard) if hard != resource.RLIM_INFINITY else OPEN_FILES, hard))
    tally = lab.Tally(f"bench: {settings.set}, {settings.rounds} rounds of {settings.secs:g} s, {settings.size} in {settings.folder}")
    with lab.scratch_folder("bench", settings.folder) as folder, tally.step("all was measured"):
        bench = Bench(settings, folder)
        if settings.gate:
            gate(bench, tally)
        else:
            compare(bench)
        for failure in bench.results.failures + failed(bench.results):
            tally.check("no command failed", False, failure)
    tally.finish()


if __name__ == "__main__":
    main()
