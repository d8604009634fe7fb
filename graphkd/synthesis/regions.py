"""What a generated page says about itself: classes, regions and the page; no drawing here."""

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from graphkd.data.layouts import DOCLAYNET_CLASSES, PUBLAYNET_CLASSES

Box = tuple[float, float, float, float]

CLASSES_11 = DOCLAYNET_CLASSES
CLASSES_5 = PUBLAYNET_CLASSES

TO_5 = {
    "Caption": "text",
    "Footnote": "text",
    "Formula": "text",
    "List-item": "list",
    "Page-footer": None,
    "Page-header": None,
    "Picture": "figure",
    "Section-header": "title",
    "Table": "table",
    "Text": "text",
    "Title": "title",
}


@dataclass(frozen=True)
class Region:
    """One annotated region: a class name, a box (x0, y0, x1, y1) in pixels, and its list, if any.

    `group` numbers the list an item belongs to (unique in a page); None for everything else.
    """

    name: str
    box: Box
    group: int | None = None


@dataclass(frozen=True)
class Page:
    """One page: the RGB image, its regions in drawing order, and the JPEG quality to store it
    at.
    """

    image: Image.Image
    regions: tuple[Region, ...]
    quality: int = 90


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box round all boxes (at least one)."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def five_classes(regions: Iterable[Region]) -> tuple[Region, ...]:
    """Translate regions of the 11 classes into the 5 classes of PubLayNet.

    Caption, Footnote, Formula and Text become text; Title and Section-header become title; Table
    becomes
    table; Picture becomes figure. Page-header and Page-footer are not annotated in PubLayNet and
    are
    left out. All List-items of one group become one list box, at the place of the first item.

    Args:
        regions: regions of the 11 classes; may be empty.

    Returns:
        Regions of the 5 classes, in the same order; empty for a page without objects.
    """
    regions = tuple(regions)
    lists: dict[int | None, list[Box]] = {}
    for region in regions:
        if region.name == "List-item":
            lists.setdefault(region.group, []).append(region.box)
    translated = []
    for region in regions:
        name = TO_5[region.name]
        if name == "list":
            if region.group in lists:
                translated.append(Region("list", union(lists.pop(region.group)), region.group))
        elif name is not None:
            translated.append(Region(name, region.box))
    return tuple(translated)
