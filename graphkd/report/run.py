"""The report of one run, or of a few that belong together, as one HTML page without network or
scripts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from graphkd.compare.rows import METRICS
from graphkd.io import write_text
from graphkd.report.chart import Chart, line_chart, stacked_chart
from graphkd.report.content import Details, GraphView, RunView
from graphkd.report.curves import (
    detection_series,
    loss_series,
    rate_series,
    score_series,
    share_series,
    term_series,
)
from graphkd.report.details import detail_parts, objects_of
from graphkd.report.graph import STRONGEST, graph_parts
from graphkd.report.rendering import render
from graphkd.report.table import DASH, cells, gain_sentences, number, tenths

_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
_HEADINGS = ("Model", "Method", *_NUMBERS, "Parameters (M)", "Steps", "Training (s)")


def write_run_report(
    path: Path,
    *,
    title: str,
    runs: Sequence[RunView],
    details: Details | None,
    graph: GraphView | None,
    graph_text: str,
    notes: Sequence[str],
    about: Mapping[str, str],
) -> None:
    """Write the report, atomically.

    Args:
        path: the HTML file; parent folders are made.
        title: of the page.
        runs: one or more; among several, roles are read from the names teacher, student and
            distilled.
        details: matrices and worst pages, or None.
        graph: the document graph of one page, or None.
        graph_text: one or two sentences on how that graph came about.
        notes: what is missing and why, a sentence each.
        about: how the runs were made.
    """
    best = max((number(run.scores.get("AP")) or 0.0 for run in runs), default=0.0)
    objects = objects_of(details)
    text = render(
        "run.html.j2",
        title=title,
        sentences=_sentences(runs),
        notes=list(notes),
        headings=_HEADINGS,
        rows=[_row(run, best, strong=len(runs) > 1 and run.method != "none") for run in runs],
        charts=run_charts(runs),
        classes=_classes(runs, objects),
        models=[_heading(run, runs) for run in runs if run.scores.get("per_class")],
        objects=bool(objects),
        details=detail_parts(details),
        graph=None if graph is None else graph_parts(graph),
        graph_text=graph_text,
        strongest=STRONGEST,
        about=about,
    )
    write_text(Path(path), text)


def run_charts(runs: Sequence[RunView]) -> list[Chart]:
    """Losses, validation AP and learning rate of all runs, then the terms of each distilled run.

    A single run shows its detection terms, too. Charts without a point are left out.
    """
    curves = {run.name: run.curves for run in runs}
    charts = [
        line_chart("Training loss", loss_series(curves), y_label="loss", dots=False),
        line_chart("Validation AP", score_series(curves, METRICS[0]), y_label="AP", dots=True),
    ]
    for run in runs:
        of = f": {run.name}" if len(runs) > 1 else ""
        if not of:
            series = detection_series(run.curves)
            charts.append(line_chart("Detection terms", series, y_label="loss", dots=False))
        series = term_series(run.curves)
        charts.append(line_chart(f"Distillation terms{of}", series, y_label="loss", dots=False))
        series = share_series(run.curves)
        name = f"Share of each distillation term{of}"
        charts.append(stacked_chart(name, series, y_label="% of the whole loss"))
    rates = rate_series(curves)
    charts.append(line_chart("Learning rate", rates, y_label="thousandths", dots=False))
    return [chart for chart in charts if chart is not None]


def _sentences(runs: Sequence[RunView]) -> list[str]:
    """The gain of the distilled over the plain student; for a single run its AP, best and worst
    class.
    """
    if len(runs) > 1:
        return gain_sentences([{**vars(run), **_as_row(run), "role": run.name} for run in runs])
    (run,) = runs
    ap = number(run.scores.get("AP"))
    if ap is None:
        return []
    pages = run.scores.get("images")
    where = f" on {pages} pages" if pages else ""
    known = {k: v for k, v in run.scores.get("per_class", {}).items() if number(v) is not None}
    text = f"{ap:.1f} AP{where}"
    if len(known) > 1:
        low, high = min(known, key=known.get), max(known, key=known.get)
        text += f"; best on {high} ({known[high]:.1f}), worst on {low} ({known[low]:.1f})"
    return [f"{text}."]


def _as_row(run: RunView) -> dict:
    return {"AP": run.scores.get("AP"), "params": run.parameters}


def _row(run: RunView, best: float, *, strong: bool) -> dict:
    ap = number(run.scores.get("AP"))
    texts = cells({"params": run.parameters, "seconds": run.seconds})
    return {
        "name": run.name,
        "method": run.method,
        "strong": strong,
        "share": round(100 * ap / best, 1) if ap and best else 0,
        "cells": [
            *(tenths(run.scores.get(key)) for key in _NUMBERS),
            texts["params"],
            DASH if run.steps is None else str(run.steps),
            texts["seconds"],
        ],
    }


def _heading(run: RunView, runs: Sequence[RunView]) -> str:
    return run.name if len(runs) > 1 else "AP"


def _classes(runs: Sequence[RunView], objects: Mapping[str, int]) -> list[dict]:
    scored = [run.scores["per_class"] for run in runs if run.scores.get("per_class")]
    names = list(dict.fromkeys(name for known in scored for name in known))
    return [
        {
            "name": name,
            "objects": objects.get(name, DASH),
            "cells": [
                (tenths(known.get(name)), round(number(known.get(name)) or 0.0, 1))
                for known in scored
            ],
        }
        for name in names
    ]
