"""Matches predictions with objects, and computes from the pairs: confusion matrix, precision,
recall, F1 and the score thresholds of the best F1. All functions work on arrays.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MIN_IOU = 0.5
DEFAULT_THRESHOLD = 0.5


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (m, 4) and (n, 4), x1 y1 x2 y2: (m, n) in 0..1.

    It is 0 if both boxes have no area.
    """
    first = np.asarray(first, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(second, dtype=np.float64).reshape(1, -1, 4)
    both = _common_area(first, second)
    union = _area(first) + _area(second) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def pair_boxes(
    truth: np.ndarray,
    truth_classes: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    *,
    min_iou: float = MIN_IOU,
    same_class: bool = False,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Pairs the objects and predictions of one page, each at most once; see `pair`.

    Pairs of the same class are formed first, so a prediction counts as confused only if no object
    of its own class is left for it.

    Args:
        truth: (m, 4) objects, x1 y1 x2 y2.
        truth_classes: (m,) class numbers.
        boxes: (n, 4) predictions, without those below the score threshold.
        classes: (n,) class numbers.
        min_iou: in 0..1.
        same_class: form only pairs of the same class.
        scores: (n,) scores; predictions of higher score are paired first.

    Returns:
        (p, 2) int64 rows (object, prediction), in the order of choice; (0, 2) where m or n is 0.
    """
    overlap = box_iou(truth, boxes)
    alike = np.asarray(truth_classes).reshape(-1, 1) == np.asarray(classes).reshape(1, -1)
    if same_class:
        return pair(np.where(alike, overlap, 0.0), min_iou=min_iou, scores=scores)
    return pair(overlap, min_iou=min_iou, preferred=alike, scores=scores)


def pair(
    overlap: np.ndarray,
    *,
    min_iou: float = MIN_IOU,
    preferred: np.ndarray | None = None,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Pairs rows and columns greedily, each at most once.

    Candidates are all pairs with an overlap of at least `min_iou` and above 0. They are taken in
    this order: preferred pairs, then (if scores are given) higher scores, then larger overlaps;
    ties go to the earlier object and prediction.

    Args:
        overlap: (m, n), objects by predictions, of boxes or polygons.
        min_iou: in 0..1.
        preferred: (m, n) bool.
        scores: (n,).

    Returns:
        (p, 2) int64 rows (object, prediction), in the order of choice.
    """
    rows, columns = np.nonzero((overlap >= min_iou) & (overlap > 0))
    keys = [columns, rows, -overlap[rows, columns]]
    if scores is not None:
        # Of equal scores, the earlier prediction is paired first, as in a loop over the list.
        keys += [columns, -np.asarray(scores)[columns]]
    if preferred is not None:
        keys.append(~preferred[rows, columns])
    order = np.lexsort(keys)
    pairs, objects, predictions = [], set(), set()
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in objects and j not in predictions:
            pairs.append((i, j))
            objects.add(i)
            predictions.add(j)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def inside(boxes: np.ndarray, regions: np.ndarray, *, share: float = 0.5) -> np.ndarray:
    """(n,) bool, True for boxes (n, 4) of whose area at least `share` lies in one of the regions.

    It finds the predictions in crowd regions, which COCO counts neither as correct nor as wrong.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 1, 4)
    both = _common_area(boxes, np.asarray(regions, dtype=np.float64).reshape(1, -1, 4))
    area = _area(boxes)
    return ((both >= share * area) & (area > 0)).any(1)


def confusion(
    truth_classes: np.ndarray, classes: np.ndarray, pairs: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """The confusion matrix of one page; matrices of several pages add up.

    Args:
        truth_classes: (m,) class numbers of the objects, 0..K - 1.
        classes: (n,) class numbers of the predictions.
        pairs: (p, 2) result of `pair_boxes`.
        num_classes: K.

    Returns:
        (K + 1, K + 1) int64: rows are true classes, columns predicted classes, the last of both is
        background. Column K holds missed objects, row K predictions without an object; the corner
        is always 0.
    """
    truth_classes, classes = np.asarray(truth_classes, int), np.asarray(classes, int)
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    np.add.at(counts, (truth_classes[pairs[:, 0]], classes[pairs[:, 1]]), 1)
    missed = np.delete(truth_classes, pairs[:, 0])
    invented = np.delete(classes, pairs[:, 1])
    np.add.at(counts, (missed, num_classes), 1)
    np.add.at(counts, (num_classes, invented), 1)
    return counts


def f1(counts: np.ndarray) -> float | None:
    """F1 of a confusion matrix in 0..1: 2 * correct / (objects + predictions), where the diagonal
    is correct (place and class agree). None without objects and predictions.
    """
    objects, predictions = counts[:-1].sum(), counts[:, :-1].sum()
    if objects + predictions == 0:
        return None
    return float(2 * np.trace(counts) / (objects + predictions))


def recall(counts: np.ndarray) -> list[float | None]:
    """Recall of each class, (K,) in 0..1; None for a class without objects."""
    return _shares(counts, counts[:-1].sum(1))


def precision(counts: np.ndarray) -> list[float | None]:
    """Precision of each class, (K,) in 0..1; None for a class without predictions."""
    return _shares(counts, counts[:, :-1].sum(0))


def best_thresholds(
    ground_truth: Mapping, results: Sequence[Mapping], *, min_iou: float = MIN_IOU
) -> dict[str, float]:
    """The score threshold with the best F1 for every class of a data set.

    Predictions are paired with objects of their class in the order of falling scores, so that the
    pairs above a threshold do not depend on predictions below it. Of equal F1, the highest
    threshold is used. Predictions in a crowd region of their class that have no object are not
    counted.

    Args:
        ground_truth: COCO dict with `categories` and `annotations` (bbox x y w h).
        results: COCO results.
        min_iou: in 0..1.

    Returns:
        class name -> threshold in 0..1; 0.5 for a class without an object or without a correct
        prediction. It is rounded down to two digits, so that the prediction that sets it is shown.
    """
    # [objects, crowds, predictions] of each page, by class.
    pages: dict = defaultdict(lambda: defaultdict(lambda: ([], [], [])))
    for item in ground_truth["annotations"]:
        page = pages[item["category_id"]][item["image_id"]]
        page[1 if item.get("iscrowd") else 0].append(item["bbox"])
    for item in results:
        page = pages[item["category_id"]][item["image_id"]]
        page[2].append([*item["bbox"], item["score"]])
    return {
        category["name"]: _best_threshold(pages[category["id"]].values(), min_iou)
        for category in ground_truth["categories"]
    }


def count_pairs(objects: Sequence[Mapping], predictions: Sequence[Mapping]) -> dict[str, Any]:
    """Counts objects and predictions of one page; a pair has one class and an IoU of at least 0.5.

    Args:
        objects: COCO annotations of the page.
        predictions: its COCO results that are shown.

    Returns:
        {"objects", "found", "right", "F1"}, without crowd regions and predictions in them. F1 is
        None if nothing is counted.
    """
    plain = [item for item in objects if not item.get("iscrowd")]
    crowds = [item for item in objects if item.get("iscrowd")]
    boxes = _corners([item["bbox"] for item in predictions])
    classes = np.array([item["category_id"] for item in predictions], dtype=object)
    scores = np.array([item["score"] for item in predictions])
    pairs = pair_boxes(
        _corners([item["bbox"] for item in plain]),
        np.array([item["category_id"] for item in plain], dtype=object),
        boxes,
        classes,
        same_class=True,
        scores=scores,
    )
    paired = np.isin(np.arange(len(predictions)), pairs[:, 1])
    free = inside(boxes, _corners([item["bbox"] for item in crowds]))
    found = int((paired | ~free).sum())
    total = len(plain) + found
    right = len(pairs)
    score = 2 * right / total if total else None
    return {"objects": len(plain), "found": found, "right": right, "F1": score}


def _best_threshold(pages: Sequence[tuple[list, list, list]], min_iou: float) -> float:
    """The threshold of one class, from its objects, crowds and predictions on every page."""
    objects, scores, right = 0, [np.zeros(0)], [np.zeros(0, bool)]
    for truth, crowd, predictions in pages:
        found = np.array(predictions, dtype=np.float64).reshape(-1, 5)
        boxes = _corners(found)
        overlap = box_iou(_corners(truth), boxes)
        own = pair(overlap, min_iou=min_iou, scores=found[:, 4])[:, 1]
        hit = np.isin(np.arange(len(found)), own)
        counts = hit | ~inside(boxes, _corners(crowd), share=min_iou)
        objects += len(truth)
        scores.append(found[counts, 4])
        right.append(hit[counts])
    scores, right = np.concatenate(scores), np.concatenate(right)
    if not objects or not right.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    best = 2 * np.cumsum(right) / (np.arange(1, len(scores) + 1) + objects)
    return float(np.floor(scores[int(np.argmax(best))] * 100) / 100)


def _corners(rows: Sequence) -> np.ndarray:
    """(n, 4) x1 y1 x2 y2 of rows that begin with x y w h."""
    rows = np.asarray(rows, dtype=np.float64)
    rows = rows.reshape(-1, rows.shape[-1] if rows.size else 4)[:, :4]
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1)


def _shares(counts: np.ndarray, totals: np.ndarray) -> list[float | None]:
    right = np.diagonal(counts)[:-1]
    return [float(n / total) if total else None for n, total in zip(right, totals, strict=True)]


def _common_area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area that boxes share, broadcast over the leading axes."""
    corner = np.minimum(first[..., 2:], second[..., 2:])
    return (corner - np.maximum(first[..., :2], second[..., :2])).clip(min=0).prod(-1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1)
