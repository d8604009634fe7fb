"""Makes one text line from a seed and an index, as it looks when it is cut from a scanned page."""

import itertools
import textwrap
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from graphkd.synthesis import wear
from graphkd.synthesis.faces import EM, Face, faces, faces_of
from graphkd.synthesis.styles import between, chance, pick, weighted
from graphkd.synthesis.texts import LATIN, LineText
from graphkd.text.ctc import least_frames
from graphkd.text.prepare import HEIGHT, STRIDE

KINDS = {"book": 3.0, "old": 3.2, "receipt": 2.4, "office": 1.6, "typescript": 0.8}
RARE_EVERY = 8  # each eighth line has rare characters,
RARE_EACH = 4  # this many
LONGEST = 100  # characters of a line of the user's texts; what is longer is shortened
_STYLES = {
    "book": {"serif": 5, "old": 3.5, "sans": 1},
    "old": {"old": 9, "serif": 1},
    "receipt": {"mono": 4, "sans": 4, "typed": 0.7, "serif": 0.3},
    "office": {"sans": 5, "serif": 3, "mono": 0.7, "old": 0.5},
    "typescript": {"typed": 5, "mono": 1},
    "rare": {"serif": 3, "sans": 3, "old": 3, "mono": 1, "typed": 1},
}
_LIGATURES = {
    "ffi": "\ufb03", "ffl": "\ufb04", "ff": "\ufb00", "fi": "\ufb01", "fl": "\ufb02",
    "ſt": "\ufb05", "st": "\ufb06",
}  # fmt: skip
_BASE = 2 * EM  # row of the baseline on the canvas
_SIDE = 2 * EM  # empty columns at both ends of the canvas

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class MadeCrop:
    """One generated line.

    Attributes:
        image: uint8 (H, W), or (H, W, 3) in RGB.
        text: what it says, in NFC.
        kind: book, old, receipt, office, typescript or rare.
        face: name of the face.
        quality: JPEG quality to store it at.
        baseline: left and right end (x0, y0, x1, y1) of the baseline in pixels.
        boxes: the ink box (x0, y0, x1, y1) of every drawn character that is not a space, in pixels;
            a ligature has one box.
    """

    image: np.ndarray
    text: str
    kind: str
    face: str
    quality: int
    baseline: Box
    boxes: tuple[Box, ...]


def make_line(
    seed: int, index: int, *, characters: tuple[str, ...] = LATIN, texts: tuple[str, ...] = ()
) -> MadeCrop:
    """Makes line `index` of the endless series `seed`.

    The same arguments, faces and version of Pillow give the same line. Every eighth line shows four
    of `characters` that are next in turn, so that each occurs at least
    `n // 8 * 4 // len(characters)` times in n lines, if a face has it.

    Args:
        seed: names the series; splits use different ones.
        index: number of the line in the series, from 0.
        characters: entries of a charset; other characters are left out of the texts.
        texts: lines of text to draw instead of generated ones.
    """
    rng = np.random.default_rng([seed, index])
    number, place = divmod(index, RARE_EVERY)
    kind = weighted(rng, KINDS)
    writer = LineText(rng)
    if texts:
        text = unicodedata.normalize("NFC", texts[int(rng.integers(len(texts)))])
        text = textwrap.shorten(text, LONGEST, placeholder="")
    elif place == RARE_EVERY - 1:
        kind = "rare"
        turn = range(number * RARE_EACH, (number + 1) * RARE_EACH)
        text = writer.line(kind, rare=[characters[at % len(characters)] for at in turn])
    else:
        text = writer.line(kind, rare=[])
    known = frozenset(characters)
    text = _kept(text, lambda part: part in known or known.issuperset(part))
    face = _choose(rng, kind, text)
    # No face has all characters: what the chosen one lacks is left out.
    text = _kept(text, face.has)
    return _photograph(rng, _Setting(rng, writer, kind, face, text))


def _kept(text: str, wanted: Callable[[str], bool]) -> str:
    """The text without unwanted characters; a hyphen if nothing is left."""
    return " ".join("".join(filter(wanted, clusters(text))).split()) or "-"


def clusters(text: str) -> list[str]:
    """The letters of an NFC text, each with the combining marks that follow it."""
    parts: list[str] = []
    for character in text:
        if parts and unicodedata.combining(character):
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _choose(rng: np.random.Generator, kind: str, text: str) -> Face:
    """A face of a style that suits the kind, with all characters of the text if there is one."""
    needed = set(text)
    for _ in range(6):
        known = faces_of(weighted(rng, _STYLES[kind]))
        for _ in range(4):
            face = pick(rng, *pick(rng, *known))
            if face.slanted and kind in ("receipt", "typescript") and chance(rng, 0.9):
                continue
            if face.has(needed):
                return face
    order = [faces()[at] for at in rng.permutation(len(faces()))]
    return max(order, key=lambda face: sum(face.has(character) for character in needed))


class _Setting:
    """A set line: coverage of its ink on a canvas, and the box of every character on it."""

    def __init__(
        self, rng: np.random.Generator, writer: LineText, kind: str, face: Face, text: str
    ) -> None:
        self.rng, self.kind, self.face, self.text = rng, kind, face, text
        self.old = kind == "old" or (kind in ("book", "rare") and chance(rng, 0.35))
        typed = kind == "typescript"
        self.ligatures = face.style in ("old", "serif") and chance(rng, 0.6)
        self.tracking = between(rng, 0.04, 0.3) * EM if chance(rng, 0.06) else 0.0
        self.tracking += rng.normal(0, 0.006) * EM
        # Lines that are set to full width have wide or narrow gaps.
        self.gap = between(rng, 0.68, 1.7) if self.old or chance(rng, 0.3) else 1.0
        self.shake = between(rng, 0, 1.0) if typed else between(rng, 0, 0.8) * self.old
        self.strike = between(rng, 0, 0.55) if typed or chance(rng, 0.1) else 0.0
        self.wave = between(rng, 0, 0.05) * EM if self.old else 0.0, between(rng, 4, 20) * EM
        placed, width = self._place(text)
        self.ink = np.zeros((4 * EM, int(width) + 2 * _SIDE), np.uint8)
        self.boxes = self._draw(placed, _BASE)
        self.width = width
        low = min((box[1] for box in self.boxes), default=_BASE - face.x_height)
        high = max((box[3] for box in self.boxes), default=_BASE)
        self.top, self.bottom = low, high
        if chance(rng, 0.65 if self.old else 0.4):
            self._neighbours(writer)
        if chance(rng, 0.05) and kind != "old":
            self._rule()

    def _place(self, text: str) -> tuple[list[tuple[str, float]], float]:
        """What is drawn and where its pen is, from 0, and the width of the line."""
        parts = clusters(text)
        if self.ligatures:
            for letters, sign in _LIGATURES.items():
                if letters in text and self.face.has(sign) and letters != "st":
                    parts = clusters("".join(parts).replace(letters, sign))
        placed, x = [], 0.0
        for part, after in itertools.zip_longest(parts, parts[1:], fillvalue=" "):
            placed.append((part, x))
            x += self.face.advance(part + after) if len(part) == 1 else self._wide(part)
            x += self.tracking
            if part == " ":
                # A gap that is much narrower than a space would be read as none.
                x += (self.gap - 1) * self.face.advance("  ")
        return placed, max(x, 1.0)

    def _wide(self, part: str) -> float:
        return self.face.advance(part[0] + " ")

    def _draw(self, placed: list[tuple[str, float]], base: int) -> list[Box]:
        """Draws characters with their baseline on a row; parts beyond the canvas are left out."""
        count, boxes = len(placed), []
        shake = self.rng.normal(0, 1, (count, 2)) * self.shake * (0.35, 0.5)
        weak = 1 - self.strike * self.rng.random(count)
        tall, long = self.wave
        for number, (part, pen) in enumerate(placed):
            if part == " ":
                continue
            glyph = self.face.glyph(part)
            high, wide = glyph.ink.shape
            if not high or not wide:
                continue
            sway = tall * np.sin((pen + base * 7) / long)
            x = int(_SIDE + pen + shake[number, 0] + 0.5) + glyph.left
            y = int(base + sway + shake[number, 1] + 0.5) + glyph.top
            top, left = max(-y, 0), max(-x, 0)
            part_ink = glyph.ink[top:, left:] if top or left else glyph.ink
            if self.strike:
                part_ink = (part_ink * weak[number]).astype(np.uint8)
            here = self.ink[max(y, 0) : y + high, max(x, 0) : x + wide]
            if here.size:
                np.maximum(here, part_ink[: here.shape[0], : here.shape[1]], out=here)
                boxes.append((x, y, x + wide, y + high))
        return boxes

    def _neighbours(self, writer: LineText) -> None:
        """Draws the lines above and below; how much of them is seen depends on the margins."""
        rng = self.rng
        pitch = int(EM * between(rng, 0.9 if self.old else 1.02, 1.5))
        for base in (_BASE - pitch, _BASE + pitch):
            if chance(rng, 0.15):
                continue
            words = writer.some("french", 2 + int(self.width / (3 * EM)))
            text = " ".join(word for word in words if self.face.has(word))
            text = text.upper() if self.text.isupper() and self.text.isascii() else text
            placed, _ = self._place(text)
            start = rng.normal(0, 0.3 * EM)
            last = self.width + EM
            self._draw([(part, x + start) for part, x in placed if x + start < last], base)

    def _rule(self) -> None:
        """A rule under the line, above it or at one of its ends."""
        rng, thick = self.rng, int(self.rng.integers(1, 4))
        kind = pick(rng, "under", "under", "over", "end")
        tone = int(between(rng, 120, 255))
        if kind == "end":
            x = pick(rng, _SIDE - int(0.2 * EM), self.ink.shape[1] - _SIDE + int(0.15 * EM))
            self.ink[:, x : x + thick] = tone
            return
        y = self.bottom + 2 if kind == "under" else self.top - int(0.15 * EM) - thick
        y += int(between(rng, 0, 0.12) * EM)
        self.ink[int(y) : int(y) + thick, _SIDE // 2 : -_SIDE // 2] = tone

    def crop(self) -> tuple[np.ndarray, tuple[int, int]]:
        """A random cut around the line: a matrix (2, 3) from the canvas, and (height, width).

        All ink of the line lies within the cut.
        """
        rng = self.rng
        tall = exp_between(rng, 20, 50) if self.kind == "receipt" else exp_between(rng, 26, 50)
        tight = weighted(rng, {0.03: 2, 0.1: 3, 0.2: 3, 0.4: 1.2})
        left, top, right, bottom = tight * EM * (0.2 + 1.4 * rng.random(4))
        y0, y1 = self.top, self.bottom
        if chance(rng, 0.65):
            # Outlines of lines have room for ascenders and descenders, whether there are any.
            y0, y1 = min(y0, _BASE - int(0.72 * EM)), max(y1, _BASE + int(0.2 * EM))
        boxes = np.array(self.boxes or [(_SIDE, self.top, _SIDE + 1, self.bottom)], float)
        x0, x1 = boxes[:, 0].min(), boxes[:, 2].max()
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)
        # A long line that is turned by much would be thin in a high crop.
        most = np.degrees(np.arctan(0.3 * EM / max(x1 - x0, 1.0)))
        turn = np.deg2rad(np.clip(rng.normal(0, 0.6), -most, most))
        lean = rng.normal(0, 0.035) + (0.2 if chance(rng, 0.03) else 0.0)
        narrow = between(rng, 0.62, 1.25) if self.kind == "receipt" else between(rng, 0.82, 1.15)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = matrix @ np.array([[narrow, -lean], [0.0, 1.0]])
        moved = corners @ matrix.T
        low, high = moved.min(axis=0) - (left, top), moved.max(axis=0) + (right, bottom)
        # A line that is too narrow for its text has fewer frames than CTC needs.
        need = 1.2 * STRIDE * least_frames(self.text) / HEIGHT * (high[1] - low[1])
        wider = max(1.0, need / (high[0] - low[0]))
        matrix, low, high = matrix * [[wider], [1]], low * (wider, 1), high * (wider, 1)
        scale = tall / (high[1] - low[1])
        size = np.maximum(np.ceil((high - low) * scale).astype(int), 4)
        shift = -low * scale
        return np.column_stack([matrix * scale, shift]), (int(size[1]), int(size[0]))


def exp_between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between low and high, its logarithm uniformly distributed."""
    return float(np.exp(between(rng, np.log(low), np.log(high))))


def _photograph(rng: np.random.Generator, line: _Setting) -> MadeCrop:
    """Prints a set line on paper, and scans the part of the paper that the line is on."""
    matrix, (height, width) = line.crop()
    ink, kind = line.ink, line.kind
    if chance(rng, {"receipt": 0.16, "typescript": 0.06}.get(kind, 0.0)):
        ink = wear.dots(rng, ink)
    if line.old and chance(rng, 0.5):  # much ink on damp paper
        ink = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    scale = float(matrix[1, 1])
    if scale < 0.8:
        ink = cv2.GaussianBlur(ink, (0, 0), 0.4 / scale)
    ink = cv2.warpAffine(ink, matrix, (width, height), flags=cv2.INTER_LINEAR)
    ink = ink.astype(np.float32) / 255
    worn = between(rng, 0.3, 1.0) if line.old else between(rng, 0.0, 0.45)
    ink = wear.press(rng, ink, wear=worn)
    if kind == "receipt":
        ink = wear.thermal(rng, ink)
    sheet = wear.paper(rng, ink.shape, old=line.old)
    if chance(rng, 0.3 if line.old else 0.08):  # the other side of the leaf shows through
        behind = cv2.GaussianBlur(
            np.roll(ink[::-1, ::-1], height // 3, axis=0), (0, 0), height / 25
        )
        sheet = sheet - between(rng, 0.04, 0.2) * behind
    light = float(sheet.mean())
    faint = chance(rng, 0.25 if kind == "receipt" else 0.06)
    dark = light - between(rng, 0.25, 0.5) if faint else light * 0.45 * rng.random() ** 1.5
    image = sheet + (dark - sheet) * ink
    image = wear.scan(rng, image)
    if kind in ("office", "receipt", "rare") and chance(rng, 0.05):
        image = 1 - image
    grey = np.clip(image, 0, 1)
    if chance(rng, 0.15):
        grey = wear.tinted(rng, grey)
    ends = np.array([(_SIDE, _BASE), (_SIDE + line.width, _BASE)])
    boxes = [_moved(matrix, box) for box in line.boxes]
    return MadeCrop(
        (grey * 255 + 0.5).astype(np.uint8),
        line.text,
        kind,
        line.face.name,
        int(rng.integers(35, 96)),
        tuple((ends @ matrix[:, :2].T + matrix[:, 2]).ravel().round(1).tolist()),
        tuple(boxes),
    )


def _moved(matrix: np.ndarray, box: Box) -> Box:
    """The upright box of a moved box."""
    x0, y0, x1, y1 = box
    points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) @ matrix[:, :2].T + matrix[:, 2]
    return tuple(np.concatenate([points.min(axis=0), points.max(axis=0)]).round(1).tolist())
