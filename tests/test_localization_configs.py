"""Every yaml of projects/LocalizationDistillation loads with every data set, builds, and takes a
real step on tiny pages.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage

from graphkd.config import load_cfg
from graphkd.data.catalog import dataset_classes
from graphkd.distill.run_teacher import load_teacher_cfg
from graphkd.engine.build import build_distiller, build_student
from graphkd.tasks.base import task_of
from tests.small import page
from tests.test_configs import DATA

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "projects" / "LocalizationDistillation" / "configs"
FILES = sorted(FOLDER.rglob("*.yaml"))
TEACHERS = [path for path in FILES if path.parent.name == "teachers"]
RUNS = [path for path in FILES if path not in TEACHERS]
# Its teacher is the running average of the student.
AVERAGED = [path for path in RUNS if path.stem.startswith("ema_")]


def names(paths):
    return pytest.mark.parametrize("path", paths, ids=[str(p.relative_to(FOLDER)) for p in paths])


@cache
def load(path: Path, data: str = ""):
    cfg = load_cfg(path, ["DATASETS.NAME", data, "MODEL.DEVICE", "cpu"])
    cfg.freeze()
    return cfg


def step(model: torch.nn.Module, batch: list[dict]) -> dict[str, torch.Tensor]:
    with EventStorage(0):
        losses = model.train()(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    return losses


def batch_of(cfg) -> list[dict]:
    """Two pages whose classes the model has, small, since some of the models are large."""
    batch = [page(3, seed=1, size=(64, 64)), page(0, seed=2, size=(64, 64))]
    for item in batch:
        item["instances"].gt_classes %= cfg.MODEL.GFL.NUM_CLASSES
    return batch


@names(FILES)
@pytest.mark.parametrize("data", ["", *DATA])
def test_it_fits_its_data(path, data):
    cfg = load(path, data)
    assert path.read_text().startswith("# ")
    assert len(task_of(cfg).classes(cfg, source=path)) == cfg.MODEL.GFL.NUM_CLASSES
    assert not set(cfg.DATASETS.TRAIN) & {*cfg.DATASETS.VAL, *cfg.DATASETS.TEST}


@names([path for path in RUNS if path not in AVERAGED])
@pytest.mark.parametrize("data", ["", *DATA])
def test_the_teacher_learnt_the_same_classes_on_the_same_pages(path, data):
    cfg = load(path, data)
    teacher = load_teacher_cfg(cfg, source=path)
    assert ROOT / cfg.DISTILL.TEACHER.CONFIG in FILES
    assert teacher.DATASETS == cfg.DATASETS
    assert dataset_classes(teacher.DATASETS.TRAIN) == dataset_classes(cfg.DATASETS.TRAIN)
    assert teacher.MODEL.GFL.NUM_CLASSES == cfg.MODEL.GFL.NUM_CLASSES


def test_every_file_has_a_folder_of_its_own():
    folders = {load(path, data).OUTPUT_DIR for path in FILES for data in ("", "prima")}
    assert len(folders) == 2 * len(FILES)


@names(TEACHERS)
def test_a_teacher_takes_a_step(path):
    cfg = load(path)
    model = build_student(cfg)
    step(model, batch_of(cfg))
    for key, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key


@names(RUNS)
def test_a_pair_takes_a_distilled_step(path):
    cfg = load(path)
    student = build_student(cfg)
    model = build_distiller(cfg, student, source=path, trained=False)
    losses = step(model, batch_of(cfg))
    for method in cfg.DISTILL.LOSSES:
        terms = [value for key, value in losses.items() if key.startswith(f"loss_kd_{method}_")]
        assert sum(terms) > 0, method
    for key, weight in student.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key
