"""Tests of graphkd/distill/losses/running.py."""

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.losses.running import RunningScatter, RunningScores


def test_z_scores_within_a_level():
    running = RunningScores(levels=3, decay=0.9)
    scores = torch.tensor([1.0, 3.0, 10.0, 30.0, 999.0])
    levels = torch.tensor([0, 0, 1, 1, 0])
    counted = torch.tensor([True, True, True, True, False])
    running.update_moments(scores, levels, counted)
    z = running.standardise(scores, levels)
    assert torch.allclose(z[:4], torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    assert z[4].item() == pytest.approx(997.0, rel=1e-5)


def test_levels_never_seen_or_without_spread_score_zero():
    running = RunningScores(levels=2, decay=0.9)
    scores, levels = torch.full((3,), 5.0), torch.tensor([0, 0, 1])
    assert not running.standardise(scores, levels).any()
    running.update_moments(scores, levels, torch.tensor([1.0, 1.0, 0.0]))
    assert not running.standardise(scores, levels).any()


def test_close_scores_far_from_zero_keep_their_variance():
    running = RunningScores(levels=1, decay=1.0)
    level = torch.zeros(2, dtype=torch.long)
    for _ in range(200):
        running.update_moments(torch.tensor([-80.01, -80.03]), level, torch.ones(2))
    z = running.standardise(torch.tensor([-80.01, -80.03]), level)
    assert torch.allclose(z, torch.tensor([1.0, -1.0]), atol=2e-3)


def test_old_batches_fade():
    running = RunningScores(levels=1, decay=0.5)
    level = torch.zeros(2, dtype=torch.long)
    for low, high in ((0.0, 2.0), (4.0, 6.0)):
        running.update_moments(torch.tensor([low, high]), level, torch.ones(2))
    # weights 1 and 2: mean (0.5 * 2 + 10) / 3, second moment (0.5 * 4 + 52) / 3
    mean, second = 11 / 3, 54 / 3
    z = running.standardise(torch.tensor([mean + (second - mean**2) ** 0.5]), level[:1])
    assert z.item() == pytest.approx(1.0, rel=1e-4)


def test_histogram_remembers_classes_of_earlier_batches():
    running = RunningScores(levels=1, decay=0.99)
    ones = torch.ones(5)
    running.update_histogram(torch.full((5,), -1.0), torch.zeros(5).bool(), ones)
    assert running.threshold().auc == 0.5
    running.update_histogram(torch.full((5,), 1.0), torch.ones(5).bool(), ones)
    fit = running.threshold()
    assert fit.auc == 1 and fit.sign == 1 and -1 < fit.value < 1.1


def test_scatter_adds_up():
    running = RunningScatter(width=2, decay=0.5)
    running.update(torch.eye(2), torch.tensor(4.0))
    running.update(2 * torch.eye(2), torch.tensor(1.0))
    assert torch.equal(running.scatter, 2.5 * torch.eye(2)) and running.dof == 3


def _worker(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    running = RunningScatter(width=2, decay=0.5)
    running.update(torch.full((2, 2), rank + 1.0), torch.tensor(rank + 3.0))
    torch.save(running.state_dict(), f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()


def test_processes_share_their_sums(tmp_path):
    torch.multiprocessing.spawn(_worker, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert torch.equal(state["scatter"], torch.full((2, 2), 3.0)) and state["dof"] == 7


def test_a_single_process_keeps_its_values():
    values = torch.ones(3)
    assert sum_over_processes(values) is values
