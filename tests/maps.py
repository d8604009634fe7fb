"""Small map detectors, drawn pages of text lines and mapped items for tests."""

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

from graphkd.config import get_cfg
from graphkd.modeling.maps import add_map_config
from graphkd.modeling.maps.labels import label_maker
from graphkd.modeling.network import build_network


def map_cfg(architecture: str = "DB", *overrides: str) -> CfgNode:
    """The config of the smallest DB or EAST, on the CPU."""
    cfg = get_cfg()
    if "MAPS" not in cfg.MODEL:
        add_map_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_map_backbone"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    cfg.INPUT.FORMAT = "RGB"
    cfg.merge_from_list(list(overrides))
    return cfg


def map_model(architecture: str = "DB", *overrides: str, seed: int = 0) -> nn.Module:
    """A small map detector with random weights."""
    torch.manual_seed(seed)
    return build_network(map_cfg(architecture, *overrides))


def drawn_lines(count: int, *, seed: int, size: tuple[int, int], turn: float = 0.0):
    """A grey page (H, W, 3) uint8 with bars of strokes as lines, and their polygons (4, 2)."""
    random = np.random.default_rng(seed)
    height, width = size
    image = np.full((height, width, 3), 235, np.uint8)
    polygons = []
    step = height / max(count, 1)
    for index in range(count):
        tall = min(step * 0.6, random.uniform(16, 24))
        left, right = random.uniform(5, 0.2 * width), random.uniform(0.7 * width, width - 5)
        top = index * step + random.uniform(2, max(step - tall - 2, 2.1))
        box = np.array([[left, top], [right, top], [right, top + tall], [left, top + tall]])
        angle = np.deg2rad(random.uniform(-turn, turn))
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        box = (box - box.mean(0)) @ rotation + box.mean(0)
        along, down = box[1] - box[0], box[3] - box[0]
        for at in np.arange(0.01, 0.99, 7 / (right - left)):
            ends = box[0] + at * along, box[0] + at * along + down
            points = [tuple(int(v) for v in np.round(end)) for end in ends]
            cv2.line(image, *points, (30, 30, 30), 2)
        polygons.append(box.astype(np.float32))
    return image, polygons


def map_item(cfg: CfgNode, lines: int = 4, *, seed: int = 0, size=(128, 160), turn=0.0) -> dict:
    """A mapped training item of a drawn page."""
    image, polygons = drawn_lines(lines, seed=seed, size=size, turn=turn)
    ignore = np.zeros(len(polygons), bool)
    maps = label_maker(cfg)(polygons, ignore, *size, 0.0)
    return {
        "image": torch.as_tensor(image.transpose(2, 0, 1).copy()),
        "height": size[0],
        "width": size[1],
        "image_id": seed,
        "file_name": f"page{seed}.png",
        "polygons": tuple(polygons),
        "ignore": ignore,
        "progress": 0.0,
        "maps": {name: torch.as_tensor(each) for name, each in maps.items()},
    }
