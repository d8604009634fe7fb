"""`graphkd bench step`: time and peak memory of a plain step, the teacher and a distilled step."""

import contextlib
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from graphkd.bench import parts
from graphkd.bench.machine import describe_machine, machine_line, milliseconds, set_threads
from graphkd.distill.outputs import REGION_PARTS
from graphkd.distill.run_teacher import load_teacher_cfg, teacher_weights
from graphkd.evaluation.timing import Times, alternate, waiter
from graphkd.report.tables import DASH, plain_table

MEMORY_STEPS = 3
MEBIBYTE = 2**20
LABELS = {"plain": "plain step", "teacher": "teacher forward", "distilled": "distilled step"}


def measure_step(
    options: parts.StepOptions, *, steps: int = 10, clock: str = "wall", memory: bool = True
) -> dict:
    """Measures the three parts of a training step in alternating rounds.

    Args:
        options: the config and the pages.
        steps: number of timed rounds.
        clock: `wall` or `cpu`, see `graphkd.evaluation.timing.alternate`.
        memory: also measure the peak memory, of each part in a new process.

    Returns:
        A dict with `plain_s`, `teacher_s`, `distilled_s` (median seconds), `overhead` (distilled
        divided by the sum of the other two), `spread` (first and third quartile of each, and of the
        overhead of the rounds), `peak_mb` (MiB of each part above those of the process before any
        model was built; on a GPU what torch allocated; None if the system gives no number),
        `memory_bound_mb` and `memory_ok` (see `memory_bound`), `random_teacher`, `log` (the log of
        the losses), `settings` and `machine`.

    Raises:
        UserError: a wrong config or option, or the device does not exist.
    """
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        prepared = parts.prepare(options, Path(folder))
        distiller = parts.fresh_distiller(prepared)
        student = parts.fresh_student(prepared)
        boxes = None
        if distiller.needs & REGION_PARTS:
            boxes = parts.student_boxes(prepared, parts.fresh_student(prepared))
        calls = {
            "plain": parts.training_step(prepared, student),
            "teacher": parts.teacher_forward(prepared, distiller.teacher, distiller.needs, boxes),
            "distilled": parts.training_step(prepared, distiller),
        }
        times = alternate(
            calls, rounds=steps, wait=waiter(student), clock=clock, title="training steps"
        )
        found = {"peak_mb": None, "teacher_weights_mb": None, "memory_bound_mb": None}
        if memory:
            found = _memory(options, prepared, needs=distiller.needs, boxes=boxes)
        return {
            **_seconds(times),
            **found,
            "random_teacher": prepared.random_teacher,
            "regions": None if boxes is None else [len(each) for each in boxes],
            "log": {k: float(v) for k, v in distiller.log.items() if k.startswith("kd/")},
            "settings": _settings(options, prepared, steps=steps, clock=clock),
            "machine": describe_machine(prepared.cfg.MODEL.DEVICE),
        }


def memory_bound(plain: float | None, teacher: float) -> float | None:
    """The target for the peak of the distilled step: 1.25 times the sum of the plain step's peak
    and the teacher's weights.
    """
    return None if plain is None else 1.25 * (plain + teacher)


def _memory(
    options: parts.StepOptions,
    prepared: parts.ReadyStep,
    *,
    needs: frozenset[str],
    boxes: Sequence[Tensor] | None,
) -> dict:
    """The peak memory of every part over three steps, each in a new process.

    Args:
        options: what to measure.
        prepared: the result of `parts.prepare` for these options.
        needs: the parts of the teacher's outputs that the losses read.
        boxes: per page (R_i, 4), the boxes of the teacher's regions; None if no loss reads regions.
    """
    weights = teacher_weights(prepared.cfg, load_teacher_cfg(prepared.cfg, source=prepared.source))
    same_teacher = ("DISTILL.TEACHER.WEIGHTS", str(weights))
    options = replace(options, overrides=(*options.overrides, *same_teacher))
    places = None if boxes is None else [each.cpu().numpy() for each in boxes]
    peaks: dict[str, float | None] = {}
    teacher = 0.0
    for part in tqdm(parts.PARTS, desc="memory", leave=False):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            peaks[part], own = pool.submit(_peak_of, part, options, needs, places).result()
        teacher = max(teacher, own)
    bound, peak = memory_bound(peaks["plain"], teacher), peaks["distilled"]
    return {
        "peak_mb": peaks,
        "teacher_weights_mb": teacher,
        "memory_bound_mb": bound,
        "memory_ok": None if peak is None or bound is None else peak <= bound,
    }


def _peak_of(
    part: str, options: parts.StepOptions, needs: frozenset[str], places: list | None
) -> tuple[float | None, float]:
    """Runs in the new process: peak MiB of `part`, and MiB of the teacher's weights (0 without)."""
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        prepared = parts.prepare(options, Path(folder))
        device = torch.device(prepared.cfg.MODEL.DEVICE)
        before, weights = process_memory("VmRSS"), 0.0
        if part == "plain":
            step = parts.training_step(prepared, parts.fresh_student(prepared))
        elif part == "teacher":
            teacher = parts.fresh_teacher(prepared)
            boxes = None
            if places is not None:
                boxes = tuple(torch.from_numpy(each).to(device) for each in places)
            step = parts.teacher_forward(prepared, teacher, needs, boxes)
            weights = megabytes(teacher.model)
        else:
            step = parts.training_step(prepared, parts.fresh_distiller(prepared))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with contextlib.suppress(OSError):  # resets the peak (VmHWM), if the system allows it
            Path("/proc/self/clear_refs").write_text("5")
        for _ in range(MEMORY_STEPS):
            step()
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device) / MEBIBYTE, weights
        peak = process_memory("VmHWM")
    return (None if peak is None or before is None else peak - before), weights


def process_memory(field: str) -> float | None:
    """The memory of this process now (`VmRSS`) or its peak (`VmHWM`) in MiB; None if the system
    gives no number.
    """
    # Not getrusage: there, a new process inherits the peak of the process that started it.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(f"{field}:")), None)


def megabytes(model: torch.nn.Module) -> float:
    """MiB of a model's parameters and buffers."""
    tensors = (*model.parameters(), *model.buffers())
    return sum(each.numel() * each.element_size() for each in tensors) / MEBIBYTE


def _seconds(times: Mapping[str, Times]) -> dict:
    whole = times["plain"].median + times["teacher"].median
    rounds = zip(*(times[part].seconds for part in parts.PARTS), strict=True)
    ratios = [distilled / (plain + teacher) for plain, teacher, distilled in rounds]
    spread = {part: list(times[part].quartiles) for part in parts.PARTS}
    spread["overhead"] = [float(value) for value in np.percentile(ratios, [25, 75])]
    return {
        **{f"{part}_s": times[part].median for part in parts.PARTS},
        "overhead": times["distilled"].median / whole,
        "spread": spread,
    }


def _settings(
    options: parts.StepOptions, prepared: parts.ReadyStep, *, steps: int, clock: str
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
        "amp": str(parts.autocast_format(cfg, torch.device(cfg.MODEL.DEVICE))),
        "steps": steps,
        "clock": clock,
        "threads": torch.get_num_threads(),
        "compile": cfg.DISTILL.TEACHER.COMPILE,
    }


def step_table(result: dict) -> str:
    """The table of `graphkd bench step` and the sentences below it."""
    peaks = result["peak_mb"] or {}
    rows = [
        [
            label,
            milliseconds(result[f"{part}_s"]),
            " to ".join(map(milliseconds, result["spread"][part])),
            _whole(peaks.get(part)),
        ]
        for part, label in LABELS.items()
    ]
    low, high = result["spread"]["overhead"]
    lines = [
        plain_table(rows, ("part", "median ms", "quartiles ms", "peak MiB")),
        "",
        f"overhead: {result['overhead']:.3f} = distilled / (plain + teacher), quartiles of the "
        f"rounds {low:.3f} to {high:.3f}",
    ]
    bound = result["memory_bound_mb"]
    if peaks and bound is None:
        lines.append("memory: this system gives no peak memory of a process")
    elif peaks:
        verdict = "kept" if result["memory_ok"] else "MISSED"
        lines.append(
            f"memory target {verdict}: distilled {_whole(peaks['distilled'])} MiB, bound "
            f"{_whole(bound)} MiB = 1.25 x (plain peak + teacher weights "
            f"{_whole(result['teacher_weights_mb'])} MiB)"
        )
    if result["random_teacher"]:
        lines.append(
            "the teacher has no weights yet, so random ones are used; to them all background is "
            "hard, and the graphs are as large as their limits allow"
        )
    nodes = {name: value for name, value in result["log"].items() if name.endswith("/nodes")}
    if nodes:
        counts = ", ".join(f"{name.split('/')[1]} {value:.0f}" for name, value in nodes.items())
        lines.append(f"nodes a page: {counts}; regions a page: {result['regions']}")
    return "\n".join([*lines, machine_line(result["machine"])])


def _whole(value: float | None) -> str:
    return DASH if value is None else f"{value:.0f}"
