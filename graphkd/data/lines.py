"""Data sets of text lines by name: registering, pages for training, pages as published.

The hub format of the files is described in `graphkd.data.check.lines`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphkd.data import catalog
from graphkd.data.check.clean import CleanPage, CleanSet
from graphkd.data.check.lines import clean_lines, load_pages, tidy_lines
from graphkd.data.check.problems import DROP, ERROR, SKIP, Problem
from graphkd.data.coco import no_collector, version_of, wants_inspection, warn_problems
from graphkd.data.entries import (
    Entry,
    below,
    check_name,
    datasets_root,
    lines_entry,
    require_data,
)
from graphkd.errors import UserError

logger = logging.getLogger(__name__)

# Versions of hub files whose images this process has checked; a set is scored many times in a run.
_inspected: set[tuple] = set()


def register_lines(name: str, hub_file: str | Path) -> Entry:
    """Registers a hub file of text lines in Detectron2's catalogs, in this process only.

    `MetadataCatalog.get(name)` has `kind="lines"` and `hub_file`.

    Raises:
        UserError: the name is already used for other data.
    """
    entry = lines_entry(name, Path(hub_file).expanduser().absolute(), how="make it again")
    catalog.register(entry)
    return entry


def add_own_lines(name: str, hub_file: str | Path, *, root: Path | None = None) -> Entry:
    """Adds a hub file of the user to registered.yaml and to Detectron2's catalogs.

    Args:
        name: the name for DATASETS.TRAIN and DATASETS.TEST; an earlier entry is replaced.
        hub_file: the file.
        root: data folder; None means `datasets_root()`.

    Raises:
        UserError: the file cannot be used, or the name is taken.
    """
    folder = datasets_root() if root is None else Path(root).expanduser().absolute()
    check_name(folder, name)
    path = Path(hub_file).expanduser().absolute()
    problems: list[Problem] = []
    load_pages(path, problems.append, inspect=False)
    for problem in problems:
        if problem.level == ERROR:
            raise UserError(f"{path}: {problem.line()}")
    entry = lines_entry(name, path, how="make it again")
    catalog.replace_own(entry, {"lines": below(path, folder)}, folder)
    return entry


def require_lines(name: str) -> None:
    """Checks that a data set of this name is registered and has text lines.

    Raises:
        UserError: it is unknown, or a set of regions.
    """
    from detectron2.data import MetadataCatalog

    catalog.require(name)
    if MetadataCatalog.get(name).get("kind") != "lines":
        raise UserError(
            f"data set {name} has no text lines; `graphkd data list` shows the sets of lines, "
            "`graphkd data register NAME --lines FILE.jsonl` adds your own"
        )


def training_dicts(names: Sequence[str]) -> list[dict[str, Any]]:
    """The pages of some data sets of text lines, cleaned for training.

    Polygons are cut at the page's edge, crossing ones are repaired, lines of less than one square
    pixel are left out, and points run clockwise. What was changed is counted in warnings. Pages
    without lines stay: they train too.

    Returns:
        One dict a page: file_name, image_id, height, width, perhaps document, and lines
        (polygon: list of [x, y] in pixels of the upright page; text; ignore).

    Raises:
        UserError: data is missing or cannot be used, or every line of a set is to be ignored.
    """
    found = []
    for name in names:
        require_lines(name)
        entry = catalog.entry_of(name)
        if entry is None:
            found += _own_loader(name)
            continue
        require_data(entry)
        with no_collector():
            cleaned = clean_lines(entry.json_file, inspect=wants_inspection(None))
        if cleaned.error is not None:
            raise UserError(f"{entry.json_file}: {cleaned.error.line()}")
        warn_problems(entry.json_file, cleaned.problems)
        if not cleaned.pages:
            first = cleaned.counted[0].line()
            raise UserError(f"{entry.json_file}: none of its pages can be used; the first: {first}")
        found += map(_dict_of, cleaned.pages)
    return found


def _own_loader(name: str) -> list[dict[str, Any]]:
    """The pages of a loader that the user registered, with its lines cleaned."""
    from detectron2.data import DatasetCatalog

    problems: list[Problem] = []
    pages = []
    for page in DatasetCatalog.get(name):
        size = page["width"], page["height"]
        lines = tidy_lines(page["lines"], size, problems.append, name=page["file_name"])
        pages.append({**page, "lines": lines})
    cleaned = CleanSet(problems=problems)
    for problem in cleaned.counted[:1]:
        more = len(cleaned.counted) - 1
        logger.warning("%s: %s (and %d more)", name, problem.line(), more)
    return pages


def _dict_of(page: CleanPage) -> dict[str, Any]:
    about = {k: page.entry[k] for k in ("height", "width", "document") if k in page.entry}
    return {
        "file_name": str(page.path),
        "image_id": page.entry["id"],
        **about,
        "lines": page.annotations,
    }


def published(name: str) -> list[dict[str, Any]]:
    """Every page of a data set of text lines as published, for scoring.

    Lines are not changed: they may reach over the page or cross themselves; what that means is the
    rule's business.

    Returns:
        Dicts as those of `training_dicts`.

    Raises:
        UserError: the set is missing, or something in it cannot be scored, such as a missing page
            or a polygon with NaN.
    """
    from detectron2.data import DatasetCatalog

    require_lines(name)
    entry = catalog.entry_of(name)
    if entry is None:
        return DatasetCatalog.get(name)
    require_data(entry)
    version = version_of(entry.json_file)
    inspect = wants_inspection(None) and version not in _inspected
    problems: list[Problem] = []
    with no_collector():
        pages = load_pages(entry.json_file, problems.append, inspect=inspect)
    lines = [line for page in pages for line in page.annotations]
    if lines and all(line["ignore"] for line in lines):
        problems.append(Problem("all_ignored", f"all {len(lines)} lines are marked `ignore`"))
    faults = [problem for problem in problems if problem.level in (ERROR, SKIP, DROP)]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(
            f"{entry.json_file}: {faults[0].place_and_message}{more}, so it cannot be scored as "
            f"published; `graphkd data check {name} --fix OUT` writes a repaired copy to register"
        )
    if inspect:
        _inspected.add(version)
    return [_dict_of(page) for page in pages]


def check_scorable(names: Sequence[str]) -> None:
    """Checks the sets that a run will be scored on, so that it does not fail after its last step.

    Raises:
        UserError: a set is missing, has no lines or cannot be scored as published.
    """
    for name in dict.fromkeys(names):
        published(name)
