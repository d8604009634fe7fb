"""What becomes of labels, class ids and outlines that a converter does not expect."""

import pytest

from graphkd.cli import main
from graphkd.data.convert import convert_coco, convert_xml
from graphkd.data.convert.readers import read_alto, read_page_xml, read_voc, segmonto_class
from graphkd.data.layouts import HJ_CLASSES, SEGMONTO_CLASSES
from graphkd.formats.xml import BadFile, numbers
from tests.data.sets import document, page, write_set
from tests.data.test_convert import ALTO, PAGE_2010, PAGE_2013, VOC, put


def test_zone_names_are_known_in_any_case():
    found = [segmonto_class(n) for n in ("mainzone", "MAINZONE", "FIGURE", "decoration")]
    assert found == ["MainZone", "MainZone", "GraphicZone", "GraphicZone"]


def alto_set(folder, label):
    text = ALTO.replace("MainZone#2", label).replace("TableZone", "Figure")
    text = text.replace('<TextBlock HPOS="1" VPOS="1" WIDTH="2" HEIGHT="2" ID="t2"/>', "")
    for number in (1, 2):
        put(folder / f"p{number}.xml", text.replace("p1.jpg", f"p{number}.jpg"))
        page(folder / f"p{number}.jpg", width=120, height=160)
    return folder


def test_zones_under_another_class_are_counted_and_no_failure(tmp_path):
    done = convert_xml(
        read_alto,
        alto_set(tmp_path / "in", "MainZone-P"),
        tmp_path / "out",
        classes=SEGMONTO_CLASSES,
        relabel=segmonto_class,
    )
    assert done.renamed == [
        "2 zones 'Figure' became GraphicZone",
        "2 zones 'MainZone-P' became OtherZone",
    ]
    assert done.complete


def test_the_user_sees_which_zones_got_another_class(tmp_path, capsys):
    for number, (label, said) in enumerate(
        {"mainzone": False, "MainZone-P": True, "OtherZone": False}.items()
    ):
        source = alto_set(tmp_path / f"in{number}", label)
        words = ["data", "convert", "alto", str(source), "--out", str(tmp_path / f"out{number}")]
        assert main(words) == 0
        assert ("became OtherZone" in capsys.readouterr().out) == said


def test_names_that_differ_only_in_case_are_said_and_no_failure(tmp_path, capsys):
    text = VOC.replace("title", "Text").replace("body", "text")
    text = text.replace("<object><bndbox>", "<object><name>TEXT</name><bndbox>")
    put(tmp_path / "in/p1.xml", text)
    page(tmp_path / "in/p1.jpg")
    words = ["data", "convert", "voc", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "warn: 'TEXT', 'Text', 'text' are 3 classes, though they differ only in case" in said
    assert "classes: TEXT, Text, text" in said


def test_a_label_written_over_two_lines_is_one_name(tmp_path):
    path = put(tmp_path / "a.xml", VOC.replace("title", "\n  page\n  title\n"))
    assert read_voc(path)[0].zones[0].label == "page title"


def hj_set(folder, extra):
    categories = [{"id": i + 10, "name": n} for i, n in enumerate(HJ_CLASSES)]
    categories += [{"id": 3, "name": "main", "supercategory": "page_type"}]
    content = document(categories=categories)
    for annotation in content["annotations"]:
        annotation["category_id"] = 10
    content["annotations"] += extra
    path, _ = write_set(folder, content)
    path.rename(folder / "train.json")
    return folder


def test_boxes_of_page_types_are_left_out_without_a_word(tmp_path):
    whole = {"id": 9, "image_id": 1, "category_id": 3, "bbox": [0, 0, 60, 80]}
    done = convert_coco("hj", hj_set(tmp_path / "in", [whole]), tmp_path / "out")
    assert done.splits == {"train": (2, 3)} and done.problems == [] and done.complete


@pytest.mark.parametrize("number", [2, 99, None])
def test_an_unknown_class_id_is_said_as_it_is_written(tmp_path, number):
    """2 is the new id of another class."""
    box = {"id": 9, "image_id": 1, "category_id": number, "bbox": [1, 1, 20, 20]}
    done = convert_coco("hj", hj_set(tmp_path / "in", [box]), tmp_path / "out")
    assert done.splits == {"train": (2, 3)} and not done.complete
    assert [p.line() for p in done.problems] == [
        f"a.jpg, annotation 9: category_id {number} is not in categories; dropped"
    ]


def test_point_lists():
    assert numbers(" 1,2 3.5,-4\n5e1;6 ") == [1, 2, 3.5, -4, 50, 6]
    assert numbers("") == numbers(None) == []
    for text in ("NaN,20 NaN,20 180,60", "1,2 3,x", "1,2 inf,3", "1,2 1e999,3", "1,2 3,4px"):
        with pytest.raises(BadFile, match="among the points is no finite number"):
            numbers(text)


@pytest.mark.parametrize(
    "text",
    [
        PAGE_2013.replace("5,6 25,6 25,36 5,36", "NaN,6 NaN,6 25,36 5,36"),
        PAGE_2013.replace(
            '<Coords points="5,6 25,6 25,36 5,36"/>',
            '<Coords><Point x="NaN" y="6"/><Point x="25" y="36"/></Coords>',
        ),
    ],
    ids=["points", "Point"],
)
def test_a_region_with_a_point_that_is_no_number_is_a_reported_problem(tmp_path, text):
    path = put(tmp_path / "in/1.xml", text.replace(' <NoiseRegion id="r4"><Coords points=""/>', "")
               .replace("</NoiseRegion>", ""))  # fmt: skip
    page(tmp_path / "in/00000001.tif")
    done = convert_xml(read_page_xml, tmp_path / "in", tmp_path / "out")
    assert done.splits == {"annotations": (1, 2)} and not done.complete
    (line,) = done.left_out
    assert line.startswith(f"{path}: region 'r1': ") and "finite number" in line


def test_an_alto_block_keeps_its_rectangle_where_its_outline_is_unreadable(tmp_path):
    path = put(tmp_path / "in/a.xml", ALTO.replace("10 12 50 12", "NaN 12 NaN 12"))
    (found,) = read_alto(path)
    assert found.zones[0].box == (10, 12, 40, 60) and found.zones[0].polygon is None
    page(tmp_path / "in/p1.jpg", width=120, height=160)
    done = convert_xml(read_alto, tmp_path / "in", tmp_path / "out")
    (line,) = done.left_out
    assert line.startswith(f"{path}: outline of block 't1': 'NaN'") and not done.complete


def test_sound_points_are_no_fault(tmp_path):
    for name, text in (("a", PAGE_2013), ("b", PAGE_2010)):
        (found,) = read_page_xml(put(tmp_path / f"{name}.xml", text))
        assert found.faults == []


def test_everything_that_is_left_out_can_be_seen(tmp_path, capsys):
    for number in range(27):
        put(tmp_path / f"in/p{number:02}.xml", ALTO.replace("p1.jpg", f"p{number:02}.jpg"))
    page(tmp_path / "in/p26.jpg", width=120, height=160)
    words = ["data", "convert", "alto", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert said.count("left out: ") == 20
    assert f"and 6 more, listed in {tmp_path / 'out/left_out.txt'}" in said
    lines = (tmp_path / "out/left_out.txt").read_text().splitlines()
    assert len(lines) == 26 and all("no image p" in line for line in lines)
