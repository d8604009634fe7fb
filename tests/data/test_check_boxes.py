"""Box and frame rules, on hand-worked numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphkd.data.check.boxes import (
    PageFrame,
    as_box,
    as_int,
    decide_frame,
    fit_box,
    fit_mask,
    look_like_corners,
    look_normalised,
    mask_or_box,
)
from graphkd.data.images import PageHeader

PAGE = PageFrame(100, 200)
number = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, (3, False)),
        (3.0, (3, False)),
        (" 12 ", (12, True)),
        (3.5, (None, False)),
        ("a", (None, False)),
        (None, (None, False)),
        (True, (None, False)),
        ([], (None, False)),
        (math.inf, (None, False)),
    ],
)
def test_whole_numbers(value, expected):
    assert as_int(value) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1, 2, 3], "box_malformed"),
        (None, "box_malformed"),
        ([1, 2, 3, "x"], "box_malformed"),
        ([1, 2, 3, {}], "box_malformed"),
        ([1, 2, 3, 10**400], "box_malformed"),
        ([1, 2, math.nan, 4], "box_not_finite"),
        ([1, 2, "inf", 4], "box_not_finite"),
        ([1, None, 3, 4], "box_not_finite"),
    ],
)
def test_unreadable_boxes(value, kind):
    assert as_box(value) == (None, False, kind)


def test_strings_are_read_and_said():
    assert as_box(["1", 2, "3.5", 4]) == ([1, 2, 3.5, 4], True, None)


@pytest.mark.parametrize(
    ("box", "fitted", "kind"),
    [
        ([10, 20, 30, 40], [10, 20, 30, 40], None),
        ([-10, -20, 30, 40], [0, 0, 20, 20], "box_clipped"),
        ([90, 190, 30, 40], [90, 190, 10, 10], "box_clipped"),
        ([0, 0, 100.5, 200.9], [0, 0, 100, 200], None),  # rounding: cut without a word
        ([10, 20, 0, 40], None, "box_degenerate"),
        ([10, 20, -5, 40], None, "box_degenerate"),
        ([10, 20, 0.4, 40], None, "box_degenerate"),
        ([100, 20, 5, 5], None, "box_outside"),
        ([-5, 20, 5, 5], None, "box_outside"),
        ([99.8, 20, 50, 5], None, "box_outside"),
        ([1e308, 1, 1e308, 1], None, "box_not_finite"),
    ],
)
def test_fitting(box, fitted, kind):
    assert fit_box(box, PAGE) == (fitted, kind)


def test_scaling():
    frame = PageFrame(100, 200, 0.5, 0.25)
    assert fit_box([20, 40, 60, 80], frame) == ([10, 10, 30, 20], None)


@given(number, number, number, number)
def test_a_fitted_box_lies_on_the_page_and_stays_as_it_is(x, y, width, height):
    box, kind = fit_box([x, y, width, height], PAGE)
    if box is None:
        assert kind in ("box_degenerate", "box_outside")
        return
    assert box[0] >= 0 and box[1] >= 0
    assert box[0] + box[2] <= 100 + 1e-9 and box[1] + box[3] <= 200 + 1e-9
    again, kind = fit_box(box, PAGE)
    assert kind is None and again == pytest.approx(box)


def test_masks():
    square = [10, 10, 20, 10, 20, 20, 10, 20]
    assert fit_mask([square], PAGE) == ([square], False)
    assert fit_mask([square, [1, 2]], PAGE) == ([square], True)
    assert fit_mask([], PAGE) == (None, False)
    assert fit_mask("x", PAGE) == (None, True)
    assert fit_mask([[10, 10, math.nan, 10, 20, 20]], PAGE) == (None, True)
    assert fit_mask([[90, 10, 120, 10, 120, 20]], PAGE)[0] == [[90, 10, 100, 10, 100, 20]]
    run_length = {"size": [200, 100], "counts": [20000]}
    assert fit_mask(run_length, PAGE) == (run_length, False)
    assert fit_mask({"size": [100, 200], "counts": [20000]}, PAGE) == (None, True)
    for counts in ([], [19999], [10**12, 5], [20001, -1]):
        assert fit_mask({"size": [200, 100], "counts": counts}, PAGE) == (None, True)
    assert mask_or_box(None, [1, 2, 3, 4]) == [[1, 2, 4, 2, 4, 6, 1, 6]]


def test_guesses_about_a_whole_file():
    assert look_normalised([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]])
    assert not look_normalised([[0.1, 0.2, 0.3, 0.4], [0, 0, 2, 1]])
    assert not look_normalised([])
    corners = [
        ([40, 50, 90, 180], 100, 200),
        ([60, 10, 99, 30], 100, 200),
        ([1, 2, 90, 9], 100, 200),
    ]
    assert look_like_corners(corners)
    sizes = [([x0, y0, x1 - x0, y1 - y0], w, h) for (x0, y0, x1, y1), w, h in corners]
    assert not look_like_corners(sizes)


def header(stored, orientation=1):
    return PageHeader(stored, orientation, "JPEG", "RGB", 1, False)


@pytest.mark.parametrize(
    ("declared", "stored", "boxes", "frame", "kind"),
    [
        ((100, 200), (100, 200), [], PageFrame(100, 200), None),
        (("100", 200), (100, 200), [], PageFrame(100, 200), "numbers_as_strings"),
        ((200, 100), (100, 200), [[0, 0, 90, 190]], PageFrame(100, 200), "size_swapped"),
        ((200, 100), (100, 200), [[0, 0, 190, 90]], None, "size_unclear"),
        ((200, 400), (100, 200), [[0, 0, 9, 9]], PageFrame(100, 200, 0.5, 0.5), "size_scaled"),
        ((200, 300), (100, 200), [], None, "size_unclear"),
        ((None, 200), (100, 200), [[0, 0, 90, 190]], PageFrame(100, 200), "size_absent"),
        ((None, None), (100, 200), [[0, 0, 500, 900]], None, "size_unclear"),
        ((0, 0), (100, 200), [], PageFrame(100, 200), "size_absent"),
        ((1, 1), (100, 200), [[0, 0, 1, 1]], PageFrame(100, 200, 100, 200), "normalised_boxes"),
        ((1, 1), (100, 200), [[0, 0, 50, 1]], None, "size_unclear"),
        ((1, 1), (1, 1), [[0, 0, 1, 1]], PageFrame(1, 1), None),
    ],
)
def test_frames(declared, stored, boxes, frame, kind):
    found, finding = decide_frame(declared, header(stored), boxes)
    assert found == frame
    assert (finding[0] if finding else None) == kind


def test_both_frames_of_a_turned_page_are_believed():
    turned = header((200, 100), orientation=6)
    assert decide_frame((200, 100), turned, []) == (PageFrame(200, 100), None)
    assert decide_frame((100, 200), turned, []) == (PageFrame(100, 200), None)
