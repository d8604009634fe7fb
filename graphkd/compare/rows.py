"""From the numbers of single runs to one row a model: means, spreads, paired differences to the
plain student; numbers in, numbers out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from graphkd.evaluation.coco import mean_ap
from graphkd.evaluation.statistics import Difference, Summary, paired_difference, summarise

TEACHER, PLAIN, PLAIN_LONGER = "teacher", "plain", "plain-same-time"
NOT_METHODS = (TEACHER, PLAIN, PLAIN_LONGER)
LEAST_TEACHER_AP = 1.0


@dataclass(frozen=True)
class Run:
    """What one finished run of a comparison left.

    Attributes:
        name: teacher, plain, plain-same-time, or the name of a method.
        seed: of the run; None for the teacher, who is there once.
        AP: COCO box AP in 0..100, None if nothing could be measured; AP50 and AP75 likewise.
        per_class: class name -> AP or None.
        parameters: of the model that is left at the end.
        iterations: training steps taken; None if not known.
        seconds: spent in these steps; None if not known.
        weights: path of the checkpoint.
        machine: kind of machine that trained it; "" if not known.
        date: the day of the training.
    """

    name: str
    seed: int | None
    AP: float | None
    AP50: float | None
    AP75: float | None
    per_class: dict[str, float | None]
    parameters: int
    iterations: int | None
    seconds: float | None
    weights: str
    machine: str = ""
    date: str = ""

    @property
    def seconds_per_step(self) -> float | None:
        """Mean duration of a training step."""
        if not self.iterations or self.seconds is None:
            return None
        return self.seconds / self.iterations


@dataclass(frozen=True)
class Row:
    """One model over all its seeds; None stands for what is not known.

    Attributes:
        name: as in `Run`.
        seeds: those with a known AP.
        AP: mean, standard deviation, count.
        AP50: mean; AP75 likewise.
        chosen: mean AP over the classes that were asked for.
        difference: AP minus the plain student's at the same seed.
        pairs: seeds in `difference`.
        share: mean AP in percent of the teacher's, see `share_of_teacher`.
        parameters: of the model.
        iterations: training steps a run.
        seconds: training time a run, mean.
        seconds_per_step: mean.
        step_cost: duration of a step relative to the plain student's, over the seeds both have.
        per_class: class name -> mean AP.
    """

    name: str
    seeds: list[int | None]
    AP: Summary | None
    AP50: float | None
    AP75: float | None
    chosen: float | None
    difference: Difference | None
    pairs: int
    share: float | None
    parameters: int
    iterations: int | None
    seconds: float | None
    seconds_per_step: float | None
    step_cost: float | None
    per_class: dict[str, float | None] = field(default_factory=dict)


def compare_runs(
    runs: Iterable[Run], *, chosen: Sequence[str] = (), against: str = PLAIN
) -> list[Row]:
    """One row a model, in the order in which the models first appear.

    Args:
        runs: finished runs, at most one for a name and seed. None: no rows.
        chosen: classes for the mean AP of `Row.chosen`; empty for none.
        against: whose AP is subtracted and whose step is the unit of cost.

    Raises:
        UserError: a chosen class does not exist.
    """
    by_name: dict[str, dict[int | None, Run]] = {}
    for run in runs:
        by_name.setdefault(run.name, {})[run.seed] = run
    base = by_name.get(against, {})
    teacher = next(iter(by_name.get(TEACHER, {}).values()), None)
    return [_row(name, found, base, teacher, chosen) for name, found in by_name.items()]


def _row(
    name: str,
    runs: dict[int | None, Run],
    base: dict[int | None, Run],
    teacher: Run | None,
    chosen: Sequence[str],
) -> Row:
    scored = [run for run in runs.values() if run.AP is not None]
    summary = summarise([run.AP for run in scored]) if scored else None
    pairs = [(run.AP, base[run.seed].AP) for run in scored if _pairs(run, base)]
    any_run = next(iter(runs.values()))
    share = share_of_teacher(summary and summary.mean, teacher and teacher.AP)
    return Row(
        name=name,
        seeds=[run.seed for run in scored],
        AP=summary,
        AP50=_mean(run.AP50 for run in scored),
        AP75=_mean(run.AP75 for run in scored),
        chosen=_mean(mean_ap(run.per_class, chosen) for run in scored) if chosen else None,
        difference=paired_difference(*zip(*pairs, strict=True)) if pairs else None,
        pairs=len(pairs),
        share=share,
        parameters=any_run.parameters,
        iterations=any_run.iterations,
        seconds=_mean(run.seconds for run in runs.values()),
        seconds_per_step=_mean(run.seconds_per_step for run in runs.values()),
        step_cost=_step_cost(runs, base),
        per_class={
            label: _mean(run.per_class.get(label) for run in scored) for label in any_run.per_class
        },
    )


def share_of_teacher(ap: float | None, teacher_ap: float | None) -> float | None:
    """AP in percent of the teacher's; None where one is unknown, or the teacher's is below 1 AP and
    the quotient would be a large number about nothing.
    """
    if ap is None or teacher_ap is None or teacher_ap < LEAST_TEACHER_AP:
        return None
    return 100 * ap / teacher_ap


def _pairs(run: Run, base: dict[int | None, Run]) -> bool:
    """Whether the base has a measured run of the same seed, which is not this very run."""
    other = base.get(run.seed)
    return other is not None and other.name != run.name and other.AP is not None


def _step_cost(runs: dict[int | None, Run], base: dict[int | None, Run]) -> float | None:
    pairs = [
        (run.seconds_per_step, base[seed].seconds_per_step)
        for seed, run in runs.items()
        if seed in base
    ]
    pairs = [(one, other) for one, other in pairs if one is not None and other]
    if not pairs:
        return None
    return sum(one for one, _ in pairs) / sum(other for _, other in pairs)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
