"""Tests of graphkd/distill/losses/options.py."""

import pytest

from graphkd.distill.losses.options import (
    finite,
    fraction,
    need_same_classes,
    need_two_stage,
    not_negative,
    positive,
    switch,
    weight_tuple,
    whole_number,
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


@pytest.mark.parametrize(
    ("check", "value", "options"),
    [
        (finite, float("nan"), {}),
        (whole_number, 0, {"least": 1}),
        (whole_number, 1.5, {"least": 1}),
        (whole_number, True, {"least": 1}),
        (whole_number, "a", {"least": 0}),
        (switch, "no", {}),
        (switch, 1, {}),
        (weight_tuple, 3.0, {"length": 3}),
        (weight_tuple, "abc", {"length": 3}),
        (weight_tuple, (1.0, 2.0), {"length": 3}),
        (weight_tuple, (0, 0, 0), {"length": 3}),
        (weight_tuple, (1, -1, 0), {"length": 3}),
    ],
)
def test_other_kinds_are_refused_by_name(check, value, options):
    with pytest.raises(ValueError, match="ALPHA"):
        check("alpha", value, **options)


def test_right_kinds_are_returned():
    assert (finite("alpha", -2), whole_number("alpha", 0, least=0)) == (-2.0, 0)
    assert switch("alpha", False) is False
    assert weight_tuple("alpha", [1, 0, "2e-1"], length=3) == (1.0, 0.0, 0.2)


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
