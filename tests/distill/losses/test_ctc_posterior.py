"""The teacher's alignment of the label."""

import pytest
import torch
from torch.nn import functional as F

from graphkd.distill.losses.ctc_posterior import CTCPosterior
from graphkd.distill.outputs import Outputs, Sequence
from tests.distill.losses import crops


def leaf(seed, **options):
    return crops.with_gradient(crops.outputs(seed, **options))


def test_with_itself_as_teacher_it_has_the_gradient_of_ctc():
    loss = CTCPosterior(crops.context(), confidence=False)
    student = leaf(1)
    loss(student, student.detached(), crops.targets())["frames"].backward()
    logits = crops.outputs(1).frames.logits.requires_grad_()
    classes = [crops.encode(text) for text in crops.TEXTS]
    F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.tensor([number for row in classes for number in row]),
        torch.tensor([12, 7]),
        torch.tensor([4, 2]),
        reduction="none",
    ).sum().backward()
    # A mean over 12 and 7 frames and over two lines.
    expected = logits.grad / torch.tensor([12.0, 7.0]).view(2, 1, 1) / 2
    torch.testing.assert_close(student.frames.logits.grad, expected, atol=1e-6, rtol=1e-4)


def test_lines_weigh_the_confidence_of_the_teacher():
    facts, student, teacher = crops.targets(), crops.outputs(1), crops.outputs(2)
    sure = CTCPosterior(crops.context())
    values = []
    for line in range(2):
        single = [
            Outputs(frames=Sequence(*(each[line : line + 1] for each in part)))
            for part in (
                (student.frames.logits, student.frames.lengths),
                (teacher.frames.logits, teacher.frames.lengths),
            )
        ]
        one = crops.targets(crops.TEXTS[line : line + 1])
        plain = CTCPosterior(crops.context(), confidence=False)(*single, one)["frames"]
        logs = single[1].frames.logits.log_softmax(-1).transpose(0, 1)
        label = torch.tensor([crops.encode(crops.TEXTS[line])])
        count = torch.tensor([label.shape[1]])
        cost = F.ctc_loss(logs, label, single[1].frames.lengths, count, reduction="sum")
        values.append(plain * (-cost / count[0]).exp())
    found = sure(student, teacher, facts)["frames"]
    torch.testing.assert_close(found, sum(values) / 2)
    assert sure.log["unsure"] == 1  # a random teacher


def test_a_late_teacher_costs_nothing_with_a_shift():
    student = crops.outputs(1, lengths=(12, 12))
    # Blank at the ends, so that the moved frames tell the same text.
    student.frames.logits[:, [0, 1, -2, -1]] = torch.tensor([20.0, 0, 0, 0, 0])
    moved = student.frames.logits.roll(1, dims=1)
    late = Outputs(frames=Sequence(moved, student.frames.lengths))
    options = {"mode": "posterior", "confidence": False}
    plain = CTCPosterior(crops.context(), **options)(student, late, crops.targets())
    moved = CTCPosterior(crops.context(), **options, shift=1)(student, late, crops.targets())
    assert plain["posterior"] > 0.1
    assert moved["posterior"].item() == pytest.approx(0, abs=1e-4)


def test_a_label_that_does_not_fit_leaves_its_line_out():
    loss = CTCPosterior(crops.context(), confidence=False)
    student, teacher = leaf(1), crops.outputs(2, time=6, lengths=(3, 4))  # abba needs 5 frames
    both = loss(student, teacher, crops.targets())["frames"]
    both.backward()
    assert not student.frames.logits.grad[0].any() and student.frames.logits.grad[1].any()
    nothing = loss(leaf(1), crops.outputs(2, time=6, lengths=(3, 1)), crops.targets())["frames"]
    assert nothing == 0 and nothing.requires_grad


@pytest.mark.parametrize(
    "options, complaint", [({"mode": "both"}, "MODE must be one of"), ({"shift": 3}, "2 or less")]
)
def test_wrong_options(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        CTCPosterior(crops.context(), **options)
