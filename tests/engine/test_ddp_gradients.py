"""Two real gloo processes, or four, against one process with all their pages.

What makes them equal: DistributedDataParallel averages gradients over the processes, so every term
has to be a sum over a process's pages divided by the number of pages *a process has on average*.
Detectron2's own terms divide by the regions of one process alone; they agree here because both
processes sample equally many regions (eight objects each, all proposals taken).
"""

from datetime import timedelta
from functools import cache

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils.events import EventStorage

from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
from graphkd.distill.teacher import FrozenTeacher
from graphkd.engine.build import loss_context
from graphkd.engine.run import _distributed
from graphkd.views import view_of
from tests.small import CLASSES, page, small_model

WORLD = 2
# The last page has no object; of four processes it is the only page of the last one.
OBJECTS = (5, 3, 8, 0)
NO_BACKGROUND = {"MAX_BACKGROUND": 0}
COVARIANCES = {"AFFINITY": "mahalanobis", "WEIGHT_BY": "mahalanobis"}
# name -> method, its options, factor of Detectron2's own terms
CASES = {
    "graphkd": ("graphkd", {}, 0.0),
    "graphkd, a page without nodes": ("graphkd", NO_BACKGROUND, 0.0),
    "graphkd, running covariances": ("graphkd", {**COVARIANCES, **NO_BACKGROUND}, 0.0),
    "graphkd and the student's own terms": ("graphkd", {}, 1.0),
    "dsig": ("dsig", {"FEATURE_WEIGHT": 0.5, "CLASS_WEIGHT": 3.0, "BOX_WEIGHT": 1.0}, 0.0),
    "dsig, a page without nodes": ("dsig", NO_BACKGROUND, 0.0),
    "proposals, a page without objects": ("proposals", {}, 0.0),
    "rank_mimicking, a page without objects": ("rank_mimicking", {"OVERLAP": 0.3}, 0.0),
}
# GFL's own terms are divided by the counts of all processes, so they take part. name -> losses
DENSE = {
    "ld, bckd": {"ld": {"VLR_CLASSES": 1.0}, "bckd": {}, "imitation": {"MASK": "gi"}},
    "ld beside positives": {
        "ld": {"VLR_EXCLUDES_POSITIVES": True},
        "imitation": {"MASK": "decoupled"},
    },
    "ld of negatives": {"ld": {"REGION": "negatives"}, "imitation": {"MASK": "vlr"}},
}
# Every proposal and every anchor is taken, so that no random draw matters; statistics of a batch
# would differ between two pages and four, so normalisation is frozen or of single pages.
STUDENT = (
    *("MODEL.RESNETS.NORM", "FrozenBN", "MODEL.FPN.NORM", "GN"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "512", "MODEL.ROI_HEADS.POSITIVE_FRACTION", "1.0"),
    *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "20000", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "30"),
)
GFL = ("MODEL.GFL.NUM_CLASSES", "5", "MODEL.GFL.NUM_CONVS", "1")


def distiller(name: str, losses: dict) -> Distiller:
    """A student with a teacher of another width, so that there is an adapter to train."""
    student = small_model(name, *STUDENT, *GFL, seed=0)
    other = small_model(name, *GFL, "MODEL.FPN.OUT_CHANNELS", "32", seed=1)
    teacher = FrozenTeacher(view_of(other), CLASSES, "RGB", "RGB")
    context = loss_context(view_of(student), teacher, CLASSES, ("text", "title", "list"))
    torch.manual_seed(2)
    built = build_losses(losses, context, source="test.yaml")
    return Distiller(student, view_of(student), teacher, built).train()


def one_step(case: str, *, rank: int, world: int) -> dict:
    """Gradients, buffers of the losses and regions of this process after one step."""
    if case in DENSE:
        model, own = distiller("gfl_tiny_R18", DENSE[case]), 1.0
    else:
        method, options, own = CASES[case]
        model = distiller("rcnn_tiny_R18", {method: options})
    batch = [page(objects, seed=10 + index) for index, objects in enumerate(OBJECTS)]
    share = len(batch) // world
    torch.manual_seed(100 + rank)
    wrapped = _distributed(model, torch.device("cpu"))
    with EventStorage(0):
        losses = wrapped(batch[rank * share :][:share])
    sum(value * (1.0 if "_kd_" in name else own) for name, value in losses.items()).backward()
    return {
        "gradients": {name: each.grad for name, each in model.named_parameters()},
        "buffers": {name: each.clone() for name, each in model.losses.named_buffers()},
        "terms": {name: float(value.detach()) for name, value in losses.items()},
    }


def worker(rank: int, folder: str, world: int, cases: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    found = {case: one_step(case, rank=rank, world=world) for case in cases}
    torch.save(found, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def start(folder, world: int, cases: list[str]) -> list[dict]:
    """What each process has after one step of every case."""
    # Forked processes need not load torch and Detectron2 again.
    mp.start_processes(worker, args=(str(folder), world, cases), nprocs=world, start_method="fork")
    return [torch.load(folder / f"{rank}.pth") for rank in range(world)]


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    return start(tmp_path_factory.mktemp("gloo"), WORLD, [*CASES, *DENSE])


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return start(tmp_path_factory.mktemp("gloo"), 4, list(DENSE))


@cache
def together(case: str) -> dict:
    """What one process with all pages has."""
    return one_step(case, rank=0, world=1)


def difference(first: dict, second: dict) -> float:
    """Length of the difference of all tensors over the length of the second ones."""
    assert first.keys() == second.keys() and first
    squares = [(first[name] - second[name]).square().sum() for name in second]
    return float((sum(squares) / sum(each.square().sum() for each in second.values())).sqrt())


@pytest.mark.parametrize("case", [*CASES, *DENSE])
def test_gradients_are_those_of_the_doubled_batch(processes, case):
    whole = together(case)["gradients"]
    assert all(gradient is not None for gradient in whole.values())
    for process in processes:
        assert difference(process[case]["gradients"], whole) < 1e-4


@pytest.mark.parametrize("case", DENSE)
def test_dense_terms_are_those_of_one_process(processes, four, case):
    """Their mean over the processes, and the gradients that it gives."""
    whole = together(case)
    assert all(value > 0 for value in whole["terms"].values())
    for group in (processes, four):
        for name, value in whole["terms"].items():
            mean = sum(process[case]["terms"][name] for process in group) / len(group)
            assert mean == pytest.approx(value, rel=1e-4, abs=1e-7), name
    for process in four:
        assert difference(process[case]["gradients"], whole["gradients"]) < 1e-4


@pytest.mark.parametrize("case", [*CASES, *DENSE])
def test_both_processes_hold_the_same_gradients(processes, case):
    first, second = (process[case]["gradients"] for process in processes)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("graphkd")])
def test_running_statistics_are_equal_and_those_of_the_doubled_batch(processes, case):
    first, second = (process[case]["buffers"] for process in processes)
    assert all(torch.equal(first[name], second[name]) for name in first)
    whole = together(case)["buffers"]
    assert any("moments" in name for name in whole)
    for name, value in whole.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-4)


def test_the_comparison_notices_a_page_left_out(processes):
    case = "graphkd"
    alone = one_step(case, rank=0, world=2)["gradients"]
    assert difference(alone, together(case)["gradients"]) > 1e-2
