"""Checking one data set as a whole and saying what was found, as a dict; prints nothing."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graphkd.data.check.clean import CleanSet, clean
from graphkd.data.check.document import NotCoco, read_document
from graphkd.data.check.fix import corners_to_sizes
from graphkd.data.check.problems import KINDS, Problem, count_by_kind


@dataclass(frozen=True)
class Report:
    """The outcome of a check; counts of pages and boxes are before and after cleaning."""

    json_file: str
    image_root: str
    pages: int
    boxes: int
    cleaned: CleanSet

    @property
    def clean(self) -> bool:
        """Whether nothing but notes was found."""
        return not self.cleaned.counted

    def to_dict(self) -> dict[str, Any]:
        """For a json file: totals, counts by kind, and every finding with its place."""
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
    advance: Callable[[int], None] | None = None,
) -> Report:
    """Check a COCO data set: the json, every image and every box.

    Args:
        json_file: COCO json.
        image_root: the folder that file names are relative to.
        classes: the names the data set is registered with; None accepts any.
        category_ids: the ids that go with `classes`, in their order; None accepts any.
        decode: decode every image; otherwise only headers and end marks are looked at.
        corners: read boxes as x1, y1, x2, y2.
        advance: called with the number of images done since the last call.

    Raises:
        UserError: there is no such json file. Damage is reported, not raised.

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
    cleaned = clean(document, image_root, decode=decode, advance=advance)
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


def title(kind: str) -> str:
    """What a kind of finding means, in words."""
    return KINDS[kind][1]
