"""PAGE and ALTO: valid by their schemas, and equal bytes after reading and writing again."""

import importlib.util
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from graphkd.document import box_polygon
from graphkd.formats import alto, xml
from graphkd.formats.alto import alto_xml, read_alto_file
from graphkd.formats.page_reader import read_page_file
from graphkd.formats.page_xml import page_xml
from tests.formats.sample import EMPTY, PAGE

FORMS = {"page": (page_xml, read_page_file), "alto": (alto_xml, read_alto_file)}
forms = pytest.mark.parametrize(("write", "read"), FORMS.values(), ids=list(FORMS))


def texts(page):
    return [line.text for line in page.lines]


@forms
@pytest.mark.parametrize("page", [PAGE, EMPTY], ids=["full", "empty"])
def test_write_read_write_gives_equal_bytes(tmp_path, write, read, page):
    first = write(page)
    (tmp_path / "a.xml").write_text(first, encoding="utf-8")
    found = read(tmp_path / "a.xml")
    assert write(replace(found, source=page.source)) == first == write(page)
    assert texts(found) == texts(page)
    assert [region.label for region in found.regions] == [r.label for r in page.regions]
    assert [region.id for region in found.regions] == [r.id for r in page.regions]
    assert (found.width, found.height, found.number) == (page.width, page.height, page.number)


def test_page_keeps_what_the_model_holds(tmp_path):
    (tmp_path / "a.xml").write_text(page_xml(PAGE), encoding="utf-8")
    found = read_page_file(tmp_path / "a.xml")
    about = ("source", "order_by", "dpi", "rotation", "confidence")
    assert all(getattr(found, name) == getattr(PAGE, name) for name in about)
    title = found.regions[0].lines[0]
    assert title.alternatives == PAGE.regions[0].lines[0].alternatives
    assert title.baseline == ((100, 75), (200, 77), (300, 79)) and title.confidence == 0.8765
    assert title.words[0].characters == (
        ("Ü", 100, 121, 0.8),
        ("b", 120, 140, 0.95),
        ("er", 140, 180, None),
    )
    assert [line.origin for line in found.regions[1].lines] == ["ocr", "ocr", "pdf", "ocr"]


def test_the_order_of_page_is_the_reading_order(tmp_path):
    text = page_xml(PAGE)
    turned = re.sub(r'index="(\d)"( regionRef)', lambda m: f'index="{9 - int(m[1])}"{m[2]}', text)
    assert turned != text
    (tmp_path / "a.xml").write_text(turned, encoding="utf-8")
    found = read_page_file(tmp_path / "a.xml")
    assert [r.id for r in found.regions] == ["r6", "r5", "r4", "r3", "r2", "r1"]
    assert texts(found)[1:3] == ["a b", "1 2"]  # the table keeps its lines
    unordered = page_xml(replace(PAGE, order_by="score"))
    assert "ReadingOrder" not in unordered


def test_alto_divides_words_at_hyphens(tmp_path):
    root = ElementTree.fromstring(alto_xml(PAGE))
    strings = [node.attrib for node in root.iter(f"{{{alto.NAMESPACE}}}String")]
    first, second = (node for node in strings if "SUBS_TYPE" in node)
    assert (first["CONTENT"], first["SUBS_TYPE"]) == ("exam", "HypPart1")
    assert (second["CONTENT"], second["SUBS_TYPE"]) == ("ple", "HypPart2")
    assert first["SUBS_CONTENT"] == second["SUBS_CONTENT"] == "example"
    (hyphen,) = root.iter(f"{{{alto.NAMESPACE}}}HYP")
    assert hyphen.get("CONTENT") == "-"


def test_alto_follows_the_rules_of_its_schema():
    """The schema of ALTO is in no package, so that its rules are listed here."""
    root = ElementTree.fromstring(alto_xml(PAGE))
    inside = {
        "alto": ["Description", "Tags", "Layout"],
        "Description": ["MeasurementUnit", "sourceImageInformation", "Processing"],
        "Processing": ["processingDateTime", "processingSoftware"],
        "processingSoftware": ["softwareName", "softwareVersion"],
        "sourceImageInformation": ["fileName"],
        "Tags": ["OtherTag"],
        "Layout": ["Page"],
        "Page": ["PrintSpace"],
        "PrintSpace": ["TextBlock", "Illustration", "GraphicalElement", "ComposedBlock"],
        "TextBlock": ["Shape", "TextLine"],
        "ComposedBlock": ["Shape", "TextBlock"],
        "Illustration": ["Shape"],
        "TextLine": ["Shape", "String", "SP", "HYP"],
        "Shape": ["Polygon"],
        "String": ["Shape"],
    }
    needed = {
        "String": {"ID", "CONTENT", "HPOS", "VPOS", "WIDTH", "HEIGHT"},
        "Page": {"ID", "PHYSICAL_IMG_NR", "WIDTH", "HEIGHT"},
        "OtherTag": {"ID", "LABEL"},
        "Processing": {"ID"},
        "HYP": {"CONTENT"},
        **dict.fromkeys(["TextLine", "TextBlock"], {"ID", "HPOS", "VPOS", "WIDTH", "HEIGHT"}),
    }
    names = []
    for node in root.iter():
        kind = xml.local(node)
        kinds = [xml.local(item) for item in node]
        assert set(kinds) <= set(inside.get(kind, [])), kind
        assert set(node.attrib) >= needed.get(kind, set()), kind
        assert kinds[1:].count("Shape") == 0  # it is the first
        names += [node.get("ID")] * ("ID" in node.attrib)
        if kind == "TextLine":
            assert "String" in kinds and "HYP" not in kinds[:-1]
        for key in ("WC", "PC"):
            assert 0 <= float(node.get(key, 0)) <= 1
    assert len(names) == len(set(names))
    tags = [node.get("TAGREFS") for node in root.iter() if node.get("TAGREFS")]
    assert len(tags) == len(PAGE.regions) and set(tags) <= set(names)


def test_page_is_valid():
    """The schema is in the package ocrd, which is large; `pip install --no-deps ocrd` suffices."""
    etree = pytest.importorskip("lxml.etree")
    found = importlib.util.find_spec("ocrd_validators")
    if found is None:
        pytest.skip("the package ocrd with PAGE's schema is not installed")
    schema = etree.XMLSchema(file=str(Path(found.submodule_search_locations[0], "page.xsd")))
    outside = replace(PAGE.regions[0].lines[0], baseline=((-5, 900), (700, -3)))
    odd = replace(PAGE.regions[0], polygon=box_polygon((-9, -9, 999, 999)), lines=(outside,))
    for page in (PAGE, EMPTY, replace(PAGE, regions=(odd,)), replace(PAGE, order_by="score")):
        schema.assertValid(etree.fromstring(page_xml(page).encode()))


@forms
def test_times_follow_from_the_source(tmp_path, monkeypatch, write, read):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    os.utime(picture, (86400, 86400))
    assert "1970-01-02T00:00:00" in write(replace(PAGE, source=str(picture)))
    assert "1970-01-01T00:00:00" in write(PAGE)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(10 * 86400))
    assert "1970-01-11T00:00:00" in write(replace(PAGE, source=str(picture)))


@forms
def test_hostile_files_are_one_line(tmp_path, monkeypatch, write, read):
    path = tmp_path / "a.xml"
    entity = '<!DOCTYPE a [<!ENTITY b "c">]>'
    text = write(PAGE)
    start = text.index("<", 5)
    for content, reason in (
        ("<html/>", "not (PAGE|ALTO)"),
        (text[:-9], "not well-formed"),
        (text[:start] + entity + text[start:], "declares entities"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(xml.BadFile, match=reason):
            read(path)
    path.write_text(re.sub(r'(WIDTH|imageWidth)="[^"]*"', "", text), encoding="utf-8")
    with pytest.raises(xml.BadFile, match="no width and height"):
        read(path)
    monkeypatch.setattr(xml, "_MAX_BYTES", 100)
    with pytest.raises(xml.BadFile, match="the limit is"):
        read(path)


@forms
def test_deep_files_need_no_recursion(tmp_path, write, read):
    kind = "TextRegion" if write is page_xml else "ComposedBlock"
    depth = 20000
    inner = "".join(f'<{kind} id="{i}">' for i in range(depth)) + f"</{kind}>" * depth
    top = (
        '<PcGts><Page imageFilename="a" imageWidth="9" imageHeight="9">{}</Page></PcGts>'
        if write is page_xml
        else '<alto><Layout><Page WIDTH="9" HEIGHT="9">{}</Page></Layout></alto>'
    )
    (tmp_path / "a.xml").write_text(top.format(inner))
    assert read(tmp_path / "a.xml").regions == ()
