"""A running average of a model's weights, for `SOLVER.EMA` and for the averaging teacher."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class RunningAverage:
    """Exponential moving average of parameters; buffers are the newest ones.

    The decay grows from 0.1 to its full value, `min(decay, (1 + t) / (10 + t))` at update t, so
    that the first weights do not stay in the average for long.

    Attributes:
        model: the averaged model, in eval mode and without gradient; no child of any module.
        decay: share of the old average that stays after an update, in 0..1.
        updates: updates so far.
    """

    def __init__(self, model: nn.Module, *, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the weights of `model` in; call it once after each optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged, newest = dict(self.model.named_parameters()), dict(model.named_parameters())
        torch._foreach_lerp_(list(averaged.values()), [newest[n] for n in averaged], 1 - decay)
        for own, other in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(other)
        self.updates += 1

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Puts the average into `model` while the block runs, then its own weights back."""
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
