"""Greedy decoding of CTC frames and attention steps to text with a score, and how many frames a
label needs.
"""

from collections.abc import Sequence

import numpy as np

from graphkd.text.charset import BLANK, Charset


def least_frames(label: Sequence[int]) -> int:
    """The fewest frames in which CTC can write a label: between equal neighbours stands a blank."""
    repeats = sum(one == other for one, other in zip(label, label[1:], strict=False))
    return max(1, len(label) + repeats)


def read_frames(
    best: np.ndarray, scores: np.ndarray, lengths: np.ndarray, charset: Charset
) -> list[tuple[str, float]]:
    """Texts of a batch of lines: equal neighbours become one character, then blanks are removed.

    Args:
        best: (N, T) the most probable class of every frame.
        scores: (N, T) its probability in 0..1.
        lengths: (N,) number of valid frames; the others are not looked at.
        charset: gives the characters.

    Returns:
        N pairs of text and score in 0..1. The score is the geometric mean over the characters of
        the highest probability that each has in its frames; for an empty text the mean
        probability of the blank.
    """
    return [
        _read(row[:length], values[:length], charset)
        for row, values, length in zip(best, scores, lengths, strict=True)
    ]


def read_steps(
    best: np.ndarray, scores: np.ndarray, lengths: np.ndarray, charset: Charset
) -> list[tuple[str, float]]:
    """Texts and scores of the steps of an attention decoder; see `read_frames`.

    `lengths` are the steps before the end of each text. A text that ends at once has the
    probability of its end.
    """
    return [
        (
            charset.decode(row[:length].tolist()),
            float(
                np.exp(np.log(np.maximum(values[: max(1, length)], 1e-30)).mean(dtype=np.float64))
            ),
        )
        for row, values, length in zip(best, scores, lengths, strict=True)
    ]


def _read(best: np.ndarray, scores: np.ndarray, charset: Charset) -> tuple[str, float]:
    if not len(best):
        return "", 0.0
    starts = np.flatnonzero(np.append(True, best[1:] != best[:-1]))
    classes = best[starts]
    written = classes != BLANK
    if not written.any():
        return "", float(np.mean(scores, dtype=np.float64))
    highest = np.maximum.reduceat(scores.astype(np.float64), starts)[written]
    score = np.exp(np.log(np.maximum(highest, 1e-30)).mean())
    return charset.decode(classes[written].tolist()), float(score)
