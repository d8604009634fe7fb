"""Reads training logs, and draws charts of their losses, scores and learning rates.

A log is Detectron2's metrics.json: one JSON object per line, each with its iteration.
"""

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from graphkd.errors import UserError
from graphkd.tasks.base import Metric

Log = list[dict]

_ITERATION = "iteration"
_SHARE = "kd_share/"
_TERM = "loss_kd_"
# These can be told apart with the common kinds of colour blindness, and are dark enough for paper.
COLOURS = (
    *("#6a6f78", "#0072b2", "#d55e00", "#00865f", "#aa3377", "#a67c00", "#332288", "#2a9d9d"),
)
_FIRST_TERM_COLOUR = 3  # the first three belong to teacher, student and distilled student
MARKERS = "osD^vP*X"
_MOST_POINTS = 500  # a chart is not wide enough for more
_MOST_MARKERS = 40
_STYLE = {
    "svg.fonttype": "none",  # text stays text, which is small and can be searched
    "svg.hashsalt": "graphkd",  # the same chart is the same file
    "text.parse_math": False,  # a $ in a name is no formula
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.edgecolor": "#8a8f98",
    "grid.color": "#e4e2dc",
    **dict.fromkeys([f"axes.spines.{side}" for side in ("left", "top", "right")], False),
    **dict.fromkeys(["axes.labelcolor", "xtick.color", "ytick.color"], "#5b6470"),
    "ytick.left": False,
}


@dataclass(frozen=True)
class Series:
    """One line of a chart. `colour` is an index into `COLOURS`; lines of one run share it."""

    name: str
    points: list[tuple[float, float]]
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes:
        title: the title above it.
        picture: the SVG as a data URI.
        legend: (name, colour, dashed, last value) of each series, in the order of drawing.
        filled: whether it shows areas instead of lines.
    """

    title: str
    picture: str
    legend: list[tuple[str, str, bool, str]]
    filled: bool = False


def read_curves(path: Path) -> Log:
    """Reads a metrics.json as one dict per iteration, in order.

    Lines of the same iteration are joined, and later values replace earlier ones, so that a resumed
    run has one curve.

    Raises:
        UserError: the file is missing, or a line is no JSON object with an iteration.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the training log {path}: {error}") from error
    rows: dict[int, dict] = {}
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.setdefault(int(row["iteration"]), {}).update(row)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} line {place} is not a training log entry; delete that line or the file"
            ) from error
    return [rows[iteration] for iteration in sorted(rows)]


def loss_series(logs: Mapping[str, Log]) -> list[Series]:
    """The total loss of each run, and for a distilled run also its own loss: the total without the
    distillation terms.
    """
    series = []
    for colour, (run, rows) in _coloured(logs):
        total = _column(rows, "total_loss")
        if not any(key.startswith(_TERM) for row in rows for key in row):
            series.append(Series(run, total, colour))
            continue
        series.append(Series(f"{run}: all terms", total, colour))
        series.append(Series(f"{run}: own loss", points_of(rows, own_loss), colour, dashed=True))
    return _filled(series)


def score_series(logs: Mapping[str, Log], metric: Metric) -> list[Series]:
    """The values of a metric on the validation set, by run."""
    # Detectron2's own evaluators log "bbox/AP".
    keys = [f"{prefix}{metric.name}" for prefix in ("", "eval/", "bbox/")]

    def value(row: dict) -> float | None:
        return next((row[key] for key in keys if key in row), None)

    return _filled(
        Series(run, points_of(rows, value), colour) for colour, (run, rows) in _coloured(logs)
    )


def share_series(rows: Log) -> list[Series]:
    """The share of each distillation term in the total loss in percent, the largest mean first.

    Iterations without any share are left out; at the others a missing share is 0.
    """
    logged = [row for row in rows if any(key.startswith(_SHARE) for key in row)]
    terms = list(dict.fromkeys(key for row in logged for key in row if key.startswith(_SHARE)))
    logged = [row for row in logged if all(_finite(row.get(term, 0.0)) for term in terms)]
    columns = {
        term: [(row["iteration"], 100.0 * row.get(term, 0.0)) for row in logged] for term in terms
    }
    ranked = sorted(terms, key=lambda term: -sum(y for _, y in columns[term]))
    return _filled(
        Series(term.removeprefix(_SHARE), columns[term], _FIRST_TERM_COLOUR + place)
        for place, term in enumerate(ranked)
    )


def own_series(rows: Log) -> list[Series]:
    """The terms of the model's own loss (`loss_...`), in alphabetical order."""
    keys = {key for row in rows for key in row if key.startswith("loss_") and _TERM not in key}
    return _filled(
        Series(key.removeprefix("loss_"), _column(rows, key), place)
        for place, key in enumerate(sorted(keys))
    )


def term_series(rows: Log) -> list[Series]:
    """The distillation terms as they are added to the loss, in the order and colours of
    `share_series`.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row if key.startswith(_TERM)))
    order = {line.name: place for place, line in enumerate(share_series(rows))}
    keys.sort(key=lambda key: order.get(key.removeprefix(_TERM), len(order)))
    return _filled(
        Series(key.removeprefix(_TERM), _column(rows, key), _FIRST_TERM_COLOUR + place)
        for place, key in enumerate(keys)
    )


def rate_series(logs: Mapping[str, Log]) -> list[Series]:
    """The learning rates in thousandths; runs with the same learning rates share a line."""
    series: list[Series] = []
    for colour, (run, rows) in _coloured(logs):
        points = [(x, 1000 * y) for x, y in _column(rows, "lr")]
        same = next((i for i, line in enumerate(series) if line.points == points), None)
        if points and same is None:
            series.append(Series(run, points, colour))
        elif points:
            series[same] = replace(series[same], name=f"{series[same].name}, {run}")
    return series


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    y_label: str,
    dots: bool,
    x_label: str = _ITERATION,
) -> Chart | None:
    """Draws lines over the iterations or another number; None if there are no points.

    The y axis begins at 0, or at the lowest negative value. Long series are thinned to about 500
    points. With `dots`, the points of short series (up to 40) get markers.
    """

    def draw(axes, shown: list[Series]) -> None:
        for place, line in enumerate(shown):
            marked = (dots and len(line.points) <= _MOST_MARKERS) or len(line.points) == 1
            axes.plot(
                *zip(*line.points, strict=True),
                color=colour_of(line.colour),
                linestyle="--" if line.dashed else "-",
                marker=MARKERS[place % len(MARKERS)] if marked else None,
                markersize=4,
                linewidth=1.5,
            )
        axes.set_ylim(bottom=min(0.0, *(y for line in shown for _, y in line.points)))

    return _chart(title, series, draw, y_label=y_label, x_label=x_label)


def stacked_chart(title: str, series: Sequence[Series], *, y_label: str) -> Chart | None:
    """Draws stacked areas, the first at the bottom; None if there are no points.

    Raises:
        ValueError: the series have different x values.
    """

    def draw(axes, shown: list[Series]) -> None:
        xs, ys = np.moveaxis(np.array([line.points for line in shown]), 2, 0)
        colours = [colour_of(line.colour) for line in shown]
        axes.stackplot(xs[0], ys, colors=colours, alpha=0.8, edgecolor="white", linewidth=0.4)
        axes.set_ylim(bottom=0)

    if len({tuple(x for x, _ in line.points) for line in series}) > 1:
        raise ValueError("stacked series must share their x values")
    return _chart(title, series, draw, y_label=y_label, filled=True)


def _chart(
    title: str,
    series: Sequence[Series],
    draw: Callable,
    *,
    y_label: str,
    x_label: str = _ITERATION,
    filled: bool = False,
) -> Chart | None:
    shown = [replace(line, points=_thin(line.points)) for line in series if line.points]
    if not shown:
        return None
    keys = [(s.name, colour_of(s.colour), s.dashed, f"{s.points[-1][1]:.3g}") for s in shown]

    def draw_shown(axes) -> None:
        axes.xaxis.get_major_locator().set_params(integer=x_label == _ITERATION)
        draw(axes, shown)

    drawn = picture(draw_shown, x_label=x_label, y_label=y_label)
    return Chart(title, drawn, keys, filled)


def colour_of(place: int) -> str:
    """The colour of an index; after the last colour, they are used again from the first."""
    return COLOURS[place % len(COLOURS)]


def picture(draw: Callable, *, x_label: str, y_label: str) -> str:
    """Draws a chart with `draw(axes)` and returns it as an SVG data URI.

    The legend is part of the page and not of the chart: names can be long, and the page escapes
    them.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.8, 2.8), layout="constrained")
        axes = figure.subplots()
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        draw(axes)
        axes.set(xlabel=x_label, ylabel=y_label)
        stream = io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _coloured(logs: Mapping[str, Log]) -> list[tuple[int, tuple[str, Log]]]:
    """Runs with their colours. The first of several is the teacher, which is grey."""
    return list(enumerate(logs.items(), start=0 if len(logs) > 1 else 1))


def _filled(series) -> list[Series]:
    return [line for line in series if line.points]


def _column(rows: Log, key: str) -> list[tuple[float, float]]:
    return points_of(rows, lambda row: row.get(key))


def points_of(rows: Log, value_of: Callable[[dict], float | None]) -> list[tuple[float, float]]:
    values = ((row["iteration"], value_of(row)) for row in rows)
    return [(float(x), float(y)) for x, y in values if _finite(y)]


def own_loss(row: dict) -> float | None:
    """The total loss of a row without distillation terms; None if no total was logged."""
    if row.get("total_loss") is None:
        return None
    return row["total_loss"] - sum(
        value for key, value in row.items() if key.startswith(_TERM) and value is not None
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = -(-len(points) // _MOST_POINTS)
    kept = points[:: max(step, 1)]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
