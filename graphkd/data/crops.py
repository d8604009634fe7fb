"""Data sets of crops (pictures of single lines and their texts) by name: registering, lines for
training, lines as published.

The label files are described in `graphkd.data.check.crops`.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphkd.data import catalog
from graphkd.data.check.clean import CleanPage, CleanSet
from graphkd.data.check.crops import (
    LabelRules,
    clean_crops,
    documents_of,
    load_crops,
    read_rows,
    tidy_label,
)
from graphkd.data.check.problems import ERROR, KINDS, SKIP, Problem
from graphkd.data.coco import no_collector, warn_problems
from graphkd.data.entries import (
    Entry,
    below,
    check_name,
    crops_entry,
    datasets_root,
    require_data,
)
from graphkd.errors import UserError
from graphkd.text.charset import Charset, read_charset
from graphkd.text.prepare import BUCKETS

logger = logging.getLogger(__name__)

# More unknown characters than this mean the wrong charset: share of the lines that are lost.
_LOST = 0.01


def register_crops(
    name: str, label_file: str | Path, *, charset: str | Path = "", group: str = ""
) -> Entry:
    """Registers a label file of crops in Detectron2's catalogs, in this process only.

    `MetadataCatalog.get(name)` has `kind="crops"`, `label_file` and `charset_file`, which may be
    empty.

    Args:
        name: for DATASETS.TRAIN and DATASETS.TEST.
        label_file: rows of name, tab and text.
        charset: file with the charset of the set.
        group: regular expression that finds the document in a crop's name.

    Raises:
        UserError: the name is already used for other data.
    """
    path = Path(label_file).expanduser().absolute()
    charset = str(Path(charset).expanduser().absolute()) if charset else ""
    entry = crops_entry(name, path, how="make it again", charset=charset, group=group)
    catalog.register(entry)
    return entry


def add_own_crops(
    name: str,
    label_file: str | Path,
    *,
    charset: str | Path = "",
    group: str = "",
    root: Path | None = None,
) -> Entry:
    """Adds a label file of the user to registered.yaml and to Detectron2's catalogs.

    Args:
        name: see `register_crops`; an earlier entry is replaced.
        label_file: likewise.
        charset: likewise.
        group: likewise.
        root: data folder; None means `datasets_root()`.

    Raises:
        UserError: a file or the rule cannot be used, or the name is taken.
    """
    folder = datasets_root() if root is None else Path(root).expanduser().absolute()
    check_name(folder, name)
    path = Path(label_file).expanduser().absolute()
    problems: list[Problem] = []
    documents_of([row_name for row_name, _ in read_rows(path, problems.append)], group)
    for problem in problems:
        if problem.level == ERROR:
            raise UserError(f"{path}: {problem.line()}")
    item = {"crops": below(path, folder)}
    if charset:
        read_charset(charset)
        charset = Path(charset).expanduser().absolute()
        item["charset"] = below(charset, folder)
    if group:
        item["group"] = group
    how = "make it again"
    entry = crops_entry(name, path, how=how, charset=str(charset or ""), group=group)
    catalog.replace_own(entry, item, folder)
    return entry


def require_crops(name: str) -> None:
    """Checks that a data set of this name is registered and has pictures of lines.

    Raises:
        UserError: it is unknown, or a set of pages.
    """
    from detectron2.data import MetadataCatalog

    catalog.require(name)
    if MetadataCatalog.get(name).get("kind") != "crops":
        raise UserError(
            f"data set {name} has no pictures of lines; `graphkd data list` shows the sets, "
            "`graphkd data register NAME --crops FILE.tsv` adds your own, and `graphkd data cut` "
            "makes one from pages"
        )


def training_dicts(
    names: Sequence[str], charset: Charset, rules: LabelRules | None = None
) -> list[dict[str, Any]]:
    """The lines of some data sets of crops, cleaned for training.

    Labels are normalised; lines without text, with unknown characters (by `rules.unknown`), with
    more characters than CTC can write on them, and those above `rules.max_width` are left out; with
    the greatest `max_width`, longer lines are squeezed. All of it is counted in the log.

    Returns:
        One dict a line: file_name, image_id, height, width, text, perhaps document.

    Raises:
        UserError: data is missing or cannot be used, nothing is left, or the charset lacks
            characters of more than one line in a hundred.
    """
    rules, found = rules or LabelRules(), []
    if rules.unknown == "replace" and not charset.covers(rules.replacement):
        raise UserError(
            f"INPUT.CROPS.REPLACEMENT {rules.replacement!r} is not in the charset; choose a "
            "character of it"
        )
    for name in names:
        require_crops(name)
        entry = catalog.entry_of(name)
        if entry is None:
            found += _own_loader(name, charset, rules)
            continue
        require_data(entry)
        with no_collector():
            cleaned = clean_crops(entry.json_file, charset=charset, rules=rules, group=entry.group)
        if cleaned.error is not None:
            raise UserError(f"{entry.json_file}: {cleaned.error.line()}")
        warn_problems(entry.json_file, cleaned.problems)
        _check_charset(entry.json_file, cleaned)
        if not cleaned.pages:
            first = cleaned.counted[0].line()
            raise UserError(f"{entry.json_file}: none of its lines can be used; the first: {first}")
        found += map(_dict_of, cleaned.pages)
    kept = [
        line
        for line in found
        if rules.height * line["width"] <= (rules.max_width + 0.5) * line["height"]
    ]
    squeezed = rules.max_width >= BUCKETS[-1]
    if len(kept) < len(found):
        done = "squeezed" if squeezed else "left out (INPUT.CROPS.MAX_WIDTH)"
        counts = len(found) - len(kept), len(found)
        logger.info("%d of %d lines are longer than %d pixels: %s", *counts, rules.max_width, done)
    if squeezed:
        return found
    if not kept:
        raise UserError(f"no line of {', '.join(names)} is within INPUT.CROPS.MAX_WIDTH")
    return kept


def _own_loader(name: str, charset: Charset, rules: LabelRules) -> list[dict[str, Any]]:
    """The lines of a loader that the user registered, with their labels cleaned."""
    from detectron2.data import DatasetCatalog

    kept, problems = [], Counter()
    for line in DatasetCatalog.get(name):
        label, faults = tidy_label(line["text"], (line["width"], line["height"]), charset, rules)
        problems.update(kind for kind, _ in faults)
        if label is not None:
            kept.append({**line, "text": label})
    for kind, count in problems.items():
        logger.warning("%s: %d lines: %s", name, count, KINDS[kind][1])
    return kept


def _check_charset(label_file: str, cleaned: CleanSet) -> None:
    """Counts the characters that the charset lacks; too many are an error."""
    unknown = cleaned.extra["unknown"]
    if not unknown:
        return
    named = ", ".join(
        f"{char!r} (U+{ord(char[0]):04X}) {count}" for char, count in unknown.most_common(10)
    )
    lost = sum(problem.kind == "text_unknown" for problem in cleaned.problems)
    lines = cleaned.extra["lines"]
    said = f"{label_file}: the charset lacks characters of {lost} of {lines} lines: {named}"
    if cleaned.extra["dropped"] and lost > _LOST * lines:
        raise UserError(
            f"{said}; make a charset with `graphkd data charset`, or set INPUT.CROPS.UNKNOWN to "
            "drop_char or replace"
        )
    logger.info("%s", said)


def _dict_of(crop: CleanPage) -> dict[str, Any]:
    keys = ("height", "width", "text", "document")
    about = {key: crop.entry[key] for key in keys if key in crop.entry}
    return {"file_name": str(crop.path), "image_id": crop.entry["id"], **about}


def published_texts(name: str) -> list[str]:
    """The labels of a data set of crops, or of a label file, without looking at the pictures.

    Raises:
        UserError: there is no such set or file, or it has no labels.
    """
    from detectron2.data import DatasetCatalog

    problems: list[Problem] = []
    path = Path(name)
    if path.suffix.lower() not in (".tsv", ".txt"):
        require_crops(name)
        entry = catalog.entry_of(name)
        if entry is None:
            return [line["text"] for line in DatasetCatalog.get(name)]
        require_data(entry)
        path = Path(entry.json_file)
    texts = [text for _, text in read_rows(path, problems.append)]
    for problem in problems:
        if problem.level == ERROR:
            raise UserError(f"{path}: {problem.line()}")
    return texts


def published(name: str) -> list[dict[str, Any]]:
    """Every line of a data set of crops as published, for scoring; labels are not changed.

    Returns:
        Dicts as those of `training_dicts`.

    Raises:
        UserError: the set is missing, or a row or a picture of it cannot be read.
    """
    from detectron2.data import DatasetCatalog

    require_crops(name)
    entry = catalog.entry_of(name)
    if entry is None:
        return DatasetCatalog.get(name)
    require_data(entry)
    problems: list[Problem] = []
    with no_collector():
        crops = load_crops(entry.json_file, problems.append, group=entry.group)
    faults = [problem for problem in problems if problem.level in (ERROR, SKIP)]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(
            f"{entry.json_file}: {faults[0].place_and_message}{more}, so it cannot be scored as "
            f"published; `graphkd data check {name} --fix OUT` writes a repaired copy to register"
        )
    return list(map(_dict_of, crops))


def check_scorable(names: Sequence[str]) -> None:
    """Checks the sets that a run will be scored on, so that it does not fail after its last step.

    Raises:
        UserError: a set is missing, has no pictures of lines or cannot be scored as published.
    """
    for name in dict.fromkeys(names):
        published(name)
