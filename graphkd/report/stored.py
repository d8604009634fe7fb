"""What trainings left in their folders, read back: config, result, log, record, scored items.

Each missing piece gets one sentence for the reader of the report.
"""

import json
from collections.abc import Mapping, Sequence
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
# What single items are ranked by where they have none of the task's metrics.
_ITEM_METRICS = (
    Metric("F1", digits=2),
    Metric("errors", higher_is_better=False, digits=0),
)


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        score: predictions below it are left out when pages are judged.
        pages: how many of the worst pages or lines are shown; 0 for none.
        worst: False shows pages evenly spread over the set in the place of the worst.
        graph: whether a page's graph is drawn, which runs the model once.
        graph_file: a PNG file for it, too; None for none.
        device: where the model runs.
    """

    score: float = 0.5
    pages: int = 8
    worst: bool = True
    graph: bool = True
    graph_file: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class StoredRun:
    """A run's folder as read.

    Attributes:
        name: what reports call it.
        folder: where it lies.
        cfg: the dict of its config.yaml.
        result: result.json; empty where it is missing.
        curves: metrics.json by iteration; empty where it is missing.
        record: machine, date and versions of the training, and the digest of its teacher; empty
            where they were not recorded.
        notes: a sentence for each missing piece.
    """

    name: str
    folder: Path
    cfg: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    curves: Log = field(default_factory=list)
    record: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def setting(self, key: str, default: Any = None) -> Any:
        """The value of a dotted key of the config; `default` where it is missing."""
        node: Any = self.cfg
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return node

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return task_named(self.setting("TASK", DEFAULT))

    @property
    def weights(self) -> Path:
        """Where its final weights are, if they are there."""
        return self.folder / "model_final.pth"

    @property
    def test_set(self) -> str | None:
        """The data set that it was scored on; None for none."""
        return next(iter(self.setting("DATASETS.TEST") or ()), None)

    @property
    def scores(self) -> Mapping[str, Any]:
        """The result dict of its evaluation; empty where it was never scored."""
        return self.result.get("scores", {})

    @property
    def method(self) -> str:
        """The losses of the distillation, joined with +; "none" for a plain training."""
        return "+".join(self.setting("DISTILL.LOSSES") or {}) or "none"

    @property
    def steps(self) -> int | None:
        """Those of a finished run by its config; else those in the log."""
        if self.result:
            return self.setting("SOLVER.MAX_ITER")
        return self.curves[-1]["iteration"] + 1 if self.curves else None

    def row(self, role: str) -> dict[str, Any]:
        """Its numbers as a row of `format_table`."""
        known = {"params": self.result.get("parameters"), "seconds": self.result.get("seconds")}
        # The scores also hold numbers of the evaluation, such as its own seconds.
        names = [metric.name for metric in self.task.metrics if metric.name in self.scores]
        scores = {name: self.scores[name] for name in names}
        return {"role": role, "method": self.method, **known, **scores}

    def evaluated(self, file: str) -> Any:
        """A JSON list that the evaluation wrote for the test set; None where it is missing.

        Raises:
            UserError: it is damaged.
        """
        return read_json(self.folder / "eval" / (self.test_set or "") / file, list)


def is_run(folder: Path) -> bool:
    """Whether a training (or scoring) wrote into this folder."""
    names = (RESULT, "metrics.json", "model_final.pth")
    return (folder / "config.yaml").is_file() and any((folder / n).is_file() for n in names)


def read_run(folder: Path, *, name: str) -> StoredRun:
    """Reads a run's folder.

    Args:
        folder: with config.yaml; everything else may be missing.
        name: what reports call it.

    Raises:
        UserError: a file in it is damaged.
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
    """The content of a JSON file; None where there is no such file.

    Raises:
        UserError: it is damaged, or no `kind`.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: damaged JSON ({error})") from error
    if not isinstance(value, kind):
        raise UserError(f"{path}: not what a run writes (a {kind.__name__} was expected)")
    return value


def item_sections(runs: Sequence[StoredRun], *, count: int) -> tuple[list[Section], list[str]]:
    """The pages or lines on which the last of some runs does worst, from the `items.json` of each.

    Items are ranked by the first metric that they have a value of, else by F1 or number of errors.

    Args:
        runs: scored on the same test set, in the order to show.
        count: of items to show; 0 for none.

    Returns:
        One section or none, and a sentence where the items are missing.
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
    """The mean over the items, with an interval by document where there are several."""
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
