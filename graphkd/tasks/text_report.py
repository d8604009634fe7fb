"""The report sections of text detectors: hmean over the score threshold, the worst pages, and text
map and entropy map of a page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from graphkd.data.catalog import register_all
from graphkd.data.lines import published
from graphkd.data.mapper import read_for
from graphkd.errors import UserError
from graphkd.evaluation.hmean import Overlaps, curve, measure, score_pages
from graphkd.evaluation.matching import pair
from graphkd.modelfile import read_model
from graphkd.predict.detector import DEFAULT
from graphkd.predict.torch_detector import torch_lines
from graphkd.report.content import Boxes, Example
from graphkd.report.curves import Series, line_chart
from graphkd.report.page import Section, fill, page_section
from graphkd.report.pictures import data_uri
from graphkd.report.stored import Options, StoredRun, item_sections

FOUND = "lines.json"
_LABEL, _IGNORED = "text", "ignored"


@dataclass(frozen=True)
class Judged:
    """What a run found on the test pages.

    Attributes:
        lines: by image id, the stored lines, each with `polygon` and `score`.
        pages: the geometry of every page.
        box_thresh: the score from which a line counts.
    """

    lines: Mapping
    pages: list[Overlaps]
    box_thresh: float


def text_sections(
    runs: Sequence[StoredRun], options: Options, *, say: Callable[[str], None]
) -> tuple[list[Section], list[str]]:
    """The sections of a text report; see `graphkd.tasks.base.Task.report_sections`."""
    main, notes = runs[-1], []
    register_all()
    try:
        dicts = published(main.test_set or "")
    except UserError as error:
        sections, more = item_sections(runs, count=options.pages)
        return sections, [f"No single page can be shown: {error}.", *more]
    judged = {}
    for run in runs:
        rows = run.evaluated(FOUND) if run.test_set == main.test_set else None
        if rows is None:
            notes.append(
                f"{run.name} has no stored lines (eval/{run.test_set}/{FOUND}), so its pages "
                "cannot be judged; `graphkd eval` writes them."
            )
        else:
            judged[run.name] = _judge(run, rows, dicts)
    if main.name not in judged:
        return [], notes
    say(f"comparing lines with the {len(dicts)} pages of {main.test_set}")
    sections = [curve_section(judged)]
    own = judged[main.name]
    numbers = score_pages(page.above(own.box_thresh) for page in own.pages)
    order = np.argsort([page["hmean"] for page in numbers["pages"]], kind="stable")
    if not options.worst:
        order = np.arange(0, len(dicts), max(1, len(dicts) // max(options.pages, 1)))
    examples = []
    for place in order.tolist():
        if len(examples) == options.pages:
            break
        try:
            examples.append(_example(dicts[place], place, judged))
        except UserError as error:
            notes.append(f"A page cannot be shown: {error}.")
    if examples:
        kind = "with the lowest hmean of " if options.worst else "evenly spread, of "
        told = f"{len(examples)} of {len(dicts)} pages, {kind}{main.name} (IoU 0.5)."
        names = (_LABEL, _IGNORED)
        sections.append(page_section(examples, names, ranking=told, worst=options.worst))
    if options.graph and len(dicts):
        say(f"computing the text map of a page with {main.weights}")
        section, missing = maps_section(runs, dicts[int(order[0])], device=options.device)
        sections += [section] if section is not None else []
        notes += missing
    return sections, notes


def curve_section(judged: Mapping[str, Judged]) -> Section:
    """The chart of hmean over the score threshold."""
    series, best = [], {}
    for place, (name, run) in enumerate(judged.items(), start=int(len(judged) == 1)):
        rows = curve(run.pages)
        # Below the lowest stored score a curve says nothing.
        least = min((page.scores.min() for page in run.pages if len(page.scores)), default=0.0)
        points = [(row["box_thresh"], row["hmean"]) for row in rows if row["box_thresh"] >= least]
        series.append(Series(name, points or [(0.0, 0.0)], place))
        x, y = max(series[-1].points, key=lambda point: point[1])
        best[name] = f"best {y:.1f} at {x:.2f}; chosen {run.box_thresh:.2f}"
    chart = line_chart(
        "hmean over box_thresh", series, y_label="hmean (%)", dots=False, x_label="box_thresh"
    )
    legend = [(name, *drawn, best[name]) for name, *drawn, _ in chart.legend]
    text = (
        "A lower threshold raises recall and lowers precision. The threshold of every run was "
        "chosen on validation pages; the best of a curve on test pages is an upper bound."
    )
    charts = [replace(chart, legend=legend)]
    return Section("curve", "Score threshold", fill("curve.html.j2", text=text, charts=charts))


def maps_section(
    runs: Sequence[StoredRun], page: dict, *, device: str
) -> tuple[Section | None, list[str]]:
    """Text map and entropy map of a page for every run with weights, and what is missing."""
    image = read_for(page, format="RGB")
    pictures, notes = [("page", data_uri(image))], []
    for run in runs:
        try:
            stored = read_model(run.weights, config=run.folder / "config.yaml")
            detector = torch_lines(stored, device=device)
            if "text" not in detector.outputs:
                continue
            logits = detector.raw([detector.prepare(image)])[0]["text"][0]
        except UserError as error:
            notes.append(f"There is no text map of {run.name}: {error}.")
            continue
        probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
        for kind, values in (("text map", probability), ("entropy", entropy(logits))):
            pictures.append((f"{run.name}: {kind}", data_uri(_coloured(values))))
    if len(pictures) == 1:
        return None, notes
    text = (
        f"{Path(page['file_name']).name}: probability of text (dark 0, bright 1) and its entropy "
        "in bits (bright: undecided), as the network gives them before lines are made of them."
    )
    body = fill("maps.html.j2", text=text, pictures=pictures)
    return Section("maps", "Text map and entropy of a page", body), notes


def entropy(logits: np.ndarray) -> np.ndarray:
    """Entropy in bits, 0..1, of the two classes of a pixel, from its logit; 1 at a logit of 0."""
    size = abs(logits.astype(np.float64))  # it is even
    exponential = np.exp(-size)
    return (np.log1p(exponential) + size * exponential / (1 + exponential)) / np.log(2)


def _coloured(values: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB of values in 0..1."""
    levels = (255 * values.clip(0, 1)).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, :, ::-1].copy()


def _judge(run: StoredRun, rows: Sequence[dict], dicts: Sequence[dict]) -> Judged:
    lines = {row["id"]: row["lines"] for row in rows}
    found = [
        [(line["polygon"], line["score"]) for line in lines.get(page["image_id"], ())]
        for page in dicts
    ]
    truth = [[(line["polygon"], line["ignore"]) for line in page["lines"]] for page in dicts]
    return Judged(lines, measure(truth, found), _threshold(run))


def _threshold(run: StoredRun) -> float:
    """The run's score threshold as its weights say, else 0.5."""
    try:
        stored = read_model(run.weights, config=run.folder / "config.yaml")
        return float(torch_lines(stored, device="cpu").decoder.box_thresh)
    except UserError:
        return DEFAULT


def _example(page: dict, place: int, judged: Mapping[str, Judged]) -> Example:
    """One page with its truth and what every run found there."""
    image = read_for(page, format="RGB")
    lines, hit = page["lines"], None
    shown, scores = {}, []
    for name, run in judged.items():
        stored = run.lines.get(page["image_id"], ())
        kept = [i for i, line in enumerate(stored) if line["score"] >= run.box_thresh]
        geometry = run.pages[place].above(run.box_thresh)
        hit, paired = _paired(geometry, len(lines), len(stored))
        shown[name] = Boxes.of_lines(
            [stored[i]["polygon"] for i in kept],
            labels=[_LABEL] * len(kept),
            scores=[stored[i]["score"] for i in kept],
            paired=[paired[i] for i in kept],
        )
        scores.append(f"{name} {score_pages([geometry])['pages'][0]['hmean']:.1f}")
    truth = Boxes.of_lines(
        [line["polygon"] for line in lines],
        labels=[_IGNORED if line["ignore"] else _LABEL for line in lines],
        paired=hit,
    )
    title = f"{Path(page['file_name']).name} · hmean {', '.join(scores)}"
    return Example(image, title, truth, shown)


def _paired(page: Overlaps, objects: int, found: int) -> tuple[list[bool], list[bool]]:
    """Which texts and which detections have a partner, or need none since they are ignored."""
    rows, columns = pair(page.iou).T
    texts, others = np.zeros(objects, bool), np.zeros(found, bool)
    texts[page.truth_places[rows]] = texts[page.truth_places[page.ignore]] = True
    others[page.found_places[columns]] = others[page.found_places[page.ignored()]] = True
    return texts.tolist(), others.tolist()
