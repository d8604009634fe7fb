"""The known data sets (files and classes), and those of the user in registered.yaml."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphkd.data.check.document import read_document
from graphkd.data.coco import read_categories
from graphkd.data.layouts import KNOWN, KNOWN_CROPS, KNOWN_LINES
from graphkd.errors import UserError
from graphkd.io import write_text

REGISTERED_FILE = "registered.yaml"
_LARGEST = 100_000_000  # bytes; a larger json is not read just to count its pages


@dataclass(frozen=True)
class Entry:
    """One data set; paths are absolute, and `source` is set only for generated pages."""

    name: str
    json_file: str
    image_root: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    text_classes: tuple[str, ...] | None
    how: str  # how to get the data, the end of "... is missing: "
    source: tuple[str, str, str] | None = None  # root, name and split for synthesis.ensure
    # "lines": `json_file` is a hub file of text lines; "crops": a list of line pictures and texts
    kind: str = "coco"
    charset_file: str = ""  # crops: the charset to read them with, if there is one
    group: str = ""  # crops: the regular expression that finds the document in a name

    @property
    def id_map(self) -> dict[int, int]:
        """Category id in the json -> index in `classes`."""
        return {number: index for index, number in enumerate(self.category_ids)}


@dataclass(frozen=True)
class Listed:
    """One row of `graphkd data list`; `pages` is None if they were not counted."""

    name: str
    data: str  # found, missing, images missing, unreadable json, or made on first use
    pages: int | None
    classes: tuple[str, ...]
    text_classes: tuple[str, ...] | None
    kind: str = "coco"  # or "lines", "crops"


def datasets_root() -> Path:
    """The data folder: $DETECTRON2_DATASETS, or `datasets` in the current folder."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser().absolute()


def inventory(root: Path) -> list[Listed]:
    """All data sets below `root`, the user's own first."""
    return [
        Listed(entry.name, *_state(entry), entry.classes, entry.text_classes, entry.kind)
        for entry in [*own_entries(root), *known_entries(root)]
    ]


def _state(entry: Entry) -> tuple[str, int | None]:
    path = Path(entry.json_file)
    if not path.is_file():
        return ("made on first use" if entry.source is not None else "missing"), None
    if not Path(entry.image_root).is_dir():
        return "images missing", None
    if path.stat().st_size > _LARGEST:
        return "found", None
    if entry.kind != "coco":
        with path.open("rb") as stream:
            return "found", sum(1 for line in stream if line.strip())
    try:
        return "found", len(read_document(path)["images"])
    except UserError:
        return "unreadable json", None


def require_data(entry: Entry) -> None:
    """Makes generated pages if they are missing; checks that other data exists.

    Raises:
        UserError: its json is missing; the message says how to get it.
    """
    if entry.source is not None:
        from graphkd.synthesis import ensure

        root, name, split = entry.source
        ensure(Path(root), name, split)
    elif not Path(entry.json_file).is_file():
        raise UserError(f"{entry.name} is missing: no file {entry.json_file}; {entry.how}")


def known_entries(root: Path) -> list[Entry]:
    """The generated pages and the published data sets below `root`, whether they exist or not."""
    return [
        Entry(
            name=layout.name,
            json_file=str(root / layout.json),
            image_root=str(root / layout.images),
            classes=layout.classes,
            category_ids=tuple(range(1, len(layout.classes) + 1)),
            text_classes=layout.text_classes,
            how=layout.how,
            source=None if layout.source is None else (str(root), *layout.source),
            kind=layout.kind,
            charset_file=str(root / layout.charset) if layout.charset else "",
            group=layout.group,
        )
        for layout in (*KNOWN, *KNOWN_LINES, *KNOWN_CROPS)
    ]


def own_entries(root: Path) -> list[Entry]:
    """The data sets of registered.yaml below `root`; empty if there is no such file.

    Raises:
        UserError: the file cannot be read as a list of data sets.
    """
    return [_own_entry(root, name, item) for name, item in _registered_yaml(root).items()]


def new_entry(
    root: Path,
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    *,
    text_classes: Sequence[str] | None = None,
) -> tuple[Entry, dict[str, Any]]:
    """Makes the entry of a user's data set and its item for `store`, without writing anything.

    Raises:
        UserError: the json cannot be used, the folder is missing, a text class is unknown, the name
            is that of a built-in data set, or registered.yaml is damaged.
    """
    check_name(root, name)
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
        "json": below(annotations, root),
        "images": below(images, root),
        "categories": categories,
    }
    if text_classes is not None:
        item["text_classes"] = list(text_classes)
    return _own_entry(root, name, item), item


def check_name(root: Path, name: str) -> None:
    """Checks a name for a user's data set, and that registered.yaml can be read.

    Raises:
        UserError: no name, that of a built-in data set, or registered.yaml is damaged.
    """
    if not name or not all(c.isalnum() or c in "_-." for c in name):
        raise UserError(f"{name!r} is no name: use letters, digits, '_', '-' and '.' only")
    if name in {entry.name for entry in known_entries(root)}:
        raise UserError(f"{name} is the name of a built-in data set; choose another one")
    _registered_yaml(root)  # a damaged file stops here, before anything is registered


def store(root: Path, name: str, item: dict[str, Any]) -> None:
    """Writes a data set to registered.yaml; an earlier item with this name is replaced."""
    import yaml

    content = {**_registered_yaml(root), name: item}
    text = "# Written by `graphkd data register`; paths are relative to this folder.\n"
    text += yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    write_text(root / REGISTERED_FILE, text)


def _registered_yaml(root: Path) -> dict[str, Any]:
    import yaml

    path = root / REGISTERED_FILE
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for name, item in content.items():
            _own_entry(root, str(name), item)
    except (yaml.YAMLError, ValueError, AttributeError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not readable as a list of data sets ({said}); "
            "mend it or delete it and run `graphkd data register` again"
        ) from None
    return {str(name): item for name, item in content.items()}


def _own_entry(root: Path, name: str, item: dict[str, Any]) -> Entry:
    how = f"put it back or register it again (it is listed in {root / REGISTERED_FILE})"
    if "lines" in item:
        return lines_entry(name, root / item["lines"], how=how)
    if "crops" in item:
        charset = str(root / item["charset"]) if "charset" in item else ""
        group = str(item.get("group", ""))
        return crops_entry(name, root / item["crops"], how=how, charset=charset, group=group)
    categories = {int(number): str(label) for number, label in item["categories"].items()}
    texts = item.get("text_classes")
    return Entry(
        name=name,
        json_file=str(root / item["json"]),
        image_root=str(root / item["images"]),
        classes=tuple(categories[number] for number in sorted(categories)),
        category_ids=tuple(sorted(categories)),
        text_classes=None if texts is None else tuple(map(str, texts)),
        how=how,
    )


def lines_entry(name: str, hub_file: Path, *, how: str) -> Entry:
    """The entry of a hub file of text lines."""
    where = str(hub_file), str(hub_file.parent)
    return Entry(name, *where, ("text",), (1,), ("text",), how, kind="lines")


def crops_entry(
    name: str, label_file: Path, *, how: str, charset: str = "", group: str = ""
) -> Entry:
    """The entry of a list of line pictures and their texts."""
    where = str(label_file), str(label_file.parent)
    rest = {"kind": "crops", "charset_file": charset, "group": group}
    return Entry(name, *where, (), (), (), how, **rest)


def below(path: Path, root: Path) -> str:
    """The path relative to `root` if possible, so that the data folder can be moved."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
