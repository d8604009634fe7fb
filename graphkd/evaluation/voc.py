"""Average precision by the rules of Pascal VOC 2007, at the ten thresholds of COCO."""

from collections.abc import Mapping, Sequence

import numpy as np

from graphkd.evaluation.matching import box_iou

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.arange(11) / 10
# Recalls are compared with this slack, because 3 / 10 and 0.3 may differ by rounding.
SLACK = 1e-9


def has_difficult(truth: Mapping) -> bool:
    """Whether any annotation of a COCO json dict has the field `difficult`."""
    return any("difficult" in item for item in truth["annotations"])


def voc_ap(
    truth: Mapping, results: Sequence[Mapping], *, inclusive: bool = True, extra_pixel: float = 0.0
) -> dict:
    """VOC 2007 average precision of COCO results.

    Each prediction is assigned to the object of its class with the largest IoU. If several
    predictions reach the threshold with one object, the one with the highest score is right and the
    others are wrong. Difficult objects and crowds are not counted, and neither are predictions that
    are assigned to them.

    Source: Everingham et al., The Pascal Visual Object Classes Challenge, section 4.2. Thresholds
    above 0.5 are those of the repositories that report them. [memory: `inclusive`, `extra_pixel`]

    Args:
        truth: COCO json dict; a missing `difficult` is 0.
        results: COCO results with the category ids of `truth`.
        inclusive: whether an IoU equal to the threshold is enough.
        extra_pixel: added to width and height of boxes; 1 if the corner pixels belong to the box.

    Returns:
        `VOC_AP` (the mean over the ten thresholds), `VOC_AP50` and `VOC_AP75`, each the mean over
        classes in 0..100, None without objects; `VOC_AP_by_IoU`, the ten values; `VOC_objects`, the
        number of counted objects.
    """
    objects, found = _by_class(truth["annotations"]), _by_class(results)
    rows = []
    total = 0
    for category in truth["categories"]:
        own = objects.get(category["id"], [])
        count = sum(not _left_out(item) for item in own)
        total += count
        if count:
            rows.append(
                _class_ap(own, found.get(category["id"], []), count, inclusive, extra_pixel)
            )
    values = [100 * float(value) for value in np.mean(rows, 0)] if rows else [None] * 10
    return {
        "VOC_AP": float(np.mean(values)) if rows else None,
        "VOC_AP50": values[THRESHOLDS.index(0.5)],
        "VOC_AP75": values[THRESHOLDS.index(0.75)],
        "VOC_AP_by_IoU": values,
        "VOC_objects": total,
    }


def eleven_point_ap(right: np.ndarray, objects: int) -> float:
    """The mean of the highest precisions at recalls of at least 0, 0.1, ..., 1.

    Args:
        right: (n,) bool, whether each prediction is right, in order of falling score.
        objects: number of objects, above 0.

    Returns:
        0..1.
    """
    hits = np.cumsum(right)
    recall, precision = hits / objects, hits / np.arange(1, len(right) + 1)
    reached = recall >= RECALLS[:, None] - SLACK
    return float(np.where(reached, precision, 0.0).max(1, initial=0.0).mean())


def _class_ap(
    objects: Sequence[Mapping],
    found: Sequence[Mapping],
    count: int,
    inclusive: bool,
    extra_pixel: float,
) -> list[float]:
    """AP of one class at every threshold."""
    found = sorted(found, key=lambda item: -item["score"])
    places = _by_image(objects)
    best, chosen = np.zeros(len(found)), np.full(len(found), -1)
    for image, rows in _by_image(found).items():
        if image not in places:
            continue
        there = np.array(places[image])
        boxes = [
            _corners([items[i] for i in of], extra_pixel)
            for items, of in ((objects, there), (found, rows))
        ]
        overlap = box_iou(*boxes)
        best[rows], chosen[rows] = overlap.max(0), there[overlap.argmax(0)]
    left_out = np.array([_left_out(item) for item in objects])
    values = []
    for threshold in THRESHOLDS:
        hit = (chosen >= 0) & ((best >= threshold) if inclusive else (best > threshold))
        first = np.zeros(len(found), bool)
        first[np.flatnonzero(hit)[np.unique(chosen[hit], return_index=True)[1]]] = True
        counts = ~(hit & left_out[chosen])
        values.append(eleven_point_ap((hit & first)[counts], count))
    return values


def _left_out(item: Mapping) -> bool:
    return bool(item.get("difficult")) or bool(item.get("iscrowd"))


def _by_class(items: Sequence[Mapping]) -> dict:
    groups: dict = {}
    for item in items:
        groups.setdefault(item["category_id"], []).append(item)
    return groups


def _by_image(items: Sequence[Mapping]) -> dict[object, list[int]]:
    groups: dict = {}
    for place, item in enumerate(items):
        groups.setdefault(item["image_id"], []).append(place)
    return groups


def _corners(items: Sequence[Mapping], extra_pixel: float) -> np.ndarray:
    boxes = np.array([item["bbox"] for item in items], dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] + extra_pixel], 1)
