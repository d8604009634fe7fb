"""Generated pages: reproducible, boxes exact, translated rightly; the folders are tested in
test_synthesis_folders.
"""

import time

import numpy as np
import pytest

from graphkd.synthesis import CLASSES_5, CLASSES_11, Page, Region, five_classes, make_page
from graphkd.synthesis.blocks import break_lines, in_font
from graphkd.synthesis.layouts import lay_out
from graphkd.synthesis.page import outline
from graphkd.synthesis.scan import Skew
from graphkd.synthesis.sheet import Mark
from graphkd.synthesis.styles import WHITE, Type, register_fonts


@pytest.fixture(scope="module")
def clean() -> list[Page]:
    return [make_page(5, index, long_side=1024, scan=0.0) for index in range(40)]


@pytest.fixture(scope="module")
def scanned() -> list[Page]:
    return [make_page(5, index, long_side=512, scan=1.0) for index in range(40)]


@pytest.fixture(scope="module")
def layouts() -> list[set[str]]:
    """The classes on each of 200 pages, which need no raster."""
    register_fonts()
    sheets = (lay_out(np.random.default_rng([7, index])) for index in range(200))
    return [{mark.name for mark in sheet.marks} for sheet in sheets]


def commonest(pixels: np.ndarray) -> np.ndarray:
    """The colour of most pixels."""
    packed, counts = np.unique(pixels @ (65536, 256, 1), return_counts=True)
    return np.array([packed[counts.argmax()] >> shift & 255 for shift in (16, 8, 0)])


def test_same_seed_and_index_give_the_same_page():
    one, two = (make_page(3, 4, long_side=512, scan=1.0) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert (one.regions, one.quality) == (two.regions, two.quality)


def test_other_seed_or_index_gives_another_page():
    pages = {
        make_page(s, i, long_side=256, scan=0.0).image.tobytes()
        for s in (1, 2, 3)
        for i in range(4)
    }
    assert len(pages) == 12


def test_scan_argument_leaves_layout_and_classes_alone(clean, scanned):
    names = [[r.name for r in page.regions] for page in clean]
    # A region of a pixel or two may vanish at half the resolution, nothing else may differ.
    same = sum([r.name for r in page.regions] == n for page, n in zip(scanned, names, strict=True))
    assert same >= 39


@pytest.mark.parametrize("long_side", [64, 384, 1000])
def test_longer_side_is_exact(long_side):
    for index in range(4):
        assert max(make_page(2, index, long_side=long_side, scan=0.5).image.size) == long_side


def test_boxes_lie_inside_the_page_and_are_not_degenerate(clean, scanned):
    for page in clean + scanned:
        for region in page.regions:
            x0, y0, x1, y1 = region.box
            assert 0 <= x0 < x0 + 2 <= x1 <= page.image.width
            assert 0 <= y0 < y0 + 2 <= y1 <= page.image.height
            assert region.name in CLASSES_11
            assert (region.group is not None) == (region.name == "List-item")


def test_regions_of_clean_pages_hardly_overlap(clean):
    views = [page.regions for page in clean] + [five_classes(page.regions) for page in clean]
    for regions in views:
        boxes = np.array([r.box for r in regions]).reshape(-1, 4)
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=2)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        np.fill_diagonal(shared, 0)
        assert (shared <= 0.06 * np.minimum(area[:, None], area[None])).all()


def test_text_boxes_touch_the_ink_and_leave_none_outside(clean):
    tested = 0
    for page in clean:
        pixels = np.asarray(page.image).astype(int)
        for region in page.regions:
            x0, y0, x1, y1 = (int(v) for v in region.box)
            if region.name in ("Picture", "Table") or min(x0, y0) < 1:
                continue
            inside = pixels[y0:y1, x0:x1]
            ground = commonest(inside)
            ink = (np.abs(inside - ground) > 20).any(axis=2)
            assert ink[0].any() and ink[-1].any() and ink[:, 0].any() and ink[:, -1].any()
            rim = (
                pixels[y0:y1, x0 - 1],
                pixels[y0:y1, x1],
                pixels[y0 - 1, x0:x1],
                pixels[y1, x0:x1],
            )
            for side in rim:
                assert (np.abs(side - ground) < 30).all(), region
            tested += 1
    assert tested > 300


def test_outline_follows_the_ink_and_a_turn_keeps_it_tight():
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[100:104, 50:250] = 0
    mark = Mark("Text", (40.0, 80.0, 260.0, 120.0), WHITE)
    points = outline(pixels, mark, np.ones(2))
    assert points.min(axis=0).tolist() == [50, 100] and points.max(axis=0).tolist() == [250, 104]
    skew = Skew(3.0, 300, 200)
    turned = np.argwhere(skew.image(pixels, fill=(255, 255, 255))[..., 0] < 128)[:, ::-1]
    box = skew.points(points)
    assert np.abs(box.min(axis=0) - turned.min(axis=0)).max() < 1.5
    assert np.abs(box.max(axis=0) - turned.max(axis=0) - 1).max() < 1.5


def test_outline_of_nothing_is_empty():
    pixels = np.full((20, 20, 3), 255, np.uint8)
    assert outline(pixels, Mark("Text", (2.0, 2.0, 18.0, 18.0), WHITE), np.ones(2)).shape == (0, 2)


def test_classes_are_balanced_and_blank_pages_rare(layouts):
    for name in CLASSES_11:
        assert sum(name in marks for marks in layouts) >= 0.1 * len(layouts), name
    assert 1 <= sum(not marks for marks in layouts) <= 0.03 * len(layouts)


def test_five_classes_by_hand():
    regions = (
        Region("Page-header", (0, 0, 9, 2)),
        Region("Title", (0, 3, 9, 5)),
        Region("List-item", (1, 6, 5, 7), 1),
        Region("List-item", (1, 8, 9, 9), 1),
        Region("Formula", (2, 10, 6, 12)),
        Region("List-item", (0, 13, 3, 14), 2),
        Region("Picture", (0, 15, 9, 20)),
    )
    assert five_classes(regions) == (
        Region("title", (0, 3, 9, 5)),
        Region("list", (1, 6, 9, 9), 1),
        Region("text", (2, 10, 6, 12)),
        Region("list", (0, 13, 3, 14), 2),
        Region("figure", (0, 15, 9, 20)),
    )
    assert five_classes(()) == ()


def test_five_classes_cover_what_eleven_do(clean):
    for page in clean:
        five = five_classes(page.regions)
        kept = [r for r in page.regions if not r.name.startswith("Page-") and r.name != "List-item"]
        groups = {r.group for r in page.regions if r.name == "List-item"}
        assert len(five) == len(kept) + len(groups)
        assert {r.name for r in five} <= set(CLASSES_5)


def test_lines_fit_the_width_and_lose_no_word():
    words = in_font(("some words of various lengths " * 12).split(), "Times-Roman")
    lines = break_lines(words, type_=Type("Times-Roman", 10, 12, indent=15), width=120)
    assert [w for line in lines for w in line.words] == words
    assert all(line.width <= 120 - line.shift for line in lines)
    assert [line.shift for line in lines] == [15] + [0] * (len(lines) - 1)
    assert [line.last for line in lines] == [False] * (len(lines) - 1) + [True]


def test_more_than_three_pages_a_second():
    make_page(4, 0, long_side=1024, scan=0.3)
    begin = time.process_time()
    for index in range(10):
        make_page(4, index, long_side=1024, scan=0.3)
    assert 10 / (time.process_time() - begin) > 3
