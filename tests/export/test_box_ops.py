import torch
from torchvision.ops import nms

from graphkd.export.box_ops import (
    NOTHING,
    best_of_classes,
    clip,
    finite,
    nonempty,
    pick,
    suppress,
    to_page,
    top,
)


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


def test_clip_cuts_at_height_and_width():
    boxes = torch.tensor([[-3.0, -4.0, 30.0, 40.0]])
    assert clip(boxes, torch.tensor([20, 10])).tolist() == [[0.0, 0.0, 10.0, 20.0]]


def test_empty_and_broken_boxes_are_known():
    boxes = torch.tensor([[0.0, 0, 5, 0], [0.0, 0, 5, 5], [0, 0, float("nan"), float("inf")]])
    assert nonempty(boxes).tolist() == [False, True, False]
    assert nonempty(boxes, 5.0).tolist() == [False, False, False]
    assert finite(boxes).tolist() == [True, True, False]


def test_suppression_is_class_wise_and_the_best_of_all_classes_stay():
    same = torch.tensor([0.0, 0, 10, 10])
    boxes = same.expand(1, 2, 2, 4)  # one image, two classes, two candidates at one place
    scores = torch.tensor([[[0.9, 0.8], [0.3, 0.7]]])
    _, best, classes = best_of_classes(boxes, scores, overlap=0.5, floor=0.05, limit=100)
    there = best[0] > NOTHING / 2
    assert torch.allclose(best[0][there], torch.tensor([0.9, 0.7]))
    assert classes[0][there].tolist() == [0, 1]
    _, best, _ = best_of_classes(boxes, scores, overlap=0.5, floor=0.05, limit=1)
    assert torch.allclose(best, torch.tensor([[0.9]]))


def test_boxes_return_to_the_page_without_empty_rows():
    boxes = torch.tensor([[[0.0, 0, 5, 5], [2.0, 2, 2, 9]], [[1.0, 2, 3, 4], [0.0, 0, 9, 9]]])
    scores = torch.tensor([[0.9, 0.8], [0.7, NOTHING]])
    classes = torch.tensor([[1, 2], [3, 4]])
    found = to_page(
        boxes, scores, classes, page=torch.tensor([40, 20]), size=torch.tensor([20, 20])
    )
    assert found[0].tolist() == [[0.0, 0.0, 5.0, 10.0], [1.0, 4.0, 3.0, 8.0]]
    assert torch.allclose(found[1], torch.tensor([0.9, 0.7]))
    assert found[2].tolist() == [1, 3]
    assert found[3].tolist() == [0, 1]


def test_top_takes_what_there_is():
    values = torch.tensor([[1.0, 3.0, 2.0]])
    assert top(values, 2)[0].tolist() == [[3.0, 2.0]]
    assert top(values, 9)[1].tolist() == [[1, 2, 0]]


def test_pick_takes_rows_of_each_image():
    rows = torch.arange(12.0).view(2, 3, 2)
    assert pick(rows, torch.tensor([[2], [0]])).tolist() == [[[4.0, 5.0]], [[6.0, 7.0]]]
