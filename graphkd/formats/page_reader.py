"""Reading PAGE XML of any version of the schema: regions, lines, words, text and their order."""

import re
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element

from graphkd.document import Line, Page, Region, Word
from graphkd.formats.sheet import Sheet, polyline
from graphkd.formats.xml import (
    BadFile,
    child,
    children,
    find_all,
    local,
    number,
    numbers,
    pairs,
    parse_xml,
    share,
    side,
)

# Types of text and elements of the schema -> class, where a region has no class of its own.
_CLASSES = {"paragraph": "text", "heading": "title", "imageregion": "figure"}


def read_page_file(path: Path) -> Page:
    """The page of a PAGE file, in reading order; what cannot be read in it is left out.

    Raises:
        BadFile: the file is no XML, no PAGE file, or does not say the size of the page.
    """
    return read_page_sheet(path).page(path)


def read_page_sheet(path: Path) -> Sheet:
    """A PAGE file with all that cannot be read in it.

    Raises:
        BadFile: the file is no XML, or no PAGE file.
    """
    root = parse_xml(path)
    node = next(find_all(root, "Page"), None)
    if local(root) != "PcGts" or node is None:
        raise BadFile(f"not PAGE XML: the root element is <{local(root)}>")
    width, height = side(node.get("imageWidth")), side(node.get("imageHeight"))
    sheet = Sheet(
        PureWindowsPath(node.get("imageFilename", "")).name,
        None if width is None or height is None else (width, height),
        about=_about(root, node),
    )
    order = child(node, "ReadingOrder")
    if order is not None:
        sheet.order = list(_order(order))
        captions = (group.get("caption") for group in order)
        sheet.about["order_by"] = next(filter(None, captions), "file")
    _add_regions(node, sheet)
    sheet.add_outlines()
    return sheet


def page_points(region: Element, name: str = "Coords") -> list[float]:
    """The points x0, y0, x1, y1, ... of a PAGE element; [] if it has none.

    They are written as `<Coords points="x,y x,y">` or as `<Point x= y=>` children.
    """
    coords = child(region, name)
    if coords is None:
        return []
    if coords.get("points"):
        return numbers(coords.get("points"))
    points: list[float] = []
    for point in children(coords, "Point"):
        x, y = number(point.get("x")), number(point.get("y"))
        if x is None or y is None:
            raise BadFile("a point is no pair of finite numbers")
        points += [x, y]
    return points


def _about(root: Element, node: Element) -> dict[str, Any]:
    """What this project's files say besides the regions: source, page number, resolution."""
    about: dict[str, Any] = {}
    texts = {local(item): item.text or "" for part in children(root, "Metadata") for item in part}
    comment = re.fullmatch(r"(.*), page ([0-9]{1,9})", texts.get("Comments", ""), re.DOTALL)
    if comment and texts.get("Creator", "").startswith("graphkd "):
        about |= {"source": comment[1], "number": int(comment[2])}
    resolution = number(node.get("imageXResolution"))
    if resolution and node.get("imageResolutionUnit") == "PPI":
        about["dpi"] = resolution
    turned = re.search(r"rotation \{angle:([-+.\d]+);\}", node.get("custom", ""))
    if turned and number(turned[1]) is not None:
        about["rotation"] = number(turned[1])
    if share(node.get("conf")) is not None:
        about["confidence"] = share(node.get("conf"))
    return about


def _order(group: Element) -> list[str]:
    """Ids of regions, depth first; the members of indexed groups by their index."""
    found, waiting = [], [group]
    while waiting:
        item = waiting.pop()
        if item.get("regionRef") and item.get("regionRef") not in found:
            found.append(item.get("regionRef"))
        members = sorted(item, key=lambda member: number(member.get("index")) or 0)
        waiting += reversed(members)
    return found


def _add_regions(node: Element, sheet: Sheet) -> None:
    """Adds all regions and lines below an element; lines outside of regions get one of their own.

    A stack takes the place of recursion, because files may nest without limit.
    """
    regions: list[dict[str, Any]] = []
    lines: list[list[Line]] = []
    loose: list[Line] = []
    waiting: list[tuple[Element, int | None]] = [(item, None) for item in reversed(node)]
    while waiting:
        item, owner = waiting.pop()
        kind = local(item)
        if kind == "TextLine":
            line = _line(item, sheet)
            if line is not None:
                (loose if owner is None else lines[owner]).append(line)
            continue
        if kind.endswith("Region"):
            parent = None if owner is None else regions[owner]["id"]
            regions.append(_region(item, sheet) | {"parent": parent})
            lines.append([])
            owner = len(regions) - 1
        waiting += ((inner, owner) for inner in reversed(item))
    sheet.regions = [
        Region(**region, lines=tuple(own)) for region, own in zip(regions, lines, strict=True)
    ]
    if loose:
        sheet.regions.append(Region("text", 1.0, (), tuple(loose), found_by="lines"))


def _region(node: Element, sheet: Sheet) -> dict[str, Any]:
    coords, kind, points = child(node, "Coords"), local(node), []
    try:
        points = page_points(node)
    except BadFile as error:
        sheet.dropped.append(f"region {node.get('id')!r}: {error}")
    said = re.search(r"structure \{type:([^;}]*);", node.get("custom", ""))
    if said:
        label = re.sub(r"\\u([0-9a-f]{4})", lambda sign: chr(int(sign[1], 16)), said[1])
    else:
        label = (node.get("type") or "text") if kind in ("TextRegion", "CustomRegion") else kind
        label = _CLASSES.get(label.lower(), label.removesuffix("Region").lower())
    score = share(coords.get("conf")) if coords is not None else None
    return {
        "label": label,
        "score": 1.0 if score is None else score,
        "polygon": pairs(points) if len(points) >= 6 else (),
        "id": node.get("id", ""),
    }


def _line(node: Element, sheet: Sheet) -> Line | None:
    try:
        points = page_points(node)
        outlined = len(points) >= 6 and len(points) % 2 == 0
        try:
            base = page_points(node, "Baseline")
        except BadFile:
            if not outlined:
                raise
            base = []  # the outline is enough
        polygon = pairs(points) if outlined else ()
        baseline = pairs(base) if outlined and len(base) >= 4 else polyline(base) if base else ()
        if not (polygon or baseline):
            raise BadFile("neither an outline nor a baseline")
        words = tuple(filter(None, map(_word, children(node, "Word"))))
    except BadFile as error:
        sheet.dropped.append(f"line {node.get('id')!r}: {error}")
        return None
    coords = child(node, "Coords")
    text, confidence, others = _text(node)
    return Line(
        polygon,
        score=None if coords is None else share(coords.get("conf")),
        text=text,
        confidence=confidence,
        baseline=baseline,
        words=words,
        origin="pdf" if "origin {source:pdf;}" in node.get("custom", "") else "ocr",
        alternatives=others,
        id=node.get("id", ""),
    )


def _word(node: Element) -> Word | None:
    points = page_points(node)
    if len(points) < 6 or len(points) % 2:
        return None
    characters = []
    for glyph in children(node, "Glyph"):
        text, confidence, _ = _text(glyph)
        xs = page_points(glyph)[0::2]
        if xs:
            characters.append((text, min(xs), max(xs), confidence))
    text, confidence, _ = _text(node)
    return Word(pairs(points), text, confidence, tuple(characters), node.get("id", ""))


def _text(node: Element) -> tuple[str, float | None, tuple[tuple[str, float], ...]]:
    """The text with its confidence, else the words' texts joined; and the alternatives."""
    found = []
    by_index = sorted(children(node, "TextEquiv"), key=lambda e: number(e.get("index")) or 0)
    for equivalent in by_index:
        text = child(equivalent, "Unicode")
        if text is not None and (text.text or "").strip():
            found.append((text.text.strip(), share(equivalent.get("conf"))))
    if not found:
        words = (_text(word)[0] for word in children(node, "Word"))
        return " ".join(filter(None, words)), None, ()
    return *found[0], tuple((text, conf) for text, conf in found[1:] if conf is not None)
