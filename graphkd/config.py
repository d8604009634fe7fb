"""The configuration: Detectron2's own plus the DISTILL node, every key commented; reading of yaml
files.
"""

from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_cfg

from graphkd.errors import UserError
from graphkd.modeling import add_timm_config

# What yaml, yacs and fvcore raise on a wrong key, value or file.
YAML_MISTAKES = (KeyError, ValueError, TypeError, AttributeError, AssertionError, yaml.YAMLError)
# The folder of a clone, where configs/ is.
PROJECT = Path(__file__).resolve().parents[1]


def add_graphkd_config(cfg: CfgNode) -> None:
    """Adds this project's keys to a Detectron2 config."""
    cfg.DISTILL = CfgNode()
    # The teacher is described by its own complete yaml, the same file that trains it.
    cfg.DISTILL.TEACHER = CfgNode()
    cfg.DISTILL.TEACHER.CONFIG = ""
    # Weights of the teacher; empty: model_final.pth in the OUTPUT_DIR of the teacher's yaml.
    cfg.DISTILL.TEACHER.WEIGHTS = ""
    # The teacher sees the page enlarged by this factor (boxes follow).
    cfg.DISTILL.TEACHER.SCALE = 1.0
    # torch.compile for the teacher's backbone; needs a C++ compiler on a CPU.
    cfg.DISTILL.TEACHER.COMPILE = False
    # Iterations over which the weights of all methods grow from 0, the same for every method that
    # is compared; 0 for none.
    cfg.DISTILL.RAMP = 500
    # Method name -> its options; WEIGHT belongs to every method. Empty: plain training.
    cfg.DISTILL.LOSSES = CfgNode(new_allowed=True)
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


def get_cfg() -> CfgNode:
    """Detectron2's defaults with the keys of this project and of its backbones."""
    cfg = detectron2_cfg()
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    add_timm_config(cfg)
    add_graphkd_config(cfg)
    return cfg


def find_config(path: str | Path, *, near: Path | None = None) -> Path:
    """The config file `path`: as given, else relative to a parent folder of `near` (a run's own
    yaml), else to the project's folder.

    Raises:
        UserError: the file is nowhere.
    """
    given = Path(path)
    if given.is_file():
        return given
    if not given.is_absolute():
        parents = near.resolve().parents if near is not None else ()
        for folder in (*parents, PROJECT):
            if (folder / given).is_file():
                return folder / given
    raise UserError(f"{path}: no such config file")


def load_cfg(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> CfgNode:
    """Reads a yaml file and KEY VALUE overrides into a full config.

    Raises:
        UserError: the file is missing or no yaml, a key does not exist, or a value has the wrong
        type.
    """
    path = find_config(path)
    cfg = get_cfg()
    try:
        cfg.merge_from_file(str(path), allow_unsafe=False)
        cfg.merge_from_list(list(overrides))
    except FileNotFoundError as error:
        raise UserError(f"{path}: its _BASE_ {error.filename} does not exist") from error
    except YAML_MISTAKES as error:
        raise UserError(f"{path}: {' '.join(str(error).strip(chr(39)).split())}") from error
    return cfg
