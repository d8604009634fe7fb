"""The `fgd` method: FPN maps inside and outside objects, with attention and global context."""

from torch import Tensor, cat, nn, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import cell_mask
from graphkd.distill.losses.levels import (
    LevelPair,
    level_adapters,
    level_pairs,
    reference_cells,
    reference_width,
)
from graphkd.distill.losses.options import number
from graphkd.distill.outputs import Outputs, Targets

TWO_STAGE = {"alpha": 5e-5, "beta": 2.5e-5, "gamma": 5e-5, "context_weight": 5e-7}
ONE_STAGE = {"alpha": 1e-3, "beta": 5e-4, "gamma": 5e-4, "context_weight": 5e-6}


def spatial_attention(maps: Tensor, *, temperature: float) -> Tensor:
    """Softmax over cells of the mean absolute value over channels, (N, C, H, W) to (N, 1, H, W).

    Times the count of cells, so its mean over cells is 1.
    """
    strength = maps.abs().mean(1, keepdim=True)
    shares = (strength / temperature).flatten(2).softmax(2)
    return shares.reshape(strength.shape) * strength[0].numel()


def channel_attention(maps: Tensor, *, temperature: float) -> Tensor:
    """Softmax over channels of the mean absolute value over cells, (N, C, H, W) to (N, C, 1, 1).

    Times the count of channels, so its mean over channels is 1.
    """
    strength = maps.abs().mean((2, 3), keepdim=True)
    return (strength / temperature).softmax(1) * maps.shape[1]


def foreground_weights(boxes: Tensor, *, stride: int, size: tuple[int, int]) -> Tensor:
    """One over the cells of the smallest box a cell lies in, so that every box weighs 1 in total.

    By the rule of the released code a box has the cells from its first corner rounded down to its
    last corner rounded up, this last column and row included, and those that lie beyond the map
    count in the size of the box.

    Args:
        boxes: (G, 4) x1 y1 x2 y2 in input pixels.
        stride: input pixels a cell.
        size: (H, W) of the map.

    Returns:
        (H, W) float32, 0 outside all boxes.
    """
    if not len(boxes):
        return boxes.new_zeros(size)
    first, last = (boxes[:, :2] / stride).floor(), (boxes[:, 2:] / stride).ceil() + 1
    cells = cell_mask(cat([first, last], 1), size=size).float()
    return (cells / (last - first).prod(1)[:, None, None]).amax(0)


def focal_terms(
    pair: LevelPair, boxes: tuple[Tensor, ...], *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Attention-weighted squared error on the objects and on the rest of one level.

    Args:
        pair: the level, (N, C, h, w).
        boxes: per image (G_i, 4) in input pixels.
        temperature: of the teacher's attention.

    Returns:
        A sum over channels of a mean over the cells of every object, summed over objects (see
        `foreground_weights`); and of a mean over the cells outside all objects. Both are means over
        images.
    """
    foreground = stack(
        [foreground_weights(each, stride=pair.stride, size=pair.size) for each in boxes]
    )
    outside = (foreground == 0).float()
    background = outside / outside.sum((1, 2), keepdim=True).clamp(min=1)
    error = (pair.student - pair.teacher).square()
    error = error * channel_attention(pair.teacher, temperature=temperature)
    error = error.sum(1) * spatial_attention(pair.teacher, temperature=temperature)[:, 0]
    return (
        (error * foreground).sum((1, 2)).mean(),
        (error * background).sum((1, 2)).mean(),
    )


def attention_term(pair: LevelPair, *, temperature: float, cells: float, width: float) -> Tensor:
    """Absolute difference of attentions: a mean over cells times `cells`, a sum over channels times
    `width`.
    """
    spatial = spatial_attention(pair.student, temperature=temperature)
    spatial = spatial - spatial_attention(pair.teacher, temperature=temperature)
    channel = channel_attention(pair.student, temperature=temperature)
    channel = channel - channel_attention(pair.teacher, temperature=temperature)
    return cells * spatial.abs().mean() + width * channel.abs().sum((1, 2, 3)).mean()


class GlobalContext(nn.Module):
    """Adds to every cell a transform of the map's attended mean (GCNet, Cao et al. 2019).

    The last layer starts at zero, so the block starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 2, 1)
        self.attend = nn.Conv2d(channels, 1, 1)
        self.transform = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
        )
        nn.init.zeros_(self.transform[-1].weight)
        nn.init.zeros_(self.transform[-1].bias)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape, float32."""
        shares = self.attend(maps).float().flatten(2).softmax(2)
        attended = (maps.flatten(2) * shares).sum(2)
        return maps + self.transform(attended).float()[:, :, None, None]


@register("fgd")
class FGD(DistillLoss):
    """Focal and global terms, summed over levels.

    Source: Yang et al., Focal and Global Knowledge Distillation for Detectors, section 3, and its
    released code for the cells of a box.
    Differs from them: the sums over cells of the attention and the context term are means, times
    `levels.reference_cells`, and sums over channels are times `reference_width`, so that all
    factors keep their published values and no level weighs more for its area; boxes are scaled by
    the level's stride, where the release stretches them by the padding. p6 of two-stage detectors
    takes part; the student does not start from the teacher's heads.
    """

    needs = frozenset({"features"})
    reads = frozenset({"boxes"})

    def __init__(
        self,
        context: LossContext,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        gamma: float | None = None,
        context_weight: float | None = None,
        temperature: float = 0.5,
    ):
        """Makes adapters and context blocks; a factor of None takes the published value.

        Args:
            context: facts about the pair.
            alpha: factor of the squared error on objects.
            beta: factor of the squared error outside objects.
            gamma: factor of the attention term.
            context_weight: factor of the context term, the paper's lambda.
            temperature: T of the attentions.
        """
        super().__init__()
        given = dict(alpha=alpha, beta=beta, gamma=gamma, context_weight=context_weight)
        published = TWO_STAGE if context.two_stage else ONE_STAGE
        self.factors = {
            name: published[name] if value is None else number(name, value)
            for name, value in given.items()
        }
        self.temperature = number("temperature", temperature, positive=True)
        self.adapters = level_adapters(context)
        self.cells, self.width = reference_cells(context), reference_width(context)
        self.student_context, self.teacher_context = (
            nn.ModuleDict(
                {name: GlobalContext(context.channels[name][1]) for name in self.adapters}
            )
            for _ in range(2)
        )

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `foreground`, `background`, `attention` and `context`."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        terms = stack([stack(self._level_terms(pair, targets.boxes)) for pair in pairs]).sum(0)
        names = ("foreground", "background", "attention", "context")
        factors = self.factors.values()
        return {n: f * value for n, f, value in zip(names, factors, terms, strict=True)}

    def _level_terms(self, pair: LevelPair, boxes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        options = {"temperature": self.temperature}
        foreground, background = focal_terms(pair, boxes, **options)
        attention = attention_term(pair, **options, cells=self.cells, width=self.width)
        seen = self.student_context[pair.name](pair.student)
        wanted = self.teacher_context[pair.name](pair.teacher)
        context = self.cells * self.width * (seen - wanted).square().sum(1).mean()
        return self.width * foreground, self.width * background, attention, context
