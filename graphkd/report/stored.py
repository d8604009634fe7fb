"""Reads the folders of runs: config, result, log, record, and the scores of single items.

Every missing file gives one sentence for the reader of the report.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from graphkd.errors import UserError
from graphkd.evaluation.statistics import clustered_interval
from graphkd.report.curves import Log, read_curves
from graphkd.report.page import Section, Table, fill
from graphkd.report.tables import DASH, number
from graphkd.tasks.base import DEFAULT, Metric, Task, task_named

RESULT = "result.json"
# Items without any of the task's metrics are ranked by one of these.
_ITEM_METRICS = (
    Metric("F1", digits=2),
    Metric("errors", higher_is_better=False, digits=0),
)


@dataclass(frozen=True)
class Options:
    """The user's options for a report.

    Attributes:
        score: predictions with lower scores are ignored.
        pages: number of the worst pages or lines to show; 0 for none.
        worst: False shows pages evenly spread over the set instead of the worst.
        graph: draw the document graph of a page, which runs the model once.
        graph_file: also write the graph to this PNG file; None to write none.
        device: the device of the model.
    """

    score: float = 0.5
    pages: int = 8
    worst: bool = True
    graph: bool = True
    graph_file: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class StoredRun:
    """The content of a run's folder.

    Attributes:
        name: the run's name in reports.
        folder: the folder.
        cfg: the content of config.yaml.
        result: the content of result.json; empty if it is missing.
        curves: the content of metrics.json by iteration; empty if it is missing.
        record: machine, date and versions of the training and the digest of its teacher; empty if
            they were not recorded.
        notes: a sentence for each missing file.
    """

    name: str
    folder: Path
    cfg: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    curves: Log = field(default_factory=list)
    record: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def setting(self, key: str, default: Any = None) -> Any:
        """The value of a dotted config key; `default` if it is missing."""
        node: Any = self.cfg
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return node

    @property
    def task(self) -> Task:
        """The run's task."""
        return task_named(self.setting("TASK", DEFAULT))

    @property
    def weights(self) -> Path:
        """Path of the final weights, whether they exist or not."""
        return self.folder / "model_final.pth"

    @property
    def test_set(self) -> str | None:
        """The data set of its scores; None without one."""
        return next(iter(self.setting("DATASETS.TEST") or ()), None)

    @property
    def scores(self) -> Mapping[str, Any]:
        """The scores of the run; empty if it was not scored."""
        return self.result.get("scores", {})

    @property
    def method(self) -> str:
        """The distillation losses joined with +; "none" for a plain run."""
        return "+".join(self.setting("DISTILL.LOSSES") or {}) or "none"

    @property
    def steps(self) -> int | None:
        """Number of training steps: from the config if the run has finished, else from the log."""
        if self.result:
            return self.setting("SOLVER.MAX_ITER")
        return self.curves[-1]["iteration"] + 1 if self.curves else None

    def row(self, role: str) -> dict[str, Any]:
        """The run's numbers as a row for `format_table`."""
        known = {"params": self.result.get("parameters"), "seconds": self.result.get("seconds")}
        # The scores also hold numbers of the evaluation, such as its own seconds.
        names = [metric.name for metric in self.task.metrics if metric.name in self.scores]
        scores = {name: self.scores[name] for name in names}
        return {"role": role, "method": self.method, **known, **scores}

    def evaluated(self, file: str) -> Any:
        """Reads a JSON list that the evaluation wrote for the test set; None if it is missing.

        Raises:
            UserError: the file is damaged.
        """
        return read_json(self.folder / "eval" / (self.test_set or "") / file, list)


def is_run(folder: Path) -> bool:
    """Whether the folder holds a training, or the scores of a teacher."""
    names = (RESULT, "metrics.json", "model_final.pth")
    return (folder / "config.yaml").is_file() and any((folder / n).is_file() for n in names)


def read_run(folder: Path, *, name: str) -> StoredRun:
    """Reads a run's folder.

    Args:
        folder: it must hold a config.yaml; other files may be missing.
        name: the run's name in reports.

    Raises:
        UserError: a file in the folder is damaged.
    """
    try:
        cfg = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / 'config.yaml'}: damaged yaml ({error})") from error
    if not isinstance(cfg, dict):
        raise UserError(f"{folder / 'config.yaml'}: this is no config of a run")
    notes = []
    result = read_json(folder / RESULT, dict)
    if result is None:
        notes.append(f"{name} has not finished: there is no {RESULT}, so it has no scores.")
    elif not isinstance(result.get("scores"), dict):
        raise UserError(f"{folder / RESULT}: no result of a run; delete it and train with --resume")
    curves: Log = []
    if (folder / "metrics.json").is_file():
        curves = read_curves(folder / "metrics.json")
    else:
        notes.append(f"{name} has no training log (metrics.json), so it has no curves.")
    # Comparisons of earlier versions wrote a second record.
    records = [read_json(folder / file, dict) or {} for file in ("about.json", "part.json")]
    return StoredRun(name, folder, cfg, result or {}, curves, records[0] | records[1], notes)


def read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file; None if there is no such file.

    Raises:
        UserError: the file is damaged, or its content is not of the type `kind`.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: damaged JSON ({error})") from error
    if not isinstance(value, kind):
        raise UserError(f"{path}: no file of a run (a {kind.__name__} was expected)")
    return value


def sections_of(
    runs: Sequence[StoredRun], options: Options, *, say: Callable[[str], None]
) -> tuple[list[Section], list[str]]:
    """The sections of the task of the last run, see `graphkd.tasks.base.Task.report_sections`."""
    own = runs[-1].task.report_sections(runs, options, say=say)
    return item_sections(runs, count=options.pages) if own is None else own


def item_sections(runs: Sequence[StoredRun], *, count: int) -> tuple[list[Section], list[str]]:
    """Shows the worst pages or lines of the last run, from the `items.json` of each run.

    Items are ranked by the first of the task's metrics that they have, else by F1 or errors.

    Args:
        runs: runs with the same test set, in the order to show.
        count: number of items to show; 0 for none.

    Returns:
        One section or none, and a sentence if the items are missing.
    """
    main, task = runs[-1], runs[-1].task
    items = main.evaluated("items.json")
    if items is None:
        return [], [
            f"{main.name} has no scores of single {task.item}s (items.json); `graphkd eval` writes "
            "them."
        ]
    candidates = [*task.columns, *_ITEM_METRICS]
    metric = next((m for m in candidates if any(m.name in item for item in items)), None)
    if metric is None or not count:
        return [], []
    scored = [item for item in items if number(item.get(metric.name)) is not None]
    scored.sort(key=lambda item: metric.gain(item[metric.name], 0.0))
    others = {run.name: _values(run, metric) for run in runs[:-1]}
    keys = list(dict.fromkeys(key for item in scored for key in item))
    rows = [
        [
            *((_text(item.get(key), metric if key == metric.name else None), None) for key in keys),
            *((metric.text(values.get(item["id"])), None) for values in others.values()),
        ]
        for item in scored[:count]
    ]
    headings = [*keys, *(f"{metric.name} of {name}" for name in others)]
    text = f"The {len(rows)} of {len(scored)} {task.item}s with the worst {metric.name} of "
    text += f"{main.name}.{_spread(scored, metric, task.item)}"
    body = fill("items.html.j2", text=text, table=Table(headings, rows, words=2))
    return [Section("items", f"The worst {task.item}s", body)], []


def _values(run: StoredRun, metric: Metric) -> dict[Any, float | None]:
    items = run.evaluated("items.json") or ()
    return {item["id"]: number(item.get(metric.name)) for item in items}


def _spread(items: Sequence[dict], metric: Metric, kind: str) -> str:
    """A sentence with the mean over the items and its interval; empty with too few documents."""
    values = [item[metric.name] for item in items]
    documents = [item.get("document", item["id"]) for item in items]
    different = len(set(documents))
    interval = clustered_interval(values, documents)
    if interval.low is None:
        return ""
    low, high = metric.text(interval.low), metric.text(interval.high)
    return (
        f" The mean over {kind}s is {metric.text(interval.mean)}, with a 95 % interval of {low} to "
        f"{high} over {different} documents."
    )


def _text(value: Any, metric: Metric | None) -> str:
    if metric is not None:
        return metric.text(number(value))
    if value is None:
        return DASH
    return f"{value:.4g}" if isinstance(value, float) else str(value)
