"""Reading text lines in the formats of tools: PAGE, ALTO, hOCR, PaddleOCR, labelme, COCO."""

import html.parser
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

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
from graphkd.formats.alto import read_alto_sheet
from graphkd.formats.page_reader import Sheet, read_page_sheet
from graphkd.formats.xml import BadFile, numbers, side


def read_page_lines(path: Path) -> list[LinePage]:
    """Text lines of a PAGE file; see `graphkd.formats.page_reader`."""
    return [_lines_of(read_page_sheet(path), path)]


def read_alto_lines(path: Path) -> list[LinePage]:
    """Text lines of an ALTO file: their polygon, else baseline and HEIGHT, else the rectangle."""
    return [_lines_of(read_alto_sheet(path), path)]


def _lines_of(sheet: Sheet, path: Path) -> LinePage:
    page = LinePage(sheet.image or path.stem, size=sheet.size)
    page.dropped, page.repaired = sheet.dropped, sheet.repaired
    for line in sheet.lines:
        page.add(line.polygon, line.text, baseline=np.ravel(line.baseline))
    return page


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    found = side(width), side(height)
    return None if None in found else found


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
