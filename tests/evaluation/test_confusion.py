"""Pairs and matrices worked by hand, and what holds for any page."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.evaluation.confusion import confusion, f1, inside, pair_boxes, precision, recall

A, B = 0, 1
NONE = np.zeros((0, 4))


def test_a_page_by_hand():
    # Objects: A found, A taken for B, B missed. Predictions besides: a B on empty paper.
    truth = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    boxes = [[0, 0, 10, 8], [20, 0, 30, 10], [60, 0, 70, 10]]
    pairs = pair_boxes(truth, [A, A, B], boxes, [A, B, B])
    assert pairs.tolist() == [[0, 0], [1, 1]]
    counts = confusion([A, A, B], [A, B, B], pairs, num_classes=2)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert f1(counts) == pytest.approx(2 * 1 / (3 + 3))
    assert recall(counts) == [0.5, 0.0]
    assert precision(counts) == [1.0, 0.0]


def test_the_right_class_wins_over_a_better_overlap():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 6]]  # IoU 1 with the wrong class, 0.6 with the right one
    assert pair_boxes([[0, 0, 10, 10]], [A], boxes, [B, A]).tolist() == [[0, 1]]


def test_the_overlap_decides_within_a_class_and_each_box_is_used_once():
    truth = [[0, 0, 10, 10], [0, 0, 10, 9]]
    assert pair_boxes(truth, [A, A], [[0, 0, 10, 9]], [A]).tolist() == [[1, 0]]
    assert pair_boxes(truth[:1], [A], [truth[0], truth[0]], [A, A]).tolist() == [[0, 0]]


@pytest.mark.parametrize("height, paired", [(5.0, 1), (4.9, 0)])
def test_the_limit_is_an_iou_of_one_half(height, paired):
    assert len(pair_boxes([[0, 0, 10, 10]], [A], [[0, 0, 10, height]], [A])) == paired


def test_pages_of_nothing():
    pairs = pair_boxes(NONE, [], NONE, [])
    assert pairs.shape == (0, 2)
    counts = confusion([], [], pairs, num_classes=2)
    assert not counts.any() and f1(counts) is None
    assert recall(counts) == precision(counts) == [None, None]
    only_missed = confusion([A], [], pair_boxes([[0, 0, 1, 1]], [A], NONE, []), num_classes=1)
    assert only_missed.tolist() == [[0, 1], [0, 0]] and f1(only_missed) == 0.0
    flat = [[5, 5, 5, 9]]
    assert pair_boxes(flat, [A], flat, [A], min_iou=0.0).shape == (0, 2)


def test_boxes_in_a_crowd_by_hand():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 20.2], [30, 0, 40, 10], [3, 3, 3, 9]]
    assert inside(boxes, [[0, 0, 10, 10]]).tolist() == [True, False, False, False]
    assert inside(boxes, NONE).tolist() == [False] * 4 and inside(NONE, boxes).shape == (0,)


corners = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2, st.integers(0, 2))
some = st.lists(corners, max_size=7)


@settings(max_examples=150, deadline=None)
@given(some, some)
def test_every_box_is_counted_once_and_a_perfect_page_has_f1_one(objects, found):
    def split(rows):
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], float).reshape(-1, 4)
        return boxes, np.array([row[4] for row in rows], int)

    (truth, labels), (boxes, classes) = split(objects), split(found)
    counts = confusion(labels, classes, pair_boxes(truth, labels, boxes, classes), num_classes=3)
    assert counts[:-1].sum(1).tolist() == np.bincount(labels, minlength=3).tolist()
    assert counts[:, :-1].sum(0).tolist() == np.bincount(classes, minlength=3).tolist()
    assert counts[-1, -1] == 0
    same = confusion(labels, labels, pair_boxes(truth, labels, truth, labels), num_classes=3)
    assert f1(same) == (1.0 if objects else None)
