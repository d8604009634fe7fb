"""Tests of graphkd/distill/graph/nodes.py."""

import math

import pytest
import torch

from graphkd.distill.graph.nodes import (
    background_cross_entropy,
    keep_distinct,
    match_size,
    select_regions,
)

LABELS = torch.tensor([3, 0, 3, 2, 3, 3])
LOSSES = torch.tensor([0.7, 9.0, 0.5, 9.0, 2.0, 1.0])


def select(*, losses=LOSSES, min_loss=0.6, most=64, keep=None, labels=LABELS):
    return select_regions(
        labels,
        background=3,
        background_losses=losses,
        min_loss=min_loss,
        max_background=most,
        keep=keep,
    ).tolist()


def test_background_loss_reads_the_last_column():
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 50.0]])
    assert torch.allclose(
        background_cross_entropy(logits), torch.tensor([math.log(3), 0.0]), atol=1e-6
    )
    # the threshold 0.6 is a background probability of 0.549
    logits = torch.tensor([[0.0, math.log(0.549 / 0.451)]])
    assert background_cross_entropy(logits).item() == pytest.approx(0.6, abs=1e-3)


def test_all_foreground_and_hard_background_in_order():
    assert select() == [0, 1, 3, 4, 5]
    assert select(min_loss=0.4) == [0, 1, 2, 3, 4, 5]


def test_the_hardest_background_stays_within_the_limit():
    assert select(most=1) == [1, 3, 4]
    assert select(most=2) == [1, 3, 4, 5]
    assert select(most=0) == [1, 3]
    assert select(losses=None) == [1, 3]


def test_regions_that_are_not_kept_are_no_nodes_and_leave_room():
    keep = torch.tensor([True, False, True, True, False, True])
    assert select(keep=keep, most=1) == [3, 5]


def test_no_regions_and_no_foreground():
    assert select(labels=LABELS[:0], losses=LOSSES[:0]) == []
    assert select(labels=torch.full((6,), 3), losses=LOSSES * 0) == []


def test_of_near_copies_of_one_class_the_best_stays():
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 98], [0, 0, 100, 99], [0, 0, 100, 50]])
    labels, scores = torch.tensor([1, 1, 2, 1]), torch.tensor([0.1, 0.9, 0.5, 0.2])
    kept = keep_distinct(boxes, labels, scores, max_iou=0.9)
    assert kept.tolist() == [False, True, True, True]
    assert keep_distinct(boxes[:0], labels[:0], scores[:0], max_iou=0.9).tolist() == []


def test_features_meet_at_the_smaller_size():
    large = torch.arange(16.0).view(1, 1, 4, 4)
    first, second = match_size(large, torch.zeros(1, 3, 2, 2))
    assert first.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert second.shape == (1, 3, 2, 2)
    first, second = match_size(large, large)
    assert first is large and second is large
