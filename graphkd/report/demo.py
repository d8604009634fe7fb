"""The demo page: one HTML file that shows a distillation run, without network or scripts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphkd.compare.rows import METRICS
from graphkd.io import write_text
from graphkd.report.chart import Chart, line_chart, stacked_chart
from graphkd.report.colours import class_colours
from graphkd.report.content import GraphView, PageView
from graphkd.report.curves import loss_series, score_series, share_series
from graphkd.report.graph import STRONGEST, graph_parts
from graphkd.report.panels import page_panels
from graphkd.report.rendering import render
from graphkd.report.table import DASH, cells, gain_sentences, number


def write_demo_report(
    path: Path,
    *,
    rows: list[dict],
    curves: dict[str, list[dict]],
    pages: list[PageView],
    graph: GraphView | None,
    about: dict,
    seconds_label: str = "Training (s)",
) -> None:
    """Write the demo page, atomically.

    Args:
        path: the HTML file; parent folders are made.
        rows: result rows with role (teacher, student, distilled), method, params (a count), AP,
            AP50, AP75 (0..100), seconds, weights; what is missing or NaN shows as an en dash.
        curves: run name -> rows as `read_curves()` gives them.
        pages: pages to show, each with truth and predictions; boxes below a threshold are the
            caller's to leave out.
        graph: the document graph of one page, or None.
        about: how the run was made (command, seed, machine, date, versions, config names).
        seconds_label: heading of the seconds column, which says what those seconds are.
    """
    named = [page.truth for page in pages]
    named += [boxes for page in pages for boxes in page.predictions.values()]
    colours = class_colours(name for boxes in named for name in boxes.classes)
    text = render(
        "demo.html.j2",
        rows=[_row(row, rows) for row in rows],
        sentences=gain_sentences(rows),
        seconds_label=seconds_label,
        charts=_charts(curves),
        pages=[page_panels(i, page, colours) for i, page in enumerate(pages)],
        colours=colours,
        graph=None if graph is None else graph_parts(graph),
        strongest=STRONGEST,
        about={str(key): _text(value) for key, value in about.items()},
    )
    write_text(Path(path), text)


def _charts(curves: dict[str, list[dict]]) -> list[Chart]:
    charts = [
        line_chart("Training loss", loss_series(curves), y_label="loss", dots=False),
        line_chart("Validation AP", score_series(curves, METRICS[0]), y_label="AP", dots=True),
    ]
    for run, rows in curves.items():
        title = f"Share of each distillation term: {run}"
        charts.append(stacked_chart(title, share_series(rows), y_label="% of the whole loss"))
    return [chart for chart in charts if chart is not None]


def _row(row: dict, rows: Sequence[dict]) -> dict:
    """One table row: its texts, and its AP as a share of the best for the bar behind the number."""
    known = [ap for ap in (number(other.get("AP")) for other in rows) if ap]
    ap = number(row.get("AP"))
    share = 100 * ap / max(known) if ap and known else 0
    return {**cells(row), "weights": str(row.get("weights") or DASH), "share": round(share, 1)}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return DASH if value is None else str(value)
