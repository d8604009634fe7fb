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

from tests.engine.held import BATCH, distiller, held_step

TOLERANCE = 1e-2
EDGE_TOLERANCE = 6e-2  # of untrained networks, see above
TERMS = {
    "graphkd": ("text", "nontext", "background", "edges"),
    "dsig": ("foreground", "background", "edges", "features", "classes", "boxes"),
}


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
