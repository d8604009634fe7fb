"""txt, Markdown, hOCR and jsonl: the same text in every form, in reading order."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from graphkd.data.convert.line_formats import read_hocr_lines
from graphkd.document import Document, Line, Page, Region, box_polygon
from graphkd.formats import PAGE_FORMATS
from graphkd.formats.alto import read_alto_file
from graphkd.formats.hocr import page_hocr
from graphkd.formats.page_reader import read_page_file
from graphkd.formats.text import page_md, page_txt
from tests.formats.sample import EMPTY, PAGE


def region(label, *texts):
    box = box_polygon((0, 0, 90, 20))
    return Region(label, 1.0, box, tuple(Line(box, text=text) for text in texts))


def markdown(*regions):
    start, text = page_md(Page("a", 2, 99, 99, regions)).split("\n\n", 1)
    assert start == "<!-- page 2 -->"
    return text.removesuffix("\n\n")


def test_plain_text():
    assert page_txt(PAGE) == (
        "Über Größe\n\nthe first example\nof <text> & *stars*\nfinal words 1. of a PDF\n\n"
        "a b\n1 2\n\n• Шрифт 漢字 𝄞\n\f"
    )
    assert page_txt(EMPTY) == "\n\f"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["half-", "way there"], "halfway\nthere"),
        (["half\u00ad", "way"], "halfway"),
        (["North-", "South"], "North-\nSouth"),  # a name
        (["1914-", "1918 and"], "1914-\n1918 and"),
        (["a -", "b"], "a -\nb"),
        (["last-"], "last-"),
        (["tab\tand\x07bell"], "tab and bell"),
    ],
)
def test_hyphens_at_the_end_of_lines(rows, expected):
    page = Page("a", 1, 99, 99, (region("text", *rows),))
    assert page_txt(page) == f"{expected}\n\f"


def test_markdown_by_class():
    assert markdown(
        region("title", "A *great*", "book"),
        region("Section-header", "Part 1"),
        region("text", "# no heading,", "a_b <i>"),
        region("list", "1. first", "goes on", "2) second", "• third"),
        region("list-item", "– one"),
        region("list-item", "two"),
        region("table", "a  b", "``` 1"),
        region("figure"),
        region("page-footer", "12. May"),
    ) == (
        "# A \\*great\\* book\n\n## Part 1\n\n\\# no heading, a\\_b \\<i\\>\n\n"
        "1. first goes on\n2. second\n- third\n- one\n- two\n\n"
        "````\na  b\n``` 1\n````\n\n12\\. May"
    )


def letters(text):
    """The text without spaces, with hyphens at line ends and ligatures undone, and no marks."""
    text = text.replace("exam-", "exam").replace("ﬁ", "fi")
    return re.sub(r"\s", "", text)


def test_every_form_has_the_same_text(tmp_path):
    expected = letters("".join(line.text for line in PAGE.lines))
    found = {}
    for name, form in PAGE_FORMATS.items():
        (tmp_path / name).write_text(form.text(PAGE), encoding="utf-8")
        assert form.text(PAGE) == form.text(PAGE)
    for name, read in (("page", read_page_file), ("alto", read_alto_file)):
        found[name] = "".join(line.text for line in read(tmp_path / name).lines)
    (page,) = read_hocr_lines(tmp_path / "hocr")
    found["hocr"] = "".join(line["text"] for line in page.lines)
    found["txt"] = (tmp_path / "txt").read_text()
    text = re.sub(r"<!--.*?-->|```|^#+ |^- ", "", (tmp_path / "md").read_text(), flags=re.M)
    found["md"] = re.sub(r"\\(.)", r"\1", text)
    regions = json.loads((tmp_path / "json").read_text())["regions"]
    lines = (line for item in regions for line in item.get("lines", []))
    found["json"] = "".join(line.get("text", "") for line in lines)
    (whole,) = Document.from_dict(json.loads((tmp_path / "jsonl").read_text()))
    found["jsonl"] = "".join(line.text for line in whole.lines)
    assert set(found) == set(PAGE_FORMATS)
    for name, text in found.items():
        wanted = expected.replace("•", "") if name == "md" else expected
        assert letters(text) == wanted, name


def test_jsonl_holds_the_model_rounded():
    text = PAGE_FORMATS["jsonl"].text(PAGE)
    assert text.count("\n") == 1
    (page,) = Document.from_dict(json.loads(text))
    assert page.regions[0].polygon[0] == (90.2, 45.7)
    title = page.regions[0].lines[0]
    assert title.polygon[0] == (100.0, 50.5) and title.confidence == 0.8765
    assert title.words[0].characters[0] == ("Ü", 100.0, 120.5, 0.8)
    assert PAGE_FORMATS["jsonl"].text(page) == text
    turned = replace(PAGE, to_source=((0.123456, 1, 2), (3, 4, 5)))
    (page,) = Document.from_dict(json.loads(PAGE_FORMATS["jsonl"].text(turned)))
    assert page.to_source == turned.to_source


def test_hocr():
    text = page_hocr(replace(PAGE, source='a "b"; c.png'))
    root = ElementTree.fromstring(text)
    by_class = {}
    for node in root.iter():
        by_class.setdefault(node.get("class"), []).append(node)
    (page,) = by_class["ocr_page"]
    assert page.get("title") == (
        'image "a _b_; c.png"; bbox 0 0 600 800; ppageno 2; scan_res 200 200'
    )
    assert len(by_class["ocr_carea"]) == 6
    assert by_class["ocr_carea"][5].get("data-class") == "odd; {x}: y"
    title, first = by_class["ocr_line"][:2]
    assert title.get("title") == (
        "bbox 99 50 300 84; poly 100 50 300 54 299 84 99 80; baseline 0.0177 -8.8"
    )
    assert first.get("title") == "bbox 100 120 250 140"
    words = [node.text for node in by_class["ocrx_word"]]
    assert words[:5] == ["Über", "Größe", "the", "first", "exam-"]
    assert by_class["ocrx_word"][0].get("title").endswith("; x_wconf 90")
    # Words without places of their own share the line by their letters.
    assert by_class["ocrx_word"][4].get("title").startswith("bbox 200 120 250 140")
    assert "<span" in text and not re.search(r"<(div|span)[^>]*/>", text)
