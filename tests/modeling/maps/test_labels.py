"""Label maps of DB and EAST: shrunk regions, masks, thresholds, geometry, schedules."""

import numpy as np
import pytest
from scipy import ndimage

from graphkd.modeling.maps.labels import DBLabels, EASTLabels, label_maker, shrunk_quad
from tests.maps import map_cfg
from tests.text.test_polygons import rectangle

NONE, ONE = np.zeros(0, bool), np.zeros(1, bool)


def db(polygons, ignore=None, size=(120, 200), *, ratio=0.4, min_text=8.0, progress=0.0):
    ratios = ratio if isinstance(ratio, tuple) else (ratio, ratio)
    ignore = np.zeros(len(polygons), bool) if ignore is None else np.array(ignore)
    return DBLabels(ratios, min_text)(polygons, ignore, *size, progress)


def test_a_rectangle_shrinks_by_the_formula():
    box = rectangle(120, 40, 0, (100, 60))
    distance = 120 * 40 * (1 - 0.16) / 320
    text = db([box])["text"][0]
    assert text.sum() == pytest.approx((120 - 2 * distance) * (40 - 2 * distance), rel=0.08)
    rows, columns = np.nonzero(text)
    assert rows.mean() + 0.5 == pytest.approx(60) and columns.mean() + 0.5 == pytest.approx(100)


def test_a_dumbbell_keeps_both_pieces():
    dumbbell = np.array(
        [[10, 20], [60, 20], [60, 55], [140, 55], [140, 20], [190, 20]]
        + [[190, 100], [140, 100], [140, 65], [60, 65], [60, 100], [10, 100]],
        float,
    )
    text = db([dumbbell])["text"][0]
    assert ndimage.label(text)[1] == 2 and text[:, :100].sum() > 0 < text[:, 100:].sum()


def test_ignored_small_and_vanishing_texts_are_in_no_loss():
    lines = [rectangle(60, 20, 0, (50, y)) for y in (20, 60, 100)]
    maps = db(lines, [False, True, False])
    assert maps["text"][0, 50:70].sum() == maps["threshold_mask"][0, 45:75].sum() == 0
    assert (maps["mask"][0, 51:69, 21:79] == 0).all() and maps["mask"][0, :40].min() == 1
    # A slanted text is measured by its own rectangle, not by its upright box.
    slanted = rectangle(100, 6, 30, (100, 60))
    maps = db([slanted])
    assert maps["text"].sum() == 0 and maps["mask"].sum() < 120 * 200 - 400
    assert db([slanted], min_text=5.0)["mask"].min() == 1


def test_thresholds_fall_from_the_border_by_exact_distances():
    box = rectangle(100, 40, 0, (100, 60))
    distance = 100 * 40 * (1 - 0.16) / 280
    maps = db([box])
    threshold, inside = maps["threshold"][0], maps["threshold_mask"][0]
    assert threshold.min() == pytest.approx(0.3) and threshold.max() == pytest.approx(0.7, abs=0.02)
    for y in range(25, 60):
        away = abs(y + 0.5 - 40)
        expected = 0.3 + 0.4 * max(0, 1 - away / distance)
        assert threshold[y, 100] == pytest.approx(expected, abs=1e-4)
        assert inside[y, 100] == (away < distance or y > 40)
    # Beyond a corner the distance is that to the corner.
    away = np.hypot(150 - 153.5, 40 - 36.5)
    assert threshold[36, 153] == pytest.approx(0.3 + 0.4 * (1 - away / distance), abs=1e-4)


def test_touching_texts_take_the_higher_threshold():
    above, below = rectangle(100, 30, 0, (100, 40)), rectangle(100, 30, 0, (100, 70))
    joined = db([above, below])["threshold"]
    apart = [db([each])["threshold"] for each in (above, below)]
    assert np.allclose(joined, np.maximum(*apart))
    assert ndimage.label(db([above, below])["text"][0])[1] == 2


def test_the_ratio_follows_the_training():
    box = [rectangle(100, 40, 0, (100, 60))]
    areas = [db(box, ratio=(0.4, 0.6), progress=p)["text"].sum() for p in (0.0, 0.5, 1.0)]
    assert areas[0] < areas[1] < areas[2]
    for progress, ratio in ((0.0, 0.4), (0.5, 0.5), (1.0, 0.6)):
        fixed = db(box, ratio=ratio)["text"]
        assert (fixed == db(box, ratio=(0.4, 0.6), progress=progress)["text"]).all()


@pytest.mark.parametrize("kind", ["DB", "EAST"])
def test_odd_polygons_and_empty_pages(kind):
    draw = label_maker(map_cfg(kind))
    maps = draw([], NONE, 64, 96, 0.5)
    assert maps["text"].shape == maps["mask"].shape == (1, 64, 96)
    assert maps["text"].max() == 0 and maps["mask"].min() == 1
    odd = {
        "crossing": [[10, 10], [60, 50], [60, 10], [10, 50]],
        "three points": [[10, 10], [70, 10], [40, 50]],
        "one pixel": [[5, 5], [6, 5], [6, 6], [5, 6]],
        "over the border": [[-20, 20], [120, 20], [120, 50], [-20, 50]],
        "long": [[0, 30], [96, 30], [96, 31.2], [0, 31.2]],
        "a line": [[5, 5], [60, 5], [30, 5], [20, 5]],
    }
    for name, points in odd.items():
        maps = draw([np.array(points, np.float32)], ONE, 64, 96, 0.0)
        assert all(np.isfinite(each).all() for each in maps.values()), name
        assert maps["text"].shape == (1, 64, 96)
        if name in ("one pixel", "long", "a line"):
            assert maps["text"].sum() == 0


def test_models_without_maps_have_no_labels():
    assert label_maker(map_cfg("GFL")) is None


def test_east_shrinks_edges_and_masks_small_texts():
    box = rectangle(100, 40, 0, (100, 60))
    inner = shrunk_quad(box)
    assert np.allclose(inner.min(0), (62, 52)) and np.allclose(inner.max(0), (138, 68))
    draw = EASTLabels("rbox", 10.0)
    maps = draw([box, rectangle(60, 8, 0, (40, 15))], np.zeros(2, bool), 120, 200, 0.0)
    assert maps["text"][0].sum() == pytest.approx(76 * 16, rel=0.05)
    assert maps["mask"][0, 11:19, 10:70].max() == 0 and maps["mask"][0, 30:].min() == 1
    top, right, bottom, left, angle = maps["geometry"][:, 15, 25]  # the point (100, 60)
    assert np.allclose([top, right, bottom, left, angle], [20, 50, 20, 50, 0], atol=1e-3)
