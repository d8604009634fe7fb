"""Hooks of this project beside Detectron2's own: a progress bar and the evaluation curve."""

import time
from collections.abc import Callable

from detectron2.engine import HookBase
from detectron2.utils import comm
from tqdm import tqdm


class ProgressBar(HookBase):
    """One line on the terminal with step, loss, speed and time left; for the main process."""

    def __init__(self, title: str, *, total: int):
        self.title, self.total = title, total

    def before_train(self) -> None:
        self.bar = tqdm(
            total=self.total,
            initial=self.trainer.start_iter,
            desc=self.title,
            unit="step",
            disable=not comm.is_main_process(),
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
    """Evaluates every `period` steps and at the end; the AP goes into the run's metrics as
    `eval/AP`.

    Attributes:
        last: the newest result dict; empty before the first.
    """

    def __init__(self, evaluate: Callable[[], dict], *, period: int):
        """`evaluate` returns the result dict of the model; `period` 0 means only at the end."""
        self.evaluate, self.period, self.last = evaluate, period, {}

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        at_end = done == self.trainer.max_iter
        if at_end or (self.period > 0 and done % self.period == 0):
            self.last = self.evaluate()
            if self.last:
                scores = {f"eval/{key}": self.last[key] or 0.0 for key in ("AP", "AP50", "AP75")}
                self.trainer.storage.put_scalars(**scores, smoothing_hint=False)
