"""Captures a port on loopback and has tshark dissect all of it: no PDU malformed, nothing left over, every kind wanted seen."""

import collections
import dataclasses
import pathlib
import re
import socket
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lab

OPCODES = {
    0x00: "NOP-Out", 0x01: "SCSI Command", 0x02: "Task Management Request", 0x03: "Login Request", 0x04: "Text Request",
    0x05: "Data-Out", 0x06: "Logout Request", 0x20: "NOP-In", 0x21: "SCSI Response", 0x22: "Task Management Response",
    0x23: "Login Response", 0x24: "Text Response", 0x25: "Data-In", 0x26: "Logout Response", 0x31: "R2T", 0x32: "Async Message",
    0x3F: "Reject",
}
# Expert items of severity "error", and what a dissector could not make sense of.
SUSPECT = "_ws.malformed || _ws.expert.severity == 0x00800000"


class Capture:
    """dumpcap on loopback for as long as the block lasts."""

    BUFFER_MIB = 256

    def __init__(self, file, port):
        lab.need({"dumpcap": "tshark", "tshark": "tshark"})
        self.file, self.port = pathlib.Path(file), port

    def __enter__(self):
        self.errors = self.file.with_suffix(".dumpcap")
        self.child = subprocess.Popen(["dumpcap", "-q", "-i", "lo", "-B", str(self.BUFFER_MIB), "-f", f"tcp port {self.port}", "-w", self.file],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.errors, "wb"))
        lab.wait_until("dumpcap captures", lambda: "File:" in self.errors.read_text(), 10, lambda: self.child.poll() is None)
        return self

    def __exit__(self, *_):
        # dumpcap drops what it has not read yet when it is told to stop: a last packet of our own shows that it is through.
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            mark = struct.pack(">HH", last.getsockname()[1], self.port)
            last.connect_ex(("127.0.0.1", self.port))
        try:
            lab.wait_until("the last packet is on file", lambda: mark in self.tail(), 20)
        finally:
            self.child.terminate()
            self.child.wait(30)

    def tail(self, count=16384):
        with open(self.file, "rb") as f:
            f.seek(max(0, self.file.stat().st_size - count))
            return f.read()

    def dropped(self):
        """Packets that the kernel gave up on; with any, a stream has holes, and the verdict means nothing."""
        if said := re.search(r"received/dropped on interface '[^']*': \d+/(\d+)", self.errors.read_text()):
            return int(said[1])
        raise lab.LabError("dumpcap did not say how many packets it dropped")


@dataclasses.dataclass
class Dissection:
    kinds: collections.Counter  # PDUs by name
    suspects: list  # frames that tshark complains of
    leftovers: list  # frames whose payload no PDU claimed
    digests: collections.Counter  # "Good" and "Bad" ones
    cut: int  # VPD pages cut short at the initiator's wish


def dissect(file, port):
    def tshark(*words):
        run = subprocess.run(["tshark", "-n", "-r", str(file), "-d", f"tcp.port=={port},iscsi", "-o", "tcp.desegment_tcp_streams:TRUE", "-o", "tcp.reassemble_out_of_order:TRUE",
                              "-o", "iscsi.desegment_iscsi_messages:TRUE", "-2", *words], capture_output=True, text=True, errors="replace")
        if run.returncode:
            raise lab.LabError(f"tshark: {run.stderr.strip()[-500:]}")
        return [line for line in run.stdout.splitlines() if line.strip()]

    kinds = collections.Counter()
    frames = tshark("-Y", "iscsi", "-T", "fields", "-e", "iscsi.opcode")
    for line in frames:
        kinds.update(OPCODES.get(int(word, 16), word) for word in line.split(","))
    suspects, cut = [], 0
    lines = tshark("-Y", SUSPECT, "-T", "fields", "-e", "frame.number", "-e", "iscsi.request_frame", "-e", "tcp.payload", "-e", "_ws.col.Info")
    fields = [(line.split("\t") + ["", "", ""])[:4] for line in lines]
    asked = {request for _, request, _, _ in fields if request.isdigit()}
    requests = tshark("-Y", f"frame.number in {{{', '.join(asked)}}}", "-T", "fields", "-e", "frame.number", "-e", "tcp.payload") if asked else []
    requests = dict(line.split("\t") for line in requests)
    for frame, request, payload, info in fields:
        if is_cut_short(unhex(requests.get(request, "")), unhex(payload)):
            cut += 1
        else:
            suspects.append(f"frame {frame}: {info}")
    # Payload that no PDU claimed: neither dissected here nor a part of what was put together in a later frame. Segments that
    # overtook each other on loopback are TCP's matter: tshark does not always put those together.
    out_of_step = ["retransmission", "spurious_retransmission", "out_of_order", "lost_segment", "keep_alive"]
    leftovers = tshark("-Y", "tcp.len > 1 && !iscsi && !tcp.reassembled_in" + "".join(f" && !tcp.analysis.{flag}" for flag in out_of_step),
                       "-T", "fields", "-e", "frame.number", "-e", "tcp.len")
    shown = tshark("-Y", "iscsi.headerdigest32 || iscsi.datadigest32", "-O", "iscsi")
    digests = collections.Counter(m[1] for line in shown if (m := re.search(r"Digest: 0x[0-9a-f]+ \((Good|Bad) CRC32", line)))
    return Dissection(kinds, suspects, leftovers, digests, cut)


def unhex(text):
    """One frame's payload; of a frame with several PDUs tshark prints several, and then none is excused."""
    return bytes.fromhex(text) if "," not in text else b""


def is_cut_short(request, response):
    """Is this one Data-In with a VPD page that the initiator's ALLOCATION LENGTH cut off before its PAGE LENGTH?

    tshark calls that malformed, and it is just what was asked for. The same page read whole is judged like everything else.
    """
    if len(request) < 48 or len(response) < 48 or request[0] & 0x3F != 0x01 or request[32] != 0x12 or not request[33] & 1:
        return False
    allocation_length = int.from_bytes(request[35:37], "big")
    data_length = int.from_bytes(response[5:8], "big")
    header = 52 if len(response) in (data_length + 52, data_length + 56) else 48
    if len(response) not in (data_length + header, data_length + header + 4) or response[0] != 0x25 or data_length < 4:
        return False
    page = response[header : header + data_length]
    same_task = request[16:20] == response[16:20] and request[34] == page[1]
    return same_task and data_length == allocation_length and int.from_bytes(page[2:4], "big") + 4 > data_length
