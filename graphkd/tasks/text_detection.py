"""The task `text_detection`: lines or words as polygons, scored by hmean."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import nn
from tqdm.auto import tqdm

from graphkd.data import lines
from graphkd.data.line_mapper import LineMapper, add_line_config
from graphkd.errors import UserError
from graphkd.evaluation.coco import document_of
from graphkd.evaluation.hmean import curve, document_lines, measure, score_pages
from graphkd.evaluation.timing import waiter
from graphkd.evaluation.upright import upright_boxes
from graphkd.io import write_json
from graphkd.modelfile import ModelFile
from graphkd.modeling.dense import add_gfl_config
from graphkd.modeling.maps import add_map_config
from graphkd.modeling.maps.labels import label_maker
from graphkd.modeling.network import HEAD_NODES, build_network
from graphkd.predict.detector import Predictor
from graphkd.tasks.base import Metric, Task
from graphkd.text.decode import MapDecoder

CLASSES = ("text",)
# Factors on the unclip distance that the calibration tries; the first of equals is taken. Maps of
# short trainings are blurred and need factors far below 1.
UNCLIP_SCALES = (1.0, 0.9, 1.1, 0.8, 1.2, 0.7, 1.3, 0.6, 0.5, 0.4)
# Score from which polygons are kept for curves over the threshold and for its calibration.
FLOOR = 0.05


@dataclass(frozen=True)
class Lines:
    """What a model found on a data set.

    Attributes:
        pages: the dicts of the data set as published.
        found: for every page a list of (polygon (P, 2) in pixels of the page, score).
        seconds: time inside the model, of the slowest process.
        kept: for every page what a `Recorder` kept; empty without one.
    """

    pages: list[dict]
    found: list[list]
    seconds: float
    kept: list[tuple] = field(default_factory=list)

    @property
    def truth(self) -> list[list[tuple[np.ndarray, bool]]]:
        """For every page a list of (polygon, whether it is ignored)."""
        return [
            [(np.asarray(line["polygon"], np.float64), line["ignore"]) for line in page["lines"]]
            for page in self.pages
        ]


class Recorder:
    """A decoder that keeps the shrunk regions of a page, so that they can be grown again."""

    def __init__(self, decoder: MapDecoder):
        self.decoder, self.pages = decoder, []

    def __call__(self, maps: Mapping, *, size: tuple, original: tuple) -> tuple[list, np.ndarray]:
        self.pages.append((self.decoder.regions(maps["text"][0], size), size, original))
        return [], np.zeros(0)


class TextDetectionTask(Task):
    """Detectors of text: DB and EAST, and one-stage detectors of boxes with one class."""

    name = "text_detection"
    metrics = (
        Metric("hmean", about="harmonic mean of precision and recall at IoU 0.5, in percent"),
        Metric("precision"),
        Metric("recall"),
    )
    more_metrics = (
        Metric("hmean70", about="hmean at IoU 0.7"),
        Metric("DetEval", about="hmean by the rule of ICDAR2013"),
        Metric("line_height_error", higher_is_better=False, unit="%"),
        Metric("splits", higher_is_better=False, about="per 100 lines"),
        Metric("merges", higher_is_better=False, about="per 100 lines"),
        Metric("AP", about="COCO AP of upright boxes; one-stage detectors"),
        Metric("AP50", about="the same at IoU 0.5"),
        Metric("box_precision", about="of upright boxes at IoU 0.5, where F1 is best"),
        Metric("box_recall"),
    )
    primary = "hmean"

    def add_config(self, cfg: CfgNode) -> None:
        add_gfl_config(cfg)
        add_map_config(cfg)
        add_line_config(cfg)
        cfg.TEST.SCORE_VOTING = False

    def classes(self, cfg: CfgNode, *, source: Path) -> tuple[str, ...]:
        for key in ("TRAIN", "TEST"):
            if not cfg.DATASETS[key]:
                raise UserError(f"{source}: DATASETS.{key} is empty; name a data set")
        for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST)):
            lines.require_lines(name)
        if self.class_count(cfg) != 1:
            raise UserError(f"{source}: a text detector has one class; set NUM_CLASSES to 1")
        return CLASSES

    def text_classes(self, cfg: CfgNode) -> tuple[str, ...]:
        return CLASSES

    def class_count(self, cfg: CfgNode) -> int:
        node = HEAD_NODES.get(cfg.MODEL.META_ARCHITECTURE)
        return 1 if node is None else cfg.MODEL[node].NUM_CLASSES

    def set_classes(self, cfg: CfgNode) -> None:
        for node in HEAD_NODES.values():
            cfg.MODEL[node].NUM_CLASSES = 1

    def check_data(self, names: Sequence[str]) -> None:
        lines.check_scorable(names)

    def build_model(self, cfg: CfgNode) -> nn.Module:
        return build_network(cfg)

    def training_dicts(self, cfg: CfgNode) -> list[dict]:
        return lines.training_dicts(cfg.DATASETS.TRAIN)

    def mapper(self, cfg: CfgNode, *, is_train: bool) -> Callable[..., dict]:
        return LineMapper(cfg, is_train=is_train, label_maker=label_maker(cfg))

    def evaluate(
        self,
        cfg: CfgNode,
        model: nn.Module,
        dataset: str,
        *,
        calibration: Mapping[str, Any],
        output_dir: Path | None = None,
    ) -> dict[str, Any]:
        decoder = calibrated(getattr(model, "decoder", None), calibration)
        least = calibration.get("box_thresh", cfg.TEST.TEXT.BOX_THRESH)
        if decoder is not None:
            # Lines below the threshold are found, too: for the curve over it.
            least = decoder.box_thresh
            decoder = replace(decoder, box_thresh=min(FLOOR, least))
        said = self._find(cfg, model, dataset, decoder=decoder)
        if said is None:
            return {}
        every = measure(said.truth, said.found)
        pages = [page.above(least) for page in every]
        numbers = document_lines(pages)
        if cfg.TEST.TEXT.RULE != "icdar":
            numbers.update(score_pages(pages, rule=cfg.TEST.TEXT.RULE))
        counts = numbers.pop("pages")
        metrics = {metric.name: numbers.get(metric.name) for metric in self.metrics}
        metrics |= {metric.name: numbers.get(metric.name) for metric in self.more_metrics}
        metrics["DetEval"] = score_pages(pages, rule="deteval")["hmean"]
        if decoder is None:
            metrics |= upright_boxes(every)
        metrics |= {"items": len(said.pages), "seconds": said.seconds}
        if output_dir is not None:
            rows = [
                {
                    "id": page["image_id"],
                    "document": document_of({"id": page["image_id"], **page}),
                    **count,
                }
                for page, count in zip(said.pages, counts, strict=True)
            ]
            folder = Path(output_dir)
            write_json(folder / "items.json", rows)
            write_json(folder / "lines.json", _found_json(said))
            write_json(folder / "curve.json", curve(every, rule=cfg.TEST.TEXT.RULE))
            write_json(folder / "metrics.json", metrics)
        return metrics

    def calibrate(self, cfg: CfgNode, model: nn.Module, dataset: str) -> dict[str, Any]:
        """Finds the score threshold with the best hmean and, for DB with exact unclipping, before
        that the factor on its distance with the best hmean at IoU 0.7 (of equals, the one with the
        least error of the lines' heights).
        """
        decoder, found = calibrated(getattr(model, "decoder", None), {"box_thresh": FLOOR}), {}
        exact = isinstance(decoder, MapDecoder) and decoder.unclip == "exact"
        said = self._find(cfg, model, dataset, decoder=Recorder(decoder) if exact else decoder)
        if said is None:
            return {}
        truth, pages = said.truth, None
        if exact:
            by_scale = {}
            for scale in UNCLIP_SCALES:
                grown = replace(decoder, unclip_scale=scale)
                lists = [
                    list(zip(*grown.grow(regions, size=size, original=original), strict=True))
                    for regions, size, original in said.kept
                ]
                by_scale[scale] = measure(truth, lists)
            fits = {s: _fit(own, cfg.TEST.TEXT.BOX_THRESH) for s, own in by_scale.items()}
            found["unclip_scale"] = max(fits, key=fits.get)
            pages = by_scale[found["unclip_scale"]]
        rows = curve(pages or measure(truth, said.found), rule=cfg.TEST.TEXT.RULE)
        best = max(rows, key=lambda row: row["hmean"])
        found["box_thresh"] = best["box_thresh"] if best["hmean"] else cfg.TEST.TEXT.BOX_THRESH
        return found

    def predictor(self, stored: ModelFile, *, device: str) -> Predictor:
        from graphkd.predict.torch_detector import torch_lines

        return torch_lines(stored, device=device)

    def export(self, stored: ModelFile) -> Any:
        from graphkd.export.lines import LineExporter

        return LineExporter(stored)

    def report_sections(
        self, runs: Sequence[Any], options: Any, *, say: Callable[[str], None]
    ) -> tuple[list[Any], list[str]]:
        from graphkd.tasks.text_report import text_sections

        return text_sections(runs, options, say=say)

    def _find(self, cfg: CfgNode, model: nn.Module, dataset: str, *, decoder: Any) -> Lines | None:
        """Runs the model over a data set; None on processes other than the main one."""
        pages = lines.published(dataset)
        mapper = self.mapper(cfg, is_train=False)
        workers = cfg.DATALOADER.NUM_WORKERS
        loader = build_detection_test_loader(pages, mapper=mapper, num_workers=workers)
        own, model_decoder = {}, getattr(model, "decoder", None)
        seconds, wait = 0.0, waiter(model)
        bar = tqdm(loader, "evaluating", unit=" pages", disable=not comm.is_main_process())
        if decoder is not None:
            model.decoder = decoder
        try:
            with inference_context(model), torch.no_grad():
                for batch in bar:
                    wait()
                    start = time.perf_counter()
                    outputs = model(batch)
                    wait()
                    seconds += time.perf_counter() - start
                    for item, output in zip(batch, outputs, strict=True):
                        own[item["image_id"]] = found_lines(output)
        finally:
            if decoder is not None:
                model.decoder = model_decoder
        kept = dict(zip(own, getattr(decoder, "pages", ()), strict=False))
        gathered = comm.gather((own, kept, seconds))
        if not comm.is_main_process():
            return None
        every = {key: value for part, _, _ in gathered for key, value in part.items()}
        regions = {key: value for _, part, _ in gathered for key, value in part.items()}
        return Lines(
            pages,
            [every[page["image_id"]] for page in pages],
            max(part for _, _, part in gathered),
            [regions[page["image_id"]] for page in pages] if regions else [],
        )


def calibrated(decoder: Any, calibration: Mapping[str, Any]) -> Any:
    """A decoder with the calibrated numbers that it has; None for None."""
    if decoder is None:
        return None
    known = {each.name for each in fields(decoder)}
    return replace(decoder, **{key: each for key, each in calibration.items() if key in known})


def found_lines(output: Mapping[str, Any]) -> list[tuple[np.ndarray, float]]:
    """(polygon, score) of what a model gave for one page; boxes become their four corners."""
    if "instances" not in output:
        return list(zip(output["polygons"], output["scores"].tolist(), strict=True))
    instances = output["instances"]
    boxes = instances.pred_boxes.tensor.double().cpu().numpy()
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    return list(zip(corners, instances.scores.tolist(), strict=True))


def _fit(pages: Sequence[Any], least: float) -> tuple[float, float]:
    """Hmean at IoU 0.7, and where it is equal, how right the heights of lines are."""
    numbers = document_lines([page.above(least) for page in pages])
    error = numbers["line_height_error"]
    return numbers["hmean70"], -float("inf") if error is None else -error


def _found_json(said: Lines) -> list[dict]:
    return [
        {
            "id": page["image_id"],
            "lines": [
                {"polygon": np.round(points, 2).tolist(), "score": round(float(score), 4)}
                for points, score in found
            ],
        }
        for page, found in zip(said.pages, said.found, strict=True)
    ]


TASK = TextDetectionTask()
