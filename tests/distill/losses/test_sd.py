"""Self-distillation by early exits, by hand."""

import torch
from torch.nn import functional as F

from graphkd.distill.losses.functional import bernoulli_kl
from graphkd.distill.losses.maps import resized
from graphkd.distill.losses.sd import SelfDistillation
from tests.distill.losses.map_pages import (
    context,
    gradients,
    outputs,
    targets,
    text_loss,
    with_gradient,
)


def test_terms_by_hand():
    torch.manual_seed(0)
    loss, student, truth = SelfDistillation(context(), beta=0.5).eval(), outputs(1), targets()
    label, mask = truth.maps["text"], truth.maps["mask"]
    expected = {"truth": 0.0, "map": 0.0, "features": 0.0}
    for name in ("p5", "p4", "p3"):
        features = resized(loss.necks[name](student.features[name]), (16, 24))
        logits = resized(loss.exits[name](features), (64, 96))
        expected["truth"] += 0.9 * text_loss(logits, label, mask)
        divergence = bernoulli_kl(logits, student.maps["text"], temperature=3)
        expected["map"] += 0.1 * divergence[mask > 0].mean()
        expected["features"] += 0.5 * F.mse_loss(features, student.features["fused"])
    found = loss(student, None, truth)
    torch.testing.assert_close(found, expected)


def test_the_last_exit_is_a_constant():
    student = with_gradient(outputs(1))
    sum(SelfDistillation(context())(student, None, targets()).values()).backward()
    assert set(gradients(student)) == {("features", name) for name in ("p3", "p4", "p5")}
