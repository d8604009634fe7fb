"""Reading a report's HTML: its tags and text, and whether it is safe to open."""

import re
from html.parser import HTMLParser

HOSTILE = "\"><script>alert('x')</script>&<b>"
_INLINE = ("data:image/jpeg;base64,", "data:image/svg+xml;base64,")


class Reader(HTMLParser):
    """Collects tags, attributes and text; knows which tags were left open."""

    VOID = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data + " "


def check_safe(text: str) -> Reader:
    """Asserts that a page is well-formed, fetches nothing and runs nothing."""
    page = Reader(text)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "link", "object", "embed", "base")
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value.startswith(_INLINE) or value[1:] in ids, value[:80]
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    found = set(re.findall(r"https?://[^\"' <)]*", text))
    assert found <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    return page
