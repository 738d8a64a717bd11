"""Can the gate fail, and is the arithmetic right? Samples made up, with the fault planted."""

import pathlib
import sys
import unittest
import xml.dom.minidom

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "kernel"), str(HERE.parent / "mirror")]
import chart
import figures
import load
from figures import Cell, Claim

CELL = Cell("read", "4KiB", 32)
KEY = f"{CELL.name}: file / pread limit"


def measured(**rows):
    """IOPS by contender, one a round."""
    results = figures.Results()
    for contender, row in rows.items():
        for n, iops in enumerate(row):
            results.add(CELL, contender.replace("_", " "), n, {"iops": iops})
    return results


class Arithmetic(unittest.TestCase):
    def test_a_ratio_is_the_median_of_ratios_within_rounds_not_the_ratio_of_medians(self):
        results = measured(file=[100, 50, 90], pread_limit=[100, 100, 300])
        self.assertEqual(results.ratio(CELL.name, "file", "pread limit"), 0.5)
        self.assertEqual(results.median(CELL.name, "file", "iops"), 90)

    def test_a_round_that_only_one_ran_counts_for_no_ratio(self):
        results = measured(file=[100, 10], pread_limit=[200])
        self.assertEqual(results.ratio(CELL.name, "file", "pread limit"), 0.5)
        self.assertIsNone(measured(file=[1]).ratio(CELL.name, "file", "pread limit"))
        self.assertIsNone(measured(file=[1], pread_limit=[0]).ratio(CELL.name, "file", "pread limit"))

    def test_spread_is_the_range_over_the_median(self):
        self.assertAlmostEqual(figures.spread([80, 100, 120]), 0.4)
        self.assertIsNone(figures.spread([]))

    def test_noise_is_the_median_of_spreads_of_what_ran_more_than_once(self):
        self.assertAlmostEqual(measured(file=[80, 100, 120], tgt=[10, 10], istgt=[95, 100, 115], memory=[7]).noise(), 0.2)
        self.assertIsNone(measured(file=[1]).noise())

    def test_what_is_committed_is_ours_against_its_reference(self):
        results = measured(file=[80], memory=[70], pread_limit=[100], mapped_limit=[140], tgt=[20])
        self.assertEqual(results.ratios(), {KEY: 0.8, f"{CELL.name}: memory / mapped limit": 0.5})

    def test_several_clients_are_one_sample(self):
        part = {"bytes_per_second": 1, "errors": 0, "mismatches": 1, "client_cpu_us_per_io": 1, "target_rss_bytes": load.MIB}
        slow = dict(part, iops=100, target_cpu_us_per_io=30, latency_us={"p50": 1, "p99": 2, "p999": 3})
        fast = dict(part, iops=300, target_cpu_us_per_io=10, latency_us={"p50": 2, "p99": 9, "p999": 9})
        both = load.summed([slow, fast])
        # Both saw the same 3000 µs a second, which 400 I/O share.
        self.assertEqual((both["iops"], both["target_cpu_us"], both["errors"], both["p99"], both["rss_mib"]), (400, 7.5, 2, 9, 1))

    def test_rounds_begin_with_another_each_time(self):
        order = []
        load.alternate(figures.Results(), CELL, ["a", "b", "c"], 3, lambda cell, who, n: order.append(who) or {})
        self.assertEqual("".join(order), "abcbcacab")


class Claims(unittest.TestCase):
    def test_met_missed_and_not_measured(self):
        claim = Claim("1", CELL, "file", "pread limit", at_least=0.85)
        self.assertIs(claim.met(measured(file=[85], pread_limit=[100])), True)
        self.assertIs(claim.met(measured(file=[84], pread_limit=[100])), False)
        self.assertIsNone(claim.met(measured(file=[84])))

    def test_at_most(self):
        claim = Claim("5", CELL, "file", at_most=90)
        self.assertIs(claim.met(measured(file=[90])), True)
        self.assertIs(claim.met(measured(file=[91])), False)

    def test_each_cell_has_a_name_of_its_own_and_each_claim_a_bound(self):
        cells = [*figures.SETS["full"], *figures.PAIR_SETS["full"], figures.TEN_LUNS, figures.THOUSAND, figures.IDLE]
        self.assertEqual(len({cell.name for cell in cells}), len(cells))
        for claim in figures.claims():
            self.assertTrue((claim.at_least is None) != (claim.at_most is None), claim)
            self.assertIn(claim.cell, cells)

    def test_quick_is_part_of_full(self):
        self.assertLessEqual(set(figures.SETS["quick"]), set(figures.SETS["full"]))
        self.assertLessEqual(set(figures.PAIR_SETS["quick"]), set(figures.PAIR_SETS["full"]))


class Gate(unittest.TestCase):
    def test_a_slower_one_falls_and_is_named(self):
        committed = measured(file=[90], pread_limit=[100]).ratios()
        slower = measured(file=[76], pread_limit=[100]).ratios()
        self.assertEqual(figures.fallen(committed, slower), [(KEY, 0.9, 0.76)])

    def test_less_than_the_tolerance_is_noise_and_faster_is_fine(self):
        committed = {KEY: 1.0}
        for ratio in (0.851, 1.0, 2.0):
            self.assertEqual(figures.fallen(committed, {KEY: ratio}), [])
        self.assertEqual(len(figures.fallen(committed, {KEY: 0.849})), 1)

    def test_a_faster_machine_is_not_a_faster_target(self):
        committed = measured(file=[90], pread_limit=[100]).ratios()
        self.assertEqual(len(figures.fallen(committed, measured(file=[150], pread_limit=[200]).ratios())), 1)

    def test_what_was_not_measured_does_not_fall(self):
        self.assertEqual(figures.fallen({KEY: 1.0}, {}), [])

    def test_dropped_cells_are_measured_anew(self):
        results = measured(file=[10], pread_limit=[100])
        results.drop(CELL.name)
        self.assertEqual(results.ratios(), {})


class Charts(unittest.TestCase):
    def test_they_are_svg_whatever_is_missing(self):
        for text in (
            chart.bars("t <&>", "IOPS", ["g", "h"], ["a", "b"], {"a": {"g": 1.5e6, "h": None}}),
            chart.bars("none", "IOPS", [], [], {}),
            chart.lines("t", "IOPS", [1, 1000], {"a": [1, None], "b": [3, 4]}),
            chart.lines("one", "IOPS", [1], {"a": [0]}),
            chart.columns("t", {"x & y": 0.91}),
        ):
            self.assertEqual(xml.dom.minidom.parseString(text).documentElement.tagName, "svg")

    def test_axes_end_at_round_figures(self):
        self.assertEqual([chart.nice_top(value) for value in (0, 1, 1.1, 430_000, 510_000)], [1, 1, 2, 500_000, 1_000_000])


if __name__ == "__main__":
    unittest.main()
