"""Maps and lines of an exported text detector beside those of the trained one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphkd.evaluation.hmean import measure, score
from graphkd.evaluation.matching import pair
from graphkd.export.pages import Pages
from graphkd.export.parity import Check, Parity, run_both, score_sentence, unmatched
from graphkd.predict.detector import Prepared
from graphkd.predict.lines import FoundLines, LineDetector

# Every page is compared at one of these sizes, relative to the model's test size.
ZOOMS = (1.0, 0.75, 1.25)
_MARGIN = 0.1  # scores this close to the threshold may fall on either side of it


@dataclass(frozen=True)
class LineLimits:
    """What an exported text detector may differ by.

    Attributes:
        hmean: of two results against the truth, in points of 0..100.
        map: mean error of the text map, in probability.
        line: median error of the lines' boxes, as a share of the page's longer side.
        unmatched: share of the lines without a partner that are not close to the threshold.
    """

    hmean: float
    map: float
    line: float
    unmatched: float


@dataclass(frozen=True, kw_only=True)
class LineParity(Parity):
    """The trained text detector and its export on the same pages.

    Attributes:
        pages: how many, at `sizes` different sizes of the network's input.
        lines: of the trained detector.
        map_error_mean: of the text map, in probability, and `map_error_max`; 0 for detectors of
            boxes.
        unmatched_share: lines of either side without a partner of an IoU of 0.5; of those whose
            score is more than 0.1 above the threshold (`unmatched_share_confident`).
        line_error_median: greatest difference of the sides of a pair's boxes, in pixels, and
            `line_error_max`; `line_error_share`: the median over the page's longer side.
        hmean_trained: hmean in 0..100 against the truth, None without truth; `hmean_exported`
            likewise; `hmean_difference`: exported minus trained.
    """

    pages: int
    sizes: int
    lines: int
    map_error_mean: float
    map_error_max: float
    unmatched_share: float
    unmatched_share_confident: float
    line_error_median: float
    line_error_max: float
    line_error_share: float
    hmean_trained: float | None
    hmean_exported: float | None
    hmean_difference: float | None

    def told(self) -> tuple[str, ...]:
        """See `Parity.told`."""
        return (
            f"{self.pages} pages ({self.source}) at {self.sizes} sizes, {self.lines} lines",
            f"text maps differ by {self.map_error_mean:.1e} on average, "
            f"{self.map_error_max:.1e} at most",
            f"lines differ by {self.line_error_median:.3f} px in the median, "
            f"{self.line_error_max:.2f} px at most; without a partner: {self.unmatched_share:.2%}, "
            f"of scores well above the threshold: {self.unmatched_share_confident:.2%}",
            score_sentence("hmean", self.hmean_trained, self.hmean_exported),
        )

    def checks(self, limits: LineLimits) -> tuple[Check, ...]:
        """See `Parity.checks`."""
        return (
            (
                self.hmean_difference,
                limits.hmean,
                f"hmean differs by {self.hmean_difference or 0:+.2f} on {self.pages} pages",
            ),
            (
                self.map_error_mean,
                limits.map,
                f"text maps differ by {self.map_error_mean:.4f} on average",
            ),
            (
                self.line_error_share,
                limits.line,
                f"lines are off by {self.line_error_median:.2f} px in the median, a share of "
                f"{self.line_error_share:.4f} of the page",
            ),
            (
                self.unmatched_share_confident,
                limits.unmatched,
                "of the lines with a score well above the threshold, a share of "
                f"{self.unmatched_share_confident:.3f} has no partner",
            ),
        )


def compare_lines(
    trained: LineDetector, exported: LineDetector, pages: Pages, *, progress: bool = True
) -> LineParity:
    """Runs both detectors over all pages and compares their text maps and lines.

    Args:
        trained: the model.
        exported: the file.
        pages: at least one.
        progress: show a bar.

    Raises:
        UserError: the trained detector finds nothing at all, or a batch changes the result.
    """
    errors = []

    def same(first: FoundLines, second: FoundLines) -> bool:
        ((own, _), _) = _partners([first], [second])[0]
        return len(own) == len(first.scores) == len(second.scores)

    runs = run_both(
        trained,
        exported,
        pages,
        source=pages.source,
        same=same,
        prepare=lambda detector, pixels, number: detector.prepare(
            pixels, zoom=ZOOMS[number % len(ZOOMS)]
        ),
        watch=lambda prepared: errors.append(_map_error(trained, exported, prepared)),
        progress=progress,
    )
    lines = _line_numbers(
        runs.wanted, runs.given, runs.sides, least=trained.decoder.box_thresh + _MARGIN
    )
    before, after = (_hmean(pages, found) for found in (runs.wanted, runs.given))
    return LineParity(
        source=pages.source,
        pages=len(runs.wanted),
        sizes=len(runs.shapes),
        map_error_mean=float(np.mean([mean for mean, _ in errors])),
        map_error_max=float(np.max([most for _, most in errors])),
        **lines,
        hmean_trained=before,
        hmean_exported=after,
        hmean_difference=None if before is None else after - before,
        **runs.seconds,
    )


def _line_numbers(
    wanted: Sequence[FoundLines], given: Sequence[FoundLines], sides: Sequence[int], *, least: float
) -> dict[str, float]:
    """The numbers of `LineParity` about lines, by name; `sides` are the pages' longer ones."""
    pairs, moved = zip(*_partners(wanted, given), strict=True)
    shares = np.concatenate([error / side for error, side in zip(moved, sides, strict=True)])
    moved = np.concatenate([*moved, np.zeros(0)])
    return {
        "lines": sum(len(found.scores) for found in wanted),
        "unmatched_share": unmatched(wanted, given, pairs, least=0.0),
        "unmatched_share_confident": unmatched(wanted, given, pairs, least=least),
        "line_error_median": float(np.median(moved)) if len(moved) else 0.0,
        "line_error_max": float(moved.max(initial=0.0)),
        "line_error_share": float(np.median(shares)) if len(moved) else 0.0,
    }


def _partners(
    wanted: Sequence[FoundLines], given: Sequence[FoundLines]
) -> list[tuple[tuple[np.ndarray, np.ndarray], np.ndarray]]:
    """For each page the places of the partners in both, and by how many pixels they differ."""
    pages = measure([_as_truth(found) for found in wanted], [_as_found(each) for each in given])
    found = []
    for page in pages:
        one, other = pair(page.iou).T
        moved = abs(page.truth_box[one] - page.found_box[other]).max(1)
        found.append(((page.truth_places[one], page.found_places[other]), moved))
    return found


def _map_error(first: LineDetector, second: LineDetector, page: Prepared) -> tuple[float, float]:
    """Mean and greatest difference of the text maps' probabilities; 0 without maps."""
    if "text" not in first.outputs:
        return 0.0, 0.0
    maps = (detector.raw([page])[0]["text"].astype(np.float64) for detector in (first, second))
    one, other = (1 / (1 + np.exp(-each)) for each in maps)
    apart = abs(one - other)
    return float(apart.mean()), float(apart.max())


def _hmean(pages: Pages, found: Sequence[FoundLines]) -> float | None:
    """Hmean in 0..100; None where the lines of the pages are not known."""
    if pages.truth is None or any("lines" not in page for page in pages.truth):
        return None
    truth = [
        [(line["polygon"], bool(line.get("ignore"))) for line in page["lines"]]
        for page in pages.truth
    ]
    return score(truth, [_as_found(each) for each in found])["hmean"]


def _as_truth(found: FoundLines) -> list:
    return [(polygon, False) for polygon in found.polygons]


def _as_found(found: FoundLines) -> list:
    return list(zip(found.polygons, found.scores, strict=True))
