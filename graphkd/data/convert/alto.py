"""Reading ALTO (2 to 4) zones with SegmOnto tags; writes nothing."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from xml.etree.ElementTree import Element

from graphkd.data.convert.zones import (
    BadFile,
    XmlPage,
    Zone,
    child,
    find_all,
    local,
    number,
    numbers,
    outline_zone,
    parse_xml,
    side,
)
from graphkd.data.layouts import SEGMONTO_CLASSES

_BLOCKS = {"TextBlock", "Illustration", "GraphicalElement", "ComposedBlock"}
_CLASS_OF_LABEL = {name.casefold(): name for name in SEGMONTO_CLASSES}
_CLASS_OF_LABEL |= {"figure": "GraphicZone", "decoration": "GraphicZone"}


def read_alto(path: Path) -> list[XmlPage]:
    """Zones of an ALTO file, one page.

    A block's class is the label of the first tag it refers to that has one (SegmOnto zone);
    numbers and sub-types are cut off ("MainZone#2", "MarginTextZone:note"). Blocks without a tag
    are counted, not returned. The outline is the block's own polygon, else its rectangle; a
    polygon that cannot be read is a fault.
    Positions may be in any unit: they are relative to the page's WIDTH and HEIGHT.

    Raises:
        BadFile: not XML, not ALTO, more than one page, or positions that are not in pixels on a
            page without WIDTH and HEIGHT.

    """
    root = parse_xml(path)
    if local(root) != "alto":
        raise BadFile(f"not ALTO: the root element is <{local(root)}>")
    pages = list(find_all(root, "Page"))
    if len(pages) != 1:
        raise BadFile(f"holds {len(pages)} pages; one page a file is expected")
    width, height = side(pages[0].get("WIDTH")), side(pages[0].get("HEIGHT"))
    unit = _unit(root)
    if unit != "pixel" and (width is None or height is None):
        raise BadFile(f"positions are in {unit}, and the page has no WIDTH and HEIGHT to scale by")
    labels = _labels(root)
    zones, unlabelled, faults = [], 0, []
    for block in pages[0].iter():
        if local(block) not in _BLOCKS:
            continue
        label = next((labels[t] for t in block.get("TAGREFS", "").split() if t in labels), None)
        if label is None:
            unlabelled += local(block) != "ComposedBlock"
            continue
        try:
            zone = _outline(block, label) or _rectangle(block, label)
        except BadFile as error:
            faults.append(f"outline of block {block.get('ID')!r}: {error}")
            zone = _rectangle(block, label)
        if zone is None:
            raise BadFile(f"block {block.get('ID')!r} has no usable position")
        zones.append(zone)
    return [
        XmlPage(
            image_name=_image_name(root) or path.stem,
            width=width,
            height=height,
            zones=zones,
            unlabelled=unlabelled,
            faults=faults,
        )
    ]


def plain_label(label: str) -> str:
    """A zone name without number and sub-type: "MarginTextZone:note#1" is MarginTextZone."""
    return label.split("#")[0].split(":")[0].strip()


def segmonto_class(label: str) -> str:
    """The catalog's SegmOnto class of a zone label in any case; others are OtherZone."""
    return _CLASS_OF_LABEL.get(label.casefold(), "OtherZone")


def _labels(root: Element) -> dict[str, str]:
    labels = {}
    for tags in find_all(root, "Tags"):
        for tag in tags:
            kind = f"{tag.get('DESCRIPTION', '')} {tag.get('TYPE', '')}".lower()
            label = plain_label(tag.get("LABEL", ""))
            if tag.get("ID") and label and "line type" not in kind:
                labels[tag.get("ID")] = label
    return labels


def _outline(block: Element, label: str) -> Zone | None:
    shape = child(block, "Shape")
    polygon = child(shape, "Polygon") if shape is not None else None
    return None if polygon is None else outline_zone(label, numbers(polygon.get("POINTS")))


def _rectangle(block: Element, label: str) -> Zone | None:
    x, y, width, height = (number(block.get(k)) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT"))
    if x is None or y is None or width is None or height is None:
        return None
    return Zone(label, (x, y, width, height))


def _unit(root: Element) -> str:
    texts = ((element.text or "").strip() for element in find_all(root, "MeasurementUnit"))
    return next(texts, "") or "pixel"


def _image_name(root: Element) -> str:
    for element in find_all(root, "fileName"):
        text = (element.text or "").strip()
        if text:
            return PurePosixPath(PureWindowsPath(text).name).name
    return ""
