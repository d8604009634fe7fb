"""Flat signs for generated scenes: fonts, words and colours, and the exact box of every word."""

from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import reportlab
from PIL import ImageFont

from graphkd.synthesis.backgrounds import paint_color, texture
from graphkd.synthesis.styles import between, chance, pick, weighted
from graphkd.synthesis.words import Writer

# Fonts that come with packages, so that a scene is the same on every machine.
_REPORTLAB = (
    "_a______.pfb _ab_____.pfb _ai_____.pfb _eb_____.pfb _ebi____.pfb _er_____.pfb cob_____.pfb "
    "com_____.pfb Vera.ttf VeraBd.ttf VeraIt.ttf"
)
_MATPLOTLIB = (
    "DejaVuSans.ttf DejaVuSans-Bold.ttf DejaVuSans-BoldOblique.ttf DejaVuSansMono-Bold.ttf "
    "DejaVuSerif.ttf DejaVuSerif-Bold.ttf DejaVuSerif-Italic.ttf STIXGeneral.ttf "
    "STIXGeneralBol.ttf STIXGeneralBolIta.ttf cmb10.ttf cmss10.ttf"
)
SIGNS = (
    "SALE EXIT OPEN CLOSED ENTRANCE PARKING CAFE HOTEL BANK PHARMACY BAKERY MARKET TAXI BUS STOP "
    "INFORMATION TOILETS PLATFORM GATE LEVEL FLOOR LIFT STAIRS PULL PUSH CAUTION WARNING DANGER "
    "PRIVATE WELCOME NEW FREE OFFER SPECIAL TODAY FRESH BOOKS SHOES FASHION SPORT OPTICIAN DENTIST "
    "BARBER GALLERY MUSEUM THEATRE CINEMA LIBRARY SCHOOL POLICE STATION AIRPORT NORTH SOUTH EAST "
    "WEST STREET AVENUE ROAD SQUARE LANE SERVICE CENTRE HOUSE GARDEN COFFEE PIZZA NOODLES JUICE TEA"
).split()


@lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """Paths of the fonts that scenes draw from."""
    one = Path(reportlab.__file__).parent / "fonts"
    two = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [*(one / name for name in _REPORTLAB.split())]
    return tuple(map(str, [*files, *(two / name for name in _MATPLOTLIB.split())]))


@lru_cache(maxsize=400)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


def word_mask(text: str, file: str, size: int) -> tuple[np.ndarray, int]:
    """Draws a word.

    Args:
        text: the word; characters of ASCII.
        file: path of the font.
        size: type size in pixels.

    Returns:
        Coverage of its ink, uint8 (H, W) without empty rows and columns at the rim, and the
        distance of its top from the baseline, upwards.
    """
    core, offset = _font(file, size).getmask2(text, mode="L", anchor="ls")
    mask = np.asarray(core, np.uint8).reshape(core.size[::-1])
    if not mask.size or mask.max() <= 60:
        return np.zeros((1, 1), np.uint8), 0
    rows, columns = np.flatnonzero(mask.max(axis=1) > 60), np.flatnonzero(mask.max(axis=0) > 60)
    inked = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inked, -(offset[1] + int(rows[0]))


class Sign:
    """A flat sign: coverage of its text, and the box and text of every word, in its own pixels."""

    def __init__(self, rng: np.random.Generator, writer: Writer, size: float) -> None:
        self.rng, self.writer = rng, writer
        self.words: list[tuple[np.ndarray, str]] = []  # boxes x0 y0 x1 y1
        self.kind = weighted(rng, {"board": 5, "bare": 2.2, "lit": 1.2, "notice": 1.2})
        rows = int(rng.integers(1, 4)) if self.kind != "notice" else int(rng.integers(4, 10))
        file = pick(rng, *font_files())
        align = pick(rng, 0.0, 0.5, 0.5)
        stretch = between(rng, 0.72, 1.2)
        pad = int(size * between(rng, 0.25, 0.8)) + 2
        placed, top, wide = [], pad, 1
        for number in range(rows):
            if self.kind == "notice":
                points = size * (1.3 if number == 0 else 0.55)
            else:
                points = size * (1.0 if number == 0 else between(rng, 0.35, 1.0))
                file = pick(rng, *font_files()) if chance(rng, 0.25) else file
            masks = [
                (text, *word_mask(text, file, max(5, int(points)))) for text in self._row(number)
            ]
            up, x, row = max(up for _, _, up in masks), 0, []
            space = max(2, int(points * between(rng, 0.24, 0.45) * stretch))
            for text, mask, rise in masks:
                mask = cv2.resize(mask, (max(1, round(mask.shape[1] * stretch)), mask.shape[0]))
                row.append((text, mask, x, top + up - rise))
                x += mask.shape[1] + space
            placed.append((row, x - space))
            wide = max(wide, x - space)
            bottom = max(y + mask.shape[0] for _, mask, _, y in row)
            top = bottom + max(2, int(points * between(rng, 0.2, 0.5)))
        self.ink = np.zeros((bottom + pad, wide + 2 * pad), np.uint8)
        for row, length in placed:
            for text, mask, x, y in row:
                left = pad + int((wide - length) * align) + x
                box = np.array([left, y, left + mask.shape[1], y + mask.shape[0]])
                part = self.ink[y : box[3], left : box[2]]
                np.maximum(part, mask, out=part)
                self.words.append((box, text))

    def _row(self, number: int) -> list[str]:
        """Words of one row: a sign's word, a name, a price, a number or a short phrase."""
        rng, writer = self.rng, self.writer
        if self.kind == "notice" and number:
            return writer.words(int(rng.integers(2, 7)))
        kind = weighted(rng, {"sign": 5, "phrase": 3, "name": 1.5, "price": 1, "number": 0.7})
        if kind == "price":
            return [
                pick(
                    rng,
                    f"${rng.integers(1, 99)}.{rng.integers(10, 99)}",
                    f"{rng.integers(10, 80)}%",
                )
            ]
        if kind == "number":
            return [str(rng.integers(1, 99)), str(rng.integers(100, 9999))][
                : int(rng.integers(1, 3))
            ]
        if kind == "name":
            words = [
                writer.surname(),
                *pick(rng, [], ["&", "Co."], [pick(rng, *SIGNS).capitalize()]),
            ]
        elif kind == "sign":
            words = [pick(rng, *SIGNS) for _ in range(int(rng.integers(1, 3)))]
        else:
            words = writer.content(int(rng.integers(1, 4)))
        case = pick(rng, str.upper, str.upper, str.capitalize, str.lower)
        return [case(word) for word in words]

    def paint(self, behind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colours and coverage of the sign on a ground.

        Args:
            behind: the pixels that it covers, float32 (H, W, 3), 0 to 1.

        Returns:
            float32 (H, W, 3), 0 to 1, and (H, W, 1), 0 to 1.
        """
        rng, ink = self.rng, self.ink.astype(np.float32)[..., None] / 255
        height, width = self.ink.shape
        bare = self.kind in ("bare", "lit")
        tone = behind.mean(axis=(0, 1)) if bare else paint_color(rng, 0.0, 1.0)
        if self.kind == "notice":
            tone = 0.75 + 0.25 * tone
        board = np.broadcast_to(tone, (height, width, 3)).astype(np.float32)
        cover = ink.copy() if bare else np.ones((height, width, 1), np.float32)
        if not bare:
            board = board * (1 + 0.06 * texture(rng, height, width)[..., None])
            board *= np.linspace(1, between(rng, 0.7, 1), height, dtype=np.float32)[:, None, None]
            if chance(rng, 0.35):
                self._frame(board)
        # On a busy ground some letters of one colour would vanish: they get an outline.
        busy = bare and float(behind.mean(axis=2).std()) > 0.1
        light = float(tone.mean())
        color = self._ink_color(light)
        if self.kind == "lit" or busy or chance(rng, 0.2):
            board = board.copy()
            self._halo(board, cover, color, shadow=not busy and chance(rng, 0.6))
        board = board + (color - board) * ink
        return board.astype(np.float32), np.maximum(cover, ink)

    def _frame(self, board: np.ndarray) -> None:
        line, color = (
            max(1, int(min(board.shape[:2]) * between(self.rng, 0.02, 0.05))),
            self.rng.random(3),
        )
        for side in (board[:line], board[-line:], board[:, :line], board[:, -line:]):
            side[:] = color

    def _ink_color(self, light: float) -> np.ndarray:
        """A colour that can be read on a ground of that brightness."""
        dark, rng = light > between(self.rng, 0.4, 0.6), self.rng
        for _ in range(20):
            color = paint_color(rng, 0.0, 0.4) if dark else paint_color(rng, 0.6, 1.0)
            if abs(float(color.mean()) - light) > 0.28:
                return color
        return np.full(3, 0.05 if dark else 0.97, np.float32)

    def _halo(
        self, board: np.ndarray, cover: np.ndarray, color: np.ndarray, *, shadow: bool
    ) -> None:
        """A shadow, an outline or the glow of lit letters, below the text."""
        size = max(1, min(box[3] - box[1] for box, _ in self.words) // 12)
        wide = cv2.dilate(self.ink, np.ones((2 * size + 1, 2 * size + 1), np.uint8))
        if self.kind == "lit":
            wide = cv2.GaussianBlur(wide, (0, 0), 2.0 * size + 0.5)
            tone = color * 0.6
        else:
            wide = np.roll(wide, (size, size), (0, 1)) if shadow else wide
            tone = np.full(3, 0.05 if color.mean() > 0.5 else 0.9, np.float32)
        wide = wide.astype(np.float32)[..., None] / 255
        board += (tone - board) * wide
        np.maximum(cover, wide, out=cover)
