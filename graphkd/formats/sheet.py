"""A page as a PAGE or ALTO file gives it, before it becomes a page of the document model."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from graphkd.document import Line, Outlined, Page, Point, Polygon, Region, page_polygon, text_region
from graphkd.formats.xml import BadFile, pairs

# Of the height of a line of which only the baseline is known; Latin print has about these shares.
_ABOVE, _BELOW = 0.75, 0.25
_SPACING = 0.7  # height of a line as a share of the distance between baselines
# Region ids of this project's files: the text of figure r3 is in region r3t.
INNER = "t"


@dataclass
class Sheet:
    """The regions and lines of one page, in the order of the file, with outlines as published.

    Attributes:
        image: name of the picture without folders; "" where it is not named.
        size: (width, height) that the coordinates are for; None if not known.
        regions: the lines of one that has no outline still count.
        order: ids of regions in reading order; empty where the file names none.
        about: further fields of `Page`.
        repaired: lines with a changed meaning, counted by what was done.
        dropped: what cannot be read, with the reason.
    """

    image: str
    size: tuple[int, int] | None
    regions: list[Region] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    repaired: Counter[str] = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)

    @property
    def lines(self) -> Iterator[Line]:
        """The lines of all regions."""
        return (line for region in self.regions for line in region.lines)

    def add_outlines(self) -> None:
        """Gives lines with a baseline alone an outline, or drops them where no height is known.

        The height is the median of the page's other lines, or follows from the distance of the
        baselines.
        """
        known = [line.box[3] - line.box[1] for line in self.lines if line.polygon]
        bases = sorted(
            sum(y for _, y in line.baseline) / len(line.baseline)
            for line in self.lines
            if not line.polygon
        )
        # Two lines side by side have one height.
        steps = [b - a for a, b in zip(bases, bases[1:], strict=False) if b - a > 1]
        height = median(known) if known else median(steps) * _SPACING if steps else None
        lost = len(bases) if height is None else 0
        self.repaired["lines got an outline from their baseline"] += len(bases) - lost
        self.dropped += ["a line has a baseline alone, and no other line tells its height"] * lost
        for place, region in enumerate(self.regions):
            lines = [
                line if line.polygon else replace(line, polygon=band(line.baseline, height))
                for line in region.lines
                if line.polygon or height is not None
            ]
            self.regions[place] = replace(region, lines=tuple(lines))

    def page(self, path: Path) -> Page:
        """The page with its regions in reading order; coordinates have the file's unit.

        Raises:
            BadFile: the size of the page is not known.
        """
        if self.size is None:
            raise BadFile("the page has no width and height")
        sides = {"width": self.size[0], "height": self.size[1]}
        regions: list[Region] = []
        for region in self.regions:
            lines = tuple(
                _moved(replace(line, words=tuple(_moved(w, sides) for w in line.words)), sides)
                for line in region.lines
            )
            if regions and region.id == regions[-1].id + INNER == f"{region.parent}{INNER}":
                regions[-1] = replace(regions[-1], lines=regions[-1].lines + lines)
            elif region.polygon:
                regions.append(_moved(replace(region, lines=lines), sides))
            elif lines:
                regions.append(replace(region, polygon=text_region(lines).polygon, lines=lines))
        rank = {name: place for place, name in enumerate(self.order)}
        regions.sort(key=lambda region: rank.get(region.id, len(rank)))
        about = {"source": self.image or path.name, "number": 1, **self.about}
        return Page(**about, **sides, regions=tuple(regions))


def band(baseline: Sequence[Point], height: float) -> Polygon:
    """An outline of a line from its baseline and its height in pixels."""
    (x0, y0), (x1, y1) = baseline[0], baseline[-1]
    length = max(math.hypot(x1 - x0, y1 - y0), 1e-9)
    down = -(y1 - y0) / length, (x1 - x0) / length

    def moved(share: float) -> list[Point]:
        return [(x + down[0] * height * share, y + down[1] * height * share) for x, y in baseline]

    return (*moved(-_ABOVE), *moved(_BELOW)[::-1])


def polyline(values: Sequence[float]) -> tuple[Point, ...]:
    """The points of a baseline.

    Raises:
        BadFile: fewer than two points.
    """
    if len(values) < 4 or len(values) % 2:
        raise BadFile("neither an outline nor a baseline")
    return pairs(values)


def _moved(item: Outlined, sides: dict[str, int]) -> Any:
    return replace(item, polygon=page_polygon(item.polygon, **sides))
