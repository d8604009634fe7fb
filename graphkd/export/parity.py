"""What an exported box detector finds, compared with what the trained one finds."""

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
class BoxParity:
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
        ap_trained: COCO AP in 0..100, None without truth; `ap_exported` likewise;
            `ap_difference`: exported minus trained.
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
    ap_difference: float | None
    seconds_trained: float
    seconds_exported: float

    def lines(self) -> tuple[str, ...]:
        """The numbers in words."""
        ap = "AP not measured: these pages have no truth for this model; name a set with --pages"
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
        """Why the file must not be used; empty where all is well."""
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
            "name pages of its kind with --pages"
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
    """Pairs of the same class with an IoU of 0.5 or more, the largest IoU first.

    Returns:
        Indices into `wanted` and into `given`, of equal length.
    """
    pairs = pair_boxes(wanted.boxes, wanted.classes, given.boxes, given.classes, same_class=True)
    return pairs[:, 0], pairs[:, 1]


def average_precision(
    found: Sequence[Detections], pages: Pages, classes: Sequence[str]
) -> float | None:
    """COCO AP in 0..100 of one detector's finds; None where the pages have no truth."""
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
    """A page must give the same between others; the page turned round is one of another kind."""
    turned = np.ascontiguousarray(pixels[::-1, ::-1])
    alone = [detector.detect([detector.prepare(page)])[0] for page in (turned, pixels)]
    together = detector.detect([detector.prepare(page) for page in (turned, pixels, turned)])
    wanted = [*alone, alone[0]]
    pairs = [match(a, b) for a, b in zip(wanted, together, strict=True)]
    share = _unmatched(wanted, together, pairs, least=CONFIDENT)
    if share > 0:
        raise UserError(
            f"the exported file finds something else on a page alone than in a batch "
            f"({share:.1%} of the confident detections); it is not kept"
        )


def _unmatched(
    wanted: Sequence[Detections],
    given: Sequence[Detections],
    pairs: Sequence[tuple],
    *,
    least: float,
) -> float:
    """Share of the detections of either side, of at least this score, without a partner."""
    lonely = total = 0
    for a, b, (i, j) in zip(wanted, given, pairs, strict=True):
        for found, own in ((a, i), (b, j)):
            counts = found.scores >= least
            total += int(counts.sum())
            lonely += int(counts.sum() - counts[own].sum())
    return lonely / max(total, 1)
