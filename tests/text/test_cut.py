"""Lines that are cut out of pages."""

import cv2
import numpy as np
import pytest

from graphkd.text.cut import cut_line
from graphkd.text.prepare import prepare_line


def page(size=(200, 300), colour=220):
    """Paper with an L-shaped mark at the left end of a line, so that its direction can be seen."""
    pixels = np.full((*size, 3), colour, np.uint8)
    pixels[92:108, 104:108] = 0
    pixels[104:108, 104:116] = 0
    return pixels


LINE = np.array([[100, 90], [200, 90], [200, 110], [100, 110]], float)


def turned(degrees):
    """The page turned about its middle, and the outline with it."""
    matrix = cv2.getRotationMatrix2D((150, 100), degrees, 1)
    pixels = cv2.warpAffine(page(), matrix, (300, 200), borderValue=(220, 220, 220))
    points = np.hstack([LINE - 0.5, np.ones((4, 1))]) @ matrix.T + 0.5
    return pixels, points


def mark(picture):
    """Where the dark pixels are, as shares of the picture: left, top, right, bottom."""
    rows, columns = np.nonzero(picture.mean(2) < 100)
    height, width = picture.shape[:2]
    return columns.min() / width, rows.min() / height, columns.max() / width, rows.max() / height


def test_an_upright_line_is_its_rectangle_with_a_margin():
    picture = cut_line(page(), LINE)
    assert picture.shape == (22, 102, 3)
    assert (picture[1:-1, 1:-1] == page()[90:110, 100:200]).all()
    assert (cut_line(page()[:, :, 0], LINE) == picture[:, :, 0]).all()
    assert (cut_line(page(), LINE, margin=0) == page()[90:110, 100:200]).all()


@pytest.mark.parametrize("degrees", [-20, -7, 3, 30])
def test_a_tilted_line_is_cut_upright(degrees):
    upright, _ = prepare_line(cut_line(page(), LINE))
    picture = cut_line(*turned(degrees))
    assert abs(picture.shape[0] - 22) <= 1 and abs(picture.shape[1] - 102) <= 1
    assert mark(picture) == pytest.approx(mark(cut_line(page(), LINE)), abs=0.05)
    tilted, _ = prepare_line(picture)
    assert np.abs(tilted.astype(int) - upright).mean() < 6


def test_a_baseline_tells_which_way_the_text_runs():
    pixels, outline = turned(180)
    upright = mark(cut_line(page(), LINE))
    base = np.array([[200, 95], [100, 95]], float)
    assert mark(cut_line(pixels, outline, baseline=base)) == pytest.approx(upright, abs=0.06)
    assert mark(cut_line(pixels, outline))[0] > 0.8
    pixels, outline = turned(-90)  # the text runs downwards
    down = np.array([[145, 50], [145, 150]], float)
    assert mark(cut_line(pixels, outline, baseline=down)) == pytest.approx(upright, abs=0.06)


def test_an_upright_text_without_a_baseline_is_turned_to_the_left():
    pixels, outline = turned(-90)
    picture = cut_line(pixels, outline)
    assert picture.shape[1] > 4 * picture.shape[0]
    assert mark(picture) == pytest.approx(mark(cut_line(page(), LINE)), abs=0.06)


def test_neighbouring_lines_are_painted_over():
    pixels = page()
    pixels[90:95, 150:200] = 0  # reaches into the rectangle, but not into the outline
    outline = np.array([[100, 90], [140, 90], [140, 97], [200, 97], [200, 110], [100, 110]], float)
    picture = cut_line(pixels, outline)
    assert picture.shape == (22, 102, 3)
    assert (picture[:, 60:] == 220).all() and (picture[:, :20] == 0).any()


def test_lines_over_the_edge_are_continued_and_others_are_refused():
    outline = LINE - [150, 0]
    assert cut_line(page(), outline).shape == (22, 102, 3)
    assert cut_line(page(), LINE + [400, 0]) is None
    assert cut_line(page(), [[0, 0], [50, 0], [50, 2], [0, 2]]) is None
    assert cut_line(page(), [[0, 0], [50, 0], [100, 0]]) is None
    assert cut_line(page(), [[0, 0], [1e7, 0], [1e7, 1e6], [0, 1e6]]) is None
