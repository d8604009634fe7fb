"""One training of several that belong together: done once, and kept while its config stays."""

from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from graphkd.engine import run
from graphkd.engine.run_dir import RunDir, RunResult


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
    def place(self) -> RunDir:
        """The same, with what is known of it."""
        return RunDir(self.folder)

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return self.place.finished

    def claim(self) -> None:
        """Moves away what another config, teacher or data left in its folder.

        Raises:
            UserError: the teacher's weights are gone, or another process works in the folder.
        """
        self.place.keep_only(self.cfg, teacher=self.teacher)


def train_part(part: Part) -> RunResult:
    """Trains and scores a part; a finished one is read back, an interrupted one goes on.

    Raises:
        UserError: whatever `run.train` refuses.
    """
    part.claim()
    if part.finished:
        return part.place.result()
    return run.train(part.cfg, source=part.source, resume=True, title=part.title)


def data_of(cfg: CfgNode) -> str:
    """One phrase about the pages a run learns from and is scored on."""
    return f"{', '.join(cfg.DATASETS.TRAIN)}, scored on {cfg.DATASETS.TEST[0]}"
