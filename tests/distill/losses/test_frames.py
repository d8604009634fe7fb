"""Posteriors of frames given the label, and frames of two networks on one time."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.frames import (
    frame_means,
    frame_pair,
    kept_frames,
    label_posteriors,
    labels_of,
    live_posteriors,
    need_frames,
    on_time,
)
from graphkd.distill.outputs import Sequence
from tests.distill.losses import crops

CPU = torch.device("cpu")


def collapsed(path):
    return [each for each, _ in itertools.groupby(path) if each]


def counted(logits, label):
    """Gamma and p(label) of one line from all ways to write its frames."""
    probabilities = logits.double().softmax(-1)
    time, classes = logits.shape
    gamma, total = torch.zeros(time, classes, dtype=torch.float64), 0.0
    for path in itertools.product(range(classes), repeat=time):
        if collapsed(path) == label:
            p = probabilities[range(time), path].prod()
            total = total + p
            gamma[range(time), path] += p
    return gamma / total, total


@pytest.mark.parametrize("text", ["", "a", "aa", "ab", "aba"])
@pytest.mark.parametrize("time", [3, 5])
def test_posteriors_are_those_of_counting_all_ways(text, time):
    torch.manual_seed(len(text))
    logits = 2 * torch.randn(1, time, 3)
    labels = labels_of((text,), crops.encode, device=CPU)
    gamma, score = counted(logits[0], crops.encode(text))
    lengths = torch.tensor([time])
    frozen, found = label_posteriors(logits, lengths, labels)
    torch.testing.assert_close(frozen[0], gamma.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0].exp(), score.float())
    live = live_posteriors(logits, lengths, labels)
    torch.testing.assert_close(live[0], gamma.float(), atol=1e-5, rtol=1e-4)


def test_both_ways_agree_on_a_padded_batch():
    logits = crops.outputs(3, time=40, lengths=(40, 23, 5)).frames.logits
    lengths = torch.tensor([40, 23, 5])
    labels = labels_of(("abbacd", "ddd", "c"), crops.encode, device=CPU)
    frozen, _ = label_posteriors(logits, lengths, labels)
    live = live_posteriors(logits, lengths, labels)
    for row, other, length in zip(frozen, live, lengths, strict=True):
        torch.testing.assert_close(row[:length], other[:length], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(row[:length].sum(-1), torch.ones(length))
        assert not row[length:].any()
    assert not frozen[1, :, 1:4].any() and frozen[1, :23, [0, 4]].any(1).all()
    again, _ = label_posteriors(F.pad(logits, (0, 0, 0, 9)), lengths, labels)
    torch.testing.assert_close(again[:, :40], frozen)


def test_the_live_posterior_has_the_right_slope():
    logits = crops.outputs(4, time=6, lengths=(6,)).frames.logits.double()
    labels = labels_of(("abb",), crops.encode, device=CPU)
    ways = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).double()

    def total(values):
        gamma = live_posteriors(values, torch.tensor([6]), labels)
        return (gamma.double() * torch.arange(5)).square().sum()

    leaf = logits.clone().requires_grad_()
    total(leaf).backward()
    found = (total(logits + 1e-2 * ways) - total(logits - 1e-2 * ways)) / 2e-2
    assert float(found) == pytest.approx(float((leaf.grad * ways).sum()), rel=1e-2)


def test_what_fits():
    labels = labels_of(("", "a", "aa", "aba", "abba"), crops.encode, device=CPU)
    assert labels.fit(torch.full((5,), 3)).tolist() == [True, True, True, True, False]
    assert labels.fit(torch.full((5,), 2)).tolist() == [True, True, False, False, False]
    assert labels.classes.shape == (5, 4)
    assert labels_of(("", ""), crops.encode, device=CPU).classes.shape == (2, 1)


def test_long_lines_and_labels_that_do_not_fit_are_finite():
    logits = (10 * torch.randn(2, 512, 5)).requires_grad_()
    labels = labels_of(("abcd" * 40, "ab" * 300), crops.encode, device=CPU)
    lengths = torch.tensor([512, 512])
    live = live_posteriors(logits, lengths, labels)
    assert live.isfinite().all()
    live[..., 1].square().sum().backward()
    assert logits.grad.isfinite().all()
    frozen, score = label_posteriors(logits, lengths, labels)
    assert frozen.isfinite().all() and score.isfinite().all()
    torch.testing.assert_close(frozen[0], live[0].detach(), atol=2e-3, rtol=0)


def test_time_is_stretched_over_the_valid_frames():
    values = torch.tensor([[[0.0], [4.0], [9.0], [9.0]]])
    found = on_time(values, torch.tensor([2]), size=6, onto=torch.tensor([4]))
    assert found[0, :4, 0].tolist() == [0.0, 1.0, 3.0, 4.0]
    near = on_time(values, torch.tensor([2]), size=6, onto=torch.tensor([4]), resample="nearest")
    assert near[0, :4, 0].tolist() == [0.0, 0.0, 4.0, 4.0]
    same = torch.tensor([3])
    later = on_time(values[:, :3], same, size=3, onto=same, shift=1)
    assert later[0, :, 0].tolist() == [0.0, 0.0, 4.0]
    assert on_time(values[:, :3], same, size=3, onto=same) is not None
    rows = torch.rand(2, 9, 3).softmax(-1)
    moved = on_time(rows, torch.tensor([9, 5]), size=14, onto=torch.tensor([13, 14]))
    torch.testing.assert_close(moved.sum(-1), torch.ones(2, 14))


def test_untrusted_frames_leave_a_line():
    trusted = torch.ones(2, 6, dtype=torch.bool)
    trusted[0, 2] = False
    teacher = crops.outputs(2, time=6, lengths=(6, 3), trusted=trusted)
    _, _, kept = frame_pair(crops.outputs(1), teacher)
    assert kept.sum(1).tolist() == [8, 7]  # two frames of one stride 8 cell and their neighbours
    assert kept_frames(teacher.frames).sum(1).tolist() == [5, 3]
    assert kept_frames(Sequence(torch.zeros(1, 4, 2))).all()


def test_infinite_padding_does_not_reach_the_mean():
    values = torch.tensor([[1.0, 3.0, float("inf")], [float("nan")] * 3])
    weights = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert frame_means(values, weights).tolist() == [2.0, 0.0]


@pytest.mark.parametrize("facts", [LossContext(), crops.context(sequence="steps")])
def test_frames_are_asked_for(facts):
    with pytest.raises(ValueError, match="needs the frames of a CTC reader"):
        need_frames(facts)
