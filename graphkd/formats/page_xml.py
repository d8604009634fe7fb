"""A page as PAGE XML, schema of 2019-07-15: regions by class, lines and words with their text."""

import math
import re
from collections.abc import Iterable
from pathlib import PurePath
from xml.etree import ElementTree

from graphkd import __version__
from graphkd.document import Line, Outlined, Page, Point, Word, box_polygon
from graphkd.formats.sheet import INNER
from graphkd.formats.xml import clean, created, written

NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"

# What a class name says, word by word -> element of the schema, and for text its `type`.
_TEXT = {
    "text": "paragraph",
    "paragraph": "paragraph",
    "title": "heading",
    "heading": "heading",
    "headline": "heading",
    "sectionheader": "heading",
    "caption": "caption",
    "footnote": "footnote",
    "list": "other",
    "listitem": "other",
    "pageheader": "header",
    "header": "header",
    "runningtitle": "header",
    "pagefooter": "footer",
    "footer": "footer",
    "pagenumber": "page-number",
    "numbering": "page-number",
    "main": "paragraph",
    "textregion": "paragraph",
    "body": "paragraph",
    "margintext": "marginalia",
    "marginalia": "marginalia",
    "dropcapital": "drop-capital",
    "quiremarks": "signature-mark",
    "handwriting": "other",
    "abstract": "paragraph",
    "author": "credit",
    "reference": "other",
    "bibliography": "other",
    "toc": "TOC-entry",
}
_OTHER = {
    "figure": "ImageRegion",
    "picture": "ImageRegion",
    "image": "ImageRegion",
    "imageregion": "ImageRegion",
    "photo": "ImageRegion",
    "illustration": "ImageRegion",
    "graphic": "GraphicRegion",
    "graphicregion": "GraphicRegion",
    "stamp": "GraphicRegion",
    "logo": "GraphicRegion",
    "chart": "ChartRegion",
    "table": "TableRegion",
    "tableregion": "TableRegion",
    "formula": "MathsRegion",
    "equation": "MathsRegion",
    "maths": "MathsRegion",
    "mathsregion": "MathsRegion",
    "separator": "SeparatorRegion",
    "separatorregion": "SeparatorRegion",
    "music": "MusicRegion",
    "map": "MapRegion",
    "advertisement": "AdvertRegion",
}


def page_xml(page: Page) -> str:
    """The document of one page; the class stands in every region's `custom`, the score in `conf`.

    Regions are in the order of the page, with their lines and words where they have any; a
    ReadingOrder follows from it where a method found the order.
    """
    root = ElementTree.Element("PcGts", {"xmlns": NAMESPACE})
    metadata = ElementTree.SubElement(root, "Metadata")
    for name, text in (
        ("Creator", f"graphkd {__version__}"),
        ("Created", created(page.source)),
        ("LastChange", created(page.source)),
        ("Comments", f"{page.source}, page {page.number}"),
    ):
        ElementTree.SubElement(metadata, name).text = clean(text)
    body = ElementTree.SubElement(root, "Page", _page_attributes(page))
    names = [region.id or f"r{number}" for number, region in enumerate(page.regions, start=1)]
    if names and page.order_by not in ("score", "none"):
        order = ElementTree.SubElement(body, "ReadingOrder")
        about = {"id": "ro", "caption": clean(page.order_by)}
        group = ElementTree.SubElement(order, "OrderedGroup", about)
        for index, name in enumerate(names):
            said = {"index": str(index), "regionRef": name}
            ElementTree.SubElement(group, "RegionRefIndexed", said)
    for name, region in zip(names, page.regions, strict=True):
        element, attributes = region_type(region.label)
        attributes |= {"custom": _custom(region.label)}
        node = _outlined(body, element, region, page, id=name, conf=region.score, **attributes)
        if region.lines and element != "TextRegion":  # only text regions may hold lines
            node = _outlined(node, "TextRegion", region, page, id=f"{name}{INNER}")
        for place, line in enumerate(region.lines, start=1):
            _add_line(node, line, page, name=line.id or f"{name}l{place}")
        if any(line.text for line in region.lines):
            _add_text(node, region.text, None)
    return written(root)


def _page_attributes(page: Page) -> dict[str, str]:
    said = {
        "imageFilename": clean(PurePath(page.source).name),
        "imageWidth": str(page.width),
        "imageHeight": str(page.height),
    }
    if page.dpi is not None:
        resolution = f"{page.dpi:g}"
        said |= {"imageXResolution": resolution, "imageYResolution": resolution}
        said["imageResolutionUnit"] = "PPI"
    if page.rotation:  # of the source; the coordinates are for the upright page
        said["custom"] = f"rotation {{angle:{page.rotation:g};}}"
    return said | _conf(page.confidence)


def region_type(label: str) -> tuple[str, dict[str, str]]:
    """The schema's element for a class name, with its `type` attribute where it has one.

    Case, blanks, `-`, `_` and an ending "Zone" do not matter. An unknown name gives a CustomRegion
    whose type is that name.
    """
    key = re.sub(r"[\W_]", "", label).casefold()
    key = key.removesuffix("zone") or key
    if key in _TEXT:
        return "TextRegion", {"type": _TEXT[key]}
    if key in _OTHER:
        return _OTHER[key], {}
    return "CustomRegion", {"type": clean(label)}


def _add_line(parent: ElementTree.Element, line: Line, page: Page, *, name: str) -> None:
    origin = {"custom": "origin {source:pdf;}"} if line.origin == "pdf" else {}
    node = _outlined(parent, "TextLine", line, page, id=name, conf=line.score, **origin)
    if len(line.baseline) > 1:
        ElementTree.SubElement(node, "Baseline", {"points": _points(line.baseline, page)})
    for place, word in enumerate(line.words, start=1):
        _add_word(node, word, page, name=word.id or f"{name}w{place}")
    if line.text:
        first = {"index": "0"} if line.alternatives else {}
        _add_text(node, line.text, line.confidence, **first)
    for place, (text, probability) in enumerate(line.alternatives, start=1):
        _add_text(node, text, probability, index=str(place))


def _add_word(parent: ElementTree.Element, word: Word, page: Page, *, name: str) -> None:
    node = _outlined(parent, "Word", word, page, id=name)
    _, top, _, bottom = word.box
    for place, (text, left, right, confidence) in enumerate(word.characters, start=1):
        box = Word(box_polygon((left, top, right, bottom)))
        glyph = _outlined(node, "Glyph", box, page, id=f"{name}c{place}")
        _add_text(glyph, text, confidence)
    _add_text(node, word.text, word.confidence)


def _outlined(
    parent: ElementTree.Element,
    element: str,
    outlined: Outlined,
    page: Page,
    *,
    id: str,
    conf: float | None = None,
    **attributes: str,
) -> ElementTree.Element:
    """An element with its polygon, in whole pixels inside the page."""
    node = ElementTree.SubElement(parent, element, {"id": id, **attributes})
    if outlined.is_box:  # rounded outwards
        x1, y1, x2, y2 = outlined.box
        corners = box_polygon((math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)))
    else:
        corners = outlined.polygon
    points = {"points": _points(corners, page)}
    ElementTree.SubElement(node, "Coords", points | _conf(conf))
    return node


def _points(points: Iterable[Point], page: Page) -> str:
    """Points as x,y x,y in whole pixels inside the page: the schema knows no others."""
    return " ".join(
        f"{min(max(round(x), 0), page.width)},{min(max(round(y), 0), page.height)}"
        for x, y in points
    )


def _add_text(
    node: ElementTree.Element, text: str, confidence: float | None, **attributes: str
) -> None:
    inside = ElementTree.SubElement(node, "TextEquiv", attributes | _conf(confidence))
    ElementTree.SubElement(inside, "Unicode").text = clean(text)


def _conf(value: float | None) -> dict[str, str]:
    return {} if value is None else {"conf": f"{value:.4f}"}


def _custom(label: str) -> str:
    """The class as PAGE tools write it, `structure {type:NAME;}`; reserved signs are escaped."""
    name = re.sub(r"[\\{}:;,]", lambda sign: f"\\u{ord(sign[0]):04x}", clean(label))
    return f"structure {{type:{name};}}"
