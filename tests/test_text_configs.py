"""Every yaml of maps in projects/TextDetection loads, builds and takes a real step, with every
method.
"""

from functools import cache
from pathlib import Path

import pytest
import torch

from graphkd.config import load_cfg
from graphkd.distill.run_teacher import load_teacher_cfg
from graphkd.engine.build import build_distiller, build_student
from graphkd.engine.solver import build_optimizer, check_settings
from graphkd.tasks.base import task_of
from graphkd.text.decode import decoder_for
from tests.maps import map_item

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "projects" / "TextDetection" / "configs"
PARTS = ("students", "datasets", "methods", "schedules")
KINDS = ("DB", "EAST")
DATA = sorted(path.stem for path in (FOLDER / "datasets").glob("[!_]*.yaml"))


@cache
def load(path: Path, data: str = ""):
    cfg = load_cfg(path, ["DATASETS.NAME", data, "MODEL.DEVICE", "cpu"])
    cfg.freeze()
    return cfg


EVERY = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.parent.name not in PARTS]
# One-stage detectors have tests of their own.
FILES = [path for path in EVERY if load(path).MODEL.META_ARCHITECTURE in KINDS]
TEACHERS = [path for path in FILES if path.parent.name == "teachers"]
RUNS = [path for path in FILES if path not in TEACHERS]


def names(paths):
    return pytest.mark.parametrize("path", paths, ids=[str(p.relative_to(FOLDER)) for p in paths])


def batch_of(cfg) -> list[dict]:
    size = (64, 96)
    return [map_item(cfg, 3, seed=1, size=size), map_item(cfg, 0, seed=2, size=size)]


@names(FILES)
@pytest.mark.parametrize("data", ["", *DATA])
def test_it_fits_its_data(path, data):
    cfg = load(path, data)
    check_settings(cfg)
    assert path.read_text().startswith("# ")
    assert task_of(cfg).name == "text_detection"
    assert task_of(cfg).classes(cfg, source=path) == ("text",)
    assert not set(cfg.DATASETS.TRAIN) & {*cfg.DATASETS.VAL, *cfg.DATASETS.TEST}
    assert decoder_for(cfg)
    assert cfg.INPUT.LINES.CROP % 32 == 0


@names([path for path in RUNS if load(path).DISTILL.TEACHER.CONFIG])
@pytest.mark.parametrize("data", ["", *DATA])
def test_the_teacher_learnt_on_the_same_pages(path, data):
    cfg = load(path, data)
    teacher = load_teacher_cfg(cfg, source=path)
    assert ROOT / cfg.DISTILL.TEACHER.CONFIG in TEACHERS
    assert teacher.DATASETS == cfg.DATASETS and not teacher.DISTILL.LOSSES
    assert teacher.INPUT == cfg.INPUT
    assert teacher.MODEL.META_ARCHITECTURE == cfg.MODEL.META_ARCHITECTURE


def test_every_file_has_a_folder_of_its_own():
    folders = {load(path, data).OUTPUT_DIR for path in FILES for data in ("", *DATA)}
    assert len(folders) == (1 + len(DATA)) * len(FILES)


@names(TEACHERS)
def test_a_teacher_takes_a_step(path):
    cfg = load(path)
    model = build_student(cfg).train()
    optimizer = build_optimizer(cfg, model)
    losses = model(batch_of(cfg))
    sum(losses.values()).backward()
    optimizer.step()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@names(RUNS)
def test_a_pair_takes_a_distilled_step(path):
    cfg = load(path)
    student = build_student(cfg)
    model = build_distiller(cfg, student, source=path, trained=False).train()
    losses = model(batch_of(cfg))
    sum(losses.values()).backward()
    for method in cfg.DISTILL.LOSSES:
        terms = [value for key, value in losses.items() if key.startswith(f"loss_kd_{method}_")]
        assert terms and all(torch.isfinite(value) for value in terms), method
    for key, weight in student.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key
