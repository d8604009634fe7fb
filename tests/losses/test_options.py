"""Tests of graphkd/losses/options.py."""

import pytest

from graphkd.losses.options import (
    fraction,
    need_same_classes,
    need_two_stage,
    not_negative,
    positive,
)


def test_numbers_written_without_a_point_are_understood():
    """Yaml reads 5e-5 as a string."""
    assert not_negative("alpha", "5e-5") == 5e-5


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (positive, 0),
        (positive, -1),
        (not_negative, -0.1),
        (fraction, 1.1),
        (fraction, True),
        (positive, "much"),
        (positive, None),
        (positive, float("nan")),
        (not_negative, float("inf")),
    ],
)
def test_other_values_are_refused_by_name(check, value):
    with pytest.raises(ValueError, match="ALPHA"):
        check("alpha", value)


def test_borders_are_allowed():
    assert not_negative("alpha", 0) == 0
    assert (fraction("alpha", 0), fraction("alpha", 1)) == (0, 1)


def test_facts_about_the_pair(toy):
    need_two_stage(toy.context())
    need_same_classes(toy.context(), remedy="")
    with pytest.raises(ValueError, match="needs a two-stage detector$"):
        need_two_stage(toy.context(two_stage=False))
    with pytest.raises(ValueError, match="train again"):
        need_same_classes(toy.context(same_classes=False), remedy="train again")
