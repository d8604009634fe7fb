"""Loading a COCO json for training and scoring, damaged parts left out loudly; no registering."""

import contextlib
import gc
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from graphkd.data.check import KINDS, CleanSet, Problem, clean, count_by_kind, read_document
from graphkd.data.check.boxes import mask_or_box
from graphkd.errors import UserError

logger = logging.getLogger(__name__)

TRUST_VARIABLE = "GRAPHKD_TRUST_IMAGES"
_SHOWN = 5  # findings of one kind that are logged line by line


def load_coco(
    json_file: str | Path,
    image_root: str | Path,
    classes: Sequence[str],
    *,
    inspect: bool | None = None,
) -> list[dict[str, Any]]:
    """Load a COCO json as Detectron2 dataset dicts.

    What `graphkd data check` would drop or skip is left out here by the same rules, with a
    warning that names file and annotation; what makes a file unusable stops the loading.

    Args:
        json_file: COCO instances json; category ids of any kind.
        image_root: the folder that file names are relative to.
        classes: class names; "category_id" of the result is the index in this list.
        inspect: open every image's header to find missing, cut-off and wrongly described pages
            before the first step. Default: yes, unless the environment variable
            GRAPHKD_TRUST_IMAGES is 1.

    Returns:
        One dict a page: file_name, height, width (pixels, as the page is read by
        `graphkd.data.images.read_page`), image_id and annotations (bbox in XYWH_ABS within the
        page, category_id, iscrowd, and segmentation where the file has any). Pages without boxes
        have an empty list.

    Raises:
        UserError: missing or unreadable json, class names that differ from `classes`,
            duplicate ids, no usable page.

    """
    with no_collector():
        return to_dicts(load_clean(json_file, image_root, classes, inspect=inspect), classes)


def load_clean(
    json_file: str | Path,
    image_root: str | Path,
    classes: Sequence[str] | None = None,
    *,
    inspect: bool | None = None,
) -> CleanSet:
    """As `load_coco`, but the cleaned COCO document itself; `classes` None takes the file's."""
    document = read_document(json_file)
    names = [category.get("name") for category in document["categories"]]
    if classes is not None and sorted(map(str, names)) != sorted(classes):
        raise UserError(_class_message(json_file, names, classes))
    if inspect is None:
        inspect = os.environ.get(TRUST_VARIABLE) != "1"
    with _progress(len(document["images"]) if inspect else 0) as advance:
        cleaned = clean(document, image_root, inspect=inspect, advance=advance)
    if cleaned.error is not None:
        raise UserError(f"{json_file}: {cleaned.error.line()}")
    warn(json_file, cleaned.problems)
    if not cleaned.pages:
        raise UserError(
            f"{json_file}: none of its images can be used; the first: {cleaned.counted[0].line()}"
        )
    return cleaned


def read_categories(json_file: str | Path) -> dict[int, str]:
    """Category ids and names of a COCO json, sorted by id.

    Raises:
        UserError: the json is unreadable or its categories are not usable.

    """
    from graphkd.data.check.listing import clean_categories

    problems: list[Problem] = []
    categories = clean_categories(read_document(json_file)["categories"], problems.append)
    for problem in problems:
        if problem.level == "error":
            raise UserError(f"{json_file}: {problem.line()}")
    return {category["id"]: category["name"] for category in categories}


def warn(json_file: str | Path, problems: list[Problem]) -> None:
    """Log each kind of finding (not notes): a count, and the first few places."""
    shown: dict[str, int] = {}
    for kind, count in count_by_kind(problems).items():
        level, title = KINDS[kind]
        if level == "note":
            continue
        for problem in problems:
            if problem.kind == kind and shown.get(kind, 0) < _SHOWN:
                shown[kind] = shown.get(kind, 0) + 1
                logger.warning("%s: %s", json_file, problem.line())
        if count > _SHOWN:
            logger.warning(
                "%s: %s: %d in all; `graphkd data check` lists them", json_file, title, count
            )


def to_dicts(cleaned: CleanSet, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Detectron2 dataset dicts of cleaned pages; see `load_coco`."""
    from detectron2.structures import BoxMode

    index = {c["id"]: list(classes).index(c["name"]) for c in cleaned.categories}
    masks = any("segmentation" in a for page in cleaned.pages for a in page.annotations)
    dicts = []
    for page in cleaned.pages:
        entry = page.entry
        record = {
            "file_name": str(page.path),
            "height": entry["height"],
            "width": entry["width"],
            "image_id": entry["id"],
            "annotations": [],
        }
        for annotation in page.annotations:
            instance = {
                "bbox": annotation["bbox"],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": index[annotation["category_id"]],
                "iscrowd": annotation["iscrowd"],
            }
            if masks:
                mask = mask_or_box(annotation.get("segmentation"), annotation["bbox"])
                instance["segmentation"] = _packed(mask)
            record["annotations"].append(instance)
        dicts.append(record)
    return dicts


def _packed(mask: Any) -> Any:
    """Detectron2 wants run-length masks in pycocotools' packed form."""
    if isinstance(mask, dict) and isinstance(mask["counts"], list):
        from pycocotools import mask as mask_tools

        return mask_tools.frPyObjects(mask, *mask["size"])
    return mask


def _class_message(json_file: str | Path, found: list[Any], expected: Sequence[str]) -> str:
    extra = [str(name) for name in found if name not in expected]
    lost = [name for name in expected if name not in found]
    parts = []
    if lost:
        parts.append(f"missing: {', '.join(lost)}")
    if extra:
        parts.append(f"unexpected: {', '.join(extra)}")
    if not parts:
        parts.append("a name is given twice")
    return (
        f"{json_file}: its {len(found)} class names differ from the {len(expected)} expected ones "
        f"({'; '.join(parts)}); register it under a name of its own with `graphkd data register`"
    )


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Pause the garbage collector: it walks over millions of new dicts again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _progress:  # noqa: N801  (used as a function)
    """A bar over the images of a big set; silent for small ones."""

    def __init__(self, total: int):
        self._total = total
        self._bar = None

    def __enter__(self):
        if self._total < 2000:
            return None
        from tqdm import tqdm

        self._bar = tqdm(total=self._total, desc="looking at images", unit="page")
        return self._bar.update

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()
