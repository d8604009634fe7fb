"""Results as COCO json, written while pages come in and without keeping them in memory."""

import itertools
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from graphkd.document import Line, Page
from graphkd.io import replacing


class CocoWriter:
    """Writes `coco.json` (images, categories, annotations with score) and `coco_results.json`.

    An annotation is one of `Page.results`; lines have their polygon as `segmentation`. Entries wait
    in one temporary file each; `finish` puts the two documents together, so that a reader never
    meets half of one. Categories are numbered from 1, boxes are x, y, width, height. `reserve` is
    called with the bytes that a page will take in them; where it raises, the page is left out.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, reserve: Callable[[int], None]):
        self._folder, self._reserve = folder, reserve
        self._categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
        self._numbers = {category["name"]: category["id"] for category in self._categories}
        self._images = tempfile.TemporaryFile(dir=folder)
        self._annotations = tempfile.TemporaryFile(dir=folder)
        self._pages = self._results = 0

    def add(self, page: Page, name: str, *, several: bool) -> None:
        """Keeps one page; `several`: its file has more pages, so its name gets the number."""
        number = self._pages + 1
        image = {
            "id": number,
            "file_name": f"{page.source}#page={page.number}" if several else page.source,
            "width": page.width,
            "height": page.height,
            "source": page.source,
            "page": page.number,
            "name": name,
        }
        size = _put(self._images, image)
        results = list(page.results)
        for place, (label, result) in enumerate(results, start=self._results + 1):
            x1, y1, x2, y2 = result.box
            entry = {
                "id": place,
                "image_id": number,
                "category_id": self._numbers[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": result.score,
            }
            if isinstance(result, Line):
                x, y = np.array(result.polygon).T
                entry["area"] = float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)
                entry["segmentation"] = [[value for point in result.polygon for value in point]]
            size += 2 * _put(self._annotations, entry)  # they stand in both files
        self._reserve(size)
        self._pages, self._results = number, self._results + len(results)

    def finish(self) -> None:
        """Writes both files from what has been added."""
        with replacing(self._folder / "coco.json") as stream:
            stream.write(b'{"images": ')
            _copy_list(self._images, stream, self._pages)
            categories = json.dumps(self._categories, ensure_ascii=False)
            stream.write(f',\n"categories": {categories},\n"annotations": '.encode())
            _copy_list(self._annotations, stream, self._results)
            stream.write(b"}\n")
        with replacing(self._folder / "coco_results.json") as stream:
            _copy_list(self._annotations, stream, self._results, keys=_RESULT_KEYS)
            stream.write(b"\n")

    def close(self) -> None:
        """Gives the temporary files back."""
        self._images.close()
        self._annotations.close()


_RESULT_KEYS = ("image_id", "category_id", "bbox", "segmentation", "score")


def _put(stream: IO[bytes], entry: dict[str, Any]) -> int:
    line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    stream.write(line)
    return len(line) + 1  # with the comma of a list


def _copy_list(
    source: IO[bytes], target: IO[bytes], count: int, *, keys: Sequence[str] | None = None
) -> None:
    """Writes the first `count` entries of a file of one entry a line as a json list."""
    source.seek(0)
    between = b"[\n"
    for line in itertools.islice(source, count):
        if keys is not None:
            entry = json.loads(line)
            line = json.dumps({key: entry[key] for key in keys if key in entry}).encode()
        target.write(between + line.rstrip(b"\n"))
        between = b",\n"
    target.write(b"[]" if between == b"[\n" else b"\n]")
    source.seek(0, os.SEEK_END)
