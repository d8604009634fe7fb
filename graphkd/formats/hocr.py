"""hOCR 1.2: pages as XHTML with boxes, baselines and confidences in the titles of elements."""

from pathlib import PurePath
from xml.etree.ElementTree import Element, SubElement

from graphkd import __version__
from graphkd.document import Line, Outlined, Page
from graphkd.formats.line_words import line_words
from graphkd.formats.xml import clean, written


def page_hocr(page: Page) -> str:
    """The hOCR document of one page, in whole pixels; the class of an area is in `data-class`."""
    root = Element("html", {"xmlns": "http://www.w3.org/1999/xhtml"})
    head = SubElement(root, "head")
    name = clean(PurePath(page.source).name)
    SubElement(head, "title").text = name
    SubElement(head, "meta", {"charset": "utf-8"})
    for key, content in (
        ("ocr-system", f"graphkd {__version__}"),
        ("ocr-capabilities", "ocr_page ocr_carea ocr_line ocrx_word ocrp_poly ocrp_wconf"),
    ):
        SubElement(head, "meta", {"name": key, "content": content})
    # Quotes would end the name inside of the title.
    title = f'image "{name.translate({34: "_"})}"; bbox 0 0 {page.width} {page.height}'
    title += f"; ppageno {page.number - 1}"
    if page.dpi is not None:
        title += f"; scan_res {page.dpi:g} {page.dpi:g}"
    about = {"class": "ocr_page", "id": f"page_{page.number}", "title": title}
    sheet = SubElement(SubElement(root, "body"), "div", about)
    for place, region in enumerate(page.regions, start=1):
        area = _outlined(sheet, "div", "ocr_carea", region, region.id or f"r{place}")
        area.set("data-class", clean(region.label))
        for row, line in enumerate(region.lines, start=1):
            _add_line(area, line, name=line.id or f"r{place}l{row}")
    return written(root, html=True)


def _add_line(parent: Element, line: Line, *, name: str) -> None:
    node = _outlined(parent, "span", "ocr_line", line, name, more=_baseline(line))
    for place, word in enumerate(line_words(line), start=1):
        sure = "" if word.confidence is None else f"; x_wconf {100 * word.confidence:.0f}"
        said = word.id or f"{name}w{place}"
        inside = _outlined(node, "span", "ocrx_word", word, said, more=sure)
        inside.text = clean(word.text)


def _outlined(
    parent: Element, kind: str, name: str, item: Outlined, ident: str, *, more: str = ""
) -> Element:
    """An element with its box, and with its polygon where that is another."""
    title = "bbox " + " ".join(str(round(value)) for value in item.box)
    if not item.is_box:
        values = (str(round(value)) for point in item.polygon for value in point)
        title += "; poly " + " ".join(values)
    return SubElement(parent, kind, {"class": name, "id": ident, "title": title + more})


def _baseline(line: Line) -> str:
    """Slope, and height above the lower left corner of the box; not for upright lines."""
    if len(line.baseline) < 2 or line.baseline[0][0] == line.baseline[-1][0]:
        return ""
    (x0, y0), (x1, y1) = line.baseline[0], line.baseline[-1]
    slope = (y1 - y0) / (x1 - x0)
    offset = y0 + (line.box[0] - x0) * slope - line.box[3]
    return f"; baseline {slope:.4f} {offset:.1f}"
