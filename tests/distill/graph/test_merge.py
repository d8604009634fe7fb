"""Tests of graphkd/distill/graph/merge.py."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.distill.graph.merge import centre_adjacency, merge_text, merge_threshold


def squares(centres):
    centres = torch.tensor(centres, dtype=torch.float32)
    return torch.cat([centres - 1, centres + 1], 1)


def adjacency(size, *cliques):
    """Cliques of nodes that are all adjacent."""
    adjacent = torch.zeros(size, size, dtype=torch.bool)
    for clique in cliques:
        for a in clique:
            for b in clique:
                adjacent[a, b] = a != b
    return adjacent


def groups_of(groups):
    """Group names as a set of sets of members."""
    return {
        frozenset((groups == name).nonzero().flatten().tolist())
        for name in groups.unique().tolist()
    }


def merge(similarity, adjacent, *, text=None, nontext=0, rounds=5):
    text = torch.ones(len(similarity), dtype=torch.bool) if text is None else text
    return merge_text(similarity, adjacent, text, nontext=torch.tensor(nontext), rounds=rounds)


def random_page(seed, size=24):
    draw = torch.Generator().manual_seed(seed)
    base = torch.rand(size, size, generator=draw)
    boxes = torch.rand(size, 4, generator=draw) * 100
    text = torch.rand(size, generator=draw) < 0.7
    return (base + base.T) / 2, boxes, text


def test_the_papers_figure_gives_two_groups_although_t3_and_t4_are_adjacent():
    # six more texts without neighbours keep the page above the stopping rule of four text nodes
    adjacent = adjacency(12, (0, 1, 2), (3, 4, 5), (2, 3))
    groups = merge(torch.full((12, 12), 0.9), adjacent)
    alone = {frozenset({index}) for index in range(6, 12)}
    assert groups_of(groups) == {frozenset({0, 1, 2}), frozenset({3, 4, 5})} | alone


@given(st.permutations(range(12)))
@settings(max_examples=30, deadline=None)
def test_the_figure_does_not_depend_on_the_order_of_regions(order):
    order = torch.tensor(order)
    adjacent = adjacency(12, (0, 1, 2), (3, 4, 5), (2, 3))[order][:, order]
    groups = merge(torch.full((12, 12), 0.9), adjacent)
    found = {frozenset(order[list(group)].tolist()) for group in groups_of(groups)}
    assert {frozenset({0, 1, 2}), frozenset({3, 4, 5})} <= found


def test_a_chain_never_becomes_one_group():
    groups = merge(torch.full((9, 9), 0.9), adjacency(9, (0, 1), (1, 2), (2, 3)))
    assert groups_of(groups) >= {frozenset({0, 1}), frozenset({2, 3})}


def test_nothing_merges_below_the_lower_bound_of_the_threshold():
    groups = merge(torch.full((8, 8), 0.69), adjacency(8, range(8)))
    assert groups.tolist() == list(range(8))


def test_non_text_and_few_texts_stay_alone():
    alike, adjacent = torch.ones(8, 8), adjacency(8, range(8))
    text = torch.arange(8) < 5
    groups = merge(alike, adjacent, text=text)
    assert groups[5:].tolist() == [5, 6, 7]
    assert len(groups[:5].unique()) < 5
    assert merge(alike, adjacent, text=torch.arange(8) < 4).tolist() == list(range(8))
    assert merge(alike, adjacent, nontext=8).tolist() == list(range(8))


def test_exact_copies_halve_every_round_down_to_the_stopping_rule():
    alike, adjacent = torch.ones(64, 64), adjacency(64, range(64))
    for rounds, left in ((0, 64), (1, 32), (2, 16), (3, 8), (4, 4), (9, 4)):
        assert len(merge(alike, adjacent, rounds=rounds).unique()) == left


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_groups_are_cliques_of_alike_adjacent_texts(seed):
    similarity, boxes, text = random_page(seed)
    similarity = 0.6 + 0.4 * similarity
    adjacent = centre_adjacency(boxes, torch.ones_like(text), neighbours=8)
    groups = merge(similarity, adjacent, text=text)
    pairs = adjacent & text[:, None] & text[None]
    threshold = merge_threshold(similarity, pairs)
    assert (groups <= torch.arange(len(groups))).all()
    assert (groups[groups] == groups).all()
    for group in groups_of(groups):
        for a in group:
            for b in group - {a}:
                assert pairs[a, b]
                assert similarity[a, b] >= threshold - 2e-5


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_order_of_regions_does_not_matter(seed):
    similarity, boxes, text = random_page(seed)
    similarity = 0.6 + 0.4 * similarity
    order = torch.randperm(len(text), generator=torch.Generator().manual_seed(seed))
    found = []
    for take in (torch.arange(len(text)), order):
        adjacent = centre_adjacency(boxes[take], text[take], neighbours=8)
        groups = merge(similarity[take][:, take], adjacent, text=text[take])
        found.append({frozenset(take[list(group)].tolist()) for group in groups_of(groups)})
    assert found[0] == found[1]


def test_threshold_is_mean_plus_half_a_deviation_within_bounds():
    similarity = torch.tensor([[1.0, 0.9, 0.7], [0.9, 1.0, 0.0], [0.7, 0.0, 1.0]])
    pairs = torch.tensor([[False, True, True], [True, False, False], [True, False, False]])
    assert torch.isclose(merge_threshold(similarity, pairs), torch.tensor(0.85))
    assert merge_threshold(similarity * 0, pairs) == torch.tensor(0.7)
    assert merge_threshold(similarity * 0 + 1, pairs) == torch.tensor(0.98)
    assert merge_threshold(similarity, pairs & False) == torch.tensor(0.7)


def test_adjacency_of_a_row_of_boxes():
    boxes = squares([[0, 0], [10, 0], [21, 0], [50, 0]])
    everyone = torch.ones(4, dtype=torch.bool)
    near = centre_adjacency(boxes, everyone, neighbours=1)
    expected = adjacency(4, (0, 1), (1, 2), (2, 3))
    assert torch.equal(near, expected)
    without = centre_adjacency(boxes, torch.tensor([True, False, True, True]), neighbours=1)
    assert torch.equal(without, adjacency(4, (0, 2), (2, 3)))


def test_copies_are_all_adjacent_and_nobody_is_its_own_neighbour():
    boxes = squares([[5, 5]] * 12)
    near = centre_adjacency(boxes, torch.ones(12, dtype=torch.bool), neighbours=2)
    assert torch.equal(near, adjacency(12, range(12)))


def test_no_and_one_region():
    for size in (0, 1):
        empty = torch.zeros(size, size)
        assert merge(empty, empty.bool()).tolist() == list(range(size))
        near = centre_adjacency(torch.zeros(size, 4), torch.ones(size).bool(), neighbours=8)
        assert near.shape == (size, size) and not near.any()
