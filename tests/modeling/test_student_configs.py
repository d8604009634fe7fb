"""Every yaml under configs/students is a complete model: it builds, trains a step, and infers."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from graphkd.config import get_cfg

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "students"
FILES = sorted(FOLDER.glob("*.yaml"))
MODELS = [path for path in FILES if not path.name.startswith("_")]
# Stepped by test_zoo_steps and test_localization_configs.
DEEP = ("101", "152", "101DCN")


def _cfg(path: Path):
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def _small(cfg):
    # Millions of FC weights and NMS over thousands of boxes are most of a full-size step, and
    # neither is a path of its own.
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 64
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 100
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 32
    return cfg


def _page(height: int, width: int) -> dict:
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor([[10.0, 10, 60, 30], [5, 20, 80, 45]]))
    instances.gt_classes = torch.tensor([0, 1])
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    return {"image": image, "instances": instances}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_line_says_what_it_is(path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_input_is_rgb_with_imagenet_statistics_and_no_weights(path):
    cfg = _cfg(path)
    assert cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.PIXEL_MEAN == [123.675, 116.28, 103.53]
    assert cfg.MODEL.PIXEL_STD == [58.395, 57.12, 57.375]
    assert cfg.MODEL.WEIGHTS == ""
    assert not cfg.MODEL.TIMM.PRETRAINED


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_model_builds_with_a_head_a_level(path):
    cfg = _cfg(path)
    model = build_model(_small(cfg))
    kind, size = path.stem.split("_")[0], "tiny" if "tiny" in path.stem else "full"
    names = {"rcnn": cfg.MODEL.RPN, "retinanet": cfg.MODEL.RETINANET, "gfl": cfg.MODEL.GFL}[kind]
    first = 4 if kind == "rcnn" or (kind, size) == ("gfl", "tiny") else 8
    last = 64 if kind == "rcnn" or "pico" in path.stem else 128
    shapes = model.backbone.output_shape()
    strides = [shapes[level].stride for level in names.IN_FEATURES]
    assert strides == [s for s in (4, 8, 16, 32, 64, 128) if first <= s <= last]
    assert model.backbone.size_divisibility == 32
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    "path",
    [path for path in MODELS if not path.stem.endswith(DEEP)],
    ids=lambda path: path.stem,
)
def test_one_step_and_one_page_of_odd_size(path):
    torch.manual_seed(0)
    model = build_model(_small(_cfg(path)))
    with EventStorage():
        losses = model([_page(64, 96), _page(50, 90)])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None, key
        assert torch.isfinite(weight.grad).all(), key
    model.eval()
    with torch.no_grad():
        (result,) = model([{"image": _page(77, 101)["image"], "height": 154, "width": 202}])
    assert result["instances"].image_size == (154, 202)
