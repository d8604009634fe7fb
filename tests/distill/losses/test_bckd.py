"""The `bckd` method against its formula."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou

from graphkd.distill.losses.bckd import binary_terms
from graphkd.distill.losses.build import build_losses
from graphkd.distill.outputs import Assignment, Dense, Outputs, Targets
from graphkd.errors import UserError


def build(toy, **options):
    context = toy.context(two_stage=False, num_classes=2, bins=None)
    return build_losses({"bckd": options}, context, source="run.yaml")["bckd"].module


def distances(deltas, anchors):
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([middle - deltas[:, :2], middle + deltas[:, 2:]], 1)


def pair(*, cells=3, positives=2, decode=distances):
    draw = torch.Generator().manual_seed(4)
    heads = [
        Outputs(
            dense=Dense(
                (torch.randn(1, 2, cells, cells, generator=draw),),
                (torch.rand(1, 4, cells, cells, generator=draw) * 9 + 1,),
                decode=decode,
            )
        )
        for _ in range(2)
    ]
    count = cells * cells
    anchors = torch.arange(count)[:, None] * torch.tensor([5.0, 3, 5, 3]) + torch.tensor(
        [0.0, 0, 8, 8]
    )
    owners = torch.where(torch.arange(count) < positives, 0, -1)
    valid = torch.arange(count) < count - 1
    assigned = Assignment((owners,), (valid,))
    return *heads, Targets(anchors=(anchors,), num_classes=2, assignment=assigned)


def test_formula(toy):
    student, teacher, targets = pair()
    found = build(toy)(student, teacher, targets)
    seen, wanted = (each.dense.logits[0][0].flatten(1).T[:8] for each in (student, teacher))
    gap = (wanted.sigmoid() - seen.sigmoid()).abs()
    entropy = F.binary_cross_entropy(seen.sigmoid(), wanted.sigmoid(), reduction="none")
    torch.testing.assert_close(found["classes"], (gap * entropy).sum() / 2)
    boxes = [
        distances(each.dense.deltas[0][0].flatten(1).T[:8], targets.anchors[0][:8])
        for each in (student, teacher)
    ]
    error = 1 - generalized_box_iou(*boxes).diagonal()
    torch.testing.assert_close(found["boxes"], 4 * (gap.amax(1) * error).sum() / 2)


def test_gradient_is_the_slope_and_zero_at_equality():
    seen = torch.tensor([[0.3, -1.2], [2.0, 0.1]], requires_grad=True)
    wanted = torch.tensor([[1.0, -0.4], [-0.5, 0.2]])
    binary_terms(seen, wanted)[1].sum().backward()
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        step = torch.zeros(2, 2)
        step[place] = 1e-2
        ends = [
            float(binary_terms(seen.detach() + sign * step, wanted)[1].sum()) for sign in (1, -1)
        ]
        assert seen.grad[place] == pytest.approx((ends[0] - ends[1]) / 2e-2, abs=1e-3)
    seen.grad = None
    total = binary_terms(seen, seen.detach())[1].sum()
    total.backward()
    assert total == 0 and not seen.grad.any()


def test_boxes_teach_boxes_alone(toy):
    student, teacher, targets = pair()
    logits = student.dense.logits[0].requires_grad_()
    deltas = student.dense.deltas[0].requires_grad_()
    build(toy, CLASSES=0.0)(student, teacher, targets)["boxes"].backward()
    assert logits.grad is None or not logits.grad.any()
    assert deltas.grad.abs().sum() > 0


@pytest.mark.parametrize("autocast", [False, True])
def test_extreme_scores_are_finite(toy, autocast):
    student, teacher, targets = pair()
    far = replace(
        student.dense, logits=(torch.full_like(student.dense.logits[0], -50).requires_grad_(),)
    )
    near = replace(teacher.dense, logits=(torch.full_like(teacher.dense.logits[0], 50),))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        terms = build(toy)(replace(student, dense=far), replace(teacher, dense=near), targets)
    terms["classes"].backward()
    assert torch.isfinite(terms["classes"]) and torch.isfinite(far.logits[0].grad).all()


def test_class_terms_teach_one_class(toy):
    student, teacher, targets = pair()
    heads = [
        replace(each.dense, logits=(each.dense.logits[0][:, :1],)) for each in (student, teacher)
    ]
    logits = heads[0].logits[0].requires_grad_()
    context = toy.context(two_stage=False, num_classes=1, bins=None)
    loss = build_losses({"bckd": {}}, context, source="run.yaml")["bckd"].module
    terms = loss(replace(student, dense=heads[0]), replace(teacher, dense=heads[1]), targets)
    terms["classes"].backward()
    assert logits.grad.abs().sum() > 0


def test_a_head_that_cannot_decode_is_refused(toy):
    student, teacher, targets = pair(decode=None)
    with pytest.raises(UserError, match="decode"):
        build(toy)(student, teacher, targets)
