#!/usr/bin/env python3
"""A database that remembers what it promised: ledger.py create|write|check FOLDER [WRITERS]

Runs in the guest, on SQLite in WAL mode with synchronous=FULL: a commit that has returned was flushed to the disk. Each writer
commits its numbers one by one and says so on the console only then. What says a row is right can be told from its number.
"""

import hashlib
import os
import sqlite3
import sys

BUSY_TIMEOUT_S = 30
# Often enough that each round has some of the blocks moved from the log into the database file.
CHECKPOINT_PAGES = 100


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


def write(folder, writers):
    for writer in range(int(writers)):
        if os.fork() == 0:
            commit(folder, writer)


def commit(folder, writer):
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
    except (sqlite3.Error, OSError) as error:
        say(f"ended {writer} at {number}: {error}")
    os._exit(0)


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
