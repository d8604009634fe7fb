"""Students that teach each other, and the teacher's hard labels."""

import torch

from graphkd.distill.losses.functional import bernoulli_kl, softened_kl
from graphkd.distill.losses.maps import dice
from graphkd.distill.losses.mutual import MutualLearning, TeacherLabels
from graphkd.distill.outputs import Outputs
from tests.distill.losses import crops
from tests.distill.losses.map_pages import context, outputs, targets, text_loss


def test_the_term_is_symmetric_and_its_gradient_is_right():
    one, other, truth = outputs(1), outputs(2), targets()
    loss = MutualLearning(context(), temperature=2.0)
    there, back = loss(one, other, truth)["text"], loss(other, one, truth)["text"]
    torch.testing.assert_close(there, back)
    kept = truth.maps["mask"] > 0
    maps = one.maps["text"], other.maps["text"]
    ways = [bernoulli_kl(*pair, temperature=2.0)[kept].mean() for pair in (maps, maps[::-1])]
    torch.testing.assert_close(there, sum(ways) / 2)

    def term(logits):
        return loss(Outputs(maps={"text": logits}), other, truth)["text"]

    logits = one.maps["text"].clone().requires_grad_()
    term(logits).backward()
    place, step = (0, 0, 20, 20), 0.5
    moved = [one.maps["text"].clone() for _ in range(2)]
    moved[0][place] += step
    moved[1][place] -= step
    with torch.no_grad():
        slope = (term(moved[0]).double() - term(moved[1]).double()) / (2 * step)
    torch.testing.assert_close(logits.grad[place].double(), slope, rtol=0.1, atol=1e-6)


def test_hard_labels_of_the_teacher():
    truth = targets()
    teacher = torch.full((2, 1, 64, 96), -9.0)
    teacher[:, :, 10, 10] = -0.8  # a probability of 0.31
    teacher[:, :, 40, 40] = -0.9  # 0.29
    student = outputs(1)
    label = torch.zeros_like(teacher)
    label[:, :, 10:12, 10:12] = 1
    own, mask = student.maps["text"], truth.maps["mask"]
    found = TeacherLabels(context())(student, Outputs(maps={"text": teacher}), truth)["text"]
    torch.testing.assert_close(found, text_loss(own, label, mask) + dice(own, label, mask))


def test_frames_of_readers():
    one, other = crops.outputs(1), crops.outputs(2)
    loss = MutualLearning(crops.context(), temperature=2.0)
    assert loss.needs == {"frames"} and not loss.reads
    there, back = (loss(*pair, crops.targets())["frames"] for pair in ((one, other), (other, one)))
    torch.testing.assert_close(there, back)
    logits = one.frames.logits, other.frames.logits
    ways = [softened_kl(*pair, temperature=2.0) for pair in (logits, logits[::-1])]
    lines = [(row[0, :12].mean() + row[1, :7].mean()) / 2 for row in ways]
    torch.testing.assert_close(there, sum(lines) / 2)
