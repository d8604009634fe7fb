"""How close an exported detector comes to the trained one on the same pages; nothing is written."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.evaluation.coco import coco_ap, ground_truth
from graphkd.evaluation.matching import pair_boxes
from graphkd.export.pages import Pages
from graphkd.predict.detector import Detector, Found

CONFIDENT = 0.5


@dataclass(frozen=True)
class Limits:
    """What an exported detector may differ by.

    Attributes:
        ap: COCO AP, in points of 0..100.
        box: median error of the boxes, as a share of the page's longer side.
        unmatched: share of the confident detections without a partner.
    """

    ap: float
    box: float
    unmatched: float


@dataclass(frozen=True)
class Parity:
    """The trained detector and its export on the same pages.

    Attributes:
        pages: how many, and `source` what they are.
        detections: of the trained detector.
        matched: pairs of the same class with an IoU of 0.5 or more.
        unmatched_share: detections of either side without a partner, over all; and of those with a
            score of 0.5 or more (`unmatched_share_confident`).
        box_error_median: greatest coordinate difference of a pair in pixels, and the 99th of 100
            and the greatest of all pairs; `box_error_share`: the median over the longer side.
        score_error_max: of any pair.
        ap_trained: COCO AP in 0..100, None without truth; `ap_exported` likewise.
        seconds_trained: median of a page, `seconds_exported` likewise; rough.
    """

    source: str
    pages: int
    detections: int
    matched: int
    unmatched_share: float
    unmatched_share_confident: float
    box_error_median: float
    box_error_99: float
    box_error_max: float
    box_error_share: float
    score_error_max: float
    ap_trained: float | None
    ap_exported: float | None
    seconds_trained: float
    seconds_exported: float

    @property
    def ap_difference(self) -> float | None:
        """Exported minus trained, in points."""
        if self.ap_trained is None or self.ap_exported is None:
            return None
        return self.ap_exported - self.ap_trained

    def numbers(self) -> dict:
        """Everything as plain values for json."""
        return {**asdict(self), "ap_difference": self.ap_difference}


class _Run:
    """What one detector found on the pages so far, and how long each took."""

    def __init__(self, detector: Detector):
        self.detector = detector
        self.found: list[Found] = []
        self.seconds: list[float] = []

    def add(self, pixels: np.ndarray) -> int:
        """Runs one page; the number of detections."""
        start = time.perf_counter()
        (result,) = self.detector.detect([self.detector.prepare(pixels)])
        self.seconds.append(time.perf_counter() - start)
        self.found.append(result)
        return len(result.scores)


def compare(
    trained: Detector, exported: Detector, pages: Pages, *, progress: bool = True
) -> Parity:
    """Runs both detectors over all pages and compares what they find.

    The exported one also sees one page in a batch of three; what it finds there must be what it
    finds alone.

    Args:
        trained: the plain Detectron2 model.
        exported: the file.
        pages: at least one.
        progress: show a bar.

    Raises:
        UserError: the trained detector finds nothing at all, or the batch changes the result.
    """
    wanted, given = _Run(trained), _Run(exported)
    sides, batch_page = [], None
    bar = tqdm(pages, desc="comparing", unit="page", total=len(pages), disable=not progress)
    for pixels in bar:
        count = wanted.add(pixels)
        given.add(pixels)
        sides.append(max(pixels.shape[:2]))
        if batch_page is None and count:
            batch_page = pixels
    if batch_page is None:
        raise UserError(
            f"the model finds nothing on {pages.source}, so nothing can be compared; "
            "name pages of its kind with --pages"
        )
    _check_batch(exported, batch_page)
    return _measure(wanted, given, sides, pages, trained.classes)


def _measure(
    wanted_run: _Run,
    given_run: _Run,
    sides: Sequence[int],
    pages: Pages,
    classes: Sequence[str],
) -> Parity:
    wanted, given = wanted_run.found, given_run.found
    pairs = [match(a, b) for a, b in zip(wanted, given, strict=True)]
    errors = [
        np.abs(a.boxes[i] - b.boxes[j]).max(1)
        for a, b, (i, j) in zip(wanted, given, pairs, strict=True)
    ]
    scores = [
        np.abs(a.scores[i] - b.scores[j]) for a, b, (i, j) in zip(wanted, given, pairs, strict=True)
    ]
    shares = [error / side for error, side in zip(errors, sides, strict=True)]
    flat, shares = np.concatenate(errors), np.concatenate(shares)
    none = np.zeros(1) if not len(flat) else flat
    return Parity(
        source=pages.source,
        pages=len(wanted),
        detections=sum(len(found.scores) for found in wanted),
        matched=len(flat),
        unmatched_share=_unmatched(wanted, given, pairs, least=0.0),
        unmatched_share_confident=_unmatched(wanted, given, pairs, least=CONFIDENT),
        box_error_median=float(np.median(none)),
        box_error_99=float(np.quantile(none, 0.99)),
        box_error_max=float(none.max()),
        box_error_share=float(np.median(shares)) if len(shares) else 0.0,
        score_error_max=float(max((part.max() for part in scores if len(part)), default=0.0)),
        ap_trained=average_precision(wanted, pages, classes),
        ap_exported=average_precision(given, pages, classes),
        seconds_trained=statistics.median(wanted_run.seconds),
        seconds_exported=statistics.median(given_run.seconds),
    )


def faults(parity: Parity, limits: Limits) -> list[str]:
    """Why an export must not be used; empty where all is well."""
    found = []
    difference = parity.ap_difference
    if difference is not None and abs(difference) > limits.ap:
        found.append(
            f"AP differs by {difference:+.2f} on {parity.pages} pages, allowed is {limits.ap:g}; "
            "one flipped detection counts less on more pages"
        )
    if parity.box_error_share > limits.box:
        found.append(
            f"boxes are off by {parity.box_error_median:.2f} px in the median, "
            f"{parity.box_error_share:.2%} of the page; allowed is {limits.box:.2%}"
        )
    if parity.unmatched_share_confident > limits.unmatched:
        found.append(
            f"{parity.unmatched_share_confident:.1%} of the detections with a score of "
            f"{CONFIDENT:g} or more have no partner, allowed is {limits.unmatched:.1%}"
        )
    return found


def match(wanted: Found, given: Found) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of the same class with an IoU of 0.5 or more, the largest IoU first.

    Returns:
        Indices into `wanted` and into `given`, of equal length.
    """
    pairs = pair_boxes(wanted.boxes, wanted.classes, given.boxes, given.classes, same_class=True)
    return pairs[:, 0], pairs[:, 1]


def average_precision(found: Sequence[Found], pages: Pages, classes: Sequence[str]) -> float | None:
    """COCO AP in 0..100 of one detector's finds; None where the pages have no truth."""
    if pages.truth is None:
        return None
    results = []
    for page, own in zip(pages.truth, found, strict=True):
        x1, y1, x2, y2 = own.boxes.astype(float).T
        boxes = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1).tolist()
        rows = zip(boxes, own.scores.tolist(), own.classes.tolist(), strict=True)
        results += [
            {"image_id": page["image_id"], "category_id": label, "bbox": box, "score": score}
            for box, score, label in rows
        ]
    return coco_ap(ground_truth(pages.truth, classes), results)["AP"]


def _check_batch(detector: Detector, pixels: np.ndarray) -> None:
    """A page must give the same between others; the page turned round is one of another kind."""
    turned = np.ascontiguousarray(pixels[::-1, ::-1])
    alone = [detector.detect([detector.prepare(page)])[0] for page in (turned, pixels)]
    together = detector.detect([detector.prepare(page) for page in (turned, pixels, turned)])
    pairs = [match(a, b) for a, b in zip([*alone, alone[0]], together, strict=True)]
    share = _unmatched([*alone, alone[0]], together, pairs, least=CONFIDENT)
    if share > 0:
        raise UserError(
            f"the exported file finds something else on a page alone than in a batch "
            f"({share:.1%} of the confident detections); it is not kept"
        )


def _unmatched(
    wanted: Sequence[Found], given: Sequence[Found], pairs: Sequence[tuple], *, least: float
) -> float:
    """Share of the detections of either side, of at least this score, without a partner."""
    lonely = total = 0
    for a, b, (i, j) in zip(wanted, given, pairs, strict=True):
        for found, own in ((a, i), (b, j)):
            counts = found.scores >= least
            total += int(counts.sum())
            lonely += int(counts.sum() - counts[own].sum())
    return lonely / max(total, 1)
