"""The task `text_recognition`: pictures of single lines, scored by texts that are exactly right."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor, nn
from tqdm.auto import tqdm

from graphkd.config import find_file
from graphkd.data import catalog, crops
from graphkd.data.crop_augment import augment_crop
from graphkd.data.crop_mapper import (
    BucketBatches,
    CropMapper,
    add_crop_config,
    label_rules,
    scoring_loader,
)
from graphkd.data.loader import Draw
from graphkd.errors import UserError
from graphkd.evaluation.reading import score_lines, totals
from graphkd.evaluation.timing import waiter
from graphkd.io import write_json
from graphkd.modelfile import ModelFile
from graphkd.modeling.line import add_reader_config
from graphkd.modeling.line.recognizer import charset_of_cfg
from graphkd.modeling.network import build_network
from graphkd.predict.detector import Predictor
from graphkd.synthesis.texts import LATIN
from graphkd.tasks.base import Metric, Task
from graphkd.text.charset import Charset, charset_of, normalise, read_charset
from graphkd.weight_files import read_weights

logger = logging.getLogger(__name__)

RESIZES = ("", "new", "union")


class TextRecognitionTask(Task):
    """Readers of single lines: CRNN, RARE and STAR."""

    name = "text_recognition"
    item = "line"
    metrics = (
        Metric("exact", unit="%", about="lines whose text is exactly right"),
        Metric("CER", higher_is_better=False, digits=2, unit="%", about="edits per character"),
    )
    more_metrics = (
        Metric("exact_no_spaces", unit="%", about="exact after all spaces are removed"),
        Metric("exact_folded", unit="%", about="exact without regard to case"),
        Metric("WER", higher_is_better=False, digits=2, unit="%", about="edits per word"),
        Metric("exact_alnum", unit="%", about="exact_folded on letters and digits alone"),
        Metric("CER_folded", higher_is_better=False, digits=2, unit="%"),
        Metric("NED", unit="%", about="100 minus the mean of edits per longer text"),
    )
    primary = "exact"

    def add_config(self, cfg: CfgNode) -> None:
        add_reader_config(cfg)
        add_crop_config(cfg)

    def complete(self, cfg: CfgNode) -> None:
        """Writes the characters into MODEL.READER.CHARACTERS, so that a run's config has them."""
        node, names = cfg.MODEL.READER, ()
        if node.CHARSET:
            names = _published_head(read_charset(find_file(node.CHARSET)), cfg).names
        elif not node.CHARACTERS:
            try:
                names = data_charset(cfg).names
            except UserError as error:  # `classes` reports it, where the characters are needed
                logger.debug("no charset: %s", error)
        if names:
            node.CHARSET, node.CHARACTERS = "", list(names)
        if node.CHARSET_RESIZE not in RESIZES:
            raise UserError(
                f"MODEL.READER.CHARSET_RESIZE is {node.CHARSET_RESIZE}; leave it empty, or use "
                "new or union"
            )
        weights = Path(cfg.MODEL.WEIGHTS)
        if node.CHARSET_RESIZE == "union" and weights.is_file():
            stored = read_weights(weights, trust=cfg.TRUST_PICKLES).get("classes") or []
            node.CHARACTERS = list(dict.fromkeys([*stored, *node.CHARACTERS]))

    def classes(self, cfg: CfgNode, *, source: Path) -> tuple[str, ...]:
        for key in ("TRAIN", "TEST"):
            if not cfg.DATASETS[key]:
                raise UserError(f"{source}: DATASETS.{key} is empty; name a data set")
        for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST)):
            crops.require_crops(name)
        # Missing where the data was not there when the config was read.
        return tuple(cfg.MODEL.READER.CHARACTERS) or data_charset(cfg).names

    def class_count(self, cfg: CfgNode) -> int:
        return len(cfg.MODEL.READER.CHARACTERS)

    def check_data(self, names: Sequence[str]) -> None:
        crops.check_scorable(names)

    def build_model(self, cfg: CfgNode) -> nn.Module:
        return build_network(cfg)

    def fit_weights(self, cfg: CfgNode, model: nn.Module, stored: dict) -> dict:
        """Carries rows of the head over by character, where CHARSET_RESIZE allows it."""
        names, own = stored.get("classes"), model.charset.names
        if names is None or tuple(names) == own:
            return stored
        lacking = [name for name in own if name not in set(names)]
        if not cfg.MODEL.READER.CHARSET_RESIZE:
            raise UserError(
                f"trained on another charset of {len(names)} characters, {len(lacking)} of these "
                f"{len(own)} are not in it; set MODEL.READER.CHARSET_RESIZE to union or new"
            )
        text = "%d of %d characters are new: %s"
        logger.info(text, len(lacking), len(own), " ".join(lacking) or "none")
        state = dict(stored["model"])
        own_state = model.state_dict()
        for key, dim in model.decoder.by_class().items():
            key = f"decoder.{key}"
            if key in state:
                pairs = _pairs(own, names, end=model.attention)
                state[key] = carried(own_state[key], state[key], dim=dim, pairs=pairs)
        return {**stored, "model": state}

    def training_dicts(self, cfg: CfgNode) -> list[dict]:
        return crops.training_dicts(cfg.DATASETS.TRAIN, charset_of_cfg(cfg), label_rules(cfg))

    def mapper(self, cfg: CfgNode, *, is_train: bool) -> Callable[..., dict]:
        augment = partial(augment_crop, probability=cfg.INPUT.CROPS.AUGMENT)
        return CropMapper(cfg, is_train=is_train, augment=augment)

    def batches(
        self, cfg: CfgNode, dicts: Sequence[dict], *, seed: int
    ) -> Callable[[int], Sequence[Draw]]:
        return BucketBatches(dicts, cfg, seed=seed)

    def evaluate(
        self,
        cfg: CfgNode,
        model: nn.Module,
        dataset: str,
        *,
        calibration: Mapping[str, Any],
        output_dir: Path | None = None,
    ) -> dict[str, Any]:
        lines = crops.published(dataset)
        found = read_lines(cfg, model, lines, self.mapper(cfg, is_train=False))
        if found is None:
            return {}
        texts, seconds = found
        rows = score_lines(lines, texts)
        metrics = {**totals(rows), "items": len(rows), "seconds": seconds}
        if output_dir is not None:
            write_json(Path(output_dir) / "items.json", rows)
            write_json(Path(output_dir) / "metrics.json", metrics)
        return metrics

    def predictor(self, stored: ModelFile, *, device: str) -> Predictor:
        from graphkd.predict.torch_reader import torch_reader

        return torch_reader(stored, device=device)

    def export(self, stored: ModelFile) -> Any:
        from graphkd.export.crops import CropExporter

        return CropExporter(stored)

    def report_sections(
        self, runs: Sequence[Any], options: Any, *, say: Callable[[str], None]
    ) -> tuple[list[Any], list[str]]:
        from graphkd.tasks.crop_report import crop_sections

        return crop_sections(runs, options, say=say)

    def prune_groups(self, model: nn.Module) -> Any:
        from graphkd.pruning.groups import groups_of

        return groups_of(model)


def data_charset(cfg: CfgNode) -> Charset:
    """The charset of the training sets: their charset files, or all characters of their texts.

    Raises:
        UserError: no set is named, or one is missing or has no lines.
    """
    found: dict[str, None] = {}
    for name in cfg.DATASETS.TRAIN:
        found.update(dict.fromkeys(_entries(name, cfg)))
    if not found:
        raise UserError("MODEL.READER.CHARSET and DATASETS.TRAIN are empty; name one of them")
    return _published_head(Charset(tuple(found)), cfg)


def _entries(name: str, cfg: CfgNode) -> tuple[str, ...]:
    crops.require_crops(name)
    entry, file = catalog.entry_of(name), MetadataCatalog.get(name).get("charset_file")
    if file:
        return read_charset(file).entries
    if entry is not None and entry.source is not None:
        return LATIN  # known before the lines are made
    norm, half = cfg.INPUT.CROPS.NORM, cfg.INPUT.CROPS.HALF_WIDTH
    texts = crops.published_texts(name)
    return charset_of(normalise(text, norm=norm, half_width=half) for text in texts).entries


def _published_head(charset: Charset, cfg: CfgNode) -> Charset:
    twice = charset.duplicate_space or cfg.MODEL.READER.COMPAT.DUPLICATE_SPACE
    return replace(charset, duplicate_space=twice)


def _pairs(own: Sequence[str], names: Sequence[str], *, end: bool) -> list[tuple[int, int]]:
    """(class here, class there) of the classes that two heads share, counted from the last one."""
    there = {name: number for number, name in enumerate(names)}
    pairs = [(i, there[name]) for i, name in enumerate(own) if name in there]
    # Class 0 is the blank or the start; the end of an attention decoder comes last.
    sizes = [len(each) + 1 + end for each in (own, names)]
    pairs = [(0, 0), *((i + 1, j + 1) for i, j in pairs), *([(sizes[0] - 1, sizes[1] - 1)] * end)]
    return [(i - sizes[0], j - sizes[1]) for i, j in pairs]


def carried(fresh: Tensor, old: Tensor, *, dim: int, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Weights of a head with the entries of an older one for the classes that both have.

    Args:
        fresh: the head as it is built.
        old: the head to carry over. Another size of the other dimensions gives it unchanged.
        dim: the dimension of the classes, which are its last entries; those before are carried.
        pairs: (class in `fresh`, class in `old`), negative: counted from the last one.
    """
    rows, before = fresh.clone().transpose(0, dim), old.transpose(0, dim)
    if rows.shape[1:] != before.shape[1:]:
        return old
    # The first class of both is that of the blank or the start.
    first, first_old = pairs[0]
    rows[:first] = before[:first_old]
    here, there = map(list, zip(*pairs, strict=True))
    rows[here] = before[there].to(rows)
    return rows.transpose(0, dim).contiguous()


def read_lines(
    cfg: CfgNode, model: nn.Module, lines: Sequence[dict], mapper: Callable[[dict], dict]
) -> tuple[list[tuple[str, float]], float] | None:
    """What a model reads on the lines of a data set.

    Returns:
        (text, score) of every line; and the time inside the model, of the slowest process. None on
        processes other than the main one.
    """
    rank, world = comm.get_rank(), comm.get_world_size()
    loader = scoring_loader(cfg, lines, mapper, rank=rank, world=world)
    own, seconds, wait = {}, 0.0, waiter(model)
    bar = tqdm(loader, "evaluating", unit=" batches", disable=not comm.is_main_process())
    with inference_context(model), torch.no_grad():
        for batch in bar:
            wait()
            start = time.perf_counter()
            outputs = model(batch)
            wait()
            seconds += time.perf_counter() - start
            for item, output in zip(batch, outputs, strict=True):
                own[item["image_id"]] = output["text"], output["score"]
    gathered = comm.gather((own, seconds))
    if not comm.is_main_process():
        return None
    every = {key: value for part, _ in gathered for key, value in part.items()}
    return [every[line["image_id"]] for line in lines], max(part for _, part in gathered)


TASK = TextRecognitionTask()
