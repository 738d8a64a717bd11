#!/usr/bin/env python3
"""A database that remembers what it promised: ledger.py create|check FOLDER · ledger.py write FOLDER WRITERS [PAUSE_S NOISES]

Runs in the guest, on SQLite in WAL mode with synchronous=FULL: a commit that has returned was flushed to the disk. Each writer
commits its numbers one by one and says so on the console only then, and waits for up to PAUSE_S. What a row must hold can be
told from its number. NOISES processes overwrite blocks of a file beside it and never flush: nothing is promised of them.
"""

import hashlib
import mmap
import os
import random
import sqlite3
import sys
import time

BUSY_TIMEOUT_S = 30
# Often enough that each round has some of the blocks moved from the log into the database file.
CHECKPOINT_PAGES = 100
NOISE_BYTES, NOISE_PLACE, NOISE_BLOCK = 16 << 20, 256 << 10, 4096
# Writes in one place, at most.
NOISE_STAY = 40


def say(words):
    """One line by one system call, whole beside those of others."""
    os.write(1, f"@guest {words}\n".encode())


def payload(writer, number):
    digest = hashlib.sha256(f"{writer}/{number}".encode()).digest()
    return digest * (1 + digest[0] // 4)


def opened(folder):
    database = sqlite3.connect(os.path.join(folder, "ledger.db"), timeout=BUSY_TIMEOUT_S, isolation_level=None)
    if database.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise SystemExit("no WAL mode")
    database.execute("PRAGMA synchronous=FULL")
    database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    return database


def create(folder):
    opened(folder).execute(
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, writer INTEGER, number INTEGER, payload BLOB, UNIQUE (writer, number))")
    # Written, not only allocated: overwriting it is nothing that the file system would have to remember, and flush.
    with open(os.path.join(folder, "noise"), "wb") as noise:
        noise.write(bytes(NOISE_BYTES))
        noise.flush()
        os.fsync(noise.fileno())


def write(folder, writers, pause_s="0", noises="0"):
    works = [(commit, writer, float(pause_s)) for writer in range(int(writers))] + [(make_noise,)] * int(noises)
    for work, *arguments in works:
        if os.fork() == 0:
            work(folder, *arguments)
            os._exit(0)


def commit(folder, writer, pause_s):
    """Until something fails, as it will when the disk goes away."""
    number = "none"
    try:
        database = opened(folder)
        number = database.execute("SELECT coalesce(max(number), 0) FROM entries WHERE writer = ?", (writer,)).fetchone()[0]
        while True:
            number += 1
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO entries (writer, number, payload) VALUES (?, ?, ?)", (writer, number, payload(writer, number)))
            database.execute("COMMIT")
            say(f"ack {writer} {number}")
            time.sleep(random.uniform(0, pause_s))
    except (sqlite3.Error, OSError) as error:
        say(f"ended {writer} at {number}: {error}")


def make_noise(folder):
    """Past the page cache, so that the disk has each at once; for a while in one place, then in another."""
    block = mmap.mmap(-1, NOISE_BLOCK)
    try:
        file = os.open(os.path.join(folder, "noise"), os.O_WRONLY | os.O_DIRECT)
        while True:
            place = random.randrange(NOISE_BYTES // NOISE_PLACE) * NOISE_PLACE
            for _ in range(random.randint(1, NOISE_STAY)):
                block[:] = random.randbytes(NOISE_BLOCK)
                os.pwrite(file, block, place + random.randrange(NOISE_PLACE // NOISE_BLOCK) * NOISE_BLOCK)
    except OSError as error:
        say(f"ended noise: {error}")


def check(folder):
    """Says what there is: `integrity ok`; `kept WRITER NUMBER` where 1 to NUMBER are there; every row that is wrong."""
    database = opened(folder)
    say(f"integrity {' '.join(row[0] for row in database.execute('PRAGMA integrity_check(3)'))}")
    found, rows = {}, 0
    for row, writer, number, body in database.execute("SELECT id, writer, number, payload FROM entries ORDER BY id"):
        rows += 1
        if row != rows:
            say(f"wrong row {row}: {rows} would be next")
            rows = row
        if number != found.get(writer, 0) + 1:
            say(f"wrong number {number} of writer {writer} after {found.get(writer, 0)}")
        if body != payload(writer, number):
            say(f"wrong payload of number {number} of writer {writer}")
        found[writer] = number
    for writer, number in sorted(found.items()):
        say(f"kept {writer} {number}")


if __name__ == "__main__":
    {"create": create, "write": write, "check": check}[sys.argv[1]](*sys.argv[2:])
