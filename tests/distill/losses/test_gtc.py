"""The attention head of training."""

import pytest
import torch
from torch.nn import functional as F

from graphkd.distill.losses.gtc import GTC
from tests.distill.losses import crops


def made(**options):
    torch.manual_seed(0)
    return GTC(crops.context(), **{"width": 16, **options})


def test_the_term_is_the_cross_entropy_of_text_and_end():
    loss, item = made(), crops.outputs(1)
    term = loss(item, None, crops.targets())["attention"]
    kept = torch.arange(12) < torch.tensor([[12], [7]])
    means = []
    for line, text in enumerate(crops.TEXTS):
        label = torch.tensor([crops.encode(text)])
        neck = item.features["neck"][line : line + 1]
        logits = loss.head(neck, kept[line : line + 1], F.pad(label, (1, 0)))
        means.append(F.cross_entropy(logits[0], F.pad(label, (0, 1))[0]))
    torch.testing.assert_close(term, sum(means) / 2, rtol=1e-4, atol=1e-5)


def test_a_step_sees_the_characters_before_it_alone():
    loss = made().eval()
    neck, kept = crops.outputs(1).features["neck"][:1], torch.ones(1, 12, dtype=torch.bool)
    one = loss.head(neck, kept, torch.tensor([[0, 1, 2, 3]]))
    other = loss.head(neck, kept, torch.tensor([[0, 1, 4, 4]]))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2], other[:, 2])


def test_it_learns_a_text_from_the_neck_in_some_steps():
    """The place of a peak in the neck tells the character."""
    loss = made(width=32)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    neck = torch.zeros(2, 8, 1, 12)
    neck[0, 1, 0, [1, 8]] = neck[1, 2, 0, [4, 10]] = neck[0, 2, 0, 5] = 3.0
    item = crops.outputs(1)
    item.features["neck"] = neck
    for _ in range(40):
        optimizer.zero_grad()
        term = loss(item, None, crops.targets(("aba", "bb")))["attention"]
        term.backward()
        optimizer.step()
    assert term < 0.2 and loss.log["accuracy"] == 1


def test_needs():
    with pytest.raises(ValueError, match="WIDTH must be a multiple of 4"):
        made(width=18)
    with pytest.raises(ValueError, match="needs the neck"):
        GTC(crops.context(channels={}))
    with pytest.raises(ValueError, match="needs the frames"):
        GTC(crops.context(sequence="steps"))
