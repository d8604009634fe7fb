"""Label files of drawn crops: a black bar on white, as wide as the text is long."""

from pathlib import Path

import numpy as np
from PIL import Image

ROWS = (("book1/a.png", "one"), ("book1/b.png", "two words"), ("book2/c.png", "né 3"))


def draw(path: Path, text: str, *, height: int = 32, seed: int = 0) -> None:
    """Draws a line of 12 pixels a character; `seed` makes pictures of one text differ."""
    width = max(8, 12 * len(text)) * height // 32
    pixels = np.random.default_rng(seed + len(text)).integers(200, 255, (height, width), np.uint8)
    pixels[height // 3 : 2 * height // 3, 2:-2] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def crop_set(folder: Path, rows=ROWS, *, name="train.tsv", **options) -> Path:
    """Writes the pictures and the label file; returns its path."""
    for seed, (picture, text) in enumerate(rows):
        draw(folder / picture, text, seed=seed, **options)
    path = folder / name
    path.write_bytes("".join(f"{picture}\t{text}\n" for picture, text in rows).encode())
    return path
