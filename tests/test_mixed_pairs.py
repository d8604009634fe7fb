"""Teachers unlike their students, each described by its own yaml: other widths, classes, pixel
statistics, page sizes and families; what cannot be compared is refused in one line.
"""

from functools import cache

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import EventStorage
from PIL import Image, ImageFilter

from graphkd.data.catalog import dataset_classes
from graphkd.data.mapper import PageMapper
from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import LOSSES, import_methods
from graphkd.engine.build import build_distiller, build_student
from graphkd.errors import UserError
from graphkd.modeling.network import build_network
from tests.small import TEXT_METHODS, page, small_cfg

import_methods()
# These read the heads of one-stage detectors.
METHODS = (
    {name for name, _ in LOSSES if not name.startswith("toy_")} - TEXT_METHODS - {"bckd", "ld"}
)
# dsig and graphkd read the teacher's class scores as its belief in background, which needs no list.
ON_CLASS_SCORES = {"logits", "gid", "decoupled"}
ON_FEATURE_MAPS = {"fitnets", "fgd", "pkd", "mgd", "cwd", "fine_grained", "imitation"}
SHUFFLED = "tiny_shuffled_train"
BATCH = [page(5, seed=1), page(0, seed=2)]
BASE = (
    *("DATASETS.TRAIN", "('pages_tiny_train',)", "DATASETS.TEST", "('pages_tiny_val',)"),
    *("INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MAX_SIZE_TRAIN", "128"),
    *("INPUT.RANDOM_FLIP", "none"),
)
RETINANET = (
    *("MODEL.RETINANET.NUM_CLASSES", "5", "MODEL.RETINANET.NUM_CONVS", "1"),
    *("MODEL.FPN.OUT_CHANNELS", "32"),
)
NINE = ("DATASETS.TRAIN", "('segmonto_train',)", "MODEL.ROI_HEADS.NUM_CLASSES", "9")
REGION_NEEDS = frozenset({"features", "region_features", "region_predictions"})


@pytest.fixture(scope="module", autouse=True)
def shuffled_classes():
    """A data set with the classes of the generated pages in another order."""
    DatasetCatalog.register(SHUFFLED, list)
    classes = dataset_classes(["pages_tiny_train"])
    MetadataCatalog.get(SHUFFLED).set(thing_classes=[*classes[1:], classes[0]])
    yield
    DatasetCatalog.remove(SHUFFLED)
    MetadataCatalog.remove(SHUFFLED)


@pytest.fixture(scope="module")
def teacher_yaml(tmp_path_factory):
    """Writes a teacher's yaml and random weights to a folder; returns the yaml."""

    @cache
    def make(name: str, *overrides: str) -> str:
        folder = tmp_path_factory.mktemp("teacher")
        cfg = small_cfg(name, *BASE, *overrides, "OUTPUT_DIR", str(folder))
        torch.manual_seed(1)
        network = build_network(cfg)
        torch.save({"model": network.state_dict()}, folder / "model_final.pth")
        path = folder / "teacher.yaml"
        path.write_text(cfg.dump())
        return str(path)

    return make


@pytest.fixture(scope="module")
def pair(teacher_yaml, tmp_path_factory):
    """Builds the Distiller of a run whose student is the tiny MobileNetV4 unless another is named.

    `methods` are names, or a dict of names and options.
    """

    def build(methods, teacher: tuple[str, ...], student=("rcnn_tiny_MNv4s",), **options):
        cfg = small_cfg(*student[:1], *BASE, *student[1:])
        cfg.DISTILL.TEACHER.CONFIG = teacher_yaml(*teacher)
        for key, value in options.items():
            cfg.DISTILL.TEACHER[key] = value
        named = methods if isinstance(methods, dict) else dict.fromkeys(sorted(methods), {})
        for name, own in named.items():
            cfg.DISTILL.LOSSES[name] = CfgNode(own)
        torch.manual_seed(0)
        return build_distiller(
            cfg, build_student(cfg), source=tmp_path_factory.getbasetemp() / "run.yaml"
        )

    return build


def check_step(model: Distiller) -> None:
    """Takes a distilled step: every method teaches, nothing is NaN, the teacher stays as it is."""
    before = {key: value.clone() for key, value in model.teacher.model.state_dict().items()}
    with EventStorage(0):
        losses = model.train()(BATCH)
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    for method in model.scheduled:
        terms = [key for key in losses if key.startswith(f"loss_kd_{method}_")]
        assert sum(losses[term] for term in terms) > 0, method
    for name, weight in model.named_parameters():
        if name.startswith("student."):
            assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        else:
            assert weight.grad is None or torch.isfinite(weight.grad).all(), name
    after = model.teacher.model.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in after.items())


def check_refused(build, method: str, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        build()
    message = str(caught.value)
    assert f"run.yaml: DISTILL.LOSSES.{method}" in message and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("width", ["32", "96"])
def test_every_method_teaches_across_widths(pair, width):
    model = pair(METHODS, ("rcnn_tiny_R18", "MODEL.FPN.OUT_CHANNELS", width))
    assert (model.view.channels["p3"], model.teacher.view.channels["p3"]) == (64, int(width))
    check_step(model)
    adapters = dict(model.losses.named_parameters())
    assert ON_FEATURE_MAPS - {"pkd"} <= {name.split(".")[0] for name in adapters}
    reached = {name.split(".")[0] for name, weight in adapters.items() if weight.grad is not None}
    assert reached == {name.split(".")[0] for name in adapters}


@pytest.mark.parametrize("method", sorted(ON_CLASS_SCORES))
@pytest.mark.parametrize(
    "teacher", [NINE, ("DATASETS.TRAIN", f"('{SHUFFLED}',)")], ids=["others", "another order"]
)
def test_class_scores_of_other_classes_are_refused(pair, method, teacher):
    words = ("different class lists",)
    check_refused(lambda: pair({method}, ("rcnn_tiny_R18", *teacher)), method, *words)


def test_box_terms_of_other_classes_are_refused(pair):
    options = {"dsig": {"CLASS_WEIGHT": 3.0}}
    words = ("different class lists", "CLASS_WEIGHT")
    check_refused(lambda: pair(options, ("rcnn_tiny_R18", *NINE)), "dsig", *words)


def test_a_teacher_of_other_classes_teaches_all_but_class_scores(pair):
    model = pair(METHODS - ON_CLASS_SCORES, ("rcnn_tiny_R18", *NINE))
    assert model.teacher.view.num_classes == 9 and model.view.num_classes == 5
    check_step(model)


@pytest.mark.parametrize("one_stage", ["student", "teacher"])
def test_feature_maps_are_shared_by_mixed_families(pair, one_stage):
    models = {"student": ("rcnn_tiny_MNv4s",), "teacher": ("rcnn_tiny_R18",)}
    models[one_stage] = ("retinanet_R18", *RETINANET)
    check_step(pair(ON_FEATURE_MAPS, **models))
    check_refused(lambda: pair({"graphkd"}, **models), "graphkd", "two-stage", "fitnets")


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """A colourful smooth picture of 192 x 256 pixels, and itself at half the size."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 192, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(6))
    picture = Image.fromarray(
        np.clip((np.asarray(picture) - 128.0) * 12 + 128, 0, 255).astype("u1")
    )
    folder = tmp_path_factory.mktemp("pictures")
    picture.save(folder / "large.png")
    picture.resize((96, 128), Image.Resampling.BOX).save(folder / "small.png")
    return folder


def read(path, cfg) -> dict:
    with Image.open(path) as picture:
        width, height = picture.size
    return PageMapper(cfg, is_train=True)(
        {"file_name": str(path), "width": width, "height": height, "annotations": []}
    )


CAFFE = (
    *("INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"),
    *("MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"),
)
OWN = ("MODEL.PIXEL_MEAN", "[240.0, 230.0, 220.0]", "MODEL.PIXEL_STD", "[20.0, 30.0, 40.0]")


@pytest.mark.parametrize("student", [(), CAFFE], ids=["RGB student", "BGR student"])
@pytest.mark.parametrize("teacher", [(), CAFFE, OWN], ids=["RGB", "BGR", "own statistics"])
def test_the_teacher_sees_the_page_as_if_it_had_read_it_itself(pair, coloured, student, teacher):
    """The page from the student's reader, against the same file through the teacher's reader."""
    model = pair({"fitnets"}, ("rcnn_tiny_R18", *teacher), ("rcnn_tiny_MNv4s", *student))
    cfgs = [small_cfg("rcnn_tiny_R18", *BASE, *each) for each in (student, teacher)]
    shown, own = (read(coloured / "small.png", cfg) for cfg in cfgs)
    seen = model.teacher.observe([shown], None, frozenset({"features"})).features
    network = model.teacher.model
    with torch.no_grad():
        alone = network.backbone(network.preprocess_image([own]).tensor)
        turned = {**own, "image": own["image"].flip(0)}
        wrong = network.backbone(network.preprocess_image([turned]).tensor)
    assert len(seen) == 5
    for level, maps in seen.items():
        torch.testing.assert_close(maps, alone[level])
        assert not torch.allclose(maps, wrong[level])


@pytest.mark.parametrize("method", ["pfi", "proposals", "rank_mimicking"])
def test_unlike_anchors_are_not_compared_one_by_one(pair, method):
    other = ("MODEL.ANCHOR_GENERATOR.SIZES", "[[20], [40], [80], [160], [320]]")
    check_refused(lambda: pair({method}, ("rcnn_tiny_R18", *other)), method, "ANCHOR_GENERATOR")


def test_anchors_moved_by_other_codes_are_not_compared(pair):
    other = ("MODEL.RPN.BBOX_REG_WEIGHTS", "(2.0, 2.0, 1.0, 1.0)")
    check_refused(lambda: pair({"proposals"}, ("rcnn_tiny_R18", *other)), "proposals", "RPN")


@pytest.mark.parametrize(
    "method, options", [("logits", {}), ("gid", {}), ("dsig", {"BOX_WEIGHT": 1.0})]
)
@pytest.mark.parametrize(
    "other",
    [
        ("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "(5.0, 5.0, 2.0, 2.0)"),
        ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
    ],
    ids=["weights", "agnostic"],
)
def test_deltas_that_mean_other_boxes_are_not_compared(pair, method, options, other):
    build = {method: options}
    check_refused(lambda: pair(build, ("rcnn_tiny_R18", *other)), method, "box deltas")


def test_class_scores_alone_are_compared_whatever_deltas_mean(pair):
    other = ("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "(5.0, 5.0, 2.0, 2.0)")
    check_step(pair({"logits": {"REGRESSION_WEIGHT": 0.0}}, ("rcnn_tiny_R18", *other)))


@pytest.mark.parametrize("wanted", [True, False])
def test_the_teacher_alone_is_compiled_on_request(pair, wanted):
    model = pair({"fitnets"}, ("rcnn_tiny_R18",), COMPILE=wanted)
    bodies = [each.backbone.bottom_up for each in (model.teacher.model, model.student)]
    assert [body._compiled_call_impl is not None for body in bodies] == [wanted, False]
