"""Tests of graphkd/distill/losses/options.py."""

import math

import pytest

from graphkd.distill.losses.options import (
    need_anchors,
    need_regions,
    need_same_classes,
    need_two_stage,
    number,
    one_of,
    switch,
    weight_tuple,
    whole_number,
)


def test_numbers_written_without_a_point_are_understood():
    """Yaml reads 5e-5 as a string."""
    assert number("alpha", "5e-5") == 5e-5


@pytest.mark.parametrize(
    ("check", "value", "options"),
    [
        (number, 0, {"positive": True}),
        (number, -1, {"positive": True}),
        (number, -0.1, {}),
        (number, 1.1, {"most": 1}),
        (number, True, {"most": 1}),
        (number, "much", {}),
        (number, None, {}),
        (number, float("nan"), {"least": -math.inf}),
        (number, float("inf"), {}),
        (whole_number, 0, {"least": 1}),
        (whole_number, 1.5, {"least": 1}),
        (whole_number, True, {"least": 1}),
        (whole_number, "a", {"least": 0}),
        (switch, "no", {}),
        (switch, 1, {}),
        (one_of, "c", {"choices": ("a", "b")}),
        (weight_tuple, 3.0, {"length": 3}),
        (weight_tuple, "abc", {"length": 3}),
        (weight_tuple, (1.0, 2.0), {"length": 3}),
        (weight_tuple, (0, 0, 0), {"length": 3}),
        (weight_tuple, (1, -1, 0), {"length": 3}),
    ],
)
def test_other_values_are_refused_by_name(check, value, options):
    with pytest.raises(ValueError, match="ALPHA"):
        check("alpha", value, **options)


def test_right_values_are_returned():
    assert (number("alpha", -2, least=-math.inf), whole_number("alpha", 0, least=0)) == (-2.0, 0)
    assert (number("alpha", 0), number("alpha", 0, most=1), number("alpha", 1, most=1)) == (0, 0, 1)
    assert switch("alpha", False) is False
    assert one_of("alpha", "b", ("a", "b")) == "b"
    assert weight_tuple("alpha", [1, 0, "2e-1"], length=3) == (1.0, 0.0, 0.2)


def test_facts_about_the_pair(toy):
    need_two_stage(toy.context())
    need_same_classes(toy.context(), remedy="")
    need_anchors(toy.context(same_anchors=False), shared=False)
    with pytest.raises(ValueError, match="needs a two-stage detector$"):
        need_two_stage(toy.context(two_stage=False))
    with pytest.raises(ValueError, match="train again"):
        need_same_classes(toy.context(same_classes=False), remedy="train again")
    with pytest.raises(ValueError, match="give both the same MODEL.ANCHOR_GENERATOR"):
        need_anchors(toy.context(same_anchors=False))


def test_facts_that_a_task_has_not_are_refused(toy):
    with pytest.raises(ValueError, match="needs a two-stage detector"):
        need_two_stage(toy.context(two_stage=None))
    with pytest.raises(ValueError, match="needs a detector with anchors"):
        need_anchors(toy.context(same_anchors=None), shared=False)
    with pytest.raises(ValueError, match="needs the regions of a detector"):
        need_regions(toy.context(shared_regions=None))
