"""Reading Pascal VOC boxes; writes nothing."""

from pathlib import Path, PureWindowsPath
from xml.etree.ElementTree import Element

from graphkd.data.convert.zones import (
    BadFile,
    XmlPage,
    Zone,
    child,
    children,
    local,
    number,
    parse_xml,
    side,
)


def read_voc(path: Path) -> list[XmlPage]:
    """Boxes of a Pascal VOC file.

    Corners are taken as they are: width is xmax - xmin, and no pixel is subtracted, because
    today's labelling tools count from 0.

    Raises:
        BadFile: not XML, not Pascal VOC, or an object without four numbers.

    """
    root = parse_xml(path)
    if local(root) != "annotation":
        raise BadFile(f"not Pascal VOC: the root element is <{local(root)}>")
    zones, unlabelled = [], 0
    for item in children(root, "object"):
        label = " ".join(_text(item, "name").split())  # an indented name may hold line ends
        if not label:
            unlabelled += 1
            continue
        zones.append(_zone(item, label))
    size = child(root, "size")
    return [
        XmlPage(
            image_name=PureWindowsPath(_text(root, "filename")).name or path.stem,
            width=None if size is None else side(_text(size, "width")),
            height=None if size is None else side(_text(size, "height")),
            zones=zones,
            unlabelled=unlabelled,
        )
    ]


def _zone(item: Element, label: str) -> Zone:
    box = child(item, "bndbox")
    corners = [
        None if box is None else number(_text(box, key)) for key in ("xmin", "ymin", "xmax", "ymax")
    ]
    x0, y0, x1, y1 = corners
    if x0 is None or y0 is None or x1 is None or y1 is None:
        raise BadFile(f"an object {label!r} has no usable bndbox")
    return Zone(label, (min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)))


def _text(element: Element, name: str) -> str:
    found = child(element, name)
    return "" if found is None else (found.text or "").strip()
