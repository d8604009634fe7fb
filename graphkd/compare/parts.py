"""One training out of several that belong together: done once, kept while its config stays, with a
record of where and when; which trainings there are is decided elsewhere.
"""

import json
import logging
import os
import platform
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import detectron2
import torch
import yaml
from detectron2.config import CfgNode

from graphkd import __version__
from graphkd.engine import run
from graphkd.engine.inputs import changed_input, inputs_of, known_inputs
from graphkd.engine.run_dir import changed_key, free_name
from graphkd.errors import UserError
from graphkd.io import held, write_json

logger = logging.getLogger(__name__)

_RECORD = "part.json"
# Between the machines of a run that went on elsewhere.
THEN = "; then "


@dataclass(frozen=True)
class Part:
    """One training (or scoring) with a folder of its own.

    Attributes:
        name: what tables and the progress bar call it.
        cfg: its frozen config.
        source: the yaml it came from, for messages.
        teacher: weights that the result depends on; None for none.
    """

    name: str
    cfg: CfgNode
    source: Path
    teacher: Path | None = None

    @property
    def title(self) -> str:
        """Name and seed."""
        return f"{self.name}, seed {self.cfg.SEED}"

    @property
    def folder(self) -> Path:
        """Where its weights and numbers are."""
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return run.is_finished(self.folder)


def train_part(part: Part) -> run.RunResult:
    """Trains and scores a part; a finished one is read back, an interrupted one goes on.

    Raises:
        UserError: whatever `run.train` refuses.
    """
    claim(part)
    if part.finished:
        return run.read_result(part.folder)
    return run.train(part.cfg, source=part.source, resume=True, title=part.title)


def claim(part: Part) -> None:
    """Makes the part's folder its own: what another config or teacher left there is moved aside.

    An unfinished part gets a new record of machine, date, versions and the content of the files its
    result depends on.
    """
    reason = _other_run(part)
    if reason:
        place = free_name(part.folder)
        logger.warning("%s: %s; the run there is moved to %s", part.folder, reason, place.name)
        with held(part.folder):
            part.folder.rename(place)
    if not part.finished:
        inputs = known_inputs(read_record(part), _inputs(part))
        write_json(part.folder / _RECORD, {**_provenance_of(part), **inputs})


def read_record(part: Part) -> dict:
    """Machine, date and versions of a part's training; empty where nothing was recorded."""
    path = part.folder / _RECORD
    return json.loads(path.read_text()) if path.is_file() else {}


def provenance() -> dict[str, str]:
    """The kind of machine, today's date and the versions in use."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), {gpu}",
        "date": date.today().isoformat(),
        "versions": f"graphkd {__version__}, torch {torch.__version__}, "
        f"Detectron2 {detectron2.__version__}",
    }


def data_of(cfg: CfgNode) -> str:
    """One phrase about the pages a run learns from and is scored on."""
    return f"{', '.join(cfg.DATASETS.TRAIN)}, scored on {cfg.DATASETS.TEST[0]}"


def _other_run(part: Part) -> str | None:
    """Why the part's folder belongs to something else; None if it does not, or is empty."""
    written = part.folder / "config.yaml"
    if not written.is_file():
        return None
    try:
        there = yaml.safe_load(written.read_text())
    except yaml.YAMLError:
        there = None
    if not isinstance(there, dict):
        return f"{written.name} is damaged"
    changed = changed_key(there, part.cfg)
    if changed:
        key, before, now = changed
        return f"{key} was {before}, now it is {now}"
    return changed_input(read_record(part), _inputs(part))


def _provenance_of(part: Part) -> dict[str, str]:
    """Today's, with every machine that a part with a checkpoint was trained on so far."""
    today = provenance()
    before = read_record(part).get("machine", "")
    if before and any(part.folder.glob("model_*.pth")):
        today["machine"] = THEN.join(dict.fromkeys([*before.split(THEN), today["machine"]]))
    return today


def _inputs(part: Part) -> dict[str, str | None]:
    if part.teacher is not None and not part.teacher.is_file():
        raise UserError(f"the teacher's weights {part.teacher} are gone; train the teacher again")
    return inputs_of(part.cfg, teacher=part.teacher)
