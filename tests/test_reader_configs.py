"""Every yaml of projects/TextRecognition reads, builds its model and takes a training step."""

import pytest
import torch

from graphkd.config import find_config, load_cfg
from graphkd.engine.solver import build_optimizer, check_settings
from graphkd.tasks.base import task_of
from tests.reader import READERS, TEXTS, line_batch, line_item

RUNS = sorted([*READERS.glob("*.yaml"), *READERS.glob("tiny/*.yaml")])
TEACHERS = sorted(READERS.glob("teachers/*.yaml"))
STUDENTS = [path for path in READERS.glob("students/*.yaml") if not path.stem.startswith("_")]


def load(path):
    cfg = load_cfg(path, ["MODEL.DEVICE", "cpu"])
    cfg.MODEL.READER.CHARACTERS = sorted(set("".join(TEXTS)))
    return cfg


def name(path):
    return path.relative_to(READERS).with_suffix("").as_posix()


@pytest.mark.parametrize("path", sorted(READERS.rglob("*.yaml")), ids=name)
def test_the_first_line_says_what_it_is(path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", [*RUNS, *TEACHERS], ids=name)
def test_a_run_can_start(path):
    cfg = load(path)
    check_settings(cfg)
    assert task_of(cfg).name == "text_recognition"
    assert cfg.DATASETS.TRAIN and cfg.DATASETS.VAL and cfg.DATASETS.TEST
    assert cfg.OUTPUT_DIR.endswith(path.stem) and cfg.SOLVER.OPTIMIZER == "Adam"
    assert cfg.INPUT.FORMAT == "BGR" and cfg.MODEL.PIXEL_MEAN == [127.5] * 3
    if cfg.DISTILL.TEACHER.CONFIG:
        assert find_config(cfg.DISTILL.TEACHER.CONFIG, near=path).resolve() in TEACHERS


@pytest.mark.parametrize("path", sorted(STUDENTS), ids=name)
def test_a_student_takes_a_step_and_reads(path):
    cfg = load(path)
    torch.manual_seed(0)
    model = task_of(cfg).build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    losses = model(line_batch(("one", "two"), bucket=64))
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    for key, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key
    optimizer.step()
    with torch.no_grad():
        (said,) = model.eval()([line_item("seven", bucket=96)])
    assert isinstance(said["text"], str) and 0 <= said["score"] <= 1


def test_every_student_and_every_row_has_its_run():
    used = "".join(path.read_text() for path in (*RUNS, *TEACHERS))
    assert all(f"students/{path.name}" in used for path in STUDENTS)
    # The rows of the published table: 16, of which one pruned net is given with its channels, too.
    assert len(list(READERS.glob("*.yaml"))) == 17
