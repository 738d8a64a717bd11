"""What was measured, as tables for a terminal and as docs/performance.md."""

import os
import pathlib
import platform
import subprocess

import chart
import figures
import lab

DOCS = lab.PROJECT / "docs"
COLUMNS = ["IOPS", "MB/s", "p50 µs", "p99 µs", "p99.9 µs", "target µs/IO", "client µs/IO", "RSS MiB", "errors", "ratio", "spread"]
FIGURES = {"iops": "IOPS", "bytes_per_second": "MB/s", "rss_mib": "RSS, MiB", "p99_per_p50": "p99 ÷ p50", "cpu_percent": "CPU, %",
           "replica_cpu_per_owner_cpu": "CPU, replica ÷ owner"}
MARK = {True: "met", False: "MISSED", None: "not measured"}


def shown(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def row(results, name, contender):
    """The cells of COLUMNS. The ratio is to the contender's reference, of what else there is to the pread limit."""
    middle = lambda figure: results.median(name, contender, figure)
    reference = figures.REFERENCE.get(contender, "pread limit")
    ratio = None if contender in (reference, "unmirrored") else results.ratio(name, contender, reference)
    bulk = middle("bytes_per_second")
    spread = figures.spread(results.values(name, contender, "iops"))
    return [shown(middle("iops")), shown(bulk / 1e6 if bulk is not None else None), *(shown(middle(key), 1) for key in ("p50", "p99", "p999")),
            shown(middle("target_cpu_us"), 2), shown(middle("client_cpu_us"), 2), shown(middle("rss_mib"), 1),
            shown(sum(results.values(name, contender, "errors"))), shown(ratio, 3), "–" if spread is None else f"{spread:.0%}"]


def print_cell(results, cell):
    print(f"\n{cell.name}", flush=True)
    rows = [["", *COLUMNS]] + [[name, *row(results, cell.name, name)] for name in results.contenders(cell.name)]
    print_rows(rows)


def print_rows(rows):
    widths = [max(len(str(line[n])) for line in rows) for n in range(len(rows[0]))]
    for line in rows:
        print("  " + "  ".join(str(word).ljust(width) if n == 0 else str(word).rjust(width) for n, (word, width) in enumerate(zip(line, widths))), flush=True)


def claim_rows(results):
    rows = []
    for claim in figures.claims():
        figure = FIGURES.get(claim.figure, claim.figure)
        value = claim.value(results)
        rows.append([claim.point, claim.cell.name, claim.contender, figure, claim.bound, shown(value, 3), MARK[claim.met(results)]])
    return rows


CLAIM_HEAD = ["point", "workload", "ours", "figure", "claimed", "measured", ""]


def print_claims(results):
    print("\nwhat we claim")
    print_rows([CLAIM_HEAD, *claim_rows(results)])


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(word) for word in line) + " |" for line in rows])


def first_line(command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, cwd=lab.PROJECT)
        return run.stdout.strip().splitlines()[0] if run.stdout.strip() else "unknown"
    except OSError:
        return "unknown"


def machine():
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    versions = "".join(f", {name} {first_line(['dpkg-query', '-W', '-f', '${Version}', name])}" for name in ("tgt", "istgt"))
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}, loopback; commit {first_line(['git', 'rev-parse', '--short', 'HEAD'])}{versions}"


HEAD = """# Performance

Written by `./tests/run bench --write`; do not edit. {how}

    ./tests/run bench              # all workloads, this table of claims
    ./tests/run bench --growth     # and how cost grows
    ./tests/run bench --gate       # fails where a ratio fell by 15 % since this was written

{machine}. Target pinned to one processor, client (`lunmirrorctl bench`) to another, both before all other processes where
root runs it; a file of {size} in page cache that all servers share; each round runs every server once, another one first each
time; figures are medians over {rounds} round(s) of {seconds:g} s. **Absolute figures differ from machine to machine and from hour to
hour: read the ratios**, which are medians of ratios within a round: `file` to the pread limit, `memory` to the mapped limit, a
mirrored volume to the same unmirrored.

The limits are a server that does nothing but iSCSI's bytes (`tests/src/bin/limit_server`): one epoll loop, no checks, no state,
one read and one vectored write a wake-up; *pread* reads and writes the file by system calls, *mapped* copies from and to its
mapping. tgt and istgt are Debian's.
"""


# Half of all spreads are below this where nobody else uses the machine.
QUIET_SPREAD = 0.15

NOISY = ("**The machine was not quiet: half of all spreads are above {noise:.0%}.** Ratios are no more precise than that; a claim "
         "missed by less may be met, one met by less may be missed.")


def write(results, growth, settings):
    """docs/performance.md and its plots."""
    DOCS.mkdir(exist_ok=True)
    how = f"Set `{settings.set}`."
    parts = [HEAD.format(how=how, machine=machine(), size=settings.size, rounds=settings.rounds, seconds=settings.secs)]
    noise = results.noise()
    if noise is not None and noise > QUIET_SPREAD:
        parts.append(NOISY.format(noise=noise))
    parts += ["## Claims", markdown(CLAIM_HEAD, claim_rows(results))]
    for file, title, plot in plots(results):
        (DOCS / file).write_text(plot)
        parts.append(f"![{title}]({file})")
    parts.append("## Workloads")
    parts.append("d32: 32 commands under way in each session. Of several clients at once the latency is the worst one's. Spread: from the "
                 "slowest round to the fastest, as a share of the median.")
    for name in results.samples:
        if name != figures.IDLE.name:
            parts += [f"### {name}", markdown(["", *COLUMNS], [[who, *row(results, name, who)] for who in results.contenders(name)])]
    if growth:
        parts.append("## How cost grows")
        for table in growth:
            file = f"performance-{table.name}.svg"
            (DOCS / file).write_text(table.plot())
            parts += [f"### {table.title}", table.note, markdown(table.head, table.rows), f"![{table.title}]({file})"]
    (DOCS / "performance.md").write_text("\n\n".join(part for part in parts if part) + "\n")


def plots(results):
    """Those for which something was measured: (file, title, SVG)."""
    order = ["file", "memory", "pread limit", "mapped limit", "tgt", "tgt, 1 thread", "istgt"]
    groups = [
        ("read", "4 KiB random read", order, [*figures.READS.values(), figures.READ_CROWD]),
        ("write", "4 KiB random write", order, [*figures.WRITES.values(), figures.WRITE_CROWD]),
        ("pair", "4 KiB random write, mirrored", ["unmirrored", "sync", "async"], list(figures.MIRRORED.values())),
    ]
    for file, title, names, cells in groups:
        labels = {cell.name: f"depth {cell.depth}" + (f" × {cell.sessions}" if cell.sessions > 1 else "") for cell in cells if cell.name in results.samples}
        if labels:
            names = [name for name in names if any(name in results.contenders(cell) for cell in labels)]
            values = {name: {label: results.median(cell, name, "iops") for cell, label in labels.items()} for name in names}
            yield f"performance-{file}.svg", title, chart.bars(title, "IOPS", list(labels.values()), names, values)
    suffix = ": file / pread limit"
    ratios = {key.removesuffix(suffix): ratio for key, ratio in results.ratios().items() if key.endswith(suffix)}
    if ratios:
        title = "A file served by us ÷ by the pread limit"
        yield "performance-ratio.svg", title, chart.columns(title, ratios)
