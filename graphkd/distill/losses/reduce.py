"""Row-wise comparisons and their means over the images of a batch; nothing about maps or masks."""

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.comm import count_per_process


def image_index(counts: tuple[int, ...], *, device: torch.device) -> Tensor:
    """Returns (R,) int64, the image of every row of tensors that concatenate `counts[i]` rows."""
    images = torch.arange(len(counts), device=device)
    return torch.repeat_interleave(images, torch.tensor(counts, dtype=torch.int64, device=device))


def mean_over_images(values: Tensor, images: Tensor, *, where: Tensor | None = None) -> Tensor:
    """The mean over rows of every image, then over the images that have rows.

    Args:
        values: (R,) one number a row.
        images: (R,) int64, the image of every row.
        where: (R,) bool, the rows that count; None for all.

    Returns:
        A scalar; 0 with a gradient path where no row counts.
    """
    if where is None:
        where = torch.ones_like(values, dtype=torch.bool)
    length = int(images.max()) + 1 if len(images) else 0
    kept = torch.where(where, values, torch.zeros_like(values))
    sums = values.new_zeros(length).index_add(0, images, kept)
    counts = values.new_zeros(length).index_add(0, images, where.to(values.dtype))
    return mean_of_present(sums / counts.clamp(min=1), counts > 0)


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


def mean_of_present(values: Tensor, present: Tensor) -> Tensor:
    """The mean of `values` (N,) where `present` (N,) holds; 0 with a gradient path if nowhere."""
    kept = torch.where(present, values, torch.zeros_like(values))
    return kept.sum() / count_per_process(present.sum())


def sum_of_images(terms: list[Tensor], path: Tensor) -> Tensor:
    """The sum of one scalar an image; for none 0 with a gradient path into `path`.

    The empty slice is taken for no image alone: its backward fills a tensor as large as `path`.
    """
    return torch.stack(terms).sum() if terms else path[:0].sum()
