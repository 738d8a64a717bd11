"""Reads what `iscsi-test-cu -v -V` prints and says, test by test, whether it passed, and whether it was whole.

The suite counts a skip as a pass. Some skips announce themselves ([SKIPPED], [SKIPPING], prose); others are silent: the
test returns early, having said or sent nothing. `-V` shows every command sent, and that gives the silent ones away.
"""

import dataclasses
import re

# Prose with which a test leaves part of itself out and still passes.
ANNOUNCED = re.compile(
    r"\bskip(ped|ping)?\b"
    r"|does not support 0-blocks"
    r"|SWP is not changeable"
    r"|CONTROL page was not returned"
    r"|LBPRZ ?==? ?0|LBPRZ is clear"
    r"|is not available\. ?Verify that VPD"
    r"|WRITEATOMIC16 is NOT supported"
    r"|Device does not claim UNMAP"
    r"|No version descriptor tests"
    r"|Could not read BlockDeviceCharacteristics"
    r"|No MAXIMUM WRITE SAME LENGTH"
    r"|only supported for iSCSI backends",
    re.IGNORECASE,
)

# A test that works without the logged command helpers shows it worked in another way.
WORKED = {
    "ReadCapacity16.PI": r"PROT_EN is 0|P_TYPE is",
    "Inquiry.VersionDescriptors": r"Verify it claim some version of SBC",
    "Read10.Async": r"READ10 dispatched: 1000 of 1000",
    "Write10.Async": r"WRITE10 dispatched: 1000 of 1000",
    "iSCSIResiduals.": r"Verify that the target returned",
    "iSCSITMF.AbortTaskSimpleAsync": r"^ABORT queued:",
    "iSCSITMF.LUNResetSimpleAsync": r"^LU RESET queued",
    "MultipathIO.Reset": r"TUR good after",
    "MultipathIO.CompareAndWriteAsync": r"COMPARE_AND_WRITE dispatched: 1000 of 1000",
}
SENT = r"\bSend "

# The last heading of these is followed by an assertion alone.
HEADING_MAY_END = {"PrinReadKeys.Simple"}


@dataclasses.dataclass
class Test:
    name: str
    result: str = "hung"  # until a result is printed
    skips: list = dataclasses.field(default_factory=list)
    faults: list = dataclasses.field(default_factory=list)
    lines: list = dataclasses.field(default_factory=list)

    @property
    def whole(self):
        return self.result == "passed" and not self.skips


@dataclasses.dataclass
class Transcript:
    tests: list
    finished: bool  # the run summary was printed
    counted: int  # tests that the summary says were run
    counted_failed: int


def read(text):
    tests, suite, current = [], "?", None
    finished, counted, counted_failed = False, 0, 0
    for line in text.splitlines():
        if match := re.match(r"Suite: (\S+)", line):
            suite, current = match[1], None
            continue
        if match := re.match(r"\s*Test: (\S+) \.\.\.(.*)", line):
            current = Test(f"{suite}.{match[1]}")
            tests.append(current)
            line = match[2]
        if line.startswith("Run Summary"):
            finished, current = True, None
        if finished and (match := re.match(r"\s*tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", line)):
            counted, counted_failed = int(match[2]), int(match[4])
        if current is None:
            continue
        if current.result == "hung":
            if line.startswith("passed"):
                current.result = "passed"
            elif line.startswith("FAILED"):
                current.result = "failed"
            else:
                current.lines.append(line.strip())
                if "[FAILED]" in line or "[FAILURE]" in line:
                    current.faults.append(line.strip())
        elif current.result == "failed" and (match := re.match(r"\s+\d+\. (\S.*)", line)):
            current.faults.append(match[1])
    for test in tests:
        test.skips = find_skips(test)
    return Transcript(tests, finished, counted, counted_failed)


def find_skips(test):
    said = [line for line in test.lines if line]
    skips = [line for line in said if ANNOUNCED.search(line)]
    if skips or test.result != "passed":
        return skips
    sign = next((sign for name, sign in WORKED.items() if test.name.startswith(name)), SENT)
    if not any(re.search(sign, line) for line in said):
        return ["(silent) it passed without sending a command"]
    if said[-1].startswith("Test ") and test.name not in HEADING_MAY_END:
        return [f"(silent) nothing was done for its last step: {said[-1]}"]
    return []


@dataclasses.dataclass
class Verdict:
    """Over several runs: a test counts when it was whole in at least one and failed in none."""

    expected: list
    offenders: list  # (name, what, why)
    passed: int = 0


def judge(expected, transcripts):
    """`expected`: names the tool itself lists. `transcripts`: {run name: (Transcript, exit trouble or None)}."""
    offenders, seen = [], {}
    for run, (transcript, trouble) in transcripts.items():
        if trouble:
            offenders.append((f"run {run}", "broken", trouble))
        if not transcript.finished:
            last = transcript.tests[-1].name if transcript.tests else "the start"
            offenders.append((f"run {run}", "broken", f"no run summary; it stopped in {last}"))
        elif transcript.counted != len(transcript.tests):
            offenders.append((f"run {run}", "broken", f"summary counts {transcript.counted} tests, {len(transcript.tests)} were seen"))
        elif transcript.counted_failed != sum(test.result == "failed" for test in transcript.tests):
            offenders.append((f"run {run}", "broken", f"summary counts {transcript.counted_failed} failures, not what was seen"))
        if not transcript.tests:
            offenders.append((f"run {run}", "broken", "it ran no test"))
        for test in transcript.tests:
            seen.setdefault(test.name, []).append((run, test))
    passed = 0
    for name in expected:
        runs = seen.get(name, [])
        bad = [(run, test) for run, test in runs if test.result != "passed"]
        if not runs:
            offenders.append((name, "absent", "ran in no run"))
        elif bad:
            run, test = bad[0]
            offenders.append((name, test.result, f"run {run}: {(test.faults or test.skips or ['no detail'])[0]}"))
        elif not any(test.whole for _, test in runs):
            run, test = runs[0]
            offenders.append((name, "skipped", f"run {run}: {test.skips[0]}"))
        else:
            passed += 1
    for name in sorted(set(seen) - set(expected)):
        offenders.append((name, "unknown", "the tool does not list it"))
    return Verdict(list(expected), offenders, passed)


def listed(text):
    """Tests that `iscsi-test-cu --list` prints under ALL."""
    return [match[1] for match in re.finditer(r"^ALL\.([^.\s]+\.\S+)$", text, re.MULTILINE)]
