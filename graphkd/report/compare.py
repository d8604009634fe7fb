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
from graphkd.report.curves import loss_series, score_series
from graphkd.report.details import detail_parts
from graphkd.report.rendering import render
from graphkd.tasks.base import Metric


def write_compare_report(
    path: Path,
    *,
    rows: Sequence[Row],
    metrics: Sequence[Metric],
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
        metrics: the columns, the one that decides first.
        chosen: classes of the extra column.
        curves: name -> log of the model, as `mean_curve` gives it.
        about: how the numbers were made.
        notes: further sentences for the reader.
        details: confusion matrices and worst pages, where somebody looked at the predictions.
    """
    first = metrics[0]
    most = max((row.score.mean for row in rows if row.score), default=0.0)
    placed = {row.name: list(curves.get(row.name, [])) for row in rows}
    charts = [
        cost_chart(rows, first),
        line_chart("Own loss of the model", loss_series(placed), y_label="loss", dots=False),
        line_chart(
            f"{first.name} while training",
            score_series(placed, first),
            y_label=first.title,
            dots=True,
        ),
    ]
    text = render(
        "compare.html.j2",
        sentences=sentences(rows, first),
        headings=headings(metrics, chosen),
        rows=[
            {
                "method": row.name not in NOT_METHODS,
                "cells": cells(row, metrics, chosen),
                "share": _share(row.score and row.score.mean, most),
            }
            for row in rows
        ],
        notes=[*reading_notes(rows, first), *notes],
        charts=[chart for chart in charts if chart is not None],
        classes=_class_bars(rows, first),
        metric=first.name,
        models=[row.name for row in rows if row.per_class],
        details=detail_parts(details),
        about=about,
    )
    write_text(Path(path), text)


def _class_bars(rows: Sequence[Row], metric: Metric) -> list[dict]:
    """One line a class: its name and, per model, text and bar length in percent."""
    scored = [row for row in rows if row.per_class]
    known = [value for row in scored for value in row.per_class.values() if value is not None]
    most = max(known, default=0.0)
    return [
        {
            "name": label,
            "cells": [
                (metric.text(row.per_class.get(label)), _share(row.per_class.get(label), most))
                for row in scored
            ],
        }
        for label in class_names(scored)
    ]


def _share(value: float | None, most: float) -> float:
    return round(100 * value / most, 1) if value and most else 0.0


def cost_chart(rows: Sequence[Row], metric: Metric) -> Chart | None:
    """A metric against the cost of a training step, with a line of one standard deviation.

    The teacher is left out: its step is another network's. None without a row that has both.
    """
    points = [
        (place, row, row.step_cost, row.score.mean, row.score.std or 0.0)
        for place, row in enumerate(rows)
        if row.score is not None and row.step_cost is not None and row.name != TEACHER
    ]
    if not points:
        return None
    x_ticks = _ticks(0.0, max(cost for _, _, cost, _, _ in points))
    low = min(mean - std for _, _, _, mean, std in points)
    y_ticks = _ticks(low, max(mean + std for _, _, _, mean, std in points))
    empty = Chart(f"{metric.name} against the cost of a step", "", "", False, [], [], [])
    left, top, right, bottom = empty.frame

    def across(cost: float) -> float:
        return left + (cost - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - left)

    def up(ap: float) -> float:
        return bottom - (ap - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top)

    marks = []
    for place, row, cost, mean, std in points:
        x = across(cost)
        path = f"M{x:.1f} {up(mean - std):.1f}V{up(mean + std):.1f}"
        tip = f"{row.name}: {metric.text(mean)} {metric.name}, a step costs {cost:.2f} plain steps"
        marks.append(Mark(row.name, path, place, False, [(x, up(mean), tip)]))
    return Chart(
        empty.title,
        "duration of a step, plain student = 1",
        metric.title,
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


def mean_curve(logs: Sequence[list[dict]], metric: Metric) -> list[dict]:
    """The mean over runs of their own loss and a metric, at the iterations that all runs logged.

    Args:
        logs: one a run, as `read_curves()` gives them; none gives an empty curve.
        metric: the one that decides.

    Returns:
        Rows with iteration, `total_loss` (without distillation terms) and
        `eval/<metric>`, where every run has them.
    """
    scored, tables = f"eval/{metric.name}", []
    for log in logs:
        own = loss_series({"run": log})[-1:]
        values: dict[float, dict[str, float]] = {}
        for key, series in (("total_loss", own), (scored, score_series({"run": log}, metric))):
            for x, y in (point for line in series for point in line.points):
                values.setdefault(x, {})[key] = y
        tables.append(values)
    shared = sorted(set(tables[0]).intersection(*tables[1:])) if tables else []
    curve = []
    for x in shared:
        here = [values[x] for values in tables]
        row = {
            key: math.fsum(value[key] for value in here) / len(here)
            for key in ("total_loss", scored)
            if all(key in value for value in here)
        }
        if row:
            curve.append({"iteration": int(x), **row})
    return curve
