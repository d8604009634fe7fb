"""Small COCO data sets made on the spot, for the tests of the data layer."""

import copy
import json
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 1, "name": "text"}, {"id": 2, "name": "figure"}]


def page(path: Path, *, width: int = 60, height: int = 80, seed: int = 0) -> Path:
    """A page of noise; the format follows from the file's ending."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def document(**changes) -> dict:
    """A COCO document of two pages (60 x 80 pixels) and three boxes; `changes` replace its keys."""
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 60, "height": 80},
            {"id": 2, "file_name": "b.jpg", "width": 60, "height": 80},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 6, 20, 30], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [30, 40, 25, 35], "iscrowd": 0},
            {"id": 3, "image_id": 2, "category_id": 1, "bbox": [0, 0, 60, 80], "iscrowd": 0},
        ],
        "categories": copy.deepcopy(CATEGORIES),
        **changes,
    }


def write_set(
    folder: Path, content: dict | None = None, *, pages: bool = True
) -> tuple[Path, Path]:
    """Write annotations.json and images/ into `folder`; returns the two paths."""
    content = document() if content is None else content
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    if pages:
        page(images / "a.jpg", seed=1)
        page(images / "b.jpg", seed=2)
    path = folder / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path, images
