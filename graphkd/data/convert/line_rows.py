"""Reading the label files of published sets of text lines, most of them with a row a text.

A reader takes one file and returns its pages. Outlines stay as published: what is off the page or
crosses itself is for `graphkd data check`. A row that cannot be read is listed.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphkd.formats.xml import (
    BadFile,
    child,
    children,
    find_all,
    number,
    numbers,
    parse_xml,
)

IGNORED = ("###",)  # the text of what neither training nor scoring looks at


@dataclass
class LinePage:
    """The lines of one picture, as a label file gives them.

    Attributes:
        image: name of the picture; it may have folders, or lack its suffix.
        lines: polygon (list of [x, y]), text and ignore, as in the hub format; and baseline, where
            it is known.
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

    def add(self, points: Any, text: str = "", *, ignore: bool = False, baseline: Any = ()) -> None:
        """Adds a line; `baseline` are its points in reading direction, if they are known.

        Raises:
            BadFile: the points are no polygon of at least three finite points.
        """
        try:
            polygon = np.asarray(points, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            raise BadFile("the outline is no list of points") from None
        if len(polygon) < 3 or not np.isfinite(polygon).all():
            raise BadFile("the outline has fewer than three finite points")
        line = {"polygon": polygon.tolist(), "text": text, "ignore": ignore}
        if len(baseline) >= 4 and len(baseline) % 2 == 0:
            line["baseline"] = np.reshape(baseline, (-1, 2)).tolist()
        self.lines.append(line)


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


def rows(add_row: Callable[[LinePage, str], None]) -> Callable[[Path], list[LinePage]]:
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


def finite(words: Sequence[Any]) -> list[float]:
    """Words or values as numbers.

    Raises:
        BadFile: one of them is no finite number.
    """
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
    page.add(finite(words[:8]), text, ignore=text in IGNORED)


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
    page.add(box(*finite(words[:4])), text, ignore=text in IGNORED)


def _add_td500(page: LinePage, row: str) -> None:
    """`index difficult x y width height angle`, or converted, `x1,y1,...,label` with 1 = ignore.

    The angle is in radians and turns the box about its centre; difficult ones are ignored.
    """
    if "," in row:
        words = row.strip().split(",")
        points = words[: len(words) - 1] if len(words) % 2 else words
        label = words[-1].strip() if len(words) % 2 else ""
        page.add(finite(points), ignore=label in ("1", *IGNORED))
        return
    words = row.split()
    if len(words) != 7:
        raise BadFile(f"{len(words)} fields, not seven numbers")
    _, difficult, x, y, width, height, angle = finite(words)
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
            ignore = said in ("#", *IGNORED) or (mark is not None and mark[1] == "#")
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
    values = finite(words[:count])
    text = ",".join(words[count:]).strip().removeprefix("####")
    if count == 32 and not text:
        offsets = np.reshape(values[4:], (14, 2))
        reach = np.subtract(values[2:4], values[:2])
        if (offsets >= -1).all() and (offsets <= reach + 1).all():
            values = (offsets + values[:2]).ravel().tolist()
    page.add(values, text, ignore=text in IGNORED)


_read_ctw_text = rows(_add_ctw)


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
                page.add(points, text, ignore=text in IGNORED)
            except BadFile as error:
                page.dropped.append(f"box {index}: {error}")
        pages.append(page)
    return pages


def _add_yolo(page: LinePage, row: str) -> None:
    """`class cx cy width height`, or `class x1 y1 x2 y2 ...`, as shares of the page."""
    values = finite(row.split())
    page.size = (1, 1)
    if len(values) == 5:
        _, x, y, width, height = values
        page.add(box(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    elif len(values) >= 7 and len(values) % 2:
        page.add(values[1:])
    else:
        raise BadFile(f"{len(values)} numbers: neither a box nor an outline")


# name -> reader of files with a row a text
ROW_READERS = {
    "icdar2013": rows(_add_icdar2013),
    "icdar2015": rows(_add_quad),
    "mlt2017": rows(_add_mlt),
    "sroie": rows(_add_quad),
    "casia10k": rows(_add_casia),
    "td500": rows(_add_td500),
    "tdtr": rows(_add_td500),
    "yolo-lines": rows(_add_yolo),
}
