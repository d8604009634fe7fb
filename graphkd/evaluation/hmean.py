"""Scores of text detection: precision, recall and hmean by the ICDAR, DetEval and Pascal VOC rules,
measures of document lines, and curves over the score threshold. Everything works on polygons.

Counts are summed over all pages before they are divided: global numbers are no means of pages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import shapely

from graphkd.evaluation.matching import pair

MIN_IOU = 0.5
# A detection is ignored if more than this share of its area lies in one ignored text.
_IGNORED_SHARE = 0.5
# DetEval: a text split into several detections counts this much.
_SPLIT_CREDIT = 0.8
# Line heights are compared for pairs from this IoU on, so that wrong heights are seen, too.
_HEIGHT_IOU = 0.3
CURVE = tuple(round(0.05 * step, 2) for step in range(1, 20))

# Per page: (polygon (P, 2), whether it is ignored), and (polygon (P, 2), score in 0..1).
Truth = Sequence[tuple[np.ndarray, bool]]
Found = Sequence[tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Overlaps:
    """The geometry of one page, from which every rule reads; invalid polygons are left out.

    Attributes:
        common: (m, n) area that text i shares with detection j, in square pixels.
        truth_area: (m,) above 0.
        found_area: (n,) likewise.
        truth_box: (m, 4) upright boxes x1 y1 x2 y2.
        found_box: (n, 4) likewise.
        truth_height: (m,) short sides of the min-area rectangles, in pixels.
        found_height: (n,) likewise.
        ignore: (m,) bool, texts that neither count nor punish.
        scores: (n,).
        truth_places: (m,) places of the texts in the list they came from; found_places: (n,)
            likewise. Those of invalid polygons are missing.
    """

    common: np.ndarray
    truth_area: np.ndarray
    found_area: np.ndarray
    truth_box: np.ndarray
    found_box: np.ndarray
    truth_height: np.ndarray
    found_height: np.ndarray
    ignore: np.ndarray
    scores: np.ndarray
    truth_places: np.ndarray
    found_places: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """(m, n) intersection over union in 0..1."""
        return self.common / (self.truth_area[:, None] + self.found_area - self.common)

    def above(self, score: float) -> "Overlaps":
        """The page with the detections of at least this score."""
        kept = self.scores >= score
        return replace(
            self,
            common=self.common[:, kept],
            found_area=self.found_area[kept],
            found_box=self.found_box[kept],
            found_height=self.found_height[kept],
            scores=self.scores[kept],
            found_places=self.found_places[kept],
        )

    def ignored(self, share: float = _IGNORED_SHARE) -> np.ndarray:
        """(n,) bool, detections of which more than a share of the area lies in an ignored text."""
        return (self.common[self.ignore] > share * self.found_area).any(0)


def measure(truth: Sequence[Truth], found: Sequence[Found]) -> list[Overlaps]:
    """The geometry of every page; `score` and the other functions take it in the place of polygons.

    Polygons that cross themselves, have no area, fewer than three points or a coordinate that is
    not finite are dropped on both sides, as in the ICDAR evaluation.

    Raises:
        ValueError: `truth` and `found` have different numbers of pages.
    """
    return [_measure(*page) for page in zip(truth, found, strict=True)]


def score(
    truth: Sequence[Truth],
    found: Sequence[Found],
    *,
    rule: str = "icdar",
    **options: object,
) -> dict:
    """Precision, recall and hmean of detections; see `score_pages` for the options.

    Args:
        truth: for every page a list of (polygon (P, 2) in pixels, whether it is ignored).
        found: for every page a list of (polygon, score in 0..1).
        rule: "icdar", "deteval" or "polygon".
        **options: of `score_pages`.
    """
    return score_pages(measure(truth, found), rule=rule, **options)


def score_pages(
    pages: Iterable[Overlaps],
    *,
    rule: str = "icdar",
    matching: str = "greedy",
    iou: float = MIN_IOU,
    area_recall: float = 0.8,
    area_precision: float = 0.4,
) -> dict:
    """Precision, recall and hmean of measured pages.

    `icdar` (ICDAR2015's evaluation): a detection with more than half of its area in an ignored text
    is left out; texts take detections one to one where the IoU is strictly above `iou`.
    `polygon` (Pascal VOC on polygons, as for CTW1500): every detection goes to the text that it
    overlaps most; more than one on a text are wrong. [memory]
    `deteval` (Wolf and Jolion, Object count/area graphs, 2006, as in ICDAR2013's evaluation): one
    to one, one to many and many to one, from shares of areas.

    Args:
        pages: from `measure`.
        rule: one of the three.
        matching: of `icdar`: `greedy` takes the first free detection in the order of the texts, as
            the published evaluation does; `best` finds the most pairs.
        iou: of `icdar` and `polygon`.
        area_recall: of `deteval`: share of a text that must be covered; 0.7 for Total-Text.
        area_precision: of `deteval`: share of a detection that must be text; 0.6 for Total-Text.

    Returns:
        `precision`, `recall`, `hmean` in 0..100 over all pages (0 where there is nothing to count);
        `objects`, `found`, `right` (the texts that count, the detections that count, the found
        texts) and `pages`, one dict a page with the same keys. A page without texts that count has
        recall 100, and precision 0 or 100.

    Raises:
        ValueError: an unknown rule or matching.
    """
    counts = []
    for page in pages:
        if rule == "icdar" and matching in _MATCHINGS:
            counts.append(_icdar(page, iou, _MATCHINGS[matching]))
        elif rule == "polygon":
            counts.append(_polygon(page, iou))
        elif rule == "deteval":
            counts.append(_deteval(page, area_recall, area_precision))
        else:
            raise ValueError(f"unknown rule {rule!r} or matching {matching!r}")
    objects, found, right, correct = map(sum, zip((0, 0, 0, 0), *counts, strict=True))
    return {
        **_percent(right / objects if objects else 0.0, correct / found if found else 0.0),
        "objects": objects,
        "found": found,
        "right": right,
        "pages": [_page_numbers(*count) for count in counts],
    }


def document_lines(pages: Sequence[Overlaps]) -> dict:
    """What matters for lines that are read afterwards.

    Returns:
        `hmean`, `precision`, `recall`, `pages` by the ICDAR rule at IoU 0.5; `hmean70` at 0.7;
        `line_height_error`, the median of |height / true height - 1| over pairs of an IoU of at
        least 0.3, in percent, None without a pair; `splits` (lines in which two or more detections
        lie by more than half of their area) and `merges` (detections that hold more than half of
        two or more lines), both per 100 lines, None without a line.
    """
    errors, splits, merges, lines = [], 0, 0, 0
    for page in pages:
        cared, counts = ~page.ignore, ~page.ignored()
        common = page.common[np.ix_(cared, counts)]
        lines += len(common)
        splits += int(((common > 0.5 * page.found_area[counts]).sum(1) >= 2).sum())
        merges += int(((common > 0.5 * page.truth_area[cared, None]).sum(0) >= 2).sum())
        rows, columns = pair(page.iou[np.ix_(cared, counts)], min_iou=_HEIGHT_IOU).T
        heights = page.found_height[counts][columns] / page.truth_height[cared][rows]
        errors.append(abs(heights - 1))
    errors = np.concatenate([*errors, np.zeros(0)])
    plain = score_pages(pages)
    return {
        **{key: plain[key] for key in ("hmean", "precision", "recall", "pages")},
        "hmean70": score_pages(pages, iou=0.7)["hmean"],
        "line_height_error": 100 * float(np.median(errors)) if errors.size else None,
        "splits": 100 * splits / lines if lines else None,
        "merges": 100 * merges / lines if lines else None,
    }


def curve(
    pages: Sequence[Overlaps], *, thresholds: Sequence[float] = CURVE, **rule: object
) -> list:
    """Precision, recall and hmean over the score threshold: one dict with `box_thresh` each.

    The best value of a curve on test pages is an upper bound, no result: choose the threshold on
    validation pages.

    Args:
        pages: from `measure`.
        thresholds: in 0..1.
        **rule: options of `score_pages`.
    """
    rows = []
    for threshold in thresholds:
        numbers = score_pages((page.above(threshold) for page in pages), **rule)
        kept = {key: numbers[key] for key in ("precision", "recall", "hmean")}
        rows.append({"box_thresh": float(threshold), **kept})
    return rows


def _measure(truth: Truth, found: Found) -> Overlaps:
    texts, kept_texts = _polygons([polygon for polygon, _ in truth])
    others, kept_others = _polygons([polygon for polygon, _ in found])
    # The tree compares bounding boxes, so that only neighbours are intersected.
    rows, columns = shapely.STRtree(others).query(texts, predicate="intersects")
    common = np.zeros((len(texts), len(others)))
    common[rows, columns] = shapely.area(shapely.intersection(texts[rows], others[columns]))
    return Overlaps(
        common,
        shapely.area(texts),
        shapely.area(others),
        shapely.bounds(texts).reshape(-1, 4),
        shapely.bounds(others).reshape(-1, 4),
        _heights(texts),
        _heights(others),
        np.array([ignore for _, ignore in truth], bool)[kept_texts],
        np.array([score for _, score in found], np.float64)[kept_others],
        kept_texts,
        kept_others,
    )


def _polygons(outlines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Shapely polygons of the valid outlines, and the places of these."""
    points = [np.asarray(outline, np.float64).reshape(-1, 2) for outline in outlines]
    usable = [i for i, own in enumerate(points) if len(own) >= 3 and np.isfinite(own).all()]
    if not usable:
        return np.zeros(0, object), np.zeros(0, int)
    places = np.repeat(np.arange(len(usable)), [len(points[i]) for i in usable])
    rings = shapely.linearrings(np.concatenate([points[i] for i in usable]), indices=places)
    shapes = shapely.polygons(rings)
    valid = shapely.is_valid(shapes) & (shapely.area(shapes) > 0)
    return shapes[valid], np.array(usable)[valid]


def _heights(shapes: np.ndarray) -> np.ndarray:
    corners = (shapely.get_coordinates(shape).astype(np.float32) for shape in shapes)
    return np.array([min(cv2.minAreaRect(points)[1]) for points in corners], np.float64)


def _icdar(page: Overlaps, iou: float, match) -> tuple[int, int, int, int]:
    cared, counts = ~page.ignore, ~page.ignored()
    right = match(page.iou[np.ix_(cared, counts)] > iou)
    return int(cared.sum()), int(counts.sum()), right, right


def _greedy(fits: np.ndarray) -> int:
    """How many pairs are formed: each row in turn takes the first free column that fits."""
    rows, columns = set(), set()
    for row, column in zip(*(places.tolist() for places in np.nonzero(fits)), strict=True):
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
    return len(rows)


def _best(fits: np.ndarray) -> int:
    # Here, because pages are scored where SciPy is not installed.
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    return int((maximum_bipartite_matching(csr_matrix(fits)) >= 0).sum())


_MATCHINGS = {"greedy": _greedy, "best": _best}


def _polygon(page: Overlaps, iou: float) -> tuple[int, int, int, int]:
    # A row of zeros for the case without texts.
    overlap = np.vstack([page.iou, np.zeros(len(page.scores))])
    rows = np.where(overlap.max(0) > iou, overlap.argmax(0), -1)
    counts = ~np.append(page.ignore, False)[rows]
    right = len(set(rows[counts & (rows >= 0)].tolist()))
    return int((~page.ignore).sum()), int(counts.sum()), right, right


def _deteval(page: Overlaps, area_recall: float, area_precision: float) -> tuple:
    """Credit of texts and of detections; both are sums of parts of 1 for splits and merges."""
    cared, counts = ~page.ignore, ~page.ignored(area_precision)
    part = np.ix_(cared, counts)
    common = page.common[part]
    # Whether a pair is the only one that fits is asked with the ignored ones among the others.
    every = page.common / page.truth_area[:, None], page.common / page.found_area
    fits_at_all = (every[0] >= area_recall) & (every[1] >= area_precision)
    lonely = (fits_at_all.sum(1, keepdims=True) == 1) & (fits_at_all.sum(0) == 1)
    recall, precision = every[0][part], every[1][part]
    touched_rows, touched_columns = (common > 0).sum(1), (common > 0).sum(0)
    near = _distance(page)[part] < 1
    free_rows, free_columns = np.ones(cared.sum(), bool), np.ones(counts.sum(), bool)
    right, correct = 0.0, 0.0
    for row, column in zip(*np.nonzero((fits_at_all & lonely)[part] & near), strict=True):
        if touched_rows[row] == 1 and touched_columns[column] == 1:
            free_rows[row] = free_columns[column] = False
            right, correct = right + 1, correct + 1
    for row in range(len(free_rows)):
        chosen = free_columns & (precision[row] >= area_precision) & free_rows[row]
        # Sums are rounded as in the published evaluation.
        enough = round(recall[row, chosen].sum(), 4) >= area_recall
        if enough and touched_rows[row] >= 2:
            credit = 1.0 if chosen.sum() == 1 else _SPLIT_CREDIT
            right, correct = right + credit, correct + credit * chosen.sum()
            free_rows[row], free_columns[chosen] = False, False
    for column in range(len(free_columns)):
        chosen = free_rows & (recall[:, column] >= area_recall) & free_columns[column]
        enough = round(precision[chosen, column].sum(), 4) >= area_precision
        if enough and touched_columns[column] >= 2:
            right, correct = right + chosen.sum(), correct + 1
            free_columns[column], free_rows[chosen] = False, False
    return int(cared.sum()), int(counts.sum()), float(right), float(correct)


def _distance(page: Overlaps) -> np.ndarray:
    """(m, n) distance of the centres of two boxes as a share of their mean diagonal."""
    sides = [(box[:, :2], box[:, 2:]) for box in (page.truth_box, page.found_box)]
    (first, first_diagonal), (second, second_diagonal) = (
        ((low + high) / 2, np.linalg.norm(high - low, axis=1)) for low, high in sides
    )
    apart = np.linalg.norm(first[:, None] - second, axis=2)
    return 2 * apart / (first_diagonal[:, None] + second_diagonal)


def _page_numbers(objects: int, found: int, right: float, correct: float) -> dict:
    if objects:
        numbers = _percent(right / objects, correct / found if found else 0.0)
    else:
        numbers = _percent(1.0, 0.0 if found else 1.0)
    return {**numbers, "objects": objects, "found": found, "right": right}


def _percent(recall: float, precision: float) -> dict[str, float]:
    both = recall + precision
    return {
        "precision": 100 * precision,
        "recall": 100 * recall,
        "hmean": 200 * recall * precision / both if both else 0.0,
    }
