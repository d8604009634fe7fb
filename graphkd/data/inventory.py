"""The table of `graphkd data list`: which data sets are there and how big; changes nothing."""

from pathlib import Path

from graphkd.data.check import read_document
from graphkd.data.entries import Entry, known_entries, own_entries
from graphkd.errors import UserError

_LARGEST = 100_000_000  # bytes of json read for a page count


def inventory(root: Path) -> list[tuple[str, str, str, str]]:
    """One row a data set: name, state of the data, pages, classes (text classes with a star)."""
    entries = [*own_entries(root), *known_entries(root)]
    rows, last = [], None
    for entry in entries:
        classes = _classes(entry)
        rows.append((entry.name, *_state(entry), "as above" if classes == last else classes))
        last = classes
    return rows


def _classes(entry: Entry) -> str:
    texts = entry.text_classes or ()
    names = [f"{name}*" if name in texts else name for name in entry.classes]
    unknown = " (text classes unknown)" if entry.text_classes is None else ""
    return f"{len(names)}: {', '.join(names)}{unknown}"


def _state(entry: Entry) -> tuple[str, str]:
    path = Path(entry.json_file)
    if not path.is_file():
        return ("made on first use" if entry.source is not None else "missing"), "-"
    if not Path(entry.image_root).is_dir():
        return "images missing", "-"
    if path.stat().st_size > _LARGEST:
        return "found", "many"
    try:
        return "found", str(len(read_document(path)["images"]))
    except UserError:
        return "unreadable json", "-"
