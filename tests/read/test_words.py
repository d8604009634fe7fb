"""Characters, words and baselines from frames and pictures worked by hand."""

import numpy as np
import pytest

from graphkd.document import Line, box_polygon
from graphkd.read.words import baseline_of, calibrated, characters_of, geometric_mean, with_text
from graphkd.text.charset import Charset
from graphkd.text.cut import cut_line, line_corners

CHARSET = Charset(("a", "b", " "))
BOX = (100.0, 10.0, 200.0, 30.0)
CORNERS = np.array(box_polygon(BOX))


def read(best, scores=None, **options):
    best = np.array(best)
    scores = np.full(len(best), 0.9) if scores is None else np.array(scores)
    return characters_of(best, scores, CHARSET, frames=len(best), **options)


def test_places_are_centres_of_frames_and_borders_lie_half_way():
    found = read([0, 1, 1, 0, 0, 2, 0, 0, 2, 2], [0.5, 0.6, 0.9, 0.5, 0.5, 0.8, 0.5, 0.5, 0.7, 0.4])
    assert found.text == "abb"
    # Centres at 2, 5.5 and 9 of 10 frames.
    assert found.borders == pytest.approx([0, 0.375, 0.725, 1])
    assert found.scores == pytest.approx([0.9, 0.8, 0.7])


def test_an_empty_line():
    assert read([0, 0]).text == "" and read([]).text == ""
    line = with_text(Line(box_polygon(BOX)), read([0, 0]), CORNERS)
    assert (line.text, line.confidence, line.words) == ("", None, ())


def test_words_are_split_at_spaces_and_lie_along_the_line():
    found = read([1, 0, 1, 3, 2, 0, 3, 3, 1, 0])
    line = with_text(Line(box_polygon(BOX)), found, CORNERS, chars=True)
    assert line.text == "aa b a"
    assert [word.text for word in line.words] == ["aa", "b", "a"]
    # Centres 0.5 2.5 3.5 4.5 7 8.5 of 10 frames over 100 pixels.
    assert [word.box for word in line.words] == [
        pytest.approx((100, 10, 130, 30)),
        pytest.approx((140, 10, 157.5, 30)),
        pytest.approx((177.5, 10, 200, 30)),
    ]
    assert line.words[0].characters == (
        ("a", 100.0, pytest.approx(115), pytest.approx(0.9)),
        ("a", pytest.approx(115), pytest.approx(130), pytest.approx(0.9)),
    )
    assert line.confidence == pytest.approx(0.9)
    assert with_text(Line(box_polygon(BOX)), found, CORNERS, words=False).words == ()


def test_spaces_at_the_ends_are_kept_in_the_text_and_make_no_word():
    line = with_text(Line(box_polygon(BOX)), read([3, 1, 3, 0]), CORNERS)
    assert line.text == " a " and [word.text for word in line.words] == ["a"]


def test_words_of_a_turned_line_run_down_the_page():
    polygon = box_polygon((50.0, 0.0, 70.0, 200.0))
    corners = line_corners(np.array(polygon), margin=0)
    assert corners[0].tolist() == [70, 0] and corners[1].tolist() == [70, 200]
    line = with_text(Line(polygon), read([1, 1, 3, 2]), corners)
    first, second = (word.box for word in line.words)
    assert first == pytest.approx((50, 0, 70, 87.5))
    assert second == pytest.approx((50, 150, 70, 200))


def test_confidence_is_the_geometric_mean_of_calibrated_scores():
    assert geometric_mean(np.array([0.9, 0.4])) == pytest.approx(0.6)
    assert geometric_mean(np.zeros(0)) is None
    assert calibrated(np.array([0.8]), 1.0) == pytest.approx([0.8])
    # odds of 4 with temperature 2 are odds of 2
    assert calibrated(np.array([0.8, 0.2]), 2.0) == pytest.approx([2 / 3, 1 / 3])
    assert calibrated(np.array([1.0, 0.0]), 2.0) == pytest.approx([1, 0], abs=1e-5)
    assert read([1], [0.8], temperature=2.0).scores == pytest.approx([2 / 3])


def letters(width=400, height=40, base=lambda x: 30, hanging=5):
    """A line of bars on a baseline; every `hanging`th hangs down by 8 pixels."""
    page = np.full((height + 60, width + 40, 3), 255, np.uint8)
    for number, x in enumerate(range(24, width + 12, 12)):
        low = 20 + round(base(x - 20)) + 8 * (number % hanging == 0)
        page[low - 16 : low, x : x + 6] = 0
    polygon = np.array(box_polygon((20.0, 20.0, 20.0 + width, 20.0 + height)))
    return page, polygon


def baseline(page, polygon):
    return np.array(baseline_of(cut_line(page, polygon), line_corners(polygon)))


def test_the_baseline_ignores_letters_that_hang_down():
    points = baseline(*letters())
    assert len(points) == 2
    assert points[:, 1] == pytest.approx([50, 50], abs=1)
    assert points[:, 0] == pytest.approx([20, 420], abs=3)


def test_a_sloping_baseline():
    points = baseline(*letters(base=lambda x: 24 + 0.02 * x))
    assert points[:, 1] == pytest.approx([44, 52], abs=1.5) and len(points) == 2


def test_a_curved_baseline_has_more_points():
    points = baseline(*letters(width=1000, base=lambda x: 20 + 14 * ((x - 500) / 500) ** 2))
    assert 4 <= len(points) <= 8
    middle = points[len(points) // 2]
    assert middle[1] == pytest.approx(40, abs=2) and points[0, 1] > 47


def test_without_ink_the_baseline_lies_at_four_fifths():
    page = np.full((100, 440, 3), 255, np.uint8)
    points = baseline(page, np.array(box_polygon((20.0, 20.0, 420.0, 60.0))))
    assert points[:, 1] == pytest.approx([53.2, 53.2], abs=0.1)  # of the picture with its margin
