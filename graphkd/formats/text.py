"""Pages as plain text and as Markdown, in reading order.

Words that are divided at the end of a line are joined, and ligatures of print become letters. The
files of a document's pages, one after the other, are the file of the document: a text page ends
with a form feed, a Markdown page begins with a mark.
"""

import re
import unicodedata

from graphkd.document import Page, Region
from graphkd.formats.line_words import divided
from graphkd.formats.page_xml import region_type

_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
# Control characters do not belong into text files; a tabulator is a space there.
_LIGATURES |= dict.fromkeys([*range(0x20), 0x7F], " ")
_BULLET = re.compile(r"^\s*[•‣▪●◦·*–—-]\s+")
_NUMBERED = re.compile(r"^\s*(\d{1,9})[.)]\s+")
_SPECIAL = re.compile(r"([\\`*_\[\]<>&~|$])")
# At the start of a paragraph only: heading, list, line under a heading, numbered list.
_AT_START = re.compile(r"^(\d*)([#+=.)-])")


def page_txt(page: Page) -> str:
    """The text: a row a line, an empty row between regions, a form feed at the end."""
    blocks = ("\n".join(region_rows(region)) for region in page.regions)
    return "\n\n".join(filter(None, blocks)) + "\n\f"


def page_md(page: Page) -> str:
    """Markdown: headings, lists and tables by class, other regions as paragraphs."""
    blocks = [f"<!-- page {page.number} -->"]
    before = ""
    for region in page.regions:
        block = _block(region)
        if not block:
            continue
        item = _kind(region) in ("list", "listitem")
        # Regions that are one item each are one list together.
        blocks.append(("\n" if item and before == "item" else "\n\n") + block)
        before = "item" if item else ""
    return "".join(blocks) + "\n\n"


def region_rows(region: Region) -> list[str]:
    """The texts of the lines that have one; a divided word stands in the row where it begins."""
    rows, taken = [], 0
    for place, line in enumerate(region.lines):
        text = line.text.strip()[taken:]
        taken = 0
        if divided(region, place):
            rest = region.lines[place + 1].text.split()[0]
            text, taken = text[:-1] + rest, len(rest)
        text = text.translate(_LIGATURES).strip()
        if text:
            rows.append(text)
    return rows


def _block(region: Region) -> str:
    rows, kind = region_rows(region), _kind(region)
    if not rows:
        return ""
    if kind == "title":
        return f"# {_escaped(' '.join(rows))}"
    element, attributes = region_type(region.label)
    if attributes.get("type") == "heading":
        return f"## {_escaped(' '.join(rows))}"
    if element == "TableRegion":
        ticks = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", "\n".join(rows)))])
        return "\n".join([ticks, *rows, ticks])
    if kind in ("list", "listitem"):
        return _list(rows)
    return _paragraph(rows)


def _list(rows: list[str]) -> str:
    """Items begin where a row has a bullet or a number; without any, the region is one item."""
    items: list[tuple[str, list[str]]] = []
    for row in rows:
        number = _NUMBERED.match(row)
        mark = number or _BULLET.match(row)
        if mark or not items:
            items.append((f"{int(number[1])}." if number else "-", []))
            row = row[mark.end() :] if mark else row
        items[-1][1].append(row)
    return "\n".join(f"{mark} {_paragraph(rows)}" for mark, rows in items)


def _paragraph(rows: list[str]) -> str:
    return _AT_START.sub(r"\1\\\2", _escaped(" ".join(rows)))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _kind(region: Region) -> str:
    return re.sub(r"[\W_]", "", region.label).casefold()
