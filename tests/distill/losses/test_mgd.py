"""Tests of graphkd/distill/losses/mgd.py."""

import pytest
import torch
from torch import nn

from graphkd.distill.losses.mgd import MGD, keep_mask
from graphkd.distill.outputs import Outputs


def one_level(toy, **options):
    facts = toy.context(student_channels=1, teacher_channels=1, levels=("p3",))
    return MGD(facts, **options)


def become_identity(loss):
    """Generators that return non-negative maps unchanged."""
    for generator in loss.generators.values():
        for layer in (generator[0], generator[2]):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)


def test_hand_worked_number(toy):
    """Teacher (0, 4), generated (1, 2): (1 + 4) / 2 cells, times ALPHA, all cells of p2 to p5 of a
    usual input on the one level, and 256 channels over one.
    """
    loss = one_level(toy, mask_ratio=0.0, alpha=0.01)
    become_identity(loss)
    student = Outputs(features={"p3": torch.tensor([[[[1.0, 2.0]]]])})
    teacher = Outputs(features={"p3": torch.tensor([[[[0.0, 4.0]]]])})
    term = loss(student, teacher, toy.targets(images=1))["features"]
    assert term.item() == pytest.approx(0.01 * 89250 * 256 * 2.5)


def test_zero_where_the_generator_returns_the_teacher(toy):
    loss = MGD(toy.context(), mask_ratio=0.0)
    become_identity(loss)
    same = toy.change(toy.outputs(0), torch.abs)
    assert loss(same, same, toy.targets())["features"] == 0


def test_hidden_cells_are_not_seen(toy):
    """Other values in the hidden cells of the student leave the term, in a kept cell they don't."""
    teacher = toy.outputs(2)
    student = toy.outputs(1)
    mask = keep_mask(student.features["p3"], mask_ratio=0.5, draw=torch.Generator().manual_seed(7))
    assert 0.3 < mask.mean() < 0.7

    def term(change):
        torch.manual_seed(0)
        facts = toy.context(levels=("p3",))
        loss = MGD(facts, mask_ratio=0.5, seed=7)
        changed = Outputs(features={"p3": student.features["p3"] + change})
        return loss(changed, teacher, toy.targets())["features"]

    assert term(9 * (1 - mask)) == term(0)
    assert term(9 * mask) != term(0)


def test_masks_leave_the_random_state_of_training(toy):
    loss = MGD(toy.context())
    before = torch.random.get_rng_state()
    loss(toy.outputs(1), toy.outputs(2), toy.targets())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_step_draws_other_holes(toy):
    loss, pair = MGD(toy.context()), (toy.outputs(1), toy.outputs(2))
    assert loss(*pair, toy.targets())["features"] != loss(*pair, toy.targets())["features"]


def test_a_resumed_run_draws_the_next_holes(toy):
    pair = toy.outputs(1), toy.outputs(2), toy.targets()
    torch.manual_seed(0)
    loss, other = MGD(toy.context()), MGD(toy.context())
    loss(*pair)
    other.load_state_dict(loss.state_dict())
    assert loss(*pair)["features"] == other(*pair)["features"]


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 1.0), (1.0, 0.0)])
def test_mask_ratio_is_the_share_that_is_hidden(ratio, kept):
    mask = keep_mask(torch.zeros(1, 2, 50, 50), mask_ratio=ratio, draw=torch.Generator())
    assert mask.shape == (1, 1, 50, 50)
    assert mask.mean() == kept


def test_published_factors_follow_the_kind_of_detector(toy):
    two, one = MGD(toy.context()), MGD(toy.context(two_stage=False))
    # a mean over the cells of each of 4 levels, a sum over 8 channels
    assert (two.factor, two.mask_ratio) == (pytest.approx(5e-7 * 89250 / 4 * 256 / 8), 0.45)
    assert (one.factor, one.mask_ratio) == (pytest.approx(2e-5 * 22400 / 4 * 256 / 8), 0.65)


def test_width_does_not_change_the_term(toy):
    """The same gap everywhere on wide and on narrow maps."""

    def term(width):
        facts = toy.context(student_channels=width, teacher_channels=width)
        loss = MGD(facts, mask_ratio=0.0)
        become_identity(loss)
        teacher = toy.change(toy.outputs(0, channels=width), torch.abs)
        student = toy.change(teacher, lambda tensor: tensor + 1)
        return loss(student, teacher, toy.targets())["features"]

    torch.testing.assert_close(term(4), term(16))
