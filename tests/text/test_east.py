"""EAST: encoding and decoding are inverse, merging, suppression, scores."""

import numpy as np
import pytest

from graphkd.modeling.maps.labels import EASTLabels
from graphkd.text.east import (
    QUAD_REACH,
    RBOX_REACH,
    EASTDecoder,
    iou,
    locality_nms,
)
from tests.text.test_polygons import overlap, rectangle

SIZE = (256, 512)


def logit(share):
    return np.log(share / (1 - share))


def perfect(polygons, geometry, size=SIZE):
    """Raw maps that say exactly what the labels say."""
    labels = EASTLabels(geometry, 4.0)(polygons, np.zeros(len(polygons), bool), *size, 0.0)
    text = labels["text"][:, ::4, ::4]
    raw = labels["geometry"].astype(np.float64)
    if geometry == "rbox":
        shares = np.concatenate([raw[:4] / RBOX_REACH, raw[4:5] / (np.pi / 2) + 0.5])
    else:
        shares = raw[:8] / (2 * QUAD_REACH) + 0.5
    return {"text": np.where(text, 6.0, -6.0), "geometry": logit(np.clip(shares, 1e-9, 1 - 1e-9))}


@pytest.mark.parametrize("geometry", ["rbox", "quad"])
@pytest.mark.parametrize("degrees", [0, 10, -10, 30, -30, 44.9, -44.9])
def test_boxes_come_back_exactly(degrees, geometry):
    truth = rectangle(200, 40, degrees, (256, 128))
    polygons, scores = EASTDecoder(geometry)(perfect([truth], geometry), size=SIZE, original=SIZE)
    assert len(polygons) == 1 and scores[0] > 0.2
    assert overlap(truth, polygons[0]) > 0.995


def test_a_quad_keeps_its_shape_and_a_tall_text_stands():
    quad = np.array([[60, 60], [300, 80], [290, 160], [70, 120]], float)
    (found,), _ = EASTDecoder("quad")(perfect([quad], "quad"), size=SIZE, original=SIZE)
    assert overlap(quad, found) > 0.995
    tall = rectangle(30, 180, 5, (100, 120))
    (found,), _ = EASTDecoder()(perfect([tall], "rbox"), size=SIZE, original=SIZE)
    assert overlap(tall, found) > 0.99


def test_polygons_are_their_rectangles_in_pixels_of_the_original():
    x = np.linspace(50, 350, 7)
    bent = np.concatenate([np.stack([x, 90 + 0 * x], 1), np.stack([x, 130 + 0 * x], 1)[::-1]])
    (found,), _ = EASTDecoder()(perfect([bent], "rbox"), size=SIZE, original=(512, 512))
    assert overlap(bent * (1, 2), found) > 0.99


def test_separate_boxes_pass_as_in_plain_suppression():
    boxes = np.stack([rectangle(40, 10, 5, (30 + 60 * i, 40)) for i in range(5)])
    scores = np.array([0.9, 0.95, 0.85, 0.99, 0.91])
    found, kept = locality_nms(boxes, scores, 0.2)
    order = np.argsort(-scores)
    assert np.allclose(found, boxes[order]) and np.allclose(kept, scores[order])


def test_neighbours_merge_by_score_and_lower_ones_are_dropped():
    one, other = rectangle(40, 10, 0, (50, 50)), rectangle(40, 10, 0, (54, 50))
    far, twin = rectangle(40, 10, 0, (200, 50)), rectangle(40, 10, 0, (51, 50))
    found, scores = locality_nms(
        np.stack([one, other, far, twin]), np.array([0.9, 0.3, 0.8, 0.5]), 0.2
    )
    assert np.allclose(found[0], (one * 0.9 + other * 0.3) / 1.2) and scores[0] == pytest.approx(
        1.2
    )
    assert len(found) == 2 and np.allclose(found[1], far)
    assert len(locality_nms(np.zeros((0, 4, 2)), np.zeros(0), 0.2)[0]) == 0


def test_two_lines_stay_apart_and_thresholds_hold():
    lines = [rectangle(300, 30, 0, (256, 60)), rectangle(300, 30, 0, (256, 120))]
    maps = perfect(lines, "rbox")
    polygons, scores = EASTDecoder()(maps, size=SIZE, original=SIZE)
    assert len(polygons) == 2 and (scores <= 1).all()
    assert len(EASTDecoder(box_thresh=0.9)(maps, size=SIZE, original=SIZE)[0]) == 0
    maps["text"] = np.minimum(maps["text"], 1.0)  # probability 0.73
    assert len(EASTDecoder()(maps, size=SIZE, original=SIZE)[0]) == 0


def test_overlap_of_rectangles():
    one = rectangle(10, 10)
    assert iou(one, one + (5, 0)) == pytest.approx(1 / 3)
    assert iou(one, one + (20, 0)) == 0 and iou(one, one) == pytest.approx(1)
    assert iou(one, one * 0) == 0
