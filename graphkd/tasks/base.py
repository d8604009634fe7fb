"""The interface between the engine and a task, and the registry of tasks.

The engine can train, resume, compare and report any `Task`. Data, models and metrics are known only
to the task itself. A config selects its task by `TASK: layout` (the default) or, for a task from
outside this package, by `TASK: module:name`.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphkd.errors import UserError

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import nn

    from graphkd.data.loader import Draw

# Built-in tasks: name -> module and object. A task is imported only when it is used.
TASKS = {
    "layout": "graphkd.tasks.layout:TASK",
    "text_detection": "graphkd.tasks.text_detection:TASK",
    "text_recognition": "graphkd.tasks.text_recognition:TASK",
}
DEFAULT = "layout"


@dataclass(frozen=True)
class Metric:
    """One number that tells how good a model is.

    Attributes:
        name: the name in result files and tables.
        higher_is_better: whether larger values are better.
        digits: number of decimals in tables.
        unit: unit shown after the name, for example "%"; may be empty.
        about: a short explanation for the notes below a table; may be empty.
    """

    name: str
    higher_is_better: bool = True
    digits: int = 1
    unit: str = ""
    about: str = ""

    @property
    def title(self) -> str:
        """Name and unit, for headings."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def gain(self, value: float, base: float) -> float:
        """How much better `value` is than `base`; negative where it is worse."""
        return value - base if self.higher_is_better else base - value

    def best(self, values: Mapping[Any, float]) -> Any:
        """The key of the best value; the first of equals.

        Raises:
            ValueError: there is no value.
        """
        return (max if self.higher_is_better else min)(values, key=values.__getitem__)

    def text(self, value: float | None) -> str:
        """The value as tables show it; an en dash for None."""
        return "–" if value is None else f"{value:.{self.digits}f}"


class Task(ABC):
    """Everything that the engine needs to know about one kind of model.

    Attributes:
        name: the name in `TASK`.
        metrics: the metrics from `evaluate` that have a column in tables.
        more_metrics: further metrics that `evaluate` may give; `eval` prints those with a value.
        primary: name of the metric by which models are compared, one of `metrics`.
        item: the unit of the data, for tables and progress bars ("page", "line").
        inference_keys: config nodes besides MODEL, INPUT and TEST that a trained model needs.
    """

    name: str
    metrics: tuple[Metric, ...]
    primary: str
    more_metrics: tuple[Metric, ...] = ()
    item: str = "page"
    inference_keys: tuple[str, ...] = ()

    @property
    def primary_metric(self) -> Metric:
        """The metric by which models are compared."""
        return next(metric for metric in self.metrics if metric.name == self.primary)

    @property
    def columns(self) -> tuple[Metric, ...]:
        """The metrics in the order of table columns: the primary metric comes first."""
        return tuple(sorted(self.metrics, key=lambda metric: metric.name != self.primary))

    def add_config(self, cfg: "CfgNode") -> None:
        """Adds the task's own keys to a config, before a yaml is merged into it."""

    def complete(self, cfg: "CfgNode") -> None:
        """Sets keys that follow from files or from other keys, after all values were read."""

    @abstractmethod
    def classes(self, cfg: "CfgNode", *, source: Path) -> tuple[str, ...]:
        """The classes of the model's outputs: class names, only `text`, or the charset.

        Args:
            cfg: a complete config.
            source: the yaml it came from, for messages.

        Raises:
            UserError: the data sets have different classes, or the model has another number of
            them.
        """

    def text_classes(self, cfg: "CfgNode") -> tuple[str, ...] | None:
        """Names of the classes of running text; None if the data does not name them."""
        return None

    @abstractmethod
    def class_count(self, cfg: "CfgNode") -> int:
        """Number of classes of the config's model."""

    def set_classes(self, cfg: "CfgNode") -> None:
        """Sets every config key that holds the number of classes to that of the data sets."""

    def check_data(self, names: Sequence[str]) -> None:
        """Checks before a run that the data sets can be scored as published.

        Raises:
            UserError: a data set cannot be scored.
        """

    @abstractmethod
    def build_model(self, cfg: "CfgNode") -> "nn.Module":
        """The untrained model on cfg.MODEL.DEVICE; in training mode it returns a dict of losses."""

    def view(self, model: "nn.Module") -> Any:
        """The view (`graphkd.views.view.View`) through which distillation sees the model."""
        from graphkd.views import view_of

        return view_of(model)

    def fit_weights(self, cfg: "CfgNode", model: "nn.Module", stored: dict) -> dict:
        """The content of MODEL.WEIGHTS, changed where it fits this model in part only.

        Args:
            cfg: the config of the run.
            model: the model of this config, with its first values.
            stored: `model` (name -> tensor) and everything else in the file.

        Raises:
            UserError: the weights are for other classes.
        """
        return stored

    @abstractmethod
    def training_dicts(self, cfg: "CfgNode") -> list[dict]:
        """Loads the items of DATASETS.TRAIN as dicts, cleaned for training; called once per run.

        Raises:
            UserError: there is nothing to train on.
        """

    @abstractmethod
    def mapper(self, cfg: "CfgNode", *, is_train: bool) -> Callable[..., dict]:
        """Returns the function that converts one of the dicts to a model's input.

        In training it is called as `mapper(item, progress)` with the finished share of the training
        (0..1), otherwise as `mapper(item)`. It must draw random numbers from numpy's global
        generator, which is seeded by the position of the item in the stream.
        """

    def batches(
        self, cfg: "CfgNode", dicts: Sequence[dict], *, seed: int
    ) -> Callable[[int], "Sequence[Draw]"]:
        """Returns the function that gives the items of a step, for all processes together.

        Its result depends only on seed and step, so a resumed run continues with the same items.
        The number of items may differ between steps, but must not be below the number of processes.
        """
        from graphkd.data.loader import Permutations

        return Permutations(len(dicts), batch=cfg.SOLVER.IMS_PER_BATCH, seed=seed)

    @abstractmethod
    def evaluate(
        self,
        cfg: "CfgNode",
        model: "nn.Module",
        dataset: str,
        *,
        calibration: Mapping[str, Any],
        output_dir: Path | None = None,
    ) -> dict[str, Any]:
        """Scores a model on one data set as published.

        Args:
            cfg: the run's config.
            model: the plain model; its mode is restored.
            dataset: a registered name.
            calibration: the result of `calibrate`; {} without one.
            output_dir: receives `items.json`, a list with one dict per page or line: `id`,
                `document` and counts or errors by name, from which intervals and worst cases are
                computed; and the task's own files. None writes nothing.

        Returns:
            The values of `metrics` by name (None if there is nothing to measure); `items` (their
            number); `seconds` (time inside the model); and optionally `per_class`
            {class name: value of the primary metric}. {} on processes other than the main one.
        """

    def calibrate(self, cfg: "CfgNode", model: "nn.Module", dataset: str) -> dict[str, Any]:
        """Fits numbers on a validation set, such as score thresholds, an unclip factor or a
        temperature. They are used on test data and stored in model files. Returns {} on processes
        other than the main one.
        """
        return {}

    def predictor(self, stored: Any, *, device: str) -> Any:
        """Returns a `graphkd.predict.detector.Predictor` that runs a model file in torch.

        Args:
            stored: a `graphkd.modelfile.ModelFile`.
            device: a torch device.
        """
        raise UserError(f"predict does not know the task {self.name} yet")

    def export(self, stored: Any) -> Any:
        """The `graphkd.export.job.Exporter` of a model file of this task.

        Args:
            stored: a `graphkd.modelfile.ModelFile`.
        """
        raise UserError(f"export does not know the task {self.name} yet")

    def report_sections(
        self, runs: Sequence[Any], options: Any, *, say: Callable[[str], None]
    ) -> tuple[list[Any], list[str]] | None:
        """Makes the sections of a report that show single items.

        Args:
            runs: a list of `graphkd.report.stored.StoredRun` in the order to show: a single run, or
                the runs of a comparison or demo. The report is about the last one.
            options: a `graphkd.report.stored.Options`.
            say: called with a line of text before each longer piece of work.

        Returns:
            A list of `graphkd.report.page.Section`, and a sentence for each missing part. None
            for the worst items by `items.json` alone.
        """
        return None

    def prune_groups(self, model: "nn.Module") -> Any:
        """Groups of channels that can be pruned together; None if pruning is not supported."""
        return None


@cache
def task_named(name: str) -> Task:
    """Returns the task of a name.

    Raises:
        UserError: the name is neither a built-in task nor `module:name` of one that can be
            imported.
    """
    place = TASKS.get(name, name)
    module, colon, attribute = place.partition(":")
    if not colon:
        raise UserError(f"TASK is {name}; known: {', '.join(TASKS)}, or module:name of your own")
    try:
        task = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"TASK {name} cannot be imported: {error}") from error
    if isinstance(task, type):
        task = task()
    if not isinstance(task, Task):
        raise UserError(f"TASK {name} is no graphkd.tasks.base.Task")
    return task


def task_of(cfg: "CfgNode") -> Task:
    """The task of a config."""
    return task_named(cfg.TASK)
