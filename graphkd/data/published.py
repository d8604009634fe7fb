"""Reads a COCO json as published, for scoring: every page and every box, without cleaning.

Average precision is comparable only if it is computed against the annotations that others use. So
a json is passed to COCO evaluation unchanged; if that is not possible, it is refused.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from graphkd.data.check.boxes import PageFrame, as_box, fit_mask
from graphkd.data.check.document import clean_categories, read_document
from graphkd.data.check.files import declared_size, find_files, look_at
from graphkd.data.check.problems import ERROR, SKIP, Problem
from graphkd.data.coco import (
    check_classes,
    level_of,
    no_collector,
    packed,
    page_dict,
    version_of,
    wants_inspection,
)
from graphkd.errors import UserError

logger = logging.getLogger(__name__)

# Versions of json files whose images this process has checked. A run that is scored many times then
# opens them only once.
_inspected: set[tuple] = set()


def read_published(json_file: str | Path, *, name: str = "") -> dict[str, Any]:
    """The content of a COCO json, unchanged, after a check that COCO evaluation can take it.

    Allowed, and treated as in pycocotools: boxes beyond the page's edge, boxes without area,
    duplicate boxes, crowd boxes, boxes of an image or category that is not listed (they are
    ignored), ids in any order, and image ids that are strings.

    Args:
        json_file: COCO instances json.
        name: the data set's name, for messages.

    Raises:
        UserError: no COCO json, or something in it that has no meaning in COCO evaluation, such as
            a box with NaN or two images of one id.
    """
    document = read_document(json_file)
    fault = _fault(document)
    if fault is not None:
        raise _unscorable(json_file, name, fault)
    ids = [a["id"] for a in document["annotations"] if "id" in a]
    if len(set(ids)) < len(ids):
        logger.log(
            level_of(json_file),
            "%s: %d boxes have the id of another one; COCO evaluation then scores the last box of "
            "an id in the place of all of them",
            json_file,
            len(ids) - len(set(ids)),
        )
    return document


def load_published(
    json_file: str | Path,
    image_root: str | Path,
    classes: Sequence[str],
    *,
    category_ids: Sequence[int] | None = None,
    name: str = "",
    inspect: bool | None = None,
) -> list[dict[str, Any]]:
    """Every page of a COCO json, with its boxes as published, as Detectron2 dataset dicts.

    Args:
        json_file: COCO instances json.
        image_root: the folder that file names are relative to.
        classes: class names; "category_id" of the result is the index in this list.
        category_ids: the ids that go with `classes`, in their order; None accepts any.
        name: the data set's name, for messages.
        inspect: see `graphkd.data.coco.load_coco`; a file is inspected once per process.

    Returns:
        One dict a page, sorted by image id: file_name, height, width, image_id and annotations
        (bbox in XYWH_ABS, category_id, iscrowd, area, id, and segmentation where it is usable). A
        box of an unknown category is not among them.

    Raises:
        UserError: an image that is missing, unreadable or of another size than the json says; see
            also `read_published`.
    """
    with no_collector():
        document = read_published(json_file, name=name)
        check_classes(json_file, document["categories"], classes, category_ids)
        boxes = defaultdict(list)
        index = {c["id"]: list(classes).index(c["name"]) for c in document["categories"]}
        for number, annotation in enumerate(document["annotations"], start=1):
            if annotation.get("category_id") in index:
                boxes[annotation["image_id"]].append((number, annotation))
        images = {image["id"]: image for image in document["images"]}
        version = (*version_of(json_file), str(image_root))
        inspect = wants_inspection(inspect) and version not in _inspected
        sheets, faults = _look(images, Path(image_root), inspect)
        if faults:
            fault = faults[0].place_and_message
            fault += f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise _unscorable(json_file, name, fault)
        if inspect:
            _inspected.add(version)
        return [
            page_dict(path, size, image_id, _instances(boxes[image_id], index, size))
            for image_id, (path, size) in sorted(sheets.items())
        ]


def remedy(json_file: str | Path, name: str = "") -> str:
    """The advice for a set that cannot be scored, as the end of a message."""
    target = name or f"{json_file} --images DIR"
    return f"`graphkd data check {target} --fix OUT` writes a repaired copy to register and use"


def _unscorable(json_file: str | Path, name: str, fault: str) -> UserError:
    return UserError(
        f"{json_file}: {fault}, so it cannot be scored as published; {remedy(json_file, name)}"
    )


def _fault(document: dict[str, Any]) -> str | None:
    """Describes the first thing that COCO evaluation cannot handle; None if there is none."""
    problems: list[Problem] = []
    clean_categories(document["categories"], problems.append)
    for problem in problems:
        if problem.level == ERROR:
            return problem.line()
    images = [image.get("id") for image in document["images"]]
    if not images:
        return "no images are listed"
    for number, place in zip(images, document["images"], strict=True):
        if isinstance(number, bool) or not isinstance(number, (int, str)):
            return f"the id of image {place.get('file_name')!r} is {number!r}, no number or text"
    if len({type(number) for number in images}) > 1:
        return "some image ids are numbers and some are strings"
    known = set(images)
    if len(known) < len(images):
        twice = Counter(images).most_common(1)[0][0]
        return f"two images have the id {twice!r}"  # whose boxes are they?
    categories = {category["id"] for category in document["categories"]}
    # Each set of ids, and the same as text.
    listed = {
        "image_id": (known, set(map(str, known))),
        "category_id": (categories, set(map(str, categories))),
    }
    for annotation in document["annotations"]:
        fault = _annotation_fault(annotation, listed)
        if fault is not None:
            return f"annotation {annotation.get('id')!r}: {fault}"
    return None


def _annotation_fault(annotation: dict[str, Any], listed: dict[str, tuple[set, set]]) -> str | None:
    for key, (known, texts) in listed.items():
        value = annotation.get(key)
        if not isinstance(value, Hashable):
            return f"{key} is {str(value)[:80]}"
        if value not in known:
            # With a number in one place and a string in the other, COCO evaluation would silently
            # ignore the box.
            if str(value) in texts:
                return f"{key} {value!r} and the id that it means are of different types"
            return None
    box, strings, kind = as_box(annotation.get("bbox"))
    if strings or kind is not None:
        return f"bbox {str(annotation.get('bbox'))[:80]} is not four finite numbers"
    if not isinstance(annotation.get("id", 0), (int, str)):
        return "its id is no number or text"
    for key in ("area", "iscrowd"):
        if not isinstance(annotation.get(key, 0), (int, float)):
            return f"{key} is {str(annotation[key])[:80]}, no number"
    return None


def _look(
    images: dict[Any, dict[str, Any]], root: Path, inspect: bool
) -> tuple[dict[Any, tuple[Path, tuple[int, int]]], list[Problem]]:
    """(path, size) of every image by its id, and what is wrong with those that cannot be used."""
    found: list[Problem] = []
    sheets = {}
    for image_id, page in look_at(find_files(images, root, found.append), images, inspect=inspect):
        found += page.problems
        size, header = declared_size(images[image_id]), page.header
        if header is None:
            sheets[image_id] = page.path, size
            continue
        if size not in (None, header.upright, header.stored):
            seen = "{} x {}".format(*header.upright)
            text = "the json gives {} x {} pixels, the picture has {}".format(*size, seen)
            found.append(Problem("size_unclear", text, images[image_id]["file_name"]))
        sheets[image_id] = page.path, size or header.upright
    return sheets, [problem for problem in found if problem.level == SKIP]


def _instances(
    boxes: list[tuple[int, dict[str, Any]]], index: dict[Any, int], size: tuple[int, int]
) -> list[dict[str, Any]]:
    instances = []
    for number, annotation in boxes:
        box = annotation["bbox"]
        item = {
            "bbox": box,
            "category_id": index[annotation["category_id"]],
            "iscrowd": int(annotation.get("iscrowd", 0)),
            "area": annotation.get("area", box[2] * box[3]),
            "id": annotation.get("id", number),
        }
        mask, _ = fit_mask(annotation.get("segmentation"), PageFrame(*size))
        if mask is not None:
            item["segmentation"] = packed(mask)
        instances.append(item)
    return instances
