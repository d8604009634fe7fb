"""The growing numbers of a comparison, the files that hold them, and runs added from others."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from detectron2.config import CfgNode

from graphkd.compare.plan import LOSSES, Contest
from graphkd.compare.rows import PLAIN, PLAIN_LONGER, TEACHER, Row, Run, compare_runs
from graphkd.compare.search import Search
from graphkd.config import get_cfg
from graphkd.engine.run_dir import (
    PLACES,
    THEN,
    changed_input,
    difference_of,
    flat,
    provenance,
)
from graphkd.errors import UserError
from graphkd.io import write_json, write_text
from graphkd.report.compare import mean_curve, write_compare_report
from graphkd.report.curves import read_curves
from graphkd.report.tables import difference_text, markdown
from graphkd.tasks.base import Metric, Task

NUMBER_FORMAT = "number format"
# Keys of a run's record that say what it was made from, besides its data sets.
INPUTS = (NUMBER_FORMAT, "teacher", "MODEL.WEIGHTS")


@dataclass
class Ledger:
    """The finished runs of a comparison, written to `out` after each of them.

    Attributes:
        contest: its methods.
        task: of its models.
        about: command, data and seeds.
        chosen: classes with a mean of their own.
        json_file: second place for the numbers.
        search: for the best weights; None without one.
        runs: finished so far, and those from other files.
        notes: what a reader of the table must know besides.
        failed: "name, seed N" -> why that run stopped.
    """

    contest: Contest
    task: Task
    about: dict[str, str]
    chosen: tuple[str, ...] = ()
    json_file: Path | None = None
    search: Search | None = None
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    _logs: dict[str, list[Path]] = field(default_factory=dict)
    _failed_names: set[str] = field(default_factory=set)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the task, the one that decides first."""
        return self.task.columns

    @property
    def rows(self) -> list[Row]:
        """The table so far: teacher, plain students, the contest's methods, other added ones."""
        present = {found.name for found in self.runs}
        wanted = (PLAIN, *self.contest.methods)
        order = [TEACHER, PLAIN, PLAIN_LONGER, *self.contest.methods]
        names = [name for name in order if name in present or name in wanted]
        rows = compare_runs(self.runs, self.metrics, chosen=self.chosen, names=names)
        failed = {row.name for row in rows if row.state == "not run"} & self._failed_names
        return [replace(row, state="failed") if row.name in failed else row for row in rows]

    def add(self, found: Run, log: Path | None = None) -> None:
        """Takes a finished run in; `write` puts it on disk."""
        self.runs.append(found)
        if log is not None:
            self._logs.setdefault(found.name, []).append(log)

    def fail(self, name: str, title: str, reason: str) -> None:
        """Notes why a run of the model `name` did not come to its end."""
        self.failed[title] = " ".join(reason.split())
        self._failed_names.add(name)

    def write(self) -> None:
        """Writes compare.json, compare.md and compare.html, each whole or not at all."""
        rows, about, notes = self.rows, self._about(), self.all_notes
        base = config_of(self.contest.part(PLAIN, self.contest.first_seed).cfg)
        values = {
            "about": about,
            "notes": notes,
            "task": self.contest.cfg.TASK,
            "metrics": [asdict(metric) for metric in self.metrics],
            "primary": self.task.primary,
            "tuning": self.search and asdict(self.search),
            "rows": [asdict(row) for row in rows],
            "config": base,
            "runs": [_as_json(found, base) for found in self.runs],
            "failed": self.failed,
        }
        out = self.contest.out
        for path in filter(None, (out / "compare.json", self.json_file)):
            write_json(path, values)
        shown = {"rows": rows, "metrics": self.metrics, "chosen": self.chosen}
        shown |= {"about": about, "notes": notes, "tuning": values["tuning"]}
        write_text(out / "compare.md", markdown(**shown))
        write_compare_report(out / "compare.html", curves=self._curves(), **shown)

    def _about(self) -> dict[str, str]:
        trained = sorted(self._machines())
        return {**self.about, **provenance(), "trained on": "; ".join(trained) or "not recorded"}

    @property
    def all_notes(self) -> list[str]:
        """Everything besides the table, failures last."""
        notes = [*self.notes, *self._added(), *self._same_time()]
        if len(self._machines()) > 1:
            notes.append("The runs come from different machines: do not compare their times.")
        students = [found for found in self.runs if found.name != TEACHER]
        formats = {found.made_from.get(NUMBER_FORMAT) for found in students} - {None}
        if len(formats) > 1:
            notes.append(f"The runs computed in different formats: {', '.join(sorted(formats))}.")
        return [*notes, *(f"Failed: {name}: {reason}" for name, reason in self.failed.items())]

    def _added(self) -> Iterator[str]:
        """A sentence for each model and place that runs were added from."""
        places: dict[tuple, list[Run]] = {}
        shown = {(found.name, found.seed): found for found in reversed(self.runs)}
        for found in shown.values():
            if found.added:
                places.setdefault((found.name, found.added, found.machine), []).append(found)
        for (name, file, machine), runs in sorted(places.items()):
            seeds = "" if name == TEACHER else f", {_seeds(runs)}"
            dates = " and ".join(sorted({found.date for found in runs if found.date}))
            yield f"{name}{seeds}: added from {file}, trained on {machine} ({dates})."

    def _same_time(self) -> list[str]:
        first = next(iter(self.contest.methods))
        rows = compare_runs(self.runs, self.metrics, against=PLAIN_LONGER)
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
            for name, paths in self._logs.items()
        }


def config_of(cfg: CfgNode) -> dict[str, Any]:
    """Dotted key -> value of a config, without keys that do not change what comes out."""
    return {key: value for key, value in flat(cfg).items() if key not in PLACES}


def _as_json(found: Run, base: Mapping[str, Any]) -> dict[str, Any]:
    """A run with the part of its config that differs from the plain student's."""
    own = {key: value for key, value in found.config.items() if base.get(key, ...) != value}
    return {**asdict(found), "config": own, "seconds_per_step": found.seconds_per_step}


def _seeds(runs: Sequence[Run]) -> str:
    numbers = sorted(found.seed for found in runs)
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


@dataclass
class Added:
    """Runs from results files of other comparisons, of which each fits this one.

    Attributes:
        contest: this comparison.
        seeds: of this comparison.
        made_from: what its runs are made from, as far as known; a run that is taken in completes
            it.
        search: this comparison's search, empty so far; None without one.
        runs: those that fit.
        notes: which do not, and why.
    """

    contest: Contest
    seeds: Sequence[int]
    made_from: dict[str, str | None]
    search: Search | None = None
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, name: str, seed: int) -> Run | None:
        """The run of a model at a seed."""
        return next((r for r in self.runs if (r.name, r.seed) == (name, seed)), None)

    def take(self, path: Path) -> None:
        """Takes in every run of a results file that fits.

        Raises:
            UserError: the file is none, or of another task or search, or not one run fits.
        """
        values, runs = _read(path)
        search = self._check_file(path, values)
        refused: dict[tuple[str, str], list[Run]] = {}
        taken = []
        for found in runs:
            if reason := self._misfit(found):
                refused.setdefault((found.name, reason), []).append(found)
            else:
                taken.append(found)
        refusals = [
            f"{path}: {name}{'' if name == TEACHER else ', ' + _seeds(ones)} cannot be added: "
            f"{reason}"
            for (name, reason), ones in refused.items()
        ]
        if not taken:
            raise UserError(refusals[0] if refusals else f"{path}: it holds no finished run")
        self.notes += [f"{text}." for text in refusals]
        self.runs += taken
        for name in {found.name for found in taken} & set(search.chosen if search else ()):
            self.search.include(search, name)

    def _check_file(self, path: Path, values: Mapping[str, Any]) -> Search | None:
        task = self.contest.cfg.TASK
        if values["task"] != task:
            raise UserError(f"{path}: its TASK is {values['task']}, here it is {task}")
        search = Search(**values["tuning"]) if values["tuning"] else None
        there, here = (each.title if each else "not tuned" for each in (search, self.search))
        if there != here:
            raise UserError(f"{path}: its loss weights are {there}, here they are {here} (--tune)")
        digests = {search.digest, self.search.digest} - {None} if search else set()
        if len(digests) > 1:
            raise UserError(f"{path}: its search used other annotations of {search.data}")
        return search

    def _misfit(self, found: Run) -> str | None:
        """Why a run does not fit; None if it does, and those that follow must fit it, too."""
        if found.name != TEACHER and found.seed not in self.seeds:
            return f"SEED is {found.seed}, here it is {', '.join(map(str, self.seeds))}"
        known = {key: self.made_from.get(key) for key in found.made_from}
        if found.name == TEACHER:
            known.pop(NUMBER_FORMAT, None)
        there, here = found.made_from.get(NUMBER_FORMAT), known.pop(NUMBER_FORMAT, None)
        if here is not None and there != here:
            return f"its {NUMBER_FORMAT} is {there or 'not known'}, here it is {here}"
        tuned = self.search and self.search.chosen.get(found.name, found.factor)
        if tuned and tuned != found.factor:
            return f"its weights are times {found.factor:g}, here they are times {tuned:g}"
        if changed := changed_input(found.made_from, known):
            return changed
        expected, ignore = self._expected(found)
        default = config_of(get_cfg(self.contest.cfg.TASK))
        if changed := difference_of({**default, **found.config}, expected, ignore=ignore):
            return "{} is {}, here it is {}".format(*changed)
        self._configs.setdefault(f"{found.name}@{found.factor:g}", found.config)
        for key, value in found.made_from.items():
            own = found.name == TEACHER and key == NUMBER_FORMAT
            if not own and self.made_from.get(key) is None:
                self.made_from[key] = value
        return None

    def _expected(self, found: Run) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The config that a run must have, and the keys that may differ."""
        # The teacher and first weights are known by their content.
        ignore = ("SEED", "DISTILL.TEACHER.CONFIG", "DISTILL.TEACHER.ONNX")
        if found.made_from.get("MODEL.WEIGHTS") is not None:
            ignore += ("MODEL.WEIGHTS",)
        before = self._configs.get(f"{found.name}@{found.factor:g}")
        if before is not None:
            return before, ignore
        if found.name == TEACHER:
            return config_of(self.contest.teacher_part().cfg), ignore
        if found.name in (PLAIN, PLAIN_LONGER, *self.contest.methods):
            part = self.contest.part(found.name, found.seed, factor=found.factor)
            return config_of(part.cfg), ignore
        return config_of(self.contest.cfg), (*ignore, LOSSES)


def _read(path: Path) -> tuple[dict[str, Any], list[Run]]:
    """A results file that says what its runs are made from, and these runs.

    Raises:
        UserError: it is missing, damaged, something else or of an earlier version.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        old = "config" not in values or not all("made_from" in row for row in values["runs"])
        base = values.get("config", {})
        rows = [{**row, "config": {**base, **row.get("config", {})}} for row in values["runs"]]
        runs = [replace(Run.from_json(row), added=str(path), folder="") for row in rows]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such results file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: no results of a comparison; --add takes a compare.json"
        ) from error
    if old:
        raise UserError(
            f"{path}: an earlier version wrote it, and it does not say how its runs were made; "
            "repeat its command, which repeats no finished run"
        )
    return values, runs
