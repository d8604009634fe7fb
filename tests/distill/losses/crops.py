"""Small made-up batches of readers: frames or steps and neck of student and teacher."""

from dataclasses import replace

import torch

from graphkd.distill.losses.base import LossContext
from graphkd.distill.outputs import Outputs, Sequence, Targets

CHARACTERS = "abcd"
CLASSES = len(CHARACTERS) + 1
TEXTS = ("abba", "cd")


def encode(text):
    return [1 + CHARACTERS.index(each) for each in text]


def context(*, sequence="frames", teacher_width=8, stride=4, **changes) -> LossContext:
    """Facts about two readers; `stride` is that of the teacher's neck."""
    facts = LossContext(
        channels={"neck": (8, teacher_width), "p3": (4, 4)},
        strides={"neck": (4, stride), "p3": (2, 2)},
        levels=("p3",),
        num_classes=len(CHARACTERS),
        sequence=sequence,
        encode=encode,
    )
    return replace(facts, **changes)


def outputs(seed, *, time=12, lengths=(12, 7), width=8, scale=2.0, trusted=None) -> Outputs:
    """Random outputs of one reader, with both kinds of decoders."""
    draw = torch.Generator().manual_seed(seed)
    lines = len(lengths)

    def random(*shape):
        return scale * torch.randn(lines, *shape, generator=draw)

    features = {"neck": random(width, 1, time), "p3": random(4, 8, 2 * time)}
    return Outputs(
        features=features,
        frames=Sequence(random(time, CLASSES), torch.tensor(lengths), trusted),
        steps=Sequence(random(5, CLASSES + 1)),
    )


def targets(texts=TEXTS, **changes) -> Targets:
    facts = Targets(num_classes=CLASSES, strides={"neck": 4, "p3": 2}, texts=tuple(texts))
    return replace(facts, **changes)


def change(item: Outputs, function) -> Outputs:
    """The same outputs with `function` on the features and the logits."""
    parts = {
        part: replace(getattr(item, part), logits=function(getattr(item, part).logits))
        for part in ("frames", "steps")
        if getattr(item, part) is not None
    }
    features = {name: function(each) for name, each in item.features.items()}
    return replace(item, features=features, **parts)


def with_gradient(item: Outputs) -> Outputs:
    """The same outputs as leaves that gather gradients."""
    return change(item, lambda each: each.detach().clone().requires_grad_())


def gradients(item: Outputs) -> dict[str, torch.Tensor]:
    """The gradients that arrived, by name."""
    leaves = {**item.features, "frames": item.frames.logits, "steps": item.steps.logits}
    return {name: each.grad for name, each in leaves.items() if each.grad is not None}
