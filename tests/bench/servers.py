"""What is compared. Each is started on the target's core, on a file in page cache, and ended with what it made."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

import load
import lab
from pair import ctl_binary

HOST = "127.0.0.1"
MIB, GIB = 1 << 20, 1 << 30
WHOLE_TIMEOUT_S = 120


def filled(path, size):
    """No holes: these are read in another way."""
    chunk = os.urandom(4 * MIB)
    with open(path, "wb") as file:
        for at in range(0, size, len(chunk)):
            file.write(chunk[:size - at])
    return path


def limit_server_binary():
    """The release build: $LUNMIRROR_LIMIT_SERVER, or whatever cargo says it built."""
    if given := os.environ.get("LUNMIRROR_LIMIT_SERVER"):
        return given
    build = subprocess.run(["cargo", "build", "--release", "-p", "scenarios", "--bin", "limit_server", "--message-format=json"],
                           cwd=lab.PROJECT, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in build.stdout.splitlines() if line.startswith("{")]
    found = [message["executable"] for message in messages if message.get("target", {}).get("name") == "limit_server" and message.get("executable")]
    if build.returncode or not found:
        raise lab.LabError("cargo build --release -p scenarios --bin limit_server gave no limit server")
    os.environ["LUNMIRROR_LIMIT_SERVER"] = found[-1]
    return found[-1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


class Server:
    """`url(lun)`, `pid`, and a place that goes with it."""

    iqn = f"{lab.IQN}:bench"
    first_lun = 0
    process = None

    def __init__(self, folder, name):
        self.name, self.port = name, lab.free_port()
        self.folder = pathlib.Path(folder) / name.replace(", ", "-").replace(" ", "-")
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self):
        return self.process.pid

    def url(self, lun=0):
        return f"iscsi://{HOST}:{self.port}/{self.iqn}/{self.first_lun + lun}"

    def started(self, core, command):
        with load.on_core(core):
            self.process = lab.Process(command, self.folder / "log")
        load.before_others(self.pid)
        try:
            lab.wait_until(f"{self.name} listens", lambda: listens(self.port), 20, self.process.alive)
        except lab.LabError as error:
            self.process.end()
            raise lab.LabError(f"{error}; its log ends: {self.process.log.read_text(errors='replace')[-600:]}") from None

    def stop(self):
        if self.process:
            self.process.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class LimitServer(Server):
    def __init__(self, folder, name, file, access, core, delay_us=0):
        super().__init__(folder, name)
        delay = ["--delay-us", delay_us] if delay_us else []
        self.started(core, [limit_server_binary(), self.port, "--backing", file, "--access", access, "--digests", *delay])


class Ours(Server):
    """The daemon, with these volumes as LUNs from 0 on: what follows a volume's name in the configuration."""

    def __init__(self, folder, name, volumes, core):
        super().__init__(folder, name)
        luns = ", ".join(f"{n}: v{n}" for n in range(len(volumes)))
        self.daemon = lab.Lunmirror(self.folder, "\n".join([
            "node: bench",
            f"state_dir: {self.folder}/state",
            f"portals: [{HOST}:{self.port}]",
            f"admin: {{ socket: {self.folder}/admin.sock }}",
            "limits: { max_connections: 4096, max_sessions: 4096, max_pending_logins: 4096, target: { max_sessions: 4096 } }",
            "volumes:",
            *(f"  v{n}: {{ {volume} }}" for n, volume in enumerate(volumes)),
            "targets:",
            f'  {self.iqn}: {{ initiators: ["*"], luns: {{ {luns} }} }}',
        ]) + "\n")
        begun = time.monotonic()
        with load.on_core(core):
            self.daemon.start()
        self.ready_after_s = time.monotonic() - begun
        self.process = self.daemon.process
        load.before_others(self.pid)


class Tgt(Server):
    """Debian's, as it comes; with so many I/O threads for each LUN (16 unless told)."""

    first_lun = 1

    def __init__(self, folder, name, file, core, threads=None):
        lab.need({"tgtd": "tgt", "tgtadm": "tgt"})
        super().__init__(folder, name)
        # Names a control socket, at most 32767; other tgtds are none of ours.
        self.control = str(self.port % 32000 + 1)
        self.started(core, ["tgtd", "-f", "-C", self.control, *(["-t", threads] if threads else []), "--iscsi", f"portal={HOST}:{self.port}"])
        self.admin("--op", "new", "--mode", "target", "--tid", "1", "-T", self.iqn)
        for digest in ("HeaderDigest", "DataDigest"):
            self.admin("--op", "update", "--mode", "target", "--tid", "1", "--name", digest, "--value", "None,CRC32C")
        self.admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(file))
        self.admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")

    def admin(self, *words):
        run = subprocess.run(["tgtadm", "-C", self.control, "--lld", "iscsi", *words], capture_output=True, text=True)
        if run.returncode:
            raise lab.LabError(f"tgtadm {' '.join(words)}: {run.stderr.strip()}")


ISTGT = """
[Global]
  NodeBase "{base}"
  PidFile {folder}/pid
  AuthFile {folder}/auth.conf
  MediaDirectory {folder}
  LogFacility "local7"
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 64
  MaxConnections 4
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait 2
  DefaultTime2Retain 60
  FirstBurstLength 262144
  MaxBurstLength 1048576
  MaxRecvDataSegmentLength 262144
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
[UnitControl]
  AuthMethod None
  Portal UC1 {host}:{control_port}
  Netmask 127.0.0.0/8
[PortalGroup1]
  Portal DA1 {host}:{port}
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.0/8
[LogicalUnit1]
  TargetName {target}
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UseDigest Auto
  UnitType Disk
  QueueDepth 255
  LUN0 Storage {file} Auto
"""


class Istgt(Server):
    """Debian's, with the values of its sample configuration. (It has no InitialR2T=No.)"""

    def __init__(self, folder, name, file, core):
        lab.need({"istgt": "istgt"})
        super().__init__(folder, name)
        base, target = self.iqn.split(":")
        (self.folder / "auth.conf").write_text("")
        (self.folder / "auth.conf").chmod(0o600)
        config = self.folder / "istgt.conf"
        config.write_text(ISTGT.format(base=base, target=target, folder=self.folder, host=HOST, port=self.port, file=file,
                                       control_port=lab.free_port()))
        self.started(core, ["istgt", "-D", "-c", config])


class Pair:
    """The owner on the target's core, the replica beside the client; the same volume thrice: unmirrored, sync, async. Without a
    replica (`alone`) the owner goes on by itself, and keeps a map of what it writes."""

    MODES = ["unmirrored", "sync", "async"]

    def __init__(self, folder, cores, size, connections=4, alone=False):
        self.folder, self.alone = pathlib.Path(folder) / "pair", alone
        self.folder.mkdir(parents=True)
        subprocess.run([ctl_binary(), "secret", "new", self.folder / "secret"], check=True, capture_output=True)
        self.iqn, self.nodes = f"{lab.IQN}:pair", {}
        ports = {name: (lab.free_port(), lab.free_port()) for name in "ab"}
        self.port = ports["a"][0]
        try:
            for name, core in (("a", cores.target), ("b", cores.client))[:1 if alone else 2]:
                node = lab.Lunmirror(self.folder, self.yaml(name, ports, size, connections), name=name)
                self.nodes[name] = node
                begun = time.monotonic()
                with load.on_core(core):
                    node.start()
                self.ready_after_s = time.monotonic() - begun
                load.before_others(node.process.pid)
            if alone:
                for mode in self.MODES[1:]:
                    self.ctl("promote", "--force", mode)
            else:
                lab.wait_until("both copies are up to date", self.whole, WHOLE_TIMEOUT_S, self.alive)
        except BaseException:
            self.stop()
            raise

    def yaml(self, name, ports, size, connections):
        peer, role = {"a": ("b", "primary"), "b": ("a", "secondary")}[name]
        (portal, link), folder = ports[name], self.folder
        volumes = []
        for mode in self.MODES:
            mirror = "" if mode == "unmirrored" else f", mirror: {{ peer: {peer}, mode: {mode}, role: {role} }}"
            volumes.append(f"  {mode}: {{ file: {folder}/{name}-{mode}.img, size: {size}{mirror} }}")
        return "\n".join([
            f"node: {name}",
            f"state_dir: {folder}/{name}",
            f"portals: [{HOST}:{portal}]",
            f"admin: {{ socket: {folder}/{name}.sock }}",
            f"link: {{ listen: [{HOST}:{link}] }}",
            "peers:",
            f"  {peer}: {{ address: {HOST}:{ports[peer][1]}, connections: {connections}, secret_file: {folder}/secret }}",
            "volumes:",
            *volumes,
            "targets:",
            f'  {self.iqn}: {{ initiators: ["*"], luns: {{ {", ".join(f"{n}: {mode}" for n, mode in enumerate(self.MODES))} }} }}',
        ]) + "\n"

    def alive(self):
        return all(node.process.alive() for node in self.nodes.values())

    def ctl(self, *words):
        run = subprocess.run([ctl_binary(), "--socket", self.folder / "a.sock", "--json", *words], capture_output=True, text=True, timeout=60)
        if run.returncode:
            raise lab.LabError(f"lunmirrorctl {' '.join(words)}: {(run.stdout + run.stderr).strip()}")
        return run.stdout

    def groups(self):
        return json.loads(self.ctl("status"))["groups"]

    def whole(self):
        return all((group["disk"], group["link"], group["peer_disk"]) == ("up-to-date", "established", "up-to-date") for group in self.groups())

    def drained(self):
        """Nothing of the run before is still on its way to the replica."""
        if self.alone:
            return
        lab.wait_until("the replica has all", lambda: all(not (group.get("rpo") or {}).get("bytes") for group in self.groups()), 60, self.alive)

    def url(self, mode):
        return f"iscsi://{HOST}:{self.port}/{self.iqn}/{self.MODES.index(mode)}"

    def pid(self, name):
        return self.nodes[name].process.pid

    def state_bytes(self):
        """What the owner keeps on disk beside the volumes."""
        return sum(file.stat().st_blocks * 512 for file in (self.folder / "a").rglob("*") if file.is_file())

    def stop(self):
        for node in self.nodes.values():
            if node.process:
                node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
