"""Which colour stands for which class, node type or curve; nothing is drawn here.

All are dark enough for a white page and hard to confuse under the common kinds of colour blindness.
"""

import colorsys
from collections.abc import Iterable

_CLASSES = (
    "#0072b2",
    "#d55e00",
    "#00865f",
    "#aa3377",
    "#a67c00",
    "#332288",
    "#e0245e",
    "#2a9d9d",
    "#7a4a1e",
    "#5b8c00",
    "#7d5ba6",
    "#555555",
)
NODE_COLOURS = {"text": "#0072b2", "nontext": "#d55e00", "background": "#8c8c8c"}
MIXED_EDGE = "#7b2d8b"
_GOLDEN_ANGLE = 0.381966


def class_colours(names: Iterable[str]) -> dict[str, str]:
    """Give every distinct name a colour "#rrggbb", in order of first appearance.

    The first twelve come from a hand-picked list; further ones are made, and less easy to tell
    apart.
    """
    distinct = dict.fromkeys(names)
    return {name: _colour(index) for index, name in enumerate(distinct)}


def edge_colour(first: str, second: str) -> str:
    """Colour of an edge between two node types; the order doesn't matter."""
    if "background" in (first, second):
        return NODE_COLOURS["background"]
    return NODE_COLOURS[first] if first == second else MIXED_EDGE


def rgb(colour: str) -> tuple[int, int, int]:
    """Turn "#rrggbb" into three numbers in 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _colour(index: int) -> str:
    if index < len(_CLASSES):
        return _CLASSES[index]
    red, green, blue = colorsys.hls_to_rgb((index * _GOLDEN_ANGLE) % 1.0, 0.38, 0.75)
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in (red, green, blue)))
