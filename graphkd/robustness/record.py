"""What a robustness run has measured so far, kept in a json so that it can go on; measures
nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from graphkd.errors import UserError
from graphkd.io import write_json
from graphkd.robustness.score import CLEAN, cell_name, summarise

FORMAT = 1


class Record:
    """AP by detector and cell, with the settings that they hold for.

    Attributes:
        cells: detector's name -> cell -> AP in 0..100, or None where nothing could be measured.
    """

    def __init__(self, path: Path | None, settings: Mapping, weights: Mapping[str, str]):
        """Opens a record, with what an earlier run with the same settings left in it.

        Args:
            path: json to read, if it exists, and to write; None keeps nothing.
            settings: what all cells depend on, as json values.
            weights: detector's name -> checksum of its file. Names may come and go between runs.

        Raises:
            UserError: the json is of another kind, or its cells were measured otherwise.
        """
        self.path, self.settings, self.weights = path, dict(settings), dict(weights)
        self.cells: dict[str, dict[str, float | None]] = {name: {} for name in weights}
        self._others: dict = {}
        if path is not None and path.exists():
            self._read(path)

    def add(self, cell: str, aps: Mapping[str, float | None]) -> None:
        """Keeps the AP of some detectors in one cell, and writes the json."""
        for name, ap in aps.items():
            self.cells[name][cell] = ap
        self.save()

    def missing(self, cell: str) -> list[str]:
        """The detectors without a number in this cell."""
        return [name for name, cells in self.cells.items() if cell not in cells]

    def chosen(
        self, kinds: Sequence[str], strengths: Sequence[int]
    ) -> dict[str, dict[str, float | None]]:
        """The clean AP and the cells of some kinds and strengths, by detector."""
        wanted = {CLEAN, *(cell_name(kind, s) for kind in kinds for s in strengths)}
        return {
            name: {cell: ap for cell, ap in cells.items() if cell in wanted}
            for name, cells in self.cells.items()
        }

    def save(self) -> None:
        """Writes the json, if there is one."""
        if self.path is None:
            return
        models = dict(self._others)
        for name, cells in self.cells.items():
            summary = asdict(summarise(cells))
            models[name] = {"weights": self.weights[name], "summary": summary, "ap": cells}
        content = {"format": FORMAT, "settings": self.settings, "models": models}
        write_json(self.path, content)

    def _read(self, path: Path) -> None:
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: not a json file ({error}); name another --json") from error
        if (
            not isinstance(stored, dict)
            or stored.get("format") != FORMAT
            or not {"settings", "models"} <= stored.keys()
        ):
            raise UserError(f"{path}: not a record of this command; name another --json")
        before, models = stored["settings"], stored["models"]
        changed = [key for key in self.settings if before.get(key) != self.settings[key]]
        if changed:
            raise UserError(
                f"{path}: its numbers were measured with another {' and '.join(changed)}; "
                "name another --json or delete it"
            )
        for name, model in models.items():
            if name not in self.weights:
                self._others[name] = model
            elif model["weights"] != self.weights[name]:
                raise UserError(
                    f"{path}: its numbers of {name} are those of other weights; name another "
                    "--json or delete it"
                )
            else:
                self.cells[name] = dict(model["ap"])
