"""Training hooks: progress bar, periodic evaluation, checkpoints, stopping on a signal, and a
metrics log that agrees with the checkpoints.
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
from tqdm import tqdm

from graphkd.checkpoint import RunCheckpointer, checkpoints_of
from graphkd.engine.nan_guard import DivergedError, all_finite
from graphkd.errors import GO_ON
from graphkd.io import write_text

logger = logging.getLogger(__name__)


class ProgressBar(HookBase):
    """A progress bar of the main process with step, loss, speed and remaining time.

    Attributes:
        row: how many lines below the cursor the bar is drawn, for several trainings in one
            terminal.
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
    """Measures the time spent in training steps, without evaluation and checkpoints. The sum is
    kept over a resume.

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
    """Evaluates the model every `period` steps and at the end, and logs the scores as
    `eval/<name>`.

    Attributes:
        last: the scores of the last evaluation; empty before the first one.
    """

    def __init__(
        self, evaluate: Callable[[], dict[str, Any]], *, metrics: Sequence[str], period: int
    ):
        """`evaluate` returns the scores by name; those named in `metrics` are logged."""
        self.evaluate, self.metrics, self.period, self.last = evaluate, metrics, period, {}

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        at_end = done == self.trainer.max_iter
        if at_end or done % self.period == 0:
            self.last = self.evaluate()
            scores = {f"eval/{name}": self.last.get(name) for name in self.metrics}
            measured = {key: value for key, value in scores.items() if value is not None}
            self.trainer.storage.put_scalars(**measured, smoothing_hint=False)


class Checkpoints(HookBase):
    """Writes a checkpoint every `period` steps, keeps the newest `keep` of them, and calls `finish`
    after the last step.
    """

    def __init__(
        self,
        checkpointer: RunCheckpointer,
        *,
        period: int,
        finish: Callable[[], None],
        keep: int = 2,
    ):
        """`finish` writes `model_final.pth`; every process calls it.

        Two checkpoints are kept because a resume falls back to the one before if the newest is
        damaged.
        """
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
        """Writes a checkpoint of the current step; every process must call it."""
        step = self.trainer.iter
        if self.newest == step:
            return
        self._check_weights()
        self.checkpointer.save(f"model_{step:07d}", iteration=step)
        self.newest = step
        if comm.is_main_process():
            for path in self._numbered()[: -self.keep]:
                path.unlink()

    def _check_weights(self) -> None:
        if all_finite(self.checkpointer.model):
            return
        earlier = self._numbered()
        last = f"the last good checkpoint is {earlier[-1].name}; " if earlier else ""
        # All processes have the same weights, so all of them stop here.
        raise DivergedError(
            f"step {self.trainer.iter}: the weights are not finite and were not saved; {last}lower "
            "SOLVER.BASE_LR"
        )

    def _numbered(self) -> list[Path]:
        """The checkpoints of single steps, the oldest first."""
        found = checkpoints_of(Path(self.checkpointer.save_dir))
        return [path for path in found if path.name != "model_final.pth"]


class StopOnSignal(HookBase):
    """On SIGTERM or Ctrl-C, finishes the current step, saves a checkpoint and ends the run.

    A second signal ends the run at once. The previous signal handlers are restored after training.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, save: Callable[[], None]):
        """`save` writes a checkpoint; every process must call it."""
        self.save = save
        self.earlier: dict[int, object] = {}
        self.stopped_by = ""

    def before_train(self) -> None:
        # Python accepts signal handlers only in the main thread.
        if threading.current_thread() is threading.main_thread():
            self.earlier = {number: signal.signal(number, self._note) for number in self.SIGNALS}

    def after_step(self) -> None:
        number = self.trainer.stop
        if not number:
            return
        self.save()
        self.stopped_by = signal.Signals(number).name
        # The exit code that a shell reports for a process ended by this signal: 143 or 130.
        raise SystemExit(128 + number)

    def after_train(self) -> None:
        self._put_back()
        # Logged here and not in after_step, where the progress bar still owns its line.
        if self.stopped_by and comm.is_main_process():
            logger.warning(
                "stopped by %s after step %d; its checkpoint is saved: %s",
                self.stopped_by,
                self.trainer.iter,
                GO_ON,
            )

    def _note(self, number: int, _) -> None:
        if self.trainer.signal:
            # The second signal: send it again with the previous handlers back in place.
            self._put_back()
            os.kill(os.getpid(), number)
        self.trainer.signal = number

    def _put_back(self) -> None:
        for number, handler in self.earlier.items():
            # None means that the handler was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.earlier = {}


class Metrics(HookBase):
    """Writes the metrics every `period` steps, at the end, and before each checkpoint. A killed run
    then has the metrics of every step that it need not repeat.
    """

    def __init__(self, writers: list[EventWriter], *, period: int, checkpoint_period: int):
        self.writers, self.periods = writers, (period, checkpoint_period)
        self.written = -1

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or not all(done % period for period in self.periods):
            self._write()

    def after_train(self) -> None:
        # The last step may have been written already, and Detectron2's printer cannot write a step
        # twice.
        if self.trainer.storage.iter != self.written:
            self._write()
        for writer in self.writers:
            writer.close()

    def _write(self) -> None:
        self.written = self.trainer.storage.iter
        for writer in self.writers:
            writer.write()


def drop_later_lines(path: Path, *, step: int) -> None:
    """Removes the lines of a metrics.json that a resumed run will write again.

    Args:
        path: a file with one json object per line; a missing file is ignored.
        step: the first step of the resumed run. Lines of this step and later ones are removed, and
            so is a line that a killed process left incomplete.
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
