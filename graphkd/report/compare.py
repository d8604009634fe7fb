"""The report of a comparison as one HTML page: table, costs, curves, classes, pages."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphkd.compare.rows import NOT_METHODS, PLAIN, TEACHER, Row, Run, compare_runs
from graphkd.errors import UserError
from graphkd.lists import names_in
from graphkd.report.curves import (
    MARKERS,
    Chart,
    Log,
    colour_of,
    line_chart,
    loss_series,
    own_loss,
    picture,
    points_of,
    read_curves,
    score_series,
)
from graphkd.report.page import Report, Section, Table, bars, class_table, fill, write_report
from graphkd.report.stored import Options, is_run, read_json, read_run, sections_of
from graphkd.report.tables import cells, headings, reading_notes, sentences, weight_search
from graphkd.tasks.base import DEFAULT, Metric, task_named

COMPARISON = "compare.json"
_Say = Callable[[str], None]
_MEANS = (
    "Curves are means over the seeds; the own loss does not include the distillation terms. A "
    "vertical line at a point is one standard deviation up and down. The number behind a name is "
    "the last value of its curve."
)


def report_comparison(folder: Path, out: Path, options: Options, *, say: _Say) -> list[str]:
    """Writes the report of a comparison's folder; returns a sentence for each missing part.

    Besides the numbers, the report shows the task's sections (such as the worst pages) for the best
    method, the plain student and the teacher, at the first seed.

    Raises:
        UserError: compare.json, or a file of a run, is damaged.
    """
    values = read_json(folder / COMPARISON, dict)
    try:
        runs = [Run.from_json(row) for row in values["runs"]]
        metrics = task_named(DEFAULT).columns  # earlier versions had only this task
        if "metrics" in values:
            metrics = tuple(Metric(**each) for each in values["metrics"])
        about, notes = dict(values["about"]), list(values["notes"])
        names = [row["name"] for row in values["rows"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder / COMPARISON}: not the results of a comparison ({error}); run it again"
        ) from error
    chosen = _chosen(about.get("command", ""))
    rows = compare_runs(runs, metrics, chosen=chosen, names=names)
    sections, missing = _best_sections(folder, rows, runs, metrics[0], options, say)
    write_compare_report(
        out,
        rows=rows,
        metrics=metrics,
        chosen=chosen,
        curves=mean_curves(folder, runs, metrics[0]),
        about=about,
        notes=[*notes, *missing],
        tuning=values.get("tuning"),
        sections=sections,
    )
    return missing


def write_compare_report(
    path: Path,
    *,
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    chosen: Sequence[str],
    curves: Mapping[str, Log],
    about: Mapping[str, str],
    notes: Sequence[str],
    tuning: Mapping[str, Any] | None = None,
    sections: Sequence[Section] = (),
) -> None:
    """Writes a comparison as one HTML page, in one step.

    Args:
        path: the file; its parent folders are made.
        rows: the models, in the order of the table.
        metrics: the columns, the primary metric first.
        chosen: classes with a mean of their own.
        curves: model name -> mean log, from `mean_curves`.
        about: how the numbers were made, as text by name.
        notes: more sentences for the reader.
        tuning: the search for loss weights as compare.json holds it; None without one.
        sections: the task's sections.
    """
    first = metrics[0]
    logs = {row.name: list(curves.get(row.name, [])) for row in rows}
    title = f"{first.name} on the validation set"
    charts = [
        cost_chart(rows, first),
        line_chart("Own loss", loss_series(logs), y_label="loss", dots=False),
        line_chart(title, score_series(logs, first), y_label=first.title, dots=True),
    ]
    columns = {row.name: row.per_class for row in rows}
    page = Report(
        title="Comparison of distillation methods",
        lead=sentences(rows, first),
        otherwise="No method has finished.",
        results=_results(rows, metrics, chosen),
        results_notes=[*reading_notes(rows, first), *notes],
        charts=[chart for chart in charts if chart is not None],
        charts_note=_MEANS,
        classes=class_table(columns, first),
        classes_title=f"{first.name} by class",
        sections=[*([_search_section(tuning, first)] if tuning else []), *sections],
        about=about,
    )
    write_report(path, page)


def _search_section(tuning: Mapping[str, Any], metric: Metric) -> Section:
    names, rows, text = weight_search(tuning, metric)
    table = Table(names, [[(cell, None) for cell in row] for row in rows])
    body = fill("items.html.j2", text=text, table=table)
    return Section("weights", "Search for the loss weights", body)


def mean_curve(logs: Sequence[Log], metric: Metric) -> Log:
    """Averages the own loss and a metric over runs, at the iterations that all runs logged.

    Args:
        logs: the logs of the runs, from `read_curves`; may be empty.
        metric: the primary metric.

    Returns:
        Rows with `iteration`, `total_loss` (without distillation terms) and `eval/<metric>`; values
        that a run lacks are left out.
    """
    columns = {
        "total_loss": [dict(points_of(log, own_loss)) for log in logs],
        f"eval/{metric.name}": [
            dict(point for line in score_series({"": log}, metric) for point in line.points)
            for log in logs
        ],
    }
    curve: dict[float, dict[str, float]] = {}
    for key, runs in columns.items():
        for x in set(runs[0]).intersection(*runs[1:]) if runs else ():
            curve.setdefault(x, {})[key] = math.fsum(run[x] for run in runs) / len(runs)
    return [{"iteration": int(x), **curve[x]} for x in sorted(curve)]


def cost_chart(rows: Sequence[Row], metric: Metric) -> Chart | None:
    """Plots a metric against the cost of a training step, with one standard deviation.

    The teacher is left out, because its steps train another network. None without any point.
    """
    shown = [
        (place, row)
        for place, row in enumerate(rows)
        if row.score is not None and row.step_cost is not None and row.name != TEACHER
    ]
    if not shown:
        return None

    def draw(axes) -> None:
        for place, row in shown:
            axes.errorbar(
                row.step_cost,
                row.score.mean,
                yerr=row.score.std or None,
                color=colour_of(place),
                marker=MARKERS[place % len(MARKERS)],
                markersize=7,
            )
        axes.set_xlim(0, 1.1 * max(row.step_cost for _, row in shown))
        axes.margins(y=0.15)

    label = "duration of a step, plain student = 1"
    legend = [
        (row.name, colour_of(place), False, metric.text(row.score.mean)) for place, row in shown
    ]
    drawn = picture(draw, x_label=label, y_label=metric.title)
    return Chart(f"{metric.name} against the cost of a step", drawn, legend)


def _results(rows: Sequence[Row], metrics: Sequence[Metric], chosen: Sequence[str]) -> Table:
    lengths = [bar for _, bar in bars([row.score and row.score.mean for row in rows], metrics[0])]
    texts = [cells(row, metrics, chosen) for row in rows]
    return Table(
        headings(metrics, chosen),
        [
            [(row[0], None), (row[1], bar), *((text, None) for text in row[2:])]
            for row, bar in zip(texts, lengths, strict=True)
        ],
        strong=frozenset(i for i, row in enumerate(rows) if row.name not in NOT_METHODS),
    )


def _chosen(command: str) -> tuple[str, ...]:
    """The classes with a mean of their own; compare.json holds them only in the command line."""
    words = shlex.split(command)
    if "--classes" not in words[:-1]:
        return ()
    return tuple(names_in(words[words.index("--classes") + 1]))


def mean_curves(folder: Path, runs: Sequence[Run], metric: Metric) -> dict[str, Log]:
    """The mean curve of each model of a comparison.

    Args:
        folder: the comparison's folder.
        runs: finished runs; runs that were added from other files have no log here.
        metric: the primary metric.
    """
    logs: dict[str, list[Log]] = {}
    for run in runs:
        # The teacher was trained in a folder of its own.
        place = Path(run.weights).parent if run.name == TEACHER else folder / _place(run)
        if not run.added and (place / "metrics.json").is_file():
            logs.setdefault(run.name, []).append(read_curves(place / "metrics.json"))
    return {name: mean_curve(found, metric) for name, found in logs.items()}


def _place(run: Run) -> str:
    # Earlier versions did not record the folder.
    return run.folder or f"seed{run.seed}/{run.name}"


def _best_sections(
    folder: Path,
    rows: Sequence[Row],
    runs: Sequence[Run],
    metric: Metric,
    options: Options,
    say: _Say,
) -> tuple[list[Section], list[str]]:
    """The task's sections for the best method, the plain student and the teacher, at the first seed
    that method and plain student have in common.
    """
    own = {(run.name, run.seed): folder / _place(run) for run in runs if not run.added}
    here = {name for name, _ in own}
    methods = {
        row.name: row.score.mean
        for row in rows
        if row.name in here and row.name not in NOT_METHODS and row.score
    }
    if not methods:
        return [], ["No method has finished here, so no pages are shown."]
    best = metric.best(methods)
    seeds = [{seed for name, seed in own if name == each} for each in (best, PLAIN)]
    shared = sorted(seeds[0] & seeds[1])
    seed = shared[0] if shared else min(seeds[0])
    places = {name: own[name, seed] for name in ((PLAIN, best) if shared else (best,))}
    if gone := [place for place in places.values() if not is_run(place)]:
        return [], [f"No pages are shown: {gone[0]} does not exist any more."]
    if is_run(folder / "teacher-scores"):
        places = {TEACHER: folder / "teacher-scores", **places}
    stored = [read_run(place, name=name) for name, place in places.items()]
    sections, missing = sections_of(stored, replace(options, graph=False), say=say)
    # The folder with the teacher's scores has no log, which is no fault.
    notes = [note for run in stored if run.name != TEACHER for note in run.notes]
    if sections:
        missing.append(
            f"The sections after the scores by class show the runs of seed {seed}; {best} is the "
            f"method with the best mean {metric.name}."
        )
    return sections, [*notes, *missing]
