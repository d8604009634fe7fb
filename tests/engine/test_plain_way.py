"""A distilled step against the same step by the plain way, with nothing shared or skipped.

The plain way runs the student once for its own losses and once more for the teacher's, pools its
regions again, runs the whole teacher, copies the regions that become nodes and leaves cosines to
autograd. Losses agree to 1e-5; gradients, summed over two backward passes in float32, to 1e-4.
"""

import copy

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from graphkd.distill.losses import dsig, graphkd
from graphkd.distill.outputs import Dense, Outputs, Regions
from tests.engine.held import BATCH, distiller, held_step

TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4


def plain_cosines(rows):
    unit = F.normalize(rows)
    return unit @ unit.T


def plain_take(values, rows):
    return values[rows]


def whole_pass(model, batch, boxes):
    """All that a detector says about a batch, at regions that are given."""
    images = model.preprocess_image(batch)
    maps = model.backbone(images.tensor)
    levels = [maps[name] for name in model.proposal_generator.in_features]
    pooled = model.roi_heads.box_pooler(
        [maps[name] for name in model.roi_heads.box_in_features], boxes
    )
    predictions = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
    return Outputs(
        features=dict(zip(model.proposal_generator.in_features, levels, strict=True)),
        dense=Dense(*map(tuple, model.proposal_generator.rpn_head(levels))),
        regions=Regions(tuple(each.tensor for each in boxes), pooled, *predictions),
    )


def plain_step(model, held):
    """The loss dict of the distiller's step on the regions of `held`."""
    heads = model.student.roi_heads
    heads.label_and_sample_proposals = lambda proposals, targets: copy.deepcopy(held)
    torch.manual_seed(3)
    with EventStorage(0):
        _, _, targets = model.view.step(BATCH)
        torch.manual_seed(3)
        losses = model.student(BATCH)
    boxes = [each.proposal_boxes for each in held]
    student = whole_pass(model.student, BATCH, boxes)
    with torch.no_grad():
        teacher = whole_pass(model.teacher.model, BATCH, boxes)
    for key, loss in model.scheduled.items():
        for term, value in loss.module(student, teacher, targets).items():
            losses[f"loss_kd_{key}_{term}"] = loss.factor(0) * value
    return losses


def gradient(model, losses):
    parts = torch.autograd.grad(
        sum(losses.values()), [p for p in model.parameters() if p.requires_grad], allow_unused=True
    )
    return torch.cat([part.flatten() for part in parts if part is not None])


@pytest.mark.parametrize("method", ["graphkd", "dsig"])
def test_a_step_is_that_of_the_plain_way(method, monkeypatch):
    held: list = []
    fast_model = distiller(method)
    fast = held_step(fast_model, amp=False, held=held)
    plain_model = distiller(method)
    for module in (graphkd, dsig):
        monkeypatch.setattr(module, "cosine_affinity", plain_cosines)
        monkeypatch.setattr(module, "take", plain_take)
    plain = plain_step(plain_model, held)
    assert fast.keys() == plain.keys()
    for name, value in plain.items():
        assert value > 0 and fast[name].item() == pytest.approx(value.item(), rel=TOLERANCE), name
    first, second = gradient(fast_model, fast), gradient(plain_model, plain)
    assert (first - second).norm() < GRADIENT_TOLERANCE * second.norm()
