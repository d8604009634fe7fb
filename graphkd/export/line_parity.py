"""Maps and lines of an exported text detector, compared with those of the trained one."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.evaluation.hmean import Overlaps, measure, score
from graphkd.evaluation.matching import pair
from graphkd.export.pages import Pages
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


@dataclass(frozen=True)
class LineParity:
    """The trained text detector and its export on the same pages.

    Attributes:
        source: what the pages are.
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
        seconds_trained: median of a page, `seconds_exported` likewise; rough.
    """

    source: str
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
    seconds_trained: float
    seconds_exported: float

    def words(self) -> tuple[str, ...]:
        """The numbers in words."""
        truth = (
            "hmean not measured: the lines of these pages are not known; name a set with --pages"
        )
        if self.hmean_difference is not None:
            truth = (
                f"hmean {self.hmean_trained:.2f} trained, {self.hmean_exported:.2f} exported "
                f"({self.hmean_difference:+.3f})"
            )
        return (
            f"{self.pages} pages ({self.source}) at {self.sizes} sizes, {self.lines} lines",
            f"text maps differ by {self.map_error_mean:.1e} on average, "
            f"{self.map_error_max:.1e} at most",
            f"lines differ by {self.line_error_median:.3f} px in the median, "
            f"{self.line_error_max:.2f} px at most; without a partner: {self.unmatched_share:.2%}, "
            f"of scores well above the threshold: {self.unmatched_share_confident:.2%}",
            truth,
            f"a page took {self.seconds_trained * 1000:.0f} ms trained, "
            f"{self.seconds_exported * 1000:.0f} ms exported (rough)",
        )

    def faults(self, limits: LineLimits) -> tuple[str, ...]:
        """Why the file must not be used; empty where all is well."""
        found = []
        if self.hmean_difference is not None and abs(self.hmean_difference) > limits.hmean:
            found.append(
                f"hmean differs by {self.hmean_difference:+.2f} on {self.pages} pages, allowed is "
                f"{limits.hmean:g}"
            )
        if self.map_error_mean > limits.map:
            found.append(
                f"text maps differ by {self.map_error_mean:.4f} on average, allowed is "
                f"{limits.map:g}"
            )
        if self.line_error_share > limits.line:
            found.append(
                f"lines are off by {self.line_error_median:.2f} px in the median, "
                f"{self.line_error_share:.2%} of the page; allowed is {limits.line:.2%}"
            )
        if self.unmatched_share_confident > limits.unmatched:
            found.append(
                f"{self.unmatched_share_confident:.1%} of the lines with a score well above the "
                f"threshold have no partner, allowed is {limits.unmatched:.1%}"
            )
        return tuple(found)


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
    wanted, given, sides, errors, sizes = [], [], [], [], set()
    seconds: tuple[list[float], list[float]] = ([], [])
    batch_page = None
    bar = tqdm(pages, desc="comparing", unit="page", total=len(pages), disable=not progress)
    for index, pixels in enumerate(bar):
        prepared = trained.prepare(pixels, zoom=ZOOMS[index % len(ZOOMS)])
        for detector, found, times in zip(
            (trained, exported), (wanted, given), seconds, strict=True
        ):
            start = time.perf_counter()
            found += detector.detect([prepared])
            times.append(time.perf_counter() - start)
        errors.append(_map_error(trained, exported, prepared))
        sides.append(max(pixels.shape[:2]))
        sizes.add(prepared.shape)
        if batch_page is None and len(wanted[-1].scores):
            batch_page = prepared
    if batch_page is None:
        raise UserError(
            f"the model finds nothing on {pages.source}, so nothing can be compared; "
            "name pages of its kind with --pages"
        )
    if _changed(exported.detect([batch_page])[0], exported.detect([batch_page] * 3)[1]):
        raise UserError(
            "the exported file finds other lines on a page alone than in a batch; it is not kept"
        )
    lines = _line_numbers(wanted, given, sides, least=trained.decoder.box_thresh + _MARGIN)
    before, after = (_hmean(pages, found) for found in (wanted, given))
    return LineParity(
        source=pages.source,
        pages=len(wanted),
        sizes=len(sizes),
        map_error_mean=float(np.mean([mean for mean, _ in errors])),
        map_error_max=float(np.max([most for _, most in errors])),
        **lines,
        hmean_trained=before,
        hmean_exported=after,
        hmean_difference=None if before is None else after - before,
        seconds_trained=statistics.median(seconds[0]),
        seconds_exported=statistics.median(seconds[1]),
    )


def _line_numbers(
    wanted: Sequence[FoundLines], given: Sequence[FoundLines], sides: Sequence[int], *, least: float
) -> dict[str, float]:
    """The numbers of `LineParity` about lines, by name; `sides` are the pages' longer ones."""
    overlaps = measure([_as_truth(found) for found in wanted], [_as_found(each) for each in given])
    pairs = [pair(page.iou) for page in overlaps]
    moved = [
        abs(page.truth_box[own[:, 0]] - page.found_box[own[:, 1]]).max(1)
        for page, own in zip(overlaps, pairs, strict=True)
    ]
    shares = np.concatenate([error / side for error, side in zip(moved, sides, strict=True)])
    moved = np.concatenate([*moved, np.zeros(0)])
    return {
        "lines": sum(len(found.scores) for found in wanted),
        "unmatched_share": _unmatched(wanted, given, overlaps, least=0.0),
        "unmatched_share_confident": _unmatched(wanted, given, overlaps, least=least),
        "line_error_median": float(np.median(moved)) if len(moved) else 0.0,
        "line_error_max": float(moved.max(initial=0.0)),
        "line_error_share": float(np.median(shares)) if len(moved) else 0.0,
    }


def _unmatched(
    wanted: Sequence[FoundLines],
    given: Sequence[FoundLines],
    pages: Sequence[Overlaps],
    least: float,
) -> float:
    """Share of the lines of either side, of at least this score, without a partner."""
    lonely = total = 0
    for first, second, page in zip(wanted, given, pages, strict=True):
        own = pair(page.iou)
        partners = page.truth_places[own[:, 0]], page.found_places[own[:, 1]]
        for found, places in zip((first, second), partners, strict=True):
            counts = found.scores >= least
            total += int(counts.sum())
            lonely += int(counts.sum() - counts[places].sum())
    return lonely / max(total, 1)


def _map_error(first: LineDetector, second: LineDetector, page: Prepared) -> tuple[float, float]:
    """Mean and greatest difference of the text maps' probabilities; 0 without maps."""
    if "text" not in first.outputs:
        return 0.0, 0.0
    maps = (detector.raw([page])[0]["text"].astype(np.float64) for detector in (first, second))
    one, other = (1 / (1 + np.exp(-each)) for each in maps)
    apart = abs(one - other)
    return float(apart.mean()), float(apart.max())


def _changed(alone: FoundLines, among: FoundLines) -> bool:
    (page,) = measure([_as_truth(alone)], [_as_found(among)])
    return not len(pair(page.iou)) == len(alone.scores) == len(among.scores)


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
