"""Which prediction is which object at one IoU, and the confusion matrix that follows; arrays in,
arrays out.
"""

import numpy as np

MIN_IOU = 0.5


def pair_boxes(
    truth: np.ndarray,
    truth_classes: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    *,
    min_iou: float = MIN_IOU,
) -> np.ndarray:
    """Pairs the objects and predictions of one page, each at most once.

    A pair overlaps by `min_iou` or more. Pairs of the same class come first, then the others; among
    equals the larger IoU, and of exact ties the earlier object and prediction. So a prediction
    counts as confused only where it has no object of its own class left.

    Args:
        truth: (m, 4) objects, x1 y1 x2 y2.
        truth_classes: (m,) class numbers.
        boxes: (n, 4) predictions, those below the score threshold left out.
        classes: (n,) class numbers.
        min_iou: in 0..1.

    Returns:
        (p, 2) int64 rows (object, prediction), in the order of choice; (0, 2) where m or n is 0.
    """
    overlap = _iou(truth, boxes)
    first, second = np.nonzero((overlap >= min_iou) & (overlap > 0))
    other = np.asarray(truth_classes)[first] != np.asarray(classes)[second]
    order = np.lexsort((second, first, -overlap[first, second], other))
    pairs, objects, predictions = [], set(), set()
    for i, j in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if i not in objects and j not in predictions:
            pairs.append((i, j))
            objects.add(i)
            predictions.add(j)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def confusion(
    truth_classes: np.ndarray, classes: np.ndarray, pairs: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Counts what the objects of one page were taken for; matrices of several pages add up.

    Args:
        truth_classes: (m,) class numbers of the objects, 0..K - 1.
        classes: (n,) class numbers of the predictions.
        pairs: (p, 2) as `pair_boxes` gives them.
        num_classes: K.

    Returns:
        (K + 1, K + 1) int64: row = what it is, column = what it was taken for, the last of both is
        background: column K holds missed objects, row K predictions without an object, and the
        corner is always 0.
    """
    truth_classes, classes = np.asarray(truth_classes, int), np.asarray(classes, int)
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    np.add.at(counts, (truth_classes[pairs[:, 0]], classes[pairs[:, 1]]), 1)
    missed = np.delete(truth_classes, pairs[:, 0])
    invented = np.delete(classes, pairs[:, 1])
    np.add.at(counts, (missed, num_classes), 1)
    np.add.at(counts, (num_classes, invented), 1)
    return counts


def inside(boxes: np.ndarray, regions: np.ndarray, *, share: float = 0.5) -> np.ndarray:
    """(n,) bool, which of (n, 4) boxes lie to `share` of their area or more in one of the regions.

    COCO neither rewards nor punishes predictions in a crowd region: these are the ones.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 1, 4)
    both = _common(boxes, np.asarray(regions, dtype=np.float64).reshape(1, -1, 4))
    area = _area(boxes)
    return ((both >= share * area) & (area > 0)).any(1)


def f1(counts: np.ndarray) -> float | None:
    """2 * right / (objects + predictions) of a confusion matrix, in 0..1; None without either.

    Right is the diagonal: place and class agree.
    """
    objects, predictions = counts[:-1].sum(), counts[:, :-1].sum()
    if objects + predictions == 0:
        return None
    return float(2 * np.trace(counts) / (objects + predictions))


def recall(counts: np.ndarray) -> list[float | None]:
    """Share of each class' objects that were found as such, (K,) in 0..1; None without objects."""
    return _shares(counts, counts[:-1].sum(1))


def precision(counts: np.ndarray) -> list[float | None]:
    """Share of each class' predictions that are right, (K,) in 0..1; None without predictions."""
    return _shares(counts, counts[:, :-1].sum(0))


def _shares(counts: np.ndarray, totals: np.ndarray) -> list[float | None]:
    right = np.diagonal(counts)[:-1]
    return [float(n / total) if total else None for n, total in zip(right, totals, strict=True)]


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(m, n) intersection over union; 0 where both boxes have no area."""
    first = np.asarray(first, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(second, dtype=np.float64).reshape(1, -1, 4)
    both = _common(first, second)
    union = _area(first) + _area(second) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def _common(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area that boxes share, broadcast over the leading axes."""
    corner = np.minimum(first[..., 2:], second[..., 2:])
    return (corner - np.maximum(first[..., :2], second[..., :2])).clip(min=0).prod(-1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1)
