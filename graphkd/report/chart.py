"""Where the lines, areas and ticks of a chart lie; the templates turn them into SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from graphkd.report.curves import Series

WIDTH, HEIGHT = 480, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 26, 12, 46
_MOST_POINTS = 500
_MOST_MARKERS = 40


@dataclass(frozen=True)
class Mark:
    """One shape: an SVG path, its name and colour place, and points worth a dot: x, y, text."""

    name: str
    path: str
    colour: int
    dashed: bool
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """A chart ready to draw: marks and ticks (place in the picture, text)."""

    title: str
    x_label: str
    y_label: str
    filled: bool
    marks: list[Mark]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    frame: tuple[int, int, int, int] = (_LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM)
    size: tuple[int, int] = (WIDTH, HEIGHT)


def line_chart(title: str, series: Sequence[Series], *, y_label: str, dots: bool) -> Chart | None:
    """Lay out a chart of lines over the iterations; None where there is nothing to show.

    The y axis begins at 0, or at the lowest value below it. Long series are thinned to about
    500 points. With `dots` every point of a short series (up to 40) gets a dot that tells its
    value.
    """
    series = [_thin(line) for line in series if line.points]
    if not series:
        return None
    scale = _Scale(series, top=max(y for line in series for _, y in line.points))
    marks = []
    for line in series:
        places = [scale.place(x, y) for x, y in line.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        marked = dots and len(places) <= _MOST_MARKERS or len(places) == 1
        text = [f"{line.name}: {y:.3g} at iteration {x:.0f}" for x, y in line.points]
        tips = [(x, y, tip) for (x, y), tip in zip(places, text, strict=True)] if marked else []
        marks.append(Mark(line.name, path, line.colour, line.dashed, tips))
    return Chart(title, "iteration", y_label, False, marks, scale.x_ticks, scale.y_ticks)


def stacked_chart(title: str, series: Sequence[Series], *, y_label: str) -> Chart | None:
    """Lay out areas on top of each other, the first at the bottom; None if there is nothing.

    All series must have the same x values.
    """
    series = [_thin(line) for line in series if line.points]
    if not series:
        return None
    columns = np.array([[x for x, _ in line.points] for line in series])
    if not (columns == columns[0]).all():
        raise ValueError("stacked series must share their x values")
    edges = np.vstack([np.zeros(columns.shape[1]), np.cumsum([_ys(line) for line in series], 0)])
    scale = _Scale(series, top=float(edges.max()))
    marks = []
    for line, low, high in zip(series, edges, edges[1:], strict=False):
        there = [scale.place(x, y) for x, y in zip(columns[0], high, strict=True)]
        back = [scale.place(x, y) for x, y in zip(columns[0], low, strict=True)][::-1]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in there + back) + "Z"
        marks.append(Mark(line.name, path, line.colour, False, []))
    return Chart(title, "iteration", y_label, True, marks, scale.x_ticks, scale.y_ticks)


class _Scale:
    """From data to places in the picture, with round ticks."""

    def __init__(self, series: Sequence[Series], *, top: float) -> None:
        xs = [x for line in series for x, _ in line.points]
        self.x = (min(0.0, *xs), max(*xs, min(xs) + 1.0))
        low = min(0.0, *(y for line in series for _, y in line.points), top)
        y_values = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, top or 1.0)
        self.y = (float(y_values[0]), float(y_values[-1]))
        x_values = MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True).tick_values(*self.x)
        self.y_ticks = [(self.place(self.x[0], y)[1], f"{y:g}") for y in y_values]
        self.x_ticks = [
            (self.place(x, 0)[0], f"{x:,.0f}") for x in x_values if self.x[0] <= x <= self.x[1]
        ]

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            _LEFT + across * (WIDTH - _RIGHT - _LEFT),
            HEIGHT - _BOTTOM - up * (HEIGHT - _BOTTOM - _TOP),
        )


def _ys(line: Series) -> list[float]:
    return [y for _, y in line.points]


def _thin(line: Series) -> Series:
    step = -(-len(line.points) // _MOST_POINTS)
    if step <= 1:
        return line
    kept = line.points[::step]
    if kept[-1] != line.points[-1]:
        kept = [*kept, line.points[-1]]
    return Series(line.name, kept, line.colour, line.dashed)
