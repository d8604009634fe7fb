"""Writing finds as COCO json while pages come in, without keeping them in memory; no other form."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from graphkd.predict.results import Page


class CocoWriter:
    """Writes `coco.json` (images, categories, annotations with score) and `coco_results.json`.

    Entries wait in one temporary file each; `finish` puts the two documents together, so that a
    reader never meets half of one. Categories are numbered from 1, boxes are x, y, width, height.
    """

    def __init__(self, folder: Path, classes: Sequence[str]):
        self._folder = folder
        self._categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
        self._numbers = {category["name"]: category["id"] for category in self._categories}
        self._images = tempfile.TemporaryFile(dir=folder)
        self._annotations = tempfile.TemporaryFile(dir=folder)
        self._pages = self._regions = 0

    def add(self, page: Page, name: str, *, several: bool) -> None:
        """Keeps one page; `several`: its file has more pages, so its name gets the number."""
        self._pages += 1
        _put(
            self._images,
            {
                "id": self._pages,
                "file_name": f"{page.source}#page={page.number}" if several else page.source,
                "width": page.width,
                "height": page.height,
                "source": page.source,
                "page": page.number,
                "name": name,
            },
        )
        for region in page.regions:
            self._regions += 1
            x1, y1, x2, y2 = region.box
            width, height = x2 - x1, y2 - y1
            entry = {
                "id": self._regions,
                "image_id": self._pages,
                "category_id": self._numbers[region.label],
                "bbox": [x1, y1, width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": region.score,
            }
            _put(self._annotations, entry)

    def finish(self) -> None:
        """Writes both files from what has been added."""
        with _replacing(self._folder / "coco.json") as stream:
            stream.write(b'{"images": ')
            _copy_list(self._images, stream)
            categories = json.dumps(self._categories, ensure_ascii=False)
            stream.write(f',\n"categories": {categories},\n"annotations": '.encode())
            _copy_list(self._annotations, stream)
            stream.write(b"}\n")
        with _replacing(self._folder / "coco_results.json") as stream:
            _copy_list(self._annotations, stream, keys=_RESULT_KEYS)
            stream.write(b"\n")

    def close(self) -> None:
        """Gives the temporary files back."""
        self._images.close()
        self._annotations.close()


_RESULT_KEYS = ("image_id", "category_id", "bbox", "score")


def _put(stream: IO[bytes], entry: dict[str, Any]) -> None:
    stream.write(json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _copy_list(source: IO[bytes], target: IO[bytes], *, keys: Sequence[str] | None = None) -> None:
    """Writes a file of one entry a line as a json list."""
    source.seek(0)
    between = b"[\n"
    for line in source:
        if keys is not None:
            entry = json.loads(line)
            line = json.dumps({key: entry[key] for key in keys}).encode()
        target.write(between + line.rstrip(b"\n"))
        between = b",\n"
    target.write(b"[]" if between == b"[\n" else b"\n]")
    source.seek(0, os.SEEK_END)


class _replacing:
    """A file to write that replaces `path` in one step when the block ends well."""

    def __init__(self, path: Path):
        self._path, self._temporary = path, path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> IO[bytes]:
        self._stream = open(self._temporary, "wb")
        return self._stream

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._stream.close()
        if kind is None:
            os.replace(self._temporary, self._path)
        else:
            self._temporary.unlink(missing_ok=True)
