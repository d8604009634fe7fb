"""Peak memory of one part of a training step, each in a fresh process; no timing."""

import contextlib
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from graphkd.bench import pair
from graphkd.bench.machine import set_threads

STEPS = 3
MEBIBYTE = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Peaks:
    """Peak memory in MiB.

    Attributes:
        parts: plain, teacher and distilled: above what the process held before any model was
            built; on a GPU what torch allocated there. None where the system does not tell.
        teacher_weights: of the teacher's parameters and buffers.
    """

    parts: dict[str, float | None]
    teacher_weights: float

    @property
    def bound(self) -> float | None:
        """1.25 times the plain peak plus the teacher's weights; the distilled peak should not be
        above it.
        """
        plain = self.parts["plain"]
        return None if plain is None else 1.25 * (plain + self.teacher_weights)


def peaks(
    options: pair.StepOptions,
    *,
    weights: Path,
    needs: frozenset[str],
    boxes: Sequence[Tensor] | None,
) -> Peaks:
    """Measures every part in a process of its own over three steps.

    Args:
        options: what to measure.
        weights: of the teacher.
        needs: the teacher's parts that the losses read.
        boxes: per page (R_i, 4), where the teacher pools; None where no loss reads regions.
    """
    options = replace(
        options, overrides=(*options.overrides, "DISTILL.TEACHER.WEIGHTS", str(weights))
    )
    places = None if boxes is None else [each.cpu().numpy() for each in boxes]
    found, teacher_weights = {}, 0.0
    with tqdm(total=len(pair.PARTS), desc="memory", leave=False) as bar:
        for part in pair.PARTS:
            bar.set_postfix_str(part)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                found[part], own = pool.submit(_peak_of, part, options, needs, places).result()
            teacher_weights = max(teacher_weights, own)
            bar.update()
    return Peaks(found, teacher_weights)


def _peak_of(
    part: str, options: pair.StepOptions, needs: frozenset[str], places: list | None
) -> tuple[float | None, float]:
    """Runs in the fresh process: peak MiB of `part`, and MiB of the teacher's weights if any."""
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        prepared = pair.prepare(options, Path(folder))
        device = torch.device(prepared.cfg.MODEL.DEVICE)
        before, weights = resident(), 0.0
        if part == "plain":
            student = pair.fresh_student(prepared)
            step = pair.training_step(prepared, student)
        elif part == "teacher":
            teacher = pair.fresh_teacher(prepared)
            boxes = None
            if places is not None:
                boxes = tuple(torch.from_numpy(each).to(device) for each in places)
            step = pair.teacher_forward(prepared, teacher, needs, boxes)
            weights = megabytes(teacher.model)
        else:
            step = pair.training_step(prepared, pair.fresh_distiller(prepared))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        clear_peak()
        for _ in range(STEPS):
            step()
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device) / MEBIBYTE, weights
        peak = resident_peak()
    return (None if peak is None or before is None else peak - before), weights


def megabytes(model: torch.nn.Module) -> float:
    """MiB of a model's parameters and buffers."""
    tensors = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values()) / MEBIBYTE


def resident() -> float | None:
    """MiB of memory this process holds now; None where the system does not tell."""
    return _status("VmRSS")


def resident_peak() -> float | None:
    """The most MiB this process held since it began or since `clear_peak`; None as above."""
    return _status("VmHWM")


def clear_peak() -> None:
    """Starts the peak anew, where the system allows it; else it counts from the process' start."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def _status(field: str) -> float | None:
    # getrusage would do but for its peak, which a new process inherits from the one it came from.
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return None
