"""Pairs, matrices and thresholds worked by hand, and what holds for any page."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.evaluation.matching import (
    best_thresholds,
    box_iou,
    confusion,
    f1,
    inside,
    pair,
    pair_boxes,
    precision,
    recall,
)

A, B = 0, 1
NONE = np.zeros((0, 4))


def test_a_page_by_hand():
    # Objects: A found, A predicted as B, B missed. One more prediction: a B on empty paper.
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


def test_pairs_of_one_class_alone():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 6]]
    own = pair_boxes([[0, 0, 10, 10]], [A], boxes, [B, A], same_class=True)
    assert own.tolist() == [[0, 1]]
    assert pair_boxes([[0, 0, 10, 10]], [A], boxes[:1], [B], same_class=True).shape == (0, 2)


def test_with_scores_the_surer_prediction_chooses_first():
    # Prediction 0 has the better overlap, prediction 1 the higher score.
    overlap = np.array([[1.0, 0.6]])
    assert pair(overlap).tolist() == [[0, 0]]
    assert pair(overlap, scores=[0.3, 0.9]).tolist() == [[0, 1]]
    # The surer one takes its best object, the other one what is left.
    both = np.array([[0.9, 0.8], [0.6, 0.7]])
    assert pair(both, scores=[0.2, 0.9]).tolist() == [[0, 1], [1, 0]]
    # Of equal scores the first in the list chooses, whatever the overlap.
    assert pair(both[:, ::-1], scores=[0.5, 0.5]).tolist() == [[0, 0], [1, 1]]


def test_iou_by_hand():
    iou = box_iou([[0, 0, 10, 10], [5, 5, 5, 9]], [[5, 0, 15, 10], [20, 20, 30, 30]])
    assert iou == pytest.approx(np.array([[1 / 3, 0], [0, 0]]))
    assert box_iou(NONE, [[0, 0, 1, 1]]).shape == (0, 1)


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


TRUTH = {
    "images": [{"id": 1}, {"id": 2}],
    "categories": [{"id": 0, "name": "text"}, {"id": 1, "name": "table"}],
    "annotations": [
        {"image_id": 1, "category_id": 0, "bbox": [0, 0, 10, 10]},
        {"image_id": 2, "category_id": 0, "bbox": [0, 0, 10, 10]},
    ],
}


def found(image, score, bbox=(0, 0, 10, 10), category=0):
    return {"image_id": image, "category_id": category, "bbox": list(bbox), "score": score}


def test_best_f1_by_hand():
    wrong = (50, 50, 10, 10)
    results = [found(1, 0.9), found(1, 0.456, wrong), found(2, 0.301), found(2, 0.2, wrong)]
    # F1 after each: 2/3, 2/4, 4/5, 4/6
    assert best_thresholds(TRUTH, results) == {"text": 0.30, "table": 0.5}


def test_a_second_find_of_an_object_is_wrong():
    results = [found(1, 0.9), found(1, 0.8), found(1, 0.7), found(1, 0.6), found(2, 0.5)]
    # F1 after each: 2/3, 2/4, 2/5, 2/6, 4/7
    assert best_thresholds(TRUTH, results)["text"] == pytest.approx(0.9)


def test_finds_in_a_crowd_do_not_count():
    crowd = {"image_id": 1, "category_id": 0, "bbox": [40, 0, 50, 50], "iscrowd": 1}
    truth = {**TRUTH, "annotations": [*TRUTH["annotations"], crowd]}
    inside = [found(1, 0.8, (50, 10, 5, 5)), found(1, 0.7, (60, 20, 5, 5))]
    assert best_thresholds(truth, [found(1, 0.9), *inside, found(2, 0.4)])["text"] == 0.4


def test_nothing_found_and_nothing_there_give_the_default():
    assert best_thresholds(TRUTH, []) == {"text": 0.5, "table": 0.5}
    assert best_thresholds(TRUTH, [found(1, 0.9, category=1)])["table"] == 0.5


def test_an_object_comes_before_the_crowd_around_it():
    crowd = {"image_id": 1, "category_id": 0, "bbox": [0, 0, 50, 50], "iscrowd": 1}
    truth = {**TRUTH, "annotations": [*TRUTH["annotations"], crowd]}
    # It overlaps its object by 0.8 and lies in the crowd with all of its area.
    assert best_thresholds(truth, [found(1, 0.7, (0, 0, 10, 8))])["text"] == 0.7
