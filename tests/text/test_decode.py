"""From drawn maps to polygons: boxes, polygons, scores, sizes, odd maps."""

import cv2
import numpy as np
import pytest
import shapely

from graphkd.errors import UserError
from graphkd.modeling.maps.labels import DBLabels
from graphkd.text.decode import MapDecoder, decoder_for, shrink_ratios
from tests.maps import map_cfg
from tests.text.test_polygons import overlap, rectangle

SIZE = (300, 900)


def drawn(polygons, ratio=0.6, size=SIZE):
    """A perfect map of polygons, as logits."""
    ignore = np.zeros(len(polygons), bool)
    text = DBLabels((ratio, ratio), 1.0)(polygons, ignore, *size, 0.0)["text"]
    return {"text": np.where(text, 4.0, -4.0).astype(np.float32)}


def decode(maps, size=SIZE, original=None, **options):
    return MapDecoder(**options)(maps, size=size, original=original or size)


@pytest.mark.parametrize("degrees", [0, 3, -12])
@pytest.mark.parametrize("aspect", [1, 3, 10])
def test_a_drawn_line_comes_back(aspect, degrees):
    truth = rectangle(64 * aspect, 64, degrees, (450, 150))
    for shape in ("box", "polygon"):
        (found,), scores = decode(drawn([truth]), shape=shape)
        assert overlap(truth, found) > (0.95 if shape == "box" else 0.93)
        assert scores[0] > 0.9
    # The published rule loses the same long line.
    (found,), _ = decode(drawn([truth], 0.4), shrink_ratio=0.4, unclip="ratio")
    assert aspect < 10 or overlap(truth, found) < 0.62


def test_coordinates_are_those_of_the_original_page_and_clipped_to_it():
    truth = rectangle(400, 40, 0, (200, 50))  # starts at the border
    maps = drawn([truth])
    padded = {"text": np.pad(maps["text"], ((0, 0), (0, 20), (0, 28)), constant_values=5.0)}
    (found,), _ = decode(padded, original=(600, 450))
    expected = truth * (0.5, 2.0)
    assert overlap(np.clip(expected, 0, [450, 600]), found) > 0.93
    assert found.min() >= 0 and (found <= (450, 600)).all()


def test_thresholds_and_sizes_drop_what_they_say():
    lines = [rectangle(300, 40, 0, (200, 60)), rectangle(300, 8, 0, (200, 200))]
    maps = drawn(lines)
    assert len(decode(maps, min_before=1.0, min_after=2.0)[0]) == 2
    assert len(decode(maps, min_before=6.0)[0]) == 1
    assert len(decode(maps, min_before=1.0, min_after=12.0)[0]) == 1
    assert len(decode(maps, box_thresh=0.99)[0]) == 0
    assert len(decode(maps, min_before=1.0, min_after=2.0, candidates=1)[0]) == 1
    maps["text"][:, 100:] = np.where(maps["text"][:, 100:] > 0, -0.3, -4)  # probability 0.43
    assert len(decode(maps, min_before=1.0, min_after=2.0, box_thresh=0.3)[0]) == 2
    assert len(decode(maps, min_before=1.0, min_after=2.0, box_thresh=0.6)[0]) == 1


def test_slow_scores_follow_the_contour():
    bent = np.array([[100, 100], [400, 40], [700, 100], [700, 160], [400, 100], [100, 160]], float)
    maps = drawn([bent])
    fast, slow = (decode(maps, score=score, box_thresh=0.1)[1] for score in ("fast", "slow"))
    assert slow[0] > 0.9 > fast[0]


def test_a_curved_line_needs_a_polygon():
    x = np.linspace(100, 700, 13)
    y = 200 - 110 * np.sin((x - 100) / 600 * np.pi)
    bent = np.concatenate([np.stack([x, y - 25], 1), np.stack([x, y + 25], 1)[::-1]])
    maps = drawn([bent])
    (polygon,), _ = decode(maps, shape="polygon")
    (box,), _ = decode(maps, score="slow")
    assert overlap(bent, polygon) > 0.85 > 0.6 > overlap(bent, box)
    assert shapely.Polygon(polygon).is_valid


@pytest.mark.parametrize("value", [-9.0, 9.0, 0.0, np.nan])
@pytest.mark.parametrize("shape", ["box", "polygon"])
def test_constant_maps_and_noise_do_not_crash(value, shape):
    maps = {"text": np.full((1, 64, 96), value, np.float32)}
    polygons, scores = decode(maps, size=(64, 96), shape=shape)
    assert len(polygons) == len(scores) <= 1
    noise = np.random.default_rng(0).normal(0, 3, (1, 128, 128)).astype(np.float32)
    noise = cv2.GaussianBlur(noise[0], (0, 0), 2)[None] * 8
    polygons, scores = decode({"text": noise}, size=(128, 128), shape=shape, box_thresh=0.3)
    assert len(polygons) == len(scores) > 0 and np.isfinite(np.concatenate(polygons)).all()


def test_regions_are_grown_as_if_decoded_at_once():
    maps = drawn([rectangle(300, 40, 2, (200, 60)), rectangle(500, 30, 0, (400, 200))])
    decoder = MapDecoder(unclip_scale=1.2)
    regions = MapDecoder().regions(maps["text"][0], SIZE)
    one, _ = decoder.grow(regions, size=SIZE, original=SIZE)
    other, _ = decoder(maps, size=SIZE, original=SIZE)
    assert np.allclose(one, other)


def test_a_config_gives_its_decoder():
    decoder = decoder_for(map_cfg("DB", "TEST.TEXT.THRESH", "0.2", "TEST.TEXT.UNCLIP", "ratio"))
    assert (decoder.thresh, decoder.unclip, decoder.shrink_ratio) == (0.2, "ratio", 0.6)
    cfg = map_cfg("DB", "MODEL.DB.SHRINK_RATIO", "[0.4, 0.6]")
    assert shrink_ratios(cfg) == (0.4, 0.6) and decoder_for(cfg).shrink_ratio == 0.6
    assert shrink_ratios(map_cfg("DB", "MODEL.DB.SHRINK_RATIO", "[0.5]")) == (0.5, 0.5)
    east = decoder_for(map_cfg("EAST", "MODEL.EAST.GEOMETRY", "quad", "TEST.TEXT.EAST_NMS", "0.3"))
    assert (east.geometry, east.nms) == ("quad", 0.3)
    for value in ("[0.0]", "[]", "[0.4, 0.5, 0.6]"):
        with pytest.raises(UserError, match="SHRINK_RATIO"):
            decoder_for(map_cfg("DB", "MODEL.DB.SHRINK_RATIO", value))


def test_the_fitted_factor_is_for_exact_unclipping_alone():
    maps = drawn([rectangle(300, 40, 0, (200, 60))])
    for unclip, same in (("exact", False), ("ratio", True)):
        (one,), (other,) = (decode(maps, unclip=unclip, unclip_scale=s)[0] for s in (1.0, 0.5))
        assert np.allclose(one, other) == same
