"""Checks a data set, and writes a repaired copy; the original is not changed."""

import json
import math
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from graphkd.data.check.boxes import as_box
from graphkd.data.check.clean import CleanPage, CleanSet, clean
from graphkd.data.check.document import NotCoco, read_document
from graphkd.data.check.files import progress
from graphkd.data.check.problems import Problem, count_by_kind
from graphkd.data.images import read_page, wrong_extension
from graphkd.errors import UserError
from graphkd.io import NewFolder

JSON_NAME = "annotations.json"
IMAGES_NAME = "images"


@dataclass(frozen=True)
class Report:
    """The result of a check; `pages` and `boxes` are the numbers before cleaning."""

    json_file: str
    image_root: str
    pages: int
    boxes: int
    cleaned: CleanSet

    @property
    def clean(self) -> bool:
        """Whether there are no findings except notes."""
        return not self.cleaned.counted

    def to_dict(self) -> dict[str, Any]:
        """The result for a json file: totals, counts by kind, and every finding with its place."""
        usable = self.cleaned.pages
        return {
            "json": self.json_file,
            "images": self.image_root,
            "clean": self.clean,
            "pages": self.pages,
            "boxes": self.boxes,
            "usable_pages": len(usable),
            "usable_boxes": sum(len(page.annotations) for page in usable),
            "counts": count_by_kind(self.cleaned.problems),
            "problems": [{**asdict(p), "level": p.level} for p in self.cleaned.problems],
        }


def check(
    json_file: str | Path,
    image_root: str | Path,
    *,
    classes: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
    decode: bool = True,
    corners: bool = False,
) -> Report:
    """Checks a COCO data set: the json, every image and every box.

    Args:
        json_file: the COCO json.
        image_root: the folder that file names are relative to.
        classes: the class names with which the data set is registered; None accepts any.
        category_ids: the ids of `classes`, in the same order; None accepts any.
        decode: decode every image; otherwise only headers and end marks are checked.
        corners: read boxes as x1, y1, x2, y2.

    Raises:
        UserError: the json file does not exist. A damaged one is a finding and no error.
    """
    where = {"json_file": str(json_file), "image_root": str(image_root)}
    try:
        document = read_document(json_file)
    except NotCoco as error:
        found = CleanSet(problems=[Problem("not_coco", str(error))])
        return Report(**where, pages=0, boxes=0, cleaned=found)
    if corners:
        document = corners_to_sizes(document)
    pages, boxes = len(document["images"]), len(document["annotations"])
    names = [category.get("name") for category in document["categories"]]
    cleaned = clean(document, image_root, decode=decode)
    if classes is not None and sorted(map(str, names)) != sorted(classes):
        text = f"the classes are {', '.join(map(str, names))}; expected: {', '.join(classes)}"
        cleaned.problems.insert(0, Problem("wrong_classes", text))
    elif category_ids is not None and cleaned.error is None:
        found = {category["id"]: category["name"] for category in cleaned.categories}
        expected = dict(zip(category_ids, classes, strict=True))
        if found != expected:
            text = f"the class ids are {found}; expected: {expected}"
            cleaned.problems.insert(0, Problem("wrong_classes", text))
    return Report(**where, pages=pages, boxes=boxes, cleaned=cleaned)


def corners_to_sizes(document: dict[str, Any]) -> dict[str, Any]:
    """Converts boxes x1, y1, x2, y2 to x, y, width, height; unreadable boxes do not change."""
    for annotation in document["annotations"]:
        box, _, kind = as_box(annotation.get("bbox"))
        if kind is None:
            annotation["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    return document


def write_fixed(cleaned: CleanSet, out: str | Path) -> list[Problem]:
    """Writes the usable part of a data set as OUT/annotations.json and OUT/images.

    Ordinary images are copied unchanged. Rotated, transparent, 16-bit, CMYK and multi-page files
    are converted to upright 8-bit PNG files. A page that is listed twice is listed once, with the
    boxes of both entries.

    Args:
        cleaned: the result of `clean` with `inspect`.
        out: a new or empty folder. It appears only when everything is written.

    Returns:
        The problems that a check of the copy finds, without notes; empty if it is clean.

    Raises:
        UserError: the set has an error that cannot be repaired, or `out` is not empty.
    """
    if cleaned.error is not None:
        raise UserError(f"cannot be repaired: {cleaned.error.line()}")
    if any(p.kind == "boxes_look_like_corners" for p in cleaned.problems):
        raise UserError(
            "boxes look like x1, y1, x2, y2: use --boxes corners to convert them, "
            "or --boxes xywh if they are correct"
        )
    if not cleaned.pages:
        raise UserError("no page of this data set can be used: there is nothing to write")
    names: set[str] = set()
    cleaned.pages = merge_listings(cleaned.pages)
    with NewFolder(out) as draft:
        with progress("writing the copy", len(cleaned.pages)) as bar:
            for page in cleaned.pages:
                page.entry["file_name"] = write_page(page, draft / IMAGES_NAME, names)
                bar.update()
        write_document(draft / JSON_NAME, cleaned.document())
    folder = Path(out)
    return clean(read_document(folder / JSON_NAME), folder / IMAGES_NAME).counted


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Writes a COCO document; NaN and infinity in fields that are not checked become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except ValueError:  # only then, because going over a big set in Python is slow
        text = json.dumps(_legal(document), ensure_ascii=False, allow_nan=False)
    # A lone surrogate is allowed in json but not in UTF-8, so it is written as an escape.
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def _legal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _legal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_legal(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def merge_listings(pages: list[CleanPage]) -> list[CleanPage]:
    """Joins entries of the same file: the first one gets the additional boxes of the others.

    Raises:
        UserError: two entries of one file have different sizes.
    """
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
                f"{page.entry['id']} with two different sizes; delete one of the two by hand"
            )
        known = {(a["category_id"], *a["bbox"]) for a in kept.annotations}
        kept.annotations.extend(
            {**a, "image_id": kept.entry["id"]}
            for a in page.annotations
            if (a["category_id"], *a["bbox"]) not in known
        )
    return list(first.values())


def write_page(page: CleanPage, folder: Path, names: set[str]) -> str:
    """Copies or converts one image; returns its new name relative to `folder`."""
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
