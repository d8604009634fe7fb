"""Prunes a trained line reader: measures plans on validation lines, and writes the smaller model.

Every plan is scored after its batch norms were adapted: removed channels change the statistics of
all later layers, and without new ones even a good plan reads nothing (Li et al., EagleEye, 2020).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import inference_context
from torch import nn
from tqdm.auto import tqdm

from graphkd.data import crops
from graphkd.data.catalog import register_all
from graphkd.data.crop_mapper import scoring_loader
from graphkd.errors import UserError
from graphkd.evaluation.reading import count_line, totals
from graphkd.io import file_digest, write_json, write_text
from graphkd.modelfile import ModelFile, build_detector, read_model, write_safetensors
from graphkd.modeling.network import parameters
from graphkd.pruning.groups import Costs, Widths, cut, reader_keys
from graphkd.pruning.importance import IMPORTANCE, kept_channels
from graphkd.pruning.plans import RATIOS, random_plan, tolerant_plan, widths_at
from graphkd.tasks.base import task_of

CANDIDATES = "candidates"
METHODS = (*IMPORTANCE, CANDIDATES)
_ADAPTED = 1 / 30  # share of the training lines from which batch norms are adapted


@dataclass(frozen=True)
class PruneOptions:
    """The options of `graphkd prune`.

    Attributes:
        run: folder of a trained run.
        out: the yaml to write; weights and measurements get its name with other endings.
        target: share of the multiplications that stay, in 0..1.
        by: one of METHODS.
        lines: greatest number of validation lines a plan is scored on.
        plans: number of random plans of `candidates`.
        seed: of the random plans and the choice of lines.
    """

    run: Path
    out: Path
    target: float = 0.1
    by: str = "l1"
    lines: int = 200
    plans: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Pruned:
    """The result of a pruning; pairs are (before, after).

    Attributes:
        widths: group name -> channels.
        costs: multiplications of the convolutions for a line of 32 x 320.
        values: trainable parameters.
        scores: NED on the validation lines, in 0..100, before fine-tuning.
        yaml: the config of the smaller model.
        weights: its start weights.
    """

    widths: Widths
    costs: tuple[int, int]
    values: tuple[int, int]
    scores: tuple[float, float]
    yaml: Path
    weights: Path


class Trials:
    """Builds pruned models and scores them.

    Args:
        stored: the trained model with the config of its run.
        by: the importance, a key of IMPORTANCE.
        lines: greatest number of validation lines.
        seed: of the choice of lines.

    Raises:
        UserError: the task or the model cannot be pruned, or there are no lines.
    """

    def __init__(self, stored: ModelFile, *, by: str, lines: int, seed: int):
        self.stored, self.by = stored, by
        self.task, self.model = task_of(stored.cfg), build_detector(stored)
        groups = self.task.prune_groups(self.model)
        if groups is None:
            raise UserError(f"prune does not know the task {self.task.name}")
        self.groups, self.costs = groups, Costs(self.model, groups)
        cfg = stored.cfg
        rng = np.random.default_rng(seed)
        train = self.task.training_dicts(cfg)
        self._train = self._batches(train, max(lines, round(_ADAPTED * len(train))), rng)
        names = cfg.DATASETS.VAL or cfg.DATASETS.TEST
        self._valid = self._batches(crops.published(names[0]), lines, rng)

    def build(self, widths: Widths) -> nn.Module:
        """The model with these widths, its batch norms adapted, in eval mode."""
        return adapted(build_detector(self.file(widths)), self._train)

    def file(self, widths: Widths) -> ModelFile:
        """The model with these widths as it would be stored, its batch norms not adapted."""
        cfg = self.stored.cfg.clone()
        cfg.defrost()
        for key, numbers in reader_keys(self.model, self.groups, widths).items():
            cfg.MODEL.READER[key] = numbers
        cfg.freeze()
        kept = kept_channels(self.stored.state, self.groups, widths, by=self.by)
        return replace(self.stored, cfg=cfg, state=cut(self.stored.state, self.groups, kept))

    def score(self, model: nn.Module) -> float:
        """NED of a model on the validation lines, in 0..100.

        It falls smoothly where the share of lines without a mistake is soon 0.
        """
        counts = []
        with inference_context(model), torch.no_grad():
            for batch in self._valid:
                counts += [
                    count_line(line["text"], found["text"])
                    for line, found in zip(batch, model(batch), strict=True)
                ]
        return totals(counts)["NED"]

    def sensitivity(self, path: Path, *, progress: bool = True) -> dict[str, dict[str, float]]:
        """The relative loss of the score where one group alone loses 10 to 90 % of its channels.

        What the file holds is not measured again.

        Args:
            path: a json file, written after every measurement.
            progress: show a bar.

        Raises:
            UserError: the file is of another model or of other options, or the model reads nothing.
        """
        about = {
            "weights": file_digest(self.stored.path),
            "by": self.by,
            "lines": sum(map(len, self._valid)),
        }
        said = _read_measured(path, about)
        if "score" not in said:
            said |= {"score": self.score(self.model), "loss": {}}
        if not said["score"]:
            raise UserError(f"{self.stored.path}: it reads nothing right; train it for longer")
        bar = tqdm(total=len(self.groups) * len(RATIOS), desc="sensitivity", disable=not progress)
        for group in self.groups:
            losses = said["loss"].setdefault(group.name, {})
            for ratio in RATIOS:
                if str(ratio) not in losses:
                    score = self.score(self.build(widths_at([group], {group.name: ratio})))
                    losses[str(ratio)] = 1 - score / said["score"]
                    write_json(path, {"about": about, **said})
                bar.update()
        bar.close()
        return said["loss"]

    def best_candidate(
        self, *, target: float, plans: int, seed: int, progress: bool = True
    ) -> dict[str, int]:
        """The best of some random plans; all reach the target."""
        rng = np.random.default_rng(seed)
        drawn = [random_plan(self.groups, self.costs, target=target, rng=rng) for _ in range(plans)]
        bar = tqdm(drawn, "candidates", disable=not progress)
        scores = [self.score(self.build(widths)) for widths in bar]
        return drawn[int(np.argmax(scores))]

    def _batches(self, lines: Sequence[dict], most: int, rng: np.random.Generator) -> list[list]:
        """Mapped batches of at most so many lines."""
        chosen = sorted(rng.permutation(len(lines))[:most].tolist())
        if not chosen:
            raise UserError(f"{self.stored.path}: its data sets have no lines to prune with")
        cfg = self.stored.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0
        mapper = self.task.mapper(cfg, is_train=False)
        return list(scoring_loader(cfg, [lines[i] for i in chosen], mapper))


def adapted(model: nn.Module, batches: Sequence[list[Mapping[str, Any]]]) -> nn.Module:
    """Measures the statistics of all batch norms anew; weights stay as they are.

    Args:
        model: a `LineRecognizer`; it is returned in eval mode.
        batches: mapped lines, one width a batch.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches; there are too few for an average
    model.train()
    with torch.no_grad():
        for batch in batches:
            model.features(*model.pixels(batch))
    for layer, momentum in zip(norms, before, strict=True):
        layer.momentum = momentum
    return model.eval()


def prune(options: PruneOptions, *, progress: bool = True) -> Pruned:
    """Prunes the model of a run, and writes the yaml and the start weights of the smaller one.

    Raises:
        UserError: wrong options, a run that cannot be pruned, or a target that is out of reach.
    """
    _check(options)
    config = options.run / "config.yaml"
    stored = read_model(options.run / "model_final.pth", config=config)
    register_all()
    by = "l1" if options.by == CANDIDATES else options.by
    trials = Trials(stored, by=by, lines=options.lines, seed=options.seed)
    if options.by == CANDIDATES:
        widths = trials.best_candidate(
            target=options.target, plans=options.plans, seed=options.seed, progress=progress
        )
    else:
        file = options.out.with_suffix(".sensitivity.json")
        losses = trials.sensitivity(file, progress=progress)
        widths = tolerant_plan(trials.groups, losses, trials.costs, target=options.target)
    model = trials.build(widths)
    smaller = replace(trials.file(widths), state=model.state_dict())
    weights = options.out.with_suffix(".safetensors")
    write_safetensors(weights, smaller, half=False)
    write_text(options.out, _yaml(options, smaller, weights))
    return Pruned(
        widths,
        (trials.costs({}), trials.costs(widths)),
        (parameters(trials.model), parameters(model)),
        (trials.score(trials.model), trials.score(model)),
        options.out,
        weights,
    )


def _check(options: PruneOptions) -> None:
    if options.by not in METHODS:
        raise UserError(f"--by {options.by}: choose one of {', '.join(METHODS)}")
    if not 0 < options.target < 1:
        raise UserError(f"--target {options.target:g}: a share of the multiplications in 0..1")
    for name in ("lines", "plans"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} is at least 1, not {getattr(options, name)}")
    if options.out.suffix != ".yaml" or not options.out.parent.is_dir():
        raise UserError(f"-o {options.out}: name a .yaml file in a folder that exists")
    for name in ("config.yaml", "model_final.pth"):
        if not (options.run / name).is_file():
            raise UserError(f"{options.run}: no {name} in it; name the folder of a finished run")
    if _output_dir(options).resolve() == options.run.resolve():
        raise UserError(f"-o {options.out}: the run has this name; choose another one")


def _output_dir(options: PruneOptions) -> Path:
    return options.run.parent / options.out.stem


def _yaml(options: PruneOptions, smaller: ModelFile, weights: Path) -> str:
    """The config of the smaller model: that of the run with other widths, which it teaches."""
    node, run = smaller.cfg.MODEL.READER, options.run.resolve()
    base = os.path.relpath(run / "config.yaml", options.out.parent.resolve())
    lists = "".join(f"    {key}: {list(node[key])}\n" for key in ("STEM", "STAGES", "INNER"))
    quoted = json.dumps  # a json string is one of yaml, too
    return (
        f"# {run.name}, pruned to {options.target:g} of its multiplications ({options.by}).\n"
        f"_BASE_: {quoted(base)}\n"
        f"MODEL:\n  WEIGHTS: {quoted(str(weights))}\n  READER:\n{lists}"
        'DATASETS:\n  NAME: ""\n'
        "# The unpruned model is the teacher; `train --plain` trains without it.\n"
        f"DISTILL:\n  TEACHER:\n    CONFIG: {quoted(str(options.run / 'config.yaml'))}\n"
        f"    WEIGHTS: {quoted(str(options.run / 'model_final.pth'))}\n"
        f"OUTPUT_DIR: {quoted(str(_output_dir(options)))}\n"
    )


def _read_measured(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Score and losses of an earlier run of the same measurement; empty without a file."""
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        same = said.pop("about") == dict(about)
    except (ValueError, KeyError, AttributeError):
        same = False
    if not same:
        raise UserError(
            f"{path}: measured on another model, with other options, or damaged; delete it or name "
            "another -o"
        )
    return said
