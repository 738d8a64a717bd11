#!/usr/bin/env python3
"""Clones of before a resync (FICLONE), on XFS and Btrfs: tests/mirror/reflink.py [KIND…]

Which file systems this machine has does not matter: a guest kernel has both. The pair runs within it, on a disk of its own, with
the guest's own initiator as the host; what happens there is guest/reflink of tests/kernel.
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "kernel"), str(HERE.parent)]
import lab
from guest import Guest, Wire, kernel
from pair import ctl_binary

KINDS = ["xfs", "btrfs"]
# Sparse. Two images of 96 MiB, one whole copy more, and what differs between a clone and its file.
DISK_MIB = 2048
PACKAGES = {"mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs", "iscsid": "open-iscsi", "iscsiadm": "open-iscsi", "cmp": "diffutils"}
TIMEOUT_S = 240


def main():
    tally = lab.Tally("clones of before a resync, in a guest kernel")
    try:
        if os.geteuid() != 0:
            raise lab.LabError("needs root: network namespaces, taps, packages")
        lab.need(PACKAGES)
        kernel()
        with lab.scratch_folder("reflink") as folder, Wire() as wire:
            (folder / "uml").mkdir()
            disk = folder / "disk.img"
            with open(disk, "wb") as file:
                file.truncate(DISK_MIB << 20)
            with Guest(wire, "reflink", folder, "768M", DISK="/dev/ubda", ubda=disk, TARGET_BINARY=lab.daemon_binary(),
                       CTL=ctl_binary(), KINDS=",".join(sys.argv[1:] or KINDS)) as guest:
                guest.run(tally, timeout_s=TIMEOUT_S)
    except (lab.LabError, subprocess.SubprocessError, OSError) as error:
        tally.check("the bench stands", False, str(error))
    tally.finish()


if __name__ == "__main__":
    main()
