"""Cleans a COCO document for training; every change is reported."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graphkd.data.check.boxes import (
    PageFrame,
    as_int,
    decide_frame,
    fit_box,
    fit_mask,
    look_like_corners,
    look_normalised,
)
from graphkd.data.check.document import clean_categories, clean_images, group_annotations
from graphkd.data.check.files import PageFile, find_files, look_at
from graphkd.data.check.problems import ERROR, KINDS, NOTE, Problem
from graphkd.data.images import MAX_PIXELS


@dataclass
class CleanPage:
    """One usable page; its boxes x, y, width, height lie on it, in pixels."""

    entry: dict[str, Any]  # the json's own entry with corrected ids and sizes
    path: Path
    annotations: list[dict[str, Any]]
    file: PageFile | None


@dataclass
class CleanSet:
    """The usable part of a COCO document, and all problems; `pages` is empty after an error."""

    categories: list[dict[str, Any]] = field(default_factory=list)
    pages: list[CleanPage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> Problem | None:
        """The first problem that makes the whole file unusable."""
        return next((p for p in self.problems if p.level == ERROR), None)

    @property
    def counted(self) -> list[Problem]:
        """All problems except notes."""
        return [p for p in self.problems if p.level != NOTE]

    def document(self) -> dict[str, Any]:
        """The usable part as a COCO document; file names are relative to the image root."""
        return {
            **self.extra,
            "categories": self.categories,
            "images": [page.entry for page in self.pages],
            "annotations": [a for page in self.pages for a in page.annotations],
        }


def clean(
    document: dict[str, Any],
    image_root: str | Path,
    *,
    inspect: bool = True,
    decode: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> CleanSet:
    """Applies every rule of `graphkd.data.check.problems.KINDS` to a COCO document.

    Args:
        document: the result of `read_document`. It is emptied on the way, to save memory.
        image_root: the folder that file names are relative to.
        inspect: open every image and check its header and end mark. False trusts the sizes in the
            json and opens only images without one.
        decode: decode every image instead of trusting the end mark.
        max_pixels: images with more pixels are left out without being decoded.

    Returns:
        The usable pages and all problems; no pages if the document has an error.
    """
    result = CleanSet(extra={k: document[k] for k in ("info", "licenses") if k in document})
    found = result.problems.append
    result.categories = clean_categories(document["categories"], found)
    images = clean_images(document["images"], found)
    if result.error is not None:
        return result
    known = {category["id"] for category in result.categories}
    groups = group_annotations(document.pop("annotations"), images, known, found)
    files = find_files(images, Path(image_root), found)
    sheets = look_at(files, images, inspect=inspect, decode=decode, max_pixels=max_pixels)
    draft = _frames(sheets, images, groups, found)
    _warn_about_corners(draft, groups, found)
    used: dict[str, str] = {}
    for image_id, sheet, frame in draft:
        entry = {**images[image_id], "id": image_id, "width": frame.width, "height": frame.height}
        _note_second_listing(used, sheet.path, entry, found)
        boxes = _clean_boxes(groups.pop(image_id, []), entry, frame, found)
        result.pages.append(CleanPage(entry, sheet.path, boxes, sheet if inspect else None))
    _renumber(result.pages, found)
    if result.pages and all(a["iscrowd"] for page in result.pages for a in page.annotations):
        text = "no page has a usable box that is no crowd box: there is nothing to learn"
        found(Problem("no_annotations", text))
    return result


def _frames(
    sheets: list[tuple[int, PageFile]],
    images: dict[int, dict[str, Any]],
    groups: dict[int, list[dict[str, Any]]],
    found: Callable[[Problem], None],
) -> list[tuple[int, PageFile, PageFrame]]:
    """The frame of every usable page."""
    fractions = look_normalised([a["bbox"] for group in groups.values() for a in group])
    draft = []
    for image_id, sheet in sheets:
        image = images[image_id]
        for problem in sheet.problems:
            found(replace(problem, image_id=image_id))
        declared = image.get("width"), image.get("height")
        if sheet.header is not None:
            boxes = [a["bbox"] for a in groups.get(image_id, [])]
            frame, finding = decide_frame(declared, sheet.header, boxes)
            if finding is not None:
                found(Problem(*finding, image["file_name"], image_id))
        elif sheet.unusable:
            frame = None
        else:
            frame = PageFrame(as_int(declared[0])[0] or 0, as_int(declared[1])[0] or 0)
        if frame is None:
            continue
        whole = PageFrame(frame.width, frame.height, frame.width, frame.height)
        if fractions and frame != whole and min(frame.width, frame.height) > 2:
            if groups.get(image_id):
                text = "boxes are fractions of the page; scaled to its size"
                found(Problem("normalised_boxes", text, image["file_name"], image_id))
            frame = whole
        draft.append((image_id, sheet, frame))
    return draft


def _warn_about_corners(
    draft: list[tuple[int, PageFile, PageFrame]],
    groups: dict[int, list[dict[str, Any]]],
    found: Callable[[Problem], None],
) -> None:
    boxes = [
        (a["bbox"], frame.width, frame.height)
        for image_id, _, frame in draft
        if not frame.scaled
        for a in groups.get(image_id, [])
    ]
    if look_like_corners(boxes):
        text = (
            "many boxes reach over their page, but fit it if they are read as x1, y1, x2, y2; COCO "
            "boxes are x, y, width, height (`graphkd data check --boxes corners --fix` converts)"
        )
        found(Problem("boxes_look_like_corners", text))


def _note_second_listing(
    used: dict[str, str], path: Path, entry: dict[str, Any], found: Callable[[Problem], None]
) -> None:
    key = str(path)
    if key in used:
        text = f"also listed as image {used[key]}: one page counts twice"
        found(Problem("same_file_twice", text, entry["file_name"], entry["id"]))
    used.setdefault(key, entry["id"])


def _clean_boxes(
    annotations: list[dict[str, Any]],
    entry: dict[str, Any],
    frame: PageFrame,
    found: Callable[[Problem], None],
) -> list[dict[str, Any]]:
    name, image_id = entry["file_name"], entry["id"]
    kept, seen = [], set()
    for annotation in annotations:

        def say(kind: str, text: str, number: int | None = annotation["id"]) -> None:
            found(Problem(kind, text, name, image_id, number))

        box, kind = fit_box(annotation["bbox"], frame)
        page = f"the page of {frame.width} x {frame.height}"
        if box is None:
            say(kind, f"bbox {annotation['bbox']} on {page}: {KINDS[kind][1]}")
            continue
        if kind == "box_clipped":
            say(kind, f"bbox {annotation['bbox']} reaches over {page}; cut to it")
        cleaned = _clean_fields(annotation, box, frame, say)
        key = (cleaned["category_id"], *box)
        if key in seen:
            say("duplicate_box", "the page has the same box with the same class already")
        seen.add(key)
        kept.append(cleaned)
    if not annotations:
        found(Problem("empty_page", "has no box", name, image_id))
    return kept


def _clean_fields(
    annotation: dict[str, Any],
    box: list[float],
    frame: PageFrame,
    say: Callable[[str, str], None],
) -> dict[str, Any]:
    mask, unusable = fit_mask(annotation.get("segmentation"), frame)
    if unusable:
        say("unusable_mask", "segmentation is unusable or partly so; the box is kept")
    crowd = _marked(annotation.get("iscrowd")) or _marked(annotation.get("ignore"))
    if crowd:
        say("crowd", "a crowd box: not trained on, ignored in scoring")
    area = annotation.get("area")
    good = isinstance(area, (int, float)) and not isinstance(area, bool) and area > 0
    full = box[2] * box[3]
    # A polygon is not larger than its box, except for rounding.
    if not good or box != annotation["bbox"] or not area <= full * 1.05 + 1:
        area = full
    cleaned = {k: v for k, v in annotation.items() if k not in ("segmentation", "ignore")}
    cleaned.update(bbox=box, area=area, iscrowd=int(crowd))
    if mask is not None:
        cleaned["segmentation"] = mask
    return cleaned


def _marked(mark: Any) -> bool:
    """Whether a 0/1 field is set, also if it is written as a string."""
    return mark is True or bool(as_int(mark)[0])


def _renumber(pages: list[CleanPage], found: Callable[[Problem], None]) -> None:
    """Gives a new id to boxes without an id, and to those whose id is taken."""
    taken = {a["id"] for page in pages for a in page.annotations if a["id"] is not None}
    free = max(taken, default=0) + 1
    seen: set[int] = set()
    for page in pages:
        for annotation in page.annotations:
            number = annotation["id"]
            if number is not None and number not in seen:
                seen.add(number)
                continue
            kind = "missing_annotation_id" if number is None else "duplicate_annotation_id"
            text = f"annotation id {number}: {KINDS[kind][1]}; the new id is {free}"
            found(Problem(kind, text, page.entry["file_name"], page.entry["id"], number))
            annotation["id"] = free
            seen.add(free)
            free += 1
