"""What `graphkd data list` knows: which data sets are there and how big; changes nothing."""

from dataclasses import dataclass
from pathlib import Path

from graphkd.data.check import read_document
from graphkd.data.entries import Entry, known_entries, own_entries
from graphkd.errors import UserError

_LARGEST = 100_000_000  # bytes of json read for a page count


@dataclass(frozen=True)
class Listed:
    """One data set.

    Attributes:
        name: as configs call it.
        data: found, missing, images missing, unreadable json, or made on first use.
        pages: how many; None where it is not known, as for very large files.
        classes: names in order.
        text_classes: those that are text; None where the set does not say.
    """

    name: str
    data: str
    pages: int | None
    classes: tuple[str, ...]
    text_classes: tuple[str, ...] | None


def inventory(root: Path) -> list[Listed]:
    """All data sets, the user's own first."""
    return [_listed(entry) for entry in [*own_entries(root), *known_entries(root)]]


def _listed(entry: Entry) -> Listed:
    texts = None if entry.text_classes is None else tuple(entry.text_classes)
    return Listed(entry.name, *_state(entry), tuple(entry.classes), texts)


def _state(entry: Entry) -> tuple[str, int | None]:
    path = Path(entry.json_file)
    if not path.is_file():
        return ("made on first use" if entry.source is not None else "missing"), None
    if not Path(entry.image_root).is_dir():
        return "images missing", None
    if path.stat().st_size > _LARGEST:
        return "found", None
    try:
        return "found", len(read_document(path)["images"])
    except UserError:
        return "unreadable json", None
