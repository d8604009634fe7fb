"""The training loop's step on Detectron2's TrainerBase: mixed precision, finite checks, term
logging.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor, nn

from graphkd.engine.rng import rng_state, set_rng_state
from graphkd.errors import UserError

logger = logging.getLogger(__name__)


class DivergedError(UserError):
    """A loss became NaN or infinite; the message names the step, the term and the pages."""


class Trainer(SimpleTrainer):
    """One optimizer step an iteration on a model that returns a loss dict (a student or a
    Distiller).
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
    ):
        """`amp` is the autocast number format, None for float32; terms are logged every
        `log_period` steps.
        """
        super().__init__(model, [], optimizer)
        self.device, self.amp, self.log_period = device, amp, log_period
        self.output_dir = output_dir
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp is torch.float16)

    def set_loader(self, loader: Iterable[list[dict]]) -> None:
        """Starts the endless stream of batches; after a resume, since the stream begins at the
        next step.
        """
        self.data_loader = loader
        self._stream = iter(loader)

    @property
    def distiller(self) -> nn.Module:
        """The model without its DistributedDataParallel wrapper."""
        return getattr(self.model, "module", self.model)

    def run_step(self) -> None:
        start = time.perf_counter()
        batch = next(self._stream)
        data_time = time.perf_counter() - start
        self.distiller.iteration = self.iter
        try:
            with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                losses = self.model(batch)
        except FloatingPointError as error:
            # Detectron2's RPN refuses boxes or scores that are not finite.
            self._stop(str(error), batch)
        total = sum(losses.values())
        if not torch.isfinite(total):
            terms = [name for name, value in losses.items() if not torch.isfinite(value)]
            self._stop(f"{', '.join(terms or ['total_loss'])} is not finite", batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._log(losses, data_time)

    def _stop(self, problem: str, batch: list[dict]) -> NoReturn:
        pages = [str(page.get("file_name", page.get("image_id"))) for page in batch]
        path = self.output_dir / f"diverged_batch_{self.iter:07d}.pth"
        torch.save({"pages": pages, "images": [page["image"] for page in batch]}, path)
        raise DivergedError(
            f"step {self.iter}: {problem} on pages {', '.join(pages)}; the batch is in "
            f"{path}; lower SOLVER.BASE_LR or the method's WEIGHT"
        )

    def _log(self, losses: Mapping[str, Tensor], data_time: float) -> None:
        if (self.iter + 1) % self.log_period and self.iter > self.start_iter:
            return
        scalars = {**losses, **getattr(self.distiller, "log", {})}
        values = torch.stack(
            [v.detach().float().to(self.device) for v in scalars.values()]
        ).tolist()
        gathered = comm.gather(dict(zip(scalars, values, strict=True), data_time=data_time))
        if not comm.is_main_process():
            return
        mean = _mean_by_key(gathered)
        total = sum(mean[key] for key in losses)
        self.storage.put_scalars(**mean, total_loss=total)

    def state_dict(self) -> dict:
        """All processes take part; the result of the main one is complete."""
        states = comm.gather(rng_state())
        return {**super().state_dict(), "rng": states, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.scaler.load_state_dict(state_dict["scaler"])
        states = state_dict["rng"]
        if len(states) != comm.get_world_size():
            logger.warning(
                "the checkpoint is of %d processes, this run has %d: regions will be sampled "
                "otherwise than without the interruption",
                len(states),
                comm.get_world_size(),
            )
            return
        set_rng_state(states[comm.get_rank()])


def _mean_by_key(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over the processes that have a number: one whose pages have no node lacks some."""
    keys = dict.fromkeys(key for row in rows for key in row)
    found = {key: [row[key] for row in rows if key in row] for key in keys}
    return {key: sum(values) / len(values) for key, values in found.items()}
