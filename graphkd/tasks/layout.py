"""The task `layout`: regions of a page as boxes with classes, scored by COCO AP."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from torch import nn

from graphkd.data.catalog import check_scorable, dataset_classes, text_classes, training_dicts
from graphkd.data.mapper import PageMapper
from graphkd.errors import UserError
from graphkd.evaluation.coco import Found, evaluate, find_boxes
from graphkd.evaluation.matching import best_thresholds
from graphkd.evaluation.voc import has_difficult
from graphkd.modelfile import ModelFile
from graphkd.modeling.dense import add_gfl_config
from graphkd.modeling.network import HEAD_NODES, build_network
from graphkd.predict.detector import Predictor
from graphkd.tasks.base import Metric, Task


class LayoutTask(Task):
    """Detectors of layout regions: Faster R-CNN, RetinaNet, GFL and their kin."""

    name = "layout"
    metrics = (
        Metric("AP", about="COCO box AP, the mean over IoU 0.50 to 0.95 and classes, 0 to 100"),
        Metric("AP50"),
        Metric("AP75"),
    )
    more_metrics = (
        Metric("AR100"),
        Metric("VOC_AP"),
        Metric("VOC_AP50"),
        Metric("VOC_AP75"),
    )
    primary = "AP"

    def add_config(self, cfg: CfgNode) -> None:
        add_gfl_config(cfg)
        # Score-voting suppression in the place of plain one; one-stage detectors alone.
        cfg.TEST.SCORE_VOTING = False
        # Numbers of VOC 2007 beside COCO's: True, or for data sets that mark difficult objects.
        cfg.TEST.VOC = CfgNode({"ENABLED": False, "INCLUSIVE": True, "EXTRA_PIXEL": 0.0})

    def classes(self, cfg: CfgNode, *, source: Path) -> tuple[str, ...]:
        for key in ("TRAIN", "TEST"):
            if not cfg.DATASETS[key]:
                raise UserError(f"{source}: DATASETS.{key} is empty; name a data set")
        names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST]
        classes = dataset_classes(names)
        count = self.class_count(cfg)
        if count != len(classes):
            raise UserError(
                f"{source}: the model has {count} classes, the data set {names[0]} has "
                f"{len(classes)} ({', '.join(classes)}); set NUM_CLASSES to {len(classes)}"
            )
        return classes

    def text_classes(self, cfg: CfgNode) -> tuple[str, ...] | None:
        return text_classes(cfg.DATASETS.TRAIN[0])

    def class_count(self, cfg: CfgNode) -> int:
        return cfg.MODEL[HEAD_NODES.get(cfg.MODEL.META_ARCHITECTURE, "ROI_HEADS")].NUM_CLASSES

    def set_classes(self, cfg: CfgNode) -> None:
        names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST]
        count = len(dataset_classes(names))
        for node in ("ROI_HEADS", *HEAD_NODES.values()):
            cfg.MODEL[node].NUM_CLASSES = count

    def check_data(self, names: Sequence[str]) -> None:
        check_scorable(names)

    def build_model(self, cfg: CfgNode) -> nn.Module:
        return build_network(cfg)

    def training_dicts(self, cfg: CfgNode) -> list[dict]:
        return training_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )

    def mapper(self, cfg: CfgNode, *, is_train: bool) -> Callable[..., dict]:
        return PageMapper(cfg, is_train=is_train)

    def evaluate(
        self,
        cfg: CfgNode,
        model: nn.Module,
        dataset: str,
        *,
        calibration: Mapping[str, Any],
        output_dir: Path | None = None,
    ) -> dict[str, Any]:
        found = self._find(cfg, model, dataset)
        if found is None:
            return {}
        thresholds = calibration.get("thresholds", {})
        voc = None
        if cfg.TEST.VOC.ENABLED or has_difficult(found.truth):
            voc = {"inclusive": cfg.TEST.VOC.INCLUSIVE, "extra_pixel": cfg.TEST.VOC.EXTRA_PIXEL}
        return evaluate(found, thresholds=thresholds, voc=voc, output_dir=output_dir)

    def calibrate(self, cfg: CfgNode, model: nn.Module, dataset: str) -> dict[str, Any]:
        """Finds the score threshold of each class with the best F1 on the validation pages."""
        found = self._find(cfg, model, dataset)
        return {} if found is None else {"thresholds": best_thresholds(found.truth, found.results)}

    def _find(self, cfg: CfgNode, model: nn.Module, dataset: str) -> Found | None:
        mapper = PageMapper(cfg, is_train=False)
        loader = build_detection_test_loader(cfg, dataset, mapper=mapper)
        return find_boxes(model, loader, dataset, classes=dataset_classes([dataset]))

    def export(self, stored: ModelFile) -> Any:
        from graphkd.export.boxes import BoxExporter

        return BoxExporter(stored)

    def report_sections(
        self, runs: Sequence[Any], options: Any, *, say: Callable[[str], None]
    ) -> tuple[list[Any], list[str]]:
        from graphkd.tasks.layout_report import layout_sections

        return layout_sections(runs, options, say=say)

    def predictor(self, stored: ModelFile, *, device: str) -> Predictor:
        from graphkd.predict.torch_detector import TorchDetector

        return TorchDetector(stored, device=device)


TASK = LayoutTask()
