import itertools

import numpy as np
import pytest

from graphkd.data.loader import MappedPages, PositionSampler


def draws(steps, **options):
    return list(itertools.islice(PositionSampler(10, **{"batch": 4, "seed": 1, **options}), steps))


def test_every_page_comes_once_an_epoch():
    pages = [index for batch in draws(5) for _, index in batch]
    assert sorted(pages[:10]) == list(range(10)) == sorted(pages[10:])
    assert pages[:10] != pages[10:]


def test_a_resumed_stream_goes_on_where_it_was():
    assert draws(8)[3:] == draws(5, start_step=3)


def test_processes_share_each_batch():
    whole = draws(6)
    shares = [draws(6, rank=rank, world=2) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole


def test_seeds_differ():
    assert draws(3) != draws(3, seed=2)


@pytest.mark.parametrize("other", [0, 5])
def test_augmentation_follows_from_the_position_alone(other):
    pages = MappedPages([{}, {}], lambda page: np.random.rand(), seed=1)
    first = pages[(7, 0)]
    pages[(other, 1)]
    assert pages[(7, 1)] == first
    assert pages[(8, 0)] != first
