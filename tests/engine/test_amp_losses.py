"""Every term of a distilled step under bfloat16 autocast against float32, on the same regions.

What limits the agreement: the two networks compute their features in bfloat16, whose 8 bits of
mantissa leave about 0.4 % of error in a value. Terms are means of squares over many values, so most
of it averages out. Edges are the exception: they compare cosines, which between regions of
untrained networks differ by a few hundredths, and square that difference. Measured over several
made-up batches, edges are off by 6e-3 to 4.5e-2 with untrained networks, and by 3e-4 to 4e-3 with
trained pairs. Of the other terms only an untrained box loss near 0 was off by more than 1e-2.
The graph's own maths adds nothing, as the last test holds. Choices that are made once and not
averaged (which node is text, what merges) can fall otherwise in bfloat16; the comparison takes node
types from the ground truth.
"""

import copy
from dataclasses import replace

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from graphkd.bench.pages import made_up_batch
from graphkd.distiller import Distiller
from graphkd.engine.build import loss_context
from graphkd.losses.build import build_losses
from graphkd.modeling.network import build_network
from graphkd.teacher import FrozenTeacher
from graphkd.views import view_of
from tests.small import CLASSES, small_cfg

TOLERANCE = 1e-2
EDGE_TOLERANCE = 6e-2  # of untrained networks, see above
BATCH = made_up_batch(4, size=(128, 96), num_classes=len(CLASSES), seed=2)
TERMS = {
    "graphkd": ("text", "nontext", "background", "edges"),
    "dsig": ("foreground", "background", "edges", "features", "classes", "boxes"),
}
OPTIONS = {
    "graphkd": {"NODE_TYPE": "gt_class"},
    "dsig": {"FEATURE_WEIGHT": 0.5, "CLASS_WEIGHT": 3.0, "BOX_WEIGHT": 1.0},
}


def network(name: str, *, seed: int) -> nn.Module:
    """A detector as runs build it, with normalisation that fits the pages."""
    torch.manual_seed(seed)
    model = build_network(small_cfg(name)).train()
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    before = [each.momentum for each in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.backbone(model.preprocess_image(BATCH).tensor)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return model


def distiller(method: str) -> Distiller:
    student = network("rcnn_tiny_MNv4s", seed=0)
    teacher = FrozenTeacher(view_of(network("rcnn_tiny_R18", seed=1)), CLASSES, "RGB", "RGB")
    context = loss_context(view_of(student), teacher, CLASSES, ("text", "title", "list"))
    losses = build_losses({method: OPTIONS[method]}, context, source="test.yaml")
    return Distiller(student, view_of(student), teacher, losses).train()


def held_step(model: Distiller, *, amp: bool, held: list) -> dict[str, torch.Tensor]:
    """The loss dict of one step in the number format the trainer uses.

    The first call fills `held` with the regions that the student sampled; later calls are given
    these instead of their own, since bfloat16 reorders proposals of all but equal scores. Anchors
    are drawn from the seed and do not depend on what the network says.
    """
    heads = model.student.roi_heads
    sample = heads.label_and_sample_proposals

    def same(proposals, targets):
        if not held:
            held.extend(sample(proposals, targets))
        return copy.deepcopy(held)

    heads.label_and_sample_proposals = same
    torch.manual_seed(3)
    try:
        with EventStorage(0), torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            return model(BATCH)
    finally:
        del heads.label_and_sample_proposals


@pytest.mark.parametrize("method", TERMS)
def test_terms_in_bfloat16_are_those_in_float32(method):
    held: list = []
    exact = held_step(distiller(method), amp=False, held=held)
    rough = held_step(distiller(method), amp=True, held=held)
    assert {f"loss_kd_{method}_{term}" for term in TERMS[method]} <= set(exact)
    assert any(not torch.equal(rough[name], exact[name]) for name in exact)
    assert all(value.dtype == torch.float32 for value in rough.values())
    errors = {name: abs(rough[name].item() / value.item() - 1) for name, value in exact.items()}
    edges = errors.pop(f"loss_kd_{method}_edges")
    assert max(errors.values()) < TOLERANCE, errors
    assert edges < EDGE_TOLERANCE


@pytest.mark.parametrize("method", TERMS)
def test_regions_are_held_equal(method):
    held: list = []
    model = distiller(method)
    held_step(model, amp=False, held=held)
    boxes = [each.proposal_boxes.tensor.clone() for each in held]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        held_step(model, amp=True, held=held)
    assert all(
        torch.equal(each.proposal_boxes.tensor, own) for each, own in zip(held, boxes, strict=True)
    )


@pytest.mark.parametrize("method", TERMS)
def test_graph_maths_is_float32_under_autocast(method):
    """On the same bfloat16 features a graph loss gives the same bits with autocast as without, and
    so does its gradient.
    """
    model = distiller(method)
    torch.manual_seed(3)
    with EventStorage(0), torch.autocast("cpu", dtype=torch.bfloat16):
        _, student, targets = model.view.step(BATCH)
        boxes = [each.detach() for each in student.regions.boxes]
        teacher = model.teacher.observe(BATCH, boxes, model.needs)
    features = student.regions.features.detach().requires_grad_()
    student = replace(student, regions=replace(student.regions, features=features))
    loss = model.scheduled[method].module
    found = []
    for enabled in (True, False):
        own = copy.deepcopy(loss)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            terms = own(student, teacher, targets)
        # The trainer, too, goes backward outside autocast.
        total = sum(value for name, value in terms.items() if name != "features")
        (gradient,) = torch.autograd.grad(total, features, retain_graph=True)
        found.append((terms, gradient))
    (inside, inside_gradient), (outside, outside_gradient) = found
    assert all(value.dtype == torch.float32 for value in inside.values())
    assert all(torch.equal(inside[name], outside[name]) for name in outside)
    assert torch.equal(inside_gradient, outside_gradient)
