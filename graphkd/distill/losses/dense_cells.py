"""Anchors that the dense heads of two networks share, and which of them lie near objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou, distance_box_iou

from graphkd.distill.losses.functional import (
    check_same_heads,
    crop_to_common,
    flatten_dense,
    shared_levels,
)
from graphkd.distill.outputs import Assignment, Dense, Targets
from graphkd.errors import UserError


@dataclass(frozen=True)
class SharedCells:
    """The anchors that the dense heads of both networks have, levels one after the other.

    Attributes:
        student: which entries of the student's maps are compared.
        teacher: the entries of the teacher's maps that go with them.
        index: (n,) int64, where each shared anchor stands among all of the student's.
        counts: anchors of each shared level; sums to n.
    """

    student: tuple[int, ...]
    teacher: tuple[int, ...]
    index: Tensor
    counts: tuple[int, ...]

    def rows(
        self,
        student_maps: tuple[Tensor, ...],
        teacher_maps: tuple[Tensor, ...],
        *,
        widths: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Head maps of both networks, one row per shared anchor.

        Args:
            student_maps: per level (N, A * width, H, W).
            teacher_maps: per level (N, A * width', H', W'), taken as a constant.
            widths: (student, teacher) numbers an anchor.

        Returns:
            (N, n, width) and (N, n, width'), float32.
        """
        students, teachers = [], []
        for own, other in zip(self.student, self.teacher, strict=True):
            pair = crop_to_common(student_maps[own], teacher_maps[other].detach())
            for found, rows, width in zip((students, teachers), pair, widths, strict=True):
                found.append(flatten_dense(rows, width=width))
        return torch.cat(students, 1), torch.cat(teachers, 1)


def shared_cells(student: Dense, teacher: Dense) -> SharedCells:
    """The anchors of both heads, on the levels and on the part of the maps that both have.

    Raises:
        UserError: the heads have not the same anchors a cell.
    """
    if len(teacher.deltas) != len(teacher.logits):
        raise UserError("the teacher gives class scores of a dense head, but no boxes")
    own, other = shared_levels(student, teacher)
    check_same_heads(tuple(student.deltas[i] for i in own), tuple(teacher.deltas[i] for i in other))
    kept, counts, first = [], [], 0
    pairs = dict(zip(own, other, strict=True))
    for level, dense_map in enumerate(student.deltas):
        height, width = dense_map.shape[-2:]
        anchors = dense_map.shape[1] // 4
        size = height * width * anchors
        if level in pairs:
            numbers = torch.arange(first, first + size, device=dense_map.device)
            grid = numbers.reshape(height, width, anchors)
            rows, columns = teacher.deltas[pairs[level]].shape[-2:]
            kept.append(grid[:rows, :columns].reshape(-1))
            counts.append(len(kept[-1]))
        first += size
    return SharedCells(own, other, torch.cat(kept), tuple(counts))


def read_assignment(targets: Targets) -> Assignment:
    """The assignment of the batch.

    Raises:
        UserError: the detector gave none.
    """
    if not targets.assignment:
        raise UserError("a loss reads which anchor was trained on which object; the view gave none")
    return targets.assignment


def all_anchors(targets: Targets) -> Tensor:
    """The student's anchors of all levels, (A, 4).

    Raises:
        UserError: there are none, or not as many as were assigned.
    """
    if not targets.anchors:
        raise UserError("a loss reads anchors, but the view of the student gave none")
    return torch.cat(targets.anchors)


def anchors_on_pages(anchors: Tensor, image_sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Whether the centre of an anchor lies on the unpadded page.

    Args:
        anchors: (A, 4).
        image_sizes: per image (height, width).

    Returns:
        (N, A) bool.
    """
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    limits = anchors.new_tensor([(width, height) for height, width in image_sizes])
    return (centres < limits[:, None]).all(2)


def valuable_region(targets: Targets, *, gamma: float, exclude_positives: bool = False) -> Tensor:
    """The valuable localization region: anchors too far from an object to be trained on its box,
    but near enough to show where its edges are.

    An anchor belongs to the region of an object if gamma * alpha <= DIoU < alpha, where alpha is
    the IoU from which the assigner takes anchors for the object.

    Source: Zheng et al., Localization Distillation for Dense Object Detection (CVPR 2022), section
    3.3, as released: no rule about centres, and the value of an anchor is its IoU.

    Args:
        targets: boxes, anchors and assignment.
        gamma: 0..1.
        exclude_positives: whether an anchor that has an object is left out. A positive can be in
            the region, because its DIoU is smaller than the IoU that made it one.

    Returns:
        (N, A) float32 in 0..1: the best IoU among the objects whose region holds the anchor, 0
        outside.

    Raises:
        UserError: the assigner has no thresholds.
    """
    assignment, anchors = read_assignment(targets), all_anchors(targets)
    if len(assignment.thresholds) != len(targets.boxes):
        raise UserError(
            "the valuable localization region needs the IoU thresholds of the assigner, and this "
            "detector has none; set VLR and VLR_CLASSES to 0, or another MASK"
        )
    pages = []
    for boxes, thresholds in zip(targets.boxes, assignment.thresholds, strict=True):
        if not len(boxes):
            pages.append(anchors.new_zeros(len(anchors)))
            continue
        distance, limit = distance_box_iou(boxes, anchors), thresholds[:, None]
        inside = (gamma * limit <= distance) & (distance < limit)
        overlap = box_iou(boxes, anchors)
        pages.append(torch.where(inside, overlap, torch.zeros_like(overlap)).amax(0))
    values = torch.stack(pages)
    kept = torch.stack(assignment.valid)
    if exclude_positives:
        kept = kept & (torch.stack(assignment.owners) < 0)
    return torch.where(kept, values, torch.zeros_like(values))


def class_scores(dense: Dense, *, num_classes: int) -> Tensor:
    """Class scores of all anchors as the detector uses them, a constant: (N, A, K) in 0..1."""
    scores = torch.cat([flatten_dense(each, width=num_classes) for each in dense.logits], 1)
    scores = scores.detach().sigmoid()
    if dense.quality is not None:
        quality = torch.cat([flatten_dense(each, width=1) for each in dense.quality], 1)
        scores = scores * quality.detach()
    return scores
