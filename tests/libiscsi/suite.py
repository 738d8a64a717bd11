#!/usr/bin/env python3
"""Debian's iscsi-test-cu against the daemon: no failure, and every test whole in at least one run.

No one logical unit can satisfy every test (a read-only one fails the writers, SPC-3 and SPC-4 exclude each other), hence several runs:
  A  read-write, thin, removable, SPC-4, 768 MiB, CHAP name 0x…, two portals: everything, a process for each suite, and
     for each test of suite Sanitize: with two paths Sanitize.Reservations leaves its RESERVE(6) to the tests after it
  B  the same with CHAP name 0b…: the CHAP suite, where the tool has one
  C  read-only: suite ReadOnly
  D  SPC-3: suite ExtendedCopy
  E  the first again, iSCSITMF.LUNResetSimpleAsync alone: early-response.c says why
  F, G, …  512-byte logical in 4096-byte physical blocks: the suites with tests that ask for that. Not in A, because there
     GetLBAStatus.UnmapSingle of libiscsi 1.19.0 asks for the status of block n + 1, and wants to hear of block n + 8.
"""

import argparse
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lab
import transcript as reading

TESTS_AT_LEAST = 230  # what Debian 12's tool lists; a shorter list means that it is not the tool we know
SECRET = "correct-horse-1"
EMULATED_SUITES = ["CompareAndWrite", "WriteSame10", "WriteSame16", "Unmap", "ReadCapacity16"]


def run_tool(tool, urls, tests, log, timeout_s, preload=None):
    """Runs it; gives back its transcript and what was wrong with its end."""
    command = ["stdbuf", "-oL", *(["env", f"LD_PRELOAD={preload}"] if preload else []), tool, "--dataloss", "--allow-sanitize", "-v", "-V", "-t", tests, *urls]
    trouble = None
    with open(log, "wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(timeout_s)
            if code < 0:
                trouble = f"the tool died of signal {-code}"
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            child.wait()
            trouble = f"hung: not done after {timeout_s} s"
    return reading.read(pathlib.Path(log).read_text(errors="replace")), trouble


def config(folder, ports):
    """Two portals of one group; each run has a logical unit and a target to itself."""
    chap = lambda user: f"{{ chap: {{ user: \"{user}\", secret: {SECRET} }} }}"
    return f"""
node: suite
state_dir: {folder}/state
portals: [{", ".join(f'"127.0.0.1:{port}"' for port in ports)}]
volumes:
  everything: {{ file: {folder}/a.img, size: 768MiB, block_size: 512, physical_block_size: 512, thin: true, removable: true, scsi_version: spc-4 }}
  names:      {{ file: {folder}/b.img, size: 768MiB, block_size: 512, physical_block_size: 512, thin: true, removable: true, scsi_version: spc-4 }}
  protected:  {{ file: {folder}/c.img, size: 768MiB, block_size: 512, read_only: true }}
  emulated:   {{ file: {folder}/e.img, size: 768MiB, block_size: 512, physical_block_size: 4096, thin: true, removable: true, scsi_version: spc-4 }}
  old:        {{ file: {folder}/d.img, size: 768MiB, block_size: 512, thin: true, scsi_version: spc-3 }}
targets:
  {lab.IQN}:a: {{ initiators: ["*"], auth: {chap("0xhexname")}, luns: {{ 0: everything }} }}
  {lab.IQN}:b: {{ initiators: ["*"], auth: {chap("0bBASE64n")}, luns: {{ 0: names }} }}
  {lab.IQN}:c: {{ initiators: ["*"], luns: {{ 0: protected }} }}
  {lab.IQN}:d: {{ initiators: ["*"], luns: {{ 0: old }} }}
  {lab.IQN}:e: {{ initiators: ["*"], luns: {{ 0: emulated }} }}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", default="iscsi-test-cu")
    parser.add_argument("--tests", help="only these of run A, as ALL.Suite or ALL.Suite.Test; for trying things, never a pass")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one run")
    parser.add_argument("--keep", help="folder for the transcripts")
    args = parser.parse_args()

    tally = lab.Tally("libiscsi: Debian's target suite, several runs")
    need_tool(args.tool)
    lines = subprocess.run([args.tool, "--list"], capture_output=True, text=True).stdout
    expected = reading.listed(lines)
    with lab.scratch_folder("libiscsi") as folder:
        keep = pathlib.Path(args.keep) if args.keep else folder
        keep.mkdir(parents=True, exist_ok=True)
        ports = [lab.free_port(), lab.free_port()]
        (folder / "state").mkdir()
        for image in "abcde":
            with open(folder / f"{image}.img", "wb") as f:
                f.truncate(768 << 20)
        url = lambda run, user, port: f"iscsi://{user + '%' + SECRET + '@' if user else ''}127.0.0.1:{port}/{lab.IQN}:{run}/0"
        runs = {
            **{f"A {selection}": (selection, [url("a", "0xhexname", port) for port in ports])
               for selection in ([args.tests] if args.tests else selections(expected))},
            "B": ("ALL.iSCSICHAP", [url("b", "0bBASE64n", port) for port in ports]),
            "C": ("ALL.ReadOnly", [url("c", None, port) for port in ports]),
            "D": ("ALL.ExtendedCopy", [url("d", None, port) for port in ports]),
            "E": ("ALL.iSCSITMF.LUNResetSimpleAsync", [url("a", "0xhexname", port) for port in ports]),
        }
        for run, name in zip("FGHIJ", EMULATED_SUITES):
            runs[run] = (f"ALL.{name}", [url("e", None, port) for port in ports])
        if not any(name.startswith("iSCSICHAP.") for name in expected):
            # Debian 12's tool has no such suite: show at least that the name is accepted and the LUN usable.
            runs["B"] = ("ALL.TestUnitReady", runs["B"][1])
        if args.tests:
            runs = {run: what for run, what in runs.items() if run.startswith("A ")}
            expected = [name for name in expected if f"ALL.{name}.".startswith(args.tests + ".")]
        transcripts = {}
        with lab.Lunmirror(folder, config(folder, ports)) as target:
            for run, (tests, urls) in runs.items():
                transcripts[run] = run_tool(args.tool, urls, tests, keep / f"run-{run.replace(' ', '-')}.txt", args.timeout,
                                            early_response(folder) if run == "E" else None)
                seen = transcripts[run][0].tests
                print(f"  run {run}: {len(seen)} tests, {sum(t.whole for t in seen)} passed whole, "
                      f"{sum(t.result == 'passed' and not t.whole for t in seen)} skipped something, "
                      f"{sum(t.result != 'passed' for t in seen)} failed", flush=True)
            alive = target.process.alive()
            tally.check("the daemon is alive and did not panic", alive and not target.panicked(), target.log_tail(800))
        if not args.tests:
            tally.check(f"the tool lists {TESTS_AT_LEAST} tests or more", len(expected) >= TESTS_AT_LEAST, f"it lists {len(expected)}")
        verdict = reading.judge(expected, transcripts)
        report(verdict)
        tally.passed += verdict.passed
        tally.failed += len(verdict.offenders)
        print(f"  {verdict.passed} of {len(verdict.expected)} passed whole in at least one run; {len(verdict.offenders)} offenders")
    tally.finish()


def selections(expected):
    """What run A asks of one process each, in the tool's order."""
    apart = lambda name: name if name.startswith("Sanitize.") else name.split(".")[0]
    return list(dict.fromkeys(f"ALL.{apart(name)}" for name in expected))


def early_response(folder):
    lab.need({"gcc": "gcc"})
    library = folder / "early-response.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, pathlib.Path(__file__).with_name("early-response.c")], check=True)
    return library


def need_tool(tool):
    if "/" not in tool:
        lab.need({tool: "libiscsi-bin"})


def report(verdict):
    for name, what, why in verdict.offenders:
        print(f"  FAIL  {what:8} {name:44} {why[:160]}")


if __name__ == "__main__":
    main()
