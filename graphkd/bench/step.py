"""What distillation adds to a training step: plain step, teacher and distilled step side by side;
no data set.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from graphkd.bench import pair
from graphkd.bench.machine import describe_machine, set_threads
from graphkd.bench.memory import Peaks, peaks
from graphkd.distill.teacher import load_teacher_cfg, teacher_weights
from graphkd.evaluation.timing import Times, alternate, waiter


def measure_step(
    options: pair.StepOptions, *, steps: int = 10, clock: str = "wall", memory: bool = True
) -> dict:
    """Measures the three parts of a training step in alternating rounds.

    Args:
        options: the config and the pages.
        steps: timed rounds.
        clock: `wall` or `cpu`, see `graphkd.evaluation.timing.alternate`.
        memory: also measure peak memory, each part in a fresh process.

    Returns:
        `plain_s`, `teacher_s`, `distilled_s`: median seconds. `overhead`: distilled over the sum of
        the other two. `spread`: first and third quartile of each, of the overhead round by round.
        `peak_mb`: see `Peaks`. `memory_bound_mb`, `memory_ok`: the bound on the distilled peak and
        whether it is kept. `random_teacher`, `log` (the losses' own diagnostics), `settings`,
        `machine`.

    Raises:
        UserError: a wrong config or option, or a device that is not there.
    """
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        prepared = pair.prepare(options, Path(folder))
        distiller = pair.fresh_distiller(prepared)
        student = pair.fresh_student(prepared)
        boxes = None
        if distiller.needs & {"region_features", "region_predictions"}:
            boxes = pair.student_boxes(prepared, pair.fresh_student(prepared))
        parts = {
            "plain": pair.training_step(prepared, student),
            "teacher": pair.teacher_forward(prepared, distiller.teacher, distiller.needs, boxes),
            "distilled": pair.training_step(prepared, distiller),
        }
        times = alternate(
            parts, rounds=steps, wait=waiter(student), clock=clock, title="training steps"
        )
        found = None
        if memory:
            weights = teacher_weights(
                prepared.cfg, load_teacher_cfg(prepared.cfg, source=prepared.source)
            )
            found = peaks(options, weights=weights, needs=distiller.needs, boxes=boxes)
        about = describe_machine(prepared.cfg.MODEL.DEVICE)
        diagnostics = {
            name: float(value) for name, value in distiller.log.items() if name.startswith("kd/")
        }
        return {
            **_seconds(times),
            **_memory(found),
            "random_teacher": prepared.random_teacher,
            "regions": None if boxes is None else [len(each) for each in boxes],
            "log": diagnostics,
            "settings": _settings(options, prepared, steps=steps, clock=clock),
            "machine": about,
        }


def _seconds(times: dict[str, Times]) -> dict:
    whole = times["plain"].median + times["teacher"].median
    rounds = zip(*(times[part].seconds for part in pair.PARTS), strict=True)
    ratios = [distilled / (plain + teacher) for plain, teacher, distilled in rounds]
    spread = {part: list(times[part].quartiles) for part in pair.PARTS}
    spread["overhead"] = [float(value) for value in np.percentile(ratios, [25, 75])]
    return {
        **{f"{part}_s": times[part].median for part in pair.PARTS},
        "overhead": times["distilled"].median / whole,
        "spread": spread,
    }


def _memory(found: Peaks | None) -> dict:
    if found is None:
        return {"peak_mb": None, "teacher_weights_mb": None, "memory_bound_mb": None}
    peak, bound = found.parts["distilled"], found.bound
    return {
        "peak_mb": found.parts,
        "teacher_weights_mb": found.teacher_weights,
        "memory_bound_mb": bound,
        "memory_ok": None if peak is None or bound is None else peak <= bound,
    }


def _settings(
    options: pair.StepOptions, prepared: pair.Prepared, *, steps: int, clock: str
) -> dict:
    cfg = prepared.cfg
    return {
        "config": options.config,
        "overrides": list(options.overrides),
        "method": options.method,
        "losses": list(cfg.DISTILL.LOSSES),
        "size": list(options.size),
        "batch": options.batch,
        "device": cfg.MODEL.DEVICE,
        "amp": str(pair.autocast_format(cfg, torch.device(cfg.MODEL.DEVICE))),
        "steps": steps,
        "clock": clock,
        "threads": torch.get_num_threads(),
        "compile": cfg.DISTILL.TEACHER.COMPILE,
    }
