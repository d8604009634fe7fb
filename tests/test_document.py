"""The data model: boxes from polygons, texts in order, json there and back."""

import json
import sys

import pytest

from graphkd.document import (
    Document,
    Line,
    Page,
    Region,
    Word,
    box_polygon,
    numbered,
    page_polygon,
    text_region,
)
from graphkd.errors import UserError
from graphkd.formats import page_json

PAGE = Page("a.pdf", 3, 200, 400, (Region("title", 0.912345, box_polygon((10.004, 20, 110, 60))),))
WORDS = (
    Word(box_polygon((10.25, 5.5, 40, 15)), "Über", 0.98765432, (("Ü", 10.25, 18.125, 0.9),)),
    Word(box_polygon((45, 5.5, 90, 15)), "uns", 0.5, id="r1l1w2"),
)
LINES = (
    Line(((10, 5), (90, 6), (90, 16), (10, 15)), 0.8, "Über uns", 0.7, ((10, 14), (90, 15)), WORDS),
    Line(box_polygon((10, 20, 60, 30)), text="from the PDF", origin="pdf", id="r1l2"),
)
FULL = Page(
    "scan.tif",
    1,
    100,
    50,
    (
        text_region(LINES, score=0.75),
        Region("figure", 1 / 3, ((0, 0), (9, 1), (5, 7)), parent="r1", id="r2"),
    ),
    order_by="xycut",
    dpi=200,
    rotation=90,
    to_source=((1.0, 0.0, 0.0), (0.0, 1.0, 0.5)),
    confidence=0.61,
    expected_cer=0.39,
)


AS_WRITTEN = """{
 "source": "a.pdf",
 "page": 3,
 "width": 200,
 "height": 400,
 "regions": [
  {
   "class": "title",
   "score": 0.9123,
   "box": [
    10.0,
    20,
    110,
    60
   ],
   "box_fraction": [
    0.05002,
    0.05,
    0.55,
    0.15
   ]
  }
 ]
}
"""


def test_the_layout_of_the_json_is_the_one_of_version_0_1():
    assert page_json(PAGE) == AS_WRITTEN


def test_boxes_and_texts_follow_from_the_parts():
    assert FULL.regions[0].box == (10, 5, 90, 30) and FULL.regions[1].box == (0, 0, 9, 7)
    assert FULL.regions[0].polygon == box_polygon((10, 5, 90, 30))
    assert (FULL.regions[0].label, FULL.regions[0].found_by) == ("text", "lines")
    assert FULL.text == FULL.regions[0].text == "Über uns\nfrom the PDF"
    assert Document("a", (FULL, PAGE, FULL)).text == f"{FULL.text}\f\f{FULL.text}"


def test_a_document_comes_back_without_loss():
    document = Document("scan.tif", (FULL, PAGE), "ab12", {"made": "by hand"})
    said = json.loads(json.dumps(document.to_dict(), allow_nan=False))
    assert Document.from_dict(said) == document
    assert list(document) == [FULL, PAGE] and len(document) == 2


def test_the_json_of_a_page_has_its_lines_and_words():
    first, second = FULL.to_dict()["regions"]
    line, pdf_line = first["lines"]
    assert first["found_by"] == "lines" and "polygon" not in first
    assert line["polygon"] == [[10, 5], [90, 6], [90, 16], [10, 15]]
    assert (line["text"], line["confidence"], line["score"]) == ("Über uns", 0.7, 0.8)
    assert line["words"][0]["text"] == "Über" and line["words"][0]["confidence"] == 0.9877
    assert pdf_line["origin"] == "pdf" and "confidence" not in pdf_line
    assert second == {
        "class": "figure",
        "score": 0.3333,
        "box": [0, 0, 9, 7],
        "box_fraction": [0, 0, 0.09, 0.14],
        "polygon": [[0, 0], [9, 1], [5, 7]],
        "parent": "r1",
        "id": "r2",
    }


def test_ids_follow_the_reading_order():
    inner = Region("text", 1.0, box_polygon((0, 0, 5, 5)), parent="r2", id="r9")
    page = numbered(Page("a", 1, 100, 50, (inner, FULL.regions[1], FULL.regions[0])))
    assert [region.id for region in page.regions] == ["r1", "r2", "r3"]
    # The second region was r2 before; a parent that is no region of the page is dropped.
    assert [region.parent for region in page.regions] == ["r2", None, None]
    assert [line.id for line in page.lines] == ["r3l1", "r3l2"]
    assert [word.id for line in page.lines for word in line.words] == ["r3l1w1", "r3l1w2"]
    assert numbered(page) == page
    assert [line.text for line in page.lines] == ["Über uns", "from the PDF"]


def test_polygons_lie_in_the_page_and_run_clockwise():
    clockwise = ((1.0, 2.0), (9.0, 2.0), (9.0, 8.0))
    assert page_polygon(clockwise, width=9, height=9) == clockwise
    assert page_polygon((clockwise[0], *clockwise[:0:-1]), width=9, height=9) == clockwise
    assert page_polygon([(-5, 2), (20, 2), (20, 30)], width=10, height=9) == (
        ((0, 2), (10, 2), (10, 9))
    )


@pytest.mark.parametrize("pages", [None, 5, [5], [{}], [{"source": "a", "regions": 3}]])
def test_other_json_is_refused(pages):
    for said in ([], {}, {"pages": pages}, {"format": 2, "pages": []}):
        with pytest.raises(UserError, match="not the json of a document of format 1"):
            Document.from_dict(said)
    with pytest.raises(UserError, match="damaged json of a document"):
        Document.from_dict({"format": 1, "source": "a", "pages": pages})
    with pytest.raises(UserError, match="damaged json of a document"):
        Document.from_dict({"format": 1, "source": "a", "pages": [], "more": 1})


def test_layoutparser_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "layoutparser", None)
    with pytest.raises(UserError, match="pip install layoutparser"):
        PAGE.to_layoutparser()


def test_layoutparser_blocks():
    layoutparser = pytest.importorskip("layoutparser")
    layout = PAGE.to_layoutparser()
    assert isinstance(layout, layoutparser.Layout)
    (block,) = layout
    assert (block.type, block.score) == ("title", 0.912345)
    assert block.coordinates == (10.004, 20, 110, 60)
