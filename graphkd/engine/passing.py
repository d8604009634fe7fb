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

_NORMALIZER = "loss_normalizer"


def normalizers(model: nn.Module) -> dict[str, float]:
    """Module name -> running number of foreground anchors that its losses are divided by.

    Detectron2 keeps it beside the state dict of its one-stage detectors, and only once they have
    taken a step.
    """
    return {
        name: float(module.loss_normalizer)
        for name, module in model.named_modules()
        if isinstance(module, DenseDetector) and hasattr(module, _NORMALIZER)
    }


def set_normalizers(model: nn.Module, values: Mapping[str, float]) -> None:
    """Puts back what `normalizers` gave; a detector without a value begins anew."""
    for name, module in model.named_modules():
        if name in values:
            module.loss_normalizer = values[name]
        elif isinstance(module, DenseDetector) and hasattr(module, _NORMALIZER):
            del module.loss_normalizer


@dataclass(frozen=True)
class BeforeStep:
    """A copy of all that, and of this process's random state, to undo a forward pass."""

    buffers: tuple[tuple[Tensor, Tensor], ...]
    normalizers: dict[str, float]
    extra: tuple[tuple[nn.Module, Tensor], ...]
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
        own = nn.Module.get_extra_state
        extra = (each for each in model.modules() if type(each).get_extra_state is not own)
        return cls(
            tuple((buffer, buffer.clone()) for buffer in moving),
            normalizers(model),
            tuple((module, module.get_extra_state()) for module in extra),
            rng_state(),
        )

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Puts all but the random state back to where it was."""
        for buffer, copy in self.buffers:
            buffer.copy_(copy)
        set_normalizers(model, self.normalizers)
        for module, state in self.extra:
            module.set_extra_state(state)


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Gives every process the main one's buffers, the only ones that a checkpoint holds.

    Each process's normalisation layers count the pages of that process alone.
    """
    if comm.get_world_size() == 1:
        return
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, 0)
