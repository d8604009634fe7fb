"""Decoupled distillation of steps."""

import pytest
import torch

from graphkd.distill.losses.dkd import DKD, decoupled_divergence
from graphkd.distill.losses.functional import softened_kl
from graphkd.distill.outputs import Outputs, Sequence
from tests.distill.losses import crops

FACTS = crops.context(sequence="steps")


def test_both_parts_make_up_the_whole_divergence():
    """KL = TCKD + (1 - p of the true class) NCKD, equation 5 of the paper."""
    one, other = (crops.outputs(seed).steps.logits for seed in (1, 2))
    classes = torch.randint(0, 6, one.shape[:2], generator=torch.Generator().manual_seed(0))
    target, rest = decoupled_divergence(one, other, classes, temperature=2.0)
    true = (other / 2).softmax(-1).gather(2, classes[..., None])[..., 0]
    whole = target + (1 - true) * rest
    torch.testing.assert_close(whole, softened_kl(one, other, temperature=2.0))


def test_the_label_then_its_end_and_no_padding():
    student, teacher = crops.outputs(1).steps.logits, crops.outputs(2).steps.logits
    loss = DKD(FACTS, alpha=1.0, beta=0.5)
    items = [Outputs(steps=Sequence(each)) for each in (student, teacher)]
    means = []
    for line, text in enumerate(crops.TEXTS):
        classes = torch.tensor([*crops.encode(text), 5])
        parts = [each[line, : len(classes)] for each in (student, teacher)]
        target, rest = decoupled_divergence(*parts, classes, temperature=1.0)
        means.append((target + 0.5 * rest).mean())
    found = loss(*items, crops.targets())["steps"]
    torch.testing.assert_close(found, sum(means) / 2)


def test_a_class_of_probability_one_is_finite():
    logits = torch.zeros(1, 1, 4)
    logits[..., 2] = 200
    leaf = logits.clone().requires_grad_()
    target, rest = decoupled_divergence(
        leaf, torch.zeros_like(logits), torch.tensor([[2]]), temperature=1.0
    )
    (target + rest).sum().backward()
    assert torch.isfinite(target).all() and leaf.grad.isfinite().all()


def test_needs():
    with pytest.raises(ValueError, match="needs the steps of an attention reader"):
        DKD(crops.context())
    with pytest.raises(ValueError, match="must not both be 0"):
        DKD(FACTS, alpha=0, beta=0)
