"""What a training left in its folder, read back with one sentence for each piece that is missing;
no model is built and nothing is drawn.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from graphkd.config import load_cfg
from graphkd.engine.jobs import method_name
from graphkd.engine.run_dir import RESULT, RunDir
from graphkd.errors import UserError
from graphkd.report.content import RunView
from graphkd.report.curves import read_curves


@dataclass(frozen=True)
class StoredRun:
    """A run's folder as read.

    Attributes:
        name: what reports call it.
        folder: where it lies.
        cfg: its frozen config.
        result: result.json; empty where it is missing.
        curves: metrics.json by iteration; empty where it is missing.
        predictions: COCO result dicts on the first test set, class numbers 0..K - 1; None where
            they are missing.
        record: machine, date and versions of the training, and the digest of its teacher; empty
            where nobody wrote them.
        notes: a sentence for each missing piece.
    """

    name: str
    folder: Path
    cfg: CfgNode
    result: dict = field(default_factory=dict)
    curves: list[dict] = field(default_factory=list)
    predictions: list[dict] | None = None
    record: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def weights(self) -> Path:
        """Where its final weights are, if they are there."""
        return self.folder / "model_final.pth"

    @property
    def test_set(self) -> str | None:
        """The data set that it was scored on; None for none."""
        return self.cfg.DATASETS.TEST[0] if self.cfg.DATASETS.TEST else None

    @property
    def view(self) -> RunView:
        """Its numbers as reports take them."""
        return RunView(
            name=self.name,
            method=method_name(self.cfg),
            scores=self.result.get("scores", {}),
            parameters=self.result.get("parameters"),
            steps=self._steps,
            seconds=self.result.get("seconds"),
            curves=self.curves,
        )

    @property
    def _steps(self) -> int | None:
        """Those of a finished run by its config; else those in the log."""
        if self.result:
            return self.cfg.SOLVER.MAX_ITER
        return self.curves[-1]["iteration"] + 1 if self.curves else None


def is_run(folder: Path) -> bool:
    """Whether a training (or scoring) wrote into this folder."""
    names = (RESULT, "metrics.json", "model_final.pth")
    return (folder / "config.yaml").is_file() and any((folder / n).is_file() for n in names)


def read_run(folder: Path, *, name: str) -> StoredRun:
    """Reads a run's folder.

    Args:
        folder: with config.yaml; everything else may be missing.
        name: what reports call it.

    Raises:
        UserError: a file is there but damaged, or the config is none of this version.
    """
    cfg = load_cfg(folder / "config.yaml")
    cfg.freeze()
    notes = []
    result = read_json(folder / RESULT, dict)
    if result is None:
        notes.append(f"{name} has not finished: there is no {RESULT}, so nothing says its AP.")
    elif not isinstance(result.get("scores"), dict):
        raise UserError(f"{folder / RESULT}: no result of a run; delete it and train with --resume")
    curves = []
    if (folder / "metrics.json").is_file():
        curves = read_curves(folder / "metrics.json")
    else:
        notes.append(f"{name} has no training log (metrics.json), so it has no curves.")
    predictions = None
    if cfg.DATASETS.TEST:
        path = folder / "eval" / cfg.DATASETS.TEST[0] / "coco_results.json"
        predictions = read_json(path, list)
        if predictions is not None:
            predictions = _class_numbers(predictions, path.with_name("metrics.json"))
        else:
            notes.append(
                f"{name} has no stored predictions ({path.relative_to(folder)}), so single pages "
                "cannot be judged; `graphkd eval` writes them."
            )
    record = RunDir(folder).about()
    return StoredRun(name, folder, cfg, result or {}, curves, predictions, record, notes)


def _class_numbers(predictions: list[dict], metrics: Path) -> list[dict]:
    """Predictions with class numbers 0..K - 1 in the place of the data set's category ids.

    Files of earlier versions hold class numbers already, and their metrics.json has no ids.
    """
    ids = (read_json(metrics, dict) or {}).get("category_ids")
    if ids is None:
        return predictions
    numbers = {category: number for number, category in enumerate(ids.values())}
    # -1 for an id that is none of them: whoever judges the predictions refuses it.
    return [{**row, "category_id": numbers.get(row["category_id"], -1)} for row in predictions]


def read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file; None where there is no such file.

    Raises:
        UserError: it is damaged, or no `kind`.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: damaged JSON ({error})") from error
    if not isinstance(value, kind):
        raise UserError(f"{path}: not what a run writes (a {kind.__name__} was expected)")
    return value
