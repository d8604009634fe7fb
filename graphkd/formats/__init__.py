"""File formats of results: a table of those with one file a page. COCO files, which hold all pages,
are in `coco_json`, PDFs with text in `searchable_pdf`, pictures in `overlay`.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

from graphkd.document import Document, Page
from graphkd.formats.alto import alto_xml
from graphkd.formats.hocr import page_hocr
from graphkd.formats.page_xml import page_xml
from graphkd.formats.text import page_md, page_txt


class PageFormat(NamedTuple):
    """A format of one file a page: its folder in the results, the files' ending, and the writer.

    `joins`: the files of a document's pages, one after the other, are the file of the document.
    """

    folder: str
    ending: str
    text: Callable[[Page], str]
    joins: bool = False


def page_json(page: Page) -> str:
    """A page as json, boxes in pixels and as parts of the page."""
    return json.dumps(page.to_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def page_jsonl(page: Page) -> str:
    """A page as one line, a document of this page alone, for `Document.from_dict`."""
    said = Document(page.source, (page,)).to_dict(digits=1)
    return json.dumps(said, allow_nan=False, ensure_ascii=False) + "\n"


# By what the user writes after --format; a new format is one more line.
PAGE_FORMATS = {
    "json": PageFormat("pages", ".json", page_json),
    "page": PageFormat("page_xml", ".xml", page_xml),
    "alto": PageFormat("alto", ".xml", alto_xml),
    "hocr": PageFormat("hocr", ".hocr", page_hocr),
    "md": PageFormat("md", ".md", page_md, joins=True),
    "txt": PageFormat("txt", ".txt", page_txt, joins=True),
    "jsonl": PageFormat("jsonl", ".jsonl", page_jsonl, joins=True),
}
