"""Alternating rounds and their statistics."""

import time

import pytest

from graphkd.errors import UserError
from graphkd.evaluation.timing import Times, alternate


def test_parts_alternate_and_warm_ups_do_not_count():
    calls = []
    parts = {name: (lambda name=name: calls.append(name)) for name in ("a", "b")}
    times = alternate(parts, rounds=3, warm_ups=1)
    assert calls == ["a", "b"] * 4
    assert {name: len(each.seconds) for name, each in times.items()} == {"a": 3, "b": 3}


def test_a_part_that_sleeps_takes_wall_time_but_no_processor_time():
    parts = {"sleep": lambda: time.sleep(0.03)}
    assert alternate(parts, rounds=2)["sleep"].median >= 0.03
    assert alternate(parts, rounds=2, clock="cpu")["sleep"].median < 0.02


def test_the_clock_is_read_after_waiting():
    waits = []
    alternate({"a": lambda: None}, rounds=2, warm_ups=0, wait=lambda: waits.append(1))
    assert len(waits) == 4


def test_statistics_by_hand():
    times = Times((1.0, 2.0, 3.0, 4.0, 10.0))
    assert times.median == 3 and times.quartiles == (2, 4)
    assert times.p95 == pytest.approx(8.8)


def test_no_round_is_a_users_mistake():
    with pytest.raises(UserError, match="1 or more"):
        alternate({"a": print}, rounds=0)
