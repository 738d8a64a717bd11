"""Can the runner fail? Recorded transcripts of the real tool against another target, whole and with faults planted."""

import lzma
import pathlib
import re
import stat
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import suite
import transcript

EXPECTED = transcript.listed((HERE / "fixtures" / "list.txt").read_text())


def recorded(name):
    return lzma.decompress((HERE / "fixtures" / f"{name}.txt.xz").read_bytes()).decode(errors="replace")


def perfect():
    """What a target that passes everything whole would make the tool print."""
    tail = {"Read10.Async": "READ10 dispatched: 1000 of 1000", "Write10.Async": "WRITE10 dispatched: 1000 of 1000"}
    lines, suite_name = [], None
    for name in EXPECTED:
        head, test = name.split(".")
        if head != suite_name:
            suite_name = head
            lines.append(f"Suite: {head}")
        sign = "    Send X (Expecting SUCCESS)"
        for known, worked in transcript.WORKED.items():
            if name.startswith(known):
                sign = "    " + tail.get(name, re.sub(r"[\\^]", "", worked.split("|")[0]))
        lines += [f"  Test: {test} ...", sign, "passed"]
    count = len(EXPECTED)
    lines += ["", "Run Summary:    Type  Total    Ran Passed Failed Inactive", f"  tests {count} {count} {count} 0 0"]
    return "\n".join(lines)


def judged(text, trouble=None):
    return transcript.judge(EXPECTED, {"A": (transcript.read(text), trouble)})


class Recorded(unittest.TestCase):
    def test_counts_of_a_whole_run_against_another_target(self):
        read = transcript.read(recorded("tgt-all"))
        self.assertTrue(read.finished)
        self.assertEqual((len(read.tests), read.counted, read.counted_failed), (230, 230, 34))
        self.assertEqual(sum(test.result == "failed" for test in read.tests), 34)
        skipped = {test.name for test in read.tests if test.result == "passed" and not test.whole}
        for name in ["Sanitize.Reset", "WriteAtomic16.Simple", "ExtendedCopy.Simple", "ReadOnly.ReadOnlySBC", "CompareAndWrite.Simple"]:
            self.assertIn(name, skipped)
        for name in ["Read10.Simple", "Inquiry.EVPD", "Read10.Async", "MultipathIO.Simple"]:
            self.assertNotIn(name, skipped)

    def test_that_run_is_no_pass(self):
        verdict = judged(recorded("tgt-all"))
        kinds = [what for _, what, _ in verdict.offenders]
        self.assertEqual(kinds.count("failed"), 34)
        self.assertGreater(kinds.count("skipped"), 40)
        self.assertEqual(verdict.passed + len(verdict.offenders), 230)

    def test_silent_skip_of_a_test_whose_session_is_gone(self):
        reset = next(t for t in transcript.read(recorded("tgt-all")).tests if t.name == "iSCSITMF.LUNResetSimpleAsync")
        self.assertEqual(reset.result, "passed")
        self.assertIn("silent", reset.skips[0])
        (alone,) = transcript.read(recorded("tgt-lun-reset")).tests
        self.assertTrue(alone.whole)

    def test_silent_skips_on_a_unit_that_is_too_big(self):
        for name, silent in {
            "tgt-1200gib-read6": {"Read6.Simple", "Read6.BeyondEol"},
            "tgt-1200gib-write12": {"Write12.BeyondEol", "Write12.ZeroBlocks"},
            "tgt-1200gib-writesame10": {"WriteSame10.BeyondEol", "WriteSame10.ZeroBlocks"},
        }.items():
            read = transcript.read(recorded(name))
            self.assertEqual({t.name for t in read.tests if t.skips and "silent" in t.skips[0]}, silent)


class Planted(unittest.TestCase):
    def test_nothing_planted_passes(self):
        verdict = judged(perfect())
        self.assertEqual((verdict.offenders, verdict.passed), ([], len(EXPECTED)))

    def offender(self, text, name, what, trouble=None):
        verdict = judged(text, trouble)
        self.assertIn((name, what), [(n, w) for n, w, _ in verdict.offenders])

    def change(self, test, old, new):
        head, name = test.split(".")
        before, after = perfect().split(f"Suite: {head}\n", 1)
        start, end = after.split(f"  Test: {name} ...\n", 1)
        self.assertIn(old, end)
        return f"{before}Suite: {head}\n{start}  Test: {name} ...\n{end.replace(old, new, 1)}"

    def test_a_failure(self):
        text = self.change("Unmap.Simple", "passed", "FAILED\n    1. test_unmap_simple.c:9  - CU_ASSERT_EQUAL(ret,0)")
        self.offender(text, "Unmap.Simple", "failed")

    def test_a_skip_that_is_counted_as_a_pass(self):
        for said in ["    [SKIPPED] UNMAP is not implemented.", "    [SKIPPING] No luck", "    LBPRZ is clear. Skip the read and verify zero test"]:
            self.offender(self.change("Unmap.Simple", "passed", f"{said}\npassed"), "Unmap.Simple", "skipped")

    def test_a_silent_skip(self):
        self.offender(self.change("Unmap.Simple", "    Send X (Expecting SUCCESS)\n", ""), "Unmap.Simple", "skipped")

    def test_a_last_step_with_nothing_behind_it(self):
        self.offender(self.change("Unmap.Simple", "passed", "    Test UNMAP at the end\npassed"), "Unmap.Simple", "skipped")

    def test_a_hang(self):
        text = perfect()
        text = text[: text.index("Suite: Write12")] + "Suite: Write12\n  Test: Simple ...\n    Send WRITE12"
        self.offender(text, "Write12.Simple", "hung")
        self.offender(text, "run A", "broken")
        self.offender(text, "Write16.Simple", "absent")

    def test_a_crash_after_the_last_test(self):
        text = perfect()
        self.offender(text[: text.index("Run Summary")], "run A", "broken")
        self.offender(text, "run A", "broken", trouble="the tool died of signal 11")

    def test_a_missing_test(self):
        text = self.change("Unmap.Simple", "passed", "passed")
        text = text.replace("  Test: ColdReset ...\n    Send X (Expecting SUCCESS)\npassed\n", "")
        self.offender(text, "PreventAllow.ColdReset", "absent")
        self.offender(text, "run A", "broken")  # its summary counts one more

    def test_an_empty_output(self):
        self.offender("", "run A", "broken")

    def test_a_skip_is_made_good_by_another_run_but_a_failure_is_not(self):
        skip = transcript.read(self.change("Unmap.Simple", "passed", "    [SKIPPED] x\npassed"))
        whole = transcript.read(perfect())
        fail = transcript.read(self.change("Unmap.Simple", "passed", "FAILED"))
        self.assertEqual(transcript.judge(EXPECTED, {"A": (skip, None), "B": (whole, None)}).offenders, [])
        names = [name for name, _, _ in transcript.judge(EXPECTED, {"A": (fail, None), "B": (whole, None)}).offenders]
        self.assertIn("Unmap.Simple", names)


class Tool(unittest.TestCase):
    """The tool itself misbehaves: a stand-in for it hangs, or dies."""

    def run_stand_in(self, body, timeout_s):
        with tempfile.TemporaryDirectory() as folder:
            tool = pathlib.Path(folder) / "tool"
            tool.write_text("#!/bin/bash\n" + body)
            tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
            return suite.run_tool(str(tool), [], "ALL", pathlib.Path(folder) / "log", timeout_s)

    def test_hangs(self):
        read, trouble = self.run_stand_in("echo 'Suite: Read10'; echo '  Test: Simple ...'; sleep 100", 1)
        self.assertIn("hung", trouble)
        self.assertEqual(read.tests[0].result, "hung")

    def test_dies(self):
        read, trouble = self.run_stand_in("echo 'Suite: Read10'; kill -SEGV $$", 10)
        self.assertIn("signal 11", trouble)
        self.assertFalse(read.finished)


if __name__ == "__main__":
    unittest.main()
