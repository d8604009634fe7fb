"""Small made-up batches of student, teacher and targets for the tests of losses."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from torchvision.ops import box_iou

from graphkd.distill.losses.base import LossContext
from graphkd.distill.outputs import Assignment, Dense, Outputs, Regions, Targets

CLASSES = 3
ANCHORS = 2
BINS = 5
PADDED = (96, 128)
STRIDES = (8, 16, 32, 64)
LEVELS = ("p3", "p4", "p5", "p6")
# Maps of the body below the levels, with their strides.
STAGES = {"c3": 8, "c4": 16, "c5": 32}


def context(*, student_channels=8, teacher_channels=8, **changes) -> LossContext:
    """Facts about a made-up pair; a student of another width than the teacher on request."""
    levels = changes.get("levels", LEVELS)
    facts = LossContext(
        channels=dict.fromkeys((*levels, *STAGES), (student_channels, teacher_channels)),
        strides={name: (2 ** int(name[1:]),) * 2 for name in (*levels, *STAGES)},
        levels=levels,
        num_classes=CLASSES,
        text_classes=(0,),
        two_stage=True,
        shared_regions=True,
        same_anchors=True,
        same_box_codes=True,
        bins=(BINS, BINS),
    )
    return replace(facts, **changes)


def outputs(seed, *, images=2, channels=8, padded=PADDED, regions=6, two_stage=True) -> Outputs:
    """Random outputs of one detector with everything present."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=draw)

    sizes = [(math.ceil(padded[0] / s), math.ceil(padded[1] / s)) for s in STRIDES]
    width = 1 if two_stage else CLASSES
    features = {
        level: random(images, channels, *size) for level, size in zip(LEVELS, sizes, strict=True)
    }
    dense = Dense(
        logits=tuple(random(images, ANCHORS * width, *size) for size in sizes),
        deltas=tuple(random(images, ANCHORS * 4, *size) for size in sizes),
        levels=LEVELS,
        decode=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)).apply_deltas,
    )
    total = images * regions
    sampled = Regions(
        boxes=tuple(region_boxes(regions) for _ in range(images)),
        features=random(total, channels, 7, 7),
        logits=random(total, CLASSES + 1),
        deltas=random(total, CLASSES * 4) if two_stage else None,
    )
    edges = tuple(random(images, ANCHORS * 4 * (BINS + 1), *size) for size in sizes)
    dense = replace(dense, distributions=edges)
    body = {
        name: random(images, channels, *size)
        for name, size in zip(STAGES, sizes[: len(STAGES)], strict=True)
    }
    return Outputs(features=features, dense=dense, regions=sampled, stages=body)


def region_boxes(count) -> torch.Tensor:
    """Boxes that walk over the page, so that neighbours overlap a little."""
    corner = torch.arange(count, dtype=torch.float32)[:, None] * torch.tensor([9.0, 7.0])
    return torch.cat([corner, corner + torch.tensor([30.0, 20.0])], 1)


def anchors() -> tuple[torch.Tensor, ...]:
    """Square and wide anchors of about three strides on every cell."""
    levels = []
    for stride in STRIDES:
        ys = (torch.arange(math.ceil(PADDED[0] / stride)) + 0.5) * stride
        xs = (torch.arange(math.ceil(PADDED[1] / stride)) + 0.5) * stride
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        centre = torch.stack([x, y, x, y], -1)[:, :, None]
        half = stride * torch.tensor([[-1.5, -1.5, 1.5, 1.5], [-2.2, -1.1, 2.2, 1.1]])
        levels.append((centre + half).reshape(-1, 4))
    return tuple(levels)


def targets(*, images=2, regions=6, empty=False) -> Targets:
    """Two boxes an image, every third region of it background; or pages without any object."""
    boxes = torch.tensor([[8.0, 8.0, 40.0, 32.0], [30.0, 20.0, 110.0, 88.0]])
    classes = torch.tensor([0, 2])
    labels = torch.tensor([0, 2, CLASSES]).repeat(math.ceil(regions / 3))[:regions]
    if empty:
        boxes, classes, labels = boxes[:0], classes[:0], torch.full_like(labels, CLASSES)
    matched = region_boxes(regions) + 1
    return Targets(
        boxes=(boxes,) * images,
        classes=(classes,) * images,
        image_sizes=((90, 120),) * images,
        strides={**dict(zip(LEVELS, STRIDES, strict=True)), **STAGES},
        num_classes=CLASSES,
        region_labels=labels.repeat(images),
        region_boxes=matched.repeat(images, 1),
        region_levels=torch.zeros(images * regions, dtype=torch.int64),
        anchors=anchors(),
        assignment=assignment(boxes, images=images),
    )


def assignment(boxes, *, images) -> Assignment:
    """Anchors of an IoU of 0.4 and more belong to the box they overlap most."""
    places = torch.cat(anchors())
    owners = torch.full((len(places),), -1)
    if len(boxes):
        overlap, best = box_iou(boxes, places).max(0)
        owners = torch.where(overlap >= 0.4, best, -1)
    centres = (places[:, :2] + places[:, 2:]) / 2
    valid = (centres < torch.tensor([120.0, 90.0])).all(1)
    owners = torch.where(valid, owners, -1)
    thresholds = torch.full((len(boxes),), 0.4)
    return Assignment((owners,) * images, (valid,) * images, (thresholds,) * images)


def change(item: Outputs, function) -> Outputs:
    """The same outputs with `function` on every tensor but the boxes."""
    dense, sampled = item.dense, item.regions
    if dense is not None:
        parts = ("logits", "deltas", "distributions")
        maps = {part: tuple(map(function, getattr(dense, part))) for part in parts}
        dense = replace(dense, **maps)
    if sampled is not None:
        sampled = replace(
            sampled,
            features=function(sampled.features),
            logits=function(sampled.logits),
            deltas=None if sampled.deltas is None else function(sampled.deltas),
        )
    features = {name: function(each) for name, each in item.features.items()}
    body = {name: function(each) for name, each in item.stages.items()}
    return Outputs(features=features, dense=dense, regions=sampled, stages=body)


def tensors(item: Outputs) -> dict[str, list[torch.Tensor]]:
    """All tensors but the boxes, by the part of `needs` they belong to."""
    parts = {"features": list(item.features.values()), "stages": list(item.stages.values())}
    if item.dense is not None:
        parts["dense"] = [*item.dense.logits, *item.dense.deltas, *item.dense.distributions]
    if item.regions is not None:
        parts["region_features"] = [item.regions.features]
        predictions = (item.regions.logits, item.regions.deltas)
        parts["region_predictions"] = [each for each in predictions if each is not None]
    return parts


@pytest.fixture
def toy() -> SimpleNamespace:
    """The makers above with their constants."""
    return SimpleNamespace(
        context=context,
        outputs=outputs,
        targets=targets,
        change=change,
        tensors=tensors,
        classes=CLASSES,
        anchors_a_cell=ANCHORS,
        bins=BINS,
        padded=PADDED,
        strides=STRIDES,
        levels=LEVELS,
    )
