"""Auxiliary text heads, which exist in training only, and the base class of the losses that have
them.

SDET compares three heads A, B and C, of which we know the results but not the structures. The
structures here are ours.
"""

import re

from torch import Tensor, nn

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.maps import labels_at, need_text_map, resized
from graphkd.distill.losses.options import one_of
from graphkd.distill.outputs import Outputs, Targets

HEADS = ("plain", "deconv", "refine")
# P0 is the coarsest map of a four-level pyramid, stride 32, and P3 the finest, stride 4.
POSITIONS = ("P0", "P1", "P2", "P3")
# The entropy has no gradient at the logit 0, where a fresh head would start.
START_BIAS = -2.0


class Refine(nn.Module):
    """Multiplies a map by weights and adds an offset, both made from the map itself.

    Source: the self-refinement of Chen et al., Global Context-Aware Progressive Aggregation
    Network, which the references of SDET name.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.factors = nn.Conv2d(channels, 2 * channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        weight, offset = self.factors(maps).chunk(2, 1)
        return (weight * maps + offset).relu()


def text_head(kind: str, channels: int) -> nn.Sequential:
    """A small head from a map of `channels` to text logits (N, 1, h, w).

    Args:
        kind: `plain` 3x3 convolution and 1x1 convolution; `refine` with `Refine` between them;
            `deconv` as DB's own head, with four times the height and width of its input.
        channels: width of the map.
    """
    hidden = min(channels, 64)
    body = [nn.Conv2d(channels, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden)]
    body.append(nn.ReLU())
    if kind == "deconv":
        body += [nn.ConvTranspose2d(hidden, hidden, 2, 2), nn.BatchNorm2d(hidden), nn.ReLU()]
        last = nn.ConvTranspose2d(hidden, 1, 2, 2)
    else:
        body += [Refine(hidden)] if kind == "refine" else []
        last = nn.Conv2d(hidden, 1, 1)
    nn.init.constant_(last.bias, START_BIAS)
    return nn.Sequential(*body, last)


def tap_names(context: LossContext, tap: str) -> tuple[str, ...]:
    """Names of the pyramid's levels or of the body's stages, coarse to fine.

    Raises:
        ValueError: there are none.
    """
    names = context.levels if tap == "levels" else _stages(context)
    if not names:
        raise ValueError(f"needs {'pyramid levels' if tap == 'levels' else 'stages of the body'}")
    return tuple(sorted(names, key=lambda name: -context.strides[name][0]))


def _stages(context: LossContext) -> tuple[str, ...]:
    return tuple(name for name in context.channels if re.fullmatch(r"c\d", name))


class AuxiliaryLoss(DistillLoss):
    """A loss of text heads on some maps of the student, without a teacher."""

    needs_teacher = False
    reads = frozenset({"maps"})

    def __init__(
        self, context: LossContext, *, head: str | None, positions: tuple[str, ...], tap: str
    ):
        """Makes one head a position.

        Args:
            context: facts about the student.
            head: out of `HEADS`; None for deconv on a text map of stride 4 (EAST) and plain on one
                of full size (DB), the best of each in the tables of SDET.
            positions: out of `POSITIONS`, P0 the coarsest map.
            tap: `levels` of the neck or `stages` of the body.
        """
        super().__init__()
        need_text_map(context)
        if head is None:
            head = "deconv" if context.maps["text"][0] > 1 else "plain"
        self.kind = one_of("head", head, HEADS)
        self.tap = one_of("tap", tap, ("levels", "stages"))
        names = tap_names(context, tap)
        if unknown := [each for each in positions if each not in POSITIONS[: len(names)]]:
            raise ValueError(
                f"has no position {', '.join(map(str, unknown))}; {', '.join(names)} are "
                f"{', '.join(POSITIONS[: len(names)])}"
            )
        self.names = tuple(names[POSITIONS.index(each)] for each in positions)
        self.needs = frozenset({"maps", "features" if tap == "levels" else "stages"})
        self.heads = nn.ModuleDict(
            {name: text_head(self.kind, context.channels[name][0]) for name in self.names}
        )
        self.text_loss = context.text_loss

    def logits(self, student: Outputs, name: str) -> Tensor:
        """The text logits (N, 1, h, w) of the head on map `name`, float32. They have the size of
        the model's own text map, or four times the size of the map behind a `deconv` head.
        """
        maps = student.features if self.tap == "levels" else student.stages
        found = self.heads[name](maps[name].float()).float()
        return found if self.kind == "deconv" else resized(found, student.maps["text"].shape[-2:])

    def truth(self, logits: Tensor, targets: Targets) -> Tensor:
        """The detector's own text loss of `logits` on the ground truth."""
        return self.text_loss(logits, *labels_at(targets, logits.shape[-2:]))
