"""Training logs read and sorted into series of points; no drawing.

A log is Detectron2's metrics.json: one JSON object a line, each with its iteration.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from graphkd.errors import UserError
from graphkd.tasks.base import Metric

_SHARE = "kd_share/"
_TERM = "loss_kd_"
_FIRST_TERM_COLOUR = 3  # the first ones belong to teacher, student and distilled


@dataclass(frozen=True)
class Series:
    """One line of a chart: its name, its points (x, y), and how it is drawn.

    `colour` is a place in the page's list of curve colours; lines of one run share it.
    """

    name: str
    points: list[tuple[float, float]]
    colour: int
    dashed: bool = False


def read_curves(path: Path) -> list[dict]:
    """Read a metrics.json of Detectron2, one dict an iteration, in order.

    Lines of the same iteration are joined, the later one wins: so a resumed run gives one curve.

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


def loss_series(curves: dict[str, list[dict]]) -> list[Series]:
    """Give each run's total loss and, where it distils, its own loss without those terms."""
    series = []
    for colour, (run, rows) in enumerate(curves.items()):
        total = _points(rows, lambda row: row.get("total_loss"))
        if not any(key.startswith(_TERM) for row in rows for key in row):
            series.append(Series(run, total, colour))
            continue
        series.append(Series(f"{run}: all terms", total, colour))
        series.append(Series(f"{run}: own loss", _points(rows, _own_loss), colour, dashed=True))
    return [line for line in series if line.points]


def score_series(curves: dict[str, list[dict]], metric: Metric) -> list[Series]:
    """Give each run's value of a metric on the validation set where one was logged."""
    # Detectron2's own evaluators log "bbox/AP".
    keys = [f"{prefix}{metric.name}" for prefix in ("", "eval/", "bbox/")]

    def value(row: dict) -> float | None:
        return next((row[key] for key in keys if key in row), None)

    series = [
        Series(run, _points(rows, value), colour)
        for colour, (run, rows) in enumerate(curves.items())
    ]
    return [line for line in series if line.points]


def share_series(rows: list[dict]) -> list[Series]:
    """Give each distillation term's share of the total loss in percent, largest on average first.

    Only iterations at which some share was logged count; a term that wasn't is 0 there.
    """
    logged = [row for row in rows if any(key.startswith(_SHARE) for key in row)]
    terms = list(dict.fromkeys(key for row in logged for key in row if key.startswith(_SHARE)))
    logged = [row for row in logged if all(_finite(row.get(term, 0.0)) for term in terms)]
    columns = {
        term: [(row["iteration"], 100.0 * row.get(term, 0.0)) for row in logged] for term in terms
    }
    ranked = sorted(terms, key=lambda term: -sum(y for _, y in columns[term]))
    return [
        Series(term.removeprefix(_SHARE), columns[term], _FIRST_TERM_COLOUR + place)
        for place, term in enumerate(ranked)
        if columns[term]
    ]


def detection_series(rows: list[dict]) -> list[Series]:
    """Give the detector's own loss terms (`loss_...`), in alphabetical order."""
    keys = sorted(
        {key for row in rows for key in row if key.startswith("loss_") and _TERM not in key}
    )
    series = [
        Series(key.removeprefix("loss_"), _column(rows, key), place)
        for place, key in enumerate(keys)
    ]
    return [line for line in series if line.points]


def term_series(rows: list[dict]) -> list[Series]:
    """Give each distillation term as it enters the loss, in order and colours of their shares."""
    keys = list(dict.fromkeys(key for row in rows for key in row if key.startswith(_TERM)))
    order = {line.name: place for place, line in enumerate(share_series(rows))}
    keys.sort(key=lambda key: order.get(key.removeprefix(_TERM), len(order)))
    series = [
        Series(key.removeprefix(_TERM), _column(rows, key), _FIRST_TERM_COLOUR + place)
        for place, key in enumerate(keys)
    ]
    return [line for line in series if line.points]


def rate_series(curves: dict[str, list[dict]]) -> list[Series]:
    """Give each run's learning rate in thousandths; runs with the same one share a line."""
    series: list[Series] = []
    for colour, (run, rows) in enumerate(curves.items()):
        points = [(x, 1000 * y) for x, y in _column(rows, "lr")]
        same = next((i for i, line in enumerate(series) if line.points == points), None)
        if points and same is None:
            series.append(Series(run, points, colour))
        elif points:
            series[same] = replace(series[same], name=f"{series[same].name}, {run}")
    return series


def _column(rows: list[dict], key: str) -> list[tuple[float, float]]:
    return _points(rows, lambda row: row.get(key))


def _points(rows: list[dict], value_of) -> list[tuple[float, float]]:
    values = ((row["iteration"], value_of(row)) for row in rows)
    return [(float(x), float(y)) for x, y in values if _finite(y)]


def _own_loss(row: dict) -> float | None:
    """Subtract the distillation terms from a row's total; None where no total was logged."""
    if row.get("total_loss") is None:
        return None
    return row["total_loss"] - sum(
        value for key, value in row.items() if key.startswith(_TERM) and value is not None
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
