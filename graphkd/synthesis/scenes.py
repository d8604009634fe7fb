"""Makes one scene from a seed and an index: words on signs and walls, as a camera sees them.

The ground is a made-up photograph or interior. Signs are drawn flat, with the exact box of every
word, and put into the picture by a perspective transform; then light, blur and noise follow.
"""

import cv2
import numpy as np
from PIL import Image

from graphkd.synthesis.backgrounds import background, paint_color, texture
from graphkd.synthesis.page import MadeLine, MadePage
from graphkd.synthesis.signs import Sign
from graphkd.synthesis.styles import between, chance, pick, weighted
from graphkd.synthesis.words import Writer

SMALLEST = 8.0  # a word whose shorter side has fewer pixels is ignored, as nobody could read it


def make_scene(seed: int, index: int, *, long_side: int = 640) -> MadePage:
    """Makes scene `index` of the endless series `seed`; the same arguments give the same scene.

    Args:
        seed: names the series; splits use different ones.
        index: number of the scene in the series, from 0.
        long_side: pixels of the longer side.

    Returns:
        The scene, without regions. Its `lines` are words; `ignore` marks those that are too small,
        cut by the border or hidden. A few scenes have no text.
    """
    rng = np.random.default_rng([seed, index])
    short = int(long_side * pick(rng, 0.5625, 0.5625, 0.75, 1.0))
    width, height = (long_side, short) if chance(rng, 0.8) else (short, long_side)
    image = background(rng, height, width)
    writer, taken = Writer(rng), np.zeros((height, width), np.uint8)
    lines: list[MadeLine] = []
    for _ in range(int(rng.integers(0, 8))):
        # Most text is small, as in photographs that were not taken of it.
        size = long_side * float(np.exp(between(rng, np.log(0.014), np.log(0.13))))
        sign = Sign(rng, writer, size)
        matrix = _place(rng, sign.ink.shape, taken)
        if matrix is not None:
            image = _put(image, sign, matrix, lines)
    if chance(rng, 0.2):
        image, lines = _hide(rng, image, lines)
    image, blur = _camera(rng, image)
    lines = [line for line in (_finish(line, width, height, blur) for line in lines) if line]
    return MadePage(Image.fromarray(image), (), int(rng.integers(45, 93)), tuple(lines))


def _place(
    rng: np.random.Generator, shape: tuple[int, int], taken: np.ndarray
) -> np.ndarray | None:
    """A perspective transform of a sign to a free place in the picture; None if there is none."""
    flat, picture = _corners(*shape), np.array(taken.shape[::-1])
    degrees = weighted(rng, {rng.normal(0, 4): 8, rng.normal(0, 18): 2, 90.0: 0.5, -90.0: 0.5})
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    for _ in range(8):
        points = flat - flat.mean(axis=0)
        # One side of a sign that is seen at an angle is lower than the other.
        lean = rng.normal(0, 0.13)
        points[:, 1] *= np.array([1 + lean, 1 - lean, 1 - lean, 1 + lean])
        points[:, 0] *= between(rng, 0.6, 1.0) if chance(rng, 0.5) else 1.0
        points[:, 1] += points[:, 0] * rng.normal(0, 0.08)
        points = points @ np.array([[cos, sin], [-sin, cos]])
        points *= min(1.0, float((0.9 * picture / np.ptp(points, axis=0)).min()))
        reach = np.ptp(points, axis=0)
        over = 0.15 * reach if chance(rng, 0.06) else 0.0  # some signs are cut by the border
        low = rng.random(2) * (picture - reach + 2 * over) - over
        target = (points - points.min(axis=0) + low).astype(np.float32)
        place = np.zeros_like(taken)
        cv2.fillConvexPoly(place, target.astype(np.int32), 1)
        if not (place & taken).any():
            taken |= place
            return cv2.getPerspectiveTransform(flat, target)
    return None


def _corners(height: float, width: float) -> np.ndarray:
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)


def _put(image: np.ndarray, sign: Sign, matrix: np.ndarray, lines: list[MadeLine]) -> np.ndarray:
    """Paints a sign into the picture, and adds its words to `lines`."""
    height, width = image.shape[:2]
    high, wide = sign.ink.shape
    corners = cv2.perspectiveTransform(_corners(high, wide)[None], matrix)[0]
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.clip(
        np.ceil(corners.max(axis=0)).astype(int) + 1, (x0 + 1, y0 + 1), (width, height)
    )
    part = image[y0:y1, x0:x1]
    board, cover = sign.paint(part)
    moved = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]]) @ matrix
    size = (int(x1 - x0), int(y1 - y0))
    board = cv2.warpPerspective(
        board, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cover = cv2.warpPerspective(cover, moved, size, flags=cv2.INTER_LINEAR)[..., None]
    image[y0:y1, x0:x1] = part + (board - part) * cover
    for (left, top, right, bottom), text in sign.words:
        flat = np.float32([[(left, top), (right, top), (right, bottom), (left, bottom)]])
        points = cv2.perspectiveTransform(flat, matrix)[0]
        lines.append(MadeLine(tuple(map(tuple, points.tolist())), text))
    return image


def _hide(
    rng: np.random.Generator, image: np.ndarray, lines: list[MadeLine]
) -> tuple[np.ndarray, list[MadeLine]]:
    """Puts a pole or a person before the scene; words that it hides by a quarter are ignored."""
    height, width = image.shape[:2]
    hidden = np.zeros((height, width), np.uint8)
    x, wide = int(rng.integers(width)), max(2, int(width * between(rng, 0.01, 0.05)))
    if chance(rng, 0.5):
        cv2.line(
            hidden, (x, 0), (x + int(rng.normal(0, 0.1 * width)), height), 255, wide, cv2.LINE_AA
        )
    else:
        head = int(height * between(rng, 0.4, 0.8))
        cv2.ellipse(hidden, (x, head), (wide, int(1.4 * wide)), 0, 0, 360, 255, -1, cv2.LINE_AA)
        cv2.ellipse(
            hidden,
            (x, height),
            (int(2.4 * wide), height - head - wide),
            0,
            0,
            360,
            255,
            -1,
            cv2.LINE_AA,
        )
    cover = hidden.astype(np.float32)[..., None] / 255
    tone = paint_color(rng, 0.05, 0.6)
    image = image + (tone * (1 + 0.06 * texture(rng, height, width)[..., None]) - image) * cover
    kept = []
    for line in lines:
        inside = np.zeros_like(hidden)
        cv2.fillConvexPoly(inside, np.int32(line.polygon), 1)
        share = hidden[inside > 0].mean() / 255 if inside.any() else 0.0
        if share < 0.9:
            kept.append(MadeLine(line.polygon, line.text, bool(share > 0.25)))
    return image, kept


def _camera(rng: np.random.Generator, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Light, colour, blur and noise of a photograph; returns uint8 pixels and the blur."""
    height, width = image.shape[:2]
    size = max(height, width) / 640
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    turn = between(rng, 0, 6.28)
    light = 1 + between(rng, 0, 0.35) * (np.cos(turn) * x[None] + np.sin(turn) * y[:, None])
    if chance(rng, 0.25):  # the reflection of a lamp
        cx, cy, wide = between(rng, -1, 1), between(rng, -1, 1), between(rng, 0.02, 0.2)
        light += between(rng, 0.2, 0.7) * np.exp(
            -((x[None] - cx) ** 2 + (y[:, None] - cy) ** 2) / wide
        )
    tint = np.array([between(rng, 0.85, 1.12), 1.0, between(rng, 0.8, 1.12)], np.float32)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * between(rng, 0.2, 1.0)
    image = np.clip(image * light[..., None] * tint, 0, 1.2)
    image = (image * between(rng, 0.65, 1.05)) ** between(rng, 0.8, 1.3)
    blur = between(rng, 0.0, 1.3) * size
    if chance(rng, 0.12):  # the camera moved
        length = max(3, int(between(rng, 3, 9) * size) | 1)
        line = np.zeros((length, length), np.float32)
        end = np.deg2rad(between(rng, 0, 180))
        half = length // 2
        step = (int(half * np.cos(end)), int(half * np.sin(end)))
        cv2.line(line, (half - step[0], half - step[1]), (half + step[0], half + step[1]), 1.0)
        image = cv2.filter2D(image, -1, line / line.sum())
        blur = max(blur, length / 3)
    elif blur > 0.35:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    image = image + grain * between(rng, 0.004, 0.03)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), blur


def _finish(line: MadeLine, width: int, height: int, blur: float) -> MadeLine | None:
    """Clips a word to the picture; None if nothing is left. Words that are cut are ignored."""
    points = np.float32(line.polygon)
    whole = (points >= 0).all() and (points <= (width, height)).all()
    low = min(np.hypot(*(points[3] - points[0])), np.hypot(*(points[2] - points[1])))
    if not whole:
        area, shared = cv2.intersectConvexConvex(points, _corners(height, width))
        if area < 4:
            return None
        points = shared.reshape(-1, 2)
    ignore = line.ignore or not whole or bool(low < max(SMALLEST, 5 * blur))
    return MadeLine(tuple(map(tuple, points.round(2).tolist())), line.text, ignore)
