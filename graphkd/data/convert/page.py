"""Reading PAGE XML regions, as the PRImA layout data set has them; writes nothing."""

from pathlib import Path, PureWindowsPath
from xml.etree.ElementTree import Element

from graphkd.data.convert.zones import (
    BadFile,
    XmlPage,
    child,
    children,
    find_all,
    local,
    number,
    numbers,
    outline_zone,
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


def read_page_xml(path: Path) -> list[XmlPage]:
    """Regions of a PAGE file, nested ones too, in any version of the schema.

    Points are read both as `<Coords points="x,y x,y">` and as `<Point x= y=>` children. Regions
    with fewer than two points are counted as unlabelled, those with unreadable points are faults.

    Raises:
        BadFile: not XML, or not PAGE.

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
            zone = outline_zone(label, _points(region))
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


def _points(region: Element) -> list[float]:
    coords = child(region, "Coords")
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
