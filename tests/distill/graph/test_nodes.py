"""Tests of graphkd/distill/graph/nodes.py."""

import math

import pytest
import torch

from graphkd.distill.graph.nodes import (
    BACKGROUND,
    NONTEXT,
    TEXT,
    NodePlan,
    background_cross_entropy,
    describe,
    match_size,
    plan_nodes,
    pool_edges,
    select_regions,
)

LABELS = torch.tensor([3, 0, 3, 2, 3, 3])
LOSSES = torch.tensor([0.7, 9.0, 0.5, 9.0, 2.0, 1.0])


def select(*, losses=LOSSES, min_loss=0.6, most=64, labels=LABELS):
    return select_regions(
        labels,
        background=3,
        background_losses=losses,
        min_loss=min_loss,
        max_background=most,
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


def test_no_regions_and_no_foreground():
    assert select(labels=LABELS[:0], losses=LOSSES[:0]) == []
    assert select(labels=torch.full((6,), 3), losses=LOSSES * 0) == []


def test_features_meet_at_the_smaller_size():
    large = torch.arange(16.0).view(1, 1, 4, 4)
    first, second = match_size(large, torch.zeros(1, 3, 2, 2))
    assert first.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert second.shape == (1, 3, 2, 2)
    first, second = match_size(large, large)
    assert first is large and second is large


def hand_plan():
    """Regions 0 and 2 form one text node; 1 is non-text and 3 background."""
    return NodePlan(
        regions=torch.tensor([4, 6, 7, 9]),
        types=torch.tensor([TEXT, NONTEXT, TEXT, BACKGROUND]),
        slots=torch.tensor([0, 1, 0, 3]),
        sizes=torch.tensor([2.0, 1.0, 0.0, 1.0]),
    )


def test_slots_know_their_nodes():
    plan = hand_plan()
    assert plan.present.tolist() == [True, True, False, True]
    assert plan.of_type(TEXT).tolist() == [True, False, False, False]
    assert plan.of_type(NONTEXT).tolist() == [False, True, False, False]
    assert plan.of_type(BACKGROUND).tolist() == [False, False, False, True]
    expected = [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert plan.assignment.tolist() == expected


def test_pooled_edges_are_means_over_members_with_self_loops():
    edges = torch.arange(16.0).view(4, 4)
    edges = edges + edges.T
    pooled = pool_edges(edges, hand_plan())
    assert pooled[0, 0] == edges[[0, 0, 2, 2], [0, 2, 0, 2]].mean()
    assert pooled[0, 1] == edges[[0, 2], [1, 1]].mean()
    assert pooled[1, 3] == edges[1, 3]
    assert not pooled[2].any() and not pooled[:, 2].any()


def test_described_graph_has_no_unused_slot():
    boxes = torch.rand(4, 4)
    graph = describe(hand_plan(), boxes, torch.arange(16.0).view(4, 4))
    assert graph.groups.tolist() == [0, 1, 0, 2]
    assert graph.node_types.tolist() == [TEXT, NONTEXT, BACKGROUND]
    assert graph.assignment.sum(1).tolist() == [1, 1, 1]
    assert graph.edges.tolist() == [[0, 1, 3], [4, 5, 7], [12, 13, 15]]
    assert graph.regions.tolist() == [4, 6, 7, 9] and torch.equal(graph.boxes, boxes)


def test_plan_merges_alike_neighbours_of_text_only():
    types = torch.tensor([TEXT] * 6 + [NONTEXT, BACKGROUND])
    boxes = torch.rand(8, 4)
    plan = plan_nodes(torch.arange(8), types, boxes, torch.ones(8, 8))
    assert plan.slots[6:].tolist() == [6, 7]
    assert plan.present[:6].sum() < 6
    assert plan.sizes.sum() == 8
    alone = plan_nodes(torch.arange(8), types, boxes, None)
    assert alone.slots.tolist() == list(range(8)) and alone.present.all()


def test_empty_plan():
    none = torch.zeros(0, dtype=torch.long)
    plan = plan_nodes(none, none, torch.zeros(0, 4), torch.zeros(0, 0))
    graph = describe(plan, torch.zeros(0, 4), pool_edges(torch.zeros(0, 0), plan))
    assert graph.edges.shape == (0, 0) and graph.assignment.shape == (0, 0)
