"""Measurements before the runs of a comparison: the cost of a training step of each method, and the
factor for its loss weights that is best on the validation set.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from detectron2.utils.events import EventStorage
from torch import nn

from graphkd.compare.parts import Part
from graphkd.compare.plan import Contest
from graphkd.compare.rows import PLAIN
from graphkd.engine import run
from graphkd.engine.build import build_models
from graphkd.engine.run_dir import validation_digest
from graphkd.errors import UserError
from graphkd.evaluation.timing import alternate, waiter
from graphkd.io import write_json
from graphkd.tasks.base import Metric, task_of

PROBE_STEPS = 15  # of each; enough for a stable median, a few seconds for small models


@dataclass
class Search:
    """Validation scores of every method at several factors for its loss weights.

    Attributes:
        factors: tried with every method, ascending.
        data: name of the validation set.
        digest: of its annotations; None if unknown.
        seed: of all runs of the search.
        scores: method -> factor as text -> score; None for a run without a score.
        chosen: method -> its best factor; methods without any score are missing.
        stopped: method -> factor as text -> why that run diverged.
    """

    factors: list[float]
    data: str
    digest: str | None
    seed: int
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Factors and seed."""
        factors = ",".join(f"{factor:g}" for factor in self.factors)
        return f"times {factors} at seed {self.seed}"

    def take(self, part: Part, metric: Metric) -> float | None:
        """Records and returns the validation score of a finished run."""
        found, factor = part.validation(), f"{part.factor:g}"
        score = found["scores"].get(metric.name)
        self.scores.setdefault(part.name, {})[factor] = score
        if found["stopped"]:
            self.stopped.setdefault(part.name, {})[factor] = found["stopped"]
        return score

    def choose(self, name: str, metric: Metric) -> float | None:
        """Chooses the best factor of a method (of equal ones that nearest to 1); None without a
        score.
        """
        nearest = sorted(self.factors, key=lambda factor: (abs(math.log(factor)), factor))
        found = {factor: self.scores.get(name, {}).get(f"{factor:g}") for factor in nearest}
        known = {factor: score for factor, score in found.items() if score is not None}
        if known:
            self.chosen[name] = metric.best(known)
        return self.chosen.get(name)

    def include(self, other: "Search", name: str) -> None:
        """Copies the scores and the choice of another search for a method."""
        self.scores[name] = other.scores[name]
        self.chosen[name] = other.chosen[name]
        if name in other.stopped:
            self.stopped[name] = other.stopped[name]


def new_search(contest: Contest, factors: Sequence[float]) -> Search:
    """Makes the search of a comparison, without scores.

    Raises:
        UserError: a factor is not above 0 or repeated, or there is no validation set.
    """
    ordered = sorted(factors)
    if wrong := [factor for factor in ordered if not 0 < factor < math.inf]:
        raise UserError(f"--tune: {wrong[0]:g} is no factor; use numbers above 0, such as 0.5,1,2")
    if len({f"{factor:g}" for factor in ordered}) < len(ordered):
        raise UserError("--tune: a factor is repeated; use each once, such as 0.5,1,2")
    if not contest.cfg.DATASETS.VAL:
        raise UserError(
            f"{contest.source}: --tune needs a validation set, but DATASETS.VAL is empty; set it "
            "to a data set other than the test set"
        )
    name, digest = contest.cfg.DATASETS.VAL[0], validation_digest(contest.cfg)
    return Search(ordered, name, digest, contest.first_seed)


def relative_cost(contest: Contest, name: str) -> float:
    """Duration of a method's training step relative to the plain student's.

    Steps of both alternate, so that a slow minute of the machine affects both. The result is the
    median of the ratios; it is measured once and stored in the folder `probe/NAME`.

    Raises:
        DivergedError: the method's loss is not finite.
    """
    folder = contest.out / "probe" / name
    part = contest.part(name, contest.first_seed, folder=folder)
    part.claim()
    kept = folder / "cost.json"
    if kept.is_file():
        return json.loads(kept.read_text())["cost"]
    with part.place.taken(part.cfg, source=part.source, resume=True, teacher=part.teacher):
        run.prepare(part.cfg)
        plain, student = _step(contest.part(PLAIN, contest.first_seed, folder=folder))
        method, _ = _step(part)
        times = alternate(
            {PLAIN: plain, name: method},
            rounds=PROBE_STEPS,
            wait=waiter(student),
            title=f"cost of {name}",
        )
    ratios = np.divide(times[name].seconds, times[PLAIN].seconds)
    seconds = {each: times[each].median for each in times}
    cost = float(np.median(ratios))
    write_json(kept, {"cost": cost, "seconds": seconds, "steps": PROBE_STEPS})
    return cost


def _step(part: Part) -> tuple[Callable[[], None], nn.Module]:
    """A function that takes the next training step of a run, and the student."""
    cfg = part.cfg
    classes = task_of(cfg).classes(cfg, source=part.source)
    student, model = build_models(cfg, source=part.source)
    trainer = run.build_trainer(
        cfg, student, model, classes=classes, resume=False, title=part.name
    ).trainer
    model.train()
    trainer.storage = EventStorage(0)
    trainer.iter = -1  # `step` increases it first, so the first step is step 0

    def step() -> None:
        trainer.iter += 1
        with trainer.storage:
            trainer.run_step()

    return step, student
