"""Grounds of generated scenes: made-up photographs, interiors, shelves and walls."""

import cv2
import numpy as np

from graphkd.synthesis.photos import (
    blend,
    buildings,
    grid,
    landscape,
    portrait,
    smooth_noise,
    still_life,
    surface,
)
from graphkd.synthesis.styles import between, chance, pick, weighted


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Grain of a surface: float32 (H, W), about unit spread."""
    few = rng.standard_normal((max(2, height // 3), max(2, width // 3)), dtype=np.float32)
    return cv2.resize(few, (width, height), interpolation=cv2.INTER_LINEAR)


def paint_color(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A colour of paint, cloth or stone, mostly pale: float32 (3,), brightness low to high."""
    strength = rng.random() ** 2
    tone = between(rng, low, high) + (rng.random(3) - 0.5) * strength
    return np.clip(tone, 0, 1).astype(np.float32)


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A ground without text: float32 (H, W, 3), 0 to 1."""
    makers = {
        interior: 4, shelves: 1.5, wall: 2.5, buildings: 1.5, landscape: 1, still_life: 0.7,
        surface: 0.6, portrait: 0.3,
    }  # fmt: skip
    # Drawn at half size: a photograph is not sharp down to the pixel, and it is four times faster.
    half = max(24, height // 2), max(24, width // 2)
    image = np.clip(weighted(rng, makers)(rng, *half), 0, 1).astype(np.float32)
    image = np.ascontiguousarray(image)
    if chance(rng, 0.7):
        panels(rng, image)
    if chance(rng, 0.4):
        clutter(rng, image)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image * (1 + 0.05 * texture(rng, height, width)[..., None]), 0, 1)


def _fill(image: np.ndarray, points: list, color: np.ndarray) -> None:
    cv2.fillPoly(image, [np.int32(points)], color.tolist(), cv2.LINE_AA)


def interior(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A hall in perspective: floor, ceiling with lamps, walls with windows and doors, people."""
    image = np.empty((height, width, 3), np.float32)
    at = np.array([width * between(rng, 0.3, 0.7), height * between(rng, 0.35, 0.6)])
    depth = between(rng, 0.12, 0.4)
    outer = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    inner = at + (outer - at) * depth
    tones = [paint_color(rng, 0.45, 0.85), paint_color(rng, 0.2, 0.8)]
    tones += [paint_color(rng, 0.25, 0.75), paint_color(rng, 0.2, 0.8)]
    image[:] = paint_color(rng, 0.1, 0.7)
    for side in range(4):
        after = (side + 1) % 4
        _fill(image, [outer[side], outer[after], inner[after], inner[side]], tones[side])
    # Floor and walls have parts whose edges run to the vanishing point.
    for side in (1, 2, 3):
        start, end = outer[side], outer[(side + 1) % 4]
        parts = int(rng.integers(3, 12))
        for number in range(parts):
            if not chance(rng, 0.45):
                continue
            edge = [
                start + (end - start) * share
                for share in (number / parts, (number + between(rng, 0.3, 1)) / parts)
            ]
            near, far = sorted((between(rng, depth, 1), between(rng, depth, 1)))
            points = [at + (edge[0] - at) * near, at + (edge[1] - at) * near]
            points += [at + (edge[1] - at) * far, at + (edge[0] - at) * far]
            _fill(image, points, np.clip(tones[side] * between(rng, 0.4, 1.6), 0, 1))
    for _ in range(int(rng.integers(0, 25))):
        # Lamps: smaller and closer together towards the back.
        reach = between(rng, depth, 1)
        x, y = at + (np.array([rng.random() * width, 0.0]) - at) * reach
        size = max(1, int(0.02 * width * reach))
        cv2.ellipse(
            image, (int(x), int(y)), (size, max(1, size // 2)), 0, 0, 360, (1.0, 1.0, 0.95), -1
        )
    for _ in range(int(rng.integers(0, 5))):
        _person(rng, image, between(rng, 0.15, 0.6))
    y = grid(height, width)[0]
    shine = (
        0.25
        * smooth_noise(rng, height, width, cells=2, octaves=2)
        * np.clip(y - at[1] / height, 0, 1)
    )
    return cv2.GaussianBlur(image, (0, 0), 0.7) + shine[..., None]


def _person(rng: np.random.Generator, image: np.ndarray, tall: float) -> None:
    """A standing figure: head, upper body and legs."""
    height, width = image.shape[:2]
    high = int(tall * height)
    x, foot = int(rng.integers(width)), int(height * between(rng, 0.75, 1.05))
    skin = np.array([0.8, 0.6, 0.5]) * between(rng, 0.4, 1.1)
    body, legs = paint_color(rng, 0.05, 0.9), paint_color(rng, 0.05, 0.5)
    parts = (
        (0.25, 0.09, 0.27, legs), (0.62, 0.13, 0.2, body), (0.9, 0.06, 0.08, skin),
        (0.94, 0.06, 0.06, paint_color(rng, 0.02, 0.3)),
    )  # fmt: skip
    for up, wide, tall_, color in parts:
        middle = (x, int(foot - up * high))
        axes = (max(1, int(wide * high)), max(1, int(tall_ * high)))
        cv2.ellipse(image, middle, axes, 0, 0, 360, color.tolist(), -1, cv2.LINE_AA)


def shelves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Shelves full of coloured packages."""
    image = np.empty((height, width, 3), np.float32)
    image[:] = paint_color(rng, 0.1, 0.5)
    y = 0
    while y < height:
        high, x = int(height * between(rng, 0.08, 0.25)) + 4, 0
        tone = paint_color(rng, 0.1, 1.0)
        while x < width:
            wide = int(high * between(rng, 0.2, 0.9)) + 2
            tone = tone if chance(rng, 0.6) else paint_color(rng, 0.1, 1.0)
            top = y + int(high * between(rng, 0.05, 0.3))
            cv2.rectangle(image, (x, top), (x + wide - 2, y + high - 3), tone.tolist(), -1)
            stripe = top + (y + high - top) * int(rng.integers(1, 4)) // 4
            cv2.line(image, (x, stripe), (x + wide - 2, stripe), paint_color(rng, 0, 1).tolist(), 2)
            x += wide
        cv2.line(image, (0, y + high), (width, y + high), (0.7, 0.7, 0.7), 3)
        y += high + 3
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), float(rng.normal(0, 6)), between(rng, 1.1, 1.8)
    )
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT)


def wall(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A wall of plaster, bricks, boards or tiles, evenly or unevenly lit."""
    y, x = grid(height, width)
    image = blend(
        paint_color(rng, 0.1, 0.9),
        paint_color(rng, 0.1, 0.9),
        between(rng, 0, 0.6) * (x + y) / 2,
    )
    image = image * (1 + 0.1 * smooth_noise(rng, height, width, cells=3, octaves=4)[..., None])
    kind = pick(rng, "plaster", "bricks", "boards", "tiles")
    if kind == "plaster":
        return image
    rows = int(rng.integers(5, 24))
    row = np.floor(y * rows)
    across = x * rows * (width / height) / {"bricks": 2.5, "boards": 12.0, "tiles": 1.0}[kind]
    if kind != "tiles":
        across = across + row * 0.5
    # Every brick has a tone of its own; the joints are lighter or darker than all.
    tones = rng.random((rows + 2, int(across.max()) + 2)).astype(np.float32)
    image = image * (0.85 + 0.3 * tones[row.astype(int), across.astype(int)])[..., None]
    joint = ((y * rows) % 1 < 0.1) | (across % 1 < (0.03 if kind == "boards" else 0.06))
    return np.where(joint[..., None], image * between(rng, 0.5, 1.4), image)


def panels(rng: np.random.Generator, image: np.ndarray) -> None:
    """Adds boxes, windows and boards of all sizes, in groups that share an edge and a tone."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(2, 9))):
        x, y = rng.random() * width, rng.random() * height
        wide, high = (height * np.exp(rng.normal(-2.2, 0.7, 2))).tolist()
        tone, slope = paint_color(rng, 0.0, 1.0), rng.normal(0, 0.12)
        border = chance(rng, 0.5)
        for number in range(int(rng.integers(1, 7))):
            left, right = x + number * wide * 1.1, x + (number * 1.1 + 1) * wide
            top = y + slope * (left - x), y + slope * (right - x)
            box = [(left, top[0]), (right, top[1]), (right, top[1] + high), (left, top[0] + high)]
            _fill(image, box, np.clip(tone * between(rng, 0.6, 1.3), 0, 1))
            if border:
                edge = (tone * 0.4).tolist()
                cv2.polylines(image, [np.int32(box)], True, edge, 1, cv2.LINE_AA)


def clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Adds things that are no text but have edges like it: stripes, rings, fences, arrows."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        x, y, size = (
            int(rng.integers(width)),
            int(rng.integers(height)),
            int(height * between(rng, 0.03, 0.2)) + 3,
        )
        color, line = paint_color(rng, 0, 1).tolist(), max(1, size // 10)
        kind = pick(rng, "bars", "ring", "arrow", "grid")
        if kind == "ring":
            cv2.circle(image, (x, y), size, color, line * 2, cv2.LINE_AA)
        elif kind == "arrow":
            cv2.arrowedLine(
                image, (x, y), (x + pick(rng, -3, 3) * size, y), color, line * 2, tipLength=0.4
            )
        else:
            step = max(3, size // int(rng.integers(2, 6)))
            for at in range(0, int(rng.integers(3, 14)) * step, step):
                cv2.line(image, (x + at, y), (x + at, y + size), color, line, cv2.LINE_AA)
                if kind == "grid":
                    cv2.line(image, (x, y + at), (x + size, y + at), color, line, cv2.LINE_AA)
