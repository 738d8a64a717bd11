"""Does the judge of captures find what is wrong? Captures made here by hand, one with each fault."""

import pathlib
import struct
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]
import lab
from dissect import dissect, is_cut_short

INITIATOR, TARGET = 40000, 13999


def pdu(opcode, data=b"", flags=0x80, task=1, cdb=b"", length=None, specific=b""):
    """RFC 7143 §11.2.1: a basic header segment and its data, padded to four bytes."""
    header = bytearray(48)
    header[0], header[1] = opcode, flags
    header[5:8] = (len(data) if length is None else length).to_bytes(3, "big")
    header[16:20] = struct.pack(">I", task)
    header[20 : 20 + len(specific)] = specific
    header[32 : 32 + len(cdb)] = cdb
    return bytes(header) + data + bytes(-len(data) % 4)


def login(keys):
    return pdu(0x43, b"".join(k.encode() + b"\0" for k in keys), flags=0x87)


def inquiry(evpd_page, allocation_length):
    cdb = bytes([0x12, 1, evpd_page]) + struct.pack(">H", allocation_length) + b"\0"
    return pdu(0x01, flags=0xC1, task=7, cdb=cdb, specific=struct.pack(">I", allocation_length))


def data_in(data):
    return pdu(0x25, data, flags=0x81, task=7)


class Stream:
    """One TCP connection as a capture file: Ethernet, IPv4, TCP without options; checksums are not looked at."""

    def __init__(self):
        self.packets, self.next = [], {INITIATOR: 1, TARGET: 1}

    def send(self, payload, source=INITIATOR):
        other = TARGET if source == INITIATOR else INITIATOR
        tcp = struct.pack(">HHIIBBHHH", source, other, self.next[source], self.next[other], 0x50, 0x18, 65535, 0, 0) + payload
        self.next[source] += len(payload)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), len(self.packets), 0x4000, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + tcp
        self.packets.append(bytes(12) + b"\x08\0" + ip)
        return self

    def judged(self):
        with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1))
            for n, packet in enumerate(self.packets):
                file.write(struct.pack("<IIII", n, 0, len(packet), len(packet)) + packet)
            file.flush()
            return dissect(file.name, TARGET)


def identification(length):
    """Device identification page: one T10 designator that fills it."""
    page = bytes([0, 0x83]) + struct.pack(">H", length - 4)
    return page + bytes([2, 1, 0, length - 8]) + b"lunmirror".ljust(length - 8)


class Judge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lab.need({"tshark": "tshark"})

    def good(self):
        return Stream().send(login(["InitiatorName=iqn.2026-11.net.example:x", "SessionType=Normal"])).send(pdu(0x23, flags=0x87), TARGET)

    def test_a_sound_stream(self):
        found = self.good().send(inquiry(0x83, 255)).send(data_in(identification(60)), TARGET).judged()
        self.assertEqual((found.suspects, found.leftovers, found.cut), ([], [], 0))
        self.assertEqual(dict(found.kinds), {"Login Request": 1, "Login Response": 1, "SCSI Command": 1, "Data-In": 1})

    def test_a_malformed_page(self):
        # The designator claims more bytes than the page has.
        page = bytearray(identification(60))
        page[7] = 200
        found = self.good().send(inquiry(0x83, 255)).send(data_in(bytes(page)), TARGET).judged()
        self.assertEqual(len(found.suspects), 1, found)

    def test_a_page_cut_short_because_that_was_asked_for(self):
        found = self.good().send(inquiry(0x83, 32)).send(data_in(identification(60)[:32]), TARGET).judged()
        self.assertEqual((found.suspects, found.cut), ([], 1))

    def test_a_page_cut_short_although_more_was_asked_for(self):
        found = self.good().send(inquiry(0x83, 255)).send(data_in(identification(60)[:32]), TARGET).judged()
        self.assertEqual((len(found.suspects), found.cut), (1, 0))

    def test_a_stream_out_of_step(self):
        # Thirteen bytes too many: from there on nothing is where a header should be.
        found = self.good().send(b"\xee" * 13 + inquiry(0x83, 255)).send(data_in(identification(60)), TARGET).judged()
        self.assertTrue(found.suspects or found.leftovers or found.kinds["SCSI Command"] == 0, found)
        self.assertNotEqual(dict(found.kinds), {"Login Request": 1, "Login Response": 1, "SCSI Command": 1, "Data-In": 1})

    def test_a_length_that_swallows_the_next_pdu(self):
        # DataSegmentLength claims 400 bytes; the stream ends before them.
        found = self.good().send(pdu(0x25, b"x" * 16, length=400, task=7), TARGET).send(pdu(0x26), TARGET).judged()
        self.assertTrue(found.leftovers, found)

    def test_an_unknown_opcode(self):
        found = self.good().send(pdu(0x1B)).judged()
        self.assertTrue(found.suspects or found.leftovers, found)

    def test_an_empty_capture_has_no_kinds(self):
        self.assertFalse(Stream().judged().kinds)

    def test_only_the_right_request_excuses(self):
        page = identification(60)[:32]
        self.assertTrue(is_cut_short(inquiry(0x83, 32), data_in(page)))
        self.assertFalse(is_cut_short(inquiry(0x80, 32), data_in(page)))
        self.assertFalse(is_cut_short(inquiry(0x83, 64), data_in(page)))
        self.assertFalse(is_cut_short(b"", data_in(page)))


if __name__ == "__main__":
    unittest.main()
