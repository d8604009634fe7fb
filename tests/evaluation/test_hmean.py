"""Scores of text detection on pages worked out by hand."""

import time

import numpy as np
import pytest

from graphkd.evaluation.hmean import curve, document_lines, measure, score, score_pages


def box(x1, y1, x2, y2):
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float)


LINE = box(0, 0, 100, 20)


def page(*texts, ignored=()):
    return [(text, False) for text in texts] + [(text, True) for text in ignored]


def seen(*polygons, scores=None):
    return list(zip(polygons, scores or [0.9] * len(polygons), strict=True))


def numbers(result):
    return tuple(round(result[key], 3) for key in ("precision", "recall", "hmean"))


@pytest.mark.parametrize("rule", ["icdar", "polygon", "deteval"])
def test_a_perfect_page(rule):
    result = score([page(LINE)], [seen(LINE)], rule=rule)
    assert numbers(result) == (100, 100, 100)
    assert result["pages"][0]["right"] == 1


@pytest.mark.parametrize("rule", ["icdar", "polygon"])
def test_a_duplicate_is_wrong_once(rule):
    assert numbers(score([page(LINE)], [seen(LINE, LINE)], rule=rule)) == (50, 100, 66.667)


def test_detections_in_an_ignored_text_are_left_out():
    other = box(0, 100, 100, 120)
    truth = [page(LINE, ignored=[other])]
    assert numbers(score(truth, [seen(LINE, other + 1)])) == (100, 100, 100)
    # Exactly half of it lies inside: it counts, and is wrong.
    half = box(50, 100, 150, 120)
    assert numbers(score(truth, [seen(LINE, half)])) == (50, 100, 66.667)
    just_more = box(49, 100, 147, 120)
    assert numbers(score(truth, [seen(LINE, just_more)])) == (100, 100, 100)


def test_a_page_whose_texts_are_all_ignored():
    for found, precision in (([], 100), (seen(box(0, 200, 50, 220)), 0)):
        result = score([page(ignored=[LINE])], [found])
        assert (result["pages"][0]["recall"], result["pages"][0]["precision"]) == (100, precision)
        assert result["hmean"] == 0  # there is nothing to count over all pages


def test_pages_without_texts_or_detections():
    result = score([[], [], page(LINE)], [[], seen(LINE), []])
    assert [numbers(each) for each in result["pages"]] == [
        (100, 100, 100),
        (0, 100, 0),
        (0, 0, 0),
    ]
    assert numbers(result) == (0, 0, 0)
    assert numbers(score([], [])) == (0, 0, 0)


def test_counts_are_summed_over_pages_before_division():
    result = score([page(LINE), page(*(LINE + 30 * i for i in range(9)))], [seen(LINE), []])
    assert result["recall"] == pytest.approx(10)
    assert (result["objects"], result["found"], result["right"]) == (10, 1, 1)


@pytest.mark.parametrize("rule", ["icdar", "polygon"])
def test_an_iou_of_exactly_half_is_no_match(rule):
    truth = [page(box(0, 0, 100, 20))]
    assert score(truth, [seen(box(0, 0, 50, 20))], rule=rule)["right"] == 0
    assert score(truth, [seen(box(0, 0, 51, 20))], rule=rule)["right"] == 1


def test_invalid_polygons_are_dropped_on_both_sides():
    crossing = np.array([[0, 0], [100, 20], [100, 0], [0, 20]], float)
    for broken in (crossing, LINE[:2], np.zeros((4, 2)), LINE * np.nan, LINE * [1, 0]):
        truth, found = [page(broken, LINE)], [seen(LINE, broken)]
        assert numbers(score(truth, found)) == (100, 100, 100)
        (measured,) = measure(truth, found)
        assert (measured.truth_places.tolist(), measured.found_places.tolist()) == ([1], [0])
        assert numbers(score([page(broken)], [[]])) == (0, 0, 0)


def test_three_points_and_many_points_are_polygons():
    triangle = np.array([[0, 0], [100, 0], [0, 50]], float)
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    curved = 200 + 50 * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert score([page(triangle, curved)], [seen(curved, triangle)], rule="polygon")["right"] == 2


def test_greedy_and_best_matching_differ_where_one_detection_fits_two_texts():
    truth = [page(box(0, 0, 100, 20), box(10, 0, 110, 20))]
    found = [seen(box(5, 0, 105, 20), box(-20, 0, 80, 20))]
    assert score(truth, found, iou=0.6)["right"] == 1
    assert score(truth, found, iou=0.6, matching="best")["right"] == 2


def test_polygon_rule_forgives_detections_on_ignored_texts():
    other = box(0, 100, 100, 120)
    assert numbers(
        score([page(LINE, ignored=[other])], [seen(LINE, other, other)], rule="polygon")
    ) == (100, 100, 100)
    assert numbers(score([[]], [seen(LINE)], rule="polygon")) == (0, 0, 0)


def test_deteval_by_hand():
    halves = box(0, 0, 50, 20), box(50, 0, 100, 20)
    # A text in two detections: 0.8 for the text and for each of the two.
    assert numbers(score([page(LINE)], [seen(*halves)], rule="deteval")) == (80, 80, 80)
    # A detection over two texts: full credit.
    assert numbers(score([page(*halves)], [seen(LINE)], rule="deteval")) == (100, 100, 100)
    # 80 percent of the text and 40 percent of the detection are just enough.
    truth = [page(box(0, 0, 100, 20))]
    assert score(truth, [seen(box(20, -15, 120, 25))], rule="deteval")["right"] == 1
    assert score(truth, [seen(box(21, -15, 121, 25))], rule="deteval")["right"] == 0
    assert score(truth, [seen(box(20, -15, 120, 26))], rule="deteval")["right"] == 0
    strict = {"rule": "deteval", "area_recall": 0.7, "area_precision": 0.6}
    assert score(truth, [seen(box(30, 0, 146, 20))], **strict)["right"] == 1
    assert score(truth, [seen(box(30, 0, 147, 20))], **strict)["right"] == 0


def test_deteval_ignores_detections_in_ignored_texts():
    other = box(0, 100, 100, 120)
    truth = [page(LINE, ignored=[other])]
    assert numbers(score(truth, [seen(LINE, other)], rule="deteval")) == (100, 100, 100)


def test_document_lines_by_hand():
    second, third = LINE + [0, 40], LINE + [0, 80]
    split = box(0, 40, 45, 60), box(55, 40, 100, 60)
    found = [seen(LINE, *split, box(0, 80, 100, 104))]
    result = document_lines(measure([page(LINE, second, third)], found))
    assert result["splits"] == pytest.approx(100 / 3)
    assert result["merges"] == 0
    # Heights 20, 20 and 24 against 20; the parts of the second line overlap it by 0.45.
    assert result["line_height_error"] == pytest.approx(0)
    assert result["hmean"] == pytest.approx(200 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    both = document_lines(measure([page(LINE, second)], [seen(box(0, 0, 100, 60))]))
    assert (both["splits"], both["merges"], both["hmean"]) == (0, 50, 0)
    tall = document_lines(measure([page(LINE)], [seen(box(0, 0, 100, 30))]))
    assert tall["line_height_error"] == pytest.approx(50)
    assert (tall["hmean"], tall["hmean70"]) == (100, 0)
    nothing = document_lines(measure([[]], [[]]))
    assert nothing["line_height_error"] is None and nothing["splits"] is None


def test_line_heights_are_those_of_slanted_lines():
    turn = np.deg2rad(30)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    slanted, taller = LINE @ matrix, box(0, 0, 100, 25) @ matrix
    result = document_lines(measure([page(slanted)], [seen(taller)]))
    assert result["line_height_error"] == pytest.approx(25, abs=0.01)


def test_a_curve_counts_detections_from_the_threshold_on():
    pages = measure([page(LINE)], [seen(LINE, LINE + [0, 100], scores=[0.8, 0.5])])
    rows = curve(pages, thresholds=(0.5, 0.6, 0.8, 0.9))
    assert [row["hmean"] for row in rows] == pytest.approx([66.667, 100, 100, 0], abs=0.001)
    assert [row["box_thresh"] for row in rows] == [0.5, 0.6, 0.8, 0.9]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="rule"):
        score([[]], [[]], rule="coco")
    with pytest.raises(ValueError, match="matching"):
        score([[]], [[]], matching="worst")
    with pytest.raises(ValueError):
        score([[]], [])


def test_130_pages_of_40_lines_take_seconds():
    rng = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(130):
        lines = [box(50, 30 * i, 950, 30 * i + 22) for i in range(40)]
        truth.append(page(*lines))
        found.append(seen(*(line + rng.normal(0, 2, (4, 2)) for line in lines)))
    begin = time.perf_counter()
    pages = measure(truth, found)
    result = document_lines(pages)
    curve(pages)
    score_pages(pages, rule="deteval")
    assert time.perf_counter() - begin < 10
    assert result["hmean"] > 95
