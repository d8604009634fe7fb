"""PAGE XML: element by class name, outline inside the page, readable by this project's reader."""

from xml.etree import ElementTree

import pytest

from graphkd.data.convert.readers import read_page_xml
from graphkd.document import Line, Page, Region, Word, box_polygon
from graphkd.formats.page_xml import NAMESPACE, page_xml, region_type


@pytest.mark.parametrize(
    ("label", "element", "kind"),
    [
        ("text", "TextRegion", "paragraph"),
        ("Section-header", "TextRegion", "heading"),
        ("MarginTextZone", "TextRegion", "marginalia"),
        ("figure", "ImageRegion", None),
        ("Picture", "ImageRegion", None),
        ("Table", "TableRegion", None),
        ("Formula", "MathsRegion", None),
        ("OtherZone", "CustomRegion", "OtherZone"),
        ("表題", "CustomRegion", "表題"),
    ],
)
def test_elements(label, element, kind):
    assert region_type(label) == (element, {} if kind is None else {"type": kind})


def test_the_document_can_be_read_back(tmp_path):
    regions = (
        Region("text", 0.87654, box_polygon((10.6, 20.2, 99.1, 50.5))),
        Region("table", 1.0, box_polygon((-3.0, 60.0, 250.0, 99.5))),
    )
    file = tmp_path / "a.xml"
    file.write_text(page_xml(Page("scans/a b.png", 1, 200, 100, regions)))
    (page,) = read_page_xml(file)
    assert (page.image_name, page.width, page.height) == ("a b.png", 200, 100)
    assert [zone.label for zone in page.zones] == ["TextRegion", "TableRegion"]
    root = ElementTree.parse(file).getroot()
    assert root.tag == f"{{{NAMESPACE}}}PcGts"
    coords = [node.attrib for node in root.iter(f"{{{NAMESPACE}}}Coords")]
    assert coords == [
        {"points": "10,20 100,20 100,51 10,51", "conf": "0.8765"},
        {"points": "0,60 200,60 200,100 0,100", "conf": "1.0000"},
    ]


def test_odd_names_stay_in_their_attribute():
    odd = Region("a; {b}: \x00 & <c>", 0.5, box_polygon((0, 0, 9, 9)))
    root = ElementTree.fromstring(page_xml(Page("x\x07.png", 1, 10, 10, (odd,))))
    (region,) = root.iter(f"{{{NAMESPACE}}}CustomRegion")
    assert region.get("custom") == (
        "structure {type:a\\u003b \\u007bb\\u007d\\u003a \ufffd & <c>;}"
    )


def test_a_page_without_regions():
    root = ElementTree.fromstring(page_xml(Page("x.png", 1, 10, 10, ())))
    assert len(root[1]) == 0 and root[1].get("imageWidth") == "10"


def test_lines_and_words_with_their_text():
    word = Word(box_polygon((10.4, 5, 40, 15)), "Über", 0.9876, id="w7")
    line = Line(
        ((10, 5), (90.6, 6), (90, 160), (10, 15)),
        0.8,
        "Über <uns>",
        0.7,
        ((10, 14), (90, 15)),
        (word,),
    )
    empty = Line(box_polygon((10, 20, 60, 30)))
    regions = (
        Region("text", 0.9, box_polygon((0, 0, 99, 40)), (line, empty)),
        Region("table", 0.8, box_polygon((0, 40, 99, 49)), (line,), id="t1"),
    )
    root = ElementTree.fromstring(page_xml(Page("x.png", 1, 100, 50, regions)))
    name = f"{{{NAMESPACE}}}"
    first, second = root.findall(f"{name}Page/{name}TextRegion/{name}TextLine")
    assert (first.get("id"), second.get("id")) == ("r1l1", "r1l2")
    kinds = [node.tag.removeprefix(name) for node in first]
    assert kinds == ["Coords", "Baseline", "Word", "TextEquiv"]  # the order of the schema
    assert first[0].attrib == {"points": "10,5 91,6 90,50 10,15", "conf": "0.8000"}
    assert first[1].get("points") == "10,14 90,15"
    assert first[2].get("id") == "w7" and first[2][1].get("conf") == "0.9876"
    assert first[2][1][0].text == "Über" and first[3][0].text == "Über <uns>"
    assert [node.tag for node in second] == [f"{name}Coords"]
    # A table may hold text regions only, and these the lines.
    (inside,) = root.findall(f"{name}Page/{name}TableRegion/{name}TextRegion")
    assert inside.get("id") == "t1t" and len(inside.findall(f"{name}TextLine")) == 1
