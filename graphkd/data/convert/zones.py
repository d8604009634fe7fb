"""The pages and zones that all XML readers return, and safe parsing of XML."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class BadFile(ValueError):
    """An annotation file that cannot be read; the message does not contain the file name."""


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


def parse_xml(path: Path) -> Element:
    """The root element of an XML file; entities and external references are refused.

    Raises:
        BadFile: the XML is not well-formed, cannot be decoded, or declares entities.
    """
    try:
        tree = defusedxml.ElementTree.parse(path, forbid_entities=True, forbid_external=True)
    except ParseError as error:
        line, column = error.position
        raise BadFile(f"not well-formed XML at line {line}, column {column}") from None
    except DefusedXmlException as error:
        raise BadFile(f"refused: the XML declares entities ({type(error).__name__})") from None
    except (OSError, ValueError, LookupError) as error:
        raise BadFile(f"cannot be read ({error})") from None
    return tree.getroot()


def local(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def children(element: Element, name: str) -> Iterator[Element]:
    """Direct children of a name, in any namespace."""
    return (child for child in element if local(child) == name)


def child(element: Element, name: str) -> Element | None:
    """The first direct child of a name, in any namespace."""
    return next(children(element, name), None)


def find_all(element: Element, name: str) -> Iterator[Element]:
    """All descendants of a name, in any namespace."""
    return (item for item in element.iter() if local(item) == name)


def number(text: Any) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def side(text: Any) -> int | None:
    """A page side in whole pixels, or None."""
    value = number(text)
    return int(round(value)) if value is not None and value >= 1 else None


def numbers(text: str | None) -> list[float]:
    """The numbers of a point list, which are separated by blanks, commas or semicolons.

    Raises:
        BadFile: the list contains something else. Without it, x and y would be mixed up.
    """
    found = []
    for word in re.split(r"[\s,;]+", text or ""):
        value = number(word) if _NUMBER.fullmatch(word) else None
        if value is not None:
            found.append(value)
        elif word:
            raise BadFile(f"{word[:20]!r} among the points is no finite number")
    return found


def outline_zone(label: str, points: list[float]) -> Zone | None:
    """The zone of a polygon x0, y0, x1, y1, ...; None for fewer than two points."""
    if len(points) < 4 or len(points) % 2:
        return None
    xs, ys = points[0::2], points[1::2]
    box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return Zone(label, box, tuple(points) if len(points) >= 6 else None)
