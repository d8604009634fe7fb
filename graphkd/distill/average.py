"""A running average of a model's weights, for `SOLVER.EMA` and for the averaging teacher."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class RunningAverage:
    """Exponential moving average of a model's parameters; buffers are copied from the newest model.

    The decay at update t is `min(decay, (1 + t) / (10 + t))`. It starts at 0.1, so that the random
    first weights leave the average quickly.

    Attributes:
        model: the averaged model, in eval mode and without gradient. It is not a child of any
            module, so no checkpoint of the student contains it.
        decay: share of the old average that an update keeps, in 0..1.
        updates: number of updates so far.
    """

    def __init__(self, model: nn.Module, *, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Adds the weights of `model` to the average; call it once after each optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged, newest = dict(self.model.named_parameters()), dict(model.named_parameters())
        torch._foreach_lerp_(list(averaged.values()), [newest[n] for n in averaged], 1 - decay)
        for own, other in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(other)
        self.updates += 1

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Loads the average into `model` for the block, then restores the model's weights."""
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.model.state_dict())
        try:
            yield
        finally:
            model.load_state_dict(kept)

    def state_dict(self) -> dict:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
