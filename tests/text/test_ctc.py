"""Greedy decoding of frames."""

import numpy as np
import pytest

from graphkd.text.charset import Charset
from graphkd.text.ctc import least_frames, read_frames

CHARSET = Charset(("a", "b", " "))


def read(best, scores=None):
    best = np.array([best])
    scores = np.full(best.shape, 0.5, np.float32) if scores is None else np.array([scores])
    return read_frames(best, scores, np.array([best.shape[1]]), CHARSET)[0]


@pytest.mark.parametrize(
    ("best", "text"),
    [
        ([1, 1, 0, 1, 2, 2], "aab"),
        ([0, 0, 0], ""),
        ([3, 1, 0, 3, 3], " a "),
        ([2], "b"),
    ],
)
def test_runs_become_characters(best, text):
    assert read(best)[0] == text


def test_score_is_the_geometric_mean_of_the_best_frame_of_every_character():
    text, score = read([1, 1, 0, 2], [0.3, 0.9, 0.1, 0.4])
    assert text == "ab" and score == pytest.approx((0.9 * 0.4) ** 0.5)


def test_score_of_an_empty_text_is_that_of_the_blank():
    assert read([0, 0], [0.9, 0.7]) == ("", pytest.approx(0.8))


def test_frames_beyond_the_line_are_not_read():
    best = np.array([[1, 2, 2], [1, 0, 2]])
    scores = np.ones((2, 3))
    found = read_frames(best, scores, np.array([1, 3]), CHARSET)
    assert [text for text, _ in found] == ["a", "ab"]


@pytest.mark.parametrize(("label", "frames"), [([], 1), ([1], 1), ([1, 1], 3), ([1, 2, 2, 2], 6)])
def test_equal_neighbours_need_a_blank_between_them(label, frames):
    assert least_frames(label) == frames
