"""The interface between the engine and a task, and the registry of tasks.

The engine trains, resumes, compares and reports any `Task`; only files beside this one know data,
models and metrics. A run names its task by `TASK: layout` (the default) or, for a task from outside
this package, by `TASK: module:name`.
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

# Built-in tasks: name -> where the object is. A task is imported when a run asks for it.
TASKS = {"layout": "graphkd.tasks.layout:TASK"}
DEFAULT = "layout"

# (position in the endless data stream, index into the training dicts). The position seeds the
# item's augmentation, so it must never repeat.
Draw = tuple[int, int]


@dataclass(frozen=True)
class Metric:
    """One number that tells how good a model is.

    Attributes:
        name: as in result files and tables.
        higher_is_better: its direction.
        digits: decimals shown in tables.
        unit: shown behind its name, for example "%"; empty for none.
        about: one phrase on what it is, for the notes below a table; empty for none.
    """

    name: str
    higher_is_better: bool = True
    digits: int = 1
    unit: str = ""
    about: str = ""

    @property
    def title(self) -> str:
        """Name and unit, as headings show them."""
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
    """All that the engine needs to know about one kind of model.

    Attributes:
        name: as in `TASK`.
        metrics: what `evaluate` measures, the ones worth a column in tables.
        primary: name of the metric that decides, one of `metrics`.
        item: what is counted, for tables and progress bars ("page", "line").
        inference_keys: config nodes of the task that a trained model needs, besides MODEL, INPUT
            and TEST.
    """

    name: str
    metrics: tuple[Metric, ...]
    primary: str
    item: str = "page"
    inference_keys: tuple[str, ...] = ()

    @property
    def primary_metric(self) -> Metric:
        """The metric that decides."""
        return next(metric for metric in self.metrics if metric.name == self.primary)

    @property
    def columns(self) -> tuple[Metric, ...]:
        """The metrics as tables show them: the one that decides comes first."""
        return tuple(sorted(self.metrics, key=lambda metric: metric.name != self.primary))

    def add_config(self, cfg: "CfgNode") -> None:
        """Adds the task's own keys to a config, before a yaml is merged into it."""

    @abstractmethod
    def classes(self, cfg: "CfgNode", *, source: Path) -> tuple[str, ...]:
        """What the model's outputs are about: class names, `text` alone, or the charset.

        Args:
            cfg: a complete config.
            source: the yaml it came from, for messages.

        Raises:
            UserError: data sets that disagree, or a model with another number of classes.
        """

    def text_classes(self, cfg: "CfgNode") -> tuple[str, ...] | None:
        """Names of the classes that are running text; None where the data does not say."""
        return None

    @abstractmethod
    def class_count(self, cfg: "CfgNode") -> int:
        """Number of classes that the config's model has."""

    def set_classes(self, cfg: "CfgNode") -> None:
        """Writes the number of classes of the config's data sets into every key that holds it."""

    def check_data(self, names: Sequence[str]) -> None:
        """Checks before a run begins that data sets can be scored as published.

        Raises:
            UserError: one cannot.
        """

    @abstractmethod
    def build_model(self, cfg: "CfgNode") -> "nn.Module":
        """The untrained model on cfg.MODEL.DEVICE; in training mode it returns a dict of losses."""

    def view(self, model: "nn.Module") -> Any:
        """The view (`graphkd.views.view.View`) through which distillation sees the model."""
        from graphkd.views import view_of

        return view_of(model)

    @abstractmethod
    def training_dicts(self, cfg: "CfgNode") -> list[dict]:
        """The items of DATASETS.TRAIN as dicts; cleaned for training, one call per run.

        Raises:
            UserError: nothing to train on.
        """

    @abstractmethod
    def mapper(self, cfg: "CfgNode", *, is_train: bool) -> Callable[..., dict]:
        """What turns one of the dicts into a model's input.

        In training it is called as `mapper(item, progress)` with the share of the training that is
        over (0..1), else as `mapper(item)`. Random draws come from numpy's global generator, which
        is seeded by the item's position in the stream.
        """

    def batches(
        self, cfg: "CfgNode", dicts: Sequence[dict], *, seed: int
    ) -> Callable[[int], Sequence[Draw]]:
        """The function that gives the items of a step, for all processes together.

        It depends on seed and step alone, so a resumed run goes on with the same items. The number
        of items may vary from step to step, but is never below the number of processes.
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
            model: the plain model; its mode is given back.
            dataset: a registered name.
            calibration: what `calibrate` gave, {} for none.
            output_dir: receives `items.json`, a list with one dict per page or line: `id`,
                `document` and counts or errors by name, from which intervals and worst cases are
                computed; and the task's own files. None writes nothing.

        Returns:
            The values of `metrics` by name (None where there is nothing to measure); also `items`
            (their number), `seconds` (inside the model), and, where it makes sense, `per_class`
            {class name: value of the primary metric}. {} on processes other than the main one.
        """

    def calibrate(self, cfg: "CfgNode", model: "nn.Module", dataset: str) -> dict[str, Any]:
        """Numbers fitted on a validation set, then fixed: used on test data and kept in model
        files (shown scores, unclip factor, temperature). {} on processes other than the main one.
        """
        return {}

    def predictor(self, stored: Any, *, device: str) -> Any:
        """A `graphkd.predict.detector.Predictor` that runs a model file of this task in torch.

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
    ) -> tuple[list[Any], list[str]]:
        """What a report shows of single items.

        Args:
            runs: `graphkd.report.stored.StoredRun`, of one comparison or demo, or a single one; in
                the order to show. The last is the one that the report is about.
            options: a `graphkd.report.stored.Options`.
            say: receives a line before each longer piece of work.

        Returns:
            `graphkd.report.page.Section`s, and a sentence for each piece that is missing.
        """
        from graphkd.report.stored import item_sections

        return item_sections(runs, count=options.pages)

    def prune_groups(self, model: "nn.Module") -> Any:
        """Channels that can be removed together; None where pruning is not offered."""
        return None


@cache
def task_named(name: str) -> Task:
    """The task of a name.

    Raises:
        UserError: neither a built-in task nor `module:name` of one that can be imported.
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
