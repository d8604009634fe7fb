"""Shrinking and unclipping as geometry, drawing, means inside polygons."""

import math
from functools import partial

import cv2
import numpy as np
import pytest
import shapely

from graphkd.text.polygons import (
    exact_distance,
    fill,
    mean_inside,
    min_rectangle,
    ordered,
    unclip_polygon,
    unclip_rectangle,
    valid,
)


def rectangle(width, height, degrees=0.0, centre=(0.0, 0.0)):
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2) @ turn + centre


def shrunk(width, height, ratio):
    distance = width * height * (1 - ratio**2) / (2 * (width + height))
    return width - 2 * distance, height - 2 * distance


def overlap(first, second):
    one, other = shapely.Polygon(first), shapely.Polygon(second)
    return one.intersection(other).area / one.union(other).area


@pytest.mark.parametrize("ratio", [0.4, 0.5, 0.6, 0.8])
@pytest.mark.parametrize("aspect", [1, 2, 5, 10, 20, 50, 80])
def test_exact_unclipping_gives_the_rectangle_back(aspect, ratio):
    for degrees in (0, 17, 45, 90, 133):
        truth = rectangle(20 * aspect, 20, degrees, (300, 200))
        kernel = rectangle(*shrunk(20 * aspect, 20, ratio), degrees, (300, 200))
        grown = unclip_rectangle(kernel, partial(exact_distance, ratio=ratio))
        assert overlap(truth, grown) > 0.999
        grown = unclip_polygon(kernel, partial(exact_distance, ratio=ratio))
        assert overlap(truth, grown) > 0.999


def test_the_root_is_exact_on_random_rectangles():
    random = np.random.default_rng(0)
    for width, height, ratio in random.uniform([1, 1, 0.2], [900, 900, 0.95], (1000, 3)):
        small = shrunk(width, height, ratio)
        distance = exact_distance(small[0] * small[1], 2 * sum(small), ratio)
        assert small[0] + 2 * distance == pytest.approx(width, rel=1e-11)


@pytest.mark.parametrize(
    ("ratio", "factor", "expected"),
    [
        (0.4, 1.5, (0.97, 0.92, 0.68, 0.56, 0.48, 0.44)),
        (0.4, 2.0, (0.74, 0.85, 0.84, 0.68, 0.58, 0.52)),
        (0.6, 1.5, (0.71, 0.75, 0.89, 0.98, 0.96, 0.93)),
        (0.6, 2.0, (0.54, 0.59, 0.72, 0.80, 0.86, 0.90)),
    ],
)
def test_the_published_ratio_misses_long_lines(ratio, factor, expected):
    """The numbers of the design for a perfect map at aspects 1 to 50."""
    for aspect, value in zip((1, 2, 5, 10, 20, 50), expected, strict=True):
        truth = rectangle(1000 * aspect, 1000)
        kernel = rectangle(*shrunk(1000 * aspect, 1000, ratio))
        grown = unclip_rectangle(kernel, lambda area, length: factor * area / length)
        assert overlap(truth, grown) == pytest.approx(value, abs=0.006)


def test_round_corners_have_their_own_constant():
    radius, ratio = 50.0, 0.6
    distance = math.pi * radius**2 * (1 - ratio**2) / (2 * math.pi * radius)
    inner = radius - distance
    back = exact_distance(math.pi * inner**2, 2 * math.pi * inner, ratio, corners=math.pi)
    assert back == pytest.approx(distance)


def test_corners_are_ordered_by_us():
    for degrees in range(-44, 45, 11):
        corners = rectangle(80, 20, degrees, (100, 100))
        expected = ordered(corners)
        for shift in range(4):
            assert np.allclose(ordered(np.roll(corners, shift, 0)), expected)
            assert np.allclose(ordered(np.roll(corners[::-1], shift, 0)), expected)
        assert expected[0].sum() == corners.sum(1).min()
        # Clockwise with y down: the signed area is positive.
        x, y = expected.T
        assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0


def test_pixels_are_filled_by_their_centres():
    random = np.random.default_rng(1)
    for _ in range(200):
        low, sides = random.uniform(2, 8, 2), random.uniform(2, 20, 2)
        canvas = np.zeros((40, 40), np.uint8)
        fill(canvas, np.array([low, low + (sides[0], 0), low + sides, low + (0, sides[1])]), 1)
        first, last = np.ceil(low - 0.5), np.floor(low + sides - 0.5)
        # Exact up to the sixteenth of a pixel that OpenCV draws with.
        if np.abs(np.stack([low, low + sides]) % 1 - 0.5).min() > 0.07:
            assert canvas.sum() == (last - first + 1).prod()


def test_a_thin_polygon_is_still_drawn():
    canvas = np.zeros((20, 20), np.uint8)
    fill(canvas, np.array([[2.0, 5.1], [15.0, 5.1], [15.0, 5.5], [2.0, 5.5]]), 1)
    assert 10 <= canvas.sum() <= 30


@pytest.mark.parametrize("degrees", [0.0, 0.3, 2.0, 30.0])
def test_rectangles_of_pixels_have_the_right_size_on_average(degrees):
    random = np.random.default_rng(2)
    widths, heights = [], []
    for _ in range(40):
        canvas = np.zeros((120, 220), np.uint8)
        fill(canvas, rectangle(150, 11, degrees, random.uniform(55, 60, 2) + (50, 0)), 1)
        (contour,), _ = cv2.findContours(canvas, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        corners, short = min_rectangle(contour[:, 0] + 0.5, pixels=True)
        heights.append(short)
        widths.append(np.linalg.norm(np.diff(corners, axis=0), axis=1).max())
    assert np.mean(heights) == pytest.approx(11, abs=0.45)
    assert np.mean(widths) == pytest.approx(150, abs=0.7)


def test_means_are_of_the_pixels_inside():
    logits = np.full((20, 30), -9.0, np.float32)
    logits[5:10, 5:20] = 9.0
    inside = np.array([[5, 5], [20, 5], [20, 10], [5, 10]], float)
    assert mean_inside(logits, inside) > 0.99
    half = np.array([[5, 5], [20, 5], [20, 15], [5, 15]], float)
    assert mean_inside(logits, half) == pytest.approx(0.5, abs=0.06)
    for outside in (inside + 100, inside - 100):
        assert 0 <= mean_inside(logits, outside) < 1


def test_crossing_and_short_polygons_are_handled():
    crossing = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], float)
    assert valid(crossing).area == pytest.approx(50)
    assert len(unclip_polygon(crossing, lambda area, length: 1.0)) >= 3
    assert valid(crossing[:2]).is_empty
    assert len(unclip_polygon(crossing[:2], lambda area, length: 1.0)) == 0
