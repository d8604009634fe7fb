"""Small made-up batches of text detectors: maps, pyramid and stages of student and teacher."""

from dataclasses import replace

import torch
from torch.nn import functional as F

from graphkd.distill.losses.base import LossContext
from graphkd.distill.outputs import Outputs, Targets

PADDED = (64, 96)
LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
STAGES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
WIDTHS = {"c2": 6, "c3": 8, "c4": 10, "c5": 12}


def text_loss(logits, labels, mask):
    """Cross entropy over the mask, five times as heavy, in place of a detector's own."""
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return 5 * (loss * mask).sum() / mask.sum().clamp(min=1)


def context(*, width=8, teacher_width=8, stride=1, teacher_stride=None, **changes) -> LossContext:
    """Facts about a pair of text detectors whose text maps have `stride`."""
    levels = dict.fromkeys(LEVELS, (width, teacher_width))
    stages = {name: (each, each) for name, each in WIDTHS.items()}
    strides = {**LEVELS, **STAGES, "fused": 4}
    facts = LossContext(
        channels={**levels, "fused": (2 * width, 2 * teacher_width), **stages},
        strides={name: (each, each) for name, each in strides.items()},
        levels=tuple(LEVELS),
        num_classes=1,
        maps={"text": (stride, teacher_stride or stride)},
        text_loss=text_loss,
    )
    return replace(facts, **changes)


def outputs(seed, *, images=2, width=8, stride=1, padded=PADDED) -> Outputs:
    """Random outputs of one text detector."""
    draw = torch.Generator().manual_seed(seed)

    def random(channels, step):
        return torch.randn(images, channels, padded[0] // step, padded[1] // step, generator=draw)

    levels = {name: random(width, step) for name, step in LEVELS.items()}
    return Outputs(
        features={**levels, "fused": random(2 * width, 4)},
        stages={name: random(WIDTHS[name], step) for name, step in STAGES.items()},
        maps={"text": 3 * random(1, stride)},
    )


def targets(*, images=2, empty=False, masked=False, progress=0.75) -> Targets:
    """One line of text a page, padding at the right; pages without text, or without any mask."""
    text = torch.zeros(images, 1, *PADDED)
    mask = torch.ones_like(text)
    mask[..., 80:] = 0
    boxes = torch.tensor([[8.0, 16.0, 64.0, 32.0]])
    if empty:
        boxes = boxes[:0]
    else:
        text[..., 16:32, 8:64] = 1
    return Targets(
        boxes=(boxes,) * images,
        classes=(torch.zeros(len(boxes), dtype=torch.int64),) * images,
        image_sizes=((60, 80),) * images,
        strides={**LEVELS, **STAGES, "fused": 4},
        num_classes=1,
        maps={"text": text, "mask": torch.zeros_like(mask) if masked else mask},
        progress=progress,
    )


def change(item: Outputs, function) -> Outputs:
    """The same outputs with `function` on every tensor."""
    parts = ("features", "stages", "maps")
    return replace(
        item, **{part: {k: function(v) for k, v in getattr(item, part).items()} for part in parts}
    )


def with_gradient(item: Outputs) -> Outputs:
    """The same outputs as leaves that gather gradients."""
    return change(item, lambda each: each.detach().clone().requires_grad_())


def gradients(item: Outputs) -> dict[str, torch.Tensor]:
    """The gradients that arrived, by part and name."""
    parts = {"features": item.features, "stages": item.stages, "maps": item.maps}
    return {
        (part, name): each.grad
        for part, maps in parts.items()
        for name, each in maps.items()
        if each.grad is not None
    }
