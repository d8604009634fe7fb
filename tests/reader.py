"""Small line readers, drawn lines of text and mapped items for tests."""

from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from graphkd.config import get_cfg, load_cfg
from graphkd.modeling.network import build_network
from graphkd.text.prepare import prepare_line

ROOT = Path(__file__).resolve().parents[1]
READERS = ROOT / "projects" / "TextRecognition" / "configs"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "
TEXTS = ("one", "two", "three 3", "four", "fifty5", "six ii", "seven", "0088")
SMALL = ("MODEL.READER.WIDTH", "0.5", "MODEL.READER.HIDDEN", "16")


def reader_cfg(architecture: str = "CRNN", *overrides: str, characters=LETTERS) -> CfgNode:
    """The config of a reader on the CPU."""
    cfg = get_cfg("text_recognition")
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = architecture, "cpu"
    cfg.MODEL.PIXEL_MEAN = cfg.MODEL.PIXEL_STD = [127.5] * 3
    cfg.MODEL.READER.CHARACTERS = list(characters)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.merge_from_list(list(overrides))
    return cfg


def reader(architecture: str = "CRNN", *overrides: str, seed: int = 0, **options) -> nn.Module:
    """A reader with random weights."""
    torch.manual_seed(seed)
    return build_network(reader_cfg(architecture, *overrides, **options))


def published(name: str, *overrides: str, characters: int = 3938) -> nn.Module:
    """The reader of a student's yaml with the charset size of the published ones."""
    cfg = load_cfg(READERS / "students" / f"{name}.yaml", ["MODEL.DEVICE", "cpu", *overrides])
    cfg.MODEL.READER.CHARACTERS = [chr(0x4E00 + i) for i in range(characters)]
    torch.manual_seed(0)
    return build_network(cfg)


def drawn_line(text: str, *, height: int = 32, seed: int = 0) -> np.ndarray:
    """A line (height, W, 3) uint8 RGB of a text in Pillow's own face."""
    font = ImageFont.load_default(24)
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("RGB", (int(right) + 8, 36), "white")
    ImageDraw.Draw(picture).text((4, 2), text, font=font, fill="black")
    pixels = np.asarray(picture).astype(np.int16)
    pixels += np.random.default_rng(seed).integers(-8, 8, pixels.shape[:2])[:, :, None]
    width = round(pixels.shape[1] * height / pixels.shape[0])
    return cv2.resize(pixels.clip(0, 255).astype(np.uint8), (width, height))


def line_item(text: str, *, bucket: int | None = 128, seed: int = 0, height: int = 32) -> dict:
    """A mapped item of a drawn line."""
    pixels, width = prepare_line(drawn_line(text, seed=seed), height=height, bucket=bucket)
    return {
        "image": torch.as_tensor(np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1))),
        "line_width": width,
        "text": text,
        "file_name": f"{text}.png",
        "image_id": text,
        "progress": 0.0,
    }


def line_batch(texts=TEXTS, **options) -> list[dict]:
    """Mapped items of drawn lines of one width."""
    return [line_item(text, seed=seed, **options) for seed, text in enumerate(texts)]


def values(module: nn.Module) -> int:
    """Number of parameters and running statistics."""
    running = [b for name, b in module.named_buffers() if "running_" in name]
    return sum(each.numel() for each in (*module.parameters(), *running))


def convolution_macs(model: nn.Module, *, size: tuple[int, int] = (32, 320)) -> int:
    """Multiplications of the convolutions of body and neck for one line."""
    counts = []

    def count(conv: nn.Conv2d, args: tuple, output: torch.Tensor) -> None:
        counts.append(output.numel() * conv.weight[0].numel())

    convs = [m for part in (model.body, model.neck) for m in part.modules()]
    handles = [m.register_forward_hook(count) for m in convs if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model.eval().neck(model.body(torch.zeros(1, 3, *size)))
    for handle in handles:
        handle.remove()
    return sum(counts)


def write_crops(folder: Path, texts=TEXTS, *, name: str = "train", seed: int = 0) -> Path:
    """Writes drawn lines and their label file; returns its path."""
    rows = []
    for number, text in enumerate(texts):
        place = folder / f"doc{number % 2}" / f"{name}{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn_line(text, seed=seed + number)).save(place)
        rows.append(f"{place.relative_to(folder).as_posix()}\t{text}\n")
    path = folder / f"{name}.tsv"
    path.write_text("".join(rows), encoding="utf-8")
    return path
