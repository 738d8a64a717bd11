#!/usr/bin/env python3
"""A file system whose power can be cut: volatile.py BACKING MOUNTPOINT, as root.

It holds what a disk with a volatile cache, and a kernel that has not written yet, may hold: whatever was not synced may be gone
after a cut. Of each file there are two, what is read (live) and what is safe (stable); fsync, fdatasync and O_DSYNC writes make
the one the other. A directory's changes (a name made, renamed, removed) are safe once the directory is synced. What is
not safe at a cut is lost, or, by the seed, some of it survives: single sectors of single writes, in no order; of a directory's
changes the first few, as a journal has it.

It speaks the kernel's FUSE protocol itself, on /dev/fuse; no library. Orders come on standard input, a line each, and are
answered by a line on standard output:

    on              mounted, with what is safe
    cut lose|SEED   unmounted; what is not safe is lost, or some of it
    lie | honest    from now on syncs are answered and not done; or done again
    fail ERROR NAME from now on whatever is asked of files of that name (as of a shell: disk*) fails, but for looking at them
    mend            nothing fails any more
"""

import ctypes
import errno
import fnmatch
import os
import pathlib
import random
import select
import stat
import struct
import sys
import time

SECTOR = 512
MAX_WRITE = 1 << 20
VALID_S = 3600
IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
FUSE_BIG_WRITES, FUSE_MAX_PAGES = 1 << 5, 1 << 22
FATTR_MODE, FATTR_SIZE = 1 << 0, 1 << 3
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
O_DSYNC = 0o10000
MNT_DETACH, MS_NOSUID, MS_NODEV = 2, 2, 4
RENAME_NOREPLACE = 1
ROOT = 1
libc = ctypes.CDLL(None, use_errno=True)


class Node:
    """A file or a directory, safe or not."""

    def __init__(self, number, mode, backing):
        self.number, self.mode, self.is_folder = number, mode, stat.S_ISDIR(mode)
        self.attributes, self.safe_attributes = {}, {}
        self.changed_ns = time.time_ns()
        if self.is_folder:
            # Names and numbers; `pending`: changes that are not safe, in order.
            self.names, self.safe_names, self.pending = {}, {}, []
        else:
            self.live, self.stable = (os.open(backing / f"{number}.{kind}", os.O_RDWR | os.O_CREAT, 0o600) for kind in ("live", "stable"))
            # Ranges that live and stable may differ in.
            self.dirty = []

    def size(self):
        return 0 if self.is_folder else os.fstat(self.live).st_size

    # Files.

    def wrote(self, start, length):
        self.changed_ns = time.time_ns()
        if length:
            self.dirty.append((start, length))

    def sync(self):
        """What is read is what is safe."""
        if self.is_folder:
            for change in self.pending:
                put(self.safe_names, change)
            self.pending = []
            return
        os.ftruncate(self.stable, self.size())
        for start, length in merged(self.dirty):
            copy(self.live, self.stable, start, length)
        self.dirty = []
        self.safe_attributes = dict(self.attributes)

    def sync_range(self, start, length):
        if os.fstat(self.stable).st_size < start + length:
            return self.sync()
        copy(self.live, self.stable, start, length)

    def lose(self, chance):
        """Power is gone. `chance` says yes or no to each thing that may survive; returns how many writes were not safe."""
        unsafe = len(self.pending if self.is_folder else self.dirty)
        if self.is_folder:
            for change in self.pending:
                if not chance():
                    break
                put(self.safe_names, change)
            self.names, self.pending = dict(self.safe_names), []
            return unsafe
        if chance():
            os.ftruncate(self.stable, self.size())
        if chance():
            self.safe_attributes = dict(self.attributes)
        end = os.fstat(self.stable).st_size
        for start, length in self.dirty:
            if chance():
                self._survive(start, min(length, end - start), chance)
        os.ftruncate(self.live, end)
        for start, length in merged(self.dirty):
            copy(self.stable, self.live, start, length)
        self.dirty, self.attributes = [], dict(self.safe_attributes)
        return unsafe

    def _survive(self, start, length, chance):
        """All of a write, or some of its sectors."""
        if chance():
            copy(self.live, self.stable, start, length)
            return
        for at in range(start - start % SECTOR, start + length, SECTOR):
            if chance():
                copy(self.live, self.stable, at, min(SECTOR, start + length - at))


def put(names, change):
    for name, number in change.items():
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number


def merged(ranges):
    """The same bytes in as few ranges, none overlapping."""
    whole = []
    for start, length in sorted(ranges):
        if whole and start <= whole[-1][1]:
            whole[-1][1] = max(whole[-1][1], start + length)
        else:
            whole.append([start, start + length])
    return [(start, end - start) for start, end in whole]


def copy(source, sink, start, length):
    """Bytes of one file to the other, where both have them."""
    end = min(start + length, os.fstat(source).st_size)
    while start < end:
        data = os.pread(source, min(1 << 20, end - start), start)
        os.pwrite(sink, data, start)
        start += len(data)


def libc_call(what, *arguments):
    if what(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Volatile:
    def __init__(self, backing, mountpoint):
        self.backing, self.mountpoint = pathlib.Path(backing), str(mountpoint)
        self.nodes = {ROOT: Node(ROOT, stat.S_IFDIR | 0o755, self.backing)}
        self.channel, self.is_honest, self.syncs = None, True, 0
        # What fails: an error, and of files of what name.
        self.error, self.failing = 0, None

    # Orders.

    def on(self):
        self.channel = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.channel},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        libc_call(libc.mount, b"volatile", self.mountpoint.encode(), b"fuse", MS_NOSUID | MS_NODEV, options.encode())
        return "on"

    def cut(self, how):
        # Whoever had files open is dead; what it had asked for before may still lie in the channel, and was not answered.
        libc_call(libc.umount2, self.mountpoint.encode(), MNT_DETACH)
        os.close(self.channel)
        self.channel = None
        dice = random.Random(how)
        chance = (lambda: False) if how == "lose" else lambda: dice.random() < 0.5
        files = sum(node.lose(chance) for node in self.nodes.values() if not node.is_folder)
        names = sum(node.lose(chance) for node in self.nodes.values() if node.is_folder)
        return f"cut: {files} writes and {names} names were not safe"

    def lie(self):
        self.is_honest = False
        return "lies"

    def honest(self):
        self.is_honest = True
        return "honest"

    def fail(self, error, name):
        self.error, self.failing = getattr(errno, error), name
        return "fails"

    def mend(self):
        self.failing = None
        return "mended"

    def _may(self, opcode, number, body):
        """Raises where that is to fail."""
        what = HANDLERS.get(opcode)
        if not self.failing or what not in FAILING:
            return
        if what in ("create", "rename"):
            names = [text(body[16:])] if what == "create" else (bytes(body[8:]).split(b"\0") + [b""])[:2]
        else:
            names = [name for node in self.nodes.values() if node.is_folder for name, file in node.names.items() if file == number]
        if any(fnmatch.fnmatch(name.decode(), self.failing) for name in names):
            raise OSError(self.error, "")

    def run(self):
        while True:
            waiting = [0] + ([self.channel] if self.channel is not None else [])
            ready = select.select(waiting, [], [])[0]
            # Requests first: a cut follows what came before it.
            if self.channel in ready:
                self._request()
            elif 0 in ready:
                line = sys.stdin.readline().split()
                if not line:
                    break
                print(getattr(self, line[0])(*line[1:]), flush=True)
        if self.channel is not None:
            libc.umount2(self.mountpoint.encode(), MNT_DETACH)

    # Requests.

    def _request(self):
        try:
            message = os.read(self.channel, MAX_WRITE + 4096)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                return
            if error.errno == errno.ENODEV:  # unmounted by somebody
                os.close(self.channel)
                self.channel = None
                return
            raise
        length, opcode, unique, number, *_ = IN_HEADER.unpack_from(message)
        body = memoryview(message)[IN_HEADER.size:length]
        name = HANDLERS.get(opcode)
        if name in SILENT:
            return
        try:
            if name is None:
                raise OSError(errno.ENOSYS, "")
            self._may(opcode, number, body)
            answer, status = getattr(self, f"do_{name}")(self.nodes.get(number), body) or b"", 0
        except OSError as error:
            answer, status = b"", -(error.errno or errno.EIO)
        try:
            os.write(self.channel, OUT_HEADER.pack(OUT_HEADER.size + len(answer), status, unique) + answer)
        except OSError as error:
            if error.errno != errno.ENOENT:  # it was interrupted
                raise

    def _attributes(self, node):
        size, blocks = (0, 0) if node.is_folder else (lambda s: (s.st_size, s.st_blocks))(os.fstat(node.live))
        seconds, nanoseconds = divmod(node.changed_ns, 10**9)
        links = 2 if node.is_folder else 1
        return struct.pack("<6Q10I", node.number, size, blocks, *[seconds] * 3, *[nanoseconds] * 3, node.mode, links, 0, 0, 0, 4096, 0)

    def _entry(self, node):
        return struct.pack("<4QII", node.number, 0, VALID_S, VALID_S, 0, 0) + self._attributes(node)

    def _found(self, folder, name):
        if name not in folder.names:
            raise OSError(errno.ENOENT, "")
        return self.nodes[folder.names[name]]

    def _name(self, folder, change):
        """What becomes of which names, all at once, as a journal has it."""
        put(folder.names, change)
        folder.pending.append(change)
        folder.changed_ns = time.time_ns()

    def _make(self, folder, name, mode):
        if name in folder.names:
            raise OSError(errno.EEXIST, "")
        number = max(self.nodes) + 1
        node = self.nodes[number] = Node(number, mode, self.backing)
        self._name(folder, {name: number})
        return node

    def _sync(self, node):
        self.syncs += 1
        if self.is_honest:
            node.sync()

    def do_init(self, _, body):
        major, minor, readahead, flags = struct.unpack_from("<IIII", body)
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, readahead, flags & (FUSE_BIG_WRITES | FUSE_MAX_PAGES), 64, 48, MAX_WRITE, 1, MAX_WRITE // 4096, 0, 0, *[0] * 7)

    def do_lookup(self, node, body):
        return self._entry(self._found(node, text(body)))

    def do_getattr(self, node, _):
        return struct.pack("<QII", VALID_S, 0, 0) + self._attributes(node)

    def do_setattr(self, node, body):
        valid, _, _, size, *rest = struct.unpack_from("<IIQQQQQQIIIIIIII", body)
        if valid & FATTR_SIZE:
            was = node.size()
            os.ftruncate(node.live, size)
            if size < was:
                node.wrote(size, was - size)
        if valid & FATTR_MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(rest[-5])
        return self.do_getattr(node, body)

    def do_mkdir(self, node, body):
        mode, _ = struct.unpack_from("<II", body)
        return self._entry(self._make(node, text(body[8:]), stat.S_IFDIR | stat.S_IMODE(mode)))

    def do_create(self, node, body):
        _, mode, _, _ = struct.unpack_from("<IIII", body)
        return self._entry(self._make(node, text(body[16:]), stat.S_IFREG | stat.S_IMODE(mode))) + self.do_open(node, body)

    def do_unlink(self, node, body):
        self._found(node, text(body))
        self._name(node, {text(body): None})

    def do_rmdir(self, node, body):
        if self._found(node, text(body)).names:
            raise OSError(errno.ENOTEMPTY, "")
        self.do_unlink(node, body)

    def do_rename(self, node, body, flags=0, header=8):
        into, = struct.unpack_from("<Q", body)
        old, new = (bytes(body[header:]).split(b"\0") + [b""])[:2]
        moved = self._found(node, old)
        if into != node.number:
            raise OSError(errno.EXDEV, "")  # two directories' changes in one: not modelled
        if flags & ~RENAME_NOREPLACE:
            raise OSError(errno.EINVAL, "")
        if flags & RENAME_NOREPLACE and new in node.names:
            raise OSError(errno.EEXIST, "")
        self._name(node, {old: None, new: moved.number})

    def do_rename2(self, node, body):
        _, flags, _ = struct.unpack_from("<QII", body)
        return self.do_rename(node, body, flags, 16)

    def do_open(self, node, _):
        return struct.pack("<QII", 0, 0, 0)

    do_opendir = do_open

    def do_read(self, node, body):
        _, offset, size, *_ = struct.unpack_from("<QQIIQII", body)
        return os.pread(node.live, size, offset)

    def do_write(self, node, body):
        _, offset, size, _, _, flags, _ = struct.unpack_from("<QQIIQII", body)
        os.pwrite(node.live, body[40:40 + size], offset)
        node.wrote(offset, size)
        if flags & O_DSYNC and self.is_honest:
            node.sync_range(offset, size)
        return struct.pack("<II", size, 0)

    def do_statfs(self, node, _):
        s = os.statvfs(self.backing)
        return struct.pack("<5Q4I6I", s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, s.f_bsize, 255, s.f_frsize, 0, *[0] * 6)

    def do_release(self, node, _):
        """Closing promises nothing."""

    do_flush = do_releasedir = do_access = do_release

    def do_fsync(self, node, _):
        self._sync(node)

    do_fsyncdir = do_fsync

    def do_setxattr(self, node, body):
        size, _ = struct.unpack_from("<II", body)
        name, _, rest = bytes(body[8:]).partition(b"\0")
        node.attributes[name] = rest[:size]

    def do_getxattr(self, node, body):
        size, _ = struct.unpack_from("<II", body)
        name = text(body[8:])
        if name not in node.attributes:
            raise OSError(errno.ENODATA, "")
        return sized(node.attributes[name], size)

    def do_listxattr(self, node, body):
        size, _ = struct.unpack_from("<II", body)
        return sized(b"".join(name + b"\0" for name in node.attributes), size)

    def do_removexattr(self, node, body):
        if node.attributes.pop(text(body), None) is None:
            raise OSError(errno.ENODATA, "")

    def do_readdir(self, node, body):
        _, offset, size, *_ = struct.unpack_from("<QQIIQII", body)
        out = b""
        for at, (name, number) in list(enumerate(node.names.items(), 1))[offset:]:
            entry = struct.pack("<QQII", number, at, len(name), stat.S_IFMT(self.nodes[number].mode) >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out

    def do_fallocate(self, node, body):
        _, offset, length, mode, _ = struct.unpack_from("<QQQII", body)
        fallocate(node.live, mode, offset, length)
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            node.wrote(offset, length)

    def do_lseek(self, node, body):
        _, offset, whence, _ = struct.unpack_from("<QQII", body)
        return struct.pack("<Q", os.lseek(node.live, offset, whence))


def text(body):
    return bytes(body).partition(b"\0")[0]


def sized(value, size):
    """An attribute's value, or how long it is."""
    if size == 0:
        return struct.pack("<II", len(value), 0)
    if size < len(value):
        raise OSError(errno.ERANGE, "")
    return value


def fallocate(file, mode, offset, length):
    call = libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    libc_call(call, file, mode, offset, length)


HANDLERS = {
    1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 9: "mkdir", 10: "unlink", 11: "rmdir", 12: "rename", 14: "open", 15: "read", 16: "write",
    17: "statfs", 18: "release", 20: "fsync", 21: "setxattr", 22: "getxattr", 23: "listxattr", 24: "removexattr", 25: "flush", 26: "init",
    27: "opendir", 28: "readdir", 29: "releasedir", 30: "fsyncdir", 34: "access", 35: "create", 36: "interrupt", 42: "batch_forget",
    43: "fallocate", 45: "rename2", 46: "lseek",
}
# What a device that fails, or is full, can't do.
FAILING = ("read", "write", "fsync", "fallocate", "create", "rename")
SILENT = ("forget", "interrupt", "batch_forget")


if __name__ == "__main__":
    Volatile(*sys.argv[1:]).run()
