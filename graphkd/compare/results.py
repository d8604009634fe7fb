"""The growing numbers of a comparison and their files, rewritten after every run; no training."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

from graphkd.compare.plan import Contest
from graphkd.compare.rows import PLAIN, PLAIN_LONGER, TEACHER, Row, Run, compare_runs
from graphkd.engine.run_dir import THEN, provenance
from graphkd.io import write_json, write_text
from graphkd.report.compare import mean_curve, write_compare_report
from graphkd.report.curves import read_curves
from graphkd.report.tables import difference_text, markdown
from graphkd.tasks.base import Metric


@dataclass
class Ledger:
    """The finished runs of a comparison, written to `out` after each of them.

    Attributes:
        contest: its methods.
        metrics: those of its task, the one that decides first.
        about: command, data and seeds.
        chosen: classes with a mean AP of their own.
        json_file: second place for the numbers.
        runs: finished so far.
        notes: what a reader of the table must know besides.
        failed: "name, seed N" -> why that run stopped.
        logs: name -> metrics.json of its runs.
    """

    contest: Contest
    metrics: tuple[Metric, ...]
    about: dict[str, str]
    chosen: tuple[str, ...] = ()
    json_file: Path | None = None
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    logs: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """The table so far: teacher, plain students, methods."""
        return compare_runs(self._ordered(), self.metrics, chosen=self.chosen)

    def add(self, found: Run, log: Path) -> None:
        """Takes a finished run in; `write` puts it on disk."""
        self.runs.append(found)
        self.logs.setdefault(found.name, []).append(log)

    def write(self) -> None:
        """Writes compare.json, compare.md and compare.html, whole or not at all."""
        rows, about, notes = self.rows, self._about(), self.all_notes
        values = {
            "about": about,
            "notes": notes,
            "metrics": [asdict(metric) for metric in self.metrics],
            "rows": [asdict(row) for row in rows],
            "runs": [
                {**asdict(found), "seconds_per_step": found.seconds_per_step} for found in self.runs
            ],
            "failed": self.failed,
        }
        out = self.contest.out
        for path in filter(None, (out / "compare.json", self.json_file)):
            write_json(path, values)
        shown = {"rows": rows, "metrics": self.metrics, "chosen": self.chosen}
        shown |= {"about": about, "notes": notes}
        write_text(out / "compare.md", markdown(**shown))
        write_compare_report(out / "compare.html", curves=self._curves(), **shown)

    def _about(self) -> dict[str, str]:
        trained = sorted(self._machines())
        return {**self.about, **provenance(), "trained on": "; ".join(trained) or "not recorded"}

    @property
    def all_notes(self) -> list[str]:
        """Everything besides the table, failures last."""
        notes = [*self.notes, *self._same_time()]
        if len(self._machines()) > 1:
            notes.append("The runs come from different machines: do not compare their times.")
        return [*notes, *(f"Failed: {name}: {reason}" for name, reason in self.failed.items())]

    def _same_time(self) -> list[str]:
        first = next(iter(self.contest.methods))
        rows = compare_runs(self._ordered(), self.metrics, against=PLAIN_LONGER)
        times = f"{self._seconds(first):.0f} s against {self._seconds(PLAIN_LONGER):.0f} s"
        return [
            f"{row.name} against a plain student trained as long: "
            f"{difference_text(row, self.metrics[0])} {self.metrics[0].name}, {times}."
            for row in rows
            if row.name == first and row.pairs
        ]

    def _seconds(self, name: str) -> float:
        """Of training, on average; 0 where no run has ended."""
        seconds = [found.seconds for found in self.runs if found.name == name]
        return fmean(seconds) if seconds else 0.0

    def _ordered(self) -> list[Run]:
        names = [TEACHER, PLAIN, PLAIN_LONGER, *self.contest.methods]
        return sorted(self.runs, key=lambda found: names.index(found.name))

    def _machines(self) -> set[str]:
        """Kinds of machines that trained the students."""
        students = [found.machine for found in self.runs if found.name != TEACHER]
        return {machine for each in students for machine in each.split(THEN) if machine}

    def _curves(self) -> dict[str, list[dict]]:
        """Mean log of each model; empty for a model without logs."""
        return {
            name: mean_curve(
                [read_curves(path) for path in paths if path.is_file()], self.metrics[0]
            )
            for name, paths in self.logs.items()
        }
