"""Scores of reading order on orders small enough to count by hand."""

import pytest

from graphkd.evaluation.order import order_scores, text_likeness


def test_equal_and_reversed_orders():
    assert order_scores([0, 1, 2, 3]) == {"successor": 1.0, "kendall": 1.0}
    assert order_scores([3, 2, 1, 0]) == {"successor": 0.0, "kendall": -1.0}


def test_hand_worked_orders():
    # One swap of neighbours: 5 of 6 pairs stay; of three successions none stays.
    assert order_scores([1, 0, 3, 2]) == pytest.approx({"successor": 0.0, "kendall": 1 / 3})
    # Two columns of two read across: 0 2 1 3.
    assert order_scores([0, 2, 1, 3]) == pytest.approx({"successor": 0.0, "kendall": 2 / 3})
    # The last moved to the front: two of three successions stay.
    assert order_scores([1, 2, 3, 0]) == pytest.approx({"successor": 2 / 3, "kendall": 0.0})


def test_only_matched_items_are_compared():
    assert order_scores([0, 5, 9]) == {"successor": 1.0, "kendall": 1.0}


def test_below_two_items_there_is_no_order():
    assert order_scores([4]) == order_scores([]) == {"successor": None, "kendall": None}


def test_likeness_of_texts():
    assert text_likeness("ab cd", "ab\n\ncd") == 1.0
    assert text_likeness("abcd", "abed") == pytest.approx(0.75)  # one out, one in, of eight
    assert text_likeness("", "") == 1.0 and text_likeness("ab", "") == 0.0
    assert text_likeness("e\u0301", "\u00e9") == 1.0
