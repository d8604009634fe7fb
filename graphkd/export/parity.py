"""Compares the detections of an exported box detector with those of the trained one."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.evaluation.coco import coco_ap, ground_truth, result_rows
from graphkd.evaluation.matching import pair_boxes
from graphkd.export.pages import Pages
from graphkd.predict.detector import Detections, Detector

CONFIDENT = 0.5


@dataclass(frozen=True)
class BoxLimits:
    """The largest allowed differences of an exported detector.

    Attributes:
        ap: difference in COCO AP, in points of 0..100.
        box: median error of the boxes, as a share of the page's longer side.
        unmatched: share of confident detections without a partner.
    """

    ap: float
    box: float
    unmatched: float


@dataclass(frozen=True)
class BoxParity:
    """The comparison of a trained detector with its export on the same pages.

    Attributes:
        source: where the pages come from.
        pages: number of pages.
        detections: number of detections of the trained detector.
        matched: number of pairs of the same class with an IoU of 0.5 or more.
        unmatched_share: share of all detections (of both detectors) without a partner;
            `unmatched_share_confident`: the same for scores of 0.5 or more.
        box_error_median: median over the pairs of the largest coordinate difference in pixels;
            `box_error_99` and `box_error_max`: its 99th percentile and its maximum;
            `box_error_share`: its median as a share of the longer side.
        score_error_max: largest difference of scores of a pair.
        ap_trained: COCO AP in 0..100, None without ground truth; also `ap_exported`;
            `ap_difference`: exported minus trained.
        seconds_trained: median seconds per page, a rough number; also `seconds_exported`.
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
    ap_difference: float | None
    seconds_trained: float
    seconds_exported: float

    def lines(self) -> tuple[str, ...]:
        """The numbers as sentences."""
        ap = "AP not measured: these pages have no ground truth for this model; use --pages SET"
        if self.ap_difference is not None:
            ap = (
                f"AP {self.ap_trained:.2f} trained, {self.ap_exported:.2f} exported "
                f"({self.ap_difference:+.3f})"
            )
        return (
            f"{self.pages} pages ({self.source}), {self.detections} detections compared",
            f"boxes differ by {self.box_error_median:.3f} px in the median, "
            f"{self.box_error_max:.2f} px at most; without a partner: {self.unmatched_share:.2%}, "
            f"of scores from 0.5: {self.unmatched_share_confident:.2%}",
            ap,
            f"a page took {self.seconds_trained * 1000:.0f} ms trained, "
            f"{self.seconds_exported * 1000:.0f} ms exported (rough)",
        )

    def faults(self, limits: BoxLimits) -> tuple[str, ...]:
        """Reasons why the file must not be used; empty if there are none."""
        found = []
        if self.ap_difference is not None and abs(self.ap_difference) > limits.ap:
            found.append(
                f"AP differs by {self.ap_difference:+.2f} on {self.pages} pages, allowed is "
                f"{limits.ap:g}; one flipped detection counts less on more pages"
            )
        if self.box_error_share > limits.box:
            found.append(
                f"boxes are off by {self.box_error_median:.2f} px in the median, "
                f"{self.box_error_share:.2%} of the page; allowed is {limits.box:.2%}"
            )
        if self.unmatched_share_confident > limits.unmatched:
            found.append(
                f"{self.unmatched_share_confident:.1%} of the detections with a score of "
                f"{CONFIDENT:g} or more have no partner, allowed is {limits.unmatched:.1%}"
            )
        return tuple(found)


def compare(
    trained: Detector, exported: Detector, pages: Pages, *, progress: bool = True
) -> BoxParity:
    """Runs both detectors on all pages and compares their detections.

    The exported detector also gets one page in a batch of three, which must not change its result.

    Args:
        trained: the trained Detectron2 model.
        exported: the exported file.
        pages: at least one page.
        progress: show a progress bar.

    Raises:
        UserError: the trained detector finds nothing at all, or the batch changes the result.
    """
    wanted, given = [], []
    seconds_trained, seconds_exported, sides = [], [], []
    batch_page = None
    bar = tqdm(pages, desc="comparing", unit="page", total=len(pages), disable=not progress)
    for pixels in bar:
        wanted.append(_timed(trained, pixels, seconds_trained))
        given.append(_timed(exported, pixels, seconds_exported))
        sides.append(max(pixels.shape[:2]))
        if batch_page is None and len(wanted[-1].scores):
            batch_page = pixels
    if batch_page is None:
        raise UserError(
            f"the model finds nothing on {pages.source}, so nothing can be compared; "
            "use --pages with pages of the kind that it was trained on"
        )
    _check_batch(exported, batch_page)
    pairs = [match(a, b) for a, b in zip(wanted, given, strict=True)]
    rows = list(zip(wanted, given, pairs, strict=True))
    errors = [np.abs(a.boxes[i] - b.boxes[j]).max(1) for a, b, (i, j) in rows]
    shares = np.concatenate([error / side for error, side in zip(errors, sides, strict=True)])
    scores = np.concatenate([np.abs(a.scores[i] - b.scores[j]) for a, b, (i, j) in rows])
    flat = np.concatenate(errors)
    known = flat if len(flat) else np.zeros(1)
    before, after = (average_precision(f, pages, trained.classes) for f in (wanted, given))
    return BoxParity(
        source=pages.source,
        pages=len(wanted),
        detections=sum(len(found.scores) for found in wanted),
        matched=len(flat),
        unmatched_share=_unmatched(wanted, given, pairs, least=0.0),
        unmatched_share_confident=_unmatched(wanted, given, pairs, least=CONFIDENT),
        box_error_median=float(np.median(known)),
        box_error_99=float(np.quantile(known, 0.99)),
        box_error_max=float(known.max()),
        box_error_share=float(np.median(shares)) if len(shares) else 0.0,
        score_error_max=float(scores.max(initial=0.0)),
        ap_trained=before,
        ap_exported=after,
        ap_difference=None if before is None or after is None else after - before,
        seconds_trained=statistics.median(seconds_trained),
        seconds_exported=statistics.median(seconds_exported),
    )


def match(wanted: Detections, given: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pairs detections of the same class with an IoU of 0.5 or more, the largest IoU first.

    Returns:
        Indices into `wanted` and indices into `given`, of equal length.
    """
    pairs = pair_boxes(wanted.boxes, wanted.classes, given.boxes, given.classes, same_class=True)
    return pairs[:, 0], pairs[:, 1]


def average_precision(
    found: Sequence[Detections], pages: Pages, classes: Sequence[str]
) -> float | None:
    """COCO AP in 0..100 of one detector; None if the pages have no ground truth."""
    if pages.truth is None:
        return None
    pairs = zip(pages.truth, found, strict=True)
    rows = [row for page, own in pairs for row in result_rows(page["image_id"], *own)]
    return coco_ap(ground_truth(pages.truth, classes), rows)["AP"]


def _timed(detector: Detector, pixels: np.ndarray, seconds: list[float]) -> Detections:
    start = time.perf_counter()
    (found,) = detector.detect([detector.prepare(pixels)])
    seconds.append(time.perf_counter() - start)
    return found


def _check_batch(detector: Detector, pixels: np.ndarray) -> None:
    """Checks that a page gives the same result alone and in a batch. The other pages of the batch
    are this page upside down, which looks different to the detector.
    """
    turned = np.ascontiguousarray(pixels[::-1, ::-1])
    alone = [detector.detect([detector.prepare(page)])[0] for page in (turned, pixels)]
    together = detector.detect([detector.prepare(page) for page in (turned, pixels, turned)])
    wanted = [*alone, alone[0]]
    pairs = [match(a, b) for a, b in zip(wanted, together, strict=True)]
    share = _unmatched(wanted, together, pairs, least=CONFIDENT)
    if share > 0:
        raise UserError(
            f"the exported file gives other results for a page in a batch than alone "
            f"({share:.1%} of the confident detections differ), so it was not kept"
        )


def _unmatched(
    wanted: Sequence[Detections],
    given: Sequence[Detections],
    pairs: Sequence[tuple],
    *,
    least: float,
) -> float:
    """Share of the detections of both, with scores of at least `least`, that have no partner."""
    lonely = total = 0
    for a, b, (i, j) in zip(wanted, given, pairs, strict=True):
        for found, own in ((a, i), (b, j)):
            counts = found.scores >= least
            total += int(counts.sum())
            lonely += int(counts.sum() - counts[own].sum())
    return lonely / max(total, 1)
