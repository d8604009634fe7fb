"""The detections of an exported box detector beside those of the trained one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphkd.evaluation.coco import coco_ap, ground_truth, result_rows
from graphkd.evaluation.matching import pair_boxes
from graphkd.export.pages import Pages
from graphkd.export.parity import Check, Parity, run_both, score_sentence, unmatched
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


@dataclass(frozen=True, kw_only=True)
class BoxParity(Parity):
    """The comparison of a trained detector with its export on the same pages.

    Attributes:
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
    """

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

    def told(self) -> tuple[str, ...]:
        """See `Parity.told`."""
        return (
            f"{self.pages} pages ({self.source}), {self.detections} detections compared",
            f"boxes differ by {self.box_error_median:.3f} px in the median, "
            f"{self.box_error_max:.2f} px at most; without a partner: {self.unmatched_share:.2%}, "
            f"of scores from 0.5: {self.unmatched_share_confident:.2%}",
            score_sentence("AP", self.ap_trained, self.ap_exported),
        )

    def checks(self, limits: BoxLimits) -> tuple[Check, ...]:
        """See `Parity.checks`."""
        return (
            (
                self.ap_difference,
                limits.ap,
                f"AP differs by {self.ap_difference or 0:+.2f} on {self.pages} pages (one flipped "
                "detection counts less on more pages)",
            ),
            (
                self.box_error_share,
                limits.box,
                f"boxes are off by {self.box_error_median:.2f} px in the median, a share of "
                f"{self.box_error_share:.4f} of the page",
            ),
            (
                self.unmatched_share_confident,
                limits.unmatched,
                f"of the detections with a score of {CONFIDENT:g} or more, a share of "
                f"{self.unmatched_share_confident:.3f} has no partner",
            ),
        )


def compare(
    trained: Detector, exported: Detector, pages: Pages, *, progress: bool = True
) -> BoxParity:
    """Runs both detectors on all pages and compares their detections.

    Args:
        trained: the trained Detectron2 model.
        exported: the exported file.
        pages: at least one page.
        progress: show a progress bar.

    Raises:
        UserError: the trained detector finds nothing at all, or a batch changes the result.
    """

    def same(first: Detections, second: Detections) -> bool:
        return not unmatched([first], [second], [match(first, second)], least=CONFIDENT)

    runs = run_both(trained, exported, pages, source=pages.source, same=same, progress=progress)
    wanted, given = runs.wanted, runs.given
    pairs = [match(a, b) for a, b in zip(wanted, given, strict=True)]
    rows = list(zip(wanted, given, pairs, strict=True))
    errors = [np.abs(a.boxes[i] - b.boxes[j]).max(1) for a, b, (i, j) in rows]
    shares = np.concatenate([error / side for error, side in zip(errors, runs.sides, strict=True)])
    scores = np.concatenate([np.abs(a.scores[i] - b.scores[j]) for a, b, (i, j) in rows])
    flat = np.concatenate(errors)
    known = flat if len(flat) else np.zeros(1)
    before, after = (average_precision(f, pages, trained.classes) for f in (wanted, given))
    return BoxParity(
        source=pages.source,
        pages=len(wanted),
        detections=sum(len(found.scores) for found in wanted),
        matched=len(flat),
        unmatched_share=unmatched(wanted, given, pairs, least=0.0),
        unmatched_share_confident=unmatched(wanted, given, pairs, least=CONFIDENT),
        box_error_median=float(np.median(known)),
        box_error_99=float(np.quantile(known, 0.99)),
        box_error_max=float(known.max()),
        box_error_share=float(np.median(shares)) if len(shares) else 0.0,
        score_error_max=float(scores.max(initial=0.0)),
        ap_trained=before,
        ap_exported=after,
        ap_difference=None if before is None or after is None else after - before,
        **runs.seconds,
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
