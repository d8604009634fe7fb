"""A contact sheet: one page with every corruption, and its boxes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from graphkd.robustness.corruptions import KINDS, SEVERITIES, corrupt, moved_box

_PAD = 8
_LINE = 22


def contact_sheet(
    image: np.ndarray,
    outlines: Sequence[np.ndarray],
    *,
    kinds: Sequence[str] = KINDS,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    cell: int = 380,
) -> Image.Image:
    """One page with every corruption, two kinds per row; the clean page comes last.

    Args:
        image: uint8 (H, W, 3) RGB.
        outlines: corners (N, 2) of each object in pixels; their moved boxes are drawn.
        kinds: kinds out of `KINDS`.
        severities: severities out of `SEVERITIES`.
        seed: seed of the random draws.
        cell: longer side of a picture in pixels.
    """
    pictures = [
        (f"{kind} {severity}", _picture(image, outlines, kind, severity, seed, cell))
        for kind in kinds
        for severity in severities
    ]
    pictures.append(("clean", _shrunk(Image.fromarray(image), cell)))
    columns = min(2 * len(severities), len(pictures))
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


def _picture(image, outlines, kind: str, severity: int, seed: int, cell: int) -> Image.Image:
    corrupted = corrupt(image, kind=kind, severity=severity, seed=seed)
    picture = _shrunk(Image.fromarray(corrupted.image), cell)
    scale = picture.width / corrupted.image.shape[1], picture.height / corrupted.image.shape[0]
    pen = ImageDraw.Draw(picture)
    for outline in outlines:
        box = moved_box(corrupted, outline)
        if box is not None:
            pen.rectangle([v * scale[i % 2] for i, v in enumerate(box)], outline="#e6194b")
    return picture


def _shrunk(picture: Image.Image, cell: int) -> Image.Image:
    factor = cell / max(picture.size)
    size = [max(1, round(side * factor)) for side in picture.size]
    return picture.resize(
        size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
    )
