"""VOC average precision against hand cases."""

import numpy as np
import pytest

from graphkd.evaluation.coco import Found, evaluate, ground_truth
from graphkd.evaluation.voc import THRESHOLDS, eleven_point_ap, has_difficult, voc_ap

# The ten values that LD's repository prints for R101 -> R18 on VOC 2007 test.
PUBLISHED = (0.7594, 0.7445, 0.7242, 0.6936, 0.6398, 0.5763, 0.4891, 0.3786, 0.2265, 0.0688)


def truth(*objects):
    """Objects (image, class, box, difficult)."""
    return {
        "images": [{"id": number} for number in (1, 2)],
        "categories": [{"id": number, "name": f"class {number}"} for number in (1, 2, 3)],
        "annotations": [
            {"image_id": image, "category_id": kind, "bbox": box, "difficult": hard}
            for image, kind, box, hard in objects
        ],
    }


def results(*found):
    return [
        {"image_id": image, "category_id": kind, "bbox": box, "score": score}
        for image, kind, box, score in found
    ]


def test_mean_of_the_published_values():
    assert len(THRESHOLDS) == len(PUBLISHED)
    assert np.mean(PUBLISHED) == pytest.approx(0.5301, abs=5e-5)


def test_eleven_points_by_hand():
    # Precision 1 up to a recall of 1/3, 3/4 up to 1 (after a wrong one): 4 and 7 of 11 points.
    assert eleven_point_ap(np.array([True, False, True, True]), 3) == pytest.approx(
        (4 * 1 + 7 * 0.75) / 11
    )
    # 3 of 10 found: the recall of 0.3 is reached.
    assert eleven_point_ap(np.array([True] * 3), 10) == pytest.approx(4 / 11)
    assert eleven_point_ap(np.zeros(0, bool), 2) == 0
    assert eleven_point_ap(np.array([False]), 2) == 0


def test_thresholds_and_the_mean_over_classes():
    given = truth((1, 1, [0, 0, 10, 10], 0), (1, 2, [50, 50, 10, 10], 0))
    # IoU 0.72 for class 1; class 2 is missed; class 3 has no object, so it does not count.
    found = voc_ap(given, results((1, 1, [0, 0, 10, 7.2], 0.9), (1, 3, [0, 0, 5, 5], 0.8)))
    assert found["VOC_AP_by_IoU"] == [pytest.approx(50.0)] * 5 + [0.0] * 5
    assert found["VOC_AP"] == pytest.approx(25)
    assert (found["VOC_AP50"], found["VOC_AP75"]) == (pytest.approx(50), 0.0)
    assert found["VOC_objects"] == 2


def test_difficult_objects_neither_count_nor_punish():
    given = truth((1, 1, [0, 0, 10, 10], 0), (1, 1, [50, 50, 10, 10], 1))
    both = results((1, 1, [50, 50, 10, 10], 0.95), (1, 1, [0, 0, 10, 10], 0.9))
    assert voc_ap(given, both)["VOC_AP"] == pytest.approx(100)
    assert voc_ap(given, both[1:])["VOC_AP"] == pytest.approx(100)
    assert voc_ap(given, both)["VOC_objects"] == 1
    # Twice on a difficult object is still no mistake, on an ordinary one it is.
    assert voc_ap(given, [both[0], *both])["VOC_AP"] == pytest.approx(100)
    plain = truth((1, 1, [0, 0, 10, 10], 0), (2, 1, [0, 0, 10, 10], 0))
    twice = results(
        (1, 1, [0, 0, 10, 10], 0.9), (1, 1, [0, 0, 10, 10], 0.8), (2, 1, [0, 0, 10, 10], 0.7)
    )
    assert voc_ap(plain, twice)["VOC_AP"] == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)


def test_a_prediction_goes_to_the_object_it_overlaps_most():
    """Not to the next one where that is taken already, unlike COCO's matching."""
    given = truth((1, 1, [0, 0, 10, 10], 0), (1, 1, [0, 2, 10, 10], 0))
    found = voc_ap(given, results((1, 1, [0, 0, 10, 10], 0.9), (1, 1, [0, 0.5, 10, 10], 0.8)))
    assert found["VOC_AP50"] == pytest.approx(100 * 6 / 11)


def test_other_images_do_not_match():
    given = truth((1, 1, [0, 0, 10, 10], 0))
    assert voc_ap(given, results((2, 1, [0, 0, 10, 10], 0.9)))["VOC_AP"] == 0


@pytest.mark.parametrize("inclusive, wanted", [(True, 100), (False, 0)])
def test_an_overlap_equal_to_the_threshold(inclusive, wanted):
    given = truth((1, 1, [0, 0, 10, 10], 0))
    found = voc_ap(given, results((1, 1, [0, 0, 10, 5], 0.9)), inclusive=inclusive)
    assert found["VOC_AP50"] == pytest.approx(wanted)


def test_boxes_that_own_their_last_pixel():
    given = truth((1, 1, [0, 0, 9, 9], 0))
    found = results((1, 1, [0, 0, 9, 4], 0.9))
    assert voc_ap(given, found)["VOC_AP50"] == 0
    assert voc_ap(given, found, extra_pixel=1.0)["VOC_AP50"] == pytest.approx(100)


def test_nothing_to_find():
    found = voc_ap(truth(), [])
    assert found["VOC_AP"] is None and found["VOC_AP50"] is None and found["VOC_objects"] == 0


def test_which_data_sets_have_difficult_objects():
    assert has_difficult(truth((1, 1, [0, 0, 1, 1], 0)))
    assert not has_difficult({"annotations": [{"bbox": [0, 0, 1, 1]}]})


def test_numbers_stand_beside_those_of_coco():
    given = truth((1, 1, [0, 0, 10, 10], 0), (2, 1, [0, 0, 10, 10], 1))
    rows = results((1, 1, [0, 0, 10, 10], 0.9))
    found = Found(given, rows, {f"class {n}": n for n in (1, 2, 3)}, pages=2, seconds=1.0)
    numbers = evaluate(found, voc={"inclusive": True, "extra_pixel": 0.0})
    assert numbers["VOC_AP"] == pytest.approx(100)
    # COCO knows no difficult objects: one of two was found.
    assert numbers["AR100"] == pytest.approx(50)
    assert not any(name.startswith("VOC") for name in evaluate(found))


def test_own_loaders_keep_the_mark():
    marked = {"bbox": [0, 0, 4, 4], "bbox_mode": 1, "category_id": 0, "difficult": 1}
    page = {"image_id": 1, "height": 9, "width": 9, "annotations": [marked]}
    assert ground_truth([page], ["a"])["annotations"][0]["difficult"] == 1
