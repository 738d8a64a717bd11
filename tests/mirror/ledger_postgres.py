#!/usr/bin/env python3
"""The ledger of ledger.py on PostgreSQL, with its checksums and its own checks: ledger_postgres.py create|write|check FOLDER …

Its settings are its own (fsync, synchronous_commit, full pages), but for smaller logs and more checkpoints.
"""

import contextlib
import glob
import os
import subprocess
import sys

from ledger import payload, say

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
SOCKETS = "/run/ledger"
SETTINGS = ["listen_addresses=", f"unix_socket_directories={SOCKETS}", "max_wal_size=16MB", "min_wal_size=8MB", "checkpoint_timeout=30s",
            "shared_buffers=16MB", "autovacuum=off"]
START_TIMEOUT_S = 60


def run(program, *arguments, **more):
    """As its own user: it does not run as root."""
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return subprocess.run([*user, f"{PROGRAMS}/{program}", *arguments], check=True, text=True, stderr=subprocess.STDOUT, cwd="/", **more)


def sql(*words):
    return [f"{PROGRAMS}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", SOCKETS, "-U", "postgres", *words, "postgres"]


def control(data, *words):
    run("pg_ctl", "-D", data, "-w", "-t", str(START_TIMEOUT_S), *words, stdout=subprocess.DEVNULL)


def start(data):
    for folder in (SOCKETS, "/dev/shm"):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o1777)
    control(data, "-l", f"{SOCKETS}/log", "-o", " ".join(f"-c {setting}" for setting in SETTINGS), "start")


@contextlib.contextmanager
def server(data):
    start(data)
    yield
    control(data, "-m", "fast", "stop")


def create(data):
    os.mkdir(data)
    subprocess.run(["chown", "postgres:postgres", data], check=True)
    run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-k", "--wal-segsize=4", "--locale=C", "-E", "UTF8", stdout=subprocess.DEVNULL)
    with server(data):
        subprocess.run(sql("-c", "CREATE TABLE entries (writer int, number int, payload text, PRIMARY KEY (writer, number))"), check=True)


def write(data, writers):
    start(data)
    for writer in range(int(writers)):
        if os.fork() == 0:
            commit(writer)
            os._exit(0)


def commit(writer):
    number = "none"
    client = subprocess.Popen(sql(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    ask = lambda words: (client.stdin.write(words + "\n"), client.stdout.readline().strip())[1]
    try:
        number = int(ask(f"SELECT coalesce(max(number), 0) FROM entries WHERE writer = {writer};"))
        while True:
            number += 1
            values = f"{writer}, {number}, '{payload(writer, number).hex()}'"
            if (answer := ask(f"INSERT INTO entries VALUES ({values}) RETURNING 'committed';")) != "committed":
                break
            say(f"ack {writer} {number}")
        say(f"ended {writer} at {number}: {answer}")
    except (ValueError, OSError) as error:
        say(f"ended {writer} at {number}: {error}")


def check(data):
    found = {}
    with server(data):
        sane = subprocess.run([f"{PROGRAMS}/pg_amcheck", "-h", SOCKETS, "-U", "postgres", "--install-missing", "postgres"], capture_output=True, text=True)
        rows = subprocess.run(sql("-c", "SELECT writer, number, payload FROM entries ORDER BY writer, number"), check=True, capture_output=True, text=True).stdout
    for row in rows.splitlines():
        writer, number, body = row.split("|")
        writer, number = int(writer), int(number)
        if number != found.get(writer, 0) + 1:
            say(f"wrong number {number} of writer {writer} after {found.get(writer, 0)}")
        if body != payload(writer, number).hex():
            say(f"wrong payload of number {number} of writer {writer}")
        found[writer] = number
    for writer, number in sorted(found.items()):
        say(f"kept {writer} {number}")
    sums = subprocess.run([f"{PROGRAMS}/pg_checksums", "--check", "-D", data], capture_output=True, text=True)
    faults = [f"{run.args[0]}: {(run.stdout + run.stderr)[-200:]!r}" for run in (sane, sums) if run.returncode]
    say(f"integrity {'; '.join(faults) or 'ok'}")


if __name__ == "__main__":
    {"create": create, "write": write, "check": check}[sys.argv[1]](os.path.join(sys.argv[2], "postgres"), *sys.argv[3:])
