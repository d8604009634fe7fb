"""The HTML pages of reports: the parts of a page as dataclasses, and filling the templates.

A page is a single file without scripts that needs no network. All values are escaped.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from graphkd.evaluation.matching import MIN_IOU, precision, recall
from graphkd.io import write_text
from graphkd.report.content import Boxes, Example
from graphkd.report.curves import Chart
from graphkd.report.pictures import class_colours, data_uri
from graphkd.tasks.base import Metric

_BACKGROUND = "background"
_LONGEST = 900  # longest side of a picture in pixels, to keep the file small
_NARROW = 2  # with so few pictures per page, two pages fit side by side
# A text, and the length of the bar behind it in percent (None for no bar).
Cell = tuple[str, float | None]


@dataclass(frozen=True)
class Table:
    """A table with bars behind some of its numbers.

    Attributes:
        headings: the headings of the columns.
        rows: the cells of each row; the first cell is the row's name.
        words: number of columns with words, from the left; the others hold numbers.
        strong: numbers of the rows in bold.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: int = 1
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """A section that a task adds to a page; `body` is HTML from `fill`."""

    id: str
    title: str
    body: Markup


@dataclass(frozen=True)
class Report:
    """The content of a report, in the order of the page.

    Attributes:
        title: the title of the page.
        lead: sentences about the result; may be empty.
        otherwise: the sentence that is shown if `lead` is empty.
        notes: sentences below the lead about missing parts and the reasons.
        results: the main table; None to leave it out.
        results_notes: how to read the table.
        charts: charts of the training.
        charts_note: how to read the charts.
        classes: the values of each class; None to leave them out.
        classes_title: the heading of `classes`.
        sections: the task's sections.
        about: how the numbers were made, as text by name.
    """

    title: str
    lead: Sequence[str] = ()
    otherwise: str = ""
    notes: Sequence[str] = ()
    results: Table | None = None
    results_notes: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    charts_note: str = ""
    classes: Table | None = None
    classes_title: str = ""
    sections: Sequence[Section] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def write_report(path: Path, report: Report) -> None:
    """Writes the report in one step; parent folders are made."""
    write_text(Path(path), fill("page.html.j2", page=report))


def fill(template: str, **values: Any) -> Markup:
    """Fills a template of this folder; a missing value is an error."""
    return Markup(_environment().get_template(template).render(**values))


def bars(values: Sequence[float | None], metric: Metric) -> list[Cell]:
    """The values of a metric as cells; the largest value has the longest bar."""
    most = max((value for value in values if value is not None), default=0.0)
    return [(metric.text(value), _length(value, most)) for value in values]


def class_table(columns: Mapping[str, Mapping[str, float | None]], metric: Metric) -> Table | None:
    """One row per class and one column per model with values; None if no model has any."""
    columns = {name: values for name, values in columns.items() if values}
    names = list(dict.fromkeys(label for values in columns.values() for label in values))
    if not names:
        return None
    most = max(v or 0.0 for values in columns.values() for v in values.values())
    rows = [
        [(label, None)]
        + [
            (metric.text(values.get(label)), _length(values.get(label), most))
            for values in columns.values()
        ]
        for label in names
    ]
    return Table(["Class", *columns], rows)


def _length(value: float | None, most: float) -> float:
    return round(max(0.0, 100 * value / most), 1) if value and most > 0 else 0.0


def matrix_section(
    matrices: Mapping[str, np.ndarray], classes: Sequence[str], *, score: float
) -> Section:
    """The section with confusion matrices, (K + 1, K + 1) each, from `matching.confusion`."""
    tables = [matrix_table(name, counts, classes) for name, counts in matrices.items()]
    values = {"matrices": tables, "score": f"{score:g}", "min_iou": MIN_IOU}
    return Section("confusion", "Confusion matrix", fill("confusion.html.j2", **values))


def matrix_table(name: str, counts: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """The values of a confusion matrix for its template; rows are true classes.

    The shade of a cell is its share of the row's objects (in the row of background: of all
    predictions without an object). The right margin shows the number of objects and the share that
    was found, the lower margin the share of correct predictions.

    Args:
        name: the name of the model.
        counts: (K + 1, K + 1), from `matching.confusion`.
        classes: K names.
    """
    names = [*classes, _BACKGROUND]
    objects = [*(str(number) for number in counts[:-1].sum(1)), ""]
    found = [*map(_percent, recall(counts)), ""]
    return {
        "name": name,
        "columns": [breakable(name) for name in names],
        "rows": [
            {
                "name": names[i],
                "cells": [_cell(counts, i, j, names) for j in range(len(names))],
                "objects": objects[i],
                "found": found[i],
            }
            for i in range(len(names))
        ],
        "right": [*map(_percent, precision(counts)), ""],
    }


def _cell(counts: np.ndarray, i: int, j: int, names: list[str]) -> dict[str, Any]:
    number, total, last = int(counts[i, j]), int(counts[i].sum()), len(names) - 1
    if i == last:
        text = f"{number} of {total} predictions without an object are {names[j]}"
    elif j == last:
        text = f"{number} of {total} {names[i]} were not found"
    elif i == j:
        text = f"{number} of {total} {names[i]} were found"
    else:
        text = f"{number} of {total} {names[i]} were predicted as {names[j]}"
    return {
        "text": str(number) if number else "",
        "title": text if number else "",
        "shade": round(0.6 * number / total, 3) if total else 0.0,
        "right": i == j,
    }


def breakable(name: str) -> str:
    """Adds zero-width spaces to a class name, where a narrow column may break it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[-_/])", "\u200b", name)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def page_section(
    examples: Sequence[Example], classes: Sequence[str], *, ranking: str, worst: bool = True
) -> Section:
    """Pages with ground truth and predictions side by side; `ranking` is a sentence that says how
    they were selected.
    """
    shown = [boxes for each in examples for boxes in (each.truth, *each.predictions.values())]
    used = {name for boxes in shown for name in boxes.classes}
    colours = class_colours(classes)
    values = {
        "ranking": ranking,
        "colours": {name: colour for name, colour in colours.items() if name in used},
        "pages": [_panels(i, example, colours) for i, example in enumerate(examples)],
        "narrow": all(1 + len(each.predictions) <= _NARROW for each in examples),
    }
    return Section(
        "pages", "The worst pages" if worst else "Pages", fill("pages.html.j2", **values)
    )


def _panels(index: int, example: Example, colours: Mapping[str, str]) -> dict[str, Any]:
    """The values of one page: its picture, and a panel for the ground truth and for each model."""
    height, width = example.image.shape[:2]
    panels = {"Ground truth": example.truth, **example.predictions}
    return {
        "id": f"page-{index}",
        "title": example.title,
        "width": width,
        "height": height,
        "picture": data_uri(example.image, longest=_LONGEST),
        "unit": max(width, height) / 100,
        "panels": [
            {"id": f"page-{index}-{place}", "name": name, "boxes": _rectangles(boxes, colours)}
            for place, (name, boxes) in enumerate(panels.items())
        ],
    }


def _rectangles(boxes: Boxes, colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """The boxes of a panel. Big ones come first, so that small ones inside them lie on top."""
    x1, y1, x2, y2 = boxes.boxes.T
    shown = []
    for i in np.argsort(-(x2 - x1) * (y2 - y1), kind="stable"):
        score = "" if boxes.scores is None else f" {boxes.scores[i]:.2f}"
        shown.append(
            {
                "x": round(float(x1[i]), 1),
                "y": round(float(y1[i]), 1),
                "width": round(float(max(x2[i] - x1[i], 0)), 1),
                "height": round(float(max(y2[i] - y1[i], 0)), 1),
                "colour": colours[boxes.classes[i]],
                "label": f"{boxes.classes[i]}{score}",
                "points": "" if boxes.polygons is None else _points(boxes.polygons[i]),
                "alone": boxes.paired is not None and not boxes.paired[i],
            }
        )
    return shown


def _points(polygon: np.ndarray) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in polygon)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
