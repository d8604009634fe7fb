"""Tests of graphkd/evaluation/thresholds.py."""

import pytest

from graphkd.evaluation.thresholds import best_thresholds

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
