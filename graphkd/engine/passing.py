"""What a forward pass changes in a model without the optimizer: buffers, RetinaNet's normaliser and
random states of losses.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.utils import comm
from torch import Tensor, nn

from graphkd.engine.rng import rng_state


def process_state(model: nn.Module) -> dict:
    """What forward passes of this process changed outside of parameters and buffers, by module.

    Detectron2 divides the losses of its one-stage detectors by a running number of foreground
    anchors, which it keeps beside the state dict once they have taken a step.
    """
    modules = dict(model.named_modules())
    return {
        "normalizers": {
            name: float(module.loss_normalizer)
            for name, module in modules.items()
            if isinstance(module, DenseDetector) and hasattr(module, "loss_normalizer")
        },
        "extra": {
            name: module.get_extra_state()
            for name, module in modules.items()
            if type(module).get_extra_state is not nn.Module.get_extra_state
        },
    }


def set_process_state(model: nn.Module, state: Mapping[str, Mapping]) -> None:
    """Puts back what `process_state` gave; a detector without a value begins anew."""
    for name, module in model.named_modules():
        if name in state["normalizers"]:
            module.loss_normalizer = state["normalizers"][name]
        elif isinstance(module, DenseDetector) and hasattr(module, "loss_normalizer"):
            del module.loss_normalizer
        if name in state["extra"]:
            module.set_extra_state(state["extra"][name])


@dataclass(frozen=True)
class BeforeStep:
    """A copy of all that a forward pass changes, and of this process's random state, to undo it."""

    buffers: tuple[tuple[Tensor, Tensor], ...]
    state: dict
    rng: dict

    @classmethod
    def of(cls, model: nn.Module) -> "BeforeStep":
        """Copies; buffers that nothing ever writes are left out."""
        fixed = {
            id(buffer)
            for module in model.modules()
            if isinstance(module, FrozenBatchNorm2d)
            for buffer in module.buffers()
        }
        moving = (buffer for buffer in model.buffers() if id(buffer) not in fixed)
        copies = tuple((buffer, buffer.clone()) for buffer in moving)
        return cls(copies, process_state(model), rng_state())

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Puts all but the random state back to where it was."""
        for buffer, copy in self.buffers:
            buffer.copy_(copy)
        set_process_state(model, self.state)


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Gives every process the main one's buffers, the only ones that a checkpoint holds.

    Each process's normalisation layers count the pages of that process alone.
    """
    if comm.get_world_size() == 1:
        return
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, 0)
