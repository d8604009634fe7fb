"""Reads a COCO json for training: all usable pages and boxes, with warnings about the others."""

import contextlib
import gc
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from graphkd.data.check.boxes import as_int, mask_or_box
from graphkd.data.check.clean import CleanSet, clean
from graphkd.data.check.document import clean_categories, read_document
from graphkd.data.check.problems import ERROR, KINDS, NOTE, Problem, count_by_kind
from graphkd.errors import UserError

logger = logging.getLogger(__name__)

TRUST_VARIABLE = "GRAPHKD_TRUST_IMAGES"
_SHOWN = 5  # findings of one kind that are logged line by line
_warned: set[tuple] = set()  # versions of files whose findings the terminal has shown


def load_coco(
    json_file: str | Path,
    image_root: str | Path,
    classes: Sequence[str],
    *,
    category_ids: Sequence[int] | None = None,
    inspect: bool | None = None,
) -> list[dict[str, Any]]:
    """Loads a COCO json as Detectron2 dataset dicts for training.

    The rules are those of `graphkd data check`: what it drops or skips is skipped here, with a
    warning that names the file and the annotation, and what makes a file unusable is an error.

    Args:
        json_file: COCO instances json; category ids of any kind.
        image_root: the folder that file names are relative to.
        classes: class names; "category_id" of the result is the index in this list.
        category_ids: the ids that go with `classes`, in their order; None accepts any.
        inspect: open every image's header to find missing, cut-off and wrongly described pages
            before the first step. Default: yes, unless the environment variable
            GRAPHKD_TRUST_IMAGES is 1.

    Returns:
        One dict a page: file_name, height, width (pixels, as the page is read by
        `graphkd.data.images.read_page`), image_id and annotations (bbox in XYWH_ABS within the
        page, category_id, iscrowd, and segmentation where the file has any). Pages without boxes
        have an empty list.

    Raises:
        UserError: missing or unreadable json, classes that differ from `classes`, duplicate ids,
            no usable page.
    """
    with no_collector():
        document = read_document(json_file)
        check_classes(json_file, document["categories"], classes, category_ids)
        cleaned = clean(document, image_root, inspect=wants_inspection(inspect))
        if cleaned.error is not None:
            raise UserError(f"{json_file}: {cleaned.error.line()}")
        warn_problems(json_file, cleaned.problems)
        if not cleaned.pages:
            first = cleaned.counted[0].line()
            raise UserError(f"{json_file}: none of its images can be used; the first: {first}")
        return _to_dicts(cleaned, classes)


def read_categories(json_file: str | Path) -> dict[int, str]:
    """Category ids and names of a COCO json, sorted by id.

    Raises:
        UserError: the json is unreadable or its categories are not usable.
    """
    problems: list[Problem] = []
    categories = clean_categories(read_document(json_file)["categories"], problems.append)
    for problem in problems:
        if problem.level == ERROR:
            raise UserError(f"{json_file}: {problem.line()}")
    return {category["id"]: category["name"] for category in categories}


def check_classes(
    json_file: str | Path,
    categories: list[dict[str, Any]],
    classes: Sequence[str],
    category_ids: Sequence[int] | None = None,
) -> None:
    """Compare the categories of a json with the classes that its name stands for.

    Raises:
        UserError: other names, or names under other ids.
    """
    found = [str(category.get("name")) for category in categories]
    if sorted(found) != sorted(classes):
        lost = [name for name in classes if name not in found]
        extra = [name for name in found if name not in classes]
        parts = [f"missing: {', '.join(lost)}"] if lost else []
        parts += [f"unexpected: {', '.join(extra)}"] if extra else []
        raise UserError(
            f"{json_file}: its {len(found)} class names differ from the {len(classes)} expected "
            f"ones ({'; '.join(parts) or 'a name is given twice'}); register it under a name of "
            "its own with `graphkd data register`"
        )
    if category_ids is None:
        return
    ids = {category.get("name"): as_int(category.get("id"))[0] for category in categories}
    expected = dict(zip(classes, category_ids, strict=True))
    if ids != expected:
        raise UserError(
            f"{json_file}: its class ids {ids} differ from the registered ones {expected}; "
            "register it under a name of its own with `graphkd data register`"
        )


def untrainable(dicts: list[dict[str, Any]]) -> str | None:
    """Describes the first box that would make the loss NaN or crash the run; None if there is none.

    It is for the dataset dicts of other loaders; Detectron2's own loader does not check boxes.
    """
    for page in dicts:
        for annotation in page.get("annotations", ()):
            box = annotation.get("bbox")
            try:
                numbers = [float(number) for number in box]
            except (TypeError, ValueError):
                numbers = []
            # Five numbers are a rotated box.
            if len(numbers) not in (4, 5) or not all(map(math.isfinite, numbers)):
                return f"{page.get('file_name')} has the box {box}, which cannot be trained on"
    return None


def wants_inspection(inspect: bool | None) -> bool:
    """Whether images are opened; None means that the environment variable decides."""
    return os.environ.get(TRUST_VARIABLE) != "1" if inspect is None else inspect


def level_of(path: str | Path) -> int:
    """The level at which findings about a file are logged: a warning the first time.

    All findings go to the log file of every run. The terminal shows only warnings, so it gets them
    once and from one process, even if the file is loaded several times.
    """
    from detectron2.utils import comm

    version = version_of(path)
    first = version not in _warned and comm.is_main_process()
    _warned.add(version)
    return logging.WARNING if first else logging.INFO


def version_of(path: str | Path) -> tuple:
    """A key that changes when the file changes: path, time and size."""
    about = Path(path).stat()
    return str(path), about.st_mtime_ns, about.st_size


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Pauses the garbage collector, which would repeatedly scan millions of new dicts."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def warn_problems(json_file: str | Path, problems: list[Problem]) -> None:
    """Log each kind of finding (not notes): a count, and the first few places."""
    level = level_of(json_file)
    for kind, count in count_by_kind(problems).items():
        meaning, title = KINDS[kind]
        if meaning == NOTE:
            continue
        for problem in [problem for problem in problems if problem.kind == kind][:_SHOWN]:
            logger.log(level, "%s: %s", json_file, problem.line())
        if count > _SHOWN:
            text = "%s: %s: %d in all; `graphkd data check` lists them"
            logger.log(level, text, json_file, title, count)


def _to_dicts(cleaned: CleanSet, classes: Sequence[str]) -> list[dict[str, Any]]:
    index = {c["id"]: list(classes).index(c["name"]) for c in cleaned.categories}
    masks = any("segmentation" in a for page in cleaned.pages for a in page.annotations)
    dicts = []
    for page in cleaned.pages:
        instances = []
        for annotation in page.annotations:
            instance = {
                "bbox": annotation["bbox"],
                "category_id": index[annotation["category_id"]],
                "iscrowd": annotation["iscrowd"],
            }
            if masks:
                mask = mask_or_box(annotation.get("segmentation"), annotation["bbox"])
                instance["segmentation"] = packed(mask)
            instances.append(instance)
        size = page.entry["width"], page.entry["height"]
        dicts.append(page_dict(page.path, size, page.entry["id"], instances))
    return dicts


def page_dict(
    path: Path, size: tuple[int, int], image_id: Any, instances: list[dict[str, Any]]
) -> dict[str, Any]:
    """A Detectron2 dataset dict; boxes are x, y, width, height, and `size` is (width, height)."""
    from detectron2.structures import BoxMode

    return {
        "file_name": str(path),
        "height": size[1],
        "width": size[0],
        "image_id": image_id,
        "annotations": [{**each, "bbox_mode": BoxMode.XYWH_ABS} for each in instances],
    }


def packed(mask: Any) -> Any:
    """A mask as Detectron2 wants it: run lengths in pycocotools' packed form."""
    if isinstance(mask, dict) and isinstance(mask["counts"], list):
        from pycocotools import mask as mask_tools

        return mask_tools.frPyObjects(mask, *mask["size"])
    return mask
