"""File formats of results: a table of those with one file a page. COCO files, which hold all pages,
are in `coco_json`.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

from graphkd.document import Page
from graphkd.formats.page_xml import page_xml


class PageFormat(NamedTuple):
    """A format of one file a page: its folder in the results, the files' ending, and the writer."""

    folder: str
    ending: str
    text: Callable[[Page], str]


def page_json(page: Page) -> str:
    """A page as json, boxes in pixels and as parts of the page."""
    return json.dumps(page.to_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


# By what the user writes after --format; a new format is one more line.
PAGE_FORMATS = {
    "json": PageFormat("pages", ".json", page_json),
    "page": PageFormat("page_xml", ".xml", page_xml),
}
