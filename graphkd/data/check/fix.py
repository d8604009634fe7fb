"""Writing a repaired copy of a data set; the source is only read."""

import hashlib
import json
import math
import os
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from graphkd.data.check.clean import CleanPage, CleanSet, clean
from graphkd.data.check.document import read_document
from graphkd.data.check.problems import Problem
from graphkd.data.images import read_page, wrong_extension
from graphkd.errors import UserError

JSON_NAME = "annotations.json"
IMAGES_NAME = "images"


def cache_file(name: str, document: dict[str, Any]) -> Path:
    """Where a cleaned document is kept for scoring; its content is part of the file name."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(json.dumps(document).encode("utf-8", "replace")).hexdigest()[:16]
    return Path(home) / "graphkd" / "clean" / f"{name}-{digest}.json"


def write_fixed(
    cleaned: CleanSet,
    out: str | Path,
    *,
    boxes_confirmed: bool = False,
    advance: Callable[[int], None] | None = None,
) -> list[Problem]:
    """Write the usable part of a data set as a clean one: OUT/annotations.json and OUT/images.

    Plain pages are copied byte by byte. Turned, transparent, 16-bit, CMYK and several-page files
    are written anew as 8-bit PNG, upright in the frame of their boxes; a page listed twice is
    listed once, with the boxes of both.

    Args:
        cleaned: the result of `clean` with images inspected.
        out: a folder that is not there yet or is empty; appears only when all is written.
        boxes_confirmed: the boxes are x, y, width, height even if they look like corners.
        advance: called with the number of images done since the last call.

    Returns:
        What a new check of the copy still finds, notes left out; empty where it is clean.

    Raises:
        UserError: the set has an error that cannot be repaired, or `out` is in use.

    """
    if cleaned.error is not None:
        raise UserError(f"cannot be repaired: {cleaned.error.line()}")
    if any(p.kind == "boxes_look_like_corners" for p in cleaned.problems) and not boxes_confirmed:
        raise UserError(
            "boxes look like x1, y1, x2, y2: say --boxes corners to convert them, "
            "or --boxes xywh if they are right as they are"
        )
    if not cleaned.pages:
        raise UserError("no page of this data set can be used: there is nothing to write")
    with new_folder(out) as draft:
        names: set[str] = set()
        cleaned.pages = merge_listings(cleaned.pages)
        for page in cleaned.pages:
            name = _write_page(page, draft / IMAGES_NAME, names)
            page.entry["file_name"] = name
            if advance is not None:
                advance(1)
        write_document(draft / JSON_NAME, cleaned.document())
    folder = Path(out)
    again = clean(read_document(folder / JSON_NAME), folder / IMAGES_NAME)
    return again.counted


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a COCO document; NaN and infinity in fields that no rule reads become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except ValueError:  # rare, so a big set is not walked over in Python for nothing
        text = json.dumps(_legal(document), ensure_ascii=False, allow_nan=False)
    # A lone surrogate is legal in json but not in UTF-8: written as the escape it came as.
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def _legal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _legal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_legal(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class new_folder:  # noqa: N801  (used as a function)
    """A folder that is filled only when the block ends without an error.

    An empty folder that is there already stays the same one (it may be a link, a mounted disk or
    the current folder): its content is written inside it and then moved up.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)
        self._place = self.out.resolve()
        if self._place.is_dir():
            self.draft = self._place / ".partial"
        else:
            self.draft = self._place.with_name(f"{self._place.name}.partial")

    def check(self) -> None:
        """Refuse a folder that cannot be a new one.

        Raises:
            UserError: it holds something, is no folder, or an earlier run left its draft.

        """
        if self.draft.exists():
            raise UserError(f"{self.draft} is left from an earlier run; delete it")
        if self._place.exists() and (not self._place.is_dir() or any(self._place.iterdir())):
            raise UserError(f"{self.out} is already there and not empty; name a new folder")

    def __enter__(self) -> Path:
        self.check()
        self.draft.mkdir(parents=True)  # an error where another run makes it at this moment
        return self.draft

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            shutil.rmtree(self.draft, ignore_errors=True)
            return
        try:
            self._publish()
        except OSError as error:
            raise UserError(
                f"all is written, but cannot be moved to {self.out} ({error.strerror}); "
                f"it is in {self.draft}"
            ) from None

    def _publish(self) -> None:
        if self.draft.parent != self._place:
            self.draft.rename(self._place)
            return
        for path in sorted(self.draft.iterdir(), key=Path.is_file):  # what lists the images, last
            path.rename(self._place / path.name)
        self.draft.rmdir()


def corners_to_sizes(document: dict[str, Any]) -> dict[str, Any]:
    """The document with every box read as x1, y1, x2, y2; unreadable boxes stay as they are."""
    from graphkd.data.check.boxes import as_box

    for annotation in document["annotations"]:
        box, _, kind = as_box(annotation.get("bbox"))
        if kind is None:
            annotation["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    return document


def merge_listings(pages: list[CleanPage]) -> list[CleanPage]:
    """One page a file: the boxes of later listings that differ are added to the first one."""
    first: dict[str, CleanPage] = {}
    for page in pages:
        key = str(page.path)
        if key not in first:
            first[key] = replace(page, annotations=list(page.annotations))
            continue
        kept = first[key]
        same_frame = all(kept.entry[side] == page.entry[side] for side in ("width", "height"))
        if page.annotations and not same_frame:
            raise UserError(
                f"{page.entry['file_name']} is listed as image {kept.entry['id']} and "
                f"{page.entry['id']} in two different frames; delete one of the two by hand"
            )
        known = {(a["category_id"], *a["bbox"]) for a in kept.annotations}
        kept.annotations.extend(
            {**a, "image_id": kept.entry["id"]}
            for a in page.annotations
            if (a["category_id"], *a["bbox"]) not in known
        )
    return list(first.values())


def _write_page(page: CleanPage, folder: Path, names: set[str]) -> str:
    """Copy or rewrite one image; returns its new name relative to `folder`."""
    header = page.file.header if page.file is not None else None
    redraw = header is not None and (header.orientation != 1 or header.unusual or header.frames > 1)
    relative = PurePosixPath(unicodedata.normalize("NFC", page.entry["file_name"]))
    relative = PurePosixPath(*(part for part in relative.parts if part not in (".", "..")))
    if redraw:
        relative = relative.with_suffix(".png")
    elif header is not None and wrong_extension(page.path, header):
        relative = relative.with_suffix(f".{header.format.lower()}")
    name = _free_name(relative, names)
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if redraw:
        from PIL import Image

        size = (page.entry["width"], page.entry["height"])
        Image.fromarray(read_page(page.path, size=size)).save(target)
    else:
        shutil.copyfile(page.path, target)
    return name


def _free_name(relative: PurePosixPath, names: set[str]) -> str:
    name, number = relative, 1
    while name.as_posix().casefold() in names:
        name = relative.with_name(f"{relative.stem}_{number}{relative.suffix}")
        number += 1
    names.add(name.as_posix().casefold())
    return name.as_posix()
