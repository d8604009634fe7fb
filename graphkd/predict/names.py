"""Names of result files: safe on every system, and never the same twice; nothing is written."""

import re
import unicodedata
from pathlib import PurePath

_MAX_BYTES = 120  # file systems end at 255; endings and numbers come on top
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10)}


class Names:
    """Hands out names; those that differ in case alone count as the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, source: str, number: int, pages: int) -> str:
        """The name, without ending, for a page.

        Args:
            source: the page's file.
            number: page in the file, from 1.
            pages: pages of the file; where there are several the name ends in `_p0001`.
        """
        stem = safe_stem(source)
        wanted = f"{stem}_p{number:04d}" if pages > 1 or number > 1 else stem
        name, count = wanted, 1
        while name.casefold() in self._taken:
            count += 1
            name = f"{wanted}~{count}"
        self._taken.add(name.casefold())
        return name


def safe_stem(source: str) -> str:
    """The file name without its ending: letters, digits, `-`, `_` and `.` of any language, the rest
    as `_`; never empty, hidden, too long or a device name of Windows.
    """
    name = PurePath(source).name
    name = PurePath(name).stem if PurePath(name).suffix else name
    name = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", name))
    name = name.encode()[:_MAX_BYTES].decode("utf-8", "ignore").strip(".-") or "page"
    return f"{name}_" if name.split(".")[0].casefold() in _RESERVED else name
