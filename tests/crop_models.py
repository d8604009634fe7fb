"""Small line readers with random weights that write something, and drawn lines for them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from graphkd.config import get_cfg
from graphkd.modelfile import Header, ModelFile, write_safetensors
from graphkd.modeling.network import build_network

CHARACTERS = (*"abcdefgh 0123.", "é")
KINDS = {
    "CRNN": ("CRNN", "MODEL.READER.NECK", "none"),
    "pyramid": ("CRNN", "MODEL.READER.NECK", "D"),
    "blur": ("CRNN", "MODEL.READER.NECK", "A", "MODEL.READER.POOL", "blur"),
    "ResNet": ("CRNN", "MODEL.READER.BODY", "resnet18_se"),
    "STAR": ("STAR", "MODEL.READER.NECK", "none"),
    "RARE": ("RARE", "MODEL.READER.MAX_STEPS", "9"),
}


def reader_cfg(kind="CRNN", *overrides):
    """The config of a small reader; `kind` is a key of KINDS."""
    cfg = get_cfg("text_recognition")
    architecture, *keys = KINDS[kind]
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = architecture, "cpu"
    cfg.MODEL.READER.WIDTH, cfg.MODEL.READER.HIDDEN = 0.35, 12
    cfg.MODEL.READER.CHARACTERS = list(CHARACTERS)
    cfg.MODEL.PIXEL_MEAN = cfg.MODEL.PIXEL_STD = [127.5] * 3
    cfg.INPUT.FORMAT = "BGR"
    if kind == "ResNet":
        small = (
            "STEM",
            "[4, 4, 8]",
            "STAGES",
            "[8, 12, 16, 24]",
            "INNER",
            "[8, 8, 8, 8, 8, 8, 8, 8]",
        )
        keys += [
            f"MODEL.READER.{word}" if place % 2 == 0 else word for place, word in enumerate(small)
        ]
    cfg.merge_from_list([*keys, *overrides])
    return cfg


def reader_model(kind="CRNN", *overrides, seed=0):
    """A small reader in eval mode; its texts have several characters."""
    cfg = reader_cfg(kind, *overrides)
    torch.manual_seed(seed)
    model = build_network(cfg)
    lines = [drawn_line("abc 0123 defgh", width=160, seed=seed) for seed in range(4)]
    lines += [drawn_line("0.123 cab", width=160, seed=9)]
    images = torch.from_numpy(np.stack(lines)).permute(0, 3, 1, 2).float()
    widths = torch.full((len(lines),), 160)
    last = model.decoder.linear
    with torch.no_grad():
        model.train()
        for _ in range(20):  # batch norms that keep the signal alive
            model.features(images, widths)
        model.eval()
        # Logits without a common mean, so that the best class changes from frame to frame.
        logits = model.frames(images, widths)[0].flatten(0, 1)
        scale = 3 / logits.std(0).clamp(min=1e-6)
        last.bias.copy_(scale * (last.bias - logits.mean(0)))
        last.weight *= scale[:, None]
    return cfg, model


def store_reader(path, kind="CRNN", *overrides, seed=0):
    """Writes a small reader as safetensors and returns the path."""
    cfg, model = reader_model(kind, *overrides, seed=seed)
    header = Header(CHARACTERS, task="text_recognition")
    write_safetensors(path, ModelFile(path, cfg, model.state_dict(), header), half=False)
    return path


def drawn_line(text, *, width=None, height=32, seed=0):
    """A line (H, W, 3) uint8 RGB with a text in Pillow's own font on a noisy grey."""
    font = ImageFont.load_default(height * 0.7)
    wide = width or max(12, round(font.getlength(text)) + 10)
    image = Image.new("L", (wide, height), 225)
    ImageDraw.Draw(image).text((4, height * 0.05), text, font=font, fill=30)
    noise = np.random.default_rng(seed).normal(0, 6, (height, wide))
    grey = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def write_crops(folder: Path, count, *, seed=0):
    """Pictures of lines with different widths: name -> text."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, texts = np.random.default_rng(seed), {}
    for number in range(count):
        text = "".join(rng.choice(list("abcdefgh 0123."), int(rng.integers(2, 22)))).strip() or "a"
        height = int(rng.integers(24, 48))
        name = f"{number}.png"
        Image.fromarray(drawn_line(text, height=height, seed=number)).save(folder / name)
        texts[name] = text
    return texts
