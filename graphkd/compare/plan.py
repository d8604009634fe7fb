"""The plan of a comparison: the configs of its methods, which differ in DISTILL.LOSSES only, and of
their runs.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from detectron2.config import CfgNode

from graphkd.compare.parts import Part
from graphkd.compare.rows import NOT_METHODS, PLAIN, PLAIN_LONGER, TEACHER
from graphkd.config import as_plain, find_config, load_cfg
from graphkd.distill.losses.build import DEFAULT_WEIGHT, needs_teacher
from graphkd.distill.run_teacher import (
    drop_unread_teacher,
    load_teacher_cfg,
    teacher_file,
    teacher_weights,
)
from graphkd.engine.run_dir import difference_of
from graphkd.errors import UserError

LOSSES = "DISTILL.LOSSES"
# Mutual learning is a method that needs a second student.
PEERS = "DISTILL.PEERS"
_MAY_DIFFER = (LOSSES, PEERS, "OUTPUT_DIR", "SEED")


@dataclass(frozen=True)
class Contest:
    """The methods of a comparison.

    Attributes:
        source: the first yaml.
        methods: name -> config; the configs differ in DISTILL.LOSSES only.
        out: folder of all runs and results.
    """

    source: Path
    methods: dict[str, CfgNode]
    out: Path

    @property
    def cfg(self) -> CfgNode:
        """The config of the first method."""
        return next(iter(self.methods.values()))

    @property
    def first_seed(self) -> int:
        """SEED of the first config; 1 if that is negative (random)."""
        return self.cfg.SEED if self.cfg.SEED >= 0 else 1

    @cached_property
    def teacher_weights(self) -> Path | None:
        """Path of the teacher's file, whether it exists yet or not; None without a teacher."""
        teacher = self.cfg.DISTILL.TEACHER
        if teacher.CONFIG:
            return teacher_weights(self.cfg, load_teacher_cfg(self.cfg, source=self.source))
        return teacher_file(self.cfg, source=self.source) if teacher.ONNX else None

    def teacher_part(self) -> Part:
        """The evaluation of the teacher on the students' test set."""
        cfg = load_teacher_cfg(self.cfg, source=self.source)
        cfg.DATASETS.TEST = self.cfg.DATASETS.TEST
        # As in training, the student's config says whether the teacher's file is trusted.
        cfg.TRUST_PICKLES = self.cfg.TRUST_PICKLES
        cfg.OUTPUT_DIR = str(self.out / "teacher-scores")
        cfg.freeze()
        source = find_config(self.cfg.DISTILL.TEACHER.CONFIG, near=self.source)
        return Part(TEACHER, cfg, source, teacher=self.teacher_weights)

    def part(
        self,
        name: str,
        seed: int,
        *,
        stretch: float = 1.0,
        factor: float = 1.0,
        folder: Path | None = None,
    ) -> Part:
        """The run of a method, or of the plain student, at a seed.

        Args:
            name: a method, "plain" or "plain-same-time".
            seed: SEED of the run.
            stretch: factor for the length of the schedule.
            factor: factor for all loss weights.
            folder: OUTPUT_DIR; by default a folder named after seed, method and factor.
        """
        times = "" if factor == 1 else f"@{factor:g}"
        folder = folder or self.out / f"seed{seed}" / f"{name}{times}"
        if name in (PLAIN, PLAIN_LONGER):
            cfg, weights = as_plain(self.cfg, str(folder)), None
        else:
            cfg, weights = self.methods[name], self.teacher_weights
        cfg = cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR, cfg.SEED = str(folder), seed
        if cfg.DISTILL.TEACHER.CONFIG:
            cfg.DISTILL.TEACHER.WEIGHTS = str(weights)
        if factor != 1:
            for loss in cfg.DISTILL.LOSSES.values():
                loss.WEIGHT = factor * loss.get("WEIGHT", DEFAULT_WEIGHT)
        _stretch(cfg, stretch)
        cfg.freeze()
        return Part(name, cfg, self.source, teacher=weights, factor=factor)


def contest_of(
    configs: list[str], overrides: list[str], *, methods: list[str] | None = None, out: Path
) -> Contest:
    """Reads the methods of a comparison.

    Args:
        configs: run yamls, one per method; exactly one with `methods`.
        overrides: KEY VALUE pairs for all configs; options of a loss go to methods with that loss.
        methods: names of yamls in methods/ beside the config or in configs/methods, whose losses
            replace those of the one config; a + b joins the losses of two.
        out: folder of all runs and results.

    Raises:
        UserError: a missing or wrong file, a run without losses, two methods with one name, or
            configs that differ in other keys.
    """
    shared, losses_only = _split(overrides)
    found: dict[str, CfgNode] = {}
    if methods:
        if len(configs) != 1:
            raise UserError(f"--methods needs exactly one CONFIG, not {len(configs)}")
        source = find_config(configs[0])
        base = load_cfg(source, shared)
        for name in methods:
            _add(found, name, _with_method(base, name, near=source))
    else:
        sources = [find_config(config) for config in configs]
        cfgs = [load_cfg(path, shared) for path in sources]
        _check_same(sources, cfgs)
        for name, cfg in zip(_names(sources, cfgs), cfgs, strict=True):
            _add(found, name, cfg)
        source = sources[0]
    _override_losses(found, losses_only)
    if not needs_teacher(loss for cfg in found.values() for loss in cfg.DISTILL.LOSSES):
        for cfg in found.values():
            drop_unread_teacher(cfg)
    for cfg in found.values():
        cfg.freeze()
    return Contest(source, found, Path(out))


def _add(found: dict[str, CfgNode], name: str, cfg: CfgNode) -> None:
    if name in found:
        raise UserError(f"two methods are called {name}; rename one yaml or leave one out")
    if name in NOT_METHODS:
        raise UserError(f"a method cannot be called {name}; rename its yaml")
    found[name] = cfg


def _names(sources: list[Path], cfgs: list[CfgNode]) -> list[str]:
    """The losses joined with +, or the file name if several runs have the same losses."""
    joined = []
    for source, cfg in zip(sources, cfgs, strict=True):
        if not cfg.DISTILL.LOSSES:
            raise UserError(
                f"{source}: {LOSSES} is empty; the plain student takes part anyway, leave this out"
            )
        joined.append("+".join(cfg.DISTILL.LOSSES))
    return [
        name if joined.count(name) == 1 else source.stem
        for name, source in zip(joined, sources, strict=True)
    ]


def _check_same(sources: list[Path], cfgs: list[CfgNode]) -> None:
    for source, cfg in zip(sources[1:], cfgs[1:], strict=True):
        differs = difference_of(cfg, cfgs[0], ignore=_MAY_DIFFER)
        if differs:
            key, here, there = differs
            raise UserError(
                f"{source}: {key} is {here}, but {there} in {sources[0]}; runs that are compared "
                f"may differ in {LOSSES} alone (set it for all: {key} VALUE)"
            )


def _method_file(name: str, *, near: Path) -> Path:
    """methods/<name>.yaml beside the run's yaml or its folder, else in configs/methods.

    Raises:
        UserError: there is none.
    """
    for folder in list(near.resolve().parents)[:2]:
        file = folder / "methods" / f"{name}.yaml"
        if file.is_file():
            return file
    return find_config(f"configs/methods/{name}.yaml", near=near)


def _with_method(base: CfgNode, name: str, *, near: Path) -> CfgNode:
    """`base` with the losses and peers of configs/methods/<name>.yaml; of several files for a name
    with +.
    """
    cfg = base.clone()
    losses = cfg.DISTILL.LOSSES = CfgNode(new_allowed=True)
    for part in name.split("+"):
        path = _method_file(part, near=near)
        try:
            node = CfgNode.load_yaml_with_base(str(path))["DISTILL"]
            found = node["LOSSES"].items()
        except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise UserError(f"{path}: it sets no {LOSSES}") from error
        for key, options in found:
            if key in losses:
                raise UserError(f"--methods {name}: {LOSSES}.{key} comes twice")
            losses[key] = CfgNode(options, new_allowed=True)
        cfg.DISTILL.PEERS = max(cfg.DISTILL.PEERS, node.get("PEERS", 1))
    return cfg


def _split(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Splits overrides into those for all configs and those for options of a loss."""
    if len(overrides) % 2:
        raise UserError(f"KEY VALUE pairs expected, got {' '.join(overrides)}")
    shared: list[str] = []
    losses_only: list[str] = []
    for pair in zip(overrides[::2], overrides[1::2], strict=True):
        (losses_only if pair[0].startswith(f"{LOSSES}.") else shared).extend(pair)
    return shared, losses_only


def _override_losses(methods: dict[str, CfgNode], overrides: list[str]) -> None:
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        loss = key.removeprefix(f"{LOSSES}.").split(".")[0]
        having = [cfg for cfg in methods.values() if loss in cfg.DISTILL.LOSSES]
        if not having:
            raise UserError(f"{key}: no method here has the loss {loss}")
        for cfg in having:
            # Every loss has a weight, even if its yaml does not mention it.
            cfg.DISTILL.LOSSES[loss].setdefault("WEIGHT", DEFAULT_WEIGHT)
            try:
                cfg.merge_from_list([key, value])
            except (KeyError, ValueError, AssertionError) as error:
                raise UserError(f"{key} {value}: {str(error).strip(chr(39))}") from error


def _stretch(cfg: CfgNode, factor: float) -> None:
    """Multiplies the length of a schedule and its learning rate steps; the warm-up is unchanged.

    Steps that become equal by rounding, or equal to the end, are dropped.
    """
    if factor == 1:
        return
    cfg.SOLVER.MAX_ITER = max(1, round(cfg.SOLVER.MAX_ITER * factor))
    steps = sorted({max(1, round(step * factor)) for step in cfg.SOLVER.STEPS})
    cfg.SOLVER.STEPS = tuple(step for step in steps if step != cfg.SOLVER.MAX_ITER)


def data_of(cfg: CfgNode) -> str:
    """The training and test sets of a run, as a phrase."""
    return f"{', '.join(cfg.DATASETS.TRAIN)}, scored on {cfg.DATASETS.TEST[0]}"
