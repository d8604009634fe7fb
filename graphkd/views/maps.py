"""The view of text detectors that give maps: DB and EAST."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from graphkd.distill.outputs import Outputs, Targets
from graphkd.distill.taps import record
from graphkd.modeling.maps.bodies import TAPS
from graphkd.modeling.maps.detector import target_maps
from graphkd.views.view import View, view_for


@view_for("DB", "EAST")
class MapView(View):
    """Features p2..p5 and `fused` of the neck, stages c2..c5 of the body, and raw maps.

    `Outputs.maps["text"]` holds text logits in every family. Ground truth is at full resolution,
    also where the maps are not.
    """

    provides = frozenset({"features", "stages", "maps"})
    targets = frozenset({"boxes", "maps"})
    num_classes = 1
    levels = ("p2", "p3", "p4", "p5")

    @property
    def channels(self) -> dict[str, int]:
        shapes = self.model.backbone.output_shape()
        stages = {name: shapes[name].channels for name in TAPS}
        return {**self.model.neck.channels, **stages}

    @property
    def strides(self) -> dict[str, int]:
        levels = dict(zip(self.levels, TAPS.values(), strict=True))
        return {**levels, "fused": TAPS["c2"], **TAPS}

    @property
    def maps(self) -> dict[str, int]:
        return {"text": self.model.map_stride}

    @property
    def text_loss(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return self.model.text_loss

    def step(self, batch: list[dict]) -> tuple[dict[str, Tensor], Outputs, Targets]:
        model = self.model
        parts = {"backbone": model.backbone, "neck": model.neck, "head": model.head}
        with record(parts) as tape:
            losses = model(batch)
        outputs = Outputs(
            features=tape["neck"].output,
            stages=tape["backbone"].output,
            maps=tape["head"].output,
        )
        return losses, outputs, self._targets(batch, tape["backbone"].args[0])

    def _targets(self, batch: list[dict], images: Tensor) -> Targets:
        device = self.model.device
        polygons = tuple(
            tuple(torch.as_tensor(each, device=device) for each in item["polygons"])
            for item in batch
        )
        ignored = tuple(torch.as_tensor(item["ignore"], device=device) for item in batch)
        boxes = tuple(
            _upright_boxes(own, flags) for own, flags in zip(polygons, ignored, strict=True)
        )
        maps = target_maps(batch, images)
        return Targets(
            boxes=boxes,
            classes=tuple(each.new_zeros(len(each), dtype=torch.int64) for each in boxes),
            image_sizes=tuple(tuple(item["image"].shape[-2:]) for item in batch),
            strides=self.strides,
            num_classes=1,
            polygons=polygons,
            ignored=ignored,
            maps={name: maps[name] for name in ("text", "mask")},
        )

    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        model = self.model
        parts: dict[str, Any] = {}
        if not needs:  # a method without a teacher, in a config that names one
            return Outputs()
        stages = model.backbone(model.preprocess_image(batch).tensor)
        if "stages" in needs:
            parts["stages"] = stages
        if needs & {"features", "maps"}:
            features = model.neck(stages)
            if "features" in needs:
                parts["features"] = features
            if "maps" in needs:
                parts["maps"] = model.head(features["fused"])
        return Outputs(**parts)


def _upright_boxes(polygons: Sequence[Tensor], ignored: Tensor) -> Tensor:
    """(G, 4) x1 y1 x2 y2 of the polygons that are not ignored."""
    kept = [each for each, flag in zip(polygons, ignored.tolist(), strict=True) if not flag]
    if not kept:
        return ignored.new_zeros((0, 4), dtype=torch.float32)
    return torch.stack([torch.cat([each.amin(0), each.amax(0)]) for each in kept])
