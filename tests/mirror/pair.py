"""Two daemons that mirror one volume, as the scripts here drive them: started, killed, promoted, looked at."""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "kernel"), str(HERE.parent)]
import lab

VOLUME = "disk"
IQN = f"{lab.IQN}:database"
LINK_PORTS = {"a": 3262, "b": 3263}
# A promotion waits for so long for a word of a Primary that was just heard. Not less: two busy processors are silent for a
# while, and a pair that takes itself for parted promises less.
SILENCE_MS = 2000
CTL_TIMEOUT_S = 60


def ctl_binary():
    return os.environ.get("LUNMIRROR_CTL") or str(pathlib.Path(lab.daemon_binary()).with_name("lunmirrorctl"))


class Refused(Exception):
    """lunmirrorctl said no; the words are its own."""


class Node:
    """One of the two. Its image and its records are in `storage`, what is the bench's own in `folder`."""

    def __init__(self, folder, name, portal, netns, storage, size_mib, more):
        self.name, self.portal, self.folder, self.storage = name, portal, folder, storage
        self.socket = folder / f"{name}.sock"
        self.image = storage / "disk.img"
        self.size_mib, self.more = size_mib, more
        self.daemon = lab.Lunmirror(folder, self.yaml(), netns, name)

    def yaml(self):
        peer = {"a": "b", "b": "a"}[self.name]
        role = {"a": "primary", "b": "secondary"}[self.name]
        heartbeat = f"{{ interval: 200ms, timeout: {SILENCE_MS}ms, probation: 200ms }}"
        return "\n".join([
            f"node: {self.name}",
            f"state_dir: {self.storage}/state",
            f"portals: [{self.portal}]",
            f"admin: {{ socket: {self.socket} }}",
            f"link: {{ listen: [127.0.0.1:{LINK_PORTS[self.name]}] }}",
            "peers:",
            f"  {peer}: {{ address: 127.0.0.1:{LINK_PORTS[peer]}, secret_file: {self.folder}/pair.secret, heartbeat: {heartbeat} }}",
            "volumes:",
            f"  {VOLUME}: {{ file: {self.image}, size: {self.size_mib}MiB, mirror: {{ peer: {peer}, mode: sync, role: {role}{self.more} }} }}",
            "targets:",
            f'  {IQN}: {{ initiators: ["*"], luns: {{ 0: {VOLUME} }} }}',
        ]) + "\n"

    def start(self):
        self.daemon.start()

    def kill(self):
        self.daemon.kill()

    def alive(self):
        return self.daemon.process is not None and self.daemon.process.alive()

    def ctl(self, *words):
        run = subprocess.run([ctl_binary(), "--socket", self.socket, "--json", *words], capture_output=True, text=True, timeout=CTL_TIMEOUT_S)
        if run.returncode:
            raise Refused(f"{self.name}: {' '.join(words)}: {(run.stdout + run.stderr).strip()}")
        return json.loads(run.stdout) if run.stdout.strip() else None

    def group(self):
        return next(group for group in self.ctl("status")["groups"] if group["name"] == VOLUME)

    def promote(self, *how):
        self.ctl("promote", *how, VOLUME)


class Pair:
    """`with Pair(…) as pair`: both run, a is the owner, both copies are up to date. `more`: further settings of `mirror`."""

    def __init__(self, folder, portals, netns=None, size_mib=256, more="", storages=None):
        self.folder = pathlib.Path(folder)
        subprocess.run([ctl_binary(), "secret", "new", self.folder / "pair.secret"], check=True, capture_output=True)
        self.nodes = []
        for name, portal in zip("ab", portals):
            storage = (storages or {}).get(name) or self.folder / name
            storage.mkdir(exist_ok=True)
            self.nodes.append(Node(self.folder, name, portal, netns, storage, size_mib, more))
        self.owner, self.replica = self.nodes

    def fail_over(self, *how):
        """The owner is dead. The other takes over, and is the owner from now on."""
        self.replica.promote(*how)
        self.owner, self.replica = self.replica, self.owner

    def is_whole(self):
        """What the owner writes is on both: now the replica may take over."""
        group = self.owner.group()
        return (group["role"], group["disk"], group["link"], group["peer_disk"]) == ("primary", "up-to-date", "established", "up-to-date")

    def until_whole(self, timeout_s):
        try:
            lab.wait_until("both copies are up to date", self.is_whole, timeout_s, lambda: all(node.alive() for node in self.nodes))
        except lab.LabError as error:
            raise lab.LabError(f"{error}; {self.explained()}; {self.logs()}") from None

    def differing_blocks(self, block=4096):
        """Numbers of blocks that differ between the images."""
        with open(self.nodes[0].image, "rb") as a, open(self.nodes[1].image, "rb") as b:
            number, found = 0, []
            while (one := a.read(1 << 20)) + (other := b.read(1 << 20)):
                if one != other:
                    found += [number + at // block for at in range(0, max(len(one), len(other)), block) if one[at:at + block] != other[at:at + block]]
                number += (1 << 20) // block
        return found

    def explained(self):
        """How each sees it."""
        return "; ".join(f"{node.name}: {' '.join(node.ctl('explain', VOLUME)['text'])}" for node in self.nodes if node.alive())

    def panicked(self):
        return [node.name for node in self.nodes if node.daemon.panicked()]

    def logs(self):
        return "; ".join(f"log of {node.name} ends: {node.daemon.log_tail(1200)}" for node in self.nodes)

    def __enter__(self):
        try:
            for node in self.nodes:
                node.start()
            self.until_whole(60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            if node.daemon.process:
                node.kill()
