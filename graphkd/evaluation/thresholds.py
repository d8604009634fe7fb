"""The score of each class from which showing a box is worth it: best F1 on a data set."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask

DEFAULT = 0.5


def best_thresholds(
    ground_truth: Mapping, results: Sequence[Mapping], *, min_iou: float = 0.5
) -> dict[str, float]:
    """The score threshold of best F1 for every class.

    Predictions of a class take objects of their class in order of falling score, the best
    overlapping free one with `min_iou` or more. Among equal F1 the highest threshold is taken.

    Args:
        ground_truth: COCO dict with `categories` and `annotations` (bbox x y w h).
        results: COCO results.
        min_iou: in 0..1.

    Returns:
        class name -> threshold in 0..1, rounded down to two digits; 0.5 for a class without any
        object or right prediction.
    """
    objects, found = defaultdict(list), defaultdict(list)
    for annotation in ground_truth["annotations"]:
        key = annotation["category_id"], annotation["image_id"]
        objects[key].append((annotation["bbox"], int(annotation.get("iscrowd", 0))))
    for result in results:
        found[result["category_id"]].append(result)
    return {
        category["name"]: _best(category["id"], objects, found[category["id"]], min_iou)
        for category in ground_truth["categories"]
    }


def _best(category: int, objects: Mapping, results: Sequence[Mapping], min_iou: float) -> float:
    ordered = sorted(results, key=lambda result: -result["score"])
    taken: set = set()
    right, shown = [], []
    for result in ordered:
        truth = objects.get((category, result["image_id"]), [])
        match = _match(result["bbox"], truth, taken, result["image_id"], min_iou)
        # A find inside a crowd region is neither right nor wrong.
        shown.append(0 if match == "crowd" else 1)
        right.append(1 if match == "right" else 0)
    own = [each for (number, _), each in objects.items() if number == category]
    total = sum(not crowd for each in own for _, crowd in each)
    if not total or not any(right):
        return DEFAULT
    f1 = 2 * np.cumsum(right) / (np.cumsum(shown) + total)
    score = ordered[int(np.argmax(f1))]["score"]
    return float(np.floor(score * 100) / 100)


def _match(bbox, truth: Sequence, taken: set, image_id, min_iou: float) -> str:
    """Says right (and takes the object), crowd or wrong."""
    if not truth:
        return "wrong"
    overlaps = mask.iou([bbox], [box for box, _ in truth], [crowd for _, crowd in truth])[0]
    for place in np.argsort(-overlaps):
        if overlaps[place] < min_iou:
            break
        if truth[place][1]:
            return "crowd"
        if (image_id, id(truth), int(place)) not in taken:
            taken.add((image_id, id(truth), int(place)))
            return "right"
    return "wrong"
