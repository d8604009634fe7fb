"""Pyramid levels and region features of two networks made comparable: adapters to the teacher's
width, pairs of maps, and the size of the maps that papers chose their factors for.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.functional import crop_to_common
from graphkd.distill.outputs import Outputs, Targets

# Standard deviation of the weights of an adapter that starts small, in the released code of
# fine-grained imitation and of DeFeat: a normal value is drawn, cut to -2..2 and multiplied by it.
SMALL_START = 1e-4


@dataclass(frozen=True)
class LevelPair:
    """One pyramid level of both networks, cut to the cells they share.

    Attributes:
        name: level name.
        student: (N, C, h, w) float32, already as wide as the teacher's.
        teacher: (N, C, h, w) float32, a constant.
        stride: input pixels a cell.
    """

    name: str
    student: Tensor
    teacher: Tensor
    stride: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in cells."""
        return self.student.shape[-2], self.student.shape[-1]


def channel_adapter(
    student_channels: int, teacher_channels: int, *, kernel: int = 1, start: str = "none"
) -> nn.Module:
    """A convolution from the student's width to the teacher's.

    Args:
        student_channels: width of the student's map.
        teacher_channels: width of the teacher's map.
        kernel: 1 or 3.
        start: `none` gives no convolution where the widths agree. The others always give one:
            `identity` one that starts as the identity where the widths agree, `small` one that
            starts at almost 0.

    Raises:
        ValueError: another kernel.
    """
    if kernel not in (1, 3):
        raise ValueError(f"an adapter's kernel is 1 or 3, not {kernel}")
    alike = student_channels == teacher_channels
    if alike and start == "none":
        return nn.Identity()
    adapter = nn.Conv2d(student_channels, teacher_channels, kernel, padding=kernel // 2)
    if start == "small":
        adapter.weight.data.normal_().fmod_(2).mul_(SMALL_START)
    elif alike:
        nn.init.dirac_(adapter.weight)
        nn.init.zeros_(adapter.bias)
    return adapter


def region_adapter(student_channels: int, teacher_channels: int) -> nn.Module:
    """A 1x1 convolution from the student's width to the teacher's, near-orthogonal; the
    identity where they agree.
    """
    adapter = channel_adapter(student_channels, teacher_channels)
    if isinstance(adapter, nn.Conv2d):
        nn.init.orthogonal_(adapter.weight)
        nn.init.zeros_(adapter.bias)
    return adapter


def level_adapters(
    context: LossContext, *, kernel: int = 1, levels: int | None = None, start: str = "none"
) -> nn.ModuleDict:
    """One `channel_adapter` a level, by level name; the `levels` finest levels, None for all.

    Raises:
        ValueError: the pair shares no pyramid level.
    """
    if not context.levels:
        raise ValueError("needs FPN levels that student and teacher share, found none")
    return nn.ModuleDict(
        {
            level: channel_adapter(*context.channels[level], kernel=kernel, start=start)
            for level in context.levels[:levels]
        }
    )


def level_pairs(
    student: Outputs, teacher: Outputs, targets: Targets, *, adapters: nn.ModuleDict
) -> list[LevelPair]:
    """The levels named by `adapters` of both networks, fine to coarse.

    Args:
        student: gives `features`, (N, Cs, H, W) each.
        teacher: gives `features`, (N, Ct, H', W') each.
        targets: gives `strides`.
        adapters: level name -> module from Cs to Ct channels.
    """
    pairs = []
    for name, adapter in adapters.items():
        student_map = student.features[name].float()
        adapted, constant = crop_to_common(
            adapter(student_map).float(), teacher.features[name].detach().float()
        )
        pairs.append(LevelPair(name, adapted, constant, targets.strides[name]))
    return pairs


def reference_cells(context: LossContext) -> float:
    """Cells of an average FPN level of an input of 1333 x 800, the size detector papers train on.

    Some papers sum over the cells of all levels, p2 to p5 of two-stage and p3 to p7 of one-stage
    detectors, and choose their factors for these sums. Here such a sum is a mean over the cells of
    a level times this number: all levels together weigh what they do in the papers, and no level or
    input size weighs more than another.
    """
    cells = [200 * 336, 100 * 168, 50 * 84, 25 * 42, 13 * 21, 7 * 11]
    return sum(cells[:4] if context.two_stage else cells[1:]) / len(context.levels)


def reference_width(context: LossContext) -> float:
    """256, the channels of the FPNs that detector papers use, over the teacher's.

    Some papers sum over channels too. Times this number such a sum weighs the same at any width.
    """
    return 256 / context.width()[1]
