"""The configuration: Detectron2's keys and those of this project, reading yaml files, and `--data`,
which replaces the data set of a run.
"""

import difflib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_cfg
from detectron2.config.compat import guess_version

from graphkd.errors import UserError
from graphkd.modeling import add_timm_config
from graphkd.tasks.base import DEFAULT, task_named

# The errors that yaml, yacs and fvcore raise for a wrong key, value or file.
YAML_MISTAKES = (KeyError, ValueError, TypeError, AttributeError, AssertionError, yaml.YAMLError)
# The yamls that come with the package. In a clone, the folder configs/ of the clone is the same
# one.
CONFIGS = Path(__file__).resolve().parent / "configs"
# Folders of configs/ whose files are parts of a run's config, not complete ones.
_PARTS = ("datasets", "methods", "schedules", "students")
# This logger warns about every yaml without VERSION, which is harmless.
logging.getLogger("detectron2.config.compat").setLevel(logging.ERROR)
# Keys that were removed, with the value that had no effect.
_REMOVED = {"DISTILL.TEACHER.SCALE": 1.0}


def add_graphkd_config(cfg: CfgNode) -> None:
    """Adds this project's keys to a Detectron2 config."""
    # The task: layout, or `module:name` of your own task (graphkd/tasks/base.py).
    cfg.TASK = DEFAULT
    cfg.DISTILL = CfgNode()
    # Set at most one of CONFIG, ONNX and EMA; losses of self-distillation need no teacher.
    cfg.DISTILL.TEACHER = CfgNode()
    # A frozen model: the complete yaml with which the teacher is trained.
    cfg.DISTILL.TEACHER.CONFIG = ""
    # The teacher's weights; empty means model_final.pth in the OUTPUT_DIR of its yaml.
    cfg.DISTILL.TEACHER.WEIGHTS = ""
    # An ONNX file of any origin, with a yaml beside it that describes its outputs
    # (graphkd/distill/onnx_file.py); or rapidocr and rapidocr-rec, the text detector and the reader
    # of lines of this package.
    cfg.DISTILL.TEACHER.ONNX = ""
    # The folder where the text maps or frames of an ONNX teacher are kept; none runs it on every
    # batch.
    cfg.DISTILL.TEACHER.CACHE = "output/teacher_maps"
    # If its labels were shrunk by another ratio than the student's: agree compares the pixels where
    # both labels agree, boxes draws the student's labels for the texts that the teacher finds.
    cfg.DISTILL.TEACHER.SHRINK = "agree"
    # Use the running average of the student as the teacher, with this decay.
    cfg.DISTILL.TEACHER.EMA = False
    cfg.DISTILL.TEACHER.EMA_DECAY = 0.9998
    # torch.compile for the teacher's backbone; needs a C++ compiler on a CPU.
    cfg.DISTILL.TEACHER.COMPILE = False
    # Number of students that are trained on the same batches and teach each other (losses with
    # `needs_peers`); the first one is saved as model_final.pth. PEER_CONFIG is the yaml of the
    # others; empty means the student's own.
    cfg.DISTILL.PEERS = 1
    cfg.DISTILL.PEER_CONFIG = ""
    # Iterations over which the weights of all methods grow from 0; 0 for no ramp. It belongs to no
    # single method, so that all methods of a comparison have the same ramp.
    cfg.DISTILL.RAMP = 500
    # Method name -> its options; every method has WEIGHT. Empty means plain training.
    cfg.DISTILL.LOSSES = CfgNode(new_allowed=True)
    # Set by `--data NAME`: the data set that replaces the one of this yaml and of the teacher's
    # yaml. In the config.yaml of a run it is only a record; the other keys already have the new
    # values.
    cfg.DATASETS.NAME = ""
    # Data sets for the AP curve during training (TEST.EVAL_PERIOD) and for the calibration.
    # DATASETS.TEST is scored only at the end.
    cfg.DATASETS.VAL = ()
    # Number format with SOLVER.AMP.ENABLED: bfloat16, float16 (GPU only), or native, which is
    # bfloat16 if the hardware supports it and float32 otherwise.
    cfg.SOLVER.AMP.DTYPE = "bfloat16"
    # Steps between two entries in the log, metrics.json and TensorBoard.
    cfg.LOG_PERIOD = 20
    # SGD as in Detectron2, or AdamW, which does better in short schedules from scratch
    # (docs/experiments.md).
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Decay of a running average of the student's weights, which is evaluated and saved as
    # model_final.pth in place of the last weights; 0 for no average.
    cfg.SOLVER.EMA = 0.0
    # Number of steps with a NaN or infinite loss or gradient that are skipped, without a change of
    # weights and optimizer; the next one stops the run. With 0 the first one stops it.
    cfg.SOLVER.SKIP_NONFINITE = 0
    # Read weights files that hold more than tensors (Detectron2's .pkl), although reading them can
    # run any code that they contain.
    cfg.TRUST_PICKLES = False


def as_plain(cfg: CfgNode, output_dir: str) -> CfgNode:
    """The frozen config of the same run without distillation: same student, seed, data order and
    schedule.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DISTILL = get_cfg().DISTILL
    cfg.OUTPUT_DIR = output_dir
    cfg.freeze()
    return cfg


def get_cfg(task: str = DEFAULT) -> CfgNode:
    """Detectron2's defaults with the keys of this project, of its backbones and of a task.

    Raises:
        UserError: there is no such task.
    """
    cfg = detectron2_cfg()
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    add_timm_config(cfg)
    add_graphkd_config(cfg)
    task_named(task).add_config(cfg)
    cfg.TASK = task
    return cfg


def project_folder() -> Path:
    """The folder that holds output/: the clone of `start_train.sh`, else the current folder."""
    return Path(os.environ.get("GRAPHKD_HOME") or ".")


def project_path(path: str | Path) -> Path:
    """Resolves a path from a yaml, or a default path, relative to the project's folder.

    If that is the current folder, the path stays relative, which keeps messages and files short.
    """
    home = project_folder()
    return Path(path) if home.resolve() == Path.cwd() else home / path


def find_file(path: str | Path) -> Path:
    """Finds a file or folder that the user named: first relative to the current folder, then to the
    project's folder. Returns the path unchanged if neither exists.
    """
    given, other = Path(path), project_folder() / path
    return other if not given.exists() and other.exists() else given


def find_config(path: str | Path, *, near: Path | None = None) -> Path:
    """Finds a config file.

    Args:
        path: a path, or the name of a config that comes with the package, such as R50-R18.
        near: the yaml of a run; `path` may be relative to one of its parent folders.

    Returns:
        The path as given if it exists, else relative to a parent folder of `near` or to the clone,
        else the package's config of this name.

    Raises:
        UserError: there is no such file; the message suggests similar names.
    """
    given = Path(path)
    # An installed wheel lies in site-packages, where the parent folder is not a clone.
    clone = [CONFIGS.parents[1]] if (CONFIGS.parents[1] / "pyproject.toml").is_file() else []
    parents = near.resolve().parents if near is not None else ()
    name = str(given).removeprefix("configs/")
    own = CONFIGS / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    for place in (given, *(folder / given for folder in (*parents, *clone)), own):
        if place.is_file():
            return place
    close = [name for name in _run_names() if Path(name).name == given.stem]
    close = close or difflib.get_close_matches(name.removesuffix(".yaml"), _run_names(), n=2)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise UserError(f"{path}: no such config file{hint}")


def is_config(word: str) -> bool:
    """Whether a word of the command line names a config."""
    if word.endswith((".yaml", ".yml")):
        return True
    return word in _run_names()


def _run_names() -> list[str]:
    names = [path.relative_to(CONFIGS).with_suffix("") for path in CONFIGS.rglob("*.yaml")]
    return sorted(str(name) for name in names if name.parts[0] not in _PARTS)


@dataclass(frozen=True)
class DataSet:
    """The data set that `--data NAME` selects for a run.

    Attributes:
        name: NAME.
        splits: TRAIN, VAL and TEST -> names in Detectron2's catalog; VAL may be empty.
        file: its yaml, which replaces the `datasets/*.yaml` of a run; None for a data set without
            one.
        schedules: name of a file in schedules/ -> name of the file that replaces it.
    """

    name: str
    splits: dict[str, tuple[str, ...]]
    file: Path | None = None
    schedules: dict[str, str] = field(default_factory=dict)

    def put_under(self, cfg: CfgNode) -> None:
        """Sets data, number of classes and OUTPUT_DIR; the yaml has already set the rest."""
        cfg.DATASETS.NAME = self.name
        for key, names in self.splits.items():
            cfg.DATASETS[key] = names
        task_named(cfg.TASK).set_classes(cfg)
        place = Path(cfg.OUTPUT_DIR)
        # output/R50-R18 becomes output/prima/R50-R18.
        alone = place.parent == Path()
        cfg.OUTPUT_DIR = str(place / self.name if alone else place.parent / self.name / place.name)


def find_data(name: str, *, near: Path | None = None) -> DataSet:
    """Finds the data set of a name. This is `datasets/NAME.yaml` beside `near` or among the
    package's configs, else NAME_train (or NAME), NAME_val and NAME_test in the catalog.

    Without NAME_test, NAME_val is scored; without both, the training set is.

    Raises:
        UserError: none of these exists, or the yaml is damaged.
    """
    folders = (*list(near.resolve().parents)[:2], CONFIGS) if near is not None else (CONFIGS,)
    for folder in folders:
        file = folder / "datasets" / f"{name}.yaml"
        if file.is_file():
            return _stored_data(name, file)
    return _registered_data(name)


def _stored_data(name: str, file: Path) -> DataSet:
    try:
        node = CfgNode.load_yaml_with_base(str(file))
        splits = {key: tuple(node["DATASETS"][key]) for key in ("TRAIN", "VAL", "TEST")}
        return DataSet(name, splits, file, dict(node.get("SCHEDULES", {})))
    except YAML_MISTAKES as error:
        raise UserError(f"{file}: no yaml of a data set ({error})") from error


def _registered_data(name: str) -> DataSet:
    from detectron2.data import DatasetCatalog

    from graphkd.data.catalog import ensure_registered, entry_of

    ensure_registered()
    there = DatasetCatalog.list()
    train, val, test = (
        tuple(each for each in names if each in there)[:1]
        for names in ((f"{name}_train", name), (f"{name}_val",), (f"{name}_test",))
    )
    if train:
        # With a single set, the training data is scored: allowed for a first try, with a warning
        # when the run starts.
        return DataSet(name, {"TRAIN": train, "VAL": val, "TEST": test or val or train})
    known = sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))
    trained = [each for each in there if each.endswith("_train")]
    # Only our own sets: Detectron2 registers many others.
    known += [each.removesuffix("_train") for each in trained if entry_of(each)]
    known = list(dict.fromkeys(known))
    every = [*known, *there, *(each.removesuffix("_train") for each in trained)]
    close = difflib.get_close_matches(name, sorted({*every}), n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)};"
    raise UserError(f"--data {name}: no such data set; {hint} `graphkd data register` adds yours")


def load_cfg(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Reads a yaml file and KEY VALUE overrides into a full config.

    The pair `DATASETS.NAME prima` replaces the data set of the run before the other pairs are
    applied: the yaml of prima replaces the run's `datasets/*.yaml`, and may replace its schedule.

    Raises:
        UserError: the file is missing or not a yaml, a key does not exist, or a value has the wrong
            type.
    """
    path = find_config(path)
    pairs = dict(zip(overrides[::2], overrides[1::2], strict=False))
    name = pairs.get("DATASETS.NAME")
    data = find_data(name, near=path) if name else None
    try:
        node = _read_yaml(path, data)
        # A task adds its own keys, so it must be known before the yaml is merged.
        cfg = get_cfg(str(pairs.get("TASK", node.get("TASK", DEFAULT))))
        if node.get("VERSION") == cfg.VERSION or guess_version(node, str(path)) == cfg.VERSION:
            cfg.merge_from_other_cfg(CfgNode(node))
        else:
            cfg.merge_from_file(str(path))  # Detectron2 renames the keys of its old versions
        if data:
            data.put_under(cfg)
        cfg.OUTPUT_DIR = str(project_path(cfg.OUTPUT_DIR))
        cfg.merge_from_list(list(overrides))
    except FileNotFoundError as error:
        raise UserError(f"{path}: its _BASE_ {error.filename} does not exist") from error
    except YAML_MISTAKES as error:
        raise UserError(f"{path}: {' '.join(str(error).strip(chr(39)).split())}") from error
    for node in (cfg.MODEL, cfg.DISTILL.TEACHER):
        if node.WEIGHTS and "://" not in node.WEIGHTS:
            node.WEIGHTS = str(find_file(node.WEIGHTS))
    task_named(cfg.TASK).complete(cfg)
    return cfg


def _read_yaml(path: Path, data: DataSet | None) -> dict:
    """Reads a yaml with its `_BASE_` files into a dict; `data` replaces the data set in it."""

    class Reader(CfgNode):
        """Replaces the files of a run's data set and schedule while reading."""

        @classmethod
        def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict:
            file = _package_file(Path(filename))
            if data and file.parent.name == "datasets":
                return CfgNode.load_yaml_with_base(str(data.file)) if data.file else {}
            if data and file.parent.name == "schedules" and file.stem in data.schedules:
                file = file.with_stem(data.schedules[file.stem])
            return super().load_yaml_with_base(str(file), allow_unsafe)

    node = Reader.load_yaml_with_base(str(path))
    node.pop("SCHEDULES", None)
    if node.get("DATASETS", {}).get("NAME") and "_BASE_" in path.read_text():
        raise ValueError("DATASETS.NAME is for the command line: train with --data NAME")
    drop_removed(node)
    return node


def _package_file(base: Path) -> Path:
    """A `_BASE_` path as given; the package's file if a path with configs/ does not exist."""
    if not base.is_file() and "configs" in base.parts:
        end = len(base.parts) - base.parts[::-1].index("configs")
        own = CONFIGS.joinpath(*base.parts[end:])
        return own if own.is_file() else base
    return base


def drop_removed(node: dict) -> None:
    """Deletes removed keys from the dict of a yaml if they have the value without effect."""
    for key, harmless in _REMOVED.items():
        *parents, last = key.split(".")
        place = node
        for parent in parents:
            place = place.get(parent) or {}
        if place.get(last) == harmless:
            del place[last]
