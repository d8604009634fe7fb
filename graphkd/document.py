"""Document > Page > Region > Line > Word: what prediction and reading return, to json and back.

Coordinates are pixels of the upright page, x to the right, y downwards. Polygons have three or more
points, clockwise; `box` is the upright box (x1, y1, x2, y2) around one. A layout detector alone
gives regions without lines, a text detector alone one region `text` around its lines, a recogniser
alone one line.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from graphkd.errors import UserError

if TYPE_CHECKING:
    from layoutparser import Layout

FORMAT = 1
Point = tuple[float, float]
Polygon = tuple[Point, ...]
Box = tuple[float, float, float, float]


class Outlined:
    """Anything with a polygon."""

    polygon: Polygon

    @property
    def box(self) -> Box:
        """The upright box around the polygon: x1, y1, x2, y2."""
        xs, ys = zip(*self.polygon, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def is_box(self) -> bool:
        """Whether the polygon is no more than its box."""
        return self.polygon == box_polygon(self.box)


@dataclass(frozen=True)
class Word(Outlined):
    """One word of a line.

    Attributes:
        polygon: its outline.
        text: its characters; "" where it was not read.
        confidence: of the text in 0..1; None for text that was not recognised but known.
        characters: text, left, right and confidence of each; empty where nobody asked for them.
        id: such as r1l2w3; empty outside of a document with reading order.
    """

    polygon: Polygon
    text: str = ""
    confidence: float | None = None
    characters: tuple[tuple[str, float, float, float | None], ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Line(Outlined):
    """One line of text.

    Attributes:
        polygon: its outline.
        score: of the text detector in 0..1; None where none ran.
        text: with its spaces; "" where it was not read.
        confidence: of the text in 0..1; None for text that was not recognised but known.
        baseline: points from the line's start to its end; empty where it is not known.
        words: from start to end; empty where the line was not split.
        origin: "ocr", or "pdf" for a PDF's own text.
        alternatives: other readings with their probabilities.
        id: such as r1l2.
    """

    polygon: Polygon
    score: float | None = None
    text: str = ""
    confidence: float | None = None
    baseline: tuple[Point, ...] = ()
    words: tuple[Word, ...] = ()
    origin: str = "ocr"
    alternatives: tuple[tuple[str, float], ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Region(Outlined):
    """One region of a page.

    Attributes:
        label: class name.
        score: of the layout detector in 0..1.
        polygon: its outline.
        lines: of text in it, in reading order; empty where nobody looked for lines.
        found_by: "layout", or "lines" for the surroundings of lines outside of all regions.
        parent: id of the region that holds this one.
        id: such as r1.
    """

    label: str
    score: float
    polygon: Polygon
    lines: tuple[Line, ...] = ()
    found_by: str = "layout"
    parent: str | None = None
    id: str = ""

    @property
    def text(self) -> str:
        """The texts of its lines, one a row."""
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True)
class Page:
    """The regions of one page.

    Attributes:
        source: the file as it was named, or "image 1" for a picture that came from memory.
        number: page in its source, counted from 1.
        width: of the upright page (a PDF page as drawn), in pixels.
        height: likewise.
        regions: in the order that `order_by` names; empty where nothing was found.
        order_by: "score" (falling), or the method that found the reading order.
        dpi: at which a PDF page was drawn; None for pictures.
        rotation: degrees by which the source was turned clockwise to stand upright.
        to_source: 2 x 3 matrix from pixels to the source's own page; None: not computed.
        confidence: of the text of the page in 0..1; None where nothing was read.
        expected_cer: share of characters that are wrong in expectation; None likewise.
    """

    source: str
    number: int
    width: int
    height: int
    regions: tuple[Region, ...]
    order_by: str = "score"
    dpi: float | None = None
    rotation: float = 0
    to_source: tuple[tuple[float, float, float], ...] | None = None
    confidence: float | None = None
    expected_cer: float | None = None

    @property
    def text(self) -> str:
        """The texts of its regions, with an empty row between them."""
        return "\n\n".join(region.text for region in self.regions if region.lines)

    @property
    def lines(self) -> Iterator[Line]:
        """The lines of all regions, in their order."""
        return (line for region in self.regions for line in region.lines)

    @property
    def results(self) -> Iterator[tuple[str, Region | Line]]:
        """Each region with its class; of a region that only surrounds lines, each line."""
        for region in self.regions:
            for result in region.lines if region.found_by == "lines" else (region,):
                yield region.label, result

    def to_dict(self) -> dict[str, Any]:
        """The page as it is written to json: boxes in pixels (to 0.01) and as parts of the page.

        What is not known is left out, and so is a polygon that is only its box.
        """
        sides = (self.width, self.height) * 2
        said = {"source": self.source, "page": self.number}
        said |= {"width": self.width, "height": self.height}
        said |= _known(self, besides=("source", "number", "width", "height", "regions"))
        said["regions"] = [
            {
                "class": region.label,
                "score": round(region.score, 4),
                "box": [round(value, 2) for value in region.box],
                "box_fraction": [
                    round(value / side, 6) for value, side in zip(region.box, sides, strict=True)
                ],
                **_known(region, besides=("label", "score", "polygon" * region.is_box)),
            }
            for region in self.regions
        ]
        return said

    def to_layoutparser(self) -> Layout:
        """The regions as a `layoutparser.Layout` of TextBlocks with type and score.

        Raises:
            UserError: the package layoutparser is not installed.
        """
        try:
            layoutparser = importlib.import_module("layoutparser")
        except ModuleNotFoundError as error:
            raise UserError(
                "to_layoutparser needs the package layoutparser: pip install layoutparser"
            ) from error
        return layoutparser.Layout(
            [
                layoutparser.TextBlock(
                    layoutparser.Rectangle(*region.box), type=region.label, score=region.score
                )
                for region in self.regions
            ]
        )


@dataclass(frozen=True)
class Document:
    """The pages of one file.

    Attributes:
        source: the file as it was named.
        pages: in the file's order.
        sha256: of the file; empty for a picture that came from memory.
        meta: facts that travel with it, as json knows them.
    """

    source: str
    pages: tuple[Page, ...]
    sha256: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Page]:
        return iter(self.pages)

    def __len__(self) -> int:
        return len(self.pages)

    @property
    def text(self) -> str:
        """The texts of its pages, with a form feed between them."""
        return "\f".join(page.text for page in self.pages)

    def to_dict(self, *, digits: int | None = None) -> dict[str, Any]:
        """Everything as plain values for json.

        Args:
            digits: decimals of coordinates, and four for shares of 1; None: without rounding.
        """
        said = {"format": FORMAT, **asdict(self)}
        return said if digits is None else _coarse(said, digits)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Document:
        """The document from `to_dict`, without loss.

        Raises:
            UserError: another format, or something is missing or of another kind.
        """
        if not isinstance(said, Mapping) or said.get("format") != FORMAT:
            raise UserError(f"this is not the json of a document of format {FORMAT}")
        try:
            given = {key: value for key, value in said.items() if key != "format"}
            return cls(**{**given, "pages": _parts(said["pages"], Page)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"damaged json of a document ({reason})") from error


def box_polygon(box: Sequence[float]) -> Polygon:
    """The corners of x1, y1, x2, y2, clockwise from the upper left."""
    x1, y1, x2, y2 = box
    return (x1, y1), (x2, y1), (x2, y2), (x1, y2)


def text_region(lines: Iterable[Line], *, score: float = 1.0) -> Region:
    """The region `text` around lines that were found without a layout; at least one line."""
    lines = tuple(lines)
    boxes = list(zip(*(line.box for line in lines), strict=True))
    around = min(boxes[0]), min(boxes[1]), max(boxes[2]), max(boxes[3])
    return Region("text", score, box_polygon(around), lines, found_by="lines")


def page_polygon(points: Iterable[Sequence[float]], *, width: float, height: float) -> Polygon:
    """Points moved into the page and put in clockwise order, as polygons of documents are.

    The first point stays the first, because it says where a line starts.
    """
    inside = [
        (min(max(float(x), 0.0), float(width)), min(max(float(y), 0.0), float(height)))
        for x, y in points
    ]
    ends = zip(inside, inside[1:] + inside[:1], strict=True)
    turn = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in ends)
    return tuple(inside if turn >= 0 else inside[:1] + inside[:0:-1])


def numbered(page: Page) -> Page:
    """The page with ids by reading order: r1 for regions, r1l2 for lines, r1l2w3 for words."""
    new = {region.id: f"r{place}" for place, region in enumerate(page.regions, 1) if region.id}
    regions = []
    for place, region in enumerate(page.regions, start=1):
        lines = tuple(
            replace(
                line,
                id=f"r{place}l{row}",
                words=tuple(
                    replace(word, id=f"r{place}l{row}w{column}")
                    for column, word in enumerate(line.words, start=1)
                ),
            )
            for row, line in enumerate(region.lines, start=1)
        )
        parent = new.get(region.parent)
        regions.append(replace(region, id=f"r{place}", parent=parent, lines=lines))
    return replace(page, regions=tuple(regions))


# Field -> what its entries are, for reading.
_INSIDE = {"regions": Region, "lines": Line, "words": Word}
# Field -> decimals in the rounded json; other numbers are shares of 1.
_DIGITS = {"polygon": 2, "baseline": 2, "characters": 2}


def _parts(said: Iterable[Mapping[str, Any]], kind: type) -> tuple:
    """Dataclasses of a kind from their fields by name."""
    return tuple(
        kind(
            **{
                key: _parts(value, _INSIDE[key]) if key in _INSIDE else _tuples(value)
                for key, value in entry.items()
            }
        )
        for entry in said
    )


def _known(item: Any, *, besides: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass that are not as by default, rounded, as plain values by name."""
    said = {}
    for entry in fields(item):
        value = getattr(item, entry.name)
        if entry.name in besides or value == entry.default:
            continue
        if entry.name in _INSIDE:
            said[entry.name] = [_known(part) for part in value]
        else:
            said[entry.name] = _rounded(value, _DIGITS.get(entry.name, 4))
    return said


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, tuple):
        return [_rounded(part, digits) for part in value]
    return round(value, digits) if isinstance(value, float) else value


def _coarse(value: Any, digits: int, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _coarse(part, digits, name) for name, part in value.items()}
    if key in _INSIDE or key == "pages":
        return [_coarse(part, digits) for part in value]
    if key in ("to_source", "meta"):
        return value
    return _rounded(value, digits if key in _DIGITS else 4)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
