"""Scores of whole pages that were read: lines, text end to end, reading order, regions.

Every page gives counts, and counts are summed before they are divided.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphkd.document import Line, Page
from graphkd.evaluation.hmean import document_lines, measure
from graphkd.evaluation.matching import box_iou, pair
from graphkd.evaluation.order import order_scores, text_likeness
from graphkd.evaluation.reading import count_line
from graphkd.evaluation.statistics import clustered_interval

MIN_IOU, STRICT_IOU = 0.5, 0.7
# Metric -> what is counted, and out of how many; in percent.
RATIOS = {
    "line_recall": ("matched", "lines"),
    "line_precision": ("matched", "found"),
    "line_recall70": ("matched70", "lines"),
    "splits": ("splits", "lines"),
    "merges": ("merges", "lines"),
    "line_height_error": ("height_errors", "with_height"),
    "CER_lines": ("edits", "characters"),
    "WER_lines": ("word_edits", "words"),
    "CER": ("all_edits", "all_characters"),
    "CER_no_spaces": ("all_edits_joined", "all_characters_joined"),
    "CER_true_lines": ("true_edits", "true_characters"),
    "NID": ("likeness", "pages"),
    "NID_true_order": ("likeness_true_order", "pages"),
    "successor": ("successors", "neighbours"),
    "kendall": ("kendall_pairs", "pairs"),
    "region_F1": ("regions_right_twice", "regions_both"),
    "CER_error": ("cer_error", "graded"),
}
# Metrics with an interval over documents.
_INTERVALS = ("CER", "line_recall", "NID")


def score_page(
    truth: Page, found: Page, *, document: str, true_lines: Sequence[Line] | None = None
) -> dict[str, Any]:
    """The counts of one page, for `totals`.

    Lines are matched at an IoU of 0.5. End to end, the text of a true line that was not found is
    deleted and that of a found line without a true one inserted.

    Args:
        truth: regions and lines with text, in reading order, in pixels of `found`.
        found: what was read.
        document: whose page it is.
        true_lines: the true lines in their order as the recogniser alone reads them; None where
            that was not tried.
    """
    texts, others = list(truth.lines), list(found.lines)
    (geometry,) = measure(
        [[(np.asarray(line.polygon), False) for line in texts]],
        [[(np.asarray(line.polygon), line.score or 1.0) for line in others]],
    )
    rows, columns = pair(geometry.iou, min_iou=MIN_IOU).T
    pairs = sorted(
        zip(
            geometry.truth_places[rows].tolist(),
            geometry.found_places[columns].tolist(),
            strict=True,
        )
    )
    counts: Counter[str] = Counter(pages=1, lines=len(texts), found=len(others))
    counts["matched"] = len(pairs)
    counts["matched70"] = len(pair(geometry.iou, min_iou=STRICT_IOU))
    for at, to in pairs:
        counts.update(count_line(texts[at].text, others[to].text))
    # `count_line` calls each pair a line, too.
    counts["lines"] = len(texts)
    missed = [line.text for i, line in enumerate(texts) if i not in {at for at, _ in pairs}]
    extra = [line.text for i, line in enumerate(others) if i not in {to for _, to in pairs}]
    counts["all_edits"] = counts["edits"] + sum(map(len, missed + extra))
    counts["all_characters"] = sum(len(line.text) for line in texts)
    joined = [count_line(_joined(texts[at].text), _joined(others[to].text)) for at, to in pairs]
    loose = sum(len(_joined(text)) for text in missed + extra)
    counts["all_edits_joined"] = sum(each["edits"] for each in joined) + loose
    counts["all_characters_joined"] = sum(len(_joined(line.text)) for line in texts)
    if true_lines is not None:
        read = [count_line(a.text, b.text) for a, b in zip(texts, true_lines, strict=True)]
        counts["true_edits"] = sum(each["edits"] for each in read)
        counts["true_characters"] = sum(each["characters"] for each in read)
    shape = document_lines([geometry])
    height = shape["line_height_error"]  # the median of the page, in percent
    likeness = text_likeness(truth.text, found.text)
    right_order = [to for _, to in pairs] + [
        i for i in range(len(others)) if i not in {to for _, to in pairs}
    ]
    sorted_text = "\n".join(others[i].text for i in right_order)
    order = order_scores([to for _, to in pairs])
    numbers: dict[str, Any] = {
        **counts,
        "splits": (shape["splits"] or 0.0) * len(texts) / 100,
        "merges": (shape["merges"] or 0.0) * len(texts) / 100,
        "height_errors": (height or 0.0) / 100,
        "with_height": int(height is not None),
        "likeness": likeness,
        "likeness_true_order": text_likeness(truth.text, sorted_text),
        "neighbours": max(len(pairs) - 1, 0),
        "successors": (order["successor"] or 0.0) * max(len(pairs) - 1, 0),
        "pairs": len(pairs) * (len(pairs) - 1) / 2,
        **_regions(truth, found),
    }
    numbers["kendall_pairs"] = (order["kendall"] or 0.0) * numbers["pairs"]
    if found.expected_cer is not None and counts["characters"]:
        true_cer = counts["edits"] / counts["characters"]
        numbers |= {"graded": 1, "cer_error": abs(found.expected_cer - true_cer)}
    said = {"source": found.source, "page": found.number, "document": document}
    return {**said, **numbers}


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of all pages together; None where there is nothing to divide by.

    `line_recall` and `line_precision` at an IoU of 0.5 and 0.7, `splits` and `merges` per 100
    lines, `line_height_error`, the mean over pages of their median; `CER_lines` and `WER_lines` of
    matched lines, `CER` end to end, with and without spaces, `CER_true_lines` of the recogniser
    alone; `NID` of page texts, and with the found lines in true order; `successor` and `kendall` of
    the order of matched lines; `region_F1` of regions with equal classes; `CER_error`, the mean of
    |expected - true| a page. All in percent, Kendall's tau times 100. `intervals` holds 95 %
    bootstrap intervals over documents.
    """
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update({name: row.get(name, 0) for both in RATIOS.values() for name in {*both}})
    said: dict[str, Any] = {
        name: 100 * sums[part] / sums[whole] if sums[whole] else None
        for name, (part, whole) in RATIOS.items()
    }
    said["intervals"] = {}
    for name in _INTERVALS:
        part, whole = RATIOS[name]
        if sums[whole]:
            own = clustered_interval(
                [100 * row[part] for row in rows],
                [row["document"] for row in rows],
                sizes=[row[whole] for row in rows],
            )
            said["intervals"][name] = [own.low, own.high]
    return said


def by_document(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """`totals` of each document, in the order of the rows."""
    return {
        name: totals([row for row in rows if row["document"] == name])
        for name in dict.fromkeys(row["document"] for row in rows)
    }


def table(total: Mapping[str, Any]) -> str:
    """The metrics as lines of text, with their intervals."""
    lines = []
    for name, value in total.items():
        if name == "intervals":
            continue
        low, high = total["intervals"].get(name, (None, None))
        around = "" if low is None else f"  ({low:.2f} to {high:.2f})"
        lines.append(f"{name:20}{'-' if value is None else f'{value:.2f}':>9}{around}")
    return "\n".join(lines)


def scaled(page: Page, size: tuple[int, int]) -> Page:
    """A page of truth brought to the pixels (width, height) of a page that was read."""
    x, y = size[0] / page.width, size[1] / page.height

    def move(part: Any) -> Any:
        return replace(part, polygon=tuple((u * x, v * y) for u, v in part.polygon))

    regions = (
        replace(move(region), lines=tuple(map(move, region.lines))) for region in page.regions
    )
    return replace(page, width=size[0], height=size[1], regions=tuple(regions))


def _joined(text: str) -> str:
    return "".join(text.split())


def _regions(truth: Page, found: Page) -> dict[str, int]:
    """Counts of regions whose classes both sides have: pairs twice, and the sum of both sides."""
    classes = {region.label for region in truth.regions} & {
        region.label for region in found.regions
    }
    first, second = (
        [region for region in page.regions if region.label in classes] for page in (truth, found)
    )
    overlap = box_iou(
        np.array([region.box for region in first]), np.array([region.box for region in second])
    )
    alike = np.array([[a.label == b.label for b in second] for a in first]).reshape(overlap.shape)
    right = len(pair(np.where(alike, overlap, 0.0), min_iou=MIN_IOU))
    return {"regions_right_twice": 2 * right, "regions_both": len(first) + len(second)}
