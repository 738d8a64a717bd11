#!/usr/bin/env python3
"""The Linux kernel's own initiator, in a user-mode-linux guest, against the daemon: tests/kernel/scenarios.py [NAME…] [--against tgt]

Each scenario boots a guest (some 6 s), which runs guest/NAME and says `ok` or `fail` for each thing it tried.
"""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]
import lab
from guest import HOST_ADDRESSES, Guest, Wire, kernel
from targets import MIB, Target, Volume, program

PORT = 3260
PORTALS = [f"{address}:{PORT}" for address in HOST_ADDRESSES]
USER, SECRET, HIS_USER, HIS_SECRET = "guest", "twelve-chars-or-more", "target", "other-chars-enough"
PACKAGES = {
    "iscsid": "open-iscsi", "iscsiadm": "open-iscsi", "fio": "fio", "mkfs.xfs": "xfsprogs", "xfs_repair": "xfsprogs", "mkfs.ext4": "e2fsprogs",
    "sg_inq": "sg3-utils", "multipathd": "multipath-tools", "dmsetup": "dmsetup", "udevadm": "udev", "fstrim": "util-linux",
}


class Bench:
    """A wire, a folder, and targets of the program under test on it."""

    def __init__(self, against, name):
        self.against, self.name = against, name

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        with self.stack as stack:
            self.folder = stack.enter_context(lab.scratch_folder(f"kernel-{self.name}"))
            (self.folder / "uml").mkdir()
            self.wire = stack.enter_context(Wire())
            self.stack = stack.pop_all()
        return self

    def serve(self, targets):
        self.target = program(self.against)(self.folder, self.wire.name, PORTALS, targets)
        self.stack.callback(self.target.stop)
        self.target.start()
        return self.target

    def volume(self, name, size_mib, **more):
        return Volume(self.folder / f"{name}.img", size_mib, **more)

    def boot(self, tally, events=None, memory="512M", timeout_s=180, **variables):
        with Guest(self.wire, self.name, self.folder, memory, PORTAL0=PORTALS[0], PORTAL1=PORTALS[1], **variables) as guest:
            self.guest = guest
            guest.run(tally, events, timeout_s)
        tally.check("the target is alive and did not panic", self.target.healthy(), self.target.log())

    def __exit__(self, *_):
        self.stack.close()


def login(bench, tally):
    names = [f"{lab.IQN}:{name}" for name in ("open", "chap", "mutual")]
    volumes = [bench.volume(name, 64) for name in ("open", "chap", "mutual")]
    bench.serve([
        Target(names[0], [volumes[0]]),
        Target(names[1], [volumes[1]], chap=(USER, SECRET)),
        Target(names[2], [volumes[2]], chap=(USER, SECRET), mutual=(HIS_USER, HIS_SECRET)),
    ])
    bench.boot(tally, OPEN=names[0], CHAP=names[1], MUTUAL=names[2], CHAP_USER=USER, CHAP_SECRET=SECRET,
               MUTUAL_USER=HIS_USER, MUTUAL_SECRET=HIS_SECRET)


def filesystems(bench, tally):
    """Files are written, verified and deleted; after fstrim the image must be smaller."""
    ext4, xfs = bench.volume("ext4", 1024), bench.volume("xfs", 1024)
    iqn = f"{lab.IQN}:fs"
    bench.serve([Target(iqn, [ext4, xfs])])
    full = {}

    def measure(volume):
        full[volume] = volume.allocated()
        assert full[volume] > 200 * MIB, f"only {full[volume] // MIB} MiB allocated when full"

    def compare(volume):
        left = volume.allocated()
        assert left < full[volume] // 4, f"fstrim left {left // MIB} of {full[volume] // MIB} MiB"
        print(f"        {volume.file.stem}: {full[volume] // MIB} MiB allocated, {left // MIB} MiB after fstrim")

    events = {f"full {v.file.stem}": (lambda v=v: measure(v)) for v in (ext4, xfs)}
    events |= {f"trimmed {v.file.stem}": (lambda v=v: compare(v)) for v in (ext4, xfs)}
    bench.boot(tally, events, TARGET=iqn)


def commands(bench, tally):
    """sg3-utils, one command after the other."""
    iqn = f"{lab.IQN}:sg"
    bench.serve([Target(iqn, [bench.volume("one", 256), bench.volume("two", 256)])])
    bench.boot(tally, TARGET=iqn)


def multipath(bench, tally):
    """Two portals; one path is cut while fio writes and verifies, then mended."""
    iqn = f"{lab.IQN}:paths"
    bench.serve([Target(iqn, [bench.volume("shared", 512)])])

    def cut():
        bench.wire.cut(1)

    def mend():
        bench.wire.mend(1)

    bench.boot(tally, {"cut the second path": cut, "mend the second path": mend}, TARGET=iqn)


def resize(bench, tally):
    """Grown while mounted: the guest rescans, sees it, grows the file system into it."""
    iqn = f"{lab.IQN}:grow"
    volume = bench.volume("grow", 256)
    target = bench.serve([Target(iqn, [volume])])

    def grow():
        target.resize(volume, 512)
        lab.wait_until("the image has its new size", lambda: os.stat(volume.file).st_size == 512 * MIB, 10)

    bench.boot(tally, {"grow to 512 MiB": grow}, TARGET=iqn)


def restart(bench, tally):
    """kill -9 under fio, twice, and started again: fio sees no error, and every block is what was written."""
    iqn = f"{lab.IQN}:crash"
    target = bench.serve([Target(iqn, [bench.volume("crash", 512)])])

    def crash(number):
        target.kill()
        time.sleep(1)  # long enough for the initiator to be refused and to try again
        target.start()

    bench.boot(tally, {"kill 1": lambda: crash(1), "kill 2": lambda: crash(2)}, timeout_s=240, TARGET=iqn)


SCENARIOS = [login, filesystems, commands, multipath, resize, restart]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(s.__name__ for s in SCENARIOS))
    parser.add_argument("--against", default="lunmirror", choices=["lunmirror", "tgt"])
    args = parser.parse_args()
    tally = lab.Tally("kernel: open-iscsi in a guest kernel")
    try:
        if os.geteuid() != 0:
            raise lab.LabError("needs root: network namespaces, taps, packages")
        lab.need(PACKAGES)
        kernel()
    except (lab.LabError, subprocess.CalledProcessError, OSError) as error:
        tally.check("the bench stands", False, str(error))
        tally.finish()
    for scenario in SCENARIOS:
        if args.names and scenario.__name__ not in args.names:
            continue
        print(f"  -- {scenario.__name__}", flush=True)
        start = time.monotonic()
        try:
            with Bench(args.against, scenario.__name__) as bench:
                scenario(bench, tally)
        except (lab.LabError, subprocess.SubprocessError, OSError) as error:
            tally.check(f"{scenario.__name__} ran", False, str(error))
        print(f"     {time.monotonic() - start:.0f} s", flush=True)
    tally.finish()


if __name__ == "__main__":
    main()
