"""Pyramid levels of two networks made comparable: adapters to the teacher's width, pairs of maps,
losses that are a sum over levels, and the size of the maps that papers chose their factors for.
"""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.functional import crop_to_common
from graphkd.distill.losses.maps import need_text_map, text_pair
from graphkd.distill.losses.options import one_of, whole_number
from graphkd.distill.outputs import Outputs, Targets

# Size of the weights of an adapter that starts small, in the released code of fine-grained
# imitation and of DeFeat: the remainder of a normal value after division by 2, times this.
SMALL_START = 1e-4
# Maps that are compared: all levels of the pyramid, or one map.
TAPS = ("levels", "fused", "neck")


@dataclass(frozen=True)
class LevelPair:
    """One pyramid level of both networks, cut to the cells they share.

    Attributes:
        name: level name.
        student: (N, C, h, w) float32, already as wide as the teacher's.
        teacher: (N, C, h, w) float32, a constant.
        stride: student input pixels a cell.
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
    context: LossContext,
    *,
    kernel: int = 1,
    levels: int | None = None,
    start: str = "none",
    tap: str = "levels",
) -> nn.ModuleDict:
    """One `channel_adapter` a map, by its name.

    Args:
        context: facts about the pair.
        kernel: 1 or 3.
        levels: how many maps get one, counted from the finest; None for all.
        start: see `channel_adapter`.
        tap: `levels` of the pyramid, or one map: `fused` of a text detector, `neck` of a reader.

    Raises:
        ValueError: the pair shares no such map, or its cells are of another size in the teacher.
    """
    names = context.levels
    if one_of("tap", tap, TAPS) != "levels":
        names = (tap,) if tap in context.channels else ()
    if not names:
        what = "FPN levels that student and teacher share, found none"
        raise ValueError(f"needs {what if tap == 'levels' else f'a map {tap} in both models'}")
    for name in names[:levels]:
        own, other = context.strides.get(name, (1, 1))
        if own != other:
            raise ValueError(
                f"compares cells of {name}, but one is {own} input pixels in the student and "
                f"{other} in the teacher; remove it or choose a teacher of the same stride"
            )
    return nn.ModuleDict(
        {
            name: channel_adapter(*context.channels[name], kernel=kernel, start=start)
            for name in names[:levels]
        }
    )


def level_pairs(
    student: Outputs, teacher: Outputs, targets: Targets, *, adapters: nn.ModuleDict
) -> list[LevelPair]:
    """The levels named by `adapters` (level name -> module from Cs to Ct channels), fine to coarse;
    `targets` gives their strides.
    """
    pairs = []
    for name, adapter in adapters.items():
        student_map = student.features[name].float()
        adapted, constant = crop_to_common(
            adapter(student_map).float(), teacher.features[name].detach().float()
        )
        pairs.append(LevelPair(name, adapted, constant, targets.strides[name]))
    return pairs


class LevelLoss(DistillLoss):
    """A loss that is a sum over pyramid levels of one distance between their maps."""

    needs = frozenset({"features"})

    def __init__(
        self,
        context: LossContext,
        *,
        kernel: int = 1,
        levels: int | None = None,
        tap: str = "levels",
    ):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            kernel: 1 or 3, width of the convolution from student to teacher channels.
            levels: how many levels are compared, counted from the finest; None for all.
            tap: out of `TAPS`.
        """
        super().__init__()
        if levels is not None:
            whole_number("levels", levels, least=1)
        self.adapters = level_adapters(context, kernel=kernel, levels=levels, tap=tap)

    @abstractmethod
    def distance(self, pair: LevelPair) -> Tensor:
        """How far the maps of one level are apart, a scalar >= 0."""

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        return {"features": stack([self.distance(pair) for pair in pairs]).sum()}


class MapOrLevelLoss(LevelLoss):
    """A `LevelLoss` that can compare the text maps in place of maps of features."""

    def __init__(self, context: LossContext, *, levels: int | None, maps: str):
        """Makes the adapters; none for `maps` text.

        Args:
            context: facts about the pair.
            levels: see `LevelLoss`.
            maps: out of `TAPS`, or `text`.
        """
        if one_of("maps", maps, (*TAPS, "text")) != "text":
            super().__init__(context, levels=levels, tap=maps)
            return
        DistillLoss.__init__(self)
        need_text_map(context)
        self.needs, self.reads = frozenset({"maps"}), frozenset({"maps"})

    @abstractmethod
    def text_distance(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """How far two text maps (N, 1, h, w) are apart where `mask` is 1, a scalar >= 0."""

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features` or `text`."""
        if "maps" not in self.needs:
            return super().forward(student, teacher, targets)
        return {"text": self.text_distance(*text_pair(student, teacher, targets))}


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
