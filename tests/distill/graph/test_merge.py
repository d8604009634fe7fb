"""Tests of graphkd/distill/graph/merge.py."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.distill.graph.merge import (
    complete_linkage,
    copy_groups,
    merge_regions,
    merge_text,
    merge_threshold,
    nearest,
    overlaps,
)
from graphkd.distill.graph.nodes import BACKGROUND, NONTEXT, TEXT

# Two triangles of texts with sides of 10: T3 at the right end of the first and T4 at the left end
# of the second are 10 apart too, as in the paper's figure.
FIGURE = [(0, 0), (0, 10), (8.66, 5), (18.66, 5), (27.32, 0), (27.32, 10)]
FIGURES_GROUPS = {frozenset({0, 1, 2}), frozenset({3, 4, 5})}


def squares(centres, *, side=2.0):
    centres = torch.tensor(centres, dtype=torch.float32)
    return torch.cat([centres - side / 2, centres + side / 2], 1)


def adjacency(size, *cliques):
    """Cliques of nodes that are all adjacent."""
    adjacent = np.zeros((size, size), dtype=bool)
    for clique in cliques:
        adjacent[np.ix_(clique, clique)] = True
    np.fill_diagonal(adjacent, False)
    return adjacent


def groups_of(groups):
    """Group names as a set of sets of members."""
    groups = np.asarray(groups)
    return {frozenset(np.flatnonzero(groups == name).tolist()) for name in set(groups.tolist())}


def merge(similarity, boxes, *, types=None, neighbours=8):
    similarity = torch.as_tensor(similarity, dtype=torch.float32)
    types = torch.full((len(boxes),), TEXT) if types is None else torch.as_tensor(types)
    kinds = dict(text=TEXT, nontext=NONTEXT)
    return merge_regions(similarity, boxes, types, neighbours=neighbours, **kinds)


def linked(similarity, adjacent, *, least=0, boxes=None):
    """`merge_text` on boxes far apart from each other."""
    if boxes is None:
        boxes = squares([[10 * i, 0] for i in range(len(similarity))]).double().numpy()
    return merge_text(np.asarray(similarity), boxes, adjacent, least=least)


def random_page(seed, size=24):
    """Regions at random places, some of them near copies of others; cosines from features."""
    draw = torch.Generator().manual_seed(seed)
    boxes = torch.rand(size, 2, generator=draw) * 200
    boxes = torch.cat([boxes, boxes + 5 + 40 * torch.rand(size, 2, generator=draw)], 1)
    features = 1 + torch.randn(size, 6, generator=draw)
    types = torch.randint(0, 3, (size,), generator=draw)
    copies = torch.randint(0, size, (size // 3,), generator=draw)
    boxes = torch.cat([boxes, boxes[copies] + torch.rand(len(copies), 4, generator=draw)])
    noise = 0.05 * torch.randn(len(copies), 6, generator=draw)
    features = torch.cat([features, features[copies] + noise])
    rows = torch.nn.functional.normalize(features)
    return rows @ rows.T, boxes, torch.cat([types, types[copies]])


@given(st.permutations(range(6)), st.floats(0.75, 0.97))
@settings(max_examples=60, deadline=None)
def test_the_papers_figure_on_a_page_of_its_six_texts_in_any_order(order, cosine):
    """Two groups although T3 and T4 are neighbours and all six texts are equally alike."""
    boxes = squares(FIGURE)[list(order)]
    similarity = torch.full((6, 6), cosine).fill_diagonal_(1)
    found = {frozenset(order[i] for i in group) for group in groups_of(merge(similarity, boxes))}
    assert found == FIGURES_GROUPS


@pytest.mark.parametrize("turn", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_papers_figure_mirrored_and_turned(turn, transposed):
    boxes = squares([(x * turn[0], y * turn[1]) for x, y in FIGURE])
    if transposed:
        boxes = boxes[:, [1, 0, 3, 2]]
    similarity = torch.full((6, 6), 0.9).fill_diagonal_(1)
    assert groups_of(merge(similarity, boxes)) == FIGURES_GROUPS


@given(st.permutations(range(6)))
@settings(max_examples=30, deadline=None)
def test_the_figures_adjacency_gives_its_groups(order):
    order = np.array(order)
    adjacent = adjacency(6, (0, 1, 2), (3, 4, 5), (2, 3))[np.ix_(order, order)]
    found = groups_of(linked(np.full((6, 6), 0.9), adjacent))
    assert {frozenset(order[list(group)].tolist()) for group in found} == FIGURES_GROUPS


def test_a_chain_never_becomes_one_group():
    groups = linked(np.full((9, 9), 0.9), adjacency(9, (0, 1), (1, 2), (2, 3)))
    assert groups_of(groups) >= {frozenset({0, 1}), frozenset({2, 3})}


def test_32_near_copies_leave_one_node_whatever_else_is_on_the_page():
    draw = torch.Generator().manual_seed(0)
    for size in ((60, 30), (200, 12), (15, 12)):
        jitter = 2 * torch.rand(32, 4, generator=draw) - 1
        boxes = torch.tensor([100.0, 100, 100 + size[0], 100 + size[1]]) + jitter
        similarity = torch.full((32, 32), 0.997).fill_diagonal_(1)
        assert len(merge(similarity, boxes).unique()) == 1
        for kind in (NONTEXT, BACKGROUND):
            assert len(merge(similarity, boxes, types=[kind] * 32).unique()) == 1


def test_near_copies_are_of_one_type_overlap_and_look_alike():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10.2], [0, 0, 10, 11], [0, 0, 10, 14]])
    alike = np.full((4, 4), 0.97)
    edges = boxes.double().numpy()
    assert copy_groups(alike, edges, np.zeros(4)).tolist() == [0, 0, 0, 1]
    assert copy_groups(alike, edges, np.array([0, 1, 0, 0])).tolist() == [0, 1, 0, 2]
    assert copy_groups(alike - 0.001, edges, np.zeros(4)).tolist() == [0, 1, 2, 3]
    # the first and the last overlap by 10 / 12.4 only through the second
    chain = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 12.4], [0, 0, 10, 15.3]]).double().numpy()
    assert copy_groups(alike[:3, :3], chain, np.zeros(3)).tolist() == [0, 0, 0]


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_order_of_regions_does_not_matter(seed):
    similarity, boxes, types = random_page(seed)
    order = torch.randperm(len(types), generator=torch.Generator().manual_seed(seed))
    plain = groups_of(merge(similarity, boxes, types=types))
    shuffled = merge(similarity[order][:, order], boxes[order], types=types[order])
    assert {frozenset(order[list(group)].tolist()) for group in groups_of(shuffled)} == plain


@given(st.permutations(range(3)), st.booleans())
def test_of_equal_links_the_place_on_the_page_decides(order, upright):
    """Three equal texts in a row of which only neighbours can merge: the first two do."""
    centres = [(0, 10 * i) if upright else (10 * i, 0) for i in range(3)]
    boxes = squares(centres)[list(order)]
    found = groups_of(merge(torch.full((3, 3), 0.9).fill_diagonal_(1), boxes))
    assert {frozenset(order[i] for i in group) for group in found} == {
        frozenset({0, 1}),
        frozenset({2}),
    }


def test_boxes_that_cover_each_other_are_neighbours_whatever_is_nearer():
    """Overlaps of 7 / 13 and, one pixel further, of 6 / 14."""
    boxes = np.array([[0.0, 0, 10, 10], [3, 0, 13, 10]])
    alike = np.full((2, 2), 0.9)
    assert linked(alike, adjacency(2), boxes=boxes).tolist() == [0, 0]
    boxes[1] += [1, 0, 1, 0]
    assert linked(alike, adjacency(2), boxes=boxes).tolist() == [0, 1]


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_groups_are_of_one_type_named_by_their_first_member_and_others_never_merge(seed):
    similarity, boxes, types = random_page(seed)
    groups = merge(similarity, boxes, types=types)
    assert (groups <= torch.arange(len(groups))).all()
    assert torch.equal(groups[groups], groups)
    assert torch.equal(types[groups], types)
    copies = copy_groups(similarity.numpy(), boxes.double().numpy(), types.numpy())
    others = types != TEXT
    assert groups_of(groups[others]) == groups_of(copies[others.numpy()])


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_merging_what_is_merged_changes_nothing(seed):
    """The groups with the smallest cosine of their members, the same threshold and all neighbours
    that their members have in common are left as they are.
    """
    similarity, boxes, _ = random_page(seed)
    similarity, edges = similarity.double().numpy(), boxes.double().numpy()
    near = nearest(edges, np.ones(len(edges), dtype=bool), neighbours=8)
    groups = merge_text(similarity, edges, near, least=0)
    near |= overlaps(edges) >= 0.5
    limit = merge_threshold(similarity, near)
    np.fill_diagonal(near, True)
    names = np.unique(groups)
    members = [np.flatnonzero(groups == name) for name in names]
    union = np.array([[*edges[m, :2].min(0), *edges[m, 2:].max(0)] for m in members])
    covers = overlaps(union) >= 0.5
    for a, first in enumerate(members):
        for b, second in enumerate(members[:a]):
            if near[np.ix_(first, second)].all() or covers[a, b]:
                assert similarity[np.ix_(first, second)].min() < limit + 1e-9
    assert (groups[names] == names).all()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_members_of_a_group_are_all_alike(seed):
    similarity, boxes, _ = random_page(seed)
    similarity, edges = similarity.double().numpy(), boxes.double().numpy()
    near = nearest(edges, np.ones(len(edges), dtype=bool), neighbours=8)
    groups = merge_text(similarity, edges, near, least=0)
    threshold = merge_threshold(similarity, near | (overlaps(edges) >= 0.5))
    for group in groups_of(groups):
        rows = sorted(group)
        assert similarity[np.ix_(rows, rows)].min() >= threshold - 2e-5


def test_groups_that_come_to_cover_each_other_merge_in_a_later_round():
    """Four lines of a paragraph in two pairs, and a box around all of them that is no neighbour of
    any: it covers the paragraph once the lines have merged.
    """
    lines = [[0.0, 10 * i, 100, 10 * i + 9] for i in range(4)]
    boxes = np.array([*lines, [0, 0, 100, 39]])
    adjacent = adjacency(5, (0, 1, 2, 3))
    assert groups_of(linked(np.full((5, 5), 0.9), adjacent, boxes=boxes)) == {frozenset(range(5))}
    apart = boxes + np.array([[0.0]] * 4 + [[500.0]])
    found = groups_of(linked(np.full((5, 5), 0.9), adjacent, boxes=apart))
    assert found == {frozenset(range(4)), frozenset({4})}


def test_many_boxes_around_one_text_merge_although_they_are_no_near_copies():
    """30 boxes that cover a text by 0.5 to 0.8, of which everyone has 8 nearest ones."""
    draw = torch.Generator().manual_seed(1)
    shift = torch.rand(30, 4, generator=draw) * torch.tensor([20.0, 10, 20, 10])
    boxes = torch.tensor([100.0, 100, 200, 150]) + shift
    similarity = torch.full((30, 30), 0.95).fill_diagonal_(1)
    assert len(merge(similarity, boxes).unique()) <= 2


def test_merging_stops_where_texts_are_no_more_than_other_regions():
    draw = torch.Generator().manual_seed(0)
    similarity = 0.9 + 0.05 * torch.rand(9, 9, generator=draw)
    similarity = ((similarity + similarity.T) / 2).fill_diagonal_(1)
    boxes = squares([[5 * (i % 3), 5 * (i // 3)] for i in range(9)], side=6)
    for others in (0, 2, 5, 8, 9):
        more = torch.cat([boxes, squares([[500 + 50 * i, 500] for i in range(others)] or [[0, 0]])])
        more = more[: 9 + others]
        wide = torch.zeros(9 + others, 9 + others)
        wide[:9, :9] = similarity
        groups = merge(wide, more, types=[TEXT] * 9 + [NONTEXT] * others)
        assert len(groups[:9].unique()) >= min(others, 9)
        # copies of the other regions do not hold it up
        copies = torch.cat([torch.arange(9 + others), torch.full((5 * (others > 0),), 9)])
        again = wide.clone().fill_diagonal_(1)[copies][:, copies]
        types = torch.tensor([TEXT] * 9 + [NONTEXT] * others)[copies]
        twice = merge(again, more[copies], types=types)
        assert groups_of(twice[:9]) == groups_of(groups[:9])


def test_nothing_merges_below_the_lower_bound_of_the_threshold():
    groups = linked(np.full((8, 8), 0.69), adjacency(8, range(8)))
    assert groups.tolist() == list(range(8))
    assert len(set(linked(np.full((8, 8), 0.71), adjacency(8, range(8))).tolist())) == 1


def test_complete_linkage_by_hand():
    """0 and 1 are 0.1 apart and 2 is 0.2 and 0.4 away: 2 joins them up to 0.4, not up to 0.3."""
    distance = np.array([[0, 0.1, 0.2], [0.1, 0, 0.4], [0.2, 0.4, 0]])
    assert complete_linkage(distance, limit=0.3, least=0).tolist() in ([0, 0, 1], [1, 1, 0])
    assert len(set(complete_linkage(distance, limit=0.41, least=0))) == 1
    assert len(set(complete_linkage(distance, limit=0.41, least=2))) == 2
    assert complete_linkage(distance, limit=1, least=3).tolist() == [0, 1, 2]
    assert complete_linkage(distance[:1, :1], limit=1, least=0).tolist() == [0]


def test_threshold_is_mean_plus_half_a_deviation_within_bounds():
    similarity = np.array([[1.0, 0.9, 0.7], [0.9, 1.0, 0.0], [0.7, 0.0, 1.0]])
    pairs = np.array([[True, True, True], [True, True, False], [True, False, True]])
    assert merge_threshold(similarity, pairs) == pytest.approx(0.85)
    assert merge_threshold(similarity * 0, pairs) == 0.7
    assert merge_threshold(similarity * 0 + 1, pairs) == 0.98
    assert merge_threshold(similarity, pairs & False) == 0.7


def test_neighbours_of_a_row_of_boxes():
    boxes = squares([[0, 0], [10, 0], [21, 0], [50, 0]]).double().numpy()
    everyone = np.ones(4, dtype=bool)
    near = nearest(boxes, everyone, neighbours=8)
    # a third of four boxes is one neighbour
    assert np.array_equal(near, adjacency(4, (0, 1), (1, 2), (2, 3)))
    without = nearest(boxes, np.array([True, False, True, True]), neighbours=1)
    assert np.array_equal(without, adjacency(4, (0, 2), (2, 3)))
    many = squares([[10 * i, 0] for i in range(30)]).double().numpy()
    # at the ends the 8 nearest lie on one side, in the middle 4 on each
    assert nearest(many, np.ones(30, dtype=bool), neighbours=8)[[0, 15]].sum(1).tolist() == [8, 8]


def test_overlaps_by_hand():
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [3, 3, 3, 3]])
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]]
    assert np.allclose(overlaps(boxes), expected)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_no_one_and_two_regions(size):
    boxes = squares([[50 * i, 0] for i in range(size)] or [[0, 0]])[:size]
    assert merge(torch.zeros(size, size), boxes).tolist() == list(range(size))


def test_features_that_are_no_numbers_merge_nothing():
    similarity, boxes = torch.full((4, 4), torch.nan), squares([[5 * i, 0] for i in range(4)])
    assert merge(similarity, boxes).tolist() == [0, 1, 2, 3]
