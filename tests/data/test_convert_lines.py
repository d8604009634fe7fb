"""Converters of text lines: every format with its traps, and a round trip through the hub."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphkd.cli import main
from graphkd.commands.data.convert import LINES
from graphkd.data.check.lines import check_lines, clean_lines
from graphkd.data.convert import LINE_KINDS, convert_lines
from graphkd.data.convert.line_rows import turned_box
from graphkd.data.convert.lines import upright_points
from graphkd.errors import UserError


def picture(path, size=(200, 100), orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, "white").save(path, exif=exif)
    return path


def labels(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def converted(kind, folder, **options):
    """Converts `folder` and reads the result: (result, {split: {picture: lines}})."""
    out = folder.with_name(f"{folder.name}_out")
    result = convert_lines(kind, folder, out, **options)
    found = {}
    for split in result.splits:
        records = map(json.loads, (out / f"{split}.jsonl").read_text("utf-8").splitlines())
        found[split] = {Path(r["path"]).name: r["lines"] for r in records}
        assert not [
            p
            for p in check_lines(out / f"{split}.jsonl").cleaned.problems
            if p.level in ("error", "skip", "drop")
        ]
    return result, found


def only(found):
    (pages,) = found.values()
    (lines,) = pages.values()
    return lines


def texts(lines):
    return [(line["text"], line["ignore"]) for line in lines]


QUAD = "10,10,90,12,90,40,10,38"
POINTS = [[10, 10], [90, 12], [90, 40], [10, 38]]


def test_the_command_offers_every_kind():
    assert set(LINES) == set(LINE_KINDS)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # training labels: blanks and quotes; test labels: commas
        ('10 10 90 40 "Tiredness"\r\n38 5 50 9 "a "b" c"\r\n', ["Tiredness", 'a "b" c']),
        ('10, 10, 90, 40, "Tired, ness"\n38, 5, 50, 9, ""', ["Tired, ness", ""]),
        ("\ufeff10, 10, 90, 40, plain text", ["plain text"]),
    ],
)
def test_icdar2013(tmp_path, rows, expected):
    picture(tmp_path / "a" / "img_1.jpg")
    labels(tmp_path / "a" / "gt_img_1.txt", rows)
    _, found = converted("icdar2013", tmp_path / "a")
    assert [line["text"] for line in only(found)] == expected
    assert only(found)[0]["polygon"] == [[10, 10], [90, 10], [90, 40], [10, 40]]


def test_icdar2015_has_a_mark_commas_and_the_same_names_in_both_splits(tmp_path):
    base = tmp_path / "ic15"
    for split, folder in (("training", "ch4_training"), ("test", "ch4_test")):
        picture(base / f"{folder}_images" / "img_1.jpg")
        name = {"training": "ch4_training_localization_transcription_gt"}.get(
            split, "Challenge4_Test_Task1_GT"
        )
        rows = f"{QUAD},{split}, 1,000\r\n{QUAD},###\r\n"
        labels(base / name / "gt_img_1.txt", rows, "utf-8-sig")
    result, found = converted("icdar2015", base)
    assert result.splits == {"test": (1, 2, 1), "train": (1, 2, 1)} and not result.left_out
    assert texts(found["train"]["img_1.jpg"]) == [("training, 1,000", False), ("###", True)]
    assert texts(found["test"]["img_1.jpg"])[0] == ("test, 1,000", False)
    assert found["test"]["img_1.jpg"][0]["polygon"] == POINTS


def test_mlt2017_has_a_script_before_the_text(tmp_path):
    picture(tmp_path / "a" / "ch8_validation_images" / "img_1.jpg")
    gt = tmp_path / "a" / "ch8_validation_localization_transcription_gt_v2" / "gt_img_1.txt"
    labels(gt, f"{QUAD},Arabic,\u0627\u0644, x\n{QUAD},None,###")
    _, found = converted("mlt2017", tmp_path / "a")
    assert texts(found["val"]["img_1.jpg"]) == [("\u0627\u0644, x", False), ("###", True)]


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.7, math.pi / 2])
def test_td500_turns_boxes_about_their_centre(tmp_path, angle):
    picture(tmp_path / "a" / "train" / "IMG_1.JPG", (400, 400))
    rows = f"0 0 100 150 120 40 {angle}\r\n1 1 10 10 20 8 0"
    labels(tmp_path / "a" / "train" / "IMG_1.gt", rows)
    _, found = converted("td500", tmp_path / "a")
    lines = found["train"]["IMG_1.JPG"]
    points = np.array(lines[0]["polygon"])
    assert points.mean(0) == pytest.approx([160, 170], abs=0.01)
    along = points[1] - points[0]
    assert math.atan2(along[1], along[0]) == pytest.approx(angle, abs=1e-3)
    assert np.hypot(*along) == pytest.approx(120, abs=0.01)
    assert [line["ignore"] for line in lines] == [False, True]  # difficult
    assert turned_box(0, 0, 4, 2, 0.0).tolist() == [[0, 0], [4, 0], [4, 2], [0, 2]]


def test_td_tr_joins_the_training_pages_of_two_sets(tmp_path):
    for place in ("MSRA-TD500/train/IMG_1", "MSRA-TD500/test/IMG_2", "HUST-TR400/IMG_1"):
        picture(tmp_path / "a" / f"{place}.JPG")
        labels(tmp_path / "a" / f"{place}.gt", "0 0 10 10 50 20 0.1")
    result, found = converted("tdtr", tmp_path / "a")
    assert result.splits == {"test": (1, 1, 0), "train": (2, 2, 0)}
    assert set(found["train"]) == {"IMG_1.JPG", "IMG_1_2.JPG"}  # two pictures of one name


def test_td_labels_that_were_converted_before_and_lists_of_pages(tmp_path):
    base = tmp_path / "TD_TR"
    for split in ("train", "test"):
        picture(base / f"{split}_images" / f"{split[:2]}1.jpg")
        labels(base / f"{split}_gts" / f"{split[:2]}1.jpg.txt", f"{QUAD},0\n{QUAD},1\n")
        labels(base / f"{split}_list.txt", f"{split[:2]}1.jpg\n")
    result, found = converted("tdtr", base)
    assert result.splits == {"test": (1, 2, 1), "train": (1, 2, 1)}
    assert [line["ignore"] for line in found["test"]["te1.jpg"]] == [False, True]


def test_total_text_wraps_over_rows_and_has_a_turned_picture(tmp_path):
    picture(tmp_path / "a" / "Train" / "img651.jpg", orientation=6)  # upright: 100 x 200
    labels(
        tmp_path / "a" / "Train" / "poly_gt_img651.txt",
        "x: [[10 20  30\n 40 25]], y: [[ 5 4 6\n 30 160]], ornt: [u'c'], transcriptions: "
        "[u'it's [ok], y']\nx: [[1 2 30]], y: [[1 1 9]], ornt: [u'#'], transcriptions: [u'#']\n"
        "x: [[1 2]], y: [[1 2 3]], ornt: [u'h'], transcriptions: [u'broken']",
    )
    result, found = converted("totaltext", tmp_path / "a")
    lines = found["train"]["img651.jpg"]
    assert texts(lines) == [("it's [ok], y", False), ("#", True)]
    assert lines[0]["polygon"] == [[10, 5], [20, 4], [30, 6], [40, 30], [25, 160]]
    (record,) = clean_lines(tmp_path / "a_out" / "train.jsonl").pages
    assert (record.entry["width"], record.entry["height"]) == (100, 200)
    assert len(result.left_out) == 1 and "2 x and 3 y" in result.left_out[0]


def test_casia10k_is_in_gbk_with_lists(tmp_path):
    for index, split in ((1, "train"), (2, "test")):
        picture(tmp_path / "a" / "images" / f"PAL{index}.jpg")
        labels(
            tmp_path / "a" / "gt" / f"PAL{index}.txt", f"{QUAD},\u4e2d\u6587, a\n{QUAD},###", "gbk"
        )
        labels(tmp_path / "a" / f"{split}.txt", f"PAL{index}\n")
    result, found = converted("casia10k", tmp_path / "a")
    assert texts(found["train"]["PAL1.jpg"]) == [("\u4e2d\u6587, a", False), ("###", True)]
    assert set(found["test"]) == {"PAL2.jpg"}
    assert result.repaired == {"files in GBK were read": 2}


def test_ctw1500_of_both_generations(tmp_path):
    curve = [[10 + 5 * i, 20 - i % 3] for i in range(7)] + [[40 - 5 * i, 60] for i in range(7)]
    flat = [str(value) for point in curve for value in point]
    offsets = [str(value) for x, y in curve for value in (x - 10, y - 18)]
    base = tmp_path / "ctw"
    for name in ("1001.jpg", "1002.jpg"):
        picture(base / "test_images" / name)
    picture(base / "train_images" / "0001.jpg")
    rows = ",".join(flat) + ",####say, hi\n" + ",".join(flat) + ",####42\n"
    rows += ",".join(flat) + ",#######\n" + ",".join(flat) + ",7"
    labels(base / "gt_test" / "0001001.txt", rows)
    labels(base / "gt_test" / "1002.txt", ",".join(["10", "18", "40", "60", *offsets]))
    xml = f"""<Annotations><image file="0001.jpg"><box height="9" left="1" top="2" width="3">
      <label>a &amp; b</label><segs>{",".join(flat)}</segs></box>
      <box><label>###</label><segs>{",".join(flat)}</segs></box></image></Annotations>"""
    labels(base / "ctw1500_train_labels" / "0001.xml", xml)
    _, found = converted("ctw1500", base)
    assert texts(found["test"]["1001.jpg"]) == [
        *(("say, hi", False), ("42", False), ("###", True), ("7", False))
    ]
    assert found["test"]["1001.jpg"][0]["polygon"] == curve
    assert found["test"]["1002.jpg"][0]["polygon"] == curve
    assert texts(found["train"]["0001.jpg"]) == [("a & b", False), ("###", True)]


def test_sroie_keeps_commas(tmp_path):
    picture(tmp_path / "a" / "X0001.jpg")
    labels(tmp_path / "a" / "X0001.txt", f"{QUAD},RM 1,234.50, NET\nrubbish\n1,2,3\n{QUAD}")
    result, found = converted("sroie", tmp_path / "a")
    assert texts(found["lines"]["X0001.jpg"]) == [("RM 1,234.50, NET", False), ("", False)]
    assert len(result.left_out) == result.dropped == 2 and "row 2" in result.left_out[0]


PAGE = """<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<Page imageFilename="p1.jpg" imageWidth="{width}" imageHeight="{height}"><TextRegion id="r">
<Coords points="0,0 199,0 199,99 0,99"/>
<TextLine id="a"><Coords points="10,10 90,10 90,30 10,30"/><Baseline points="10,26 90,26"/>
  <TextEquiv><Unicode>first, line</Unicode></TextEquiv></TextLine>
<TextLine id="b"><Coords points=""/><Baseline points="10,60 90,60"/></TextLine>
<TextLine id="c"><Coords points="1,1 x,2"/></TextLine><TextLine id="d"/>
</TextRegion></Page></PcGts>"""


@pytest.mark.parametrize("scale", [1, 2])
def test_page_lines_without_an_outline_get_one_from_the_baseline(tmp_path, scale):
    picture(tmp_path / "a" / "p1.jpg", (200 * scale, 100 * scale))
    labels(tmp_path / "a" / "p1.xml", PAGE.format(width=200, height=100))
    result, found = converted("page-lines", tmp_path / "a")
    first, second = only(found)
    assert first["text"] == "first, line" and first["polygon"][2] == [90 * scale, 30 * scale]
    expected = np.array([[10, 45], [90, 45], [90, 65], [10, 65]]) * scale  # 20 pixels high
    assert second["polygon"] == expected.tolist()
    assert result.repaired["lines got an outline from their baseline"] == 1
    assert len(result.left_out) == 2
    assert (result.repaired["pages were scaled to the picture's size"] == 1) == (scale == 2)


def test_page_with_baselines_alone(tmp_path):
    lines = "".join(
        f'<TextLine><Baseline points="10,{y} 90,{y}"/></TextLine>' for y in (20, 50, 80)
    )
    xml = f'<PcGts><Page imageFilename="p1.png" imageWidth="200" imageHeight="100">{lines}'
    labels(tmp_path / "a" / "p1.xml", xml + "</Page></PcGts>")
    picture(tmp_path / "a" / "p1.png")
    _, found = converted("page-lines", tmp_path / "a")
    heights = [np.ptp(np.array(line["polygon"])[:, 1]) for line in only(found)]
    assert heights == pytest.approx([21, 21, 21])


def test_alto_lines_in_another_unit(tmp_path):
    picture(tmp_path / "a" / "scan.png")
    xml = """<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>
    <MeasurementUnit>mm10</MeasurementUnit><sourceImageInformation><fileName>C:\\x\\scan.png
    </fileName></sourceImageInformation></Description><Layout><Page WIDTH="400" HEIGHT="200">
    <PrintSpace><TextBlock>
    <TextLine ID="a"><Shape><Polygon POINTS="20,20 180,20 180,60 20,60"/></Shape>
      <String CONTENT="two"/><SP/><String CONTENT="words"/></TextLine>
    <TextLine ID="b" HPOS="20" VPOS="80" WIDTH="100" HEIGHT="40" BASELINE="20,110 120,110"/>
    <TextLine ID="c" HPOS="20" VPOS="140" WIDTH="100" HEIGHT="40" BASELINE="170"/>
    <TextLine ID="d"/></TextBlock></PrintSpace></Page></Layout></alto>"""
    labels(tmp_path / "a" / "scan.xml", xml)
    result, found = converted("alto-lines", tmp_path / "a")
    first, second, third = only(found)
    assert first["text"] == "two words" and first["polygon"][2] == [90, 30]
    assert second["polygon"] == [[10, 40], [60, 40], [60, 60], [10, 60]]
    assert third["polygon"] == [[10, 70], [60, 70], [60, 90], [10, 90]]
    assert result.repaired["lines got an outline from their baseline"] == 1
    assert result.repaired["lines have their rectangle as outline"] == 1
    assert len(result.left_out) == 1


def test_hocr_lines(tmp_path):
    picture(tmp_path / "a" / "p.png")
    text = """<html><body><div class='ocr_page' title='image "p.png"; bbox 0 0 200 100'>
    <span class='ocr_line' title='bbox 10 10 90 40; baseline 0 -3'><span class='ocrx_word'
    title='bbox 10 10 40 40'>two</span> <em>words</em> &amp;</span>
    <span class='ocr_line' title="poly 1 1 50 1 50 9 1 12; bbox 1 1 50 12">x<br>y</span>
    <span class='ocr_line' title='nothing'>lost</span></div></body></html>"""
    labels(tmp_path / "a" / "p.hocr", text)
    result, found = converted("hocr-lines", tmp_path / "a")
    assert texts(only(found)) == [("two words &", False), ("x y", False)]
    assert only(found)[1]["polygon"][3] == [1, 12] and len(result.left_out) == 1


def test_paddle_lines(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "a" / "imgs" / name)
    items = [{"transcription": "\u4e2d, x\ty", "points": POINTS}]
    items.append({"transcription": "###", "points": POINTS})
    items.append({"transcription": "hard", "points": POINTS, "difficult": True})
    items.append({"transcription": "bad", "points": [[1, 1]]})
    rows = f"imgs/a.jpg\t{json.dumps(items, ensure_ascii=False)}\nimgs/b.jpg\t[]\r\nimgs/c.jpg\t["
    labels(tmp_path / "a" / "train.txt", rows, "utf-8-sig")
    result, found = converted("paddle-lines", tmp_path / "a")
    assert texts(found["train"]["a.jpg"]) == [
        *(("\u4e2d, x\ty", False), ("###", True), ("hard", True))
    ]
    assert found["train"]["b.jpg"] == [] and len(result.left_out) == 3


@pytest.mark.parametrize("orientation", [1, 6])
def test_labelme_with_and_without_a_turned_picture(tmp_path, orientation):
    """Labels in the frame of the stored picture are turned once, those of the upright one never."""
    picture(tmp_path / "a" / "p.jpg", (200, 100), orientation)
    content = {
        "imagePath": "..\\x\\p.jpg",
        "imageWidth": 200,
        "imageHeight": 100,
        "shapes": [
            {"label": "text", "description": "hello", "points": POINTS, "shape_type": "polygon"},
            {"label": "###", "points": [[90, 40], [10, 10]], "shape_type": "rectangle"},
            {"label": "dot", "points": [[1, 1], [2, 2]], "shape_type": "circle"},
            {"label": "bad", "points": None},
        ],
    }
    labels(tmp_path / "a" / "p.json", json.dumps(content))
    result, found = converted("labelme-lines", tmp_path / "a")
    lines = only(found)
    assert texts(lines) == [("hello", False), ("###", True)] and len(result.left_out) == 2
    expected = POINTS if orientation == 1 else [[100 - y, x] for x, y in POINTS]
    assert lines[0]["polygon"] == expected
    assert sum(result.repaired.values()) == (orientation == 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_turn_as_pillow_turns_pictures(tmp_path, orientation):
    from graphkd.data.images import read_page

    pixels = np.zeros((20, 30), np.uint8)
    pixels[3, 7] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    page = read_page(tmp_path / "a.png")[..., 0]
    ((x, y),) = upright_points(np.array([[7.5, 3.5]]), (30, 20), orientation)
    assert page[int(y), int(x)] == 255


def test_coco_lines_with_masks_boxes_and_marks(tmp_path):
    picture(tmp_path / "a" / "images" / "1.png")
    picture(tmp_path / "a" / "images" / "2.png")
    flat = [value for point in POINTS for value in point]
    annotations = [
        {"image_id": 1, "segmentation": [flat, [1, 1, 2, 2, 3, 1]], "text": "long"},
        {"image_id": "1", "bbox": [5, 5, 20, 10], "ignore": 1},
        {"image_id": 1, "bbox": [5, 5, 20, 10], "iscrowd": 1, "segmentation": {"counts": "x"}},
        {"image_id": 1, "bbox": [5, None, 20, 10]},
        {"image_id": 9, "bbox": [5, 5, 20, 10]},
    ]
    images = [
        {"id": 1, "file_name": "1.png", "width": 200, "height": 100, "volume": "book"},
        {"id": 2, "file_name": "2.png", "width": 200, "height": 100},
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    labels(tmp_path / "a" / "val.json", json.dumps(document), "utf-8-sig")
    result, found = converted("coco-lines", tmp_path / "a")
    assert texts(found["val"]["1.png"]) == [("long", False), ("", True), ("", True)]
    assert found["val"]["1.png"][0]["polygon"] == POINTS and found["val"]["2.png"] == []
    assert len(result.left_out) == 2
    (first, second) = clean_lines(tmp_path / "a_out" / "val.jsonl").pages
    assert first.entry["document"] == "book" and "document" not in second.entry


def test_yolo_boxes_outlines_and_pages_without_labels(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "a" / "images" / "train" / f"{name}.jpg", (200, 100), 6)
    rows = "0 0.5 0.5 0.2 0.1\n0 0.1 0.1 0.5 0.1 0.5 0.3 0.1 0.3\n0 0.5 0.5\n0 nan 0 1 1"
    labels(tmp_path / "a" / "labels" / "train" / "a.txt", rows)
    labels(tmp_path / "a" / "labels" / "train" / "classes.txt", "text")
    labels(tmp_path / "a" / "images" / "train" / "broken.jpg", "no picture")
    result, found = converted("yolo-lines", tmp_path / "a")
    first, second = found["train"]["a.jpg"]
    assert first["polygon"] == [[40, 90], [60, 90], [60, 110], [40, 110]]  # upright: 100 x 200
    assert second["polygon"] == [[10, 20], [50, 20], [50, 60], [10, 60]]
    assert found["train"]["b.jpg"] == [] and result.dropped == 2
    assert len(result.left_out) == 3 and "not an image" in result.left_out[-1]


def test_shares_divide_pages_by_group(tmp_path):
    for book in "abcd":
        for page in (1, 2):
            picture(tmp_path / "a" / f"{book}_{page}.jpg")
            labels(tmp_path / "a" / f"{book}_{page}.txt", f"{QUAD},x")
    options = {"shares": {"train": 0.5, "val": 0.5}, "group": "^[a-z]"}
    _, found = converted("icdar2015", tmp_path / "a", **options)
    books = [{name[0] for name in found[split]} for split in ("train", "val")]
    assert len(found["train"]) == len(found["val"]) == 4 and not books[0] & books[1]


def test_what_fits_no_picture_is_listed(tmp_path, capsys):
    picture(tmp_path / "a" / "train" / "x.jpg")
    labels(tmp_path / "a" / "train" / "x.txt", f"{QUAD},x")
    labels(tmp_path / "a" / "train" / "contest.txt", f"{QUAD},y")
    out = tmp_path / "out"
    assert main(["data", "convert", "icdar2015", str(tmp_path / "a"), "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "kept 1 lines, repaired 0, dropped 0\nleft out 1 pages" in said
    assert "no image contest found" in said
    assert "contest" in (out / "left_out.txt").read_text()
    assert main(["data", "convert", "icdar2015", str(tmp_path / "none"), "--out", "x"]) == 2
    with pytest.raises(UserError, match="none of 1 label files"):
        convert_lines("icdar2015", tmp_path / "a" / "train" / "contest.txt", tmp_path / "no")


@pytest.mark.parametrize("kind", LINE_KINDS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"\xff" * 50, b"1,2,3", b"9" * 5000 + b",1" * 8, b"[" * 100_000]
    + [b"<a>", b"1e999,1,1,1,1,1,1,1,a", b"nan nan nan nan nan", b"{}", b'{"shapes": [3]}']
    + [b'{"images": [{}], "annotations": [{}], "categories": []}', b"x\t[[[[1]]]]"],
    ids=range(13),
)
def test_hostile_label_files_give_lines_or_one_error(tmp_path, kind, content):
    folder = tmp_path / "a"
    picture(folder / "p.jpg")
    (folder / f"p{LINE_KINDS[kind].suffixes[-1]}").write_bytes(content)
    try:
        result = convert_lines(kind, folder, tmp_path / "out")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all("\n" not in line for line in result.left_out)
        for split in result.splits:
            check_lines(tmp_path / "out" / f"{split}.jsonl", decode=False)


@pytest.mark.parametrize(
    ("name", "images", "counts"),
    [
        ("page_lines", "segmonto/images", {"train": 674, "val": 131, "test": 134}),
        ("sroie", None, {"train": 275, "val": 60, "test": 66}),
        ("icdar2015_scene", None, {"train": 302, "val": 50}),
    ],
)
def test_real_sets_become_usable_by_name(real_data, tmp_path, monkeypatch, name, images, counts):
    if not (real_data / name / "train.json").is_file():
        pytest.skip(f"no real pages in {real_data / name}")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    folder = real_data / images if images else None
    result = convert_lines("coco-lines", real_data / name, tmp_path / name, images=folder)
    assert {split: pages for split, (pages, _, _) in result.splits.items()} == counts
    assert not result.left_out
    for split in counts:
        report = check_lines(tmp_path / name / f"{split}.jsonl", decode=False)
        bad = [p for p in report.cleaned.problems if p.level not in ("note", "repair")]
        assert not bad and report.boxes > 500
