"""From the frames of one line to its text, words, confidences and baseline on the page."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import shapely

from graphkd.document import Line, Point, Polygon, Word
from graphkd.read.assign import ink_of
from graphkd.text.charset import BLANK, Charset
from graphkd.text.polygons import clockwise, largest, valid

# Without ink, the baseline lies at this part of a line's height.
_BASE = 0.8
# A baseline is straight if no part differs from its line by more than this part of the height.
_STRAIGHT = 0.08
_POINTS = 8


class Characters(NamedTuple):
    """The characters of one line.

    Attributes:
        texts: n characters.
        borders: (n + 1,) places between them as parts of the line's length, rising in 0..1.
        scores: (n,) calibrated probabilities in 0..1.
    """

    texts: Sequence[str]
    borders: np.ndarray
    scores: np.ndarray

    @property
    def text(self) -> str:
        """The text of the line."""
        return "".join(self.texts)


def characters_of(
    best: np.ndarray,
    scores: np.ndarray,
    charset: Charset,
    *,
    frames: float,
    temperature: float = 1.0,
    steps: bool = False,
) -> Characters:
    """The characters in the frames of a reader, with their places.

    A character's place is the centre of its frames; borders lie half-way between neighbours. The
    outer borders are the ends of the line.

    Args:
        best: (T,) class of every valid frame.
        scores: (T,) its probability.
        charset: gives the characters.
        frames: the number of frames, with its fraction, that the line's length takes.
        temperature: of the logits, fitted on validation lines; applied to the probability of the
            best class against all others.
        steps: each frame is a character of an attention decoder, whose place is not known; they
            share the line equally.
    """
    if steps and len(best):
        texts = [charset.decode([index]) for index in best.tolist()]
        borders = np.linspace(0, 1, len(best) + 1)
        return Characters(texts, borders, calibrated(scores.astype(np.float64), temperature))
    starts = np.flatnonzero(np.append(True, best[1:] != best[:-1]))[: len(best)]
    ends = np.append(starts[1:], len(best))
    written = best[starts] != BLANK if len(best) else np.zeros(0, bool)
    if not written.any():
        return Characters((), np.array([0.0, 1.0]), np.zeros(0))
    highest = np.maximum.reduceat(scores.astype(np.float64), starts)[written]
    centres = np.clip(((starts + ends) / 2)[written] / frames, 0, 1)
    borders = np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [1.0]])
    texts = [charset.decode([index]) for index in best[starts][written].tolist()]
    return Characters(texts, borders, calibrated(highest, temperature))


def calibrated(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities p with their logit log(p / (1 - p)) divided by a temperature."""
    safe = np.clip(scores, 1e-12, 1 - 1e-12)
    return 1 / (1 + ((1 - safe) / safe) ** (1 / temperature))


def geometric_mean(scores: np.ndarray) -> float | None:
    """The geometric mean of probabilities; None without any."""
    if not len(scores):
        return None
    return float(np.exp(np.log(np.maximum(scores, 1e-30)).mean()))


def with_text(
    line: Line, found: Characters, corners: np.ndarray, *, words: bool = True, chars: bool = False
) -> Line:
    """The line with its text, confidence and words.

    Args:
        line: as it was found.
        found: its characters.
        corners: (4, 2) of the picture that was read, from the upper left one in reading direction.
        words: split at white space.
        chars: give each word its characters, with left and right border on the page.
    """
    own = []
    for start, end in _runs(found.texts) if words else ():
        low, high = found.borders[[start, end]]
        text = unicodedata.normalize("NFC", "".join(found.texts[start:end]))
        inside: tuple = ()
        if chars:
            ends = corners[0] + found.borders[start : end + 1, None] * (corners[1] - corners[0])
            xs = ends[:, 0].tolist()
            inside = tuple(
                (found.texts[i], xs[i - start], xs[i - start + 1], float(found.scores[i]))
                for i in range(start, end)
            )
        outline = _strip(line.polygon, corners, low, high)
        own.append(Word(outline, text, geometric_mean(found.scores[start:end]), inside))
    text = unicodedata.normalize("NFC", found.text)
    return replace(line, text=text, confidence=geometric_mean(found.scores), words=tuple(own))


def baseline_of(picture: np.ndarray, corners: np.ndarray) -> tuple[Point, ...]:
    """The baseline of a line on the page, from its start to its end.

    The median of the ink's lower edges in up to eight parts of the line and a robust straight line
    through them; where the line is curved, the parts' points themselves. Without ink it lies at
    80 % of the height.

    Args:
        picture: (h, w, 3) uint8 of the line, upright.
        corners: (4, 2) of the picture on the page.

    Returns:
        2 to 8 points.
    """
    height, width = picture.shape[:2]
    ink = ink_of(picture)
    columns = np.flatnonzero(ink.any(0))
    edge = height - np.argmax(ink[::-1], 0)[columns]
    # Parts of at least three heights: in shorter ones, letters that hang down win.
    count = int(np.clip(width // (3 * max(height, 1)), 2, _POINTS))
    parts = np.array_split(columns, count)
    points = np.array(
        [
            (part.mean() + 0.5, np.median(edge[np.isin(columns, part)]))
            for part in parts
            if len(part)
        ]
    ).reshape(-1, 2)
    if len(points) < 2 or not 0.5 * height <= np.median(points[:, 1]) <= height:
        level = _BASE * height
        points = np.array([(0.0, level), (float(width), level)])
    else:
        slope, start = _robust_line(points)
        line = start + slope * points[:, 0]
        apart = points[:, 1] - line
        if abs(apart).max() <= _STRAIGHT * height or len(points) < 4:
            points = np.array([(0.0, start), (float(width), start + slope * width)])
        else:
            points[:, 1] = line + np.clip(apart, -height / 3, height / 3)
            points[[0, -1], 0] = 0.0, float(width)
    shares = np.clip(points / [width, height], 0, 1)
    along, down = corners[1] - corners[0], corners[3] - corners[0]
    return _points(corners[0] + shares[:, :1] * along + shares[:, 1:] * down)


def _robust_line(points: np.ndarray) -> tuple[float, float]:
    """Slope and start of a straight line by the medians of Theil and Sen."""
    first, second = np.triu_indices(len(points), 1)
    steps = points[second] - points[first]
    slope = float(np.median(steps[:, 1] / np.maximum(steps[:, 0], 1e-9)))
    return slope, float(np.median(points[:, 1] - slope * points[:, 0]))


def _runs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of each run of characters that are no white space."""
    inside = np.array([False, *(not text.isspace() for text in texts), False])
    changes = np.flatnonzero(inside[1:] != inside[:-1])
    return list(zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))


def _strip(polygon: Polygon, corners: np.ndarray, low: float, high: float) -> Polygon:
    """The part of a line's outline between two places along it."""
    along = corners[1] - corners[0]
    window = np.array(
        [
            corners[0] + low * along,
            corners[0] + high * along,
            corners[3] + high * along,
            corners[3] + low * along,
        ]
    )
    outline = largest(valid(np.asarray(polygon)).intersection(shapely.Polygon(window)))
    return _points(clockwise(outline if len(outline) >= 3 else window))


def _points(values: np.ndarray) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in values)
