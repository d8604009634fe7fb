"""Saves and restores the state that a training step changes besides parameters: random state,
buffers, and values that models and losses keep outside their state dict.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed
from detectron2.layers import FrozenBatchNorm2d
from detectron2.utils import comm
from torch import nn


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restores the random state of Python, numpy and torch after the block.

    Teacher and adapters are built inside it, so that a distilled run has the same data order, flips
    and region samples as the plain run of the same seed.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():  # it restores torch's generators, on the CPU and all GPUs
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def rng_state() -> dict:
    """Torch's random state of this process, on the CPU and the current GPU, as tensors."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict) -> None:
    """Restores the result of `rng_state`."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def process_state(model: nn.Module) -> dict:
    """Values outside of parameters and buffers that forward passes change, by module name.

    Detectron2's one-stage detectors divide their losses by `loss_normalizer`, a running mean of the
    number of foreground anchors that is in no state dict. Other modules return such values from
    `get_extra_state`.
    """
    modules = dict(model.named_modules())
    return {
        "normalizers": {
            name: float(module.loss_normalizer)
            for name, module in modules.items()
            if hasattr(module, "loss_normalizer")
        },
        "extra": {
            name: module.get_extra_state()
            for name, module in modules.items()
            if type(module).get_extra_state is not nn.Module.get_extra_state
        },
    }


def set_process_state(model: nn.Module, state: Mapping[str, Mapping]) -> None:
    """Restores the result of `process_state`; a normaliser without a stored value is reset."""
    for name, module in model.named_modules():
        if name in state["normalizers"]:
            module.loss_normalizer = state["normalizers"][name]
        elif hasattr(module, "loss_normalizer"):
            del module.loss_normalizer
        if name in state["extra"]:
            module.set_extra_state(state["extra"][name])


class BeforeStep:
    """Keeps the state of a model from before a step, so that the step can be undone.

    The memory is allocated once and filled by one fused copy per step. Normalisation statistics are
    many small tensors; copying them one by one took 0.5 % of a small step.

    Attributes:
        rng: this process's random state.
    """

    def __init__(self, model: nn.Module):
        self.model, self.rng, self._state = model, {}, {}
        # The buffers of frozen normalisation layers never change, so they need no copy.
        self._buffers = [
            buffer
            for module in model.modules()
            if not isinstance(module, FrozenBatchNorm2d)
            for buffer in module.buffers(recurse=False)
        ]
        self._copies = [torch.empty_like(buffer) for buffer in self._buffers]

    @torch.no_grad()
    def take(self) -> None:
        """Stores the current state."""
        if self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)
        self._state, self.rng = process_state(self.model), rng_state()

    @torch.no_grad()
    def restore(self) -> None:
        """Restores the state of the last `take`, except the random state."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._copies)
        set_process_state(self.model, self._state)


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Copies the main process's buffers to every process.

    Normalisation statistics differ between processes, since each one sees only its own items. A
    checkpoint holds those of the main process, so all processes must score with them.
    """
    if comm.get_world_size() == 1:
        return
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, 0)
