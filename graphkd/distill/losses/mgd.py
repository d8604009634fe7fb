"""The `mgd` method: the teacher's map rebuilt from a student's map with holes."""

import torch
from torch import Tensor, nn

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.levels import LevelLoss, LevelPair, reference_cells, reference_width
from graphkd.distill.losses.options import number, whole_number


def keep_mask(like: Tensor, *, mask_ratio: float, draw: torch.Generator) -> Tensor:
    """(N, 1, H, W) of 0 and 1 for `like` (N, C, H, W); a cell is 0 with probability `mask_ratio`.

    The numbers are drawn on the CPU from `draw` alone, so the random state of training is left as
    it was and student and baseline see the same proposals sampled.
    """
    shape = (like.shape[0], 1, *like.shape[2:])
    return (torch.rand(shape, generator=draw) >= mask_ratio).to(like)


@register("mgd")
class MGD(LevelLoss):
    """Squared error of the generated map: a sum over channels and levels, a mean over cells.

    Source: Yang et al., Masked Generative Distillation, section 3.1.
    Differs from the paper: its sum over the cells of a level is a mean here, times
    `levels.reference_cells` and `reference_width`, so ALPHA keeps its published value.
    """

    def __init__(
        self,
        context: LossContext,
        *,
        alpha: float | None = None,
        mask_ratio: float | None = None,
        seed: int = 0,
    ):
        """Makes adapters and generators.

        Args:
            context: facts about the pair.
            alpha: factor of the term; None for 5e-7 (two-stage) or 2e-5 (one-stage).
            mask_ratio: probability that a cell of the student is hidden, 0..1; None for 0.45
                (two-stage) or 0.65 (one-stage).
            seed: start of the random masks.
        """
        super().__init__(context)
        if alpha is None:
            alpha = 5e-7 if context.two_stage else 2e-5
        if mask_ratio is None:
            mask_ratio = 0.45 if context.two_stage else 0.65
        self.mask_ratio = number("mask_ratio", mask_ratio, most=1)
        self.draw = torch.Generator().manual_seed(whole_number("seed", seed, least=0))
        self.factor = number("alpha", alpha) * reference_cells(context) * reference_width(context)
        width = context.width()[1]
        self.generators = nn.ModuleDict(
            {
                level: nn.Sequential(
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.ReLU(),
                    nn.Conv2d(width, width, 3, padding=1),
                )
                for level in context.levels
            }
        )

    def get_extra_state(self) -> Tensor:
        """Where the random masks are, so that a resumed run draws those of an uninterrupted one."""
        return self.draw.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on from `get_extra_state`."""
        self.draw.set_state(state.cpu())

    def distance(self, pair: LevelPair) -> Tensor:
        """The squared error of the map generated from what is left of the student's."""
        kept = keep_mask(pair.student, mask_ratio=self.mask_ratio, draw=self.draw)
        generated = self.generators[pair.name](pair.student * kept).float()
        return self.factor * (generated - pair.teacher).square().sum(1).mean()
