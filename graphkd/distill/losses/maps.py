"""Feature and head maps of two networks brought into one frame; no masks and no loss."""

from dataclasses import dataclass

from torch import Tensor, cat, nn

from graphkd.distill.losses.base import LossContext
from graphkd.distill.outputs import Outputs, Targets
from graphkd.errors import UserError


@dataclass(frozen=True)
class LevelPair:
    """One FPN level of both networks, cut to the cells they share.

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


def crop_to_common(student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts two (..., H, W) maps of one level to the top-left part that both cover.

    Both networks pad at the right and the bottom only, perhaps to different multiples, so equal
    cells lie at equal places and the cut-off part is padding.
    """
    height = min(student_map.shape[-2], teacher_map.shape[-2])
    width = min(student_map.shape[-1], teacher_map.shape[-1])
    return student_map[..., :height, :width], teacher_map[..., :height, :width]


def channel_adapter(
    student_channels: int, teacher_channels: int, *, kernel: int = 1, always: bool = False
) -> nn.Module:
    """A convolution from the student's width to the teacher's.

    Where they agree it is the identity, or a convolution that starts as the identity for `always`.
    """
    if kernel not in (1, 3):
        raise ValueError(f"an adapter's kernel is 1 or 3, not {kernel}")
    alike = student_channels == teacher_channels
    if alike and not always:
        return nn.Identity()
    adapter = nn.Conv2d(student_channels, teacher_channels, kernel, padding=kernel // 2)
    if alike:
        nn.init.dirac_(adapter.weight)
        nn.init.zeros_(adapter.bias)
    return adapter


def level_adapters(
    context: LossContext, *, kernel: int = 1, levels: int | None = None, always: bool = False
) -> nn.ModuleDict:
    """One `channel_adapter` a level, by level name; the `levels` finest levels, None for all."""
    return nn.ModuleDict(
        {
            level: channel_adapter(*context.channels[level], kernel=kernel, always=always)
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


def flatten_dense(dense_map: Tensor, *, width: int) -> Tensor:
    """(N, A * width, H, W) to (N, H * W * A, width) float32, ordered as Detectron2's anchors."""
    images, channels, height, cells = dense_map.shape
    per_anchor = dense_map.float().reshape(images, channels // width, width, height, cells)
    return per_anchor.permute(0, 3, 4, 1, 2).reshape(images, -1, width)


def dense_pair(
    student_maps: tuple[Tensor, ...], teacher_maps: tuple[Tensor, ...], *, width: int
) -> tuple[Tensor, Tensor]:
    """Head maps of both networks as rows of shared anchors, all levels one after the other.

    Args:
        student_maps: per level (N, A * width, H, W).
        teacher_maps: per level (N, A * width, H', W'), taken as a constant.
        width: numbers an anchor: 1 objectness, K classes or 4 deltas.

    Returns:
        Two (N, n, width), float32; row j is the same anchor in both.

    Raises:
        UserError: the heads have different levels or anchors a cell.
    """
    check_same_heads(student_maps, teacher_maps)
    students, teachers = [], []
    for student_map, teacher_map in zip(student_maps, teacher_maps, strict=True):
        student_map, teacher_map = crop_to_common(student_map, teacher_map.detach())
        students.append(flatten_dense(student_map, width=width))
        teachers.append(flatten_dense(teacher_map, width=width))
    return cat(students, 1), cat(teachers, 1)


def anchor_grids(targets: Targets, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """The student's anchors by cell.

    Args:
        targets: `anchors` per level (H * W * A, 4).
        sizes: (H, W) of the student's uncropped map of every level.

    Returns:
        Per level (H, W, A, 4); cut it like the maps.

    Raises:
        UserError: the detector has no anchors, or not on these maps.
    """
    if not targets.anchors:
        raise UserError("this distillation method needs a detector with anchors; choose another")
    if len(targets.anchors) != len(sizes):
        raise UserError(
            f"anchors on {len(targets.anchors)} levels, but {len(sizes)} feature levels; this "
            "distillation method needs anchors on every level"
        )
    return [
        anchors.reshape(*size, -1, 4) for anchors, size in zip(targets.anchors, sizes, strict=True)
    ]


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


def check_same_heads(student_maps: tuple[Tensor, ...], teacher_maps: tuple[Tensor, ...]) -> None:
    """Raises UserError where two dense heads do not speak about the same anchors."""
    student_widths = [each.shape[1] for each in student_maps]
    teacher_widths = [each.shape[1] for each in teacher_maps]
    if student_widths != teacher_widths:
        raise UserError(
            "the dense heads of student and teacher differ (channels a level: "
            f"{student_widths} and {teacher_widths}); give both the same anchors"
        )
