"""Page numbers as a user writes them, `1-3,7`; no files."""

import re
from dataclasses import dataclass

from graphkd.errors import UserError


@dataclass(frozen=True)
class PageRanges:
    """A set of page numbers, counted from 1.

    Attributes:
        text: as the user wrote it.
        spans: first and last number of each part; None as the last: to the end.
    """

    text: str
    spans: tuple[tuple[int, int | None], ...]

    def __contains__(self, number: int) -> bool:
        """Whether a page is wanted."""
        return any(
            first <= number and (last is None or number <= last) for first, last in self.spans
        )

    def __str__(self) -> str:
        return self.text


def parse_ranges(text: str) -> PageRanges:
    """Reads `1-3,7` or `5-` (to the end).

    Raises:
        UserError: anything else, a page 0, or a range that ends before it begins.
    """
    spans = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]+)\s*(?:(-)\s*([0-9]+)?)?\s*", part)
        first = int(found[1]) if found else 0
        last = first
        if found and found[2]:
            last = int(found[3]) if found[3] else None
        if first < 1 or (last is not None and last < first):
            raise UserError(f"--pages {text!r}: write page numbers from 1 on, such as 1-3,7 or 5-")
        spans.append((first, last))
    return PageRanges(text.strip(), tuple(spans))
