"""Pure functions on tensors that several losses share: divergences, means over images, masks of
boxes, and maps and anchors of two networks brought into one frame.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.comm import count_per_process
from graphkd.distill.outputs import Dense, Targets
from graphkd.errors import UserError


def softened_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of the softmax over the last axis, in float32.

    Args:
        student_logits: (..., C).
        teacher_logits: (..., C), taken as a constant.
        temperature: T, above 0; T^2 keeps the gradient's size comparable between temperatures.

    Returns:
        (...), not below 0.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, section 2.
    """
    student_log = F.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher_log = F.log_softmax(teacher_logits.detach().float() / temperature, dim=-1)
    divergence = F.kl_div(student_log, teacher_log, reduction="none", log_target=True)
    return temperature**2 * divergence.sum(-1)


def bernoulli_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of the sigmoid of every entry, in float32; same shape as given."""
    student_logits = student_logits.float() / temperature
    teacher_logits = teacher_logits.detach().float() / temperature
    soft = teacher_logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(student_logits, soft, reduction="none")
    entropy = F.binary_cross_entropy_with_logits(teacher_logits, soft, reduction="none")
    return temperature**2 * (cross - entropy)


def pearson_distance(student_map: Tensor, teacher_map: Tensor, *, eps: float = 1e-6) -> Tensor:
    """1 - Pearson's r between the values of two maps (N, C, H, W), a mean over channels; 0..2.

    It is half the mean squared error of maps whose channels are standardised over the batch, with
    `eps` added to every variance. Written out in variances and covariances, so that no copy of the
    student's map is kept for the backward pass.
    """
    cells = (0, 2, 3)
    teacher = teacher_map - teacher_map.mean(cells, keepdim=True)
    student_variance = student_map.var(cells, correction=0)
    teacher_variance = teacher.square().mean(cells)
    # One centred factor is enough: the other's mean meets a sum of zero.
    covariance = (student_map * teacher).mean(cells)
    student_scale, teacher_scale = student_variance + eps, teacher_variance + eps
    own = student_variance / student_scale + teacher_variance / teacher_scale
    return (0.5 * own - covariance / (student_scale * teacher_scale).sqrt()).mean()


def mean_over_images(
    values: Tensor, counts: tuple[int, ...], *, where: Tensor | None = None
) -> Tensor:
    """The mean over the rows of every image, then over the images that have rows.

    Args:
        values: (R,) one number a row, the images concatenated in order.
        counts: rows of every image; sums to R.
        where: (R,) bool, the rows that count; None for all.

    Returns:
        A scalar; 0 with a gradient path where no row counts.
    """
    if where is None:
        where = torch.ones_like(values, dtype=torch.bool)
    numbers = torch.tensor(counts, dtype=torch.int64, device=values.device)
    images = torch.arange(len(counts), device=values.device).repeat_interleave(
        numbers, output_size=len(values)
    )
    kept = torch.where(where, values, torch.zeros_like(values))
    sums = values.new_zeros(len(counts)).index_add(0, images, kept)
    present = values.new_zeros(len(counts)).index_add(0, images, where.to(values.dtype))
    return mean_of_present(sums / present.clamp(min=1), present > 0)


def mean_of_present(values: Tensor, present: Tensor) -> Tensor:
    """The mean of `values` (N,) where `present` (N,) holds; 0 with a gradient path if nowhere."""
    kept = torch.where(present, values, torch.zeros_like(values))
    return kept.sum() / count_per_process(present.sum())


def sum_of_images(terms: list[Tensor], path: Tensor) -> Tensor:
    """The sum of the scalars of all images; without images 0, with a gradient path into `path`."""
    # The empty slice only where it is needed: its backward fills a tensor as large as `path`.
    return torch.stack(terms).sum() if terms else path[:0].sum()


def deltas_of_class(deltas: Tensor, classes: Tensor) -> Tensor:
    """The four deltas of one class a row.

    Args:
        deltas: (R, K * 4), or (R, 4) where the head is class-agnostic.
        classes: (R,) int64 in 0..K; K (background) gives the last class's deltas, to be masked out.

    Returns:
        (R, 4).
    """
    per_class = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
    column = classes.clamp(max=per_class.shape[1] - 1)
    return per_class[torch.arange(len(deltas), device=deltas.device), column]


def cell_mask(spans: Tensor, *, size: tuple[int, int]) -> Tensor:
    """The cells of every rectangle on a map.

    Args:
        spans: (G, 4) first column, first row, and the column and row after the last, in cells.
        size: (H, W) of the map; cells beyond it are left out.

    Returns:
        (G, H, W) bool.
    """
    left, top, right, bottom = spans[:, :, None].unbind(1)
    rows = torch.arange(size[0], device=spans.device)
    columns = torch.arange(size[1], device=spans.device)
    in_rows = (rows >= top) & (rows < bottom)
    in_columns = (columns >= left) & (columns < right)
    return in_rows[:, :, None] & in_columns[:, None, :]


def box_mask(boxes: Sequence[Tensor], stride: int, size: tuple[int, int]) -> Tensor:
    """The cells (N, H, W) bool of a map that a box touches; N times (G, 4) in input pixels."""
    spans = [
        torch.cat([(each[:, :2] / stride).floor(), (each[:, 2:] / stride).ceil()], 1)
        for each in boxes
    ]
    return torch.stack([cell_mask(each, size=size).any(0) for each in spans])


def crop_to_common(student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts two (..., H, W) maps of one level to the top-left part that both cover.

    Both networks pad at the right and the bottom only, perhaps to different multiples, so equal
    cells lie at equal places and the cut-off part is padding.
    """
    height = min(student_map.shape[-2], teacher_map.shape[-2])
    width = min(student_map.shape[-1], teacher_map.shape[-1])
    return student_map[..., :height, :width], teacher_map[..., :height, :width]


def shared_levels(student: Dense, teacher: Dense) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which maps of two dense heads belong to the same pyramid levels.

    Returns:
        Places of the shared levels among the student's maps and among the teacher's; all of them
        where a head does not name its levels.
    """
    if not (student.levels and teacher.levels):
        return tuple(range(len(student.logits))), tuple(range(len(teacher.logits)))
    own = tuple(i for i, level in enumerate(student.levels) if level in teacher.levels)
    return own, tuple(teacher.levels.index(student.levels[i]) for i in own)


def on_shared_levels(student: Dense, teacher: Dense) -> tuple[Dense, Dense]:
    """Both heads without the levels that only one of them has."""
    places = shared_levels(student, teacher)
    return tuple(
        replace(
            head,
            **{
                part: tuple(maps[i] for i in own)
                for part in ("logits", "deltas", "distributions", "quality", "levels")
                if (maps := getattr(head, part))
            },
        )
        for head, own in zip((student, teacher), places, strict=True)
    )


def check_same_heads(student_maps: tuple[Tensor, ...], teacher_maps: tuple[Tensor, ...]) -> None:
    """Raises UserError where two dense heads have different levels or anchors a cell."""
    widths = [[each.shape[1] for each in maps] for maps in (student_maps, teacher_maps)]
    if widths[0] != widths[1]:
        raise UserError(
            "the dense heads of student and teacher differ (channels a level: "
            f"{widths[0]} and {widths[1]}); give both the same anchors"
        )


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
    return torch.cat(students, 1), torch.cat(teachers, 1)


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
    if len(targets.anchors) != len(sizes):
        raise UserError(
            f"anchors on {len(targets.anchors)} levels, but {len(sizes)} feature levels; this "
            "distillation method needs anchors on every level"
        )
    return [
        anchors.reshape(*size, -1, 4) for anchors, size in zip(targets.anchors, sizes, strict=True)
    ]
