"""Registers the known data sets and the user's own in Detectron2's catalogs.

`DatasetCatalog.get(name)` returns every page and box as published, for scoring; `training_dicts`
returns cleaned pages for training. Loaders that users register themselves are not changed.
"""

import difflib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphkd.data.coco import load_coco, read_categories, untrainable
from graphkd.data.entries import (
    Entry,
    datasets_root,
    known_entries,
    new_entry,
    own_entries,
    require_data,
    store,
)
from graphkd.data.published import load_published, read_published, remedy
from graphkd.errors import UserError

_registered: dict[str, Entry] = {}


def register_all(root: Path | None = None) -> None:
    """Registers all known data sets and the user's own in Detectron2's catalogs.

    No data is read: a set is read (or made, if it is generated) when it is loaded. The function can
    be called again.

    Args:
        root: data folder; None means `datasets_root()`.

    Raises:
        UserError: a name is already taken by other data, or registered.yaml is unreadable.
    """
    folder = datasets_root() if root is None else Path(root).expanduser().absolute()
    for entry in (*known_entries(folder), *own_entries(folder)):
        register(entry)


def unregister_all() -> None:
    """Removes everything that `register_all` registered; names registered elsewhere stay."""
    for name in list(_registered):
        forget(name)


def add_own(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    *,
    text_classes: Sequence[str] | None = None,
    root: Path | None = None,
) -> Entry:
    """Adds a data set of the user to registered.yaml and to Detectron2's catalogs.

    The classes and their order (by category id) are taken from the json.

    Args:
        name: the name for DATASETS.TRAIN and DATASETS.TEST; an earlier entry is replaced.
        json_file: COCO json.
        image_root: the folder that its file names are relative to.
        text_classes: names of the classes of running text; None if it is unknown.
        root: data folder; None means `datasets_root()`.

    Raises:
        UserError: the json cannot be used, the folder is missing, a text class is unknown, the name
            is already used, or registered.yaml is damaged.
    """
    folder = datasets_root() if root is None else Path(root).expanduser().absolute()
    entry, item = new_entry(folder, name, json_file, image_root, text_classes=text_classes)
    replace_own(entry, item, folder)
    return entry


def replace_own(entry: Entry, item: dict[str, Any], root: Path) -> None:
    """Registers a data set of the user in the place of an earlier one, and writes it down."""
    if entry.name in _registered:
        forget(entry.name)
    register(entry)
    store(root, entry.name, item)


def forget(name: str) -> None:
    """Removes a name that `register` registered from Detectron2's catalogs."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    _registered.pop(name, None)
    DatasetCatalog.pop(name, None)
    MetadataCatalog.pop(name, None)


def register(entry: Entry) -> None:
    """Registers one data set in DatasetCatalog and MetadataCatalog.

    Raises:
        UserError: the name is already used for other data.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    known = _registered.get(entry.name)
    if known == entry and entry.name in DatasetCatalog:
        return
    if entry.name in DatasetCatalog:
        metadata = MetadataCatalog.get(entry.name)
        taken = next(filter(None, map(metadata.get, ("json_file", "hub_file", "label_file"))), None)
        if known is None and taken == entry.json_file:
            return  # the user registered the same file himself; keep his loader
        raise UserError(
            f"data set name {entry.name} is already taken by {taken or 'other data'}, "
            f"not {entry.json_file}; rename one of the two"
        )
    _registered[entry.name] = entry
    if entry.kind == "lines":
        from graphkd.data.lines import published as published_lines

        DatasetCatalog.register(entry.name, lambda: published_lines(entry.name))
        classes = list(entry.classes)
        MetadataCatalog.get(entry.name).set(
            kind="lines", hub_file=entry.json_file, thing_classes=classes, text_classes=classes
        )
        return
    if entry.kind == "crops":
        from graphkd.data.crops import published as published_crops

        DatasetCatalog.register(entry.name, lambda: published_crops(entry.name))
        MetadataCatalog.get(entry.name).set(
            kind="crops", label_file=entry.json_file, charset_file=entry.charset_file
        )
        return
    DatasetCatalog.register(entry.name, lambda: _published_dicts(entry))
    metadata: dict[str, Any] = {
        "thing_classes": list(entry.classes),
        "thing_dataset_id_to_contiguous_id": entry.id_map,
        "json_file": entry.json_file,
        "image_root": entry.image_root,
        "evaluator_type": "coco",
    }
    if entry.text_classes is not None:
        metadata["text_classes"] = list(entry.text_classes)
    MetadataCatalog.get(entry.name).set(**metadata)


def training_dicts(names: Sequence[str], *, filter_empty: bool) -> list[dict[str, Any]]:
    """The pages of some data sets for training, as Detectron2 dataset dicts.

    Pages and boxes that cannot be used for training are skipped with a warning. Pages from a loader
    of the user are checked, but not changed.

    Args:
        names: data set names.
        filter_empty: skip pages without boxes or with crowd boxes only.

    Raises:
        UserError: data is missing or cannot be used, or the user's own loader returns a box that
            would make the loss NaN.
    """
    from detectron2.data.build import filter_images_with_only_crowd_annotations

    dicts = list(itertools.chain.from_iterable(map(_training_dicts, names)))
    return filter_images_with_only_crowd_annotations(dicts) if filter_empty else dicts


def _training_dicts(name: str) -> list[dict[str, Any]]:
    require_boxes(name)
    entry = _registered.get(name)
    if entry is not None:
        require_data(entry)
        ids = entry.category_ids
        return load_coco(entry.json_file, entry.image_root, entry.classes, category_ids=ids)
    dicts = _own_loader(name)
    fault = untrainable(dicts)
    if fault is not None:
        json_file = source_json(name)
        advice = "correct its loader" if json_file is None else remedy(json_file, name)
        raise UserError(f"data set {name}: {fault}; {advice}")
    return dicts


def _own_loader(name: str) -> list[dict[str, Any]]:
    """The pages from a loader that the user registered.

    Raises:
        UserError: the loader fails on its json, as Detectron2's does if a key is missing.
    """
    from detectron2.data import DatasetCatalog

    try:
        return DatasetCatalog.get(name)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        json_file = source_json(name)
        if json_file is None:
            raise
        said = f"{type(error).__name__}: {error}"
        raise UserError(
            f"data set {name}: its loader fails on {json_file} ({said}); {remedy(json_file, name)}"
        ) from error


def _published_dicts(entry: Entry) -> list[dict[str, Any]]:
    require_data(entry)
    where = entry.json_file, entry.image_root, entry.classes
    return load_published(*where, category_ids=entry.category_ids, name=entry.name)


def published(name: str) -> dict[str, Any] | None:
    """The json of a data set as published; None for a set that has no json.

    Raises:
        UserError: unknown name, or a json that cannot be scored as published.
    """
    json_file = source_json(name)
    if name in _registered:
        require_data(_registered[name])
    return None if json_file is None else read_published(json_file, name=name)


def check_scorable(names: Sequence[str]) -> None:
    """Checks the sets that a run will be scored on, so that it does not fail after its last step.

    Raises:
        UserError: a set is missing or cannot be scored as published.
    """
    from detectron2.data import MetadataCatalog

    for name in dict.fromkeys(names):
        require_boxes(name)
        images = MetadataCatalog.get(name).get("image_root")
        if name in _registered:
            _published_dicts(_registered[name])
        elif source_json(name) is not None and images is not None:
            load_published(source_json(name), images, classes_of(name), name=name)
            _own_loader(name)


def entry_of(name: str) -> Entry | None:
    """The entry of a name that graphkd registered; None for names registered elsewhere."""
    return _registered.get(name)


def source_json(name: str) -> Path | None:
    """The COCO json of a data set, whether it exists or not; None for another kind of source.

    Raises:
        UserError: unknown name.
    """
    from detectron2.data import MetadataCatalog

    require(name)
    json_file = MetadataCatalog.get(name).get("json_file")
    return None if json_file is None else Path(json_file)


def locate(name: str) -> tuple[Path, Path, tuple[str, ...] | None]:
    """Json file, image folder and expected classes of a registered data set.

    Generated pages are made if they are missing.

    Raises:
        UserError: unknown name, or its json is not there.
    """
    from detectron2.data import MetadataCatalog

    require(name)
    entry = entry_of(name)
    if entry is not None:
        require_data(entry)
        return Path(entry.json_file), Path(entry.image_root), entry.classes
    metadata = MetadataCatalog.get(name)
    files = metadata.get("json_file"), metadata.get("image_root")
    if None in files:
        raise UserError(f"data set {name} was not registered from a COCO json: give the file")
    return Path(files[0]), Path(files[1]), metadata.get("thing_classes")


def ensure_registered() -> None:
    """Calls `register_all()`, unless it was called before (perhaps with another root)."""
    if not _registered:
        register_all()


def require(name: str) -> None:
    """Checks that a data set of this name is registered.

    Raises:
        UserError: it is not; the message suggests similar names.
    """
    from detectron2.data import DatasetCatalog

    ensure_registered()
    if name in DatasetCatalog:
        return
    close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise UserError(
        f"unknown data set {name!r}: {hint}`graphkd data list` shows all names, "
        "`graphkd data register NAME --json FILE --images DIR` adds your own"
    )


def require_boxes(name: str) -> None:
    """Checks that a data set of this name is registered and has boxes of regions.

    Raises:
        UserError: it is unknown, or a set of text lines or of pictures of lines.
    """
    from detectron2.data import MetadataCatalog

    require(name)
    kind = MetadataCatalog.get(name).get("kind")
    if kind == "lines":
        raise UserError(
            f"data set {name} has text lines, no regions: it is for TASK: text_detection"
        )
    if kind == "crops":
        raise UserError(
            f"data set {name} has pictures of lines, no regions: it is for TASK: text_recognition"
        )


def classes_of(name: str) -> tuple[str, ...]:
    """The class names of one data set. A set registered elsewhere may be loaded to find them.

    Raises:
        UserError: unknown name, an unusable json, or no class names even after loading.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    require(name)
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        if metadata.get("json_file") is None:
            DatasetCatalog.get(name)
        else:
            # Detectron2's loader would set the same classes, but it would also load the pages.
            categories = read_categories(metadata.json_file)
            metadata.thing_classes = list(categories.values())
    classes = metadata.get("thing_classes")
    if not classes:
        raise UserError(
            f"data set {name} has no class names: set MetadataCatalog.get({name!r}).thing_classes"
        )
    return tuple(classes)


def dataset_classes(names: Sequence[str]) -> tuple[str, ...]:
    """The class names that all the named data sets share, in order.

    Args:
        names: data set names, at least one.

    Raises:
        UserError: an unknown name, or class lists that differ.
    """
    if isinstance(names, str):
        raise TypeError("names is a sequence of names, not one string")
    if not names:
        raise UserError("no data set is named; set DATASETS.TRAIN in the config")
    first = classes_of(names[0])
    for name in names[1:]:
        classes = classes_of(name)
        if classes != first:
            raise UserError(
                f"{names[0]} has the classes {', '.join(first)}, but {name} has "
                f"{', '.join(classes)}: data sets used together need the same list in one order"
            )
    return first


def text_classes(name: str) -> tuple[str, ...] | None:
    """Names of the classes of running text; None if they are not known for this data set.

    Raises:
        UserError: unknown name.
    """
    from detectron2.data import MetadataCatalog

    require(name)
    texts = MetadataCatalog.get(name).get("text_classes")
    return None if texts is None else tuple(texts)
