"""A contact sheet of one page under every damage, with its boxes; no detector."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from graphkd.robustness.damages import KINDS, STRENGTHS, damage, moved_box

_PAD = 8
_LINE = 22


def contact_sheet(
    image: np.ndarray,
    outlines: Sequence[np.ndarray],
    *,
    kinds: Sequence[str] = KINDS,
    strengths: Sequence[int] = STRENGTHS,
    seed: int = 0,
    cell: int = 380,
) -> Image.Image:
    """One page damaged in every way, two kinds a row; the undamaged page comes last.

    Args:
        image: uint8 (H, W, 3) RGB.
        outlines: corners (N, 2) of each object in pixels; drawn where the damage moves them.
        kinds: from `KINDS`.
        strengths: from `STRENGTHS`.
        seed: of the damage.
        cell: pixels of a picture's longer side.
    """
    pictures = [
        (f"{kind} {strength}", _picture(image, outlines, kind, strength, seed, cell))
        for kind in kinds
        for strength in strengths
    ]
    pictures.append(("undamaged", _shrunk(Image.fromarray(image), cell)))
    columns = min(2 * len(strengths), len(pictures))
    rows = -(-len(pictures) // columns)
    width = max(picture.width for _, picture in pictures) + _PAD
    height = max(picture.height for _, picture in pictures) + _PAD + _LINE
    sheet = Image.new("RGB", (columns * width + _PAD, rows * height + _PAD), "#d0d0d0")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for number, (title, picture) in enumerate(pictures):
        x, y = _PAD + number % columns * width, _PAD + number // columns * height
        pen.text((x, y), title, fill="black", font=font)
        sheet.paste(picture, (x, y + _LINE))
    return sheet


def _picture(image, outlines, kind: str, strength: int, seed: int, cell: int) -> Image.Image:
    damaged = damage(image, kind=kind, strength=strength, seed=seed)
    picture = _shrunk(Image.fromarray(damaged.image), cell)
    scale = picture.width / damaged.image.shape[1], picture.height / damaged.image.shape[0]
    pen = ImageDraw.Draw(picture)
    for outline in outlines:
        box = moved_box(damaged, outline)
        if box is not None:
            pen.rectangle([v * scale[i % 2] for i, v in enumerate(box)], outline="#e6194b")
    return picture


def _shrunk(picture: Image.Image, cell: int) -> Image.Image:
    factor = cell / max(picture.size)
    size = [max(1, round(side * factor)) for side in picture.size]
    return picture.resize(
        size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
    )
