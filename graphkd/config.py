"""The configuration: Detectron2's own keys and this project's, finding and reading of yaml files,
and `--data`, which puts another data set under a run.
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

# What yaml, yacs and fvcore raise on a wrong key, value or file.
YAML_MISTAKES = (KeyError, ValueError, TypeError, AttributeError, AssertionError, yaml.YAMLError)
# The yamls that come with the package; in a clone a link to its folder configs/.
CONFIGS = Path(__file__).resolve().parent / "configs"
# Folders of configs/ whose files are parts of runs.
_PARTS = ("datasets", "methods", "schedules", "students")
# It repeats for every yaml of a user that it has no VERSION, which is no problem.
logging.getLogger("detectron2.config.compat").setLevel(logging.ERROR)
# Keys of earlier versions and the value at which they changed nothing.
_REMOVED = {"DISTILL.TEACHER.SCALE": 1.0}


def add_graphkd_config(cfg: CfgNode) -> None:
    """Adds this project's keys to a Detectron2 config."""
    # What is trained: layout, or `module:name` of a task of your own (graphkd/tasks/base.py).
    cfg.TASK = DEFAULT
    cfg.DISTILL = CfgNode()
    # At most one of CONFIG, ONNX and EMA names a teacher; losses of self-distillation need none.
    cfg.DISTILL.TEACHER = CfgNode()
    # A frozen model, described by its own complete yaml, the same file that trains it.
    cfg.DISTILL.TEACHER.CONFIG = ""
    # Its weights; empty: model_final.pth in the OUTPUT_DIR of the teacher's yaml.
    cfg.DISTILL.TEACHER.WEIGHTS = ""
    # A foreign ONNX file with a yaml beside it that says what its outputs are
    # (graphkd/distill/onnx_teacher.py).
    cfg.DISTILL.TEACHER.ONNX = ""
    # The running average of the student itself, and its decay.
    cfg.DISTILL.TEACHER.EMA = False
    cfg.DISTILL.TEACHER.EMA_DECAY = 0.9998
    # torch.compile for the teacher's backbone; needs a C++ compiler on a CPU.
    cfg.DISTILL.TEACHER.COMPILE = False
    # Students that step on the same batch and teach each other (losses with `needs_peers`);
    # the first one is kept as model_final.pth.
    # PEER_CONFIG: yaml of the others; empty: the student's own.
    cfg.DISTILL.PEERS = 1
    cfg.DISTILL.PEER_CONFIG = ""
    # Iterations over which the weights of all methods grow from 0, the same for every method that
    # is compared; 0 for none.
    cfg.DISTILL.RAMP = 500
    # Method name -> its options; WEIGHT belongs to every method. Empty: plain training.
    cfg.DISTILL.LOSSES = CfgNode(new_allowed=True)
    # Set by `--data NAME`: the data set that stands in the place of the yaml's own, here and in the
    # teacher's yaml. In the config.yaml of a run it is a record, all other keys say the same.
    cfg.DATASETS.NAME = ""
    # Data sets for the AP curve while training (TEST.EVAL_PERIOD); DATASETS.TEST is scored at the
    # end.
    cfg.DATASETS.VAL = ()
    # Number format under SOLVER.AMP.ENABLED: bfloat16, float16 (GPU alone), or native: bfloat16
    # where the hardware computes in it, else float32.
    cfg.SOLVER.AMP.DTYPE = "bfloat16"
    # Terms, rates and times are written to the log, metrics.json and TensorBoard every so many
    # steps.
    cfg.LOG_PERIOD = 20
    # SGD as in Detectron2, or AdamW, which gets further in short schedules from scratch.
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Decay of a running average of the student's weights, which is then evaluated and saved as
    # model_final.pth; 0 for none.
    cfg.SOLVER.EMA = 0.0
    # Steps whose loss or gradient is NaN or infinite that are left out, weights and optimizer as
    # they were, before one stops the run; 0: the first one stops it.
    cfg.SOLVER.SKIP_NONFINITE = 0
    # Weights files that hold more than tensors (Detectron2's .pkl) are read only if this is True:
    # reading them can run any code that is in them.
    cfg.TRUST_PICKLES = False


def as_plain(cfg: CfgNode, output_dir: str) -> CfgNode:
    """The frozen config of the same run without its teacher: same student, seed, data order and
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
    """Where output/ is: the clone that `start_train.sh` belongs to, else the current folder."""
    return Path(os.environ.get("GRAPHKD_HOME") or ".")


def project_path(path: str | Path) -> Path:
    """A path from a yaml, or a default: relative ones start at the project's folder.

    In that folder itself they stay relative, so that the text of messages and files stays short.
    """
    home = project_folder()
    return Path(path) if home.resolve() == Path.cwd() else home / path


def find_file(path: str | Path) -> Path:
    """A file or folder that the user named: as seen from where they stand, else in the project's
    folder; as given where it is in neither.
    """
    given, other = Path(path), project_folder() / path
    return other if not given.exists() and other.exists() else given


def find_config(path: str | Path, *, near: Path | None = None) -> Path:
    """Finds a config file.

    Args:
        path: a path, or the name of a config that comes with the package, such as R50-R18.
        near: a run's own yaml; paths may be relative to its parent folders.

    Returns:
        The path as given if it is there, else relative to a parent folder of `near` or to the
        clone, else the package's config of this name.

    Raises:
        UserError: no such file; the message offers similar names.
    """
    given = Path(path)
    # A wheel lies in site-packages, whose other folders are none of ours.
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
    """What `--data NAME` puts under a run.

    Attributes:
        name: NAME.
        splits: TRAIN, VAL and TEST -> names in Detectron2's catalog; VAL may be empty.
        file: its yaml, which is read in the place of a run's own `datasets/*.yaml`; None for a data
            set without one.
        schedules: name of a file in schedules/ -> the one that is read in its place.
    """

    name: str
    splits: dict[str, tuple[str, ...]]
    file: Path | None = None
    schedules: dict[str, str] = field(default_factory=dict)

    def put_under(self, cfg: CfgNode) -> None:
        """Sets data, number of classes and OUTPUT_DIR; the rest came with the yaml."""
        cfg.DATASETS.NAME = self.name
        for key, names in self.splits.items():
            cfg.DATASETS[key] = names
        task_named(cfg.TASK).set_classes(cfg)
        place = Path(cfg.OUTPUT_DIR)
        # output/R50-R18 becomes output/prima/R50-R18.
        alone = place.parent == Path()
        cfg.OUTPUT_DIR = str(place / self.name if alone else place.parent / self.name / place.name)


def find_data(name: str, *, near: Path | None = None) -> DataSet:
    """The data set of a name: that of `datasets/NAME.yaml`, beside `near` or among the package's
    configs, else NAME_train (or NAME), NAME_val and NAME_test of the catalog.

    Where there is no NAME_test, NAME_val is scored; without either, what is trained on.

    Raises:
        UserError: there is none of these, or the yaml is damaged.
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
        # Nothing else to score: a first try with a single set is not stopped, but said.
        return DataSet(name, {"TRAIN": train, "VAL": val, "TEST": test or val or train})
    known = sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))
    trained = [each for each in there if each.endswith("_train")]
    # Detectron2 enters many names of its own.
    known += [each.removesuffix("_train") for each in trained if entry_of(each)]
    known = list(dict.fromkeys(known))
    every = [*known, *there, *(each.removesuffix("_train") for each in trained)]
    close = difflib.get_close_matches(name, sorted({*every}), n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)};"
    raise UserError(f"--data {name}: no such data set; {hint} `graphkd data register` adds yours")


def load_cfg(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Reads a yaml file and KEY VALUE overrides into a full config.

    The pair `DATASETS.NAME prima` puts another data set under the run, before the other pairs: its
    yaml is read in the place of the run's own `datasets/*.yaml`, with the schedule that it names.

    Raises:
        UserError: the file is missing or no yaml, a key does not exist, or a value has the wrong
        type.
    """
    path = find_config(path)
    pairs = dict(zip(overrides[::2], overrides[1::2], strict=False))
    name = pairs.get("DATASETS.NAME")
    data = find_data(name, near=path) if name else None
    try:
        node = _read_yaml(path, data)
        # A task brings keys of its own, so it must be known before the yaml is merged.
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
    return cfg


def _read_yaml(path: Path, data: DataSet | None) -> dict:
    """The dict of a yaml with its `_BASE_` files, and with `data` in the place of its own."""

    class Reader(CfgNode):
        """Reads other files in the place of a run's data set and schedule."""

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
    """A `_BASE_` as given; the package's file where a path with configs/ leads nowhere."""
    if not base.is_file() and "configs" in base.parts:
        end = len(base.parts) - base.parts[::-1].index("configs")
        own = CONFIGS.joinpath(*base.parts[end:])
        return own if own.is_file() else base
    return base


def drop_removed(node: dict) -> None:
    """Takes keys of earlier versions out of the dict of a yaml, where they changed nothing."""
    for key, harmless in _REMOVED.items():
        *parents, last = key.split(".")
        place = node
        for parent in parents:
            place = place.get(parent) or {}
        if place.get(last) == harmless:
            del place[last]
