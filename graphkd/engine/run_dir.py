"""The folder of a run: its config, the record of its inputs, and its result."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import detectron2
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.utils import comm

from graphkd import __version__
from graphkd.config import drop_removed, get_cfg
from graphkd.data.catalog import source_json
from graphkd.engine.solver import autocast_format
from graphkd.errors import UserError
from graphkd.evaluation.timing import processor
from graphkd.io import UNFINISHED, file_digest, held, write_json, write_text

logger = logging.getLogger(__name__)

CONFIG, ABOUT, RESULT, WEIGHTS = "config.yaml", "about.json", "result.json", "model_final.pth"
# Comparisons of earlier versions wrote a second record beside about.json.
_OLD_RECORD = "part.json"
_ANEW = "train without --resume or with another OUTPUT_DIR"
# Separator between machines, for a run that was resumed on another one.
THEN = "; then "
# Keys that may differ on a resume, because they do not change the result: paths, speed, logging.
# The teacher's weights are compared by content instead of path.
PLACES = (
    "OUTPUT_DIR",
    "MODEL.DEVICE",
    "DATALOADER.NUM_WORKERS",
    "DISTILL.TEACHER.WEIGHTS",
    "DISTILL.TEACHER.COMPILE",
    "SOLVER.SKIP_NONFINITE",
    "SOLVER.CHECKPOINT_PERIOD",
    "LOG_PERIOD",
    "TEST.EVAL_PERIOD",
    "TRUST_PICKLES",
)
_Inputs = Mapping[str, str | None]


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
        weights: the student's checkpoint.
        scores: the scores on the first set of DATASETS.TEST.
        seconds: time spent in training steps, without evaluation.
        parameters: number of parameters of the student.
    """

    weights: Path
    scores: dict
    seconds: float
    parameters: int


class RunDir:
    """The folder of one run; decides whether a run may be resumed in it.

    It holds config.yaml (the complete config), about.json (machine, date, versions, number format,
    digests of the input files), the checkpoints, and result.json once the run has finished.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    @property
    def weights(self) -> Path:
        """Path of the final weights, whether they exist yet or not."""
        return self.folder / WEIGHTS

    @property
    def has_checkpoints(self) -> bool:
        """Whether the folder holds a checkpoint."""
        return any(self.folder.glob("model_*.pth"))

    @property
    def finished(self) -> bool:
        """Whether a run finished here and its weights still exist."""
        return (self.folder / RESULT).is_file() and self.result().weights.is_file()

    def result(self) -> RunResult:
        """The result of a finished run. Weights in the folder come before the stored path, which is
        wrong after the folder was moved.

        Raises:
            FileNotFoundError: no run has finished here.
        """
        values = json.loads((self.folder / RESULT).read_text())
        weights = self.weights if self.weights.is_file() else Path(values["weights"])
        return RunResult(**{**values, "weights": weights})

    def write_result(self, result: RunResult) -> None:
        """Marks the run as finished."""
        write_json(self.folder / RESULT, {**vars(result), "weights": str(result.weights)})

    def config(self) -> dict | None:
        """The content of config.yaml; None if it is missing or damaged."""
        try:
            found = yaml.safe_load((self.folder / CONFIG).read_text())
        except (FileNotFoundError, yaml.YAMLError):
            return None
        return found if isinstance(found, dict) else None

    def about(self) -> dict[str, str | None]:
        """The record of the run; empty if it is missing or damaged."""
        return {**self._read(ABOUT), **self._read(_OLD_RECORD)}

    def _read(self, name: str) -> dict:
        try:
            said = json.loads((self.folder / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def other_run(self, cfg: CfgNode, inputs: _Inputs) -> str | None:
        """Why the folder holds a different run; None if it holds the same run or none.

        Args:
            cfg: a complete config.
            inputs: the present input files, as `inputs_of` returns them.

        Returns:
            A clause such as "SEED was 1, now it is 2".
        """
        if not (self.folder / CONFIG).is_file():
            return None
        written = self.config()
        if written is None:
            return f"its {CONFIG} is damaged"
        if changed := changed_key(written, cfg):
            return "{} was {}, now it is {}".format(*changed)
        return changed_input(self.about(), inputs)

    def move_away(self, reason: str) -> None:
        """Renames the folder to `<folder>.old1`, `.old2` and so on; the caller holds its lock."""
        number = 1
        while (place := self.folder.with_name(f"{self.folder.name}.old{number}")).exists():
            number += 1
        logger.warning("%s: %s; it is moved to %s", self.folder, reason, place.name)
        self.folder.rename(place)

    def keep_only(self, cfg: CfgNode, *, teacher: Path | None = None) -> None:
        """Moves the folder away if it holds a different run than that of `cfg`.

        Raises:
            UserError: as `inputs_of`, or another process uses the folder.
        """
        inputs = inputs_of(cfg, teacher=teacher)
        if self.other_run(cfg, inputs):
            with held(self.folder):
                # Checked again under the lock: another process may have moved the folder meanwhile.
                if reason := self.other_run(cfg, inputs):
                    self.move_away(f"it holds another run ({reason})")

    @contextlib.contextmanager
    def taken(
        self, cfg: CfgNode, *, source: Path, resume: bool, teacher: Path | None = None
    ) -> Iterator[None]:
        """Locks the folder for the duration of the block, and writes the config and the record.

        An earlier run is moved away. With `resume` it stays, and must be the same run. Every
        process of a run must call this; the main process does the work.

        Args:
            cfg: the run's config.
            source: the yaml it came from.
            resume: continue the run in the folder.
            teacher: the teacher's weights; None without a teacher.

        Raises:
            UserError: another process uses the folder, the folder is a file, or the run to resume
                has another config, teacher or data set.
        """
        if not comm.is_main_process():
            comm.synchronize()
            yield
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: it is a file; set another OUTPUT_DIR")
        inputs = inputs_of(cfg, teacher=teacher)
        with held(self.folder):
            if resume:
                if reason := self.other_run(cfg, inputs):
                    raise UserError(f"{self.folder} holds another run: {reason}; {_ANEW}")
            elif self.has_checkpoints:
                self.move_away("it holds an earlier run")
            if not (resume and self.finished):
                self._begin(cfg, source, inputs)
            comm.synchronize()
            yield

    def _begin(self, cfg: CfgNode, source: Path, inputs: _Inputs) -> None:
        for left in self.folder.glob(UNFINISHED):
            left.unlink()
        before, today = self.about(), provenance()
        today["number format"] = number_format(cfg)
        # A resumed run may have changed the machine; its record then names both.
        if self.has_checkpoints and "versions" in before:
            for key in ("machine", "number format"):
                earlier = before.get(key, today[key]).split(THEN)
                today[key] = THEN.join(dict.fromkeys([*earlier, today[key]]))
        write_text(self.folder / CONFIG, cfg.dump())
        # An input file that was deleted since keeps the digest from the start of the run.
        known = {name: digest or before.get(name) for name, digest in inputs.items()}
        write_json(self.folder / ABOUT, {"source": str(source), **today, **known})
        (self.folder / _OLD_RECORD).unlink(missing_ok=True)


def provenance() -> dict[str, str]:
    """The kind of machine, today's date and the versions in use."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "machine": f"{os.cpu_count()} CPU cores ({processor()}), {gpu}",
        "date": date.today().isoformat(),
        "versions": f"graphkd {__version__}, torch {torch.__version__}, "
        f"Detectron2 {detectron2.__version__}",
    }


def number_format(cfg: CfgNode) -> str:
    """The number format that this machine uses for a run of this config, such as "float32"."""
    found = autocast_format(cfg, torch.device(cfg.MODEL.DEVICE))
    return str(found or torch.float32).removeprefix("torch.")


def inputs_of(cfg: CfgNode, *, teacher: Path | None) -> dict[str, str | None]:
    """SHA-256 of the files that a run's result depends on: the teacher's weights, MODEL.WEIGHTS,
    and the annotations for training and test. None for a file that is not set or missing.

    Raises:
        UserError: the teacher's weights do not exist any more.
    """
    if teacher is not None and not teacher.is_file():
        raise UserError(f"the teacher's weights {teacher} are gone; train the teacher again")
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    annotations = {f"data {name}": source_json(name) for name in names}
    files = {"teacher": teacher, "MODEL.WEIGHTS": cfg.MODEL.WEIGHTS, **annotations}
    return {name: _digest(path) for name, path in files.items()}


def validation_digest(cfg: CfgNode) -> str | None:
    """SHA-256 of the validation annotations. A resume does not compare it: it does not change what
    is trained.
    """
    return _digest(source_json(cfg.DATASETS.VAL[0])) if cfg.DATASETS.VAL else None


def changed_input(written: _Inputs, now: _Inputs) -> str | None:
    """A clause about the first input file that differs between a stored record and now; None if all
    agree. Files that are missing on either side are not compared.
    """
    # Deleted inputs are no reason to refuse a run; their digests stay in its record.
    for name, digest in now.items():
        if digest is not None and written.get(name) not in (None, digest):
            return f"the content of its {name} file differs"
    return None


def changed_key(written: Mapping, cfg: CfgNode) -> tuple[str, Any, Any] | None:
    """The first key in which a stored config differs from `cfg`; the keys in `PLACES` may differ.

    Args:
        written: the content of a config.yaml. A missing key was added to graphkd later, and gets
            its default.
        cfg: a complete config.

    Returns:
        As `difference_of`, the stored value first.
    """
    drop_removed(written)
    complete = {**flat(get_cfg(cfg.TASK)), **flat(written)}
    return difference_of(complete, flat(cfg), ignore=PLACES)


def difference_of(
    one: Mapping, other: Mapping, *, ignore: tuple[str, ...] = ()
) -> tuple[str, Any, Any] | None:
    """The first key, in alphabetical order, whose values differ between two configs.

    Args:
        one: a config, the dict of its yaml, or a dict with dotted keys.
        other: the second config.
        ignore: dotted keys that may differ, with everything below them.

    Returns:
        (dotted key, value in `one`, value in `other`), with None for a missing value; None if all
        values agree.
    """
    first, second = flat(one), flat(other)
    for key in sorted({*first, *second}):
        if any(key == free or key.startswith(f"{free}.") for free in ignore):
            continue
        if first.get(key) != second.get(key):
            return key, first.get(key), second.get(key)
    return None


def flat(node: Mapping) -> dict[str, Any]:
    """A config, or the dict of its yaml, as one dict with dotted keys; empty nodes are left out."""
    if isinstance(node, CfgNode):
        node = yaml.safe_load(node.dump())  # tuples become lists, as in a yaml that was read
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            found.update((f"{key}.{below}", each) for below, each in flat(value).items())
        else:
            found[key] = value
    return found


def _digest(path: Path | str | None) -> str | None:
    if not path or not Path(path).is_file():
        return None
    about = Path(path).stat()
    return _digest_of(Path(path), about.st_mtime_ns, about.st_size)


@cache
def _digest_of(path: Path, changed_ns: int, size: int) -> str:
    """Cached digest of a file: a large file is read again only after its time or size changed."""
    return file_digest(path)
