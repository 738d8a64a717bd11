#!/usr/bin/env python3
"""QEMU's tools over iscsi://, and tshark's opinion of every PDU that went by: tests/interop/qemu.py [--against tgt]"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "kernel")]
import lab
from dissect import Capture, dissect
from targets import MIB, Target, Volume, program

USER, SECRET = "qemu", "twelve-chars-or-more"
MUST_BE_SEEN = [
    "NOP-Out", "NOP-In", "SCSI Command", "SCSI Response", "Login Request", "Login Response", "Text Request", "Text Response", "Data-Out", "Data-In",
    "R2T", "Logout Request", "Logout Response", "Task Management Request", "Task Management Response",
]


class Qemu:
    """qemu-img and qemu-io with the iscsi driver: installed ones, or Debian's own pair unpacked beside a newer QEMU."""

    def __init__(self):
        self.folder, self.environment = None, dict(os.environ)
        if self.speaks_iscsi():
            return
        try:
            lab.apt_install(["qemu-utils", "qemu-block-extra"])
        except lab.LabError:
            pass  # a qemu-utils from elsewhere keeps qemu-block-extra away
        if self.speaks_iscsi():
            return
        self.unpack()
        if not self.speaks_iscsi():
            raise lab.LabError("no qemu-img with the iscsi driver: neither installed, nor installable, nor unpacked")

    def unpack(self):
        listing = subprocess.run(["apt-cache", "madison", "qemu-block-extra"], capture_output=True, text=True).stdout
        if not listing:
            lab.apt_update()
            listing = subprocess.run(["apt-cache", "madison", "qemu-block-extra"], capture_output=True, text=True).stdout
        if not listing:
            raise lab.LabError("apt knows no qemu-block-extra")
        version = listing.splitlines()[0].split("|")[1].strip()
        self.folder = lab.unpack("qemu-" + re.sub(r"\W", "-", version), f"qemu-utils={version}", f"qemu-block-extra={version}")
        (modules,) = list(self.folder.glob("usr/lib/*/qemu"))
        self.environment["QEMU_MODULE_DIR"] = str(modules)
        absent = set()
        for file in [self.program("qemu-img"), self.program("qemu-io"), modules / "block-iscsi.so"]:
            ldd = subprocess.run(["ldd", file], capture_output=True, text=True).stdout
            absent |= set(re.findall(r"(\S+) => not found", ldd))
        if absent:
            lab.apt_install(sorted(LIBRARIES.get(name, name) for name in absent))

    def program(self, name):
        return str(self.folder / "usr" / "bin" / name) if self.folder else name

    def speaks_iscsi(self):
        try:
            run = self.run("qemu-img", "info", "iscsi://127.0.0.1:1/iqn.x:y/0")
        except FileNotFoundError:
            return False
        return "iSCSI:" in run.stderr  # the driver itself says that nobody listens there

    def run(self, tool, *words, timeout_s=120):
        return subprocess.run([self.program(tool), *map(str, words)], env=self.environment, capture_output=True, text=True, errors="replace", timeout=timeout_s)

    def must(self, tool, *words, timeout_s=120):
        run = self.run(tool, *words, timeout_s=timeout_s)
        assert run.returncode == 0, f"{tool} {' '.join(map(str, words))}: {(run.stdout + run.stderr)[-400:]}"
        return run.stdout + run.stderr


# Shared libraries that Debian's qemu-utils and qemu-block-extra link to, and the packages they are in.
LIBRARIES = {"libiscsi.so.7": "libiscsi7", "libaio.so.1": "libaio1", "liburing.so.2": "liburing2", "libfuse3.so.3": "libfuse3-3", "libnuma.so.1": "libnuma1",
             "libnettle.so.8": "libnettle8", "libgnutls.so.30": "libgnutls30", "libpmem.so.1": "libpmem1", "libpixman-1.so.0": "libpixman-1-0"}


def digest(path, size):
    sha = hashlib.sha256()
    with open(path, "rb") as f:
        while size > 0 and (data := f.read(min(size, MIB))):
            sha.update(data)
            size -= len(data)
    return sha.hexdigest()


def drive(tally, qemu, folder, url, volume, port):
    io = lambda *commands, **more: qemu.must("qemu-io", *more.get("options", ()), *(word for c in commands for word in ("-c", c)), "-f", "raw", url, **{k: v for k, v in more.items() if k == "timeout_s"})

    def io_ok(*commands, **more):
        out = io(*commands, **more)
        assert not re.search(r"failed|verification", out, re.IGNORECASE), out[-400:]
        return out

    with tally.step("qemu-img info: size"):
        info = json.loads(qemu.must("qemu-img", "info", "--output=json", url))
        assert info["virtual-size"] == volume.size_mib * MIB, info
    with tally.step("qemu-io: patterns written are read back"):
        io_ok("write -P 0x5a 0 1M", "write -P 0xa5 1M 64k", "write -P 0x11 3000k 512", "flush",
              "read -P 0x5a 0 1M", "read -P 0xa5 1M 64k", "read -P 0x11 3000k 512")
    with tally.step("qemu-io: large, unaligned and vectored"):
        io_ok("write -P 0x77 8M 3M", "read -P 0x77 8M 3M", "writev -P 0x33 20M 4k 512 64k 1k", "readv -P 0x33 20M 4k 512 64k 1k", "write -P 0x44 20480512 1536",
              "read -P 0x44 20480512 1536")
    with tally.step("qemu-io: FUA and flush"):
        io_ok("write -f -P 0x21 24M 128k", "flush", "read -P 0x21 24M 128k")
    with tally.step("qemu-io: write zeroes"):
        io_ok("write -P 0x5a 32M 1M", "write -z 32M 512k", "read -P 0 32M 512k", "read -P 0x5a 33280k 512k")
    with tally.step("qemu-io: write zeroes, allowed to unmap"):
        io_ok("write -P 0x5a 34M 1M", "write -z -u 34M 1M", "read -P 0 34M 1M", options=("-d", "unmap"))
    with tally.step("qemu-io: discard gives the space back, and reads as zeroes"):
        io_ok("write -P 0x5a 40M 16M", "flush")
        before = volume.allocated()
        io_ok("discard 40M 16M", "read -P 0 40M 16M", options=("-d", "unmap"))
        after = volume.allocated()
        assert before - after >= 15 * MIB, f"{before // MIB} MiB allocated before, {after // MIB} after"
    with tally.step("qemu-io: 40 requests at once"):
        io_ok(*(f"aio_write -P {1 + n} {64 + n}M 64k" for n in range(40)), "aio_flush", *(f"read -P {1 + n} {64 + n}M 64k" for n in range(40)))
    with tally.step("qemu-io: a session left idle for 6 s answers, and QEMU's NOP-Out is answered"):
        io_ok("sleep 6000", "read 0 4k")
    with tally.step("qemu-img map: GET LBA STATUS tells data from holes"):
        io_ok("write -P 0x5a 120M 1M", "discard 121M 4M", options=("-d", "unmap"))
        ranges = json.loads(qemu.must("qemu-img", "map", "--output=json", "-f", "raw", url))
        at = lambda offset: next(r for r in ranges if r["start"] <= offset < r["start"] + r["length"])
        assert at(120 * MIB + 4096)["data"] and not at(122 * MIB)["data"] and at(122 * MIB)["zero"], ranges
    local, back = folder / "local.raw", folder / "back.raw"
    with tally.step("qemu-img convert there, compare, convert back"):
        with open(local, "wb") as f:
            f.truncate(volume.size_mib * MIB)
            for place in (0, 17 * MIB, 100 * MIB):
                f.seek(place)
                f.write(os.urandom(5 * MIB))
        qemu.must("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", local, url)
        assert "identical" in qemu.must("qemu-img", "compare", "-f", "raw", "-F", "raw", local, url)
        qemu.must("qemu-img", "convert", "-f", "raw", "-O", "raw", url, back)
        assert digest(local, local.stat().st_size) == digest(back, volume.size_mib * MIB)
    with tally.step("qemu-img compare sees a difference"):
        io_ok("write -P 0x99 17M 512")
        run = qemu.run("qemu-img", "compare", "-f", "raw", "-F", "raw", local, url)
        assert run.returncode == 1, run.stdout + run.stderr
    with tally.step("qemu-img create and convert qcow2 onto the unit"):
        qemu.must("qemu-img", "create", "-f", "qcow2", url, "64M")
        qemu.must("qemu-io", "-c", "write -P 0x42 1M 3M", "-c", "read -P 0x42 1M 3M", "-f", "qcow2", url)
        assert "No errors" in qemu.must("qemu-img", "check", "-f", "qcow2", url)
    with tally.step("qemu-img bench: reads and writes at depth 32"):
        qemu.must("qemu-img", "bench", "-c", "2000", "-d", "32", "-s", "4096", "-f", "raw", url)
        qemu.must("qemu-img", "bench", "-c", "200", "-d", "32", "-s", "65536", "-w", "-f", "raw", url)


def blockdev(qemu, host, target, lun, more, *commands):
    """The same through named options, which a URL cannot carry."""
    options = f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={host},file.target={target},file.lun={lun},{more}"
    out = qemu.must("qemu-io", *(word for c in commands for word in ("-c", c)), "--image-opts", options)
    assert not re.search(r"failed|verification", out, re.IGNORECASE), out[-400:]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="lunmirror", choices=["lunmirror", "tgt"])
    parser.add_argument("--keep", help="where the capture shall stay")
    args = parser.parse_args()
    tally = lab.Tally("interop: QEMU's tools, dissected by tshark")
    try:
        qemu = Qemu()
        lab.need({"iscsi-ls": "libiscsi-bin", "iscsi-test-cu": "libiscsi-bin", "tshark": "tshark"})
        with lab.scratch_folder("interop") as folder:
            run(tally, args, qemu, folder)
    except (lab.LabError, subprocess.SubprocessError, OSError) as error:
        tally.check("the bench stands", False, str(error))
    tally.finish()


def run(tally, args, qemu, folder):
    port, lun = lab.free_port(), 1 if args.against == "tgt" else 0
    host = f"127.0.0.1:{port}"
    open_iqn, chap_iqn = f"{lab.IQN}:open", f"{lab.IQN}:chap"
    plain, secret = Volume(folder / "plain.img", 136), Volume(folder / "secret.img", 64)
    target = program(args.against)(folder, None, [host], [Target(open_iqn, [plain]), Target(chap_iqn, [secret], chap=(USER, SECRET))])
    target.start()
    capture_file = pathlib.Path(args.keep) if args.keep else folder / "capture.pcapng"
    try:
        with Capture(capture_file, port) as capture:
            url = f"iscsi://{host}/{open_iqn}/{lun}"
            drive(tally, qemu, folder, url, plain, port)
            with tally.step("CHAP: right secret, in the URL"):
                qemu.must("qemu-io", "-c", "write -P 7 0 64k", "-c", "read -P 7 0 64k", "-f", "raw", f"iscsi://{USER}%{SECRET}@{host}/{chap_iqn}/{lun}")
            with tally.step("CHAP: wrong secret, refused"):
                refused = qemu.run("qemu-img", "info", f"iscsi://{USER}%wrong-secret-999@{host}/{chap_iqn}/{lun}")
                assert refused.returncode != 0 and re.search("login|auth", refused.stderr, re.IGNORECASE), refused.stderr
            for way in ("none", "none-crc32c", "crc32c-none", "crc32c"):
                with tally.step(f"header digest {way}"):
                    blockdev(qemu, host, open_iqn, lun, f"file.header-digest={way}", "write -P 9 4M 1M", "read -P 9 4M 1M", "write -P 8 1k 512", "read -P 8 1k 512")
            with tally.step("iscsi-ls: discovery"):
                listing = subprocess.run(["iscsi-ls", f"iscsi://{host}"], capture_output=True, text=True, timeout=30)
                assert open_iqn in listing.stdout and chap_iqn in listing.stdout, listing.stdout + listing.stderr
            with tally.step("task management by libiscsi"):
                # ABORT TASK; the tool's own summary counts it.
                tmf = subprocess.run(["iscsi-test-cu", "--dataloss", "-t", "ALL.iSCSITMF.AbortTaskSimpleAsync", url], capture_output=True, text=True, timeout=60)
                assert re.search(r"tests\s+1\s+1\s+1\s+0", tmf.stdout), tmf.stdout[-500:]
        tally.check("the target is alive and did not panic", target.healthy(), target.log())
        judge(tally, capture, port)
    finally:
        target.stop()


def judge(tally, capture, port):
    with tally.step("dumpcap dropped no packet"):
        dropped = capture.dropped()
        assert dropped == 0, f"{dropped} dropped"
    found = dissect(capture.file, port)
    for kind, count in sorted(found.kinds.items()):
        print(f"        {count:7} {kind}")
    print(f"        {found.cut:7} VPD pages cut short by the initiator's ALLOCATION LENGTH, which tshark cannot know")
    tally.check(f"tshark dissected {sum(found.kinds.values())} PDUs, none malformed, no error reported", not found.suspects and found.kinds,
                f"{len(found.suspects)} frames: {found.suspects[:5]}")
    tally.check("no payload was left undissected", not found.leftovers, f"{len(found.leftovers)} frames: {found.leftovers[:5]}")
    tally.check(f"{found.digests['Good']} digests, all good", found.digests["Good"] and not found.digests["Bad"], str(dict(found.digests)))
    for kind in MUST_BE_SEEN:
        tally.check(f"seen: {kind}", found.kinds[kind] > 0)


if __name__ == "__main__":
    main()
