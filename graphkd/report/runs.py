"""The report of one run, or of the three runs of a demo, as one HTML page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphkd.errors import UserError
from graphkd.report.compare import COMPARISON, report_comparison
from graphkd.report.curves import (
    Chart,
    line_chart,
    loss_series,
    own_series,
    rate_series,
    score_series,
    share_series,
    stacked_chart,
    term_series,
)
from graphkd.report.page import Report, Section, Table, bars, class_table, write_report
from graphkd.report.stored import Options, StoredRun, is_run, read_run, sections_of
from graphkd.report.tables import DASH, gain_sentences, number, run_cells, run_headings
from graphkd.tasks.base import Metric

DEMO_PARTS = ("teacher", "student", "distilled")
_ONE_RUN = "This is one run each. Repeat them with several seeds before you trust a small gain."
_LAST_VALUE = "The number behind a name is the last value of its curve."
_OWN_LOSS = (
    "The total loss of a distilled run contains distillation terms, which the other runs do not "
    f"have. Compare the dashed line, its own loss, with the other runs. {_LAST_VALUE}"
)


def make_report(
    folder: Path,
    out: Path,
    options: Options,
    *,
    say: Callable[[str], None],
    about: Mapping[str, Any] | None = None,
) -> list[str]:
    """Writes the report of a run, demo or comparison.

    Args:
        folder: OUTPUT_DIR of a training, or `--out` of a demo or comparison.
        out: the HTML file; parent folders are made.
        options: what to show.
        say: called with a line of text before each longer piece of work.
        about: how the runs were made; it comes before the facts from their folders.

    Returns:
        A sentence for each missing part, as on the page.

    Raises:
        UserError: the folder is none of these, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if (folder / COMPARISON).is_file():
        return report_comparison(folder, out, options, say=say)
    if is_run(folder):
        runs = [read_run(folder, name=folder.resolve().name)]
    else:
        parts = [name for name in DEMO_PARTS if is_run(folder / name)]
        runs = [read_run(folder / name, name=name) for name in parts]
    if not runs:
        raise UserError(
            f"{folder}: it holds no run, demo or comparison (no config.yaml with a result, no "
            f"{COMPARISON}); name the OUTPUT_DIR of a training"
        )
    main = runs[-1]
    sections, missing = sections_of(runs, options, say=say)
    notes = [note for run in runs for note in run.notes] + missing
    write_run_report(
        out,
        title=main.name if len(runs) == 1 else folder.resolve().name,
        runs=runs,
        sections=sections,
        notes=notes,
        about={**(about or {}), **_about(main)},
    )
    return notes


def write_run_report(
    path: Path,
    *,
    title: str,
    runs: Sequence[StoredRun],
    sections: Sequence[Section],
    notes: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Writes the report of one or several runs in one step.

    Args:
        path: the HTML file; parent folders are made.
        title: the title of the page.
        runs: the runs, all of one task. Several runs are named teacher, student and distilled.
        sections: the task's sections.
        notes: a sentence for each missing part.
        about: how the runs were made, as text by name.
    """
    metrics = runs[-1].task.columns
    lead = _lead(runs, metrics[0])
    several = len(runs) > 1
    columns = {
        run.name if several else metrics[0].name: run.scores.get("per_class") for run in runs
    }
    page = Report(
        title=f"Report of {title}",
        lead=lead,
        otherwise="Only one of plain and distilled student has scores, so no gain can be stated."
        if several
        else "",
        notes=[*([_ONE_RUN] if several and lead else []), *notes],
        results=_results(runs, metrics),
        results_notes=metric_notes(metrics),
        charts=run_charts(runs, metrics[0]),
        charts_note=_OWN_LOSS if several else _LAST_VALUE,
        classes=class_table({name: known or {} for name, known in columns.items()}, metrics[0]),
        classes_title=f"{metrics[0].name} by class",
        sections=sections,
        about=about,
    )
    write_report(path, page)


def metric_notes(metrics: Sequence[Metric]) -> list[str]:
    """Explains the columns and the dash, in one sentence each."""
    notes = []
    for metric in metrics:
        direction = "" if metric.higher_is_better else "lower is better"
        words = "; ".join(filter(None, (metric.about, direction)))
        notes += [f"{metric.name}: {words}."] if words else []
    return [" ".join([*notes, "A dash means: not measured."])]


def run_charts(runs: Sequence[StoredRun], metric: Metric) -> list[Chart]:
    """Charts of losses, validation scores and learning rates of all runs, and of the terms of each
    distilled run.

    For a single run, the terms of its own loss are also shown. Charts without points are left out.
    """
    logs = {run.name: run.curves for run in runs}
    title = f"{metric.name} on the validation set"
    charts = [
        line_chart("Training loss", loss_series(logs), y_label="loss", dots=False),
        line_chart(title, score_series(logs, metric), y_label=metric.title, dots=True),
    ]
    for run in runs:
        of = f": {run.name}" if len(runs) > 1 else ""
        if not of:
            series = own_series(run.curves)
            charts.append(line_chart("Own loss, term by term", series, y_label="loss", dots=False))
        series = term_series(run.curves)
        charts.append(line_chart(f"Distillation terms{of}", series, y_label="loss", dots=False))
        series = share_series(run.curves)
        name = f"Share of each distillation term{of}"
        charts.append(stacked_chart(name, series, y_label="% of the whole loss"))
    rates = rate_series(logs)
    charts.append(line_chart("Learning rate", rates, y_label="thousandths", dots=False))
    return [chart for chart in charts if chart is not None]


def _lead(runs: Sequence[StoredRun], metric: Metric) -> list[str]:
    """The gain of the distilled student over the plain one; for a single run its score, and its
    best and worst class.
    """
    if len(runs) > 1:
        return gain_sentences([run.row(run.name) for run in runs], metric)
    (run,) = runs
    value = number(run.scores.get(metric.name))
    if value is None:
        return []
    items = run.scores.get("items", run.scores.get("images"))
    where = f" on {items} {run.task.item}s" if items else ""
    text = f"{metric.text(value)} {metric.title}{where}"
    known = {k: v for k, v in (run.scores.get("per_class") or {}).items() if number(v) is not None}
    if len(set(known.values())) > 1:
        best = metric.best(known)
        worst = metric.best({name: -value for name, value in known.items()})
        text += f"; best on {best} ({metric.text(known[best])}), worst on {worst} "
        text += f"({metric.text(known[worst])})"
    return [f"{text}."]


def _results(runs: Sequence[StoredRun], metrics: Sequence[Metric]) -> Table:
    first = bars([number(run.scores.get(metrics[0].name)) for run in runs], metrics[0])
    rows = []
    for run, bar in zip(runs, first, strict=True):
        *texts, parameters, seconds = run_cells(run.row(run.name), metrics)
        texts = [*texts[1:], parameters, DASH if run.steps is None else str(run.steps), seconds]
        rows.append([(run.name, None), (run.method, None), bar, *((text, None) for text in texts)])
    *names, parameters, seconds = run_headings(metrics)
    strong = {i for i, run in enumerate(runs) if len(runs) > 1 and run.method != "none"}
    headings = ["Model", "Method", *names, parameters, "Steps", seconds]
    return Table(headings, rows, words=2, strong=frozenset(strong))


def _about(run: StoredRun) -> dict[str, str]:
    sets = [", ".join(run.setting(f"DATASETS.{key}") or ()) for key in ("TRAIN", "TEST")]
    steps, batch = run.setting("SOLVER.MAX_ITER"), run.setting("SOLVER.IMS_PER_BATCH")
    rate, optimizer = run.setting("SOLVER.BASE_LR"), run.setting("SOLVER.OPTIMIZER", "SGD")
    about = {
        "folder": str(run.folder),
        "task": run.task.name,
        "data": f"{sets[0]}, scored on {sets[1]}",
        "schedule": f"{steps} steps of {batch} {run.task.item}s, {optimizer}, learning rate {rate}",
        "seed": str(run.setting("SEED", DASH)),
    }
    losses = run.setting("DISTILL.LOSSES") or {}
    if losses:
        teacher = [run.setting(f"DISTILL.TEACHER.{key}") for key in ("CONFIG", "ONNX")]
        about["teacher"] = next(filter(None, teacher), "none, or its own average")
        about["losses"] = ", ".join(
            f"{name} (weight {options.get('WEIGHT', 1.0):g})" for name, options in losses.items()
        )
    shown = ("source", "machine", "date", "torch", "versions")
    return {**about, **{key: str(run.record[key]) for key in shown if run.record.get(key)}}
