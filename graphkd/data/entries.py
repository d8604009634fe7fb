"""What is known of each data set name: files, classes, registered.yaml; knows no Detectron2."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphkd.data.layouts import GENERATED, KNOWN, GeneratedLayout
from graphkd.errors import UserError

REGISTERED_FILE = "registered.yaml"


@dataclass(frozen=True)
class Entry:
    """One name of the catalog; paths are absolute, `source` is set for generated pages only."""

    name: str
    json_file: str
    image_root: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    text_classes: tuple[str, ...] | None
    how: str
    source: tuple[str, str, str] | None = None  # root, name and split for synthesis.ensure

    @property
    def id_map(self) -> dict[int, int]:
        """Category id in the json -> index in `classes`."""
        return {number: index for index, number in enumerate(self.category_ids)}


def datasets_root() -> Path:
    """The data folder: $DETECTRON2_DATASETS, or `datasets` in the current folder."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser().absolute()


def known_entries(root: Path) -> list[Entry]:
    """The generated pages and the published data sets below `root`, there or not."""
    entries = [_generated(layout, root) for layout in GENERATED]
    for layout in KNOWN:
        entries.append(
            Entry(
                name=layout.name,
                json_file=str(root / layout.json),
                image_root=str(root / layout.images),
                classes=layout.classes,
                category_ids=tuple(range(1, len(layout.classes) + 1)),
                text_classes=layout.text_classes,
                how=layout.how,
            )
        )
    return entries


def _generated(layout: GeneratedLayout, root: Path) -> Entry:
    folder = root / layout.source / layout.split
    return Entry(
        name=layout.name,
        json_file=str(folder / layout.json_name),
        image_root=str(folder / "images"),
        classes=layout.classes,
        category_ids=tuple(range(1, len(layout.classes) + 1)),
        text_classes=layout.text_classes,
        how="made on first use",
        source=(str(root), layout.source, layout.split),
    )


def own_entries(root: Path) -> list[Entry]:
    """The data sets of registered.yaml below `root`; empty where there is no such file.

    Raises:
        UserError: the file is not readable as what `add_own` writes; the message names it.

    """
    import yaml

    path = root / REGISTERED_FILE
    if not path.is_file():
        return []
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return [own_entry(root, str(name), item) for name, item in content.items()]
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not readable as a list of data sets ({said}); "
            "mend it or delete it and run `graphkd data register` again"
        ) from None


def own_entry(root: Path, name: str, item: dict[str, Any]) -> Entry:
    categories = {int(number): str(label) for number, label in item["categories"].items()}
    texts = item.get("text_classes")
    return Entry(
        name=name,
        json_file=str(root / item["json"]),
        image_root=str(root / item["images"]),
        classes=tuple(categories[number] for number in sorted(categories)),
        category_ids=tuple(sorted(categories)),
        text_classes=None if texts is None else tuple(map(str, texts)),
        how=f"put it back or register it again (it is entered in {root / REGISTERED_FILE})",
    )


def below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def store(root: Path, name: str, item: dict[str, Any]) -> None:
    import yaml

    path = root / REGISTERED_FILE
    root.mkdir(parents=True, exist_ok=True)
    content = {}
    if path.is_file():
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    content[name] = item
    text = "# Written by `graphkd data register`; paths are relative to this folder.\n"
    text += yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a file so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
