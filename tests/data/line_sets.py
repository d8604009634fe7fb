"""Pages of text lines made on the spot: black bars on plain paper."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

BOXES = [(20, 20, 180, 40), (20, 60, 150, 80)]


def corners(box):
    x0, y0, x1, y1 = box
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def drawn_page(path: Path, *, size=(320, 240), boxes=BOXES, paper=255, ignore=()) -> dict:
    """Draws a page with a black bar in each box; returns its dataset dict."""
    pixels = np.full((size[1], size[0], 3), paper, np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return {
        "file_name": str(path),
        "image_id": path.name,
        "width": size[0],
        "height": size[1],
        "lines": [
            {"polygon": corners(box), "text": f"line {index}", "ignore": index in ignore}
            for index, box in enumerate(boxes)
        ],
    }


def hub(folder: Path, *, name="train.jsonl", pages=2, change=None, **options) -> Path:
    """Writes a hub file with drawn pages; `change` edits the records before they are written."""
    records = []
    for index in range(pages):
        page = drawn_page(folder / "images" / f"{index}.png", **options)
        about = {key: page[key] for key in ("width", "height", "lines")}
        records.append({"path": f"images/{index}.png", **about})
    if change is not None:
        change(records)
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path
