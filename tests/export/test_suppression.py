import torch
from torchvision.ops import nms

from graphkd.export.suppression import NOTHING, suppress


def random_boxes(groups, count):
    random = torch.Generator().manual_seed(3)
    corner = torch.rand(groups, count, 2, generator=random) * 50
    boxes = torch.cat(
        [corner, corner + 10 + 20 * torch.rand(groups, count, 2, generator=random)], 2
    )
    return boxes, torch.rand(groups, count, generator=random)


def test_each_group_is_suppressed_by_itself():
    boxes, scores = random_boxes(3, 40)
    kept = suppress(boxes, scores, overlap=0.4, floor=-1.0)
    for group in range(3):
        expected = sorted(nms(boxes[group], scores[group], 0.4).tolist())
        stays = kept[group] > NOTHING / 2
        assert stays.nonzero()[:, 0].tolist() == expected
        assert torch.equal(kept[group][stays], scores[group][stays])
        assert 0 < stays.sum() < 40


def test_scores_must_be_above_the_floor():
    boxes = torch.tensor([[[0.0, 0, 9, 9], [20.0, 0, 29, 9]]])
    kept = suppress(boxes, torch.tensor([[0.5, 0.6]]), overlap=0.5, floor=0.5)
    assert kept[0, 0] == NOTHING and kept[0, 1] == torch.tensor(0.6)


def test_nothing_in_gives_nothing():
    assert suppress(torch.zeros(2, 0, 4), torch.zeros(2, 0), overlap=0.5, floor=0.0).shape == (2, 0)
