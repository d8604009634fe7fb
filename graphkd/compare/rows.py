"""Runs of a comparison and the rows of its table: means, spreads, paired gains over the plain
student.

The metrics are those of the task; the first one is the primary metric.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from graphkd.errors import UserError
from graphkd.evaluation.statistics import Difference, Summary, paired_difference, summarise
from graphkd.tasks.base import Metric

TEACHER, PLAIN, PLAIN_LONGER = "teacher", "plain", "plain-same-time"
NOT_METHODS = (TEACHER, PLAIN, PLAIN_LONGER)
_FORMER_METRICS = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Run:
    """One finished run of a comparison.

    Attributes:
        name: teacher, plain, plain-same-time, or the name of a method.
        seed: None for the teacher, of which there is only one.
        scores: metric name -> value, None if nothing could be measured.
        per_class: class name -> value of the primary metric, or None.
        parameters: number of parameters of the model.
        iterations: number of training steps; None if unknown.
        seconds: time spent in these steps; None if unknown.
        weights: path of the checkpoint.
        machine: kind of machine that trained it; "" if unknown.
        date: day of the training.
        folder: relative to the folder of the comparison; "" if the run is elsewhere.
        factor: the loss weights are multiplied by it.
        added: the results file that the run was read from; "" for a run of this comparison.
        config: dotted key -> value of the complete config; empty if unknown.
        made_from: digests of the input files, and the number format.
    """

    name: str
    seed: int | None
    scores: dict[str, float | None]
    per_class: dict[str, float | None]
    parameters: int
    iterations: int | None
    seconds: float | None
    weights: str
    machine: str = ""
    date: str = ""
    folder: str = ""
    factor: float = 1.0
    added: str = ""
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    made_from: dict[str, str | None] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Run":
        """Reads a run from its entry in compare.json. Files of earlier versions hold AP, AP50 and
        AP75 instead of `scores`.

        Raises:
            KeyError, TypeError: a value is missing or has the wrong type.
        """
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        if "scores" not in known:
            known["scores"] = {name: values[name] for name in _FORMER_METRICS}
        return cls(**known)

    @property
    def title(self) -> str:
        """Name and seed."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    @property
    def seconds_per_step(self) -> float | None:
        """Mean duration of a training step."""
        if not self.iterations or self.seconds is None:
            return None
        return self.seconds / self.iterations


@dataclass(frozen=True)
class Row:
    """One model over all its seeds; unknown values are None.

    Attributes:
        name: as in `Run`.
        seeds: those with a value of the primary metric.
        values: metric name -> mean, standard deviation, count; the primary metric first.
        chosen: mean of the primary metric over the chosen classes.
        difference: gain in the primary metric over the plain student at the same seed; positive
            means better, also for metrics where lower is better.
        pairs: number of seeds in `difference`.
        share: mean in percent of the teacher's, see `share_of_teacher`.
        parameters: number of parameters.
        iterations: number of training steps of a run.
        seconds: mean training time of a run; None if the runs are of several machines.
        seconds_per_step: likewise.
        step_cost: duration of a step divided by that of the plain student on the same machine and
            at the same seed.
        per_class: class name -> mean of the primary metric.
        state: "added", "partly added", "not run", "failed" or "".
    """

    name: str
    seeds: list[int | None]
    values: dict[str, Summary | None]
    chosen: float | None
    difference: Difference | None
    pairs: int
    share: float | None
    parameters: int | None
    iterations: int | None
    seconds: float | None
    seconds_per_step: float | None
    step_cost: float | None
    per_class: dict[str, float | None] = field(default_factory=dict)
    state: str = ""

    @property
    def title(self) -> str:
        """Name and state, as tables show them."""
        return f"{self.name} ({self.state})" if self.state else self.name

    @property
    def score(self) -> Summary | None:
        """The primary metric."""
        return next(iter(self.values.values()), None)


def compare_runs(
    runs: Iterable[Run],
    metrics: Sequence[Metric],
    *,
    chosen: Sequence[str] = (),
    against: str = PLAIN,
    names: Sequence[str] = (),
) -> list[Row]:
    """Makes one row per model: first `names` in their order, then the others.

    Args:
        runs: finished runs. If several have the same name and seed, the first one is shown; the
            others only serve to compute step costs on their machines.
        metrics: the columns, the primary metric first.
        chosen: classes for `Row.chosen`; empty for none.
        against: the model that gains and step costs refer to.
        names: models that get a row even without a run.

    Raises:
        UserError: a chosen class does not exist.
    """
    runs = list(runs)
    by_name: dict[str, dict[int | None, Run]] = {name: {} for name in names}
    for run in runs:
        by_name.setdefault(run.name, {}).setdefault(run.seed, run)
    base = by_name.get(against, {})
    teacher = next(iter(by_name.get(TEACHER, {}).values()), None)
    timed = {(run.machine, run.seed): run for run in runs if run.name == against}
    rows = []
    for name, found in by_name.items():
        cost = _step_cost(found.values(), timed)
        rows.append(_row(name, found, base, teacher, metrics, chosen, cost))
    return rows


def _row(
    name: str,
    runs: dict[int | None, Run],
    base: dict[int | None, Run],
    teacher: Run | None,
    metrics: Sequence[Metric],
    chosen: Sequence[str],
    cost: float | None,
) -> Row:
    first = metrics[0]
    scored = [run for run in runs.values() if run.scores.get(first.name) is not None]
    values = {metric.name: _summary(scored, metric.name) for metric in metrics}
    own = values[first.name]
    pairs = [
        (run.scores[first.name], base[run.seed].scores[first.name])
        for run in scored
        if _pairs(run, base, first.name)
    ]
    any_run = next(iter(runs.values()), None)
    # A mean over the times of different machines would say nothing.
    timed = list(runs.values()) if len({run.machine for run in runs.values()}) == 1 else []
    return Row(
        name=name,
        seeds=[run.seed for run in scored],
        values=values,
        chosen=_mean(_mean_of(run.per_class, chosen) for run in scored) if chosen else None,
        difference=_gain(pairs, first) if pairs else None,
        pairs=len(pairs),
        share=share_of_teacher(
            own and own.mean, teacher and teacher.scores.get(first.name), metric=first
        ),
        parameters=any_run and any_run.parameters,
        iterations=any_run and any_run.iterations,
        seconds=_mean(run.seconds for run in timed),
        seconds_per_step=_mean(run.seconds_per_step for run in timed),
        step_cost=cost,
        per_class={
            label: _mean(run.per_class.get(label) for run in scored)
            for label in (any_run.per_class if any_run else {})
        },
        state=_state(runs.values()),
    )


def _state(runs: Collection[Run]) -> str:
    if not runs:
        return "not run"
    added = sum(bool(run.added) for run in runs)
    return "" if not added else "added" if added == len(runs) else "partly added"


def share_of_teacher(
    value: float | None, teacher_value: float | None, *, metric: Metric
) -> float | None:
    """A value in percent of the teacher's.

    Returns:
        None if one of them is unknown, if lower is better, or if the teacher's value is so small
        that the quotient means nothing.
    """
    if value is None or teacher_value is None or not metric.higher_is_better:
        return None
    return 100 * value / teacher_value if teacher_value >= least_teacher(metric) else None


def least_teacher(metric: Metric) -> float:
    """The smallest teacher's value that a share is taken of: ten times the last digit shown, so 1
    for AP in 0..100 with one decimal.
    """
    return 10.0 ** (1 - metric.digits)


def _gain(pairs: list[tuple[float, float]], metric: Metric) -> Difference:
    own, other = zip(*pairs, strict=True)
    return (
        paired_difference(own, other) if metric.higher_is_better else paired_difference(other, own)
    )


def _summary(runs: Sequence[Run], name: str) -> Summary | None:
    known = [run.scores[name] for run in runs if run.scores.get(name) is not None]
    return summarise(known) if known else None


def _mean_of(per_class: Mapping[str, float | None], names: Sequence[str]) -> float | None:
    if unknown := [name for name in names if name not in per_class]:
        raise UserError(f"no class {', '.join(unknown)}; choose from {', '.join(per_class)}")
    return _mean(per_class[name] for name in names)


def _pairs(run: Run, base: dict[int | None, Run], name: str) -> bool:
    """Whether the base has another run with a score at the same seed."""
    other = base.get(run.seed)
    return other is not None and other.name != run.name and other.scores.get(name) is not None


def _step_cost(runs: Iterable[Run], timed: Mapping[tuple[str, int | None], Run]) -> float | None:
    pairs = [
        (run.seconds_per_step, timed[run.machine, run.seed].seconds_per_step)
        for run in runs
        if (run.machine, run.seed) in timed
    ]
    pairs = [(one, other) for one, other in pairs if one is not None and other]
    if not pairs:
        return None
    return sum(one for one, _ in pairs) / sum(other for _, other in pairs)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
