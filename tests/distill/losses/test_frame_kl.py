"""Frames one by one."""

import torch

from graphkd.distill.losses.frame_kl import FrameKL
from graphkd.distill.losses.functional import softened_kl
from tests.distill.losses import crops


def test_blank_frames_can_weigh_less():
    student, teacher = crops.outputs(1), crops.outputs(2)
    own, other = student.frames.logits, teacher.frames.logits
    other[..., 0] += 2
    values = softened_kl(own, other, temperature=2.0)
    means = []
    for row, logits, length in zip(values, other, (12, 7), strict=True):
        weights = torch.where(logits[:length].argmax(-1) == 0, 0.25, 1.0)
        assert 0 < (weights < 1).sum() < length
        means.append((row[:length] * weights).sum() / weights.sum())
    loss = FrameKL(crops.context(), temperature=2.0, blank_weight=0.25)
    found = loss(student, teacher, crops.targets())["frames"]
    torch.testing.assert_close(found, sum(means) / 2)


def test_two_spikes_a_frame_apart_cost_much():
    """What makes it a negative control: ctc_mean is 0 here."""
    from graphkd.distill.losses.ctc_mean import CTCMean

    student, teacher = (crops.outputs(1, time=6, lengths=(6,)) for _ in range(2))
    for item, frame in ((student, 2), (teacher, 3)):
        item.frames.logits[:] = torch.tensor([6.0, 0, 0, 0, 0])
        item.frames.logits[0, frame] = torch.tensor([0, 6.0, 0, 0, 0])
    pair = student, teacher, crops.targets(())
    assert FrameKL(crops.context())(*pair)["frames"] > 1.5
    assert CTCMean(crops.context())(*pair)["frames"] < 1e-5
