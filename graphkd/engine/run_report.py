"""From a folder of a run, a demo or a comparison to its report; the reading and the drawing are
elsewhere.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graphkd.compare.rows import METRICS, NOT_METHODS, PLAIN, TEACHER, Row, Run, compare_runs
from graphkd.engine.page_details import load_pages, page_details
from graphkd.engine.run_graph import page_graph
from graphkd.engine.stored_run import StoredRun, is_run, read_json, read_run
from graphkd.errors import UserError
from graphkd.lists import names_in
from graphkd.report.compare import mean_curve, write_compare_report
from graphkd.report.content import Details
from graphkd.report.curves import read_curves
from graphkd.report.run import write_run_report
from graphkd.tasks.base import Metric

COMPARISON = "compare.json"
DEMO_PARTS = ("teacher", "student", "distilled")
_Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        score: predictions below it are left out when pages are judged.
        pages: how many of the worst are shown; 0 for none.
        graph: whether a page's graph is drawn, which runs the model once.
        device: where it runs.
    """

    score: float = 0.5
    pages: int = 8
    graph: bool = True
    device: str = "cpu"


@dataclass
class _Looked:
    """What came of looking at single pages."""

    details: Details | None = None
    dicts: list[dict] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def default_path(folder: Path) -> Path:
    """Where the report of a folder goes: report.html, details.html where the demo wrote that."""
    demo = (folder / "results.json").is_file() and (folder / "report.html").is_file()
    return folder / ("details.html" if demo and _demo_parts(folder) else "report.html")


def make_report(folder: Path, out: Path, options: Options, *, say: _Say) -> list[str]:
    """Writes the report of a run, demo or comparison.

    Args:
        folder: OUTPUT_DIR of a training, `--out` of a demo, or of a comparison.
        out: the HTML file.
        options: see there.
        say: receives a line before each longer piece of work.

    Returns:
        The sentences about what is missing, as they are on the page.

    Raises:
        UserError: the folder is none of these, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if (folder / COMPARISON).is_file():
        return _report_comparison(folder, out, options, say)
    if is_run(folder):
        runs = [read_run(folder, name=folder.resolve().name)]
    else:
        runs = [read_run(folder / name, name=name) for name in _demo_parts(folder)]
    if not runs:
        raise UserError(
            f"{folder}: no run, demo or comparison (no config.yaml with a result, no "
            f"{COMPARISON}); name the OUTPUT_DIR of a training"
        )
    return _report_runs(folder, runs, out, options, say)


def _demo_parts(folder: Path) -> list[str]:
    return [name for name in DEMO_PARTS if is_run(folder / name)]


def _report_runs(
    folder: Path, runs: list[StoredRun], out: Path, options: Options, say: _Say
) -> list[str]:
    main = runs[-1]
    looked = _look(runs, main, options, say)
    notes = [note for run in runs for note in run.notes] + looked.notes
    graph, graph_text = None, ""
    if options.graph:
        say(f"drawing the graph of a page with {main.weights}")
        graph, graph_text = page_graph(main, looked.dicts, looked.classes, device=options.device)
        if graph is None:
            notes.append(graph_text)
    write_run_report(
        out,
        title=main.name if len(runs) == 1 else folder.resolve().name,
        runs=[run.view for run in runs],
        details=looked.details,
        graph=graph,
        graph_text=graph_text,
        notes=notes,
        about=_about(main),
    )
    return notes


def _look(runs: Sequence[StoredRun], ranked_by: StoredRun, options: Options, say: _Say) -> _Looked:
    """Judges the stored predictions of those runs that were scored on the same pages."""
    looked = _Looked()
    name = ranked_by.test_set
    if name is None:
        looked.notes.append(f"{ranked_by.name} names no test set (DATASETS.TEST).")
        return looked
    try:
        looked.dicts, looked.classes = load_pages(name)
    except UserError as error:
        looked.notes.append(f"No single page can be shown: {error}.")
        return looked
    known = [run for run in runs if run.predictions is not None and run.test_set == name]
    if ranked_by not in known:
        return looked
    say(f"comparing predictions with the {len(looked.dicts)} pages of {name}")
    try:
        looked.details, notes = page_details(
            known,
            looked.dicts,
            looked.classes,
            ranked_by=ranked_by,
            score=options.score,
            count=options.pages,
        )
    except UserError as error:
        notes = [f"No single page can be shown: {error}."]
    looked.notes += notes
    return looked


def _about(run: StoredRun) -> dict[str, str]:
    cfg = run.cfg
    about = {
        "folder": str(run.folder),
        "data": f"{', '.join(cfg.DATASETS.TRAIN)}, scored on {', '.join(cfg.DATASETS.TEST)}",
        "schedule": f"{cfg.SOLVER.MAX_ITER} steps of {cfg.SOLVER.IMS_PER_BATCH} pages, "
        f"{cfg.SOLVER.OPTIMIZER}, learning rate {cfg.SOLVER.BASE_LR:g}",
        "seed": str(cfg.SEED),
    }
    if cfg.DISTILL.LOSSES:
        about["teacher"] = cfg.DISTILL.TEACHER.CONFIG
        about["losses"] = ", ".join(
            f"{name} (weight {options.get('WEIGHT', 1.0):g})"
            for name, options in cfg.DISTILL.LOSSES.items()
        )
    shown = ("source", "machine", "date", "torch", "versions")
    return {**about, **{key: str(run.record[key]) for key in shown if run.record.get(key)}}


def _report_comparison(folder: Path, out: Path, options: Options, say: _Say) -> list[str]:
    values = read_json(folder / COMPARISON, dict)
    try:
        runs = [Run.from_json(row) for row in values["runs"]]
        metrics = (
            tuple(Metric(**each) for each in values["metrics"]) if "metrics" in values else METRICS
        )
        about, notes = dict(values["about"]), list(values["notes"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder / COMPARISON}: not a comparison's numbers ({error}); run it again"
        ) from error
    chosen = _chosen(about.get("command", ""))
    rows = compare_runs(runs, metrics, chosen=chosen)
    looked = _look_at_best(folder, rows, runs, metrics[0], options, say)
    notes += looked.notes
    write_compare_report(
        out,
        rows=rows,
        metrics=metrics,
        chosen=chosen,
        curves={row.name: _mean_curve(folder, row.name, runs, metrics[0]) for row in rows},
        about=about,
        notes=notes,
        details=looked.details,
    )
    return looked.notes


def _chosen(command: str) -> tuple[str, ...]:
    """The classes of the comparison's extra column, which only the typed command tells."""
    words = shlex.split(command)
    if "--classes" not in words[:-1]:
        return ()
    return tuple(names_in(words[words.index("--classes") + 1]))


def _mean_curve(folder: Path, name: str, runs: Sequence[Run], metric: Metric) -> list[dict]:
    logs = [path / "metrics.json" for path in _folders(folder, name, runs)]
    return mean_curve([read_curves(path) for path in logs if path.is_file()], metric)


def _folders(folder: Path, name: str, runs: Sequence[Run]) -> list[Path]:
    """Folders of a model's runs; the teacher's is where its weights are."""
    if name == TEACHER:
        return [Path(run.weights).parent for run in runs if run.name == TEACHER]
    return [folder / f"seed{run.seed}" / name for run in runs if run.name == name]


def _look_at_best(
    folder: Path,
    rows: Sequence[Row],
    runs: Sequence[Run],
    metric: Metric,
    options: Options,
    say: _Say,
) -> _Looked:
    """Pages of the best method beside the plain student, at the first seed that both have."""
    methods = [row for row in rows if row.name not in NOT_METHODS and row.score is not None]
    if not methods:
        return _Looked(notes=["No method has finished, so no page is shown."])
    best_name = metric.best({row.name: row.score.mean for row in methods})
    best = next(row for row in methods if row.name == best_name)
    seeds = [{run.seed for run in runs if run.name == name} for name in (best.name, PLAIN)]
    shared = sorted(seeds[0] & seeds[1]) or sorted(seeds[0])
    names = [name for name in (PLAIN, best.name) if (name == best.name or seeds[1] & seeds[0])]
    places = {name: folder / f"seed{shared[0]}" / name for name in names}
    gone = [place for place in places.values() if not is_run(place)]
    if gone:
        return _Looked(notes=[f"No page is shown: {gone[0]} is not there any more."])
    if is_run(folder / "teacher-scores"):
        places = {TEACHER: folder / "teacher-scores", **places}
    stored = [read_run(place, name=name) for name, place in places.items()]
    looked = _look(stored, stored[-1], options, say)
    # A teacher's scoring has no log of its own; its training's is elsewhere.
    looked.notes[:0] = [note for run in stored if run.name != TEACHER for note in run.notes]
    if looked.details is not None:
        looked.notes.append(
            f"Confusion and pages are those of seed {shared[0]}: {best.name}, the method of "
            f"best mean {metric.name}, beside the others."
        )
    return looked
