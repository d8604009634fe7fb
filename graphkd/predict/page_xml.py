"""A page's regions as PAGE XML of the schema of 2019-07-15; it writes no file."""

import datetime
import math
import re
from pathlib import PurePath
from xml.etree import ElementTree

from graphkd import __version__
from graphkd.predict.results import Page, Region

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


def page_xml(page: Page) -> bytes:
    """The document of one page; the class stands in every region's `custom`, the score in `conf`.

    Regions are in the order of the page (falling score); there is no reading order and no text.
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
        attributes = {"id": f"r{number}", **attributes, "custom": _custom(region.label)}
        node = ElementTree.SubElement(body, element, attributes)
        ElementTree.SubElement(
            node, "Coords", {"points": _points(region, page), "conf": f"{region.score:.4f}"}
        )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


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


def _points(region: Region, page: Page) -> str:
    x1, y1, x2, y2 = region.box
    left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
    right, bottom = min(math.ceil(x2), page.width), min(math.ceil(y2), page.height)
    return f"{left},{top} {right},{top} {right},{bottom} {left},{bottom}"


def _custom(label: str) -> str:
    """The class as PAGE tools write it, `structure {type:NAME;}`; reserved signs are escaped."""
    name = re.sub(r"[\\{}:;,]", lambda sign: f"\\u{ord(sign[0]):04x}", _clean(label))
    return f"structure {{type:{name};}}"


def _clean(text: str) -> str:
    """Without the signs that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
