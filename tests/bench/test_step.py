"""The three parts of a training step of a tiny real pair."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from graphkd.bench import parts
from graphkd.bench.step import measure_step, megabytes, memory_bound, step_table
from graphkd.errors import UserError

SMALL = (
    *("MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", "16", "MODEL.ROI_BOX_HEAD.FC_DIM", "16"),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "40", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16"),
)


def options(root, *overrides, **changes):
    config = str(root / "configs/tiny/R18-MNv4s.yaml")
    defaults = {"size": (96, 64), "batch": 2, "threads": 1}
    return parts.StepOptions(config, (*SMALL, *overrides), **{**defaults, **changes})


@pytest.fixture
def ready(root, tmp_path):
    return parts.prepare(options(root), tmp_path)


def test_plain_and_distilled_begin_alike_and_stay_so(ready):
    plain, distiller = parts.fresh_student(ready), parts.fresh_distiller(ready)
    first, second = plain.state_dict(), distiller.student.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    weights = {name: each.clone() for name, each in plain.named_parameters()}
    for model in (plain, distiller):
        parts.training_step(ready, model)()
    assert all(torch.equal(weights[name], each) for name, each in plain.named_parameters())
    assert all(each.grad is not None for each in plain.parameters())
    assert all(value >= 0 for name, value in distiller.log.items() if name.startswith("kd_raw/"))


def test_the_teacher_sees_the_boxes_of_the_step(ready, monkeypatch):
    distiller = parts.fresh_distiller(ready)
    boxes = parts.student_boxes(ready, parts.fresh_student(ready))
    seen = []
    observe = distiller.teacher.view.observe

    def spy(batch, places, needs):
        seen.append((places, needs))
        return observe(batch, places, needs)

    monkeypatch.setattr(distiller.teacher.view, "observe", spy)
    parts.training_step(ready, distiller)()
    parts.teacher_forward(ready, distiller.teacher, distiller.needs, boxes)()
    (in_step, needs), (alone, alone_needs) = seen
    assert needs == alone_needs == distiller.needs
    assert all(torch.equal(a, b) for a, b in zip(in_step, alone, strict=True))


def test_numbers_and_table(root):
    result = measure_step(options(root, regions=12), steps=2, memory=False)
    whole = result["plain_s"] + result["teacher_s"]
    assert result["overhead"] == pytest.approx(result["distilled_s"] / whole)
    assert result["regions"] == [12, 12] and result["random_teacher"]
    assert {"peak_mb", "spread", "settings", "machine"} <= set(result)
    text = step_table(result)
    assert "overhead" in text and "random ones" in text


def test_a_feature_loss_shows_the_teacher_no_boxes(root):
    result = measure_step(options(root, method="fitnets"), steps=1, memory=False)
    assert result["regions"] is None and result["settings"]["losses"] == ["fitnets"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc here")
def test_resident_memory_is_seen(root):
    # In a process of its own: one that has freed much before may take the block from there.
    code = """
import torch
from graphkd.bench.step import process_memory
before = process_memory("VmRSS")
block = torch.ones(80 * 2**18)
now = process_memory("VmRSS")
assert now - before > 60, (before, now)
assert process_memory("VmHWM") >= now - 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_the_size_of_weights():
    assert megabytes(torch.nn.Linear(2**18, 1)) == pytest.approx(1, rel=1e-4)


def test_the_memory_bound():
    assert memory_bound(100.0, 20.0) == 150
    assert memory_bound(None, 20.0) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": 0}, "--regions is 0"),
        ({"batch": 0}, "1 or more"),
        ({"method": "no_such"}, "no_such"),
        ({"config": "configs/students/rcnn_R18.yaml"}, "DISTILL.LOSSES is empty"),
        ({"config": "configs/retinanet_R50-R18.yaml", "overrides": (), "regions": 5}, "RetinaNet"),
    ],
)
def test_wrong_options_are_a_users_mistake(root, changes, message):
    given = options(root)
    if "config" in changes:
        changes = {**changes, "config": str(root / changes["config"])}
    wrong = parts.StepOptions(**{**vars(given), **changes})
    with tempfile.TemporaryDirectory() as folder, pytest.raises(UserError, match=message):
        parts.prepare(wrong, Path(folder))
