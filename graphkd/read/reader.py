"""The flow of a page: layout, lines, text, words and order, with three ONNX models."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphkd import shipped
from graphkd.document import Line, Page, Region, numbered, page_polygon
from graphkd.errors import UserError
from graphkd.formats.pdf_page import pixel_matrix
from graphkd.predict.crops import CropReader
from graphkd.predict.detector import Predictor
from graphkd.predict.documents import Failure, RawPage, draw_page
from graphkd.predict.lines import LineDetector
from graphkd.predict.onnx_detector import load_onnx
from graphkd.predict.sources import read_pages
from graphkd.read.assign import assign, split_across, without_duplicates
from graphkd.read.order import DIRECTIONS, ORDERS, line_height, line_order, region_order
from graphkd.read.text_layer import MOST_APART, SOURCES, disagreement, with_pdf_text
from graphkd.read.words import Characters, baseline_of, characters_of, with_text
from graphkd.text.cut import cut_line, line_corners

DPI, MOST_DPI = 200, 400
# A PDF page whose median line is lower than this is drawn once more, with lines of this height.
_LOW, _WANTED = 24.0, 32.0
MAX_PIXELS = 60_000_000
# The rest of a page is cut off with a note.
MOST_REGIONS, MOST_LINES, MOST_CHARACTERS = 1000, 5000, 200_000
# Pixels of a batch of lines: four of the widest bucket, 128 of the narrowest.
_BATCH = 32 * 2048 * 4
# Another rotation must read better by this much mean confidence.
_BETTER = 0.15
_PROBES = 12  # lines that are read to find the rotation
_UPRIGHT = 1.5  # height by width from which a line stands upright
GRADES = {"A": 0.01, "B": 0.03, "C": 0.08, "D": 1.0}  # highest expected CER of each
ROTATIONS = ("auto", "0", "90", "180", "270")
# What the files of a folder are for.
TASKS = {"layout": "layout", "text_detection": "lines", "text_recognition": "text"}


class Models(NamedTuple):
    """The three models of a reader."""

    layout: Predictor
    lines: LineDetector
    text: CropReader


@dataclass(frozen=True)
class Options:
    """How pages are read.

    Attributes:
        dpi: at which PDF pages are drawn; None: 200, and more where lines are low.
        rotate: "auto", or degrees by which pages are turned clockwise, see `ROTATIONS`.
        order: of regions, one of `ORDERS`.
        direction: of the script, one of `DIRECTIONS`.
        words: split lines into words.
        chars: give words their characters with places.
        text: "auto": the text of a PDF where it can be trusted; "pdf": also invisible text; "ocr":
            everything is read.
        min_conf: lines of lower confidence stay without text.
        max_pixels: of a page; PDF pages are drawn smaller.

    Raises:
        UserError: a value out of range.
    """

    dpi: int | None = None
    rotate: str = "auto"
    order: str = "xycut"
    direction: str = "ltr"
    words: bool = True
    chars: bool = False
    text: str = "auto"
    min_conf: float = 0.0
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name, values in (
            ("rotate", ROTATIONS),
            ("order", ORDERS),
            ("direction", DIRECTIONS),
            ("text", SOURCES),
        ):
            if getattr(self, name) not in values:
                raise UserError(f"--{name} {getattr(self, name)}: choose from {', '.join(values)}")
        if not 0 <= self.min_conf <= 1:
            raise UserError(f"--min-conf is a number in 0..1, not {self.min_conf:g}")
        for name in ("dpi", "max_pixels"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} is at least 1")


@dataclass
class Facts:
    """What the log says about a page besides its content.

    Attributes:
        ms: stage -> milliseconds.
        notes: what was left out or done otherwise, and why.
    """

    ms: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + 1000 * (time.perf_counter() - start)

    def limit(self, items: Sequence[Any], most: int, name: str) -> Sequence[Any]:
        """The first `most` items, with a note if there are more."""
        if len(items) > most:
            self.notes.append(f"{len(items)} {name}; only {most} are kept")
        return items[:most]


def load_models(weights: Path | str | None = None, *, threads: int | None = None) -> Models:
    """The models in a folder of ONNX files; those it lacks are the ones that come with graphkd.

    Args:
        weights: the folder; the header of each file says what it is for. None: only shipped ones.
        threads: of each model.

    Raises:
        UserError: no such folder, or a file of another task or two of one.
    """
    found: dict[str, Predictor] = {}
    if weights is not None:
        folder = Path(weights)
        if not folder.is_dir():
            raise UserError(f"--weights {folder}: give a folder with the ONNX files of a reader")
        for path in sorted(folder.glob("*.onnx")):
            model = load_onnx(path, device="cpu", threads=threads)
            task = model.header.task
            if task not in TASKS or task in found:
                what = "a second model" if task in found else "a model"
                raise UserError(f"{path}: {what} for {task}; a reader has one each: {_kinds()}")
            found[task] = model
    for task, name in TASKS.items():
        if task not in found:
            path = shipped.default_weights("onnx", name=name)
            found[task] = load_onnx(path, device="cpu", threads=threads)
    return Models(*(found[task] for task in TASKS))


def _kinds() -> str:
    return ", ".join(TASKS)


class Reader:
    """Reads pages one by one.

    Args:
        models: see `load_models`.
        options: see `Options`.
    """

    def __init__(self, models: Models, options: Options = Options()):  # noqa: B008
        self.models, self.options = models, options
        self._shown = models.layout.shown_scores(), models.lines.shown_scores()

    def pages(
        self, pages: Any, *, page_numbers: str | None = None, password: str | None = None
    ) -> Iterator[Page]:
        """The pages of an argument of `graphkd.read_document`, one by one.

        Raises:
            UserError: a page cannot be read.
        """
        dpi = self.options.dpi or DPI
        for raw in read_pages(pages, dpi=dpi, page_numbers=page_numbers, password=password):
            if isinstance(raw, Failure):
                raise UserError(str(raw))
            yield self.read(raw)[0]

    def read(self, raw: RawPage) -> tuple[Page, np.ndarray, Facts]:
        """One page, its pixels as they were read (H, W, 3), and what the log says about it.

        Raises:
            UserError: a model gives something that is not finite on the page.
        """
        facts = Facts()
        rotation = 0 if self.options.rotate == "auto" else int(self.options.rotate)
        pixels, dpi = turned(raw.pixels, rotation), raw.dpi
        lines = self._lines(pixels, facts)
        height = line_height(lines)
        if raw.pdf is not None and self.options.dpi is None and height and height < _LOW:
            with facts.stage("draw"):
                wanted = min(MOST_DPI, round(dpi * _WANTED / height))
                drawn, dpi = draw_page(
                    raw.pdf, raw.number, dpi=wanted, max_pixels=self.options.max_pixels
                )
            pixels = turned(drawn, rotation)
            lines = self._lines(pixels, facts)
        if self.options.rotate == "auto" and lines:
            with facts.stage("read"):
                rotation = self._rotation(lines, pixels)
            if rotation:
                pixels = turned(pixels, rotation)
                lines = self._lines(pixels, facts)
        regions = self._regions(pixels, facts)
        with facts.stage("assign"):
            lines = split_across(without_duplicates(lines), regions, pixels)
            regions = assign(facts.limit(lines, MOST_LINES, "lines"), regions)
        lines = [line for region in regions for line in region.lines]
        with facts.stage("pdf text"):
            lines = self._from_pdf(lines, raw, pixels, rotation, facts)
        lines = self._with_text(lines, pixels, facts)
        texts = iter(lines)
        regions = [
            replace(region, lines=tuple(next(texts) for _ in region.lines)) for region in regions
        ]
        with facts.stage("order"):
            regions = self._ordered(regions, pixels.shape[:2])
        page = Page(
            raw.source,
            raw.number,
            pixels.shape[1],
            pixels.shape[0],
            tuple(regions),
            order_by="score" if self.options.order == "none" else self.options.order,
            dpi=dpi,
            rotation=rotation,
            to_source=_to_source(raw, pixels, rotation),
            **confidence(lines),
        )
        return numbered(page), pixels, facts

    def read_lines(self, lines: Sequence[Line], pixels: np.ndarray) -> list[Line]:
        """Lines of known outlines with their texts, for measuring the recogniser alone."""
        unread = [replace(line, text="", words=(), origin="ocr") for line in lines]
        return self._with_text(unread, pixels, Facts())

    def _lines(self, pixels: np.ndarray, facts: Facts) -> list[Line]:
        """The lines of a page, polygons inside it."""
        with facts.stage("lines"):
            model = self.models.lines
            found = model.regions([model.prepare(pixels)], shown=self._shown[1])[0]
        height, width = pixels.shape[:2]
        return [
            replace(line, polygon=page_polygon(line.polygon, width=width, height=height))
            for region in found
            for line in region.lines
        ]

    def _regions(self, pixels: np.ndarray, facts: Facts) -> list[Region]:
        with facts.stage("layout"):
            model = self.models.layout
            found = model.regions([model.prepare(pixels)], shown=self._shown[0])[0]
        return list(facts.limit(found, MOST_REGIONS, "regions"))

    def _rotation(self, lines: Sequence[Line], pixels: np.ndarray) -> int:
        """Degrees by which the page is turned clockwise, from reading its longest lines."""
        sides = np.array([_sides(line) for line in lines])
        upright = sides[:, 1] > _UPRIGHT * sides[:, 0]
        vertical = bool(upright.mean() > 0.5)
        if vertical and self.options.direction == "ttb":
            return 0
        longest = np.argsort(-sides.max(1), kind="stable")
        probes = [lines[i] for i in longest if upright[i] == vertical][:_PROBES]
        pictures = [cut_line(pixels, np.asarray(line.polygon)) for line in probes]
        pictures = [picture for picture in pictures if picture is not None]
        # Lines that stand upright are cut as if the page were turned to the left.
        as_cut, around = (270, 90) if vertical else (0, 180)
        scores = []
        for step in (1, -1):
            read = self._characters([np.ascontiguousarray(p[::step, ::step]) for p in pictures])
            means = [found.scores.mean() for found in read if len(found.scores)]
            scores.append(float(np.mean(means)) if means else 0.0)
            if scores[0] >= 1 - _BETTER:  # nothing can be read that much better
                return as_cut
        return around if scores[1] > scores[0] + _BETTER else as_cut

    def _from_pdf(
        self, lines: list[Line], raw: RawPage, pixels: np.ndarray, rotation: int, facts: Facts
    ) -> list[Line]:
        """The lines, those with text in the PDF with that text, unless reading finds another."""
        if raw.pdf is None or self.options.text == "ocr":
            return lines
        with contextlib.closing(raw.pdf[raw.number - 1]) as sheet:
            found = with_pdf_text(
                lines,
                sheet,
                pixels,
                rotation=rotation,
                source=self.options.text,
                chars=self.options.chars,
            )
        if self.options.text == "auto":
            apart = disagreement(found, lambda probes: self.read_lines(probes, pixels))
            if apart is not None and apart > MOST_APART:
                facts.notes.append(
                    f"the PDF's text is not what is seen: {apart:.0%} of its characters on lines "
                    "that were read to check it; all lines were read"
                )
                return lines
        return found if self.options.words else [replace(line, words=()) for line in found]

    def _with_text(self, lines: Sequence[Line], pixels: np.ndarray, facts: Facts) -> list[Line]:
        """The lines with baseline, text, words and confidence; text of a PDF stays."""
        with facts.stage("cut"):
            outlines = [np.asarray(line.polygon) for line in lines]
            pictures = [cut_line(pixels, outline) for outline in outlines]
            corners = [line_corners(outline) for outline in outlines]
            lines = [
                line
                if picture is None
                else replace(line, baseline=self._inside(baseline_of(picture, own), pixels))
                for line, picture, own in zip(lines, pictures, corners, strict=True)
            ]
        with facts.stage("read"):
            places = [
                i
                for i, picture in enumerate(pictures)
                if picture is not None and lines[i].origin != "pdf"
            ]
            found = self._characters([pictures[i] for i in places])
        read, left, full = list(lines), MOST_CHARACTERS, False
        with facts.stage("words"):
            for place, own in zip(places, found, strict=True):
                line = with_text(
                    lines[place],
                    own,
                    corners[place],
                    words=self.options.words,
                    chars=self.options.chars,
                )
                if (line.confidence or 0.0) < self.options.min_conf or len(line.text) > left:
                    full |= len(line.text) > left
                    line = replace(line, text="", words=())
                left -= len(line.text)
                read[place] = line
        if full:
            facts.notes.append(f"more than {MOST_CHARACTERS} characters; the rest is left out")
        return read

    def _inside(self, points: Sequence[Sequence[float]], pixels: np.ndarray) -> tuple:
        height, width = pixels.shape[:2]
        return tuple((min(max(x, 0.0), width), min(max(y, 0.0), height)) for x, y in points)

    def _characters(self, pictures: Sequence[np.ndarray]) -> list[Characters]:
        """What is read on pictures of lines, in batches of one width."""
        model = self.models.text
        temperature = model.header.calibration.get("temperature", 1.0)
        classes = model.charset.size + (model.decoder == "attention")  # with the end of a text
        prepared = [model.prepare(picture) for picture in pictures]
        read: list[Characters] = [Characters((), np.array([0.0, 1.0]), np.zeros(0))] * len(pictures)
        for bucket in sorted({each.shape for each in prepared}):
            places = [i for i, each in enumerate(prepared) if each.shape == bucket]
            size = max(1, _BATCH // (model.height * bucket))
            for start in range(0, len(places), size):
                group = places[start : start + size]
                out = model.frames([prepared[i] for i in group])
                stride = bucket / out["best"].shape[1]
                for row, place in enumerate(group):
                    length = int(out["lengths"][row])
                    best = out["best"][row, :length]
                    if not ((best >= 0) & (best < classes)).all():
                        raise UserError(f"{model.name}: it gives a class that it has no name for")
                    read[place] = characters_of(
                        best,
                        out["best_score"][row, :length],
                        model.charset,
                        frames=prepared[place].content[1] / stride,
                        temperature=temperature,
                        steps=model.decoder == "attention",
                    )
        return read

    def _ordered(self, regions: Sequence[Region], size: tuple[int, int]) -> list[Region]:
        """Regions in reading order, and the lines in each."""
        direction = self.options.direction
        if self.options.order == "none":
            order = range(len(regions))
        else:
            order = region_order(regions, size=size, direction=direction)
        return [
            replace(
                regions[i],
                lines=tuple(
                    regions[i].lines[j] for j in line_order(regions[i].lines, direction=direction)
                ),
            )
            for i in order
        ]


def _to_source(raw: RawPage, pixels: np.ndarray, rotation: int) -> tuple | None:
    """The matrix from pixels to the points of a PDF page; None for pictures."""
    if raw.pdf is None:
        return None
    height, width = pixels.shape[:2]
    with contextlib.closing(raw.pdf[raw.number - 1]) as sheet:
        a, b, c, d, e, f = pixel_matrix(sheet, width=width, height=height, rotation=rotation)
    return (a, c, e), (b, d, f)


def turned(pixels: np.ndarray, degrees: int) -> np.ndarray:
    """A page turned clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(pixels, -degrees // 90)) if degrees else pixels


def confidence(lines: Sequence[Line]) -> dict[str, float | None]:
    """`confidence` of a page, the mean over recognised characters, and `expected_cer`."""
    read = [line for line in lines if line.text and line.confidence is not None]
    count = sum(len(line.text) for line in read)
    if not count:
        return {"confidence": None, "expected_cer": None}
    mean = sum(line.confidence * len(line.text) for line in read) / count
    return {"confidence": mean, "expected_cer": 1 - mean}


def grade(expected_cer: float | None) -> str | None:
    """A to D by the expected share of wrong characters; None where nothing was read."""
    if expected_cer is None:
        return None
    return next(name for name, most in GRADES.items() if expected_cer <= most)


def summary(page: Page) -> Mapping[str, Any]:
    """Counts and confidence of a page for the log."""
    lines = list(page.lines)
    rounded = {
        name: None if value is None else round(value, 4)
        for name, value in (
            ("confidence", page.confidence),
            ("expected_cer", page.expected_cer),
        )
    }
    return {
        "regions": len(page.regions),
        "lines": len(lines),
        "characters": sum(len(line.text) for line in lines),
        "origins": dict(sorted(Counter(line.origin for line in lines).items())),
        **rounded,
        "grade": grade(page.expected_cer),
    }


def _sides(line: Line) -> tuple[float, float]:
    x1, y1, x2, y2 = line.box
    return x2 - x1, y2 - y1
