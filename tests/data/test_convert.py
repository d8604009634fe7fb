"""Converters: hand-written files of each format, and the real examples where they are."""

import json
import os

import pytest

from graphkd.data.check.report import check
from graphkd.data.coco import load_coco
from graphkd.data.convert import XML_KINDS, convert_coco, convert_xml
from graphkd.data.convert.readers import (
    plain_label,
    read_alto,
    read_page_xml,
    read_voc,
    segmonto_class,
)
from graphkd.data.convert.split import group_of, parse_shares, split_names
from graphkd.data.convert.write import voc_lists
from graphkd.data.layouts import HJ_CLASSES, PRIMA_CLASSES, PUBLAYNET_CLASSES, SEGMONTO_CLASSES
from graphkd.data.published import read_published
from graphkd.errors import UserError
from graphkd.evaluation.voc import has_difficult, voc_ap
from graphkd.formats.xml import BadFile
from tests.data.sets import document, page, write_set

PAGE_2013 = """<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2013-07-15">
<Page imageFilename="00000001.tif" imageWidth="60" imageHeight="80">
 <ReadingOrder><OrderedGroup id="o"><RegionRefIndexed index="0" regionRef="r1"/></OrderedGroup>
 </ReadingOrder>
 <TextRegion id="r1" type="paragraph"><Coords points="5,6 25,6 25,36 5,36"/></TextRegion>
 <ChartRegion id="r2"><Coords points="30,40 50,40 50,70"/>
  <TextRegion id="r3"><Coords points="32,42 40,42 40,50 32,50"/></TextRegion></ChartRegion>
 <NoiseRegion id="r4"><Coords points=""/></NoiseRegion>
</Page></PcGts>"""

PAGE_2010 = """<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2010-03-19">
<Page image_filename="old" imageWidth="60" imageHeight="80">
 <SeparatorRegion id="r1"><Coords>
 <Point x="1" y="10"/><Point x="59" y="10"/><Point x="59" y="12"/></Coords>
 </SeparatorRegion></Page></PcGts>"""

ALTO = """<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">
<Description><MeasurementUnit>pixel</MeasurementUnit>
 <sourceImageInformation><fileName>C:\\scans\\p1.jpg</fileName></sourceImageInformation></Description>
<Tags><OtherTag ID="B1" LABEL="MainZone#2" DESCRIPTION="block type MainZone"/>
 <OtherTag ID="B2" LABEL="TableZone" DESCRIPTION="block type TableZone"/>
 <OtherTag ID="L1" LABEL="DefaultLine" DESCRIPTION="line type DefaultLine"/></Tags>
<Layout><Page WIDTH="120" HEIGHT="160" ID="p"><PrintSpace>
 <TextBlock HPOS="10" VPOS="12" WIDTH="40" HEIGHT="60" TAGREFS="L1 B1" ID="t1">
  <Shape><Polygon POINTS="10 12 50 12 50 72 10 72"/></Shape>
  <TextLine TAGREFS="L1" HPOS="11" VPOS="13" WIDTH="9" HEIGHT="9">
   <Shape><Polygon POINTS="0 0 1 0 1 1"/></Shape></TextLine></TextBlock>
 <Illustration HPOS="60" VPOS="80" WIDTH="20" HEIGHT="20" TAGREFS="B2" ID="i1"/>
 <TextBlock HPOS="1" VPOS="1" WIDTH="2" HEIGHT="2" ID="t2"/>
</PrintSpace></Page></Layout></alto>"""

VOC = """<annotation><folder/><filename>p1.jpg</filename>
<size><width>60</width><height>80</height><depth>3</depth></size>
<object><name>title</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>36</ymax></bndbox></object>
<object><name>body</name><bndbox><xmin>50</xmin><ymin>70</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>36</ymax></bndbox></object>
</annotation>"""

BILLION_LAUGHS = """<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""

OUTSIDE = """<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<annotation><filename>&a;</filename></annotation>"""


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_page_regions_in_both_versions_of_the_schema(tmp_path):
    (found,) = read_page_xml(put(tmp_path / "a.xml", PAGE_2013))
    assert (found.image_name, found.width, found.height) == ("00000001.tif", 60, 80)
    assert [z.label for z in found.zones] == ["TextRegion", "ImageRegion", "TextRegion"]
    assert found.zones[0].box == (5, 6, 20, 30)
    assert found.zones[1].polygon == (30, 40, 50, 40, 50, 70)
    assert found.unlabelled == 1
    (found,) = read_page_xml(put(tmp_path / "b.xml", PAGE_2010))
    assert [(z.label, z.box) for z in found.zones] == [("SeparatorRegion", (1, 10, 58, 2))]
    assert found.image_name == "b"


def test_alto_zones(tmp_path):
    (found,) = read_alto(put(tmp_path / "a.xml", ALTO))
    assert (found.image_name, found.width, found.height) == ("p1.jpg", 120, 160)
    assert [(z.label, z.box) for z in found.zones] == [
        ("MainZone", (10, 12, 40, 60)),
        ("TableZone", (60, 80, 20, 20)),
    ]
    assert found.unlabelled == 1
    assert plain_label("MarginTextZone:note#1") == "MarginTextZone"
    assert [segmonto_class(n) for n in ("MainZone", "Figure", "TableZone")] == [
        "MainZone",
        "GraphicZone",
        "OtherZone",
    ]


def test_alto_positions_that_no_page_size_scales_are_refused(tmp_path):
    text = ALTO.replace("pixel", "mm10")
    (found,) = read_alto(put(tmp_path / "a.xml", text))
    assert (found.width, found.height) == (120, 160)
    for kept in ('WIDTH="120"', 'HEIGHT="160"', ""):
        bare = text.replace('<Page WIDTH="120" HEIGHT="160"', f"<Page {kept}")
        with pytest.raises(BadFile, match="in mm10, and the page has no WIDTH and HEIGHT"):
            read_alto(put(tmp_path / "b.xml", bare))
    (found,) = read_alto(put(tmp_path / "c.xml", ALTO.replace('<Page WIDTH="120"', "<Page")))
    assert (found.width, found.height) == (None, 160)


def test_zones_left_out_are_told_by_the_outcome(tmp_path):
    put(tmp_path / "in/a.xml", VOC)
    page(tmp_path / "in/p1.jpg")
    done = convert_xml(read_voc, tmp_path / "in", tmp_path / "out")
    assert done.left_out == [] and done.problems == []
    assert done.remarks == ["1 zones without a label or outline left out"] and not done.complete


def test_voc_boxes(tmp_path):
    (found,) = read_voc(put(tmp_path / "a.xml", VOC))
    assert [(z.label, z.box) for z in found.zones] == [
        ("title", (5, 6, 20, 30)),
        ("body", (30, 40, 20, 30)),
    ]
    assert (found.width, found.height, found.unlabelled) == (60, 80, 1)


def voc_year(folder):
    """A published year: two listed pages and one that is in no list, two objects each."""
    for number in (1, 2, 3):
        text = VOC.replace("p1.jpg", f"p{number}.jpg")
        for name, mark in (("title", 1), ("body", 0)):
            marked = f"<name>{name}</name><difficult>{mark}</difficult>"
            text = text.replace(f"<name>{name}</name>", marked)
        put(folder / f"Annotations/p{number}.xml", text)
        page(folder / f"JPEGImages/p{number}.jpg")
    put(folder / "ImageSets/Main/trainval.txt", "p1\n")
    put(folder / "ImageSets/Main/test.txt", "p3\n")
    return folder


def test_published_lists_of_voc_divide_its_pages_and_difficult_is_kept(tmp_path):
    source = voc_year(tmp_path / "VOC2007")
    done = convert_xml(read_voc, source, tmp_path / "out", lists=voc_lists(source))
    assert done.splits == {"trainval": (1, 2), "test": (1, 2)}
    written = json.loads((tmp_path / "out/test.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["p3.jpg"]
    names = {item["id"]: item["name"] for item in written["categories"]}
    marks = {names[a["category_id"]]: a["difficult"] for a in written["annotations"]}
    assert marks == {"title": 1, "body": 0}
    # The scorer counts the objects that are not difficult.
    truth = read_published(tmp_path / "out/test.json")
    assert voc_ap(truth, [])["VOC_objects"] == 1 and has_difficult(truth)


def test_other_folders_have_no_lists_and_no_mark(tmp_path):
    assert voc_lists(tmp_path) == {}
    put(tmp_path / "in/a.xml", VOC)
    page(tmp_path / "in/p1.jpg")
    convert_xml(read_voc, tmp_path / "in", tmp_path / "out")
    written = json.loads((tmp_path / "out/annotations.json").read_text())
    assert not any("difficult" in item for item in written["annotations"])


@pytest.mark.parametrize("kind", XML_KINDS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BILLION_LAUGHS, "declares entities"),
        (OUTSIDE, "declares entities"),
        ("<a><b></a>", "line 1, column"),
        ("", "not well-formed"),
        ("<html/>", "not (PAGE|ALTO|Pascal)"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "not well-formed|cannot be read"),
    ],
)
def test_hostile_and_damaged_xml_is_refused(tmp_path, kind, text, message):
    with pytest.raises(BadFile, match=message) as caught:
        XML_KINDS[kind](put(tmp_path / "a.xml", text))
    assert "\n" not in str(caught.value)


def test_objects_without_numbers_are_refused(tmp_path):
    with pytest.raises(BadFile, match="'title' has no usable bndbox"):
        read_voc(put(tmp_path / "a.xml", VOC.replace("<xmin>5</xmin>", "<xmin>nan</xmin>")))
    with pytest.raises(BadFile, match="'i1' has no usable position"):
        read_alto(put(tmp_path / "b.xml", ALTO.replace('HPOS="60"', "")))


def test_prima_folders_become_the_catalogs_layout(tmp_path):
    source = tmp_path / "prima"
    for number in range(1, 11):
        name = f"0000000{number % 10}"
        put(source / "XML" / f"pc-{name}.xml", PAGE_2013.replace("00000001.tif", f"{name}.tif"))
        page(source / "Images" / f"{name}.tif", seed=number)
    shares = parse_shares("80,20")
    done = convert_xml(
        read_page_xml, source, tmp_path / "out", classes=PRIMA_CLASSES, shares=shares
    )
    assert done.splits == {"train": (8, 24), "val": (2, 6)} and done.left_out == []
    names = set()
    for split in ("train", "val"):
        pages = load_coco(tmp_path / f"out/{split}.json", tmp_path / "out/images", PRIMA_CLASSES)
        names |= {os.path.basename(p["file_name"]) for p in pages}
    assert len(names) == 10
    again = convert_xml(
        read_page_xml, source, tmp_path / "again", classes=PRIMA_CLASSES, shares=shares
    )
    assert again.splits == done.splits
    for split in ("train", "val"):
        first, second = (tmp_path / d / f"{split}.json" for d in ("out", "again"))
        assert first.read_bytes() == second.read_bytes()


def test_positions_are_scaled_to_the_image(tmp_path):
    put(tmp_path / "in/a.xml", ALTO)
    page(tmp_path / "in/p1.jpg", width=60, height=80)
    done = convert_xml(
        read_alto,
        tmp_path / "in",
        tmp_path / "out",
        classes=SEGMONTO_CLASSES,
        relabel=segmonto_class,
    )
    written = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [a["bbox"] for a in written["annotations"]] == [[5, 6, 20, 30], [30, 40, 10, 10]]
    assert [a["category_id"] for a in written["annotations"]] == [1, 9]
    assert not done.complete and {p.kind for p in done.problems} == {"size_scaled"}
    assert done.remarks == ["1 zones without a label or outline left out"]
    assert check(tmp_path / "out/annotations.json", tmp_path / "out/images").clean


def test_what_cannot_be_converted_is_listed_and_the_rest_is_done(tmp_path):
    source = tmp_path / "in"
    put(source / "p1.xml", VOC)
    page(source / "p1.jpg")
    put(source / "p2.xml", VOC.replace("p1.jpg", "p2.jpg"))
    put(source / "p3.xml", BILLION_LAUGHS)
    put(source / "p4.xml", VOC)
    done = convert_xml(read_voc, source, tmp_path / "out")
    assert done.splits == {"annotations": (1, 2)} and done.classes == ("body", "title")
    assert [line.split(": ", 1)[1] for line in done.left_out] == [
        f"no image p2.jpg found below {source}",
        "refused: the XML declares entities (EntitiesForbidden)",
        f"p1.jpg has its boxes from {source / 'p1.xml'}",
    ]
    assert not done.complete


def test_images_of_one_name_in_several_folders_stay_apart(tmp_path):
    for volume in ("one", "two"):
        put(tmp_path / "in" / volume / "p1.xml", VOC)
        page(tmp_path / "in" / volume / "p1.jpg", seed=len(volume))
    done = convert_xml(read_voc, tmp_path / "in", tmp_path / "out")
    assert done.splits == {"annotations": (2, 4)}
    assert (tmp_path / "out/images/one/p1.jpg").is_file()
    assert (tmp_path / "out/images/two/p1.jpg").is_file()


def test_nothing_to_convert_is_said(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        convert_xml(read_voc, tmp_path / "no", tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="no XML file"):
        convert_xml(read_voc, tmp_path / "in", tmp_path / "out")
    put(tmp_path / "in/p1.xml", VOC)
    with pytest.raises(UserError, match="none of 1 XML files.*no image p1.jpg"):
        convert_xml(read_voc, tmp_path / "in", tmp_path / "out")
    page(tmp_path / "in/p1.jpg")
    with pytest.raises(UserError, match="not in the class list: body, title"):
        convert_xml(read_voc, tmp_path / "in", tmp_path / "out", classes=["text"])
    assert not (tmp_path / "out").exists()


def test_images_are_linked_or_copied(tmp_path):
    put(tmp_path / "in/p1.xml", VOC)
    original = page(tmp_path / "in/p1.jpg")
    convert_xml(read_voc, tmp_path / "in", tmp_path / "linked")
    convert_xml(read_voc, tmp_path / "in", tmp_path / "copied", copy=True)
    copied = tmp_path / "copied/images/p1.jpg"
    assert copied.read_bytes() == original.read_bytes() and not copied.samefile(original)
    assert (tmp_path / "linked/images/p1.jpg").read_bytes() == original.read_bytes()


def test_publaynet_gets_the_catalogs_class_order(tmp_path):
    names = ("Figure", "Text", "Title", "List", "Table")  # another order, other letters
    content = document(categories=[{"id": i, "name": n} for i, n in enumerate(names)])
    source = tmp_path / "in"
    write_set(source, content)
    (source / "images").rename(source / "val")
    (source / "annotations.json").rename(source / "val.json")
    done = convert_coco("publaynet", source, tmp_path / "out")
    assert done.splits == {"val": (2, 3)} and done.complete
    pages = load_coco(tmp_path / "out/val.json", tmp_path / "out/val", PUBLAYNET_CLASSES)
    labels = [PUBLAYNET_CLASSES[a["category_id"]] for p in pages for a in p["annotations"]]
    assert labels == ["text", "title", "text"]


def test_boxes_of_a_published_set_stay_as_published(tmp_path):
    names = ("text", "title", "list", "table", "figure")
    content = document(categories=[{"id": i + 1, "name": n} for i, n in enumerate(names)])
    content["annotations"][0].update(bbox=[50, 6, 20, 30], area=123.0)  # over the edge
    content["annotations"][1]["bbox"] = [5, 5, 0, 9]
    content["images"].append({"id": 3, "file_name": "gone.jpg", "width": 60, "height": 80})
    content["annotations"].append({"id": 9, "image_id": 3, "category_id": 1, "bbox": [1, 1, 9, 9]})
    json_file, _ = write_set(tmp_path / "in", content)
    done = convert_coco("publaynet", json_file, tmp_path / "out")
    assert [p.kind for p in done.problems] == ["image_missing"] and not done.complete
    written = json.loads((tmp_path / "out/annotations.json").read_text())
    assert written["annotations"] == content["annotations"][:-1]
    assert written["images"] == content["images"][:-1]
    assert done.splits == {"annotations": (2, 3)}


def test_doclaynet_keeps_its_folders(tmp_path):
    categories = [{"id": 1, "name": "Text"}, {"id": 2, "name": "Picture"}]
    write_set(tmp_path / "in", document(categories=categories))
    (tmp_path / "in/COCO").mkdir()
    (tmp_path / "in/images").rename(tmp_path / "in/PNG")
    (tmp_path / "in/annotations.json").rename(tmp_path / "in/COCO/train.json")
    done = convert_coco("doclaynet", tmp_path / "in", tmp_path / "out")
    assert done.splits == {"train": (2, 3)} and len(done.classes) == 11
    assert check(tmp_path / "out/COCO/train.json", tmp_path / "out/PNG").clean


def test_hj_page_types_are_no_classes(tmp_path):
    categories = [{"id": i + 1, "name": n} for i, n in enumerate(HJ_CLASSES)]
    categories += [{"id": 8, "name": "main", "supercategory": "page_type"}]
    content = document(categories=categories)
    content["images"][0]["category_id"] = 8
    for split in ("train", "val"):
        write_set(tmp_path / "in" / split, content)
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / "in" / split / "images" / name).rename(tmp_path / "in" / split / name)
        target = tmp_path / "in/annotations" / f"instances_{split}.json"
        target.parent.mkdir(exist_ok=True)
        (tmp_path / "in" / split / "annotations.json").rename(target)
    done = convert_coco("hj", tmp_path / "in", tmp_path / "out")
    assert done.splits == {"train": (2, 3), "val": (2, 3)}
    pages = load_coco(tmp_path / "out/train.json", tmp_path / "out/images", HJ_CLASSES)
    assert [p["file_name"] for p in pages] == [
        str(tmp_path / "out/images/train" / name) for name in ("a.jpg", "b.jpg")
    ]


def test_foreign_classes_are_refused(tmp_path):
    write_set(tmp_path / "in", document())
    with pytest.raises(UserError, match="class 'figure' is none of Caption"):
        convert_coco("doclaynet", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_splitting_keeps_groups_together():
    names = [f"book{b}/p{i}.jpg" for b in range(10) for i in range(5)]
    shares = parse_shares("60,20,20")
    parts = split_names(names, shares, rule="folder")
    assert sorted(n for part in parts.values() for n in part) == sorted(names)
    books = [{group_of(n, "folder") for n in part} for part in parts.values()]
    assert [len(b) for b in books] == [6, 2, 2] and len(set.union(*books)) == 10
    assert split_names(list(reversed(names)), shares, rule="folder") == parts
    assert split_names(names, shares, rule="folder", seed=1) != parts
    assert group_of("gc17_b_003.jpg", "^(.*)_") == "gc17_b"
    for text in ("80", "a,b", "80,-1", "1,2,3,4", "inf,20", "nan,20"):
        with pytest.raises(UserError, match="--split"):
            parse_shares(text)
    with pytest.raises(UserError, match="1 groups"):
        split_names(["a/x", "a/y"], parse_shares("50,50"), rule="folder")
    with pytest.raises(UserError, match="regular expression"):
        group_of("a", "(")


def test_real_publaynet_pages(real_data, tmp_path):
    done = convert_coco("publaynet", real_data / "publaynet_examples", tmp_path / "out")
    assert done.splits == {"samples": (20, 193)} and done.complete


def test_real_alto_pages(real_data, tmp_path):
    done = convert_xml(
        read_alto,
        real_data / "alto_pairs" / "fullres",
        tmp_path / "out",
        classes=SEGMONTO_CLASSES,
        relabel=segmonto_class,
    )
    assert done.splits == {"annotations": (3, 11)} and done.complete
    for path in sorted((real_data / "alto_pairs" / "alto").glob("*.xml")):
        (found,) = read_alto(path)
        assert found.width > 500 and all(z.box[2] > 0 for z in found.zones)


def test_real_voc_pages(real_data, tmp_path):
    done = convert_xml(
        read_voc, real_data / "ndl_japanese_voc", tmp_path / "out", shares=parse_shares("70,30")
    )
    assert sum(pages for pages, _ in done.splits.values()) == 12
    assert done.complete and "2_handwritten" in done.classes
