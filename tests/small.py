"""Small real Detectron2 models and pages for tests."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from graphkd.config import load_cfg

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CLASSES = ("text", "title", "list", "table", "figure")
# methods for detectors of text
TEXT_METHODS = frozenset(
    ("ka", "skd", "masket", "dml", "cml", "sdet", "dsn", "deep_supervision", "sd", "sad")
    + ("ctc_mean", "ctc_posterior", "dctc", "gtc", "frame_kl", "dkd")
)


def small_cfg(name: str = "rcnn_tiny_MNv4s", *overrides: str) -> CfgNode:
    """The config of a tiny student with 5 classes and few regions, on the CPU."""
    return load_cfg(
        CONFIGS / "students" / f"{name}.yaml",
        [
            *("MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", "5"),
            *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "32", "MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
            *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "60", "MODEL.RPN.POST_NMS_TOPK_TEST", "40"),
            *overrides,
        ],
    )


def small_model(name: str = "rcnn_tiny_MNv4s", *overrides: str, seed: int = 0) -> nn.Module:
    """A tiny real detector with random weights."""
    torch.manual_seed(seed)
    return build_model(small_cfg(name, *overrides))


def page(objects: int, *, seed: int = 0, size: tuple[int, int] = (128, 96)) -> dict:
    """A mapped page of noise with `objects` random boxes; 0 gives a page without objects."""
    random = torch.Generator().manual_seed(seed)
    height, width = size
    corner = torch.rand(objects, 2, generator=random) * torch.tensor([width * 0.6, height * 0.6])
    extent = 10 + torch.rand(objects, 2, generator=random) * 25
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.cat([corner, corner + extent], dim=1))
    instances.gt_classes = torch.randint(0, 5, (objects,), generator=random)
    image = torch.randint(0, 256, (3, height, width), generator=random, dtype=torch.uint8)
    return {
        "image": image,
        "instances": instances,
        "height": height,
        "width": width,
        "image_id": seed,
        "file_name": f"page{seed}.jpg",
    }
