import itertools

import numpy as np
import pytest

from graphkd.data.loader import MappedItems, Permutations, StreamSampler
from graphkd.errors import UserError


def draws(steps, *, batch=4, seed=1, batches=None, **options):
    batches = batches or Permutations(10, batch=batch, seed=seed)
    sampler = StreamSampler(batches, **{"length": 8, **options})
    return list(itertools.islice(sampler, steps))


def uneven(step):
    """One to five items, as line batches of one width bucket have."""
    return [(100 * step + i, i) for i in range(1 + step % 5)]


def test_every_item_comes_once_an_epoch():
    items = [index for batch in draws(5) for _, _, index in batch]
    assert sorted(items[:10]) == list(range(10)) == sorted(items[10:])
    assert items[:10] != items[10:]


def test_a_resumed_stream_goes_on_where_it_was():
    assert draws(8)[3:] == draws(5, start_step=3)
    assert draws(8, batches=uneven)[3:] == draws(5, batches=uneven, start_step=3)


def test_processes_share_each_batch():
    whole = draws(6)
    shares = [draws(6, rank=rank, world=2) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole


def test_processes_share_batches_of_any_size():
    def batches(step):
        return uneven(step + 2)[:5]

    whole = draws(3, batches=batches)
    shares = [draws(3, batches=batches, rank=rank, world=2) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole
    assert all(abs(len(a) - len(b)) <= 1 for a, b in zip(*shares, strict=True))


def test_a_step_with_fewer_items_than_processes_is_refused():
    with pytest.raises(UserError, match="step 0 has 1 items for 2 processes"):
        draws(1, batches=uneven, world=2)


def test_seeds_differ():
    assert draws(3) != draws(3, seed=2)


def test_progress_grows_with_the_step_and_ends_at_one():
    shares = [batch[0][0] for batch in draws(10, length=4)]
    assert shares == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("other", [0, 5])
def test_augmentation_follows_from_the_position_alone(other):
    items = MappedItems([{}, {}], lambda item, progress: np.random.rand(), seed=1)
    first = items[(0.0, 7, 0)]
    items[(0.0, other, 1)]
    assert items[(0.5, 7, 1)] == first
    assert items[(0.0, 8, 0)] != first


def test_the_mapper_gets_the_progress():
    items = MappedItems([{}], lambda item, progress: progress, seed=1)
    assert items[(0.25, 3, 0)] == 0.25
