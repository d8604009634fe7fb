"""A task from outside the package: discs on noise are segmented by a three-layer network."""

import json

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from graphkd.distill.losses.base import DistillLoss
from graphkd.distill.losses.build import LOSSES
from graphkd.distill.outputs import Outputs, Targets
from graphkd.tasks.base import Metric, Task
from graphkd.views import View, view_for

SIDE = 16


def discs(first, count):
    return [{"image_id": i, "seed": i} for i in range(first, first + count)]


for _name, _first in (("toy_train", 0), ("toy_val", 100), ("toy_test", 200)):
    if _name not in DatasetCatalog:
        DatasetCatalog.register(_name, lambda first=_first: discs(first, 12))


def disc(item, progress=0.0):
    """The item with its image (3, S, S) and mask (1, S, S); `progress` is handed on."""
    draw = np.random.default_rng(item["seed"])
    y, x = np.mgrid[:SIDE, :SIDE] - draw.uniform(4, SIDE - 4, (2, 1, 1))
    mask = np.float32(x**2 + y**2 < 16)
    image = np.float32(200 * mask + draw.normal(0, 40, (3, SIDE, SIDE)))
    tensors = {"image": torch.from_numpy(image), "mask": torch.from_numpy(mask)[None]}
    return {**item, **tensors, "progress": progress}


class ToySegmenter(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, batch):
        images = torch.stack([item["image"] for item in batch]) / 255
        logits = self.head(self.body(images).relu())
        if not self.training:
            return logits
        return {"loss_pixels": cross_entropy(logits, torch.stack([i["mask"] for i in batch]))}


@view_for("ToySegmenter")
class ToyView(View):
    provides = frozenset({"features", "maps"})
    targets = frozenset({"maps"})
    num_classes, levels = 1, ("p0",)

    @property
    def channels(self):
        return {"p0": self.model.head.in_channels}

    @property
    def strides(self):
        return {"p0": 1}

    def step(self, batch):
        kept = {}
        hooks = [
            module.register_forward_hook(lambda m, i, out, name=name: kept.update({name: out}))
            for name, module in self.model.named_children()
        ]
        losses = self.model(batch)
        for hook in hooks:
            hook.remove()
        masks = torch.stack([item["mask"] for item in batch])
        sizes = tuple((SIDE, SIDE) for _ in batch)
        targets = Targets(image_sizes=sizes, strides=self.strides, maps={"text": masks})
        return losses, Outputs(features={"p0": kept["body"]}, maps={"text": kept["head"]}), targets

    def observe(self, batch, boxes, needs):
        images = torch.stack([item["image"] for item in batch]) / 255
        features = self.model.body(images)
        return Outputs(features={"p0": features}, maps={"text": self.model.head(features.relu())})


def _kl(student, other):
    return cross_entropy(student.maps["text"], other.maps["text"].sigmoid())


@LOSSES.register()
class toy_maps(DistillLoss):  # noqa: N801 (the name of the method in yaml)
    needs, reads = frozenset({"maps"}), frozenset({"maps"})

    def __init__(self, context):
        super().__init__()

    def forward(self, student, teacher, targets):
        return {"maps": _kl(student, teacher)}


@LOSSES.register()
class toy_mutual(toy_maps):  # noqa: N801
    needs_peers = True


@LOSSES.register()
class toy_self(toy_maps):  # noqa: N801
    """Self-distillation by a head of its own on the features, weighted by the progress."""

    needs_teacher, needs = False, frozenset({"features"})

    def __init__(self, context):
        super().__init__(context)
        self.head = nn.Conv2d(context.channels["p0"][0], 1, 1)

    def forward(self, student, teacher, targets):
        assert teacher is None
        loss = cross_entropy(self.head(student.features["p0"]), targets.maps["text"])
        self.log = {"progress": torch.tensor(targets.progress)}
        return {"head": (1 - 0.5 * targets.progress) * loss}


class ToyTask(Task):
    name, item = "toy", "disc"
    metrics = (Metric("error", higher_is_better=False, digits=3), Metric("IoU", digits=3))
    primary = "error"
    inference_keys = ("TOY",)

    def add_config(self, cfg):
        cfg.TOY = type(cfg)({"WIDTH": 4})

    def classes(self, cfg, *, source):
        return ("text",)

    def class_count(self, cfg):
        return 1

    def build_model(self, cfg):
        return ToySegmenter(cfg.TOY.WIDTH).to(cfg.MODEL.DEVICE)

    def training_dicts(self, cfg):
        return [item for name in cfg.DATASETS.TRAIN for item in DatasetCatalog.get(name)]

    def mapper(self, cfg, *, is_train):
        return disc

    def batches(self, cfg, dicts, *, seed):
        """Two to four discs a step."""

        def batch(step):
            draw = np.random.default_rng([seed, step])
            return [(10 * step + i, int(draw.integers(len(dicts)))) for i in range(2 + step % 3)]

        return batch

    def _scores(self, model, name):
        model.eval()
        for item in DatasetCatalog.get(name):
            mapped = disc(item)
            with torch.no_grad():
                yield item, model([mapped]).sigmoid()[0], mapped["mask"]

    def evaluate(self, cfg, model, dataset, *, calibration, output_dir=None):
        cut, rows = calibration.get("cut", 0.5), []
        for item, score, mask in self._scores(model, dataset):
            found, wanted = score >= cut, mask > 0.5
            row = {"both": (found & wanted).sum().item(), "any": (found | wanted).sum().item()}
            row["error"] = (found != wanted).float().mean().item()
            rows.append({"id": item["image_id"], "document": str(item["image_id"] // 4), **row})
        if output_dir is not None:
            output_dir.mkdir(parents=True, exist_ok=True)
            (output_dir / "items.json").write_text(json.dumps(rows))
        both, either = (sum(row[key] for row in rows) for key in ("both", "any"))
        error = sum(row["error"] for row in rows) / len(rows)
        return {"error": error, "IoU": both / max(either, 1), "items": len(rows), "seconds": 0.1}

    def calibrate(self, cfg, model, dataset):
        found = list(self._scores(model, dataset))
        errors = {
            cut: sum(((s >= cut) != (m > 0.5)).float().mean().item() for _, s, m in found)
            for cut in (0.3, 0.5, 0.7)
        }
        return {"cut": min(errors, key=errors.get)}


TASK = ToyTask()
