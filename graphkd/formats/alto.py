"""ALTO XML: writing pages as version 4, and reading any version."""

import math
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from graphkd import __version__
from graphkd.document import Line, Outlined, Page, Polygon, Region, Word, box_polygon
from graphkd.formats.line_words import HYPHENS, divided, line_words
from graphkd.formats.page_xml import region_type
from graphkd.formats.sheet import INNER, Sheet, band, polyline
from graphkd.formats.xml import (
    BadFile,
    child,
    children,
    clean,
    created,
    decimal,
    find_all,
    local,
    number,
    numbers,
    pairs,
    parse_xml,
    points_text,
    share,
    side,
    written,
)

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
# Element of PAGE -> block of ALTO; others are ComposedBlocks, which hold text, too.
_BLOCK = {
    "TextRegion": "TextBlock",
    "ImageRegion": "Illustration",
    "GraphicRegion": "GraphicalElement",
    "SeparatorRegion": "GraphicalElement",
}
# Block -> class where no tag says it.
_CLASS = {
    "TextBlock": "text",
    "Illustration": "figure",
    "GraphicalElement": "graphic",
    "ComposedBlock": "composed",
}


def alto_xml(page: Page) -> str:
    """The ALTO document of one page, in pixels to 0.1; the class of a block is an OtherTag.

    Blocks are in the order of the page, which is the reading order of ALTO before version 4.3.
    Words that go on in the next line end in a HYP.
    """
    root = Element("alto", {"xmlns": NAMESPACE, "SCHEMAVERSION": "4.2"})
    _describe(SubElement(root, "Description"), page)
    labels = list(dict.fromkeys(region.label for region in page.regions))
    tags = {label: f"tag{place}" for place, label in enumerate(labels, start=1)}
    if tags:
        group = SubElement(root, "Tags")
        for label, name in tags.items():
            about = {"ID": name, "TYPE": "region", "LABEL": clean(label)}
            SubElement(group, "OtherTag", about)
    sides = {"WIDTH": str(page.width), "HEIGHT": str(page.height)}
    said = {"ID": f"page{page.number}", "PHYSICAL_IMG_NR": str(page.number), **sides}
    if page.confidence is not None:
        said["PC"] = f"{page.confidence:.4f}"
    sheet = SubElement(SubElement(root, "Layout"), "Page", said)
    space = SubElement(sheet, "PrintSpace", {"HPOS": "0", "VPOS": "0", **sides})
    for place, region in enumerate(page.regions, start=1):
        name = region.id or f"r{place}"
        block = _BLOCK.get(region_type(region.label)[0], "ComposedBlock")
        if region.lines and block != "TextBlock":
            block = "ComposedBlock"
        node = _outlined(space, block, region, name, TAGREFS=tags[region.label])
        if region.lines and block != "TextBlock":
            node = _outlined(node, "TextBlock", region, name + INNER)
        for row, line in enumerate(region.lines):
            _add_line(node, line, region, row, name=line.id or f"{name}l{row + 1}")
    return written(root)


def _describe(node: Element, page: Page) -> None:
    SubElement(node, "MeasurementUnit").text = "pixel"
    image = SubElement(node, "sourceImageInformation")
    SubElement(image, "fileName").text = clean(PurePath(page.source).name)
    step = SubElement(node, "Processing", {"ID": "processing1"})
    SubElement(step, "processingDateTime").text = created(page.source)
    software = SubElement(step, "processingSoftware")
    SubElement(software, "softwareName").text = "graphkd"
    SubElement(software, "softwareVersion").text = __version__


def _add_line(parent: Element, line: Line, region: Region, row: int, *, name: str) -> None:
    base = {"BASELINE": points_text(line.baseline)} if len(line.baseline) > 1 else {}
    node = _outlined(parent, "TextLine", line, name, **base)
    words = line_words(line) or (Word(line.polygon),)  # a line holds one String at least
    hyphen = divided(region, row) and words[-1].text[-1:] in HYPHENS
    for place, word in enumerate(words, start=1):
        if place > 1:
            _add_space(node, words[place - 2], word)
        last = hyphen and place == len(words)
        said = {"CONTENT": clean(word.text[:-1] if last else word.text)}
        if word.confidence is not None:
            said["WC"] = f"{word.confidence:.4f}"
        if last:
            rest = line_words(region.lines[row + 1])[0].text
            said |= {"SUBS_TYPE": "HypPart1", "SUBS_CONTENT": clean(word.text[:-1] + rest)}
        elif place == 1 and row and divided(region, row - 1):
            start = line_words(region.lines[row - 1])[-1].text[:-1]
            said |= {"SUBS_TYPE": "HypPart2", "SUBS_CONTENT": clean(start + word.text)}
        _outlined(node, "String", word, word.id or f"{name}w{place}", **said)
    if hyphen:
        SubElement(node, "HYP", {"CONTENT": words[-1].text[-1]})


def _add_space(node: Element, before: Word, after: Word) -> None:
    left, top = before.box[2], before.box[1]
    width = max(after.box[0] - left, 0)
    SubElement(node, "SP", {"WIDTH": decimal(width), "HPOS": decimal(left), "VPOS": decimal(top)})


def _outlined(parent: Element, kind: str, item: Outlined, name: str, **said: str) -> Element:
    """An element with its box, and with its polygon where that is another."""
    # Rounded first: a polygon that becomes its box by rounding is written as one.
    item = Word(tuple((round(x, 1), round(y, 1)) for x, y in item.polygon))
    x1, y1, x2, y2 = item.box
    where = zip(("HPOS", "VPOS", "WIDTH", "HEIGHT"), (x1, y1, x2 - x1, y2 - y1), strict=True)
    node = SubElement(parent, kind, {"ID": name, **{k: decimal(v) for k, v in where}, **said})
    # Of a line with a baseline alone readers do not take the box for the outline.
    if kind == "TextLine" or not item.is_box:
        shape = SubElement(node, "Shape")
        SubElement(shape, "Polygon", {"POINTS": points_text(item.polygon)})
    return node


def read_alto_file(path: Path) -> Page:
    """The page of an ALTO file with one page, blocks in the order of the file.

    Coordinates are in the file's unit, as the page's width and height are.

    Raises:
        BadFile: the file is no XML, no ALTO file, has several pages or one without a size.
    """
    return read_alto_sheet(path).page(path)


def read_alto_sheet(path: Path) -> Sheet:
    """An ALTO file with all that cannot be read in it.

    Raises:
        BadFile: the file is no XML, no ALTO file, or has several pages.
    """
    root = parse_xml(path)
    if local(root) != "alto":
        raise BadFile(f"not ALTO: the root element is <{local(root)}>")
    pages = list(find_all(root, "Page"))
    if len(pages) != 1:
        raise BadFile(f"holds {len(pages)} pages; one page a file is expected")
    width, height = side(pages[0].get("WIDTH")), side(pages[0].get("HEIGHT"))
    size = None if width is None or height is None else (width, height)
    about: dict[str, Any] = {"order_by": "file"}
    count, confidence = number(pages[0].get("PHYSICAL_IMG_NR")), share(pages[0].get("PC"))
    if count is not None and count >= 1:
        about["number"] = int(count)
    if confidence is not None:
        about["confidence"] = confidence
    sheet = Sheet(alto_image(root), size, about=about)
    _add_blocks(pages[0], sheet, alto_labels(root))
    return sheet


def alto_image(root: Element) -> str:
    """The name of the picture without folders; "" if the file does not say it."""
    for element in find_all(root, "fileName"):
        text = (element.text or "").strip()
        if text:
            return PurePosixPath(PureWindowsPath(text).name).name
    return ""


def alto_labels(root: Element) -> dict[str, str]:
    """The labels of tags by their ID, without those of types of lines."""
    labels = {}
    for tags in find_all(root, "Tags"):
        for tag in tags:
            kind = f"{tag.get('DESCRIPTION', '')} {tag.get('TYPE', '')}".lower()
            label = tag.get("LABEL", "")
            if tag.get("ID") and label and "line type" not in kind:
                labels[tag.get("ID")] = label
    return labels


def _add_blocks(node: Element, sheet: Sheet, labels: dict[str, str]) -> None:
    """Adds all blocks and lines; a stack, because ComposedBlocks may nest without limit."""
    waiting: list[tuple[Element, int | None]] = [(item, None) for item in reversed(node)]
    while waiting:
        item, owner = waiting.pop()
        kind = local(item)
        if kind == "TextLine":
            line = _read_line(item, sheet)
            if line is not None and owner is None:  # no valid file, but the line is there
                sheet.regions.append(Region("text", 1.0, (), (line,), found_by="lines"))
            elif line is not None:
                region = sheet.regions[owner]
                sheet.regions[owner] = replace(region, lines=(*region.lines, line))
            continue
        if kind in _CLASS:
            names = [labels[tag] for tag in item.get("TAGREFS", "").split() if tag in labels]
            parent = None if owner is None else sheet.regions[owner].id
            polygon, about = (
                _block_outline(item, sheet),
                {"parent": parent, "id": item.get("ID", "")},
            )
            sheet.regions.append(Region([*names, _CLASS[kind]][0], 1.0, polygon, **about))
            owner = len(sheet.regions) - 1
        waiting += ((inner, owner) for inner in reversed(item))


def _block_outline(node: Element, sheet: Sheet) -> Polygon:
    try:
        return _polygon(node) or _rectangle(node) or ()
    except BadFile as error:
        sheet.dropped.append(f"outline of block {node.get('ID')!r}: {error}")
        return _rectangle(node) or ()


def _polygon(node: Element) -> Polygon | None:
    """The polygon of an element, if it has one of three points or more."""
    shape = child(node, "Shape")
    polygon = None if shape is None else child(shape, "Polygon")
    points = [] if polygon is None else numbers(polygon.get("POINTS"))
    if len(points) % 2:
        raise BadFile("the outline is no list of points")
    return pairs(points) if len(points) >= 6 else None


def _rectangle(node: Element) -> Polygon | None:
    edges = [number(node.get(key)) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT")]
    if None in edges:
        return None
    x, y, width, height = edges
    return box_polygon((x, y, x + width, y + height))


def _read_line(node: Element, sheet: Sheet) -> Line | None:
    """A line with its polygon, else with a band around its baseline, else with its rectangle."""
    try:
        polygon, height = _polygon(node), number(node.get("HEIGHT"))
        try:
            base = numbers(node.get("BASELINE"))
        except BadFile:
            if polygon is None:
                raise
            base = []  # the outline is enough
        if polygon is None and len(base) >= 4 and height is not None and height > 0:
            polygon = band(polyline(base), height)
            sheet.repaired["lines got an outline from their baseline"] += 1
        elif polygon is None:
            polygon = _rectangle(node)
            sheet.repaired["lines have their rectangle as outline"] += polygon is not None
        if polygon is None:
            raise BadFile("neither an outline nor a rectangle")
        words = [_read_word(item) for item in children(node, "String")]
    except BadFile as error:
        sheet.dropped.append(f"line {node.get('ID')!r}: {error}")
        return None
    hyphen = child(node, "HYP")
    if hyphen is not None and words and words[-1].text[-1:] not in HYPHENS:
        words[-1] = replace(words[-1], text=words[-1].text + (hyphen.get("CONTENT") or "-"))
    words = [word for word in words if word.text]
    sure = [word.confidence for word in words if word.confidence is not None]
    mean = math.prod(sure) ** (1 / len(sure)) if sure else None
    placed = tuple(words) if all(word.polygon for word in words) else ()
    text = " ".join(word.text for word in words)
    about = {"words": placed, "id": node.get("ID", "")}
    return Line(polygon, None, text, mean, pairs(base) if len(base) >= 4 else (), **about)


def _read_word(node: Element) -> Word:
    polygon = _polygon(node) or _rectangle(node) or ()
    text = (node.get("CONTENT") or "").strip()
    return Word(polygon, text, share(node.get("WC")), id=node.get("ID", ""))
