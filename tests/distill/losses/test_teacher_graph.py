"""Tests of graphkd/distill/losses/teacher_graph.py."""

from dataclasses import replace

import torch
import torch.distributed
import torch.multiprocessing

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.losses.teacher_graph import RunningScatter, sample_nodes, take
from tests.distill.losses.graph_pages import CLASSES, batch, make_page

OPTIONS = dict(max_background=64, background_ce=0.6)
PAGES = [
    make_page(0, texts=2, figures=1, background=2, easy=3),
    make_page(1, texts=0, figures=0, background=0, easy=2),
    make_page(2, texts=1, figures=1, background=0, easy=1),
]


def test_rows_of_several_images():
    _, teacher, targets = batch(PAGES)
    nodes = sample_nodes(teacher.regions, targets, **OPTIONS)
    assert nodes.counts == [5, 0, 2]
    assert nodes.rows.tolist() == [0, 1, 2, 3, 4, 10, 11]
    assert nodes.labels.tolist() == [0, 1, 2, CLASSES, CLASSES, 0, 2]
    assert torch.equal(nodes.boxes[2], PAGES[2].boxes[:2])
    assert torch.equal(nodes.levels, targets.region_levels[nodes.rows])


def test_rows_are_taken_and_all_of_them_are_not_copied():
    values = torch.arange(6.0).view(3, 2)
    assert torch.equal(take(values, torch.tensor([0, 2])), values[[0, 2]])
    assert len(take(values, torch.tensor([], dtype=torch.long))) == 0
    assert take(values, torch.arange(3)) is values


def test_unknown_levels_are_level_zero():
    _, teacher, targets = batch(PAGES)
    nodes = sample_nodes(teacher.regions, replace(targets, region_levels=None), **OPTIONS)
    assert nodes.levels.tolist() == [0] * 7


def test_teacher_logits_are_only_read_for_background():
    _, teacher, targets = batch(PAGES)
    without = replace(teacher.regions, logits=None)
    nodes = sample_nodes(without, targets, max_background=0, background_ce=0.6)
    assert nodes.counts == [3, 0, 2]


def test_no_image_at_all_and_no_region():
    _, teacher, targets = batch([PAGES[1].take([])])
    nodes = sample_nodes(teacher.regions, targets, **OPTIONS)
    assert nodes.counts == [0] and len(nodes.rows) == 0


# residuals of the first two classes (-1, -2), (1, 2), (-1, 0), (1, 0), none of the third
ROWS = torch.tensor([[0.0, 0.0], [2.0, 4.0], [7.0, 7.0], [9.0, 7.0], [5.0, 5.0]])
LABELS = torch.tensor([0, 0, 2, 2, 3])
SCATTER = torch.tensor([[4.0, 4.0], [4.0, 8.0]])


def scatter():
    return RunningScatter(width=2, num_labels=4, decay=0.5)


def test_scatter_adds_up():
    running = scatter()
    running.update(ROWS, LABELS)
    assert torch.equal(running.scatter, SCATTER) and running.dof == 2
    running.update(ROWS[:2], LABELS[:2])
    assert torch.equal(running.scatter, SCATTER / 2 + torch.tensor([[2.0, 4.0], [4.0, 8.0]]))
    assert running.dof == 2
    factor = running.factor()
    assert torch.equal(factor, factor.tril()) and (factor.diagonal() > 0).all()


def _worker(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    running, own = scatter(), slice(0, 3) if rank else slice(3, 5)
    running.update(ROWS[own], LABELS[own])
    torch.save(running.state_dict(), f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()


def test_processes_share_their_sums(tmp_path):
    """A class of which either process has one region counts as in one process."""
    torch.multiprocessing.start_processes(
        _worker, args=(str(tmp_path),), nprocs=2, start_method="fork"
    )
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        torch.testing.assert_close(state, {"scatter": SCATTER, "dof": torch.tensor(2.0)})


def test_a_single_process_keeps_its_values():
    values = torch.ones(3)
    assert sum_over_processes(values) is values
