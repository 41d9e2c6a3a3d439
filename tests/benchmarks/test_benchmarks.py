"""What the benchmarks compute from what they measure."""

import pytest

from benchmarks.measure import Measure, Row, Target, interval_of_median, percentile
from benchmarks.processes import Cpu, spent


def test_medians_are_compared_and_judged_by_their_ratio():
    ours, theirs = Measure.of([3.0, 1.0, 2.0], "s"), Measure.of([9.0, 8.0, 1.0, 10.0, 7.0], "s")
    row = Row("time", ours, theirs, Target(0.3))
    assert (ours.value, theirs.value, row.ratio, row.met) == (2.0, 8.0, 0.25, True)
    assert row.cells() == ["time", "2 [1 – 3] s", "8 [1 – 10] s", "0.25 ×", "≤ 0.3 ×", "yes"]
    assert Row("speed", ours, theirs, Target(2, at_least=True)).met is False
    assert Row("alone", ours, target=Target(1.9)).met is False
    assert [percentile(range(1, 101), percent) for percent in (50, 95, 100)] == [50, 95, 100]


def test_the_cpu_time_of_processes_that_end_is_neither_lost_nor_counted_twice():
    before = {(1, 0.0): Cpu(10, 1, 0), (2, 0.0): Cpu(5, 0, 1), (3, 0.0): Cpu(7, 0, 9), (4, 0.0): Cpu(2, 0, 1)}
    # 2 was waited for by 1, which then knows its last second too; 3 ended where nobody keeps its time.
    after = {(1, 0.0): Cpu(12, 7, 0), (4, 0.0): Cpu(3, 0, 1)}
    assert spent(before, after) == 2 + 1 + 1


def test_the_interval_of_a_median_is_that_of_the_tables():
    # Ranks 6 and 15 of 20, 1 and 6 of 6, 14 and 27 of 40: the usual tables of the sign test.
    assert interval_of_median(range(1, 21)) == (6, 15)
    assert interval_of_median([6, 1, 5, 2, 4, 3]) == (1, 6)
    assert interval_of_median(range(1, 41)) == (14, 27)
    with pytest.raises(ValueError, match="too few"):
        interval_of_median([1.0] * 5)
