"""A page as PAGE XML, schema of 2019-07-15: regions by class, lines and words with their text."""

import datetime
import math
import re
from pathlib import PurePath
from xml.etree import ElementTree

from graphkd import __version__
from graphkd.document import Line, Outlined, Page, box_polygon

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
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def page_xml(page: Page) -> str:
    """The document of one page; the class stands in every region's `custom`, the score in `conf`.

    Regions are in the order of the page, with their lines and words where they have any.
    """
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    root = ElementTree.Element("PcGts", {"xmlns": NAMESPACE})
    metadata = ElementTree.SubElement(root, "Metadata")
    for name, text in (
        ("Creator", f"graphkd {__version__}"),
        ("Created", now),
        ("LastChange", now),
        ("Comments", f"{page.source}, page {page.number}"),
    ):
        ElementTree.SubElement(metadata, name).text = _clean(text)
    body = ElementTree.SubElement(
        root,
        "Page",
        {
            "imageFilename": _clean(PurePath(page.source).name),
            "imageWidth": str(page.width),
            "imageHeight": str(page.height),
        },
    )
    for number, region in enumerate(page.regions, start=1):
        element, attributes = region_type(region.label)
        attributes |= {"custom": _custom(region.label)}
        name = region.id or f"r{number}"
        node = _outlined(body, element, region, page, id=name, conf=region.score, **attributes)
        if region.lines and element != "TextRegion":  # only text regions may hold lines
            node = _outlined(node, "TextRegion", region, page, id=f"{name}t")
        for place, line in enumerate(region.lines, start=1):
            _add_line(node, line, page, name=line.id or f"{name}l{place}")
        if any(line.text for line in region.lines):
            _add_text(node, region.text, None)
    ElementTree.indent(root)
    content = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content.decode() + "\n"


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
    return "CustomRegion", {"type": _clean(label)}


def _add_line(parent: ElementTree.Element, line: Line, page: Page, *, name: str) -> None:
    node = _outlined(parent, "TextLine", line, page, id=name, conf=line.score)
    if len(line.baseline) > 1:
        points = " ".join(f"{round(x)},{round(y)}" for x, y in line.baseline)
        ElementTree.SubElement(node, "Baseline", {"points": points})
    for place, word in enumerate(line.words, start=1):
        inside = _outlined(node, "Word", word, page, id=word.id or f"{name}w{place}", conf=None)
        _add_text(inside, word.text, word.confidence)
    if line.text:
        _add_text(node, line.text, line.confidence)


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
        corners = tuple((round(x), round(y)) for x, y in outlined.polygon)
    points = " ".join(
        f"{min(max(x, 0), page.width)},{min(max(y, 0), page.height)}" for x, y in corners
    )
    said = {} if conf is None else {"conf": f"{conf:.4f}"}
    ElementTree.SubElement(node, "Coords", {"points": points, **said})
    return node


def _add_text(node: ElementTree.Element, text: str, confidence: float | None) -> None:
    said = {} if confidence is None else {"conf": f"{confidence:.4f}"}
    inside = ElementTree.SubElement(node, "TextEquiv", said)
    ElementTree.SubElement(inside, "Unicode").text = _clean(text)


def _custom(label: str) -> str:
    """The class as PAGE tools write it, `structure {type:NAME;}`; reserved signs are escaped."""
    name = re.sub(r"[\\{}:;,]", lambda sign: f"\\u{ord(sign[0]):04x}", _clean(label))
    return f"structure {{type:{name};}}"


def _clean(text: str) -> str:
    """Without the signs that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
