"""The training step, on top of Detectron2's SimpleTrainer: mixed precision, checks for values that
are not finite, and a log of every loss term.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor, nn

from graphkd.engine.nan_guard import (
    DivergedError,
    all_finite,
    page_names,
    step_problem,
    write_batch,
)
from graphkd.engine.state import (
    BeforeStep,
    process_state,
    rng_state,
    set_process_state,
    set_rng_state,
)
from graphkd.errors import GO_ON, UserError
from graphkd.io import DISK_ERRORS

logger = logging.getLogger(__name__)


class Trainer(SimpleTrainer):
    """Trains a model that returns a loss dict (a student or a Distiller), with one optimizer step
    per iteration.

    Attributes:
        skipped: number of skipped steps so far (loss or gradient not finite), including those
            before a resume.
        signal: number of the signal that this process received; 0 for none.
        save: writes a checkpoint of the step `iter`; every process must call it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        amp: torch.dtype | None = None,
        log_period: int = 20,
        output_dir: Path,
        skip_nonfinite: int = 0,
    ):
        """Prepares the trainer; the data comes later, with `set_loader`.

        Args:
            model: returns a dict of scalar losses in training mode.
            optimizer: of the model's parameters.
            device: the device of the model.
            amp: autocast number format; None for float32.
            log_period: steps between two log entries.
            output_dir: receives the batch of a step that stops the run.
            skip_nonfinite: how many steps that are not finite are skipped; the next one stops the
                run.
        """
        super().__init__(model, [], optimizer)
        self.device, self.amp, self.log_period = device, amp, log_period
        self.output_dir = output_dir
        self.skip_nonfinite, self.skipped = skip_nonfinite, 0
        self.signal = self._agreed_signal = 0
        self._before = BeforeStep(self.distiller)
        self.save: Callable[[], None] | None = None
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp is torch.float16)

    def set_loader(self, loader: Iterable[list[dict]]) -> None:
        """Sets the data and starts its endless stream of batches. Call it after a resume, because
        the loader must start at the resumed step.
        """
        self.data_loader = loader
        self._stream = iter(loader)

    @property
    def distiller(self) -> nn.Module:
        """The model without its DistributedDataParallel wrapper."""
        return getattr(self.model, "module", self.model)

    @property
    def stop(self) -> int:
        """Number of the signal for which all processes stop after this step; 0 to continue."""
        return self.signal if comm.get_world_size() == 1 else self._agreed_signal

    def train(self, start_iter: int, max_iter: int) -> None:
        """Trains from step `start_iter` up to `max_iter`.

        Raises:
            UserError: the loss diverged, or the disk is full.
        """
        try:
            super().train(start_iter, max_iter)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise UserError(
                f"{self.output_dir}: cannot be written any more ({error.strerror}); the "
                f"checkpoints are complete: free some disk space, then {GO_ON}"
            ) from error

    def after_train(self) -> None:
        """Runs `after_train` of every hook. If training failed, errors of hooks are only logged, so
        that they do not hide the first error.
        """
        failed = sys.exc_info()[1] is not None
        self.storage.iter = self.iter
        for hook in self._hooks:
            try:
                hook.after_train()
            except Exception:
                if not failed:
                    raise
                logger.info("%s could not end", type(hook).__name__, exc_info=True)

    def run_step(self) -> None:
        start = time.perf_counter()
        batch = next(self._stream)
        data_time = time.perf_counter() - start
        self.distiller.iteration = self.iter
        self._before.take()
        losses, problem = self._forward(batch)
        if self._any_process(problem is not None):
            return self._leave_out(problem, batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(sum(losses.values())).backward()
        # The float16 scaler skips updates whose gradients overflowed because of its scale, and then
        # lowers the scale. At a scale of 1 or less, the gradient itself is not finite.
        unscaled = self.scaler.is_enabled() and self.scaler.get_scale() <= 1
        if unscaled:
            self.scaler.unscale_(self.optimizer)
        gradients = unscaled or not self.scaler.is_enabled()
        problem = step_problem(losses, self.distiller, gradients=gradients)
        if self._any_process(problem is not None):
            if unscaled:  # the scaler must forget this gradient before the next one
                self.scaler.update()
            return self._leave_out(problem, batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if after := getattr(self.distiller, "after_step", None):
            after()
        self._log(losses, data_time, len(batch))

    def _forward(self, batch: list[dict]) -> tuple[dict[str, Tensor], str | None]:
        try:
            with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                return self.model(batch), None
        except FloatingPointError as error:
            # Detectron2's RPN raises this for boxes or scores that are not finite.
            return {}, str(error)

    def _any_process(self, bad: bool) -> bool:
        """Whether this step is bad on any process. The same reduction also shares stop signals, so
        that all processes stop after the same step.
        """
        if comm.get_world_size() == 1:
            return bad
        flags = torch.tensor([int(bad), self.signal], device=self.device)
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
        any_bad, self._agreed_signal = flags.tolist()
        return bool(any_bad)

    def _leave_out(self, problem: str | None, batch: list[dict]) -> None:
        """Undoes a step that is not finite, then skips it or stops the run."""
        self.optimizer.zero_grad(set_to_none=True)
        self._before.restore()
        said = comm.all_gather((problem, page_names(batch)))
        bad = [(text, pages) for text, pages in said if text] or [(problem, page_names(batch))]
        places = "; ".join(f"{text} on pages {', '.join(pages)}" for text, pages in bad)
        if self.skipped >= self.skip_nonfinite:
            self._stop(places, batch if problem else None)
        self.skipped += 1
        logger.warning(
            "step %d: %s; skipped (%d of %d allowed by SOLVER.SKIP_NONFINITE)",
            self.iter,
            places,
            self.skipped,
            self.skip_nonfinite,
        )
        self.storage.put_scalar("skipped_steps", self.skipped, smoothing_hint=False)

    def _stop(self, places: str, batch: list[dict] | None) -> NoReturn:
        """Stops the run, and writes the batch and the weights from before the step for a replay."""
        set_rng_state(self._before.rng)
        step, rank = self.iter, comm.get_rank()
        path = self.output_dir / f"diverged_batch_{step:07d}{f'_{rank}' if rank else ''}.pth"
        if batch is not None:
            write_batch(path, batch, step=step, rng=self._before.rng)
        kept = self._save_before(step)
        raise DivergedError(
            f"step {step}: {places}; the batch is in {path}{kept}; lower SOLVER.BASE_LR or the "
            "method's WEIGHT, or skip a few such steps with SOLVER.SKIP_NONFINITE"
        )

    def _save_before(self, step: int) -> str:
        """Writes the checkpoint of the step before, from which the bad step can be replayed. Does
        nothing if its weights are already not finite. Returns a clause for the message.
        """
        if self.save is None or step == 0:
            return ""
        if not all_finite(self.distiller):
            return ", the weights were not finite even before this step, so use an older checkpoint"
        # The checkpoint takes its name from `iter`, and a resume then repeats the bad step.
        self.iter = step - 1
        try:
            self.save()
        finally:
            self.iter = step
        return f", the weights from before the step in model_{step - 1:07d}.pth"

    def _log(self, losses: Mapping[str, Tensor], data_time: float, items: int) -> None:
        if (self.iter + 1) % self.log_period and self.iter > 0:
            return
        scalars = {**losses, **getattr(self.distiller, "log", {})}
        # One tensor, because every transfer of a number waits for the GPU.
        values = torch.stack(
            [v.detach().float().to(self.device) for v in scalars.values()]
        ).tolist()
        own = dict(zip(scalars, values, strict=True), data_time=data_time)
        gathered = comm.gather((own, items))
        if not comm.is_main_process():
            return
        mean = _mean_by_key(gathered)
        total = sum(mean[key] for key in losses)
        self.storage.put_scalars(**mean, total_loss=total)
        if self.skip_nonfinite:
            self.storage.put_scalar("skipped_steps", self.skipped, smoothing_hint=False)

    def state_dict(self) -> dict:
        """Every process must call this; only the main process's result is complete."""
        states = comm.gather((rng_state(), process_state(self.distiller)))
        return {
            **super().state_dict(),
            "rng": [rng for rng, _ in states],
            "processes": [own for _, own in states],
            "scaler": self.scaler.state_dict(),
            "skipped": self.skipped,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.scaler.load_state_dict(state_dict["scaler"])
        self.skipped = state_dict.get("skipped", 0)
        states, own = state_dict["rng"], state_dict.get("processes")
        same = len(states) == comm.get_world_size()
        if own:
            set_process_state(self.distiller, own[comm.get_rank() if same else 0])
        if not same:
            logger.warning(
                "the checkpoint is from %d processes, this run has %d: regions will be sampled "
                "differently from a run without the interruption",
                len(states),
                comm.get_world_size(),
            )
            return
        set_rng_state(states[comm.get_rank()])


def _mean_by_key(rows: list[tuple[dict[str, float], int]]) -> dict[str, float]:
    """Mean of every key over the processes that have it, weighted by their number of items. A
    process whose pages give no graph node lacks some keys.
    """
    keys = dict.fromkeys(key for row, _ in rows for key in row)
    found = {key: [(row[key], items) for row, items in rows if key in row] for key in keys}
    return {
        key: sum(value * items for value, items in values) / sum(items for _, items in values)
        for key, values in found.items()
    }
