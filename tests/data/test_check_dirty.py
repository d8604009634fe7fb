"""The archive of damaged and unusual data sets: each ends as its table says."""

import csv
import logging
import tarfile

import numpy as np
import pytest
from detectron2.data import transforms as T

from graphkd.data.check.document import read_document
from graphkd.data.check.report import check, corners_to_sizes, write_fixed
from graphkd.data.coco import load_coco
from graphkd.data.images import read_page
from graphkd.data.mapper import PageMapper
from graphkd.errors import UserError

CASES = """00_good 01_truncated_jpeg 02_zero_byte_image 03_image_missing 04a_size_swapped
04b_size_double_boxes_too 04c_size_absent 05_negative_box 06_nan_inf_null_box 07_zero_area_box
08_box_off_page 09_unknown_category 10a_duplicate_annotation_id 10b_duplicate_image_id
10c_duplicate_category_id 10d_same_file_twice 11_empty_segmentation 12_crowd_rle 13_json_truncated
14_json_empty 15_json_latin1 16_json_bom 17_json_is_list 18_no_categories 19a_no_annotations
19b_empty_dataset 19c_page_without_boxes 20_orphan_annotation 21_category_ids_with_gaps
22_ids_as_strings 23_normalised_boxes 24_boxes_as_xyxy 30_rgba_png 31_16bit_png 32_cmyk_jpeg
33_gray_bilevel_palette 34a_exif_display_frame 34b_exif_stored_frame 35_unicode_space_comma_names
36_nfc_nfd_name 37_name_case_differs 38_wrong_extension 39_html_as_jpg 40_path_outside
41_absolute_path 42_decompression_bomb 43_odd_shapes 44_multipage_tiff 45_very_many_boxes""".split()

# What has to be said about each case; everything that the table calls legal is not listed here.
SAID = {
    "01_truncated_jpeg": {"image_truncated"},
    "02_zero_byte_image": {"image_unreadable"},
    "03_image_missing": {"image_missing"},
    "04a_size_swapped": {"size_swapped"},
    "04b_size_double_boxes_too": {"size_scaled"},
    "04c_size_absent": {"size_absent"},
    "05_negative_box": {"box_clipped", "box_degenerate"},
    "06_nan_inf_null_box": {"box_not_finite"},
    "07_zero_area_box": {"box_degenerate"},
    "08_box_off_page": {"box_outside", "box_clipped"},
    "09_unknown_category": {"unknown_category"},
    "10a_duplicate_annotation_id": {"duplicate_annotation_id"},
    "10b_duplicate_image_id": {"duplicate_image_id"},
    "10c_duplicate_category_id": {"duplicate_category"},
    "10d_same_file_twice": {"same_file_twice"},
    "13_json_truncated": {"not_coco"},
    "14_json_empty": {"not_coco"},
    "15_json_latin1": {"not_coco"},
    "17_json_is_list": {"not_coco"},
    "18_no_categories": {"not_coco"},
    "19a_no_annotations": {"no_annotations"},
    "19b_empty_dataset": {"no_images"},
    "20_orphan_annotation": {"orphan_annotation"},
    "22_ids_as_strings": {"numbers_as_strings"},
    "23_normalised_boxes": {"normalised_boxes"},
    "24_boxes_as_xyxy": {"boxes_look_like_corners", "box_clipped"},
    "36_nfc_nfd_name": {"name_normal_form"},
    "37_name_case_differs": {"image_missing"},
    "39_html_as_jpg": {"image_unreadable"},
    "40_path_outside": {"path_outside"},
    "41_absolute_path": {"path_outside"},
    "42_decompression_bomb": {"image_too_large"},
    "44_multipage_tiff": {"several_frames"},
}


@pytest.fixture(scope="module")
def dirty(real_data, tmp_path_factory):
    archive = real_data / "dirty_coco.tar.gz"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    folder = tmp_path_factory.mktemp("dirty")
    # Python 3.10 and 3.11 know the filter from some patch release on.
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as stream:
        stream.extractall(folder, **safe)
    return folder / "dirty_coco"


@pytest.fixture(scope="module")
def table(dirty):
    with open(dirty / "cases.tsv", encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream, delimiter="\t")}


@pytest.fixture(scope="module")
def classes(dirty):
    return [c["name"] for c in read_document(dirty / "00_good" / "annotations.json")["categories"]]


def paths(dirty, case):
    return dirty / case / "annotations.json", dirty / case / "images"


def boxes(pages, name):
    (page,) = [page for page in pages if page["file_name"].endswith(name)]
    return [a["bbox"] for a in page["annotations"]]


def test_the_table_is_the_one_known_here(table):
    assert list(table) == CASES


@pytest.mark.parametrize("case", CASES)
def test_check_says_what_is_wrong_and_nothing_more(dirty, table, case):
    report = check(*paths(dirty, case))
    row = table[case]
    assert {p.kind for p in report.cleaned.counted} == SAID.get(case, set())
    assert report.clean == (row["expect"] == "ok")
    assert len(report.cleaned.pages) == int(row["images_usable"])
    usable = report.to_dict()["usable_boxes"]
    assert usable == int(row["boxes_usable"])
    for problem in report.cleaned.problems:
        assert problem.line().isprintable()


@pytest.mark.parametrize("case", CASES)
def test_loading_follows_the_same_rules(dirty, table, classes, case, caplog):
    row = table[case]
    with caplog.at_level(logging.WARNING):
        if row["expect"] == "error":
            with pytest.raises(UserError, match="annotations.json") as caught:
                load_coco(*paths(dirty, case), classes)
            assert "\n" not in str(caught.value)
            return
        pages = load_coco(*paths(dirty, case), classes)
    assert len(pages) == int(row["images_usable"])
    assert sum(len(page["annotations"]) for page in pages) == int(row["boxes_usable"])
    assert bool(caplog.records) == (row["expect"] != "ok")
    for page in pages:
        for annotation in page["annotations"]:
            x, y, width, height = annotation["bbox"]
            assert np.isfinite(annotation["bbox"]).all() and width > 0 and height > 0
            assert x >= 0 and x + width <= page["width"] + 1e-6
            assert y >= 0 and y + height <= page["height"] + 1e-6
            assert 0 <= annotation["category_id"] < len(classes)


@pytest.mark.parametrize("case", CASES)
def test_every_loaded_page_can_be_trained_on(dirty, table, classes, case):
    if table[case]["expect"] == "error":
        pytest.skip("the file is refused")
    mapper = PageMapper(True, augmentations=[T.Resize((64, 48))], image_format="BGR")
    for page in load_coco(*paths(dirty, case), classes):
        mapped = mapper(page)
        assert mapped["image"].shape == (3, 64, 48)
        crowd = sum(a["iscrowd"] for a in page["annotations"])
        # Detectron2 leaves out boxes that come to nothing at this size, never adds any.
        assert len(mapped["instances"]) <= len(page["annotations"]) - crowd


@pytest.mark.parametrize("case", CASES)
def test_the_repaired_copy_checks_clean(dirty, table, case, tmp_path):
    report = check(*paths(dirty, case))
    if table[case]["expect"] == "error":
        with pytest.raises(UserError, match="cannot be repaired"):
            write_fixed(report.cleaned, tmp_path / "out")
        return
    if case == "24_boxes_as_xyxy":
        with pytest.raises(UserError, match="--boxes"):
            write_fixed(report.cleaned, tmp_path / "out")
        report = check(*paths(dirty, case), corners=True)
    rest = write_fixed(report.cleaned, tmp_path / "out")
    # Boxes that nobody drew cannot be repaired: the copy still says so.
    assert [p.kind for p in rest] == (["no_annotations"] if case == "19a_no_annotations" else [])
    again = check(tmp_path / "out" / "annotations.json", tmp_path / "out" / "images")
    assert again.cleaned.counted == rest
    assert again.to_dict()["usable_boxes"] == int(table[case]["boxes_usable"])


def test_boxes_end_where_the_good_set_has_them(dirty, classes):
    good = load_coco(*paths(dirty, "00_good"), classes)
    wanted = boxes(good, "a.jpg")
    for case in ("04a_size_swapped", "04b_size_double_boxes_too", "04c_size_absent"):
        found = load_coco(*paths(dirty, case), classes)
        assert np.allclose(boxes(found, "a.jpg"), wanted, atol=0.06), case
        assert (found[0]["width"], found[0]["height"]) == (169, 240), case
    found = load_coco(*paths(dirty, "23_normalised_boxes"), classes)
    assert np.allclose(boxes(found, "a.jpg"), wanted, atol=0.02)
    corners = corners_to_sizes(read_document(paths(dirty, "24_boxes_as_xyxy")[0]))
    assert np.allclose([a["bbox"] for a in corners["annotations"][:4]], wanted, atol=0.06)


def test_gapped_class_ids_give_the_same_classes(dirty, classes):
    good = load_coco(*paths(dirty, "00_good"), classes)
    names = {
        c["name"] for c in read_document(paths(dirty, "21_category_ids_with_gaps")[0])["categories"]
    }
    assert names == set(classes)
    found = load_coco(*paths(dirty, "21_category_ids_with_gaps"), classes)
    assert [a["category_id"] for p in found for a in p["annotations"]] == [
        a["category_id"] for p in good for a in p["annotations"]
    ]


def test_the_crowd_box_is_kept_as_a_crowd(dirty, classes):
    pages = load_coco(*paths(dirty, "12_crowd_rle"), classes)
    (crowd,) = [a for p in pages for a in p["annotations"] if a["iscrowd"]]
    assert isinstance(crowd["segmentation"]["counts"], bytes)


def test_unusual_pictures_look_like_the_plain_page(dirty, classes):
    """Paper stays light and the print dark: compared with the plain page at a coarse size."""
    plain = coarse(read_page(dirty / "00_good" / "images" / "a.jpg"))
    for case in ("31_16bit_png", "32_cmyk_jpeg", "34a_exif_display_frame", "38_wrong_extension"):
        for page in load_coco(*paths(dirty, case), classes)[:1]:
            size = (page["width"], page["height"])
            seen = coarse(read_page(page["file_name"], size=size))
            assert np.abs(seen - plain).mean() < 8, case
    page = load_coco(*paths(dirty, "34b_exif_stored_frame"), classes)[0]
    lying = read_page(page["file_name"], size=(240, 169))
    assert lying.shape[:2] == (169, 240)
    turned_back = read_page(page["file_name"])
    assert turned_back.shape[:2] == (240, 169)
    assert np.abs(coarse(turned_back) - plain).mean() < 8
    clear = read_page(dirty / "30_rgba_png" / "images" / "a.png")
    assert clear.shape == (240, 169, 3) and clear.mean() >= plain.mean() - 8
    for name in ("gray.jpg", "bilevel.png", "palette.png", "gray_alpha.png"):
        seen = read_page(dirty / "33_gray_bilevel_palette" / "images" / name)
        assert seen.shape == (240, 169, 3) and 90 < seen.mean() < 255, name


def coarse(picture):
    """Gray means over a grid of 6 x 8 cells."""
    gray = picture.astype(float).mean(axis=2)
    cells = [np.array_split(row, 6, axis=1) for row in np.array_split(gray, 8, axis=0)]
    return np.array([[cell.mean() for cell in row] for row in cells])
