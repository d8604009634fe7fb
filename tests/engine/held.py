"""Distilled steps of a real tiny pair on held regions, for tests that compare two of them."""

import copy

import torch
from detectron2.utils.events import EventStorage
from torch import nn

from graphkd.bench.parts import made_up_batch
from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
from graphkd.distill.teacher import FrozenTeacher
from graphkd.engine.build import loss_context
from graphkd.modeling.network import build_network
from graphkd.views import view_of
from tests.small import CLASSES, small_cfg

BATCH = made_up_batch(4, size=(128, 96), num_classes=len(CLASSES), seed=2)
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
