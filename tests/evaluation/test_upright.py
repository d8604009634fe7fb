"""Tests of graphkd/evaluation/upright.py, on pages worked out by hand."""

import numpy as np
import pytest

from graphkd.document import box_polygon
from graphkd.evaluation.hmean import measure
from graphkd.evaluation.upright import upright_boxes

SLANTED = np.array([[0.0, 10], [10, 0], [40, 30], [30, 40]])  # its upright box: 0 0 40 40


def square(x, y, side=40):
    return np.array(box_polygon((x, y, x + side, y + side)))


def numbers(*pages):
    truth = [[(polygon, ignore) for polygon, ignore in texts] for texts, _ in pages]
    return upright_boxes(measure(truth, [found for _, found in pages]))


def test_upright_boxes_of_slanted_texts_are_compared():
    found = numbers(([(SLANTED, False)], [(square(0, 0), 0.9)]))
    assert found == {"AP": 100, "AP50": 100, "box_precision": 100, "box_recall": 100}


def test_precision_and_recall_are_those_of_the_best_f1():
    """Two of three texts are found with high scores; wrong boxes have low ones but for one."""
    texts = [(square(0, 0), False), (square(100, 0), False), (square(200, 0), False)]
    right = [(square(0, 0), 0.9), (square(100, 0), 0.7)]
    wrong = [(square(0, 200), 0.8), (square(100, 200), 0.1), (square(200, 200), 0.05)]
    found = numbers((texts, right), ([], wrong))
    assert found["box_precision"] == pytest.approx(200 / 3)
    assert found["box_recall"] == pytest.approx(200 / 3)
    # Precision 1 up to a recall of 1/3, then 2/3 up to 2/3: 34 and 33 of 101 points of recall.
    expected = 100 * (34 + 33 * 2 / 3) / 101
    assert found["AP50"] == pytest.approx(expected) and found["AP"] == pytest.approx(expected)


def test_detections_in_ignored_texts_do_not_count():
    page = [(square(0, 0), False), (square(100, 0, 80), True)]
    found = [(square(100, 0), 0.9), (square(130, 30), 0.8), (square(0, 0), 0.5)]
    assert numbers((page, found)) == dict.fromkeys(
        ("AP", "AP50", "box_precision", "box_recall"), 100
    )


def test_more_than_a_hundred_lines_count():
    texts = [square(50 * (i % 20), 50 * (i // 20)) for i in range(250)]
    found = [(polygon, 0.9 - 0.001 * i) for i, polygon in enumerate(texts)]
    assert numbers(([(polygon, False) for polygon in texts], found))["AP"] == 100


def test_pages_without_text_or_without_detections():
    assert set(numbers(([], [(square(0, 0), 0.5)])).values()) == {None}
    assert numbers(([(square(0, 0), False)], [])) == {
        "AP": 0,
        "AP50": 0,
        "box_precision": 0,
        "box_recall": 0,
    }
