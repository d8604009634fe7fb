"""Time means of the frames."""

import math

import pytest
import torch

from graphkd.distill.losses.ctc_mean import CTCMean, log_mean, mean_divergence
from graphkd.distill.outputs import Outputs, Sequence
from tests.distill.losses import crops


def frames(*rows, trusted=None):
    """A line whose frames have these probabilities."""
    logits = torch.tensor([rows]).clamp(min=1e-12).log()
    return Outputs(frames=Sequence(logits, torch.tensor([len(rows)]), trusted))


def test_hand_worked_number():
    student = frames([0.5, 0.25, 0.25], [0.5, 0.25, 0.25])
    teacher = frames([0.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    loss = CTCMean(crops.context(), temperature=1.0)
    found = loss(student, teacher, crops.targets(()))["frames"]
    assert found.item() == pytest.approx(0.5 * math.log(2), abs=1e-5)
    # Without the blank the teacher says 1, 0 and the student 1/2, 1/2.
    loss = CTCMean(crops.context(), temperature=1.0, blank="drop")
    found = loss(student, teacher, crops.targets(()))["frames"]
    assert found.item() == pytest.approx(math.log(2), abs=1e-5)


def test_half_the_temperature_squares_the_probabilities():
    kept = torch.ones(1, 1, dtype=torch.bool)
    logits = torch.tensor([[[0.8, 0.2]]]).log()
    found = log_mean(logits, kept, temperature=0.5, drop_blank=False).exp()
    torch.testing.assert_close(found, torch.tensor([[0.64, 0.04]]) / 0.68)


def test_the_order_of_frames_and_the_stride_do_not_matter():
    loss = CTCMean(crops.context())
    student, teacher = crops.outputs(1, lengths=(12, 12)), crops.outputs(2, lengths=(12, 12))
    once = loss(student, teacher, crops.targets())
    turned = Outputs(frames=Sequence(teacher.frames.logits.flip(1), teacher.frames.lengths))
    torch.testing.assert_close(loss(student, turned, crops.targets()), once)
    twice = teacher.frames.logits.repeat_interleave(2, 1)
    finer = Outputs(frames=Sequence(twice, 2 * teacher.frames.lengths))
    torch.testing.assert_close(loss(student, finer, crops.targets()), once)


def test_frames_that_are_not_trusted_are_left_out_of_both():
    loss = CTCMean(crops.context(), temperature=1.0)
    trusted = torch.tensor([[True, False]])
    student = frames([0.5, 0.5, 0.0], [0.0, 0.0, 1.0])
    teacher = frames([0.5, 0.5, 0.0], [1.0, 0.0, 0.0], trusted=trusted)
    assert loss(student, teacher, crops.targets(()))["frames"].item() == pytest.approx(0, abs=1e-5)
    nothing = frames([0.5, 0.5, 0.0], [1.0, 0.0, 0.0], trusted=torch.zeros_like(trusted))
    student.frames.logits.requires_grad_()
    term = loss(student, nothing, crops.targets(()))["frames"]
    assert term == 0 and term.requires_grad


def test_it_is_a_divergence_of_the_teacher():
    one, other = crops.outputs(1).frames, crops.outputs(2).frames
    kept = torch.ones(2, 12, dtype=torch.bool)
    there = mean_divergence(one.logits, other.logits, kept, kept, temperature=1.0)
    means = [each.logits.softmax(-1).mean(1) for each in (one, other)]
    expected = (means[1] * (means[1] / means[0]).log()).sum(-1)
    torch.testing.assert_close(there, expected, rtol=1e-4, atol=1e-5)
