"""Reads the XML formats: PAGE regions, ALTO zones with SegmOnto tags, Pascal VOC boxes."""

from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from xml.etree.ElementTree import Element

from graphkd.data.layouts import SEGMONTO_CLASSES
from graphkd.formats.alto import alto_image, alto_labels
from graphkd.formats.page_reader import page_points
from graphkd.formats.xml import (
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

# Region types of the PAGE schema -> the six classes that published PRImA models use.
CLASS_OF_REGION = {
    "TextRegion": "TextRegion",
    "ImageRegion": "ImageRegion",
    "ChartRegion": "ImageRegion",
    "GraphicRegion": "ImageRegion",
    "TableRegion": "TableRegion",
    "MathsRegion": "MathsRegion",
    "SeparatorRegion": "SeparatorRegion",
    "LineDrawingRegion": "OtherRegion",
    "NoiseRegion": "OtherRegion",
    "FrameRegion": "OtherRegion",
    "AdvertRegion": "OtherRegion",
    "ChemRegion": "OtherRegion",
    "MusicRegion": "OtherRegion",
    "MapRegion": "OtherRegion",
    "UnknownRegion": "OtherRegion",
    "CustomRegion": "OtherRegion",
}
_BLOCKS = {"TextBlock", "Illustration", "GraphicalElement", "ComposedBlock"}
_CLASS_OF_LABEL = {name.casefold(): name for name in SEGMONTO_CLASSES}
_CLASS_OF_LABEL |= {"figure": "GraphicZone", "decoration": "GraphicZone"}


@dataclass(frozen=True)
class Zone:
    """One region: its label in the source, its box (x, y, width, height) and its outline, if known.

    Numbers are relative to the page's width and height; `polygon` is x0, y0, x1, y1, ...
    `difficult` is None in formats without this field.
    """

    label: str
    box: tuple[float, float, float, float]
    polygon: tuple[float, ...] | None = None
    difficult: bool | None = None


@dataclass(frozen=True)
class XmlPage:
    """One page of an annotation file; width and height are None if the file does not contain them.

    `faults` has one line for each outline that cannot be read.
    """

    image_name: str
    width: int | None
    height: int | None
    zones: list[Zone] = field(default_factory=list)
    unlabelled: int = 0
    faults: list[str] = field(default_factory=list)


def outline_zone(label: str, points: list[float]) -> Zone | None:
    """The zone of a polygon x0, y0, x1, y1, ...; None for fewer than two points."""
    if len(points) < 4 or len(points) % 2:
        return None
    xs, ys = points[0::2], points[1::2]
    box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return Zone(label, box, tuple(points) if len(points) >= 6 else None)


def read_page_xml(path: Path) -> list[XmlPage]:
    """Reads the regions of a PAGE file (also nested ones) in any version of the schema.

    Points may be written as `<Coords points="x,y x,y">` or as `<Point x= y=>` children. Regions
    with fewer than two points count as unlabelled; unreadable points are faults.

    Raises:
        BadFile: the file is no XML, or no PAGE file.
    """
    root = parse_xml(path)
    page = next(find_all(root, "Page"), None)
    if local(root) != "PcGts" or page is None:
        raise BadFile(f"not PAGE XML: the root element is <{local(root)}>")
    zones, lost, faults = [], 0, []
    for region in page.iter():
        label = CLASS_OF_REGION.get(local(region))
        if label is None:
            continue
        try:
            zone = outline_zone(label, page_points(region))
        except BadFile as error:
            faults.append(f"region {region.get('id')!r}: {error}")
            continue
        if zone is None:
            lost += 1
        else:
            zones.append(zone)
    name = PureWindowsPath(page.get("imageFilename", "")).name or path.stem
    width, height = side(page.get("imageWidth")), side(page.get("imageHeight"))
    return [XmlPage(name, width, height, zones, lost, faults)]


def read_alto(path: Path) -> list[XmlPage]:
    """Reads the zones of an ALTO file with one page.

    The class of a block is the label of the first of its tags that has one (a SegmOnto zone),
    without numbers and sub-types ("MainZone#2", "MarginTextZone:note"). Blocks without a tag are
    only counted. The outline is the polygon of the block, or its rectangle if there is no polygon;
    an unreadable polygon is a fault. Positions may have any unit, because they are relative to the
    page's WIDTH and HEIGHT.

    Raises:
        BadFile: the file is no XML, no ALTO file, has several pages, or its positions are not in
            pixels and the page has no WIDTH and HEIGHT.
    """
    root = parse_xml(path)
    if local(root) != "alto":
        raise BadFile(f"not ALTO: the root element is <{local(root)}>")
    pages = list(find_all(root, "Page"))
    if len(pages) != 1:
        raise BadFile(f"holds {len(pages)} pages; one page per file is expected")
    width, height = side(pages[0].get("WIDTH")), side(pages[0].get("HEIGHT"))
    unit = _alto_unit(root)
    if unit != "pixel" and (width is None or height is None):
        raise BadFile(f"positions are in {unit}, and the page has no WIDTH and HEIGHT to scale by")
    labels = {key: plain_label(label) for key, label in alto_labels(root).items()}
    zones, unlabelled, faults = [], 0, []
    for block in pages[0].iter():
        if local(block) not in _BLOCKS:
            continue
        label = next((labels[t] for t in block.get("TAGREFS", "").split() if t in labels), None)
        if label is None:
            unlabelled += local(block) != "ComposedBlock"
            continue
        try:
            zone = _alto_outline(block, label) or _alto_rectangle(block, label)
        except BadFile as error:
            faults.append(f"outline of block {block.get('ID')!r}: {error}")
            zone = _alto_rectangle(block, label)
        if zone is None:
            raise BadFile(f"block {block.get('ID')!r} has no usable position")
        zones.append(zone)
    return [
        XmlPage(
            image_name=alto_image(root) or path.stem,
            width=width,
            height=height,
            zones=zones,
            unlabelled=unlabelled,
            faults=faults,
        )
    ]


def plain_label(label: str) -> str:
    """The name of a zone without number and sub-type: MarginTextZone of "MarginTextZone:note#1"."""
    return label.split("#")[0].split(":")[0].strip()


def segmonto_class(label: str) -> str:
    """The SegmOnto class of a zone label, in any case; OtherZone for unknown labels."""
    return _CLASS_OF_LABEL.get(label.casefold(), "OtherZone")


def _alto_outline(block: Element, label: str) -> Zone | None:
    shape = child(block, "Shape")
    polygon = child(shape, "Polygon") if shape is not None else None
    return None if polygon is None else outline_zone(label, numbers(polygon.get("POINTS")))


def _alto_rectangle(block: Element, label: str) -> Zone | None:
    x, y, width, height = (number(block.get(k)) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    if x is None or y is None or width is None or height is None:
        return None
    return Zone(label, (x, y, width, height))


def _alto_unit(root: Element) -> str:
    texts = ((element.text or "").strip() for element in find_all(root, "MeasurementUnit"))
    return next(texts, "") or "pixel"


def read_voc(path: Path) -> list[XmlPage]:
    """Reads the boxes of a Pascal VOC file, and whether they are `difficult`.

    The width of a box is xmax - xmin, and 1 is not subtracted from corners, because today's
    labelling tools count pixels from 0.

    Raises:
        BadFile: the file is no XML, no Pascal VOC file, or an object lacks one of its numbers.
    """
    root = parse_xml(path)
    if local(root) != "annotation":
        raise BadFile(f"not Pascal VOC: the root element is <{local(root)}>")
    zones, unlabelled = [], 0
    for item in children(root, "object"):
        label = " ".join(_voc_text(item, "name").split())  # an indented name may hold line ends
        if not label:
            unlabelled += 1
            continue
        zones.append(_voc_zone(item, label))
    size = child(root, "size")
    return [
        XmlPage(
            image_name=PureWindowsPath(_voc_text(root, "filename")).name or path.stem,
            width=None if size is None else side(_voc_text(size, "width")),
            height=None if size is None else side(_voc_text(size, "height")),
            zones=zones,
            unlabelled=unlabelled,
        )
    ]


def _voc_zone(item: Element, label: str) -> Zone:
    box = child(item, "bndbox")
    corners = [
        None if box is None else number(_voc_text(box, key))
        for key in ("xmin", "ymin", "xmax", "ymax")
    ]
    x0, y0, x1, y1 = corners
    if x0 is None or y0 is None or x1 is None or y1 is None:
        raise BadFile(f"an object {label!r} has no usable bndbox")
    box = min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)
    mark = number(_voc_text(item, "difficult"))
    return Zone(label, box, difficult=None if mark is None else mark != 0)


def _voc_text(element: Element, name: str) -> str:
    found = child(element, name)
    return "" if found is None else (found.text or "").strip()
