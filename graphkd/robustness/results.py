"""Results of `graphkd robust`: the json file, from which a stopped run continues, and the table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from graphkd.errors import UserError
from graphkd.io import write_json
from graphkd.report.tables import plain_table
from graphkd.tasks.base import Metric

FORMAT = 1
CLEAN = "clean"
_LOSS = Metric("mean loss", higher_is_better=False, unit="%")

Cells = Mapping[str, float | None]


class Record:
    """The values of the primary metric by model and cell, and the settings of the measurement.

    A cell is `clean`, or one kind of corruption at one severity, see `cell_name`.

    Attributes:
        cells: model name -> cell -> value, None if nothing could be measured. The file calls it
            "ap" for every metric.
    """

    def __init__(
        self, path: Path | None, settings: Mapping, weights: Mapping[str, str], *, metric: Metric
    ):
        """Opens a record, and reads the cells that an earlier run with the same settings wrote.

        Args:
            path: the json file to read (if it exists) and write; None writes nothing.
            settings: the settings that all cells depend on, as json values.
            weights: model name -> checksum of its file. Other models in the file are kept.
            metric: the measured metric.

        Raises:
            UserError: the file is no such json, or its settings or weights differ.
        """
        self.path, self.settings, self.weights = path, dict(settings), dict(weights)
        self.metric = metric
        self.cells: dict[str, dict[str, float | None]] = {name: {} for name in weights}
        self._others: dict = {}
        if path is not None and path.exists():
            self._read(path)

    def add(self, cell: str, values: Cells) -> None:
        """Adds the values of models in one cell, and writes the json."""
        for name, value in values.items():
            self.cells[name][cell] = value
        self._save()

    def missing(self, cell: str) -> list[str]:
        """The models without a value in this cell."""
        return [name for name, cells in self.cells.items() if cell not in cells]

    def chosen(
        self, kinds: Sequence[str], severities: Sequence[int]
    ) -> dict[str, dict[str, float | None]]:
        """The values of each model on clean pages and for the given kinds and severities."""
        wanted = {CLEAN, *(cell_name(kind, s) for kind in kinds for s in severities)}
        return {
            name: {cell: ap for cell, ap in cells.items() if cell in wanted}
            for name, cells in self.cells.items()
        }

    def _save(self) -> None:
        if self.path is None:
            return
        models = dict(self._others)
        for name, cells in self.cells.items():
            summary = asdict(summarise(cells, metric=self.metric))
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
            raise UserError(f"{path}: not a result of this command; name another --json")
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


@dataclass(frozen=True)
class RobustSummary:
    """The means of one model over all corruptions; None if nothing could be measured.

    Attributes:
        clean: the metric on clean pages.
        mean_ap: mean of the metric over the corruptions; the file calls it this for every metric.
        mean_loss: mean loss of the metric over the corruptions in percent of the clean value; for
            AP 100 (1 - AP corrupted / AP clean). Negative if corruption helps.
    """

    clean: float | None
    mean_ap: float | None
    mean_loss: float | None


def cell_name(kind: str, severity: int) -> str:
    """The key of one corruption in a record: `rotation 1`."""
    return f"{kind} {severity}"


def summarise(cells: Cells, *, metric: Metric) -> RobustSummary:
    """Computes the means of one model.

    Args:
        cells: cell -> value; cells with None are ignored.
        metric: the metric of the values.
    """
    clean = cells.get(CLEAN)
    corrupted = [value for name, value in cells.items() if name != CLEAN and value is not None]
    if not corrupted:
        return RobustSummary(clean, None, None)
    mean = sum(corrupted) / len(corrupted)
    # This is also the mean of the single losses, because all have the same denominator.
    mean_loss = 100 * metric.gain(clean, mean) / clean if clean else None
    return RobustSummary(clean, mean, mean_loss)


def table(
    models: Mapping[str, Cells],
    *,
    kinds: Sequence[str],
    severities: Sequence[int],
    metric: Metric,
    form: str = "simple",
) -> str:
    """The results as a text table: one row per kind, one column per model, severities side by side.

    Args:
        models: column name -> cell -> value.
        kinds: the rows.
        severities: the values in each cell of the table.
        metric: the metric of the values.
        form: "simple" for a terminal, "github" for markdown.
    """
    summaries = [summarise(cells, metric=metric) for cells in models.values()]
    rows = [["none (clean)", *(metric.text(each.clean) for each in summaries)]]
    for kind in kinds:
        names = [cell_name(kind, severity) for severity in severities]
        fields = (" / ".join(metric.text(cells.get(n)) for n in names) for cells in models.values())
        rows.append([kind, *fields])
    means = (metric.text(each.mean_ap) for each in summaries)
    rows.append([f"mean {metric.name} over corruptions", *means])
    rows.append(["mean loss (%)", *(_LOSS.text(each.mean_loss) for each in summaries)])
    heading = f"{metric.title}, corruption at severity {' / '.join(map(str, severities))}"
    return plain_table(rows, [heading, *models], style=form)
