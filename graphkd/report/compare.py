"""A comparison of methods as one HTML page with its charts; the words come from elsewhere."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from graphkd.compare.rows import NOT_METHODS, TEACHER, Row
from graphkd.io import write_text
from graphkd.report.chart import Chart, Mark, line_chart
from graphkd.report.compare_text import cells, class_names, headings, reading_notes, sentences
from graphkd.report.content import Details
from graphkd.report.curves import ap_series, loss_series
from graphkd.report.details import detail_parts
from graphkd.report.rendering import render
from graphkd.report.table import tenths


def write_compare_report(
    path: Path,
    *,
    rows: Sequence[Row],
    chosen: Sequence[str],
    curves: Mapping[str, list[dict]],
    about: Mapping[str, str],
    notes: Sequence[str],
    details: Details | None = None,
) -> None:
    """Writes the comparison as one HTML page that needs no network and no scripts, atomically.

    Args:
        path: the file; parent folders are made.
        rows: the models, in the order of the table.
        chosen: classes of the extra column.
        curves: name -> log of the model, as `mean_detection_curve` gives it.
        about: how the numbers were made.
        notes: further sentences for the reader.
        details: confusion matrices and worst pages, where somebody looked at the predictions.
    """
    best = max((row.AP.mean for row in rows if row.AP), default=0.0)
    placed = {row.name: list(curves.get(row.name, [])) for row in rows}
    charts = [
        cost_chart(rows),
        line_chart("Detection loss", loss_series(placed), y_label="loss", dots=False),
        line_chart("AP while training", ap_series(placed), y_label="AP", dots=True),
    ]
    text = render(
        "compare.html.j2",
        sentences=sentences(rows),
        headings=headings(chosen),
        rows=[
            {
                "method": row.name not in NOT_METHODS,
                "cells": cells(row, chosen),
                "share": _share(row.AP and row.AP.mean, best),
            }
            for row in rows
        ],
        notes=[*reading_notes(rows), *notes],
        charts=[chart for chart in charts if chart is not None],
        classes=_class_bars(rows),
        models=[row.name for row in rows if row.per_class],
        details=detail_parts(details),
        about=about,
    )
    write_text(Path(path), text)


def _class_bars(rows: Sequence[Row]) -> list[dict]:
    """One line a class: its name and, per model, text and bar length in percent."""
    scored = [row for row in rows if row.per_class]
    return [
        {
            "name": label,
            "cells": [
                (tenths(row.per_class.get(label)), _share(row.per_class.get(label), 100.0))
                for row in scored
            ],
        }
        for label in class_names(scored)
    ]


def _share(value: float | None, most: float) -> float:
    return round(100 * value / most, 1) if value and most else 0.0


def cost_chart(rows: Sequence[Row]) -> Chart | None:
    """AP against the cost of a training step, with a line of one standard deviation up and down.

    The teacher is left out: its step is another network's. None without a row that has both.
    """
    points = [
        (place, row, row.step_cost, row.AP.mean, row.AP.std or 0.0)
        for place, row in enumerate(rows)
        if row.AP is not None and row.step_cost is not None and row.name != TEACHER
    ]
    if not points:
        return None
    x_ticks = _ticks(0.0, max(cost for _, _, cost, _, _ in points))
    low = min(mean - std for _, _, _, mean, std in points)
    y_ticks = _ticks(low, max(mean + std for _, _, _, mean, std in points))
    empty = Chart("AP against the cost of a step", "", "", False, [], [], [])
    left, top, right, bottom = empty.frame

    def across(cost: float) -> float:
        return left + (cost - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - left)

    def up(ap: float) -> float:
        return bottom - (ap - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top)

    marks = []
    for place, row, cost, mean, std in points:
        x = across(cost)
        path = f"M{x:.1f} {up(mean - std):.1f}V{up(mean + std):.1f}"
        tip = f"{row.name}: {mean:.1f} AP, a step costs {cost:.2f} plain steps"
        marks.append(Mark(row.name, path, place, False, [(x, up(mean), tip)]))
    return Chart(
        empty.title,
        "duration of a step, plain student = 1",
        "AP",
        False,
        marks,
        [(across(x), f"{x:g}") for x in x_ticks],
        [(up(y), f"{y:g}") for y in y_ticks],
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, two or more."""
    room = max(high - low, 0.1)
    values = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, low + room)
    return [round(float(value), 6) for value in values]


def mean_detection_curve(logs: Sequence[list[dict]]) -> list[dict]:
    """The mean over runs of detection loss and AP, at the iterations that all runs logged.

    Args:
        logs: one a run, as `read_curves()` gives them; none gives an empty curve.

    Returns:
        Rows with iteration, `total_loss` (the detection loss without distillation terms) and
        `eval/AP`, where every run has them.
    """
    tables = []
    for log in logs:
        own = loss_series({"run": log})[-1:]
        values: dict[float, dict[str, float]] = {}
        for key, series in (("total_loss", own), ("eval/AP", ap_series({"run": log}))):
            for x, y in (point for line in series for point in line.points):
                values.setdefault(x, {})[key] = y
        tables.append(values)
    shared = sorted(set(tables[0]).intersection(*tables[1:])) if tables else []
    curve = []
    for x in shared:
        here = [values[x] for values in tables]
        row = {
            key: math.fsum(value[key] for value in here) / len(here)
            for key in ("total_loss", "eval/AP")
            if all(key in value for value in here)
        }
        if row:
            curve.append({"iteration": int(x), **row})
    return curve
