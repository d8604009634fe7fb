"""Seed statistics against numbers worked out by hand."""

import pytest

from graphkd.errors import UserError
from graphkd.evaluation.statistics import Difference, Summary, paired_difference, summarise


def test_summary_by_hand():
    summary = summarise([10.0, 12.0, 17.0])
    assert (summary.mean, summary.n) == (13.0, 3)
    assert summary.std == pytest.approx(13**0.5)  # (9 + 1 + 16) / 2


def test_a_single_value_has_no_spread():
    assert summarise([4.5]) == Summary(mean=4.5, std=None, n=1)


def test_three_pairs_by_hand():
    # Differences 1, 2, 6: each of the 27 resamples is equally likely; the lowest mean (1, 1, 1)
    # and the highest (6, 6, 6) have 1/27 = 3.7 % each, above the 2.5 % that the interval cuts off.
    difference = paired_difference([11.0, 22.0, 36.0], [10.0, 20.0, 30.0])
    assert difference == Difference(mean=3.0, low=1.0, high=6.0)


def test_a_lower_confidence_narrows_the_interval_by_hand():
    # The same 27 resamples, by their sum: 3 (1 way), 4 (3 ways), ..., 14 (3 ways), 18 (1 way).
    # Cutting 10 % = 2.7 resamples off each side falls inside the 4s below and the 14s above.
    difference = paired_difference([1.0, 2.0, 6.0], [0.0, 0.0, 0.0], confidence=0.8)
    assert difference.low == pytest.approx(4 / 3)
    assert difference.high == pytest.approx(14 / 3)


def test_pairing_ignores_what_both_runs_share():
    seeds = [0.0, 30.0, 60.0, 90.0]
    difference = paired_difference([s + 2.0 for s in seeds], seeds)
    assert difference == Difference(mean=2.0, low=2.0, high=2.0)


def test_swapping_the_runs_flips_the_sign():
    a, b = [31.0, 35.0, 30.0, 36.0, 33.0], [30.0, 30.0, 31.0, 32.0, 30.0]
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.mean == pytest.approx(-back.mean) == pytest.approx(2.4)
    assert forth.low == pytest.approx(-back.high, abs=0.2)
    assert forth.low < forth.mean < forth.high


@pytest.mark.parametrize("pairs", [1, 2])
def test_too_few_pairs_get_no_interval(pairs):
    assert paired_difference([3.0] * pairs, [1.0] * pairs) == Difference(2.0, None, None)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="no values"):
        summarise([])
    with pytest.raises(UserError, match="missing"):
        summarise([1.0, None])
    with pytest.raises(UserError, match="3 runs with 2"):
        paired_difference([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(UserError, match="b holds"):
        paired_difference([1.0], [float("nan")])
