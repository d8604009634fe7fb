import numpy as np
import pytest

from graphkd.errors import UserError
from graphkd.export.box_parity import BoxLimits, compare, match
from graphkd.export.pages import Pages
from graphkd.predict.detector import Detections, Prepared

LIMITS = BoxLimits(ap=0.1, box=0.001, unmatched=0.02)
BOXES = [[10.0, 10, 50, 30], [10.0, 60, 90, 90]]
TRUTH = tuple(
    {
        "image_id": number,
        "height": 100,
        "width": 100,
        "annotations": [
            {"bbox": box, "bbox_mode": 0, "category_id": label} for label, box in enumerate(BOXES)
        ],
    }
    for number in range(2)
)


def found(boxes=BOXES, scores=(0.9, 0.8), classes=(0, 1)):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes)
    )


class Fixed:
    """A detector that finds the same on every page, and perhaps something else in a batch."""

    name, thresholds, card, floor, classes = "fixed", {}, {}, 0.05, ("a", "b")

    def __init__(self, alone, in_batch=None):
        self.alone, self.in_batch = alone, in_batch or alone

    def prepare(self, pixels):
        return Prepared(pixels.shape, pixels)

    def detect(self, batch):
        return [self.alone if len(batch) == 1 else self.in_batch] * len(batch)


def pages(truth=TRUTH):
    blank = np.zeros((100, 100, 3), np.uint8)
    return Pages("two pages", truth, (lambda: blank, lambda: blank))


def parity(exported, truth=TRUTH, in_batch=None):
    return compare(Fixed(found()), Fixed(exported, in_batch), pages(truth), progress=False)


def test_equal_detectors_have_no_faults():
    same = parity(found())
    assert same.detections == same.matched == 4
    assert same.ap_difference == 0 and same.ap_trained == pytest.approx(100, abs=0.1)
    assert same.box_error_max == same.unmatched_share == same.score_error_max == 0
    assert same.faults(LIMITS) == ()


def test_moved_boxes_are_measured_in_pixels():
    moved = np.array(BOXES)
    moved[0, 2] += 3
    moved[1] += 1
    measured = parity(found(moved))
    assert measured.box_error_median == 2 and measured.box_error_max == 3
    assert measured.box_error_share == pytest.approx(0.02)
    assert any("2.00 px" in fault for fault in measured.faults(LIMITS))


def test_lost_and_invented_detections_count():
    lost = parity(found(BOXES[:1], (0.9,), (0,)))
    assert lost.unmatched_share == pytest.approx(2 / 6)
    assert len(lost.faults(LIMITS)) == 2  # AP, and no partner
    weak = parity(found([*BOXES, [0, 0, 9, 9]], (0.9, 0.8, 0.1), (0, 1, 1)))
    assert weak.unmatched_share == pytest.approx(2 / 10) and weak.unmatched_share_confident == 0


def test_another_class_is_no_partner():
    swapped = parity(found(classes=(1, 0)))
    assert swapped.matched == 0 and swapped.unmatched_share == 1
    assert swapped.faults(LIMITS)


def test_without_truth_there_is_no_ap():
    blind = parity(found(), truth=None)
    assert blind.ap_trained is None and blind.ap_difference is None
    assert blind.faults(LIMITS) == ()


def test_a_batch_that_changes_the_result_is_refused():
    with pytest.raises(UserError, match="in a batch than alone"):
        parity(found(), in_batch=found(BOXES[:1], (0.9,), (0,)))


def test_nothing_found_is_nothing_compared():
    nothing = Fixed(found([], (), ()))
    with pytest.raises(UserError, match="use --pages"):
        compare(nothing, nothing, pages(), progress=False)


def test_pairs_have_the_greatest_overlap():
    wanted = found([[0, 0, 10, 10], [2, 0, 12, 10]], (0.9, 0.8), (0, 0))
    given = found([[2, 0, 12, 10], [0, 0, 10, 10]], (0.9, 0.8), (0, 0))
    left, right = match(wanted, given)
    assert dict(zip(left.tolist(), right.tolist(), strict=True)) == {0: 1, 1: 0}
