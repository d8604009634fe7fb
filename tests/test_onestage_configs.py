"""Every yaml of projects/TextDetection/configs/ocrdistill fits its teacher and takes a distilled
step; one-stage text detectors learn, and all methods of one-stage detectors teach them.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from graphkd.compare.plan import contest_of
from graphkd.config import load_cfg
from graphkd.distill.run_teacher import load_teacher_cfg
from graphkd.engine.build import build_distiller, build_student
from graphkd.errors import UserError
from graphkd.evaluation.hmean import measure, score_pages
from graphkd.modeling.network import parameters
from graphkd.tasks.base import task_of
from graphkd.tasks.text_detection import found_lines
from tests.maps import drawn_lines

FOLDER = Path(__file__).resolve().parents[1] / "projects" / "TextDetection" / "configs"
RUNS = sorted((FOLDER / "ocrdistill").glob("*.yaml"))
TEACHERS = sorted((FOLDER / "teachers").glob("csp_*.yaml"))
# Methods of the package that read boxes, anchors, distributions or regions.
DENSE = {
    "ld": {},
    "bckd": {},
    "imitation": {"MASK": "gi"},
    "rank_mimicking": {"OVERLAP": 0.05},
    "graphkd": {"MAX_BACKGROUND": 8},
    "pkd": {},
    "fgd": {},
    "region_features": {"TEACHER_TRUST": True, "TEACHER_SCORE": 0.0},
    "pfi": {"MASK": "objects"},
}


def names(paths):
    return pytest.mark.parametrize("path", paths, ids=[path.stem for path in paths])


@cache
def load(path: Path) -> CfgNode:
    cfg = load_cfg(path, ["MODEL.DEVICE", "cpu"])
    cfg.freeze()
    return cfg


def item(lines: int, *, seed: int, size=(96, 128), ignored: int = 0) -> dict:
    """A mapped page with drawn lines, of which the first are ignored."""
    image, polygons = drawn_lines(lines, seed=seed, size=size, turn=0.0)
    ignore = np.arange(len(polygons)) < ignored
    polygons = tuple(polygon.astype(np.float32) for polygon in polygons)
    boxes = [[*p.min(0), *p.max(0)] for p, flag in zip(polygons, ignore, strict=True) if not flag]
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(np.array(boxes, np.float32).reshape(-1, 4)))
    instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return {
        "image": torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1))),
        "instances": instances,
        "polygons": polygons,
        "ignore": ignore,
        "height": size[0],
        "width": size[1],
        "image_id": seed,
    }


def step(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    with EventStorage(0):
        losses = model.train()([item(4, seed=1, ignored=1), item(0, seed=2)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    return losses


@names([*RUNS, *TEACHERS])
def test_it_says_what_it_is_and_fits_its_data(path):
    cfg = load(path)
    assert path.read_text().startswith("# ") and cfg.TASK == "text_detection"
    assert task_of(cfg).classes(cfg, source=path) == ("text",)
    assert cfg.MODEL.GFL.SCORE_THRESH_TEST == 0.001 and cfg.MODEL.GFL.NMS_THRESH_TEST == 0.6


def test_every_file_has_a_folder_of_its_own():
    assert len({load(path).OUTPUT_DIR for path in (*RUNS, *TEACHERS)}) == len(RUNS + TEACHERS)


@names(RUNS)
def test_the_teacher_is_of_the_size_in_the_name_and_saw_the_same_data(path):
    cfg = load(path)
    teacher = load_teacher_cfg(cfg, source=path)
    sizes = teacher.MODEL.CSP.SIZE + cfg.MODEL.CSP.SIZE
    assert path.stem.startswith(sizes + "_") and teacher.DATASETS == cfg.DATASETS
    assert teacher.INPUT == cfg.INPUT and teacher.TEST == cfg.TEST


def test_the_six_published_scripts_have_their_terms():
    def terms(name):
        losses = load(FOLDER / "ocrdistill" / f"{name}.yaml").DISTILL.LOSSES
        return {key: node.WEIGHT for key, node in losses.items()}

    hint, mask, pfi = {"fitnets": 0.5}, {"region_features": 0.5}, {"pfi": 1.5}
    assert terms("xn_hint") == hint and terms("ln_mask") == terms("xn_mask") == mask
    assert terms("ln_mask_hint") == mask | hint and terms("xn_mask_pfi") == mask | pfi
    assert terms("xn_mask_pfi_hint") == mask | pfi | hint


@pytest.mark.parametrize(
    ("name", "most"), [("csp_n", 2.1e6), ("csp_tiny_n", 2.1e6), ("pico_MNv4s", 1.5e6)]
)
def test_small_students_are_small(name, most):
    path = FOLDER / "students" / f"{name}.yaml"
    model = build_student(load(path))
    assert most / 2 < parameters(model) < most
    assert step(model).keys() == {"loss_cls", "loss_box_reg", "loss_dfl"}


def test_bins_must_reach_half_of_the_longest_page():
    path = FOLDER / "students" / "csp_n.yaml"
    with pytest.raises(UserError, match="REG_MAX 16 at stride 32.*set it to 22 or more"):
        build_student(load_cfg(path, ["MODEL.DEVICE", "cpu", "INPUT.LINES.CROP", "1280"]))


def test_methods_of_the_project_and_of_the_package_are_found_by_name():
    run = FOLDER / "ocrdistill" / "mn_hint.yaml"
    names = ["hint", "region_features+hint", "region_features+pfi", "ld", "graphkd"]
    plan = contest_of([str(run)], [], methods=names, out=Path("out"))
    assert list(plan.methods) == names
    losses = plan.methods["region_features+hint"].DISTILL.LOSSES
    assert losses.fitnets.TAP == "levels" and set(losses) == {"fitnets", "region_features"}
    # Files of the project come first, whatever folder the command is called in.
    plan = contest_of(
        [str(FOLDER / "tiny" / "MV3-DB.yaml")], [], methods=["fitnets"], out=Path("out")
    )
    assert plan.methods["fitnets"].DISTILL.LOSSES.fitnets.TAP == "fused"


@names(RUNS)
def test_a_pair_takes_a_distilled_step(path):
    cfg = load(path)
    student = build_student(cfg)
    losses = step(build_distiller(cfg, student, source=path, trained=False))
    for method in cfg.DISTILL.LOSSES:
        terms = [value for key, value in losses.items() if key.startswith(f"loss_kd_{method}_")]
        assert sum(terms) > 0, method
    for key, weight in student.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key


def test_all_methods_of_one_stage_detectors_teach():
    cfg = load(FOLDER / "ocrdistill" / "mn_hint.yaml").clone()
    cfg.defrost()
    cfg.DISTILL.LOSSES = CfgNode(DENSE)
    student = build_student(cfg)
    losses = step(build_distiller(cfg, student, source=FOLDER, trained=False))
    for method in DENSE:
        assert any(key.startswith(f"loss_kd_{method}_") and v > 0 for key, v in losses.items()), (
            method
        )


def test_eight_pages_are_learnt_by_heart():
    torch.manual_seed(0)
    model = build_student(load(FOLDER / "students" / "csp_tiny_n.yaml"))
    batch = [item(3, seed=seed) for seed in range(8)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(40):
        with EventStorage(0):
            loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = [found_lines(each) for each in model.eval()(batch)]
    truth = [[(polygon, False) for polygon in each["polygons"]] for each in batch]
    pages = [page.above(0.3) for page in measure(truth, found)]
    assert score_pages(pages)["hmean"] > 80
