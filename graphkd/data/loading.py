"""From one data set's entry to Detectron2's dicts, checked and cleaned; registers no name."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphkd.data.entries import Entry, write_text
from graphkd.errors import UserError

logger = logging.getLogger(__name__)


def load(entry: Entry) -> list[dict[str, Any]]:
    """Detectron2 dataset dicts of one entry; generated pages are made first where missing.

    Where damaged parts had to be left out or put right, the metadata's `json_file` is pointed to
    a cleaned copy, so that scoring compares with the same pages and boxes that are loaded.

    Raises:
        UserError: the data is missing or unusable, or its classes are not those of the entry.

    """
    from graphkd.data.coco import load_clean, no_collector, to_dicts

    if entry.source is not None:
        entry = make_pages(entry)
    elif not Path(entry.json_file).is_file():
        raise UserError(f"{entry.name} is missing: no file {entry.json_file}; {entry.how}")
    with no_collector():
        cleaned = load_clean(entry.json_file, entry.image_root, entry.classes)
        dicts = to_dicts(cleaned, entry.classes)
    found = {category["id"]: category["name"] for category in cleaned.categories}
    if found != dict(zip(entry.category_ids, entry.classes, strict=True)):
        raise UserError(
            f"{entry.json_file}: its class ids {found} are not those registered for {entry.name}; "
            "run `graphkd data register` for it under a name of its own"
        )
    if any(problem.level in ("skip", "drop", "repair") for problem in cleaned.problems):
        _score_against(entry, cleaned.document())
    return dicts


def make_pages(entry: Entry) -> Entry:
    """Make generated pages where they are missing; the entry with the paths they really have."""
    from detectron2.data import MetadataCatalog

    from graphkd.synthesis import ensure

    root, name, split = entry.source
    folder = Path(ensure(Path(root), name, split)).absolute()
    made = replace(
        entry,
        json_file=str(folder / Path(entry.json_file).name),
        image_root=str(folder / "images"),
    )
    paths = {"json_file": made.json_file, "image_root": made.image_root}
    vars(MetadataCatalog.get(entry.name)).update(paths)
    return made


def _score_against(entry: Entry, document: dict[str, Any]) -> None:
    from detectron2.data import MetadataCatalog

    from graphkd.data.check.fix import cache_file

    path = cache_file(entry.name, document)
    if not path.is_file():
        try:
            write_text(path, json.dumps(document))
        except OSError as error:
            raise UserError(
                f"{entry.name}: the cleaned boxes that scoring compares with cannot be written to "
                f"{path} ({error.strerror}); name another folder in XDG_CACHE_HOME, or clean the "
                f"data with `graphkd data check {entry.name} --fix FOLDER`"
            ) from error
    logger.warning(
        "%s: scoring compares with the cleaned boxes in %s; `graphkd data check %s --fix FOLDER` "
        "makes a clean copy of the data",
        entry.name,
        path,
        entry.name,
    )
    # Metadata refuses to change a value by assignment; this change keeps it true to the data.
    vars(MetadataCatalog.get(entry.name))["json_file"] = str(path)
