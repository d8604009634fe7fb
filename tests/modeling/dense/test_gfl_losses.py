"""The losses of GFL against hand cases."""

import math

import pytest
import torch

from graphkd.distill.outputs import Assignment
from graphkd.modeling.dense.edges import by_edge, expected_distances, paired_iou
from graphkd.modeling.dense.gfl_losses import (
    Rows,
    box_iou_loss,
    distribution_focal_loss,
    gfl_losses,
    quality_focal_loss,
)

OPTIONS = {"iou_loss": "giou", "box_weight": 2.0, "dfl_weight": 0.25}


def test_quality_focal_loss_by_hand():
    logits, targets = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([0.8, 0.0, 0.3])
    p = [1 / (1 + math.exp(-z)) for z in (0.0, 2.0, -1.0)]
    expected = [
        (y - s) ** 2 * -(y * math.log(s) + (1 - y) * math.log(1 - s))
        for y, s in zip((0.8, 0.0, 0.3), p, strict=True)
    ]
    torch.testing.assert_close(quality_focal_loss(logits, targets), torch.tensor(expected))


def test_quality_focal_loss_of_a_joint_score():
    logits, targets = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.7, 0.0]])
    # A quality of 1 is version 1; one of 0.5 halves the score.
    same = quality_focal_loss(logits, targets, torch.ones(1, 1))
    torch.testing.assert_close(same, quality_focal_loss(logits, targets))
    halved = quality_focal_loss(logits, targets, torch.full((1, 1), 0.5))
    p = 0.5 / (1 + math.exp(-1.0))
    expected = (0.7 - p) ** 2 * -(0.7 * math.log(p) + 0.3 * math.log(1 - p))
    assert halved[0, 0].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("quality", [None, 0.0, 1.0])
def test_sure_scores_have_finite_losses_and_gradients(quality):
    logits = torch.tensor([[50.0, -50.0, 200.0]], requires_grad=True)
    given = None if quality is None else torch.full((1, 1), quality, requires_grad=True)
    loss = quality_focal_loss(logits, torch.tensor([[0.0, 1.0, 1.0]]), given)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    assert given is None or torch.isfinite(given.grad).all()


def test_distribution_focal_loss_by_hand():
    edges = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    total = math.log(sum(math.exp(z) for z in (0.0, 1.0, 2.0, -1.0)))
    expected = 0.7 * (total - 1.0) + 0.3 * (total - 2.0)
    found = distribution_focal_loss(edges, torch.tensor([1.3]))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    # Least where the two bins have the mass of the target, in its shares.
    best = torch.tensor([[-1e4, math.log(0.7), math.log(0.3), -1e4]])
    entropy = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    assert distribution_focal_loss(best, torch.tensor([1.3])).item() == pytest.approx(entropy)


def test_giou_and_ciou_by_hand():
    """Two 2 x 2 squares whose corners touch, and a box of another shape in the middle of one."""
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 1, 4, 3]])
    truth = torch.tensor([[2.0, 2, 4, 4], [0, 0, 4, 4]])
    giou = box_iou_loss(boxes, truth, kind="giou")
    torch.testing.assert_close(giou, torch.tensor([1 + 8 / 16, 1 - 8 / 16]))
    ciou = box_iou_loss(boxes, truth, kind="ciou")
    v = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
    shape = v * v / (1 - 0.5 + v)
    torch.testing.assert_close(ciou, torch.tensor([1 + 8 / 32, 1 - 0.5 + shape]))


@pytest.mark.parametrize("kind", ["giou", "ciou"])
def test_boxes_without_extent_have_finite_gradients(kind):
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 9, 5]], requires_grad=True)
    box_iou_loss(boxes, torch.tensor([[0.0, 0, 4, 4], [5, 5, 9, 9]]), kind=kind).sum().backward()
    assert torch.isfinite(boxes.grad).all()


def small_batch(images=1, bins=5, classes=2, quality=None):
    """Three anchors of stride 8; the second of every image is positive for a box of class 1."""
    draw = torch.Generator().manual_seed(0)
    rows = Rows(
        torch.randn(1, 3, classes, generator=draw).repeat(images, 1, 1),
        torch.randn(1, 3, 4 * bins, generator=draw).repeat(images, 1, 1),
        None if quality is None else torch.full((images, 3, 1), quality),
        torch.tensor([[-32.0, -32, 32, 32], [-24, -32, 40, 32], [-16, -32, 48, 32]]),
    )
    owners, valid = torch.tensor([-1, 0, -1]), torch.tensor([True, True, False])
    assignment = Assignment((owners,) * images, (valid,) * images)
    boxes, labels = torch.tensor([[-8.0, -4, 20, 60]]), torch.tensor([min(1, classes - 1)])
    return rows, assignment, (boxes,) * images, (labels,) * images


@pytest.mark.parametrize("quality", [None, 0.5])
def test_a_batch_by_hand(quality):
    rows, assignment, boxes, labels = small_batch(quality=quality)
    found = gfl_losses(rows, assignment, boxes, labels, **OPTIONS)
    edges = by_edge(rows.edges[0, 1])
    left, top, right, bottom = (8 * expected_distances(edges)).tolist()
    box = torch.tensor([[8 - left, 0 - top, 8 + right, 0 + bottom]])
    overlap = paired_iou(box, boxes[0])
    targets = torch.zeros(2, 2)
    targets[1, 1] = overlap.item()
    factor = None if quality is None else torch.full((2, 1), quality)
    # The third anchor is not valid; there is one positive.
    expected = quality_focal_loss(rows.logits[0, :2], targets, factor).sum()
    torch.testing.assert_close(found["loss_cls"], expected)
    # Both weights are divided by their sum, which counts as one where it is below.
    weight = rows.logits[0, 1].sigmoid().max() * (quality or 1.0)
    # 16, 4, 12 and 60 px in strides of 8; the last is beyond n - 0.1.
    distances = torch.tensor([2.0, 0.5, 1.5, 3.9])
    giou = box_iou_loss(box, boxes[0], kind="giou").sum()
    torch.testing.assert_close(found["loss_box_reg"], 2.0 * weight * giou)
    dfl = distribution_focal_loss(edges, distances).mean()
    torch.testing.assert_close(found["loss_dfl"], 0.25 * weight * dfl)


def test_the_batch_given_twice_gives_the_same_losses():
    once, eight = (gfl_losses(*small_batch(images), **OPTIONS) for images in (4, 8))
    for key, value in once.items():
        torch.testing.assert_close(eight[key], value)


def test_gradients_reach_all_but_not_the_weights_and_the_quality_targets():
    rows, assignment, boxes, labels = small_batch(4, quality=0.5)
    parts = [each.clone().requires_grad_() for each in (rows.logits, rows.edges, rows.quality)]
    losses = gfl_losses(Rows(*parts, rows.anchors), assignment, boxes, labels, **OPTIONS)
    grads = torch.autograd.grad(losses["loss_cls"], parts, allow_unused=True, retain_graph=True)
    assert grads[0].abs().sum() > 0 and grads[1] is None and grads[2].abs().sum() > 0
    for key in ("loss_box_reg", "loss_dfl"):
        grads = torch.autograd.grad(losses[key], parts, allow_unused=True, retain_graph=True)
        assert grads[0] is None and grads[1].abs().sum() > 0 and grads[2] is None


def test_a_batch_without_boxes_trains_scores_alone():
    rows, assignment, _, _ = small_batch(2)
    nothing = Assignment((torch.full((3,), -1),) * 2, assignment.valid)
    edges = rows.edges.requires_grad_()
    empty = (torch.zeros(0, 4),) * 2, (torch.zeros(0, dtype=torch.int64),) * 2
    losses = gfl_losses(rows, nothing, *empty, **OPTIONS)
    assert losses["loss_cls"] > 0
    assert losses["loss_box_reg"] == 0 and losses["loss_dfl"] == 0
    sum(losses.values()).backward()
    assert not edges.grad.any()


def test_one_class():
    losses = gfl_losses(*small_batch(classes=1), **OPTIONS)
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())
