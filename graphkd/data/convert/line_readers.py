"""Reading label files of text lines: the published sets and the formats of labelling tools.

A reader takes one file and returns its pages. Outlines stay as published: what is off the page or
crosses itself is for `graphkd data check`. A row that cannot be read is listed.
"""

import html.parser
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from statistics import median
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from graphkd.data.check.document import read_document
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

_IGNORED = ("###",)  # the text of what neither training nor scoring looks at
# Of the height of a line of which only the baseline is known; Latin print has about these shares.
_ABOVE, _BELOW = 0.75, 0.25
_SPACING = 0.7  # height of a line as a share of the distance between baselines


@dataclass
class LinePage:
    """The lines of one picture, as a label file gives them.

    Attributes:
        image: name of the picture; it may have folders, or lack its suffix.
        lines: polygon (list of [x, y]), text and ignore, as in the hub format.
        size: (width, height) that the coordinates are for; None for those of the upright picture,
            (1, 1) for shares of the page.
        document: book or receipt that the page is from, if known.
        repaired: lines with a changed meaning, counted by what was done.
        dropped: rows that cannot be read, with the reason.
    """

    image: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    size: tuple[int, int] | None = None
    document: str | None = None
    repaired: Counter[str] = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)

    def add(self, points: Any, text: str = "", *, ignore: bool = False) -> None:
        """Adds a line.

        Raises:
            BadFile: the points are no polygon of at least three finite points.
        """
        try:
            polygon = np.asarray(points, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            raise BadFile("the outline is no list of points") from None
        if len(polygon) < 3 or not np.isfinite(polygon).all():
            raise BadFile("the outline has fewer than three finite points")
        self.lines.append({"polygon": polygon.tolist(), "text": text, "ignore": ignore})


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    """The corners of an upright rectangle, clockwise from the upper left one."""
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def read_text(path: Path, repaired: Counter[str]) -> str:
    """A text file in UTF-8 (with a byte order mark or not), UTF-16 or GBK, as CASIA-10K is.

    Raises:
        BadFile: it cannot be read as any of them.
    """
    try:
        raw = path.read_bytes()
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return raw.decode("utf-16")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise BadFile(f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        pass
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError as error:
        raise BadFile(f"byte {error.start} is neither UTF-8 nor GBK") from None
    repaired["files in GBK were read"] += 1
    return text


def _rows(add_row: Callable[[LinePage, str], None]) -> Callable[[Path], list[LinePage]]:
    """A reader of text files with one line of text a row, named as their picture."""

    def read(path: Path) -> list[LinePage]:
        page = LinePage(path.stem)
        # Not splitlines: a text may hold other characters that it takes for the end of a row.
        for index, row in enumerate(re.split(r"\r?\n", read_text(path, page.repaired)), start=1):
            if not row.strip():
                continue
            try:
                add_row(page, row.strip("\ufeff"))
            except BadFile as error:
                page.dropped.append(f"row {index}: {error}")
        return [page]

    return read


def _finite(words: Sequence[str]) -> list[float]:
    found = [number(word) for word in words]
    if None in found:
        bad = words[found.index(None)]
        raise BadFile(f"{bad[:20]!r} is no finite number")
    return found


def _add_quad(page: LinePage, row: str, *, between: int = 0, separator: str = ",") -> None:
    """x1,y1,...,x4,y4, `between` other fields, text; the text may have commas."""
    words = re.split(separator, row.strip(), maxsplit=8 + between)
    if len(words) < 8:
        raise BadFile(f"{len(words)} fields, no eight numbers")
    text = words[8 + between].strip() if len(words) > 8 + between else ""
    page.add(_finite(words[:8]), text, ignore=text in _IGNORED)


def _add_mlt(page: LinePage, row: str) -> None:
    _add_quad(page, row, between=1)  # the script


def _add_casia(page: LinePage, row: str) -> None:
    _add_quad(page, row, separator=r"\s*,\s*|\s+")


def _add_icdar2013(page: LinePage, row: str) -> None:
    """`x1 y1 x2 y2 "text"` as in training, or the same with commas as in the test."""
    words = re.split(r"\s*,\s*|\s+", row.strip(), maxsplit=4)
    if len(words) < 4:
        raise BadFile(f"{len(words)} fields, no four numbers")
    text = words[4].strip() if len(words) > 4 else ""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    page.add(box(*_finite(words[:4])), text, ignore=text in _IGNORED)


def _add_td500(page: LinePage, row: str) -> None:
    """`index difficult x y width height angle`, or converted, `x1,y1,...,label` with 1 = ignore.

    The angle is in radians and turns the box about its centre; difficult ones are ignored.
    """
    if "," in row:
        words = row.strip().split(",")
        points = words[: len(words) - 1] if len(words) % 2 else words
        label = words[-1].strip() if len(words) % 2 else ""
        page.add(_finite(points), ignore=label in ("1", *_IGNORED))
        return
    words = row.split()
    if len(words) != 7:
        raise BadFile(f"{len(words)} fields, not seven numbers")
    _, difficult, x, y, width, height, angle = _finite(words)
    page.add(turned_box(x, y, width, height, angle), ignore=difficult != 0)


def turned_box(x: float, y: float, width: float, height: float, angle: float) -> np.ndarray:
    """The corners (4, 2) of a box turned by `angle` radians (clockwise) about its centre."""
    corners = np.array(box(-width / 2, -height / 2, width / 2, height / 2))
    cos, sin = math.cos(angle), math.sin(angle)
    return corners @ [[cos, sin], [-sin, cos]] + (x + width / 2, y + height / 2)


def read_total_text(path: Path) -> list[LinePage]:
    """`x: [[..]], y: [[..]], ornt: [u'c'], transcriptions: [u'..']`, wrapped over rows."""
    page = LinePage(path.stem)
    text = read_text(path, page.repaired)
    starts = [match.start() for match in re.finditer(r"\bx:\s*\[\[", text)]
    if text.strip() and not starts:
        page.dropped.append("no x: [[..]], y: [[..]] in it")
    for index, (start, end) in enumerate(itertools.pairwise([*starts, len(text)]), start=1):
        entry = re.match(
            r"x:\s*\[\[(.*?)\]\]\s*,\s*y:\s*\[\[(.*?)\]\](.*)", text[start:end], re.DOTALL
        )
        try:
            if entry is None:
                raise BadFile("no x: [[..]], y: [[..]]")
            xs, ys = numbers(entry[1]), numbers(entry[2])
            if len(xs) != len(ys):
                raise BadFile(f"{len(xs)} x and {len(ys)} y")
            words = re.search(r"transcriptions:\s*\[(.*)\]", entry[3], re.DOTALL)
            said = re.sub(r"^u?(['\"])(.*)\1$", r"\2", words[1].strip()) if words else ""
            mark = re.search(r"ornt:\s*\[u?['\"](.*?)['\"]\]", entry[3])
            ignore = said in ("#", *_IGNORED) or (mark is not None and mark[1] == "#")
            page.add(list(zip(xs, ys, strict=True)), said, ignore=ignore)
        except BadFile as error:
            page.dropped.append(f"text {index}: {error}")
    return [page]


def _add_ctw(page: LinePage, row: str) -> None:
    """CTW1500: `x1,y1,...,####text`, or a box and 14 offsets from its upper left corner."""
    words, count = row.strip().split(","), 0
    while count < len(words) and number(words[count]) is not None:
        count += 1
    if count % 2:  # the text is, or begins with, a number
        count -= 1
    values = _finite(words[:count])
    text = ",".join(words[count:]).strip().removeprefix("####")
    if count == 32 and not text:
        offsets = np.reshape(values[4:], (14, 2))
        reach = np.subtract(values[2:4], values[:2])
        if (offsets >= -1).all() and (offsets <= reach + 1).all():
            values = (offsets + values[:2]).ravel().tolist()
    page.add(values, text, ignore=text in _IGNORED)


_read_ctw_text = _rows(_add_ctw)


def read_ctw(path: Path) -> list[LinePage]:
    """CTW1500: text files of both generations, and the XML files of its second one."""
    if path.suffix.lower() != ".xml":
        return _read_ctw_text(path)
    pages = []
    for image in find_all(parse_xml(path), "image"):
        page = LinePage(image.get("file") or path.stem)
        for index, item in enumerate(children(image, "box"), start=1):
            outline, label = child(item, "segs"), child(item, "label")
            text = "" if label is None else (label.text or "").strip()
            try:
                points = numbers("" if outline is None else outline.text)
                page.add(points, text, ignore=text in _IGNORED)
            except BadFile as error:
                page.dropped.append(f"box {index}: {error}")
        pages.append(page)
    return pages


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
            if len(points) >= 6 and len(points) % 2 == 0:
                page.add(points, text)
                continue
            base = child(line, "Baseline")
            bare.append((_polyline([] if base is None else page_points(line, "Baseline")), text))
        except BadFile as error:
            page.dropped.append(f"line {line.get('id')!r}: {error}")
    height = _usual_height(page, [points for points, _ in bare])
    for points, text in bare:
        if height is None:
            page.dropped.append("a line has a baseline alone, and no other line tells its height")
            continue
        page.add(band(points, height), text)
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


def _page_text(line: Element) -> str:
    for equivalent in children(line, "TextEquiv"):
        text = child(equivalent, "Unicode")
        if text is not None:
            return (text.text or "").strip()
    return ""


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
    if len(points) >= 6:
        page.add(points, text)
        return
    x, y, width, height = (number(line.get(k)) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    base = numbers(line.get("BASELINE"))
    if len(base) >= 4 and height is not None and height > 0:
        page.add(band(_polyline(base), height), text)
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
                _add_item(page, item, "points", text, ignore=text in ("*", *_IGNORED))
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
        ignore = item.get("label") in ("ignore", "difficult", *_IGNORED) or text in _IGNORED
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
                x, y, width, height = _finite(edges)
                masks = [box(x, y, x + width, y + height)]
                page.repaired["lines have their box as outline"] += 1
            outline = max(masks, key=len, default=None)
        except (BadFile, TypeError) as error:
            page.dropped.append(f"annotation {item.get('id')!r}: {error}")
            continue
        ignore = bool(item.get("iscrowd")) or text in _IGNORED
        _add_item(page, {**item, "outline": outline}, "outline", text, ignore=ignore)
    if lost and pages:
        next(iter(pages.values())).dropped.append(f"{lost} annotations belong to no listed image")
    return list(pages.values())


def _key(value: Any) -> str:
    """An id as text: some tools write 1 in one place and "1" in the other."""
    return str(value)


def _add_yolo(page: LinePage, row: str) -> None:
    """`class cx cy width height`, or `class x1 y1 x2 y2 ...`, as shares of the page."""
    values = _finite(row.split())
    page.size = (1, 1)
    if len(values) == 5:
        _, x, y, width, height = values
        page.add(box(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    elif len(values) >= 7 and len(values) % 2:
        page.add(values[1:])
    else:
        raise BadFile(f"{len(values)} numbers: neither a box nor an outline")


@dataclass(frozen=True)
class LineKind:
    """A format of text lines: its reader, and the suffixes of its label files."""

    read: Callable[[Path], list[LinePage]]
    suffixes: tuple[str, ...]
    about: str
    many: bool = False  # a file holds many pages and may be named as a split
    lists: bool = False  # files such as train.txt name the pages of a split


_ROWS = {"suffixes": (".txt",), "lists": True}
LINE_KINDS: dict[str, LineKind] = {
    "icdar2013": LineKind(_rows(_add_icdar2013), about="upright words", **_ROWS),
    "icdar2015": LineKind(_rows(_add_quad), about="four corners and a text", **_ROWS),
    "mlt2017": LineKind(_rows(_add_mlt), about="the same with a script", **_ROWS),
    "sroie": LineKind(_rows(_add_quad), about="receipts, as ICDAR2015", **_ROWS),
    "casia10k": LineKind(_rows(_add_casia), about="as ICDAR2015, GBK", **_ROWS),
    "td500": LineKind(
        _rows(_add_td500), (".gt", ".txt"), "MSRA-TD500: turned boxes of lines", lists=True
    ),
    "tdtr": LineKind(
        _rows(_add_td500), (".gt", ".txt"), "MSRA-TD500 and HUST-TR400 in one folder", lists=True
    ),
    "totaltext": LineKind(read_total_text, about="curved words", **_ROWS),
    "ctw1500": LineKind(read_ctw, (".txt", ".xml"), "curved lines, old and new labels", lists=True),
    "page-lines": LineKind(read_page_lines, (".xml",), "TextLine of PAGE XML"),
    "alto-lines": LineKind(read_alto_lines, (".xml",), "TextLine of ALTO"),
    "hocr-lines": LineKind(read_hocr_lines, (".hocr", ".html", ".htm"), "ocr_line of hOCR"),
    "paddle-lines": LineKind(read_paddle, (".txt",), "label files of PaddleOCR", many=True),
    "labelme-lines": LineKind(read_labelme, (".json",), "polygons and rectangles of labelme"),
    "coco-lines": LineKind(
        read_coco_lines, (".json",), "COCO json with one object a line", many=True
    ),
    "yolo-lines": LineKind(_rows(_add_yolo), about="boxes or outlines of YOLO", **_ROWS),
}
