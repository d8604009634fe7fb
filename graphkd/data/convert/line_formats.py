"""Reading text lines in the formats of tools: PAGE, ALTO, hOCR, PaddleOCR, labelme, COCO."""

import html.parser
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from statistics import median
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from graphkd.data.check.document import read_document
from graphkd.data.convert.line_rows import (
    IGNORED,
    ROW_READERS,
    LinePage,
    box,
    finite,
    read_ctw,
    read_text,
    read_total_text,
)
from graphkd.data.convert.readers import alto_image, page_points
from graphkd.data.convert.zones import (
    BadFile,
    child,
    children,
    find_all,
    local,
    number,
    numbers,
    parse_xml,
    side,
)

# Of the height of a line of which only the baseline is known; Latin print has about these shares.
_ABOVE, _BELOW = 0.75, 0.25
_SPACING = 0.7  # height of a line as a share of the distance between baselines


def band(baseline: np.ndarray, height: float) -> np.ndarray:
    """An outline (2P, 2) of a line from its baseline (P, 2) and its height in pixels."""
    along = baseline[-1] - baseline[0]
    down = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    upper, lower = baseline - down * height * _ABOVE, baseline + down * height * _BELOW
    return np.vstack([upper, lower[::-1]])


def read_page_lines(path: Path) -> list[LinePage]:
    """Text lines of a PAGE file.

    A line without an outline gets one from its baseline; the height is the median of the page's
    other lines, or follows from the distance of the baselines.
    """
    root = parse_xml(path)
    sheet = next(find_all(root, "Page"), None)
    if local(root) != "PcGts" or sheet is None:
        raise BadFile(f"not PAGE XML: the root element is <{local(root)}>")
    name = PureWindowsPath(sheet.get("imageFilename", "")).name or path.stem
    page = LinePage(name, size=_size(sheet.get("imageWidth"), sheet.get("imageHeight")))
    bare: list[tuple[np.ndarray, str]] = []
    for line in find_all(sheet, "TextLine"):
        try:
            points, text = page_points(line), _page_text(line)
            base = [] if child(line, "Baseline") is None else page_points(line, "Baseline")
            if len(points) >= 6 and len(points) % 2 == 0:
                page.add(points, text, baseline=base)
                continue
            bare.append((_polyline(base), text))
        except BadFile as error:
            page.dropped.append(f"line {line.get('id')!r}: {error}")
    height = _usual_height(page, [points for points, _ in bare])
    for points, text in bare:
        if height is None:
            page.dropped.append("a line has a baseline alone, and no other line tells its height")
            continue
        page.add(band(points, height), text, baseline=points.ravel())
        page.repaired["lines got an outline from their baseline"] += 1
    return [page]


def _polyline(points: Sequence[float]) -> np.ndarray:
    if len(points) < 4 or len(points) % 2:
        raise BadFile("neither an outline nor a baseline")
    return np.reshape(points, (-1, 2))


def _usual_height(page: LinePage, baselines: list[np.ndarray]) -> float | None:
    if page.lines:
        return median(float(np.ptp(np.array(line["polygon"])[:, 1])) for line in page.lines)
    steps = np.diff(sorted(float(points[:, 1].mean()) for points in baselines))
    steps = [step for step in steps if step > 1]  # two lines side by side have one height
    return median(steps) * _SPACING if steps else None


def _page_text(element: Element) -> str:
    """The text of a line, else its words joined."""
    for equivalent in children(element, "TextEquiv"):
        text = child(equivalent, "Unicode")
        if text is not None and (text.text or "").strip():
            return text.text.strip()
    return " ".join(filter(None, map(_page_text, children(element, "Word"))))


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    found = side(width), side(height)
    return None if None in found else found


def read_alto_lines(path: Path) -> list[LinePage]:
    """Text lines of an ALTO file: their polygon, else baseline and HEIGHT, else the rectangle."""
    root = parse_xml(path)
    if local(root) != "alto":
        raise BadFile(f"not ALTO: the root element is <{local(root)}>")
    sheets = list(find_all(root, "Page"))
    if len(sheets) != 1:
        raise BadFile(f"holds {len(sheets)} pages; one page a file is expected")
    size = _size(sheets[0].get("WIDTH"), sheets[0].get("HEIGHT"))
    page = LinePage(alto_image(root) or path.stem, size=size)
    for line in find_all(sheets[0], "TextLine"):
        words = (item.get("CONTENT", "") for item in children(line, "String"))
        text = " ".join(word for word in words if word)
        try:
            _add_alto(page, line, text)
        except BadFile as error:
            page.dropped.append(f"line {line.get('ID')!r}: {error}")
    return [page]


def _add_alto(page: LinePage, line: Element, text: str) -> None:
    shape = child(line, "Shape")
    polygon = None if shape is None else child(shape, "Polygon")
    points = [] if polygon is None else numbers(polygon.get("POINTS"))
    base = numbers(line.get("BASELINE"))
    if len(points) >= 6:
        page.add(points, text, baseline=base)
        return
    x, y, width, height = (number(line.get(k)) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    if len(base) >= 4 and height is not None and height > 0:
        page.add(band(_polyline(base), height), text, baseline=base)
        page.repaired["lines got an outline from their baseline"] += 1
        return
    if None in (x, y, width, height):
        raise BadFile("neither an outline nor a rectangle")
    page.add(box(x, y, x + width, y + height), text)
    page.repaired["lines have their rectangle as outline"] += 1


class _Hocr(html.parser.HTMLParser):
    """Collects pages and lines of an hOCR file."""

    def __init__(self, stem: str):
        super().__init__()
        self.stem, self.pages, self.depth, self.words = stem, [], 0, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        kinds, title = (found.get("class") or "").split(), found.get("title") or ""
        if self.depth and tag not in ("br", "img", "meta"):
            self.depth += 1
        if "ocr_page" in kinds:
            image = re.search(r"image\s+[\"']?([^\"';]+)", title)
            edges = _title_numbers(title, "bbox")
            name = PureWindowsPath(image[1].strip()).name if image else self.stem
            size = _size(*edges[2:]) if len(edges) == 4 else None
            self.pages.append(LinePage(name, size=size))
        elif self.pages and {"ocr_line", "ocrx_line", "ocr_header", "ocr_caption"} & set(kinds):
            self.depth, self.words = 1, []
            edges, outline = _title_numbers(title, "bbox"), _title_numbers(title, "poly")
            try:
                self.pages[-1].add(outline or (box(*edges) if len(edges) == 4 else ()))
            except BadFile as error:
                self.depth = 0
                self.pages[-1].dropped.append(f"line {found.get('id')!r}: {error}")

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.words += data.split()

    def handle_endtag(self, tag: str) -> None:
        if self.depth:
            self.depth -= 1
            if self.depth == 0:
                self.pages[-1].lines[-1]["text"] = " ".join(self.words)


def _title_numbers(title: str, key: str) -> list[float]:
    found = re.search(rf"\b{key}\b\s+([-+.\d\s]+)", title)
    return numbers(found[1]) if found else []


def read_hocr_lines(path: Path) -> list[LinePage]:
    """Lines of an hOCR file, with their polygon or rectangle."""
    parser, repaired = _Hocr(path.stem), Counter()
    parser.feed(read_text(path, repaired))
    if not parser.pages:
        raise BadFile("not hOCR: no element of class ocr_page")
    return parser.pages


def read_paddle(path: Path) -> list[LinePage]:
    r"""PaddleOCR: `path \t [{"transcription": .., "points": [[x, y], ..]}]`, a page a row."""
    pages, repaired = [], Counter()
    for index, row in enumerate(read_text(path, repaired).split("\n"), start=1):
        name, tab, labels = row.rstrip("\r").partition("\t")
        if not row.strip():
            continue
        page = LinePage(name.strip())
        pages.append(page)
        try:
            if not tab:
                raise BadFile("no tabulator")
            for item in _json(labels, list):
                text = str(item.get("transcription", "")) if isinstance(item, dict) else ""
                _add_item(page, item, "points", text, ignore=text in ("*", *IGNORED))
        except BadFile as error:
            page.dropped.append(f"row {index}: {error}")
    if pages:
        pages[0].repaired += repaired
    return pages


def _json(text: str, kind: type) -> Any:
    try:
        found = json.loads(text)
    except RecursionError:
        raise BadFile("the json is nested too deeply") from None
    except ValueError as error:
        raise BadFile(f"not valid json ({str(error)[:80]})") from None
    if not isinstance(found, kind):
        raise BadFile("the json is no " + ("list" if kind is list else "object"))
    return found


def _add_item(page: LinePage, item: Any, key: str, text: str, *, ignore: bool) -> None:
    """Adds an object of a json; a bad one is listed."""
    try:
        if not isinstance(item, dict):
            raise BadFile("an entry is no object")
        ignore = ignore or any(item.get(mark) in (1, True) for mark in ("ignore", "difficult"))
        page.add(item.get(key), text, ignore=ignore)
    except BadFile as error:
        page.dropped.append(f"{text[:40]!r}: {error}")


def read_labelme(path: Path) -> list[LinePage]:
    """labelme: polygons and rectangles; the text is `text` or `description`, else the label."""
    content = _json(read_text(path, Counter()), dict)
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise BadFile('not labelme: the key "shapes" is no list')
    size = _size(content.get("imageWidth"), content.get("imageHeight"))
    name = PureWindowsPath(str(content.get("imagePath") or path.stem)).name
    page = LinePage(name, size=size)
    for shape in shapes:
        item = dict(shape) if isinstance(shape, dict) else {}
        text = next((str(item[k]) for k in ("text", "description", "label") if item.get(k)), "")
        ignore = item.get("label") in ("ignore", "difficult", *IGNORED) or text in IGNORED
        kind = item.get("shape_type") or "polygon"
        try:
            if kind == "rectangle":
                item["points"] = box(*np.reshape(item.get("points"), 4))
            elif kind not in ("polygon", "quadrilateral", "rotation"):
                raise BadFile(f"a {kind!r} is no outline")
        except (BadFile, ValueError, TypeError) as error:
            page.dropped.append(f"{text[:40]!r}: {error}")
            continue
        _add_item(page, item, "points", text, ignore=ignore)
    return [page]


def read_coco_lines(path: Path) -> list[LinePage]:
    """COCO: the longest polygon of a mask, else the box; texts as `text`, `transcription` ...

    Crowd and `ignore` objects and those with the text ### are ignored ones. The `document` of a
    page is that key of its image, or `volume`.
    """
    content = read_document(path)
    pages: dict[Any, LinePage] = {}
    for image in content["images"]:
        size = _size(image.get("width"), image.get("height"))
        book = image.get("document") or image.get("volume")
        page = LinePage(str(image.get("file_name")), size=size)
        page.document = str(book) if book else None
        pages[_key(image.get("id"))] = page
    lost = 0
    for item in content["annotations"]:
        page = pages.get(_key(item.get("image_id")))
        if page is None:
            lost += 1
            continue
        texts = (item.get(k) for k in ("text", "transcription", "utf8_string", "caption"))
        text = next((each for each in texts if isinstance(each, str)), "")
        masks = item.get("segmentation")
        masks = [each for each in masks if each] if isinstance(masks, list) else []
        edges = item.get("bbox")
        try:
            if not masks and isinstance(edges, list) and len(edges) == 4:
                x, y, width, height = finite(edges)
                masks = [box(x, y, x + width, y + height)]
                page.repaired["lines have their box as outline"] += 1
            outline = max(masks, key=len, default=None)
        except (BadFile, TypeError) as error:
            page.dropped.append(f"annotation {item.get('id')!r}: {error}")
            continue
        ignore = bool(item.get("iscrowd")) or text in IGNORED
        _add_item(page, {**item, "outline": outline}, "outline", text, ignore=ignore)
    if lost and pages:
        next(iter(pages.values())).dropped.append(f"{lost} annotations belong to no listed image")
    return list(pages.values())


def _key(value: Any) -> str:
    """An id as text: some tools write 1 in one place and "1" in the other."""
    return str(value)


@dataclass(frozen=True)
class LineKind:
    """A format of text lines: its reader, and the suffixes of its label files."""

    read: Callable[[Path], list[LinePage]]
    suffixes: tuple[str, ...]
    many: bool = False  # a file holds many pages and may be named as a split
    lists: bool = False  # files such as train.txt name the pages of a split


_ROWS = {"suffixes": (".txt",), "lists": True}
_TD = {"suffixes": (".gt", ".txt"), "lists": True}
LINE_KINDS: dict[str, LineKind] = {
    **{name: LineKind(read, **_ROWS) for name, read in ROW_READERS.items()},
    "td500": LineKind(ROW_READERS["td500"], **_TD),
    "tdtr": LineKind(ROW_READERS["tdtr"], **_TD),
    "totaltext": LineKind(read_total_text, **_ROWS),
    "ctw1500": LineKind(read_ctw, (".txt", ".xml"), lists=True),
    "page-lines": LineKind(read_page_lines, (".xml",)),
    "alto-lines": LineKind(read_alto_lines, (".xml",)),
    "hocr-lines": LineKind(read_hocr_lines, (".hocr", ".html", ".htm")),
    "paddle-lines": LineKind(read_paddle, (".txt",), many=True),
    "labelme-lines": LineKind(read_labelme, (".json",)),
    "coco-lines": LineKind(read_coco_lines, (".json",), many=True),
}
