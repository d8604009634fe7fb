"""PAGE XML: element by class name, outline inside the page, readable by this project's reader."""

from xml.etree import ElementTree

import pytest

from graphkd.data.convert.readers import read_page_xml
from graphkd.document import Page, Region, box_polygon
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
