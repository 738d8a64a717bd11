"""What the guest logs in to: the daemon under test, or tgt as a stand-in (`--against tgt`), with which the bench itself is tried."""

import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lab

MIB = 1 << 20


class Volume:
    def __init__(self, file, size_mib, **more):
        self.file, self.size_mib, self.more = pathlib.Path(file), size_mib, more
        if not self.file.exists():
            with open(self.file, "wb") as f:
                f.truncate(size_mib * MIB)

    def allocated(self):
        return os.stat(self.file).st_blocks * 512


class Target:
    """One target of the node: what it serves and whom it lets in."""

    def __init__(self, iqn, volumes, chap=None, mutual=None):
        self.iqn, self.volumes, self.chap, self.mutual = iqn, volumes, chap, mutual


class Daemon:
    """The daemon under test, in a namespace."""

    def __init__(self, folder, netns, portals, targets):
        self.portals, self.targets, self.folder = portals, targets, pathlib.Path(folder)
        (self.folder / "state").mkdir(exist_ok=True)
        self.process = lab.Lunmirror(folder, self.yaml(), netns)

    def yaml(self):
        # The UNIX socket of the administration interface is not under test here.
        text = [f"node: bench", f"state_dir: {self.folder}/state", f"portals: [{', '.join(self.portals)}]", "volumes:"]
        volumes = {id(v): v for target in self.targets for v in target.volumes}
        names = {key: f"v{n}" for n, key in enumerate(volumes)}
        for key, volume in volumes.items():
            more = "".join(f", {name}: {value}" for name, value in volume.more.items())
            text.append(f"  {names[key]}: {{ file: {volume.file}, size: {volume.size_mib}MiB, thin: true{more} }}")
        text.append("targets:")
        for target in self.targets:
            luns = ", ".join(f"{n}: {names[id(v)]}" for n, v in enumerate(target.volumes))
            text.append(f"  {target.iqn}:")
            ways = [f"{way}: {{ user: {pair[0]}, secret: {pair[1]} }}" for way, pair in (("chap", target.chap), ("mutual", target.mutual)) if pair]
            if ways:
                text.append(f"    auth: {{ {', '.join(ways)} }}")
            text += ['    initiators: ["*"]', f"    luns: {{ {luns} }}"]
        return "\n".join(text) + "\n"

    def start(self):
        self.process.start()

    def kill(self):
        self.process.kill()

    def resize(self, volume, size_mib):
        volume.size_mib = size_mib
        self.process.reload(self.yaml())

    def healthy(self):
        return self.process.process.alive() and not self.process.panicked()

    def log(self):
        return self.process.log_tail(1500)

    def stop(self):
        if self.process.process:
            self.process.process.end(9)


class StandIn:
    """tgt, on the same portals with the same volumes. Enough of a target to try the bench on; not all of it passes."""

    CONTROL_PORT = str(os.getpid())  # its control socket's name; other tgtds are none of ours

    def __init__(self, folder, netns, portals, targets):
        lab.need({"tgtd": "tgt", "tgtadm": "tgt"})
        self.folder, self.netns, self.portals, self.targets = pathlib.Path(folder), netns, portals, targets
        self.process = None

    def admin(self, *words):
        run = subprocess.run(["tgtadm", "-C", self.CONTROL_PORT, "--lld", "iscsi", *map(str, words)], capture_output=True, text=True)
        if run.returncode:
            raise lab.LabError(f"tgtadm {' '.join(map(str, words))}: {run.stderr}")

    def start(self):
        portals = ",".join(f"portal={portal}" for portal in self.portals)
        words = ["tgtd", "-f", "-C", self.CONTROL_PORT, "--iscsi", portals]
        self.process = lab.Process(words, self.folder / "tgtd.log", netns=self.netns)
        def ready():
            return subprocess.run(["tgtadm", "-C", self.CONTROL_PORT, "--lld", "iscsi", "--op", "show", "--mode", "sys"], capture_output=True).returncode == 0
        lab.wait_until("tgtd listens", ready, 10, self.process.alive)
        accounts = {}
        for tid, target in enumerate(self.targets, 1):
            self.admin("--op", "new", "--mode", "target", "--tid", tid, "-T", target.iqn)
            for digest in ("HeaderDigest", "DataDigest"):
                self.admin("--op", "update", "--mode", "target", "--tid", tid, "--name", digest, "--value", "None,CRC32C")
            for lun, volume in enumerate(target.volumes, 1):
                self.admin("--op", "new", "--mode", "logicalunit", "--tid", tid, "--lun", lun, "-b", volume.file)
                self.admin("--op", "update", "--mode", "logicalunit", "--tid", tid, "--lun", lun, "--params", "thin_provisioning=1")
            for way, pair in (("", target.chap), ("--outgoing", target.mutual)):
                if pair:
                    if pair[0] not in accounts:
                        self.admin("--op", "new", "--mode", "account", "--user", pair[0], "--password", pair[1])
                        accounts[pair[0]] = True
                    self.admin("--op", "bind", "--mode", "account", "--tid", tid, "--user", pair[0], *([way] if way else []))
            self.admin("--op", "bind", "--mode", "target", "--tid", tid, "-I", "ALL")

    def kill(self):
        self.process.end(9)

    def resize(self, volume, size_mib):
        with open(volume.file, "ab") as f:
            f.truncate(size_mib * MIB)
        for tid, target in enumerate(self.targets, 1):
            for lun, served in enumerate(target.volumes, 1):
                if served is volume:
                    self.admin("--op", "delete", "--mode", "logicalunit", "--tid", tid, "--lun", lun)
                    self.admin("--op", "new", "--mode", "logicalunit", "--tid", tid, "--lun", lun, "-b", volume.file)

    def healthy(self):
        return self.process.alive()

    def log(self):
        return ""

    def stop(self):
        if self.process:
            self.process.end(9)


def program(against):
    return {"lunmirror": Daemon, "tgt": StandIn}[against]
