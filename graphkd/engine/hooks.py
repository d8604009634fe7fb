"""Hooks of this project beside Detectron2's own: progress bar, evaluation curve, checkpoints,
stopping on a signal, and a log of numbers that fits the checkpoints.
"""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from tqdm import tqdm

from graphkd.checkpoint import RunCheckpointer, checkpoints_of
from graphkd.distill.average import RunningAverage
from graphkd.engine.nan_guard import DivergedError, all_finite
from graphkd.errors import GO_ON
from graphkd.io import write_text

logger = logging.getLogger(__name__)


class ProgressBar(HookBase):
    """One line on the terminal with step, loss, speed and time left; for the main process.

    Attributes:
        row: lines below the cursor, where several trainings share a terminal.
    """

    row = 0

    def __init__(self, title: str, *, total: int):
        self.title, self.total = title, total

    def before_train(self) -> None:
        self.bar = tqdm(
            total=self.total,
            initial=self.trainer.start_iter,
            desc=self.title,
            unit="step",
            disable=not comm.is_main_process(),
            position=self.row or None,
            dynamic_ncols=True,
            mininterval=1.0,
        )

    def after_step(self) -> None:
        latest = self.trainer.storage.latest().get("total_loss")
        if latest is not None:
            self.bar.set_postfix(loss=f"{latest[0]:.3f}", refresh=False)
        self.bar.update()

    def after_train(self) -> None:
        self.bar.close()


class TrainingClock(HookBase):
    """Seconds spent in steps alone (no evaluation, no checkpoints); survives a resume.

    Attributes:
        seconds: the sum so far.
    """

    def __init__(self):
        self.seconds = 0.0

    def before_step(self) -> None:
        self.started = time.perf_counter()

    def after_step(self) -> None:
        self.seconds += time.perf_counter() - self.started

    def state_dict(self) -> dict:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict) -> None:
        self.seconds = state_dict["seconds"]


class PeriodicEvaluation(HookBase):
    """Evaluates every `period` steps and at the end; the numbers go into the run's metrics as
    `eval/<name>`.

    Attributes:
        last: the newest result dict; empty before the first.
    """

    def __init__(
        self, evaluate: Callable[[], dict[str, Any]], *, metrics: Sequence[str], period: int
    ):
        """`evaluate` returns the numbers of the model; `metrics` names those that are written."""
        self.evaluate, self.metrics, self.period, self.last = evaluate, metrics, period, {}

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        at_end = done == self.trainer.max_iter
        if at_end or done % self.period == 0:
            self.last = self.evaluate()
            scores = {f"eval/{name}": self.last.get(name) for name in self.metrics}
            measured = {key: value for key, value in scores.items() if value is not None}
            self.trainer.storage.put_scalars(**measured, smoothing_hint=False)


class AverageWeights(HookBase):
    """Keeps `SOLVER.EMA`'s running average of the student up to date."""

    def __init__(self, average: RunningAverage, student: nn.Module):
        self.average, self.student = average, student

    def after_step(self) -> None:
        self.average.update(self.student)


class Checkpoints(HookBase):
    """A checkpoint every `period` steps; the newest `keep` of a folder stay. At the end, the final
    one.
    """

    def __init__(
        self,
        checkpointer: RunCheckpointer,
        *,
        period: int,
        finish: Callable[[], None],
        keep: int = 2,
    ):
        """`finish` writes `model_final.pth`; every process calls it."""
        self.checkpointer, self.period, self.keep = checkpointer, period, keep
        self.finish = finish
        self.newest = -1

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.period == 0:
            self.save()
        if self.trainer.iter + 1 == self.trainer.max_iter:
            self._check_weights()
            self.finish()

    def save(self) -> None:
        """Writes the checkpoint of the step just taken; every process calls it."""
        if self.newest == self.trainer.iter:
            return
        step = self.trainer.iter
        self._check_weights()
        self.checkpointer.save(f"model_{step:07d}", iteration=step)
        self.newest = step
        if comm.is_main_process():
            numbered = [
                path
                for path in checkpoints_of(Path(self.checkpointer.save_dir))
                if path.name != "model_final.pth"
            ]
            for path in numbered[: -self.keep]:
                path.unlink()

    def _check_weights(self) -> None:
        if not all_finite(self.checkpointer.model):
            # All processes have the same weights, so all of them stop here.
            raise DivergedError(
                f"step {self.trainer.iter}: the weights are not finite; they are not saved, an "
                "older checkpoint is the last good; lower SOLVER.BASE_LR"
            )


class StopOnSignal(HookBase):
    """Ends a run after its step with a checkpoint when it gets SIGTERM or Ctrl-C.

    The second signal ends it at once. Handlers are those from before again after the training.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, save: Callable[[], None]):
        """`save` writes a checkpoint; every process calls it."""
        self.save = save
        self.earlier: dict[int, object] = {}
        self.stopped_by = ""

    def before_train(self) -> None:
        # Python allows handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            self.earlier = {number: signal.signal(number, self._note) for number in self.SIGNALS}

    def after_step(self) -> None:
        number = self.trainer.stop
        if not number:
            return
        self.save()
        self.stopped_by = signal.Signals(number).name
        raise SystemExit(128 + number)

    def after_train(self) -> None:
        self._put_back()
        # Only now: the progress bar's line is ended.
        if self.stopped_by and comm.is_main_process():
            logger.warning(
                "stopped by %s after step %d; its checkpoint is saved: %s",
                self.stopped_by,
                self.trainer.iter,
                GO_ON,
            )

    def _note(self, number: int, _) -> None:
        if self.trainer.signal:
            self._put_back()
            os.kill(os.getpid(), number)
        self.trainer.signal = number

    def _put_back(self) -> None:
        for number, handler in self.earlier.items():
            # None: it was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.earlier = {}


class Metrics(HookBase):
    """Writes terms and rates every `period` steps, at the end, and before a checkpoint, so that
    what its steps measured is not lost with the process.
    """

    def __init__(self, writers: list[EventWriter], *, period: int, checkpoint_period: int):
        self.writers, self.periods = writers, (period, checkpoint_period)
        self.written = -1

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or not all(done % period for period in self.periods):
            self._write()

    def after_train(self) -> None:
        # A step that was stopped or failed may have been written already; Detectron2's printer
        # cannot write it twice.
        if self.trainer.storage.iter != self.written:
            self._write()
        for writer in self.writers:
            writer.close()

    def _write(self) -> None:
        self.written = self.trainer.storage.iter
        for writer in self.writers:
            writer.write()


def drop_later_lines(path: Path, *, step: int) -> None:
    """Takes out of a metrics.json what a resumed run will write again.

    Args:
        path: one json object a line; nothing happens where there is no such file.
        step: the first step of the resumed run; lines of it and later ones go, and so does a line
            that a killed process left half-written.
    """
    if not path.is_file():
        return
    kept = [line for line in path.read_text(errors="replace").splitlines() if _before(line, step)]
    write_text(path, "".join(f"{line}\n" for line in kept))


def _before(line: str, step: int) -> bool:
    try:
        return json.loads(line)["iteration"] < step
    except (ValueError, KeyError, TypeError):
        return False
