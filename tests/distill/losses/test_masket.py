"""MaskET: the difference of entropies inside text."""

import torch

from graphkd.distill.losses.maps import entropy
from graphkd.distill.losses.masket import MaskET
from tests.distill.losses.map_pages import context, outputs, targets


def test_it_compares_entropies_inside_text():
    student, teacher, truth = outputs(1), outputs(2), targets()
    gap = entropy(student.maps["text"]) - entropy(teacher.maps["text"])
    text, mask = truth.maps["text"] > 0, truth.maps["mask"] > 0
    inside = MaskET(context())(student, teacher, truth)["entropy"]
    torch.testing.assert_close(inside, gap[text & mask].square().mean())
    everywhere = MaskET(context(), region="all", distance="l1")(student, teacher, truth)["entropy"]
    torch.testing.assert_close(everywhere, gap[mask].abs().mean())
