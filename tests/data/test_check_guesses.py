"""What a check concludes from a set as a whole: sizes, fractions, crowds and class names."""

import numpy as np
import pytest

from graphkd.cli import main
from graphkd.data.catalog import add_own, text_classes
from graphkd.data.check.boxes import PageFrame, decide_frame, look_normalised
from graphkd.data.check.report import check
from graphkd.data.images import PageHeader
from graphkd.errors import UserError
from tests.data.sets import document, write_set


def counts(report):
    return report.to_dict()["counts"]


def boxes(report):
    return [a["bbox"] for page in report.cleaned.pages for a in page.annotations]


@pytest.mark.parametrize("key", ["ignore", "iscrowd"])
@pytest.mark.parametrize(("mark", "crowd"), [("0", 0), (0, 0), (None, 0), ("1", 1), (True, 1)])
def test_a_crowd_mark_is_read_as_a_number(tmp_path, key, mark, crowd):
    content = document()
    for annotation in content["annotations"][:2]:
        annotation[key] = mark
    report = check(*write_set(tmp_path, content))
    assert report.clean
    assert [a["iscrowd"] for a in report.cleaned.pages[0].annotations] == [crowd, crowd]


def test_crowd_boxes_alone_are_nothing_to_learn(tmp_path):
    content = document()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    report = check(*write_set(tmp_path, content))
    assert counts(report) == {"no_annotations": 1, "crowd": 3} and not report.clean


def sized(scale):
    """The document with sizes times `scale`; the boxes stay."""
    content = document()
    for image in content["images"]:
        image.update(width=int(60 * scale), height=int(80 * scale))
    return content


def test_boxes_in_the_pictures_pixels_are_left_out_where_the_size_is_wrong(tmp_path):
    """Read as the json says they leave the page, and nothing else says what they mean."""
    report = check(*write_set(tmp_path / "in", sized(0.5)))
    assert counts(report) == {"size_unclear": 2} and boxes(report) == []


def test_boxes_of_another_resolution_are_scaled_as_before(tmp_path):
    content = sized(0.5)
    for annotation in content["annotations"]:
        annotation["bbox"] = [value / 2 for value in annotation["bbox"]]
    report = check(*write_set(tmp_path, content))
    assert counts(report) == {"size_scaled": 2}
    assert boxes(report) == [a["bbox"] for a in document()["annotations"]]


def test_boxes_that_do_not_fit_the_given_size_are_left_out():
    header = PageHeader((100, 200), 1, "JPEG", "RGB", 1, False)
    found, (kind, _) = decide_frame((50, 100), header, [[0, 0, 90, 90]])
    assert found is None and kind == "size_unclear"


def fractional(pages=2, boxes_each=12):
    content = document(annotations=[])
    for number in range(pages * boxes_each):
        box = [0.1, 0.02 * number, 0.5, 0.25]
        entry = {"id": number + 1, "image_id": number % 2 + 1, "category_id": 1, "bbox": box}
        content["annotations"].append(entry)
    return content


@pytest.mark.parametrize(
    ("boxes_each", "odd", "said"),
    [
        (2, [0.54, 0.1, 0.5, 0.25], "box_clipped"),
        (12, [0.54, 0.1, 0.9, 0.25], "box_clipped"),
        (12, [20, 30, 20, 30], "box_outside"),
    ],
)
def test_one_fraction_over_the_edge_does_not_cost_the_others(tmp_path, boxes_each, odd, said):
    content = fractional(boxes_each=boxes_each)
    content["annotations"][3]["bbox"] = odd
    report = check(*write_set(tmp_path, content))
    assert counts(report) == {"normalised_boxes": 2, said: 1}
    assert len(boxes(report)) == 2 * boxes_each - (said == "box_outside")
    assert np.allclose(boxes(report)[0], [6, 0, 30, 20])


def test_fractions_are_of_the_page_whatever_its_size_in_the_json(tmp_path):
    content = fractional()
    for image in content["images"]:
        image.update(width=120, height=160)
    report = check(*write_set(tmp_path, content))
    assert len(boxes(report)) == 24 and np.allclose(boxes(report)[0], [6, 0, 30, 20])


def test_a_page_of_one_by_one_may_have_a_box_over_its_edge_or_without_area():
    header = PageHeader((100, 200), 1, "JPEG", "RGB", 1, False)
    for found in ([[0.52, 0.1, 0.5, 0.2]], [[0, 0, 0, 0]], []):
        frame, (kind, _) = decide_frame((1, 1), header, found)
        assert frame == PageFrame(100, 200, 100, 200) and kind == "normalised_boxes"


def test_boxes_without_area_do_not_make_a_set_one_of_fractions():
    assert not look_normalised([[0, 0, 0, 0]] * 99 + [[10, 20, 30, 40]])
    assert not look_normalised([[0, 0, 0, 0]])


@pytest.mark.parametrize("names", [("Text", "text"), ("text", "text "), ("STRASSE", "straße")])
def test_class_names_that_look_alike_are_said(tmp_path, names):
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    report = check(*write_set(tmp_path, document(categories=categories)))
    assert counts(report) == {"similar_classes": 1} and not report.clean
    assert report.cleaned.problems[0].level == "warn" and len(boxes(report)) == 3


def test_registering_says_class_names_that_look_alike(tmp_path, data_root, capsys):
    content = document(
        categories=[{"id": 1, "name": "Text, body"}, {"id": 2, "name": "text, body"}]
    )
    json_file, images = write_set(tmp_path, content)
    words = ["data", "register", "mine", "--json", str(json_file), "--images", str(images)]
    assert main([*words, "--text-classes", '"Text, body"']) == 0
    warning = "warning: 'Text, body', 'text, body' are 2 classes"
    assert warning in capsys.readouterr().out
    assert text_classes("mine") == ("Text, body",)


@pytest.mark.parametrize("name", ["fig\nure", "figure\n", "fig\x00ure", "fig\u2028ure", "a\tb"])
def test_a_class_name_is_one_line(tmp_path, data_root, capsys, name):
    content = document(categories=[{"id": 1, "name": "text"}, {"id": 2, "name": name}])
    json_file, images = write_set(tmp_path, content)
    assert counts(check(json_file, images)) == {"no_categories": 1}
    with pytest.raises(UserError, match="the name of category 2 is no Unicode text of one line"):
        add_own("mine", json_file, images)
    words = ["--json", str(json_file), "--images", str(images)]
    assert main(["data", "register", "mine", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (data_root / "registered.yaml").exists()


def test_class_names_of_every_script_are_fine(tmp_path):
    names = ("متن\u200cها", "図 版")
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    assert check(*write_set(tmp_path, document(categories=categories))).clean
