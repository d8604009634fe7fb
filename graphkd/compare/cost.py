"""How long a training step of a method lasts, measured over a few steps beside the plain student's;
no training to keep.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from detectron2.utils.events import EventStorage
from torch import nn

from graphkd.compare.parts import Part
from graphkd.compare.plan import Contest
from graphkd.compare.rows import PLAIN
from graphkd.engine import run
from graphkd.engine.build import build_models
from graphkd.evaluation.timing import alternate, waiter
from graphkd.io import write_json
from graphkd.tasks.base import task_of

PROBE_STEPS = 15


def relative_cost(contest: Contest, name: str) -> float:
    """Duration of a method's training step relative to the plain student's; both take turns, so
    that a slow minute of the machine falls on both alike.

    Median over the turns; measured once and kept in the folder `probe/NAME`.

    Raises:
        DivergedError: the method's loss is not finite.
    """
    folder = contest.out / "probe" / name
    part = _part(contest, name, folder)
    part.claim()
    kept = folder / "cost.json"
    if kept.is_file():
        return json.loads(kept.read_text())["cost"]
    with part.place.taken(part.cfg, source=part.source, resume=True, teacher=part.teacher):
        run.prepare(part.cfg)
        plain, student = _step(_part(contest, PLAIN, folder))
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


def _part(contest: Contest, name: str, folder: Path) -> Part:
    part = contest.part(name, contest.first_seed)
    cfg = part.cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(folder)
    cfg.freeze()
    return replace(part, cfg=cfg)


def _step(part: Part) -> tuple[Callable[[], None], nn.Module]:
    """The next training step of a run on its own pages, and its student."""
    cfg = part.cfg
    classes = task_of(cfg).classes(cfg, source=part.source)
    student, model = build_models(cfg, source=part.source)
    training = run.build_trainer(
        cfg, student, model, classes=classes, resume=False, title=part.name
    )
    trainer = training.trainer
    model.train()
    trainer.storage = EventStorage(0)
    trainer.iter = -1

    def step() -> None:
        trainer.iter += 1
        with trainer.storage:
            trainer.run_step()

    return step, student
