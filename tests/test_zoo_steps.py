"""Every model and every pair of configs/ takes a real training step on tiny pages.

Teachers take a plain step; runs take a distilled one with a teacher that has just taken its own.
Models are those of the yaml in full; pages are small and few regions are sampled. Each teacher with
its students is stepped with another `--data`, so that every data set has its turn; test_configs
shows that the other combinations differ from these in classes, data and schedule alone.
"""

import json
import math
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.utils.events import EventStorage
from PIL import Image, ImageDraw

from graphkd.data.catalog import dataset_classes, text_classes
from graphkd.engine import run
from graphkd.engine.build import build_distiller, build_student
from graphkd.engine.jobs import load_run
from graphkd.tasks.base import task_of
from tests.test_configs import DATA, RUNS, TEACHERS, load, names, teacher_of

# `--data` with which a teacher and its students are stepped; "" for the yaml's own data.
TURNS = {
    "rcnn_R50_pages": "publaynet",
    "rcnn_R101_pages": "doclaynet",
    "rcnn_R152_pages": "prima",
    "rcnn_ViTs_pages": "hj",
    "retinanet_R50_pages": "segmonto",
    "retinanet_R101_pages": "",
    "rcnn_tiny_R18_pages": "",
    "rcnn_tiny_R18_segmonto": "",
}
SMALL = (
    *("MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2"),
    *("INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MAX_SIZE_TRAIN", "128"),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", "200", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "50"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16"),
)


def turn_of(path: Path) -> str:
    """The `--data` of a run or a teacher."""
    return TURNS[path.stem if path in TEACHERS else teacher_of(path)[0].stem]


def write_pages(folder: Path, classes: tuple[str, ...]) -> Path:
    """Two 96 x 128 pages as a COCO json: one with an object of every class, one without any."""
    (folder / "images").mkdir(parents=True)
    page = Image.new("RGB", (96, 128), "white")
    page.save(folder / "images" / "2.png")
    pen = ImageDraw.Draw(page)
    annotations = []
    for index in range(len(classes)):
        left, top = 2 + 31 * (index % 3), 2 + 31 * (index // 3)
        shade = 20 * index
        pen.rectangle([left, top, left + 27, top + 25], fill=(shade, 200 - shade // 2, 90))
        box = {"bbox": [left, top, 28, 26], "area": 28 * 26, "iscrowd": 0}
        annotations.append({"id": index + 1, "image_id": 1, "category_id": index + 1, **box})
    page.save(folder / "images" / "1.png")
    sizes = [{"id": i, "file_name": f"{i}.png", "width": 96, "height": 128} for i in (1, 2)]
    names = [{"id": index + 1, "name": name} for index, name in enumerate(classes)]
    path = folder / "pages.json"
    path.write_text(json.dumps({"images": sizes, "annotations": annotations, "categories": names}))
    return path


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory):
    """Registers two pages with the classes of a data set; returns their name."""
    registered = []

    @cache
    def make(like: str) -> str:
        folder, name = tmp_path_factory.mktemp("pages"), f"tiny_{like}"
        json_file = write_pages(folder / like, dataset_classes([like]))
        about = {"text_classes": text_classes(like)}
        register_coco_instances(name, about, str(json_file), str(folder / like / "images"))
        registered.append(name)
        return name

    yield make
    for name in registered:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="module")
def take_step(tiny_data, tmp_path_factory):
    """Takes the first step of a yaml's training; returns its student and everything it logged."""

    def step(path: Path, **overrides: str) -> tuple[torch.nn.Module, dict[str, float]]:
        data = turn_of(path)
        tiny = ("DATASETS.TRAIN", f"('{tiny_data(load(path, data).DATASETS.TRAIN[0])}',)")
        place = ("OUTPUT_DIR", str(tmp_path_factory.mktemp("run")))
        teacher = [word for pair in overrides.items() for word in pair]
        cfg, source = load_run(str(path), ["DATASETS.NAME", data, *SMALL, *tiny, *place, *teacher])
        torch.manual_seed(0)
        student = build_student(cfg)
        model = build_distiller(cfg, student, source=source) if cfg.DISTILL.LOSSES else student
        classes = task_of(cfg).classes(cfg, source=source)
        training = run.build_trainer(
            cfg, student, model.train(), classes=classes, resume=False, title="step"
        )
        trainer = training.trainer
        with EventStorage(0) as trainer.storage:
            trainer.iter = 0
            trainer.run_step()
            logged = {key: value for key, (value, _) in trainer.storage.latest().items()}
        return student, logged

    return step


@pytest.fixture(scope="module")
def taught(take_step, tmp_path_factory):
    """The weights of a teacher after the first step of its own training, and what it logged."""
    folder = tmp_path_factory.mktemp("weights")

    @cache
    def make(path: Path) -> tuple[Path, dict[str, float]]:
        model, logged = take_step(path)
        check_gradients(model)
        weights = folder / f"{path.stem}.pth"
        torch.save({"model": model.state_dict()}, weights)
        return weights, logged

    yield make
    shutil.rmtree(folder)  # more than a gigabyte


def check_gradients(model: torch.nn.Module) -> None:
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name


def check_losses(logged: dict[str, float]) -> None:
    assert len([key for key in logged if key.startswith("loss_")]) >= 2
    assert all(math.isfinite(value) for value in logged.values())
    assert logged["total_loss"] > 0


@names(TEACHERS)
def test_a_teacher_takes_a_step(path, taught):
    weights, logged = taught(path)
    check_losses(logged)
    assert weights.is_file() and not [key for key in logged if "kd" in key]


@names(RUNS)
def test_a_pair_takes_a_distilled_step(path, taught, take_step):
    weights, _ = taught(teacher_of(path)[0])
    student, logged = take_step(path, **{"DISTILL.TEACHER.WEIGHTS": str(weights)})
    check_gradients(student)
    check_losses(logged)
    for method in load(path).DISTILL.LOSSES:
        terms = [key for key in logged if key.startswith(f"loss_kd_{method}_")]
        assert sum(logged[term] for term in terms) > 0, method


def test_every_data_set_had_its_turn():
    assert {*DATA, ""} == set(TURNS.values())
    assert set(TURNS) == {path.stem for path in TEACHERS}
