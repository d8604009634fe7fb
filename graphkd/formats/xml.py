"""Safe reading of XML, and what the writers of XML and HTML share."""

import datetime
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

# A page with 200,000 single characters and their outlines takes about 60 MB.
_MAX_BYTES = 1 << 28
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class BadFile(ValueError):
    """An annotation file that cannot be read; the message does not contain the file name."""


def parse_xml(path: Path) -> Element:
    """The root element of an XML file; entities and external references are refused.

    Raises:
        BadFile: the XML is not well-formed, cannot be decoded, declares entities, or is too large.
    """
    try:
        size = os.stat(path).st_size
        if size > _MAX_BYTES:
            raise BadFile(f"{size >> 20} MB of XML; the limit is {_MAX_BYTES >> 20} MB")
        tree = defusedxml.ElementTree.parse(path, forbid_entities=True, forbid_external=True)
    except BadFile:
        raise
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


def share(text: Any) -> float | None:
    """A number in 0..1, as confidences are, or None."""
    value = number(text)
    return value if value is not None and 0 <= value <= 1 else None


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


def pairs(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Points from x0, y0, x1, y1, ...; a last value without a partner is left out."""
    return tuple(zip(values[0::2], values[1::2], strict=False))


def clean(text: str) -> str:
    """The text with U+FFFD for characters that XML cannot hold, such as control characters."""
    return _NOT_XML.sub("\ufffd", text)


def decimal(value: float) -> str:
    """A number with at most one decimal: 12.3, 12."""
    return f"{round(value, 1) + 0:.1f}".removesuffix(".0")  # + 0 makes 0 of -0


def points_text(points: Iterable[Sequence[float]]) -> str:
    """Points as x,y x,y with at most one decimal."""
    return " ".join(f"{decimal(x)},{decimal(y)}" for x, y in points)


def written(root: Element, *, html: bool = False) -> str:
    """An XML document as indented text; `html`: with a doctype, and no element as <a />."""
    ElementTree.indent(root)
    content = ElementTree.tostring(root, encoding="unicode", short_empty_elements=not html)
    start = "<!DOCTYPE html>\n" if html else ""
    return f"<?xml version='1.0' encoding='utf-8'?>\n{start}{content}\n"


def created(source: str) -> str:
    """The time for the files made from a source: `2026-01-31T12:00:00`, UTC.

    It is SOURCE_DATE_EPOCH or the time of the source's last change, never the clock, so that equal
    input gives equal bytes. Pictures from memory get 1970.
    """
    try:
        chosen = os.environ.get("SOURCE_DATE_EPOCH")
        seconds = int(chosen) if chosen else int(os.stat(source).st_mtime)
        when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    except (OSError, ValueError, OverflowError):
        when = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S")
