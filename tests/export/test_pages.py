import numpy as np
import pytest
from PIL import Image

from graphkd.errors import UserError
from graphkd.export.pages import generated_pages, named_pages
from graphkd.synthesis import CLASSES_5


def test_a_folder_has_pages_and_no_truth(tmp_path):
    for number in range(5):
        Image.new("RGB", (20, 30), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no page")
    found = named_pages(str(tmp_path), classes=("a",), most=2)
    assert found.truth is None and len(found) == 2
    assert [pixels[0, 0, 0] for pixels in found] == [0, 2]
    assert next(iter(found)).shape == (30, 20, 3)


def test_a_damaged_page_of_a_folder_is_passed_over_and_told(tmp_path, caplog):
    Image.new("RGB", (20, 30)).save(tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    found = named_pages(str(tmp_path), classes=("a",), most=9)
    assert len(found) == len(list(found)) == 1
    first, second = caplog.messages
    assert first == f"not read: {tmp_path / 'a.png'}: not an image that can be read"
    assert second.startswith(f"not read: {tmp_path / 'c.png'}: ")


def test_missing_and_empty_pages_are_told(tmp_path):
    with pytest.raises(UserError, match="no pictures"):
        named_pages(str(tmp_path), classes=("a",), most=9)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of the pictures"):
        named_pages(str(tmp_path), classes=("a",), most=9)
    with pytest.raises(UserError, match="no folder of this name"):
        named_pages("no_such_set", classes=("a",), most=9)


def test_a_data_set_of_other_classes_is_refused(own_data):
    with pytest.raises(UserError, match="has the classes"):
        named_pages(own_data["test"], classes=("a",), most=9)


def test_generated_pages_know_the_truth_of_their_class_lists():
    pages = generated_pages(classes=CLASSES_5, count=2, seed=9, long_side=64)
    assert len(pages) == len(pages.truth) == 2
    for pixels, item in zip(pages, pages.truth, strict=True):
        assert pixels.shape == (item["height"], item["width"], 3) and pixels.dtype == np.uint8
    labels = [a["category_id"] for item in pages.truth for a in item["annotations"]]
    assert labels and set(labels) <= set(range(5))
    others = generated_pages(classes=("a", "b"), count=1, seed=9, long_side=64)
    assert others.truth is None
