"""Names of data sets in Detectron2's catalogs: the known ones and the user's own; loads no page."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphkd.data.entries import (
    Entry,
    below,
    datasets_root,
    known_entries,
    own_entries,
    own_entry,
    store,
)
from graphkd.data.loading import load, make_pages
from graphkd.errors import UserError

_registered: dict[str, Entry] = {}
_adopted: dict[str, Entry] = {}


def register_all(root: Path | None = None) -> None:
    """Enter all known and all of the user's own data sets into Detectron2's catalogs.

    Touches no data: a set is read (or, for generated pages, made) when it is loaded. Calling it
    again is harmless.

    Args:
        root: data folder; None means `datasets_root()`.

    Raises:
        UserError: a name is already taken by other data, or registered.yaml is unreadable.

    """
    folder = datasets_root() if root is None else Path(root).expanduser().absolute()
    for entry in (*known_entries(folder), *own_entries(folder)):
        register(entry)


def unregister_all() -> None:
    """Take out everything that `register_all` put in; names registered elsewhere stay."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    for name in list(_registered):
        del _registered[name]
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def add_own(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    *,
    text_classes: Sequence[str] | None = None,
    root: Path | None = None,
) -> Entry:
    """Enter a data set of the user's into registered.yaml and into Detectron2's catalogs.

    Class count, names and their order (by category id) follow from the json.

    Args:
        name: the name for DATASETS.TRAIN and DATASETS.TEST; an earlier entry is replaced.
        json_file: COCO json.
        image_root: the folder that its file names are relative to.
        text_classes: names of the classes that hold running text; None leaves it unknown.
        root: data folder; None means `datasets_root()`.

    Raises:
        UserError: unusable json, missing folder, unknown text class, a name that is taken or a
            damaged registered.yaml.

    """
    from graphkd.data.coco import read_categories

    folder = datasets_root() if root is None else Path(root).expanduser().absolute()
    if not name or not all(c.isalnum() or c in "_-." for c in name):
        raise UserError(f"{name!r} is no name: use letters, digits, '_', '-' and '.' only")
    if name in {entry.name for entry in known_entries(folder)}:
        raise UserError(f"{name} is the name of a built-in data set; choose another one")
    own_entries(folder)  # a damaged registered.yaml stops here, before anything is entered
    images = Path(image_root).expanduser().absolute()
    if not images.is_dir():
        raise UserError(f"{images}: no such folder; --images is the folder of the page images")
    annotations = Path(json_file).expanduser().absolute()
    categories = read_categories(annotations)
    for label in text_classes or ():
        if label not in categories.values():
            raise UserError(
                f"text class {label!r} is not in {annotations}; "
                f"its classes are: {', '.join(categories.values())}"
            )
    item: dict[str, Any] = {
        "json": below(annotations, folder),
        "images": below(images, folder),
        "categories": categories,
    }
    if text_classes is not None:
        item["text_classes"] = list(text_classes)
    entry = own_entry(folder, name, item)
    old = _registered.pop(name, None)
    if old is not None:
        _forget(name)
    register(entry)
    store(folder, name, item)
    return entry


def _forget(name: str) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    DatasetCatalog.pop(name, None)
    MetadataCatalog.pop(name, None)


def register(entry: Entry) -> None:
    """Enter one data set into DatasetCatalog and MetadataCatalog.

    Raises:
        UserError: the name is taken by other data.

    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    known = _registered.get(entry.name)
    if known == entry and entry.name in DatasetCatalog:
        return
    if entry.name in DatasetCatalog:
        adopted = _adopted.get(entry.name)
        taken = adopted.json_file if adopted else MetadataCatalog.get(entry.name).get("json_file")
        if known is None and taken == entry.json_file:
            return  # the user registered the very same file with Detectron2's own function
        raise UserError(
            f"data set name {entry.name} is already taken by {taken or 'other data'}, "
            f"not {entry.json_file}; rename one of the two"
        )
    _registered[entry.name] = entry
    DatasetCatalog.register(entry.name, lambda: load(entry))
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


def entry_of(name: str) -> Entry | None:
    """The entry of a name that graphkd registered; None for names registered elsewhere."""
    return _registered.get(name)


def source_json(name: str) -> Path | None:
    """The COCO json that a data set was registered with, there or not; None for another source.

    Metadata's `json_file` may be a cleaned copy instead.

    Raises:
        UserError: unknown name.

    """
    require(name)
    entry = entry_of(name) or _adopted.get(name)
    return None if entry is None else Path(entry.json_file)


def locate(name: str) -> tuple[Path, Path, tuple[str, ...] | None]:
    """Json file, image folder and expected classes of a registered data set.

    Generated pages are made where they are missing.

    Raises:
        UserError: unknown name, or its json is not there.

    """
    from detectron2.data import MetadataCatalog

    require(name)
    entry = entry_of(name)
    if entry is not None and entry.source is not None:
        entry = make_pages(entry)
    if entry is None:
        metadata = MetadataCatalog.get(name)
        files = metadata.get("json_file"), metadata.get("image_root")
        if None in files:
            raise UserError(f"data set {name} was not registered from a COCO json: give the file")
        return Path(files[0]), Path(files[1]), metadata.get("thing_classes")
    if not Path(entry.json_file).is_file():
        raise UserError(f"{name} is missing: no file {entry.json_file}; {entry.how}")
    return Path(entry.json_file), Path(entry.image_root), entry.classes


def ensure_registered() -> None:
    """Call `register_all()` once, unless someone did (perhaps with another root)."""
    if not _registered:
        register_all()


def require(name: str) -> None:
    """Check that a data set of this name is registered; one of `register_coco_instances` is from
    then on loaded with the checks of this project.

    Raises:
        UserError: it is not, and the message offers the closest names; or its json is unusable.

    """
    from detectron2.data import DatasetCatalog

    ensure_registered()
    if name in DatasetCatalog:
        _adopt(name)
        return
    close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise UserError(
        f"unknown data set {name!r}: {hint}`graphkd data list` shows all names, "
        "`graphkd data register NAME --json FILE --images DIR` adds your own"
    )


def _adopt(name: str) -> None:
    """Puts the checked loader in the place of Detectron2's own for a COCO json, which trains on
    NaN boxes without a word and ends in a stack trace where a key is missing.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import coco

    from graphkd.data.coco import read_categories

    if DatasetCatalog[name].__module__ != coco.__name__:
        return
    metadata = MetadataCatalog.get(name)
    item = {
        "json": metadata.json_file,
        "images": metadata.image_root,
        "categories": read_categories(metadata.json_file),
        "text_classes": metadata.get("text_classes"),
    }
    entry = replace(own_entry(Path(), name, item), how="register it with the place where it is")
    _adopted[name] = entry
    DatasetCatalog.pop(name)
    DatasetCatalog.register(name, lambda: load(entry))
    vars(metadata).update(
        thing_classes=list(entry.classes), thing_dataset_id_to_contiguous_id=entry.id_map
    )


def classes_of(name: str) -> tuple[str, ...]:
    """The class names of one data set; names registered elsewhere may have to be loaded for it.

    Raises:
        UserError: unknown name, or no class names even after loading.

    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    require(name)
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        DatasetCatalog.get(name)
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
    """Names of the classes of running text; None where it is not known for this data set.

    Raises:
        UserError: unknown name.

    """
    from detectron2.data import MetadataCatalog

    require(name)
    texts = MetadataCatalog.get(name).get("text_classes")
    return None if texts is None else tuple(texts)
