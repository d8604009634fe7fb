import torch
from detectron2.structures import Boxes, pairwise_iou

from graphkd.modeling.dense.edges import EdgeTransform, by_edge, expected_distances, paired_iou


def test_the_mean_of_a_distribution_by_hand():
    logits = torch.full((1, 4 * 4), -100.0)
    logits[0, [0 + 2, 4 + 0, 4 + 3, 8 + 1, 12 + 3]] = 100.0
    # left is sure of bin 2, top lies half in bin 0 and half in bin 3.
    assert expected_distances(by_edge(logits)).tolist() == [[2.0, 1.5, 1.0, 3.0]]


def test_large_logits_stay_finite():
    for value in (50.0, -50.0):
        logits = torch.zeros(2, 4, 17)
        logits[:, :, 3] = value
        assert torch.isfinite(expected_distances(logits)).all()


def test_boxes_and_distances_by_hand_and_back():
    """Stride 16: an anchor of 128 px around the point (32, 48)."""
    anchor = torch.tensor([[-32.0, -16, 96, 112]])
    distances = torch.tensor([[1.0, 2, 3, 0.5]])
    boxes = EdgeTransform().apply_deltas(distances, anchor)
    assert boxes.tolist() == [[16.0, 16, 80, 56]]
    assert torch.equal(EdgeTransform().get_deltas(anchor, boxes), distances)


def test_iou_of_pairs_is_the_diagonal_of_all_pairs():
    corner = torch.rand(2, 30, 2, generator=torch.Generator().manual_seed(0)) * 20
    boxes = torch.cat([corner, corner + 15], 2)
    expected = pairwise_iou(Boxes(boxes[0]), Boxes(boxes[1])).diagonal()
    torch.testing.assert_close(paired_iou(*boxes), expected)
    assert paired_iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0
