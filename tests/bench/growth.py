"""How cost grows: with the number of LUNs, of sessions, of bytes in a volume, and of connections of a pair."""

import dataclasses
import pathlib
import shutil

import chart
import figures
import load
import report
import servers
from figures import Cell

COUNTS = [1, 10, 100, 1000]
SESSIONS = [1, 4, 16, 64, 250, 1000]
SIZES = ["1GiB", "64GiB", "1TiB", "16TiB", "64TiB"]
CONNECTIONS = [1, 2, 4, 8, 16, 32]
# Random writes into a sparse volume stay in its first part: what they fill must fit into memory.
FILLED = 1 << 30
UNITS = {"GiB": 1 << 30, "TiB": 1 << 40}


@dataclasses.dataclass
class Table:
    name: str
    title: str
    note: str
    head: list
    ticks: list
    columns: list  # of figures, one list for each heading but the first
    digits: list
    plotted: dict  # name of a line → number of its column
    unit: str

    @property
    def rows(self):
        return [[tick, *(report.shown(column[n], digits) for column, digits in zip(self.columns, self.digits))] for n, tick in enumerate(self.ticks)]

    def plot(self):
        return chart.lines(self.title, self.unit, self.ticks, {name: self.columns[at] for name, at in self.plotted.items()})


class Growth:
    def __init__(self, client, folder, cores, rounds, limit_file):
        self.client, self.folder, self.cores, self.limit_file = client, folder, cores, limit_file
        # Of each point; they are many, and the curve is what counts.
        self.rounds = min(rounds, 3)
        self.failures = []

    def tables(self):
        for make in (self.luns, self.sessions, self.volume, self.connections):
            table = make()
            print(f"\n{table.title}: {table.note}", flush=True)
            report.print_rows([table.head, *table.rows])
            yield table

    def measured(self, cell, urls, limit_bytes=None):
        """Medians of a cell: urls by contender, each with the process it is of."""
        results = figures.Results()
        load.alternate(results, cell, list(urls), self.rounds,
                       lambda cell, who, n: self.client.run(cell, [urls[who][0]], urls[who][1], n + 1, limit_bytes))
        self.failures += results.failures
        return results

    def luns(self):
        columns = [[] for _ in range(4)]
        cell = Cell("read", "4KiB", 32)
        for count in COUNTS:
            images = self.folder / f"luns-{count}"
            images.mkdir()
            server = servers.Ours(self.folder, f"{count} LUNs", [f"file: {images}/{n}.img, size: 1MiB" for n in range(count)], self.cores.target)
            try:
                resident = load.rss_mib(server.pid)
                results = self.measured(cell, {"file": (server.url(count - 1), server.pid)})
            finally:
                server.stop()
                shutil.rmtree(images)
            row = [server.ready_after_s * 1e3, resident, results.median(cell.name, "file", "iops"), results.median(cell.name, "file", "target_cpu_us")]
            for column, value in zip(columns, row):
                column.append(value)
        head = ["LUNs", "first start, ms", "RSS after it, MiB", "IOPS of one", "target µs/IO"]
        return Table("luns", "Cost by number of LUNs", "Files of 1 MiB, made at this start; random reads of 4 KiB at depth 32 on the last LUN.",
                     head, COUNTS, columns, [0, 1, 0, 2], {"first start, ms": 0}, "milliseconds")

    def sessions(self):
        columns = [[] for _ in range(5)]
        ours = servers.Ours(self.folder, "sessions", [f"file: {self.limit_file}, size: {self.limit_file.stat().st_size}B"], self.cores.target)
        limit = servers.LimitServer(self.folder, "limit sessions", self.limit_file, "pread", self.cores.target)
        try:
            for count in SESSIONS:
                cell = Cell("read", "4KiB", 1, count)
                results = self.measured(cell, {"file": (ours.url(), ours.pid), "pread limit": (limit.url(), limit.pid)})
                row = [results.median(cell.name, "file", figure) for figure in ("iops", "target_cpu_us", "p99", "rss_mib")]
                for column, value in zip(columns, [*row[:1], results.ratio(cell.name, "file", "pread limit"), *row[1:]]):
                    column.append(value)
        finally:
            ours.stop()
            limit.stop()
        head = ["sessions", "IOPS", "ratio to the pread limit", "target µs/IO", "p99 µs", "RSS MiB"]
        return Table("sessions", "Cost by number of sessions", "Random reads of 4 KiB, one under way in each session.",
                     head, SESSIONS, columns, [0, 3, 2, 0, 1], {"IOPS": 0}, "IOPS")

    def volume(self):
        """Alone, and mirrored while the peer is away: with it there would be a first resync, as long as the volume is large."""
        columns, kinds = [[] for _ in range(8)], []
        read, write = Cell("read", "4KiB", 32), Cell("write", "4KiB", 32)
        for size in SIZES:
            path = self.folder / "sparse.img"
            kinds.append(sparse(path, int(size[:-3]) * UNITS[size[-3:]]))
            volume = f"file: {path}, size: {size}" if kinds[-1] else f"null: {{}}, size: {size}"
            server = servers.Ours(self.folder, f"volume {size}", [volume], self.cores.target)
            try:
                row = [server.ready_after_s * 1e3, load.rss_mib(server.pid)]
                for cell, limit in ((read, None), (write, FILLED)):
                    results = self.measured(cell, {"file": (server.url(), server.pid)}, limit)
                    row.append(results.median(cell.name, "file", "iops"))
            finally:
                server.stop()
                path.unlink(missing_ok=True)
            row += self.mirrored(size, write) if kinds[-1] else [None] * 4
            for column, value in zip(columns, row):
                column.append(value)
        none = [size for size, kind in zip(SIZES, kinds) if not kind]
        instead = f", and null for {', '.join(none)}, as no file can be so large there" if none else ""
        note = (f"Sparse files on {file_system(self.folder)}{instead}. Random I/O of 4 KiB at depth 32: reads all over the volume, that is of holes, "
                "writes within the first GiB. Mirrored: two volumes of this size, sync and async, and one beside them that is not, of a node "
                "whose peer is away; writes to the async one.")
        head = ["volume", "start, ms", "RSS after it, MiB", "read IOPS", "write IOPS", "mirrored: start, ms", "RSS after it, MiB", "records on disk, MiB", "write IOPS"]
        return Table("volume", "Cost by size of a volume", note, head, SIZES, columns, [0, 1, 0, 0, 0, 1, 1, 0],
                     {"read": 2, "write": 3, "write, mirrored": 7}, "IOPS")

    def mirrored(self, size, cell):
        pair = servers.Pair(self.folder, self.cores, size, alone=True)
        try:
            row = [pair.ready_after_s * 1e3, load.rss_mib(pair.pid("a")), pair.state_bytes() / load.MIB]
            results = self.measured(cell, {"async": (pair.url("async"), pair.pid("a"))}, FILLED)
            return [*row, results.median(cell.name, "async", "iops")]
        finally:
            pair.stop()

    def connections(self):
        columns = [[] for _ in range(5)]
        small, bulk = Cell("write", "4KiB", 32), Cell("write", "1MiB", 8, pattern="sequential")
        for count in CONNECTIONS:
            pair = servers.Pair(self.folder, self.cores, "1GiB", count)
            try:
                owner = pair.pid("a")
                results = {}
                for cell in (small, bulk):
                    results[cell] = figures.Results()
                    def sample(cell, mode, n):
                        pair.drained()
                        return self.client.run(cell, [pair.url(mode)], owner, n + 1)
                    load.alternate(results[cell], cell, ["sync", "async"], self.rounds, sample)
                    self.failures += results[cell].failures
            finally:
                pair.stop()
            small_of = lambda mode, figure: results[small].median(small.name, mode, figure)
            bulk_of = lambda mode: (results[bulk].median(bulk.name, mode, "bytes_per_second") or 0) / 1e6
            row = [small_of("sync", "iops"), small_of("async", "iops"), small_of("sync", "target_cpu_us"), bulk_of("sync"), bulk_of("async")]
            for column, value in zip(columns, row):
                column.append(value)
        head = ["connections", "sync IOPS", "async IOPS", "owner µs/IO, sync", "sync MB/s", "async MB/s"]
        return Table("connections", "Cost by number of connections between the nodes",
                     "A pair; random writes of 4 KiB at depth 32, and sequential ones of 1 MiB at depth 8.",
                     head, CONNECTIONS, columns, [0, 0, 2, 0, 0], {"sync": 0, "async": 1}, "IOPS")


def sparse(path, size):
    """Whether this file system has files so large."""
    try:
        with open(path, "wb") as file:
            file.truncate(size)
        return True
    except OSError:
        path.unlink(missing_ok=True)
        return False


def file_system(folder):
    mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    inside = [(point, kind) for _, point, kind, *_ in mounts if folder.resolve().is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]))[1]
