"""Every yaml under configs/ loads, and every run fits its data, its teacher and its losses, with
every data set that `--data` knows.

No model is built: tests/modeling builds every student, and a run may change nothing of a student
but its classes.
"""

from functools import cache
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from graphkd.config import load_cfg
from graphkd.data.catalog import dataset_classes, text_classes
from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.build import build_losses
from graphkd.distill.run_teacher import load_teacher_cfg
from graphkd.engine.run_dir import difference_of
from graphkd.tasks.base import task_of

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PARTS = ("students", "teachers", "datasets", "methods", "schedules")
FILES = sorted(CONFIGS.rglob("*.yaml"))
RUNS = [path for path in FILES if path.parent.name not in PARTS]
TEACHERS = sorted((CONFIGS / "teachers").glob("*.yaml"))
DATASETS = sorted((CONFIGS / "datasets").glob("*.yaml"))
DATA = ("publaynet", "doclaynet", "prima", "hj", "segmonto")
# What published detectors are compared on.
PHOTOGRAPHS = ("coco", "voc")
PAIRS = (
    *("R50-R18", "R101-R50", "R152-R101", "R101-EB0", "R50-MNv2", "ViT-R50"),
    *("retinanet_R50-R18", "retinanet_R50-MNv2", "retinanet_R101-EB0"),
)
# Where runs of one pair on two data sets may differ.
FREE = (
    *("DATASETS", "OUTPUT_DIR", "MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.RETINANET.NUM_CLASSES"),
    "MODEL.GFL.NUM_CLASSES",
    *("SOLVER.IMS_PER_BATCH", "SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.WARMUP_ITERS"),
    *("SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD"),
)


def names(paths):
    return pytest.mark.parametrize("path", paths, ids=[str(p.relative_to(CONFIGS)) for p in paths])


on_every_data_set = pytest.mark.parametrize("data", ["", *DATA])


@cache
def load(path: Path, data: str = "") -> CfgNode:
    cfg = load_cfg(path, ["DATASETS.NAME", data])
    cfg.freeze()
    return cfg


def levels_of(cfg: CfgNode) -> list[str]:
    retinanet = cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    return list(cfg.MODEL.RETINANET.IN_FEATURES if retinanet else cfg.MODEL.RPN.IN_FEATURES)


def teacher_of(path: Path, data: str = "") -> tuple[Path, CfgNode]:
    """A run's teacher: its yaml, which lies in configs/teachers, and its config."""
    cfg = load(path, data)
    yaml = CONFIGS.parent / cfg.DISTILL.TEACHER.CONFIG
    assert yaml in TEACHERS
    return yaml, load_teacher_cfg(cfg, source=path)


@names(FILES)
def test_it_loads_and_its_first_line_says_what_it_is(path):
    load(path)
    assert path.read_text().startswith("# ")


def test_the_documented_pairs_are_there():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(PAIRS)
    assert {path.stem for path in DATASETS} == {*DATA, *PHOTOGRAPHS, "pages", "pages_tiny"}


@names(DATASETS)
def test_class_counts_are_those_of_the_data(path):
    cfg = load(path)
    classes = dataset_classes([*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST])
    nodes = cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET, cfg.MODEL.GFL
    assert {node.NUM_CLASSES for node in nodes} == {len(classes)}


@on_every_data_set
@names(RUNS + TEACHERS)
def test_the_model_has_the_classes_of_its_data_and_never_trains_on_its_test_set(path, data):
    cfg = load(path, data)
    assert len(task_of(cfg).classes(cfg, source=path)) == task_of(cfg).class_count(cfg)
    assert not set(cfg.DATASETS.TRAIN) & {*cfg.DATASETS.VAL, *cfg.DATASETS.TEST}


@on_every_data_set
@names(RUNS)
def test_the_teacher_learnt_the_same_classes_on_the_same_pages(path, data):
    cfg = load(path, data)
    yaml, teacher = teacher_of(path, data)
    assert task_of(teacher).classes(teacher, source=yaml) == task_of(cfg).classes(cfg, source=path)
    assert teacher.DATASETS == cfg.DATASETS
    assert not teacher.DISTILL.LOSSES


# Steps, pages a step, end of warm-up, and steps between evaluations, as each data set had them in
# yamls of its own before there was --data.
SCHEDULES = {
    "": (6000, 8, (4000, 5400), 500, 1000),
    "publaynet": (90000, 16, (60000, 80000), 1000, 10000),
    "doclaynet": (90000, 16, (60000, 80000), 1000, 10000),
    "prima": (90000, 16, (60000, 80000), 1000, 10000),
    "hj": (90000, 16, (60000, 80000), 1000, 10000),
    "segmonto": (6000, 8, (4000, 5400), 500, 1000),
}


@pytest.mark.parametrize("data", SCHEDULES)
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("R50-R18", ("SGD", 0.02, 0.0001)),
        ("retinanet_R50-R18", ("SGD", 0.01, 0.0001)),
        ("teachers/retinanet_R101_pages", ("SGD", 0.01, 0.0001)),
        ("teachers/rcnn_ViTs_pages", ("AdamW", 0.0001, 0.1)),
    ],
)
def test_the_schedule_follows_the_data_and_the_optimizer_stays(name, optimizer, data):
    cfg = load(CONFIGS / f"{name}.yaml", data)
    solver = cfg.SOLVER
    length = (solver.MAX_ITER, solver.IMS_PER_BATCH, solver.STEPS, solver.WARMUP_ITERS)
    assert (*length, cfg.TEST.EVAL_PERIOD) == SCHEDULES[data]
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY) == optimizer


@pytest.mark.parametrize("data", DATA)
@names(RUNS + TEACHERS)
def test_data_changes_nothing_but_data_classes_and_schedule(path, data):
    anchors = ("MODEL.ANCHOR_GENERATOR",)  # the small generated pages bring their own
    assert difference_of(load(path, data), load(path), ignore=(*FREE, *anchors)) is None
    if "tiny" in str(path):
        # Not the thousands of large pages that the published schedules see.
        assert load(path, data).SOLVER == load(path).SOLVER
        assert load(path, data).INPUT == load(path).INPUT


@on_every_data_set
@names(RUNS)
def test_the_losses_take_the_pair(path, data):
    cfg, (_, teacher) = load(path, data), teacher_of(path, data)
    classes, text = dataset_classes(cfg.DATASETS.TRAIN), text_classes(cfg.DATASETS.TRAIN[0])
    levels = tuple(level for level in levels_of(cfg) if level in levels_of(teacher))
    widths = cfg.MODEL.FPN.OUT_CHANNELS, teacher.MODEL.FPN.OUT_CHANNELS
    context = LossContext(
        channels=dict.fromkeys(levels, widths),
        levels=levels,
        num_classes=len(classes),
        same_classes=classes == dataset_classes(teacher.DATASETS.TRAIN),
        text_classes=None if text is None else tuple(map(classes.index, text)),
        two_stage={each.MODEL.META_ARCHITECTURE for each in (cfg, teacher)} == {"GeneralizedRCNN"},
        shared_regions=True,
        same_anchors=True,
        same_box_codes=True,
    )
    assert context.levels
    assert build_losses(cfg.DISTILL.LOSSES, context, source=str(path))


@names(RUNS + TEACHERS)
def test_the_model_is_a_student_file_with_classes_and_anchors_of_the_data(path):
    def plain(cfg: CfgNode) -> CfgNode:
        model = cfg.MODEL.clone()
        model.defrost()
        for node in (model.ROI_HEADS, model.RETINANET, model.GFL):
            node.NUM_CLASSES = 0
        # A data set may bring anchors that fit its boxes.
        del model["ANCHOR_GENERATOR"]
        return model

    students = sorted((CONFIGS / "students").glob("[!_]*.yaml"))
    same = [each.stem for each in students if plain(load(each)) == plain(load(path))]
    assert len(same) == 1
    architecture = same[0].split("_")[-1]
    label = path.stem.split("-")[-1] if path in RUNS else path.stem.split("_")[-2]
    assert architecture == label, "the file name tells another model"


@names(RUNS)
def test_the_file_name_tells_the_teacher(path):
    yaml, _ = teacher_of(path)
    label = path.stem.split("_")[-1].split("-")[0]
    assert yaml.stem.split("_")[-2].startswith(label)
    assert path.stem.startswith("retinanet") == yaml.stem.startswith("retinanet")


def test_every_run_and_teacher_has_a_folder_of_its_own():
    folders = [load(path, data).OUTPUT_DIR for path in RUNS + TEACHERS for data in ("", *DATA)]
    assert len(set(folders)) == len(folders)
    for path in RUNS + TEACHERS:
        folder = Path("output") / path.relative_to(CONFIGS).with_suffix("")
        assert load(path).OUTPUT_DIR == str(folder)
        assert load(path, "prima").OUTPUT_DIR == str(folder.parent / "prima" / folder.name)


def test_the_recipe_without_its_graph_differs_in_nothing_else():
    full, rest = (
        CfgNode.load_yaml_with_base(str(CONFIGS / "methods" / f"{name}.yaml"))["DISTILL"]["LOSSES"]
        for name in ("graphkd_full", "no_graph")
    )
    del full["graphkd"]
    assert full == rest
