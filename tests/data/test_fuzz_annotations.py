"""Damaged and hostile annotation files: each is read, or refused in a line, in little memory."""

import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphkd.data.check.document import read_document
from graphkd.data.check.report import check
from graphkd.data.coco import load_coco, read_categories
from graphkd.data.convert import XML_KINDS, convert_coco, convert_xml
from graphkd.errors import UserError
from graphkd.formats.xml import BadFile, parse_xml
from tests.data.fuzz import MEGABYTE, QUICK, confined, damaged, works_or_says
from tests.data.sets import document, page, write_set
from tests.data.test_convert import ALTO, PAGE_2010, PAGE_2013, VOC

CLASSES = ["text", "figure"]

numbers = st.one_of(
    st.integers(-5, 200),
    st.sampled_from([0, -1, 1e308, -1e308, 1e-320, 10**30, 10**400, 2**63]),
    st.floats(),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(node, path=()):
    """Paths to every node of a json document."""
    yield path
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(value, (*path, key))


FULL = document(info={"year": 2024}, licenses=[])
FULL["annotations"][0]["segmentation"] = [[5, 6, 25, 6, 25, 36]]
FULL["annotations"][1]["segmentation"] = {"size": [80, 60], "counts": [10, 20, 4770]}
PLACES = [path for path in places(FULL) if path]


@st.composite
def odd_documents(draw):
    """The full document with a few nodes replaced by anything, or taken out."""
    changed = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(1, 4))):
        *above, last = draw(st.sampled_from(PLACES))
        node = changed
        try:
            for key in above:
                node = node[key]
            if draw(st.integers(0, 4)):
                node[last] = draw(values)
            else:
                del node[last]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    return changed


@pytest.fixture(scope="module")
def two_pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return write_set(folder)


def assert_usable(pages):
    for found in pages:
        assert found["width"] > 0 and found["height"] > 0
        for annotation in found["annotations"]:
            x, y, width, height = annotation["bbox"]
            assert all(map(math.isfinite, annotation["bbox"])) and width > 0 and height > 0
            assert x >= 0 and y >= 0
            assert x + width <= found["width"] + 1.01 and y + height <= found["height"] + 1.01
            assert annotation["category_id"] in (0, 1)


@QUICK
@given(content=odd_documents(), inspect=st.booleans())
def test_odd_coco_documents_load_usably_or_not_at_all(two_pages, tmp_path, content, inspect):
    path, images = tmp_path / "odd.json", two_pages[1]
    path.write_text(json.dumps(content), encoding="utf-8")
    found = works_or_says(lambda: load_coco(path, images, CLASSES, inspect=inspect), UserError)
    if found is not None:
        assert_usable(found)
    works_or_says(lambda: check(path, images, decode=False).to_dict(), UserError)
    works_or_says(lambda: read_categories(path), UserError)


@pytest.mark.parametrize("side", [10**400, 10**30, 2**63, -1, 0])
def test_a_page_of_any_declared_size_loads_or_is_left_out(two_pages, tmp_path, side):
    content = copy.deepcopy(FULL)
    content["images"][0].update(width=side, height=side)
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content))
    assert_usable(load_coco(path, two_pages[1], CLASSES))


@QUICK
@given(raw=damaged(json.dumps(FULL).encode()))
def test_damaged_json_loads_usably_or_not_at_all(two_pages, tmp_path, raw):
    path, images = tmp_path / "damaged.json", two_pages[1]
    path.write_bytes(raw)
    found = works_or_says(lambda: load_coco(path, images, CLASSES), UserError)
    if found is not None:
        assert_usable(found)


@QUICK
@given(content=odd_documents())
def test_odd_documents_of_a_published_set_convert_or_not_at_all(two_pages, tmp_path, content):
    source, images = tmp_path / "train.json", two_pages[1]
    source.write_text(json.dumps(content), encoding="utf-8")
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    works_or_says(lambda: convert_coco("publaynet", source, out, images=images), UserError)


SOURCES = [("prima", PAGE_2013), ("prima", PAGE_2010), ("alto", ALTO), ("voc", VOC)]
IDS = ["page 2013", "page 2010", "alto", "voc"]


@QUICK
@given(data=st.data())
@pytest.mark.parametrize(("kind", "good"), SOURCES, ids=IDS)
def test_damaged_xml_is_read_or_refused(tmp_path, kind, good, data):
    path = tmp_path / "p1.xml"
    path.write_bytes(data.draw(damaged(good.encode())))
    for found in works_or_says(lambda: XML_KINDS[kind](path), BadFile) or ():
        assert found.width is None or found.width >= 1
        for zone in found.zones:
            assert zone.label and len(zone.box) == 4


NUMBERS_IN_XML = ["60", "80", "25", "36", "5", "120", "160", "40"]


@QUICK
@given(data=st.data())
@pytest.mark.parametrize(("kind", "good"), SOURCES, ids=IDS)
def test_odd_numbers_and_names_convert_or_are_refused(tmp_path, kind, good, data):
    """From the file to the written data set; what is written loads again."""
    folder = tmp_path / f"in{len(list(tmp_path.iterdir()))}"
    page(folder / "p1.jpg")
    text = good
    for _ in range(data.draw(st.integers(1, 3))):
        old = data.draw(st.sampled_from([n for n in NUMBERS_IN_XML if n in text] or [">"]))
        odd = ["", "-3", "1e999", "nan", "inf", "9" * 400, "0", "1e308", "x y", "&lt;\n&amp;"]
        text = text.replace(old, data.draw(st.sampled_from(odd)), 1)
    (folder / "p1.xml").write_text(text, encoding="utf-8")
    out = tmp_path / f"{folder.name}_out"
    made = works_or_says(lambda: convert_xml(XML_KINDS[kind], folder, out), UserError)
    if made is not None:
        loaded = load_coco(out / "annotations.json", out / "images", made.classes)
        assert all(map(math.isfinite, a["bbox"]) for item in loaded for a in item["annotations"])


ENTITIES = {
    "billion laughs": '<!DOCTYPE x [<!ENTITY a "lol">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]><annotation><filename>&i;</filename></annotation>",
    "quadratic": f'<!DOCTYPE x [<!ENTITY a "{"x" * 50_000}">]><annotation>{"&a;" * 50_000}'
    "</annotation>",
    "file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
    "network": '<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1:9/a">]><annotation>&a;</annotation>',
    "parameter": '<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><annotation/>',
}


@pytest.mark.parametrize("kind", ENTITIES)
def test_entities_are_refused(tmp_path, kind):
    path = tmp_path / "a.xml"
    path.write_text(ENTITIES[kind], encoding="utf-8")
    for reader in XML_KINDS.values():
        with pytest.raises(BadFile, match="declares entities"):
            works_or_says(lambda: reader(path), UserError, limit=2)  # noqa: B023


def test_an_outside_document_type_is_not_fetched(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/a.dtd"><annotation/>')
    assert works_or_says(lambda: parse_xml(path).tag, BadFile, limit=2) in ("annotation", None)


READ = """
import sys
from pathlib import Path
from graphkd.data.check.document import read_document
from graphkd.data.convert import XML_KINDS
from graphkd.formats.xml import BadFile
from graphkd.errors import UserError
path = Path(sys.argv[1])
readers = XML_KINDS.values() if path.suffix == ".xml" else [read_document]
for reader in readers:
    try:
        reader(path)
        print("read")
    except (BadFile, UserError) as error:
        assert "\\n" not in str(error)
        print("refused")
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deep.json", "[" * 100_000),
        ("deep_object.json", '{"a":' * 100_000),
        ("long_number.json", '{"images": [' + "9" * 1_000_000 + "]}"),
        ("deep.xml", "<a>" * 100_000 + "</a>" * 100_000),
        ("long_attribute.xml", f'<PcGts><Page imageWidth="{"9" * 1_000_000}"/></PcGts>'),
        ("many_points.xml", f'<PcGts><Page><TextRegion><Coords points="{"1," * 500_000}"/>'
         "</TextRegion></Page></PcGts>"),
        ("nested.xml", "<PcGts><Page>" + "<TextRegion>" * 20_000 + "</TextRegion>" * 20_000
         + "</Page></PcGts>"),
        ("laughs.xml", ENTITIES["billion laughs"]),
    ],
    ids=lambda value: value if len(value) < 25 else "",
)  # fmt: skip
def test_hostile_shapes_cost_little(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    said, peak = confined(READ, path, memory=1500 * MEGABYTE, seconds=30)
    assert set(said.splitlines()) <= {"read", "refused"} and said
    assert peak < 400 * MEGABYTE


def test_a_document_that_nests_too_deeply_is_refused(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(UserError, match="nested too deeply|not valid json"):
        read_document(path)
