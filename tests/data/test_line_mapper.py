"""Mapping pages of text lines: geometry in one matrix, crops, test sizes, augmentation."""

import cv2
import numpy as np
import pytest
from detectron2.config import get_cfg

from graphkd.data.line_mapper import LineMapper, add_line_config, warp
from graphkd.errors import UserError
from graphkd.robustness.geometry import Projection
from graphkd.text.pages import input_size
from tests.data.line_sets import drawn_page


def config(**options):
    cfg = get_cfg()
    add_line_config(cfg)
    cfg.INPUT.LINES.update({"RESIZE": "as_is", "CROP": 320, "FLIP": 0.5, **options})
    return cfg


def overlap(polygon, mask):
    drawn = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(drawn, [np.round(polygon - 0.5).astype(np.int32)], 1)
    both = (drawn & mask).sum()
    return both / (drawn.sum() + mask.sum() - both)


@pytest.mark.parametrize("seed", range(12))
def test_page_and_polygons_move_together(tmp_path, seed):
    page = drawn_page(tmp_path / "a.png", size=(300, 200), boxes=[(60, 60, 240, 140)])
    mapper = LineMapper(
        config(SCALE=[0.6, 1.5], ROTATION=30.0, PERSPECTIVE=0.2, CROP=512), is_train=True
    )
    np.random.seed(seed)
    item = mapper(page)
    (polygon,) = item["polygons"]
    mask = (item["image"].numpy().max(0) < 128).astype(np.uint8)
    assert overlap(polygon, mask) > 0.96
    x, y = polygon.T.astype(float)
    assert x @ np.roll(y, -1) - y @ np.roll(x, -1) > 0  # clockwise, mirrored or not
    moved = Projection(item["matrix"], (0, 0)).points(np.array(page["lines"][0]["polygon"], float))
    assert sorted(map(tuple, moved.round(3))) == sorted(map(tuple, polygon.astype(float).round(3)))
    box = item["instances"].gt_boxes.tensor.numpy()
    assert box[0] == pytest.approx([*polygon.min(0), *polygon.max(0)])


def test_the_same_draw_gives_the_same_item_and_another_one_does_not(tmp_path):
    page = drawn_page(tmp_path / "a.png")
    mapper = LineMapper(config(COLOR=0.3, DEGRADE=1.0), is_train=True)
    items = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        items.append(mapper(page, 0.25))
    assert (items[0]["image"] == items[1]["image"]).all()
    assert items[0]["image"].shape == items[2]["image"].shape == (3, 320, 320)
    assert not (items[0]["image"] == items[2]["image"]).all()
    assert items[0]["progress"] == 0.25


@pytest.mark.parametrize("seed", range(20))
def test_a_crop_cuts_no_kept_text(tmp_path, seed):
    boxes = [(x, y, x + 60, y + 20) for x in range(10, 900, 90) for y in range(10, 600, 60)]
    page = drawn_page(tmp_path / "a.png", size=(1000, 640), boxes=boxes)
    np.random.seed(seed)
    item = LineMapper(config(SCALE=[1, 1], ROTATION=0.0), is_train=True)(page)
    kept = [p for p, flag in zip(item["polygons"], item["ignore"], strict=True) if not flag]
    assert kept
    for polygon in kept:
        assert np.ptp(polygon, axis=0) == pytest.approx([60, 20], abs=1e-3)
    for polygon in item["polygons"]:
        assert polygon.min() >= 0 and polygon.max() <= 320


def test_lines_longer_than_the_crop_train_only_with_keep_cut(tmp_path):
    page = drawn_page(tmp_path / "a.png", size=(1000, 400), boxes=[(20, 100, 980, 120)])
    plain = {"SCALE": [1, 1], "ROTATION": 0.0}
    np.random.seed(0)
    item = LineMapper(config(**plain), is_train=True)(page)
    assert item["ignore"].tolist() == [True] and len(item["instances"]) == 0
    item = LineMapper(config(**plain, KEEP_CUT=True), is_train=True)(page)
    assert item["ignore"].tolist() == [False]
    (polygon,) = item["polygons"]
    assert np.ptp(polygon[:, 1]) == pytest.approx(20, abs=1e-3) and np.ptp(polygon[:, 0]) <= 320


def test_a_line_cut_through_its_height_is_ignored(tmp_path):
    boxes = [(20, y, 980, y + 200) for y in (0, 200, 400)]  # taller than what fits between crops
    page = drawn_page(tmp_path / "a.png", size=(1000, 600), boxes=boxes)
    options = config(SCALE=[1, 1], ROTATION=0.0, KEEP_CUT=True, CROP=256)
    for seed in range(5):
        np.random.seed(seed)
        item = LineMapper(options, is_train=True)(page)
        for polygon, flag in zip(item["polygons"], item["ignore"], strict=True):
            assert flag == (np.ptp(polygon[:, 1]) < 0.8 * 200)


def test_pages_without_text_and_background_crops_train(tmp_path):
    page = drawn_page(tmp_path / "a.png", boxes=[])
    item = LineMapper(config(), is_train=True)(page)
    assert item["polygons"] == () and item["ignore"].shape == (0,)
    assert item["image"].shape == (3, 320, 320) and len(item["instances"]) == 0
    page = drawn_page(tmp_path / "b.png", size=(2000, 320), boxes=[(10, 10, 60, 30)])
    crops = config(BACKGROUND=1.0, SCALE=[1, 1], ROTATION=0.0, CROP_TRIES=30)
    assert LineMapper(crops, is_train=True)(page)["polygons"] == ()


def test_a_small_page_is_padded_with_its_own_paper(tmp_path):
    page = drawn_page(tmp_path / "a.png", size=(60, 40), boxes=[(10, 10, 50, 20)], paper=200)
    np.random.seed(1)
    item = LineMapper(config(SCALE=[1, 1], ROTATION=0.0, FLIP=0.0), is_train=True)(page)
    assert np.ptp(item["polygons"][0], axis=0) == pytest.approx([40, 10], abs=1e-3)
    assert set(np.unique(item["image"].numpy()[:, ::40, ::40])) <= {0, 200}
    assert (item["image"].numpy() == 200).mean() > 0.98


def test_scales_as_east_draws_them(tmp_path):
    page = drawn_page(tmp_path / "a.png")
    mapper = LineMapper(config(SCALES=[0.5, 1.0, 2.0], ROTATION=0.0), is_train=True)
    seen = set()
    for seed in range(20):
        np.random.seed(seed)
        seen.add(round(mapper(page)["scale"], 3))
    assert seen == {0.5, 1.0, 2.0}


def test_copied_texts_lie_where_no_text_was(tmp_path):
    page = drawn_page(tmp_path / "a.png", size=(300, 300), boxes=[(10, 10, 60, 30)], ignore=())
    options = config(SCALE=[1, 1], ROTATION=0.0, FLIP=0.0, COPIES=5)
    counts = []
    for seed in range(10):
        np.random.seed(seed)
        item = LineMapper(options, is_train=True)(page)
        mask = (item["image"].numpy().max(0) < 128).astype(np.uint8)
        counts.append(len(item["polygons"]))
        assert all(overlap(p, mask[: int(p[:, 1].max()) + 1]) > 0 for p in item["polygons"])
        assert mask.sum() == pytest.approx(counts[-1] * 50 * 20, rel=0.02)
        assert item["ignore"].tolist() == [False] * counts[-1]
    assert min(counts) < max(counts) <= 6
    ignored = drawn_page(tmp_path / "b.png", boxes=[(10, 10, 60, 30)], ignore=(0,))
    assert len(LineMapper(options, is_train=True)(ignored)["polygons"]) <= 1


@pytest.mark.parametrize(
    ("page", "resize", "size", "expected"),
    [
        ((720, 1280), "as_is", 0, (736, 1280)),  # ICDAR2015
        ((900, 1200), "short", 736, (736, 992)),
        ((3000, 2000), "long", 960, (960, 640)),
        ((10, 4000), "long", 960, (32, 960)),
    ],
)
def test_sizes_in_tests(page, resize, size, expected):
    assert input_size(*page, resize, size) == expected


def test_a_test_item_maps_back_to_the_page(tmp_path):
    page = drawn_page(tmp_path / "a.png", size=(300, 200), boxes=[(60, 60, 160, 90)])
    item = LineMapper(config(RESIZE="long", SIZE=640), is_train=False)(page)
    assert item["image"].shape == (3, 416, 640) and (item["height"], item["width"]) == (200, 300)
    back = item["polygons"][0] * (300 / 640, 200 / 416)
    assert back == pytest.approx(np.array(page["lines"][0]["polygon"]), abs=1e-3)
    assert "maps" not in item and "instances" not in item and "progress" not in item
    mask = (item["image"].numpy().max(0) < 128).astype(np.uint8)
    assert overlap(item["polygons"][0], mask) > 0.95


@pytest.mark.parametrize("option", [{"RESIZE": "wide"}, {"CROP": 100}, {"CROP": 0}])
def test_options_without_a_meaning_are_refused(option):
    with pytest.raises(UserError, match=f"INPUT.LINES.{next(iter(option))} is "):
        LineMapper(config(**option), is_train=True)


def test_label_maps_get_the_moved_polygons(tmp_path):
    page = drawn_page(tmp_path / "a.png")

    def maker(polygons, ignore, height, width, progress):
        drawn = np.zeros((height, width), np.float32)
        for polygon in polygons:
            cv2.fillPoly(drawn, [np.round(polygon).astype(np.int32)], progress)
        return {"text": drawn[None]}

    item = LineMapper(config(), is_train=True, label_maker=maker)(page, 0.5)
    assert item["maps"]["text"].shape == (1, 320, 320) and item["maps"]["text"].max() == 0.5


def test_a_map_moves_with_its_page():
    field = np.zeros((40, 60), np.float32)
    field[10:20, 10:20] = 1
    flip = np.array([[-1.0, 0, 60], [0, 1, 0], [0, 0, 1]])
    assert (warp(field, flip, (40, 60)) == field[:, ::-1]).all()
    assert warp(field, np.diag([2.0, 2, 1]), (80, 120))[20:40, 20:40].mean() > 0.95
    away = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    assert warp(np.ones((40, 60), np.float32), away, (40, 60)).max() == 0


def test_degraded_pages_keep_their_size_and_look_alike(tmp_path):
    page = drawn_page(tmp_path / "a.png")
    clean = LineMapper(config(SCALE=[1, 1], ROTATION=0.0, FLIP=0.0), is_train=True)
    worse = LineMapper(config(SCALE=[1, 1], ROTATION=0.0, FLIP=0.0, DEGRADE=1.0), is_train=True)
    differences = []
    for seed in range(15):
        images = []
        for mapper in (clean, worse):
            np.random.seed(seed)
            images.append(mapper(page)["image"].numpy().astype(float))
        differences.append(np.abs(images[0] - images[1]).mean())
    assert max(differences) < 60 and sum(d > 0.1 for d in differences) > 7
