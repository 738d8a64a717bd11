"""The arithmetic of the comparison, apart from what is measured: medians, ratios within rounds, claims, and the gate."""

import dataclasses
import statistics

# A committed ratio may be missed by so much before the gate fails: what runs on one machine differ by, and a little more.
GATE_TOLERANCE = 0.15

# What each of ours is compared with, in the same round.
REFERENCE = {"file": "pread limit", "memory": "mapped limit", "sync": "unmirrored", "async": "unmirrored"}

RSS_BASE_MIB, RSS_SESSION_MIB = 64, 4


@dataclasses.dataclass(frozen=True)
class Cell:
    """One workload. Its name is its identity, in tables and in ratios.json."""

    rw: str
    block: str
    depth: int
    sessions: int = 1
    pattern: str = "random"
    digests: str = "none"
    luns: int = 1
    room: str = ""

    @property
    def name(self):
        if self.rw == "idle":
            return f"idle, {self.sessions} sessions"
        parts = [self.room, self.pattern, self.rw, self.block, f"d{self.depth}"]
        parts += [f"× {self.sessions} sessions"] * (self.sessions > 1) + [f"on {self.luns} LUNs"] * (self.luns > 1)
        parts += [f"digests {self.digests}"] * (self.digests != "none")
        return " ".join(part for part in parts if part)


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    """The whole range, as a share of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else None


class Results:
    """What was measured: by cell, by contender, by round. A sample is a dict of figures."""

    def __init__(self):
        self.samples, self.cells, self.failures = {}, {}, []

    def add(self, cell, contender, round_number, sample):
        self.cells[cell.name] = cell
        self.samples.setdefault(cell.name, {}).setdefault(contender, {})[round_number] = sample

    def drop(self, name):
        self.samples.pop(name, None)
        self.cells.pop(name, None)

    def contenders(self, name):
        return list(self.samples.get(name, {}))

    def values(self, name, contender, figure):
        found = self.samples.get(name, {}).get(contender, {}).values()
        return [sample[figure] for sample in found if sample.get(figure) is not None]

    def median(self, name, contender, figure):
        return median(self.values(name, contender, figure))

    def ratio(self, name, contender, reference, figure="iops"):
        """The median over the rounds of one divided by the other, both of the same round."""
        ours, theirs = (self.samples.get(name, {}).get(who, {}) for who in (contender, reference))
        both = [(ours[n].get(figure), theirs[n].get(figure)) for n in ours if n in theirs]
        return median([a / b for a, b in both if a is not None and b])

    def noise(self):
        """The median spread of all that was measured more than once; `None` for nothing."""
        samples = [self.values(name, who, "iops") for name in self.samples for who in self.contenders(name)]
        return median([spread(values) for values in samples if len(values) > 1 and median(values)])

    def ratios(self):
        """What is committed, and what the gate looks at: each of ours against its reference."""
        found = {}
        for name in self.samples:
            for contender, reference in REFERENCE.items():
                ratio = self.ratio(name, contender, reference)
                if ratio is not None:
                    found[f"{name}: {contender} / {reference}"] = round(ratio, 3)
        return found


@dataclasses.dataclass(frozen=True)
class Claim:
    """What we say of ourselves: a figure of a cell, or its ratio to a reference, at least or at most so much."""

    point: str
    cell: Cell
    contender: str
    reference: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    figure: str = "iops"

    def value(self, results):
        if self.reference:
            return results.ratio(self.cell.name, self.contender, self.reference, self.figure)
        return results.median(self.cell.name, self.contender, self.figure)

    def met(self, results):
        """None if it was not measured."""
        value = self.value(results)
        if value is None:
            return None
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def bound(self):
        sign, limit = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {limit:g}" + (f" × {self.reference}" if self.reference else "")


def fallen(committed, measured, tolerance=GATE_TOLERANCE):
    """Cells whose ratio is more than the tolerance below the committed one: (cell, committed, measured)."""
    return [(key, committed[key], measured[key]) for key in committed
            if key in measured and measured[key] < committed[key] * (1 - tolerance)]


# ---------------------------------------------------------------- cells and claims

READS = {depth: Cell("read", "4KiB", depth) for depth in (1, 32, 128)}
WRITES = {depth: Cell("write", "4KiB", depth) for depth in (1, 32, 128)}
READ_CROWD, WRITE_CROWD = Cell("read", "4KiB", 32, 4), Cell("write", "4KiB", 32, 4)
MIX = Cell("mix", "4KiB", 32)
BULK = [Cell(rw, block, 16, pattern="sequential") for block in ("256KiB", "1MiB") for rw in ("read", "write")]
DIGESTS = [Cell(rw, "4KiB", depth, digests="both") for depth in (1, 32) for rw in ("read", "write")]
DIGESTS += [Cell(rw, "256KiB", 16, pattern="sequential", digests="both") for rw in ("read", "write")]
TEN_LUNS = Cell("read", "4KiB", 32, luns=10)
THOUSAND = Cell("read", "4KiB", 1, 1000)
MIRRORED = {depth: Cell("write", "4KiB", depth, room="pair") for depth in (1, 32, 128)}
MIRRORED_BULK = Cell("write", "1MiB", 8, pattern="sequential", room="pair")
IDLE = Cell("idle", "", 0, 100)

SETS = {
    "quick": [READS[1], READS[32], WRITES[1], WRITES[32], *BULK[:2]],
    "full": [*READS.values(), READ_CROWD, *WRITES.values(), WRITE_CROWD, MIX, *BULK, *DIGESTS],
}
PAIR_SETS = {"quick": [MIRRORED[32]], "full": [*MIRRORED.values(), MIRRORED_BULK]}


def claims():
    read, write = READS, WRITES
    table = [Claim("1", read[32], "file", rival, at_least=5) for rival in ("tgt", "tgt, 1 thread")]
    table += [Claim("1", cell, "file", "pread limit", at_least=least)
              for cell, least in ((read[1], 0.95), (read[32], 0.85), (read[128], 0.85), (READ_CROWD, 0.85))]
    table.append(Claim("1", read[32], "memory", "mapped limit", at_least=0.7))
    table += [Claim("2", cell, "file", "pread limit", at_least=0.85) for cell in (*write.values(), WRITE_CROWD)]
    table += [Claim("2", cell, "file", "pread limit", at_least=0.9, figure="bytes_per_second") for cell in BULK]
    table += [Claim("2", cell, "file", "pread limit", at_least=1) for cell in DIGESTS]
    table += [
        Claim("4", MIRRORED[32], "sync", "unmirrored", at_least=0.45),
        Claim("4", MIRRORED[32], "async", "unmirrored", at_least=0.8),
        Claim("4", MIRRORED[32], "sync", at_most=1, figure="replica_cpu_per_owner_cpu"),
        Claim("4", MIRRORED[32], "async", at_most=1, figure="replica_cpu_per_owner_cpu"),
    ]
    table += [Claim("5", cell, "file", at_most=2, figure="p99_per_p50") for cell in (read[1], write[1])]
    table += [Claim("5", cell, "file", at_most=RSS_BASE_MIB + RSS_SESSION_MIB * cell.sessions * cell.luns, figure="rss_mib")
              for cell in (read[32], read[128], READ_CROWD, *BULK, TEN_LUNS, THOUSAND)]
    table += [
        Claim("5", THOUSAND, "file", at_most=0, figure="errors"),
        Claim("5", THOUSAND, "file", "pread limit", at_least=0.85),
        Claim("5", TEN_LUNS, "file", "pread limit", at_least=0.85),
        Claim("6", IDLE, "file", at_most=0.1, figure="cpu_percent"),
    ]
    return table
