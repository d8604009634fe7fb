"""A reader's own best alignment as its labels."""

import torch
from torch.nn import functional as F

from graphkd.distill.losses.dctc import DCTC
from graphkd.distill.outputs import Outputs, Sequence
from tests.distill.losses import crops


def test_the_labels_are_the_most_probable_classes_given_the_label():
    # A reader that prefers "c", with "ab" as its label: the frames of c become a or b.
    logits = torch.full((1, 5, 5), -4.0)
    for frame, number in enumerate([0, 1, 3, 2, 0]):
        logits[0, frame, number] = 4.0
    leaf = logits.clone().requires_grad_()
    student = Outputs(frames=Sequence(leaf, torch.tensor([5])))
    term = DCTC(crops.context())(student, None, crops.targets(("ab",)))["frames"]
    logs = logits.log_softmax(-1)[0]
    # Frame 2 cannot be c: blank, a and b are equally unlikely there.
    fixed = -(logs[0, 0] + logs[1, 1] + logs[3, 2] + logs[4, 0])
    assert torch.isclose(term, (fixed - logs[2, 0]) / 5)
    term.backward()
    assert (leaf.grad[0, 2, 3] > 0) and (leaf.grad[0, 1, 1] < 0)


def test_padding_and_labels_that_do_not_fit():
    loss, item = DCTC(crops.context()), crops.with_gradient(crops.outputs(1, lengths=(3, 7)))
    loss(item, None, crops.targets())["frames"].backward()
    grad = item.frames.logits.grad
    assert not grad[0].any() and grad[1, :7].any() and not grad[1, 7:].any()


def test_the_term_of_one_line():
    item = crops.outputs(1, lengths=(12,), time=12)
    label = torch.tensor([crops.encode("cd")])
    logits = item.frames.logits.clone().requires_grad_()
    logs = logits.log_softmax(-1)
    F.ctc_loss(logs.transpose(0, 1), label, torch.tensor([12]), torch.tensor([2])).backward()
    gamma = logs.exp() - 2 * logits.grad  # the mean divides by the label's length
    expected = F.cross_entropy(item.frames.logits[0], gamma[0].argmax(-1))
    term = DCTC(crops.context())(item, None, crops.targets(("cd",)))["frames"]
    torch.testing.assert_close(term, expected)
